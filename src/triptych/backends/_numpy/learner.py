"""Network, objective and update rule alive in the oracle: float64, gradients by differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from triptych.backends import objective_parts
from triptych.backends._numpy import differences, factors, rules, source
from triptych.backends._numpy.layouts import HOMES
from triptych.backends._numpy.model import Model, run, step
from triptych.backends._numpy.namespace import NumpyNamespace, Replay
from triptych.backends.base import BaseLearner
from triptych.backends.layout import Home
from triptych.backends.offering import NativeBackend
from triptych.backends.protocol import Batch
from triptych.errors import Unsupported
from triptych.spec.randomness import get_state, set_state

XP = NumpyNamespace()
Arrays = dict[str, np.ndarray]


class NumpyLearner(BaseLearner):
    """See :class:`triptych.backends.protocol.Learner`.

    Raises Unsupported for float32, and at gradients and updates of a network too large for
    differences (``differences.LIMIT``); outputs, losses and ``apply_gradients`` know no limit.
    """

    homes = HOMES

    def _build(self) -> None:
        if self.dtype != "float64":
            raise Unsupported(
                "backend 'numpy' computes in float64 only, since it judges the others' rounding; "
                "ask for dtype float64"
            )
        for item in self.objective.evaluations if self.objective else ():
            if item.gradient and item.network == "target":
                raise Unsupported(
                    f"evaluation {item.name!r} asks for a gradient through the target network, "
                    "which does not learn; give it gradient=False"
                )
        self.models = {"online": Model(self.network)}
        if self.has_target:
            self.models["target"] = Model(self.network)
        if self.search is not None:
            self.search = rules.Search(self.search.rule, self.search.shapes, self.dtype)
        self.slot_arrays = (
            rules.start(self.native_rule, self._trained()) if self.native_rule else {}
        )

    @property
    def model(self) -> Model:
        """The model that learns."""
        return self.models["online"]

    def _native_factors(self) -> dict[str, Any]:
        """Every constant of the layers and the rule."""
        return factors.read(self)

    def loss(self, batch: Batch) -> float:
        """Return the objective on a batch; no differences are taken, so any size will do."""
        kept = get_state(self._masks_stream)
        inputs = self._inputs(batch)
        set_state(self._masks_stream, kept)
        return self._objective(self.model.arrays, inputs, self._held(inputs), XP)[0]

    # --- the objective -----------------------------------------------------------------------

    def _held(self, inputs: Batch) -> Arrays:
        """The outputs that are constants to the gradient, in inference mode."""
        assert self.objective is not None
        found: Arrays = {}
        for item in self.objective.evaluations:
            if not item.gradient:
                model = self.models[item.network]
                found |= self._results(
                    item, run(self.network, model.arrays, inputs[item.input], False, {})[0]
                )
        return found

    def _objective(
        self, arrays: Arrays, inputs: Batch, held: Mapping[str, np.ndarray], xp: NumpyNamespace
    ) -> tuple[float, Arrays, Arrays]:
        """Return the loss at these arrays, the running statistics it moved, and its reports."""
        assert self.objective is not None
        outputs = dict(held) | {
            name: arrays[name] for name in objective_parts.reads(self.objective)
        }
        statistics: Arrays = {}
        for item in self.objective.evaluations:
            if item.gradient:
                values, moved = run(
                    self.network, arrays | statistics, inputs[item.input], True, inputs
                )
                outputs |= self._results(item, values)
                statistics |= moved
        loss = float(self.objective.loss(xp, outputs, inputs))
        return loss, statistics, objective_parts.reports(self.objective, xp, outputs, inputs)

    def _differentiate(self, inputs: Batch) -> tuple[float, Arrays, Arrays, Arrays]:
        """Return loss, gradients, the running statistics it moved, and its reports."""
        held, xp = self._held(inputs), Replay()
        loss, statistics, reports = self._objective(self.model.arrays, inputs, held, xp)

        def at(arrays: Arrays) -> float:
            xp.rewind()
            return self._objective(arrays, inputs, held, xp)[0]

        grads = differences.gradient(at, self.model.arrays, self.network.trainable)
        return loss, grads, statistics, reports

    # --- what the base class asks for --------------------------------------------------------

    def _forward(self, observations: np.ndarray, network: str) -> np.ndarray:
        return self.models[network](observations)

    def _advance(
        self, observations: np.ndarray, state: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Arrays]:
        values, after = step(self.network, self.model.arrays, observations, dict(state))
        return values[self.network.output.name], after

    def _layer_outputs(self, inputs: Batch, training: bool) -> dict[str, np.ndarray]:
        x = inputs["observation"]
        return run(self.network, self.model.arrays, x, training, inputs)[0]

    def _loss_and_gradients(self, inputs: Batch) -> tuple[float, dict[str, np.ndarray]]:
        return self._differentiate(inputs)[:2]

    def _step(self, inputs: Batch, rate: float) -> float:
        loss, grads, statistics, self.reported = self._differentiate(inputs)
        self._apply(grads, rate)
        self.model.arrays |= statistics
        return loss

    def _apply(self, gradients: dict[str, np.ndarray], rate: float) -> None:
        assert self.rule is not None
        trained, self.slot_arrays = rules.apply(
            self.rule, self.updates, rate, self._trained(), gradients, self.slot_arrays
        )
        self.model.arrays |= trained

    def _trained(self) -> Arrays:
        return {name: self.model.arrays[name] for name in self.network.trainable}

    def _read(self, node: str, home: Home, network: str) -> np.ndarray:
        return self.models[network].arrays[f"{node}/{home.attribute}"]

    def _write(self, values: dict[str, tuple[str, Home, np.ndarray]], network: str) -> None:
        for name, (_, _, array) in values.items():
            self.models[network].arrays[name] = np.array(array)

    def _read_slot(self, slot: str, name: str) -> np.ndarray:
        return self.slot_arrays[slot][name]

    def _write_slots(self, updates: int, values: dict[str, dict[str, np.ndarray]]) -> None:
        self.slot_arrays = {
            slot: {name: np.array(array) for name, array in arrays.items()}
            for slot, arrays in values.items()
        }


BACKEND = NativeBackend(
    "numpy", NumpyLearner, {"numpy": np.__version__}, source.write, dtype="float64"
)
