"""What the learners of all backends share: checks, counting, schedules, masks, layouts.

Everything here is NumPy on the host. A backend's ``learner.py`` fills in the methods that begin
with an underscore.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from triptych.backends import objective_parts, searching
from triptych.backends.layout import Home, Homes
from triptych.backends.protocol import Batch, DType, Evaluation, Objective, Params, Slots
from triptych.errors import BackendError, BatchError
from triptych.spec.layers import Dropout
from triptych.spec.network import Network
from triptych.spec.randomness import generator, get_state, set_state
from triptych.spec.rules import Rule
from triptych.spec.schedules import FAR_COUNTS


class BaseLearner(ABC):
    """Host side of a learner; see :class:`triptych.backends.protocol.Learner` for the contract."""

    homes: Homes

    def __init__(
        self,
        network: Network,
        params: Params,
        *,
        objective: Objective | None,
        rule: Rule | None,
        dtype: DType,
        seed: int,
        target: bool,
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise BackendError(f"dtype must be float32 or float64, not {dtype!r}")
        self.network, self.objective, self.rule, self.dtype = network, objective, rule, dtype
        self.updates = 0
        self.reported: Mapping[str, Any] = {}
        self.has_target = target
        self._masks_stream = generator(seed, "dropout")
        shapes = {name: network.parameters[name].shape for name in network.trainable}
        kinds = [node.layer.kind for node in network.nodes]
        self.search = searching.build(rule, shapes, kinds, dtype)
        self.native_rule = None if self.search else rule
        """The rule that the framework computes itself: none where the host searches."""
        self._build()
        self.load_params(params)
        if target:
            self.sync_target()

    # --- filled in by each backend -----------------------------------------------------------

    @property
    @abstractmethod
    def model(self) -> Any:
        """The framework's own native model, up to date."""

    @abstractmethod
    def _build(self) -> None:
        """Create the native model, its target copy, and the optimizer."""

    @abstractmethod
    def _native_factors(self) -> dict[str, Any]:
        """Constants of layers and optimizer, read back from the native objects."""

    @abstractmethod
    def _forward(self, observations: np.ndarray, network: str) -> np.ndarray:
        """Output in inference mode."""

    def _advance(
        self, observations: np.ndarray, state: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Params]:
        """Output for one step, and the state after it, in inference mode."""
        raise NotImplementedError

    @abstractmethod
    def _layer_outputs(self, inputs: Batch, training: bool) -> dict[str, np.ndarray]:
        """Every node's output; key ``observation`` and the masks are in ``inputs``."""

    @abstractmethod
    def _loss_and_gradients(self, inputs: Batch) -> tuple[float, dict[str, np.ndarray]]:
        """Loss and native-layout gradients by canonical name, statistics left alone."""

    @abstractmethod
    def _step(self, inputs: Batch, rate: float) -> Any:
        """One update; returns the loss."""

    @abstractmethod
    def _apply(self, gradients: dict[str, np.ndarray], rate: float) -> None:
        """One update from native-layout gradients."""

    @abstractmethod
    def _read(self, node: str, home: Home, network: str) -> np.ndarray:
        """A native array of a node."""

    @abstractmethod
    def _write(self, values: dict[str, tuple[str, Home, np.ndarray]], network: str) -> None:
        """Replace native arrays, given by canonical name as (node, home, native array)."""

    @abstractmethod
    def _read_slot(self, slot: str, name: str) -> np.ndarray:
        """A slot of a parameter in native layout."""

    @abstractmethod
    def _write_slots(self, updates: int, values: dict[str, dict[str, np.ndarray]]) -> None:
        """Replace all slots, native layouts."""

    # --- the contract ------------------------------------------------------------------------

    def outputs(self, observations: np.ndarray, network: str = "online") -> np.ndarray:
        """Return the network's output in inference mode."""
        self._check_network(network)
        self._check_shape("observation", observations)
        return self._forward(self._cast(observations), network)

    def start(self, batch: int) -> Params:
        """Return the state before the first step of ``batch`` sequences: zeros."""
        states = self.network.states
        return {name: np.zeros((batch, *shape), self.dtype) for name, shape in states.items()}

    def step(
        self, observations: np.ndarray, state: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Params]:
        """Return the output for one step of (batch, features), and the state after it."""
        expected = self.start(len(observations))
        self._check_names(state, tuple(expected), "states")
        self._check_shape("observation", np.expand_dims(observations, 1), time=1)
        for name, array in expected.items():
            if np.shape(state[name]) != array.shape:
                raise BatchError(
                    f"state {name!r} has shape {np.shape(state[name])} but {array.shape} was "
                    "expected; begin with start()"
                )
        given = {name: np.asarray(state[name], self.dtype) for name in expected}
        return self._advance(self._cast(observations), given)

    def layer_outputs(self, observations: np.ndarray, training: bool = False) -> Params:
        """Return every node's output by name."""
        self._check_shape("observation", observations)
        state = get_state(self._masks_stream)
        inputs = {"observation": self._cast(observations)}
        if training:
            inputs |= self._draw_masks(len(observations))
            set_state(self._masks_stream, state)
        return self._layer_outputs(inputs, training)

    def factors(self) -> dict[str, Any]:
        """Return every constant that is really used, by place and name."""
        found = {"dtype": self.dtype} | self._native_factors()
        if self.search is not None:
            found |= {f"optimizer.{key}": item for key, item in self.search.factors().items()}
        elif self.rule is not None:
            rates = {count: self.rule.rate.value(count) for count in FAR_COUNTS}
            found |= {f"optimizer.rate at update {count}": rate for count, rate in rates.items()}
        own = objective_parts.factors(self.objective)
        found |= {f"objective.{key}": value for key, value in own.items()}
        return found

    def loss(self, batch: Batch) -> float:
        """Return the objective on a batch."""
        return self._peek(batch)[0]

    def gradients(self, batch: Batch) -> Params:
        """Return the gradient of every trainable parameter in the canonical layout."""
        native = self._peek(batch)[1]
        return {name: self._home(name)[1].to_canonical(native[name]) for name in native}

    def update(self, batch: Batch) -> Any:
        """Make one update and return the loss before it."""
        rule, inputs = self._need_rule(), self._inputs(batch)
        if self.search is not None:
            loss = self._searched(inputs, self.search)
        else:
            loss = self._step(inputs, rule.rate.value(self.updates))
        self.updates += 1
        return loss

    def apply_gradients(self, gradients: Params) -> None:
        """Make one update with the given gradients."""
        rule = self._need_rule()
        if self.search is not None:
            raise BackendError(
                f"rule {rule.name!r} asks for losses at points of its own choice and cannot be "
                "given gradients; use update()"
            )
        self._check_names(gradients, self.network.trainable, "gradients")
        native = {n: self._native(n, gradients[n]) for n in self.network.trainable}
        self._apply(native, rule.rate.value(self.updates))
        self.updates += 1

    def params(self, network: str = "online") -> Params:
        """Return all arrays in the canonical layout, as copies."""
        self._check_network(network)
        found = {}
        for name in self.network.parameters:
            node, home = self._home(name)
            found[name] = np.array(home.to_canonical(self._read(node, home, network)), order="C")
        return found

    def load_params(self, params: Params, network: str = "online") -> None:
        """Replace all arrays."""
        self._check_network(network)
        self._check_names(params, tuple(self.network.parameters), "params")
        values = {}
        for name in self.network.parameters:
            node, home = self._home(name)
            values[name] = (node, home, self._native(name, params[name]))
        self._write(values, network)
        if self.search is not None and network == "online":
            self.search.begin()

    def slots(self) -> Slots:
        """Return the optimizer's state in the canonical layout."""
        rule = self._need_rule()
        if self.search is not None:
            return Slots(self.updates, self.search.slots(), dict(self.search.numbers))
        values = {
            slot: {
                name: np.array(self._home(name)[1].to_canonical(self._read_slot(slot, name)))
                for name in self.network.trainable
            }
            for slot in rule.slots
        }
        return Slots(self.updates, values)

    def load_slots(self, slots: Slots) -> None:
        """Replace the optimizer's state."""
        rule = self._need_rule()
        self._check_names(slots.values, rule.slots, "slots")
        for slot in rule.slots:
            self._check_names(slots.values[slot], self.network.trainable, f"slot {slot!r}")
        self._check_names(slots.numbers, rule.numbers, "numbers")
        native = {
            slot: {
                name: self._native(name, slots.values[slot][name]) for name in slots.values[slot]
            }
            for slot in rule.slots
        }
        self.updates = slots.updates
        if self.search is not None:
            return self.search.load(slots.values, slots.numbers)
        self._write_slots(slots.updates, native)

    def sync_target(self) -> None:
        """Copy the online network into the target network."""
        self.load_params(self.params(), "target")

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on exactly."""
        state: dict[str, Any] = {
            "params": self.params(),
            "dropout": get_state(self._masks_stream),
            "updates": self.updates,
        }
        if self.rule is not None:
            slots = self.slots()
            state |= {"slots": slots.values, "numbers": slots.numbers}
        if self.has_target:
            state["target"] = self.params("target")
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a state from :meth:`state` back."""
        self.load_params(state["params"])
        set_state(self._masks_stream, state["dropout"])
        self.updates = int(state["updates"])
        if self.rule is not None:
            kept = (dict(state.get(key, {})) for key in ("slots", "numbers"))
            self.load_slots(Slots(self.updates, *kept))
        if self.has_target:
            self.load_params(state["target"], "target")

    # --- helpers -----------------------------------------------------------------------------

    def _peek(self, batch: Batch) -> tuple[float, dict[str, np.ndarray]]:
        """Loss and gradients without moving the stream of dropout masks."""
        state = get_state(self._masks_stream)
        result = self._loss_and_gradients(self._inputs(batch))
        set_state(self._masks_stream, state)
        return result

    def _searched(self, inputs: Batch, search: searching.Search) -> float:
        """One update of a rule that searches; the learner ends at the point that it chose."""

        def move(params: Params) -> None:
            homes = {name: self._home(name) for name in params}
            self._write({n: (*homes[n], self._native(n, a)) for n, a in params.items()}, "online")

        def at(params: Params) -> tuple[float, Params]:
            move(params)
            loss, native = self._loss_and_gradients(inputs)
            return loss, {n: self._home(n)[1].to_canonical(native[n]) for n in params}

        params = self.params()
        trained = {name: params[name] for name in self.network.trainable}
        loss, after = search.update(trained, self.updates, at)
        move(after)
        return loss

    def _home(self, name: str) -> tuple[str, Home]:
        """The node and the native home of a canonical array."""
        node, local = name.rsplit("/", 1)
        return node, self.homes[self.network.by_name[node].layer.kind][local]

    def _natives(self) -> dict[tuple[str, str], list[str]]:
        """The names of the arrays that learn, by (node, attribute) of the native array they are
        parts of."""
        found: dict[tuple[str, str], list[str]] = {}
        for name in self.network.trainable:
            node, home = self._home(name)
            found.setdefault((node, home.attribute), []).append(name)
        return found

    def _native(self, name: str, array: np.ndarray) -> np.ndarray:
        expected = self.network.parameters[name].shape
        if tuple(np.shape(array)) != expected:
            raise BatchError(f"{name} has shape {np.shape(array)} but {expected} was expected")
        return self._home(name)[1].to_native(np.asarray(array, dtype=self.dtype))

    def _passes(self) -> list[Evaluation]:
        """The objective's forward passes, those in inference mode first: they use the running
        statistics from before the update, which passes in training mode move."""
        assert self.objective is not None
        return sorted(self.objective.evaluations, key=lambda item: item.gradient)

    def _results(self, item: Evaluation, values: Mapping[str, Any]) -> dict[str, Any]:
        """What an objective asks of one pass, from every node's output."""
        own = {f"{item.name}/{node}": values[node] for node in item.nodes}
        return {item.name: values[self.network.output.name]} | own

    def _inputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """The batch in the types of the step, with dropout masks drawn for it."""
        if self.objective is None:
            raise BackendError("this learner was built without an objective and cannot learn")
        for evaluation in self.objective.evaluations:
            if evaluation.input not in batch:
                raise BatchError(
                    f"the batch lacks {evaluation.input!r}, which the objective reads; "
                    f"it has {', '.join(batch)}"
                )
            self._check_shape(evaluation.input, batch[evaluation.input])
        size = len(batch[self.objective.evaluations[0].input])
        return {key: self._cast(value) for key, value in batch.items()} | self._draw_masks(size)

    def _cast(self, value: np.ndarray) -> np.ndarray:
        """Real numbers in the learner's type; integers and booleans as they are."""
        array = np.asarray(value)
        return array.astype(self.dtype, copy=False) if array.dtype.kind == "f" else array

    def _draw_masks(self, size: int) -> dict[str, np.ndarray]:
        """One mask per dropout node and example: true where the value is kept."""
        return {
            f"mask/{node.name}": self._masks_stream.random((size, *self.network.shapes[node.name]))
            >= node.layer.rate  # type: ignore[attr-defined]
            for node in self.network.nodes_of(Dropout)
        }

    def _need_rule(self) -> Rule:
        if self.rule is None:
            raise BackendError("this learner was built without an update rule and cannot learn")
        return self.rule

    def _check_network(self, network: str) -> None:
        if network != "online" and not (network == "target" and self.has_target):
            raise BackendError(f"this learner has no network {network!r}")

    def _check_shape(self, key: str, array: np.ndarray, time: int | None = None) -> None:
        """Raise BatchError for another shape than the input's; ``time`` is another length."""
        expected = self.network.shapes[self.network.input.name]
        expected = expected if time is None else (time, *expected[1:])
        if tuple(np.shape(array))[1:] != expected:
            raise BatchError(
                f"batch[{key!r}] has shape {np.shape(array)} but (batch, "
                f"{', '.join(map(str, expected))}) was expected"
            )

    def _check_names(self, given: Mapping[str, Any], expected: Any, what: str) -> None:
        lacking = [name for name in expected if name not in given]
        extra = [name for name in given if name not in expected]
        if lacking or extra:
            raise BatchError(
                f"{what} do not belong to this network:"
                + (f" lacking {', '.join(lacking)}" if lacking else "")
                + (f" unknown {', '.join(extra)}" if extra else "")
            )
