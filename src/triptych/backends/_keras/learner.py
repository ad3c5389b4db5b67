"""Network, objective and update rule alive in Keras on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from triptych.backends import objective_parts
from triptych.backends._keras import factors, model, rules, source
from triptych.backends._keras.layers import Dropout
from triptych.backends._keras.layouts import HOMES
from triptych.backends._keras.namespace import TensorFlowNamespace
from triptych.backends.base import BaseLearner
from triptych.backends.layout import Home, join
from triptych.backends.offering import NativeBackend
from triptych.backends.protocol import Batch

XP = TensorFlowNamespace()
_NODES_FOR_XLA = 40
"""An agent's network compiles in a second or two, MobileNetV2's 150 nodes in more than a minute."""
_NUMBERS_FOR_XLA = 100_000
"""Of fewer parameters, an update rule is done before XLA has compiled it."""


class KerasLearner(BaseLearner):
    """See :class:`triptych.backends.protocol.Learner`."""

    homes = HOMES

    def _build(self) -> None:
        online, self.layers = model.build(self.network, self.dtype)
        self.models = {"online": online}
        if self.has_target:
            self.models["target"] = model.build(self.network, self.dtype)[0]
        self.natives = self._natives()
        self.trained: list[Any] = [
            self._variable(node, attribute, "online") for node, attribute in self.natives
        ]
        self.optimizer = (
            rules.build(self.native_rule, self.trained, self.dtype) if self.native_rule else None
        )
        self._compiled_forward = {
            name: tf.function(_inference(item)) for name, item in self.models.items()
        }
        self._compiled_for_one: dict[tuple[str, Any], Any] = {}
        self._compiled_step_forward = tf.function(
            lambda x, state: model.step(self.network, self.model, x, state)
        )
        self._compiled_layers = tf.function(self._run_layers)
        self._compiled_gradients = tf.function(self._differentiate)
        self._compiled_step = tf.function(self._learn)
        self._compiled_change = tf.function(self._change)
        self._apply_rule = self._rule_for_all()

    @property
    def model(self) -> keras.Model:
        """The ``keras.Model`` that learns."""
        return self.models["online"]

    def _native_factors(self) -> dict[str, Any]:
        """Every constant read back from the live layers and the optimizer."""
        return factors.read(self)

    def _variable(self, node: str, attribute: str, network: str) -> Any:
        return attrgetter(attribute)(self.models[network].get_layer(node))

    def _weight(self, name: str) -> Any:
        """An array that the objective reads, with its gradient."""
        node, home = self._home(name)
        return home.piece(self._variable(node, home.attribute, "online").value)

    def _pieces(self, arrays: Sequence[Any]) -> dict[str, Any]:
        """One array per trained variable -> their parts by canonical name."""
        owners = zip(self.natives.values(), arrays, strict=True)
        return {n: self._home(n)[1].piece(array) for names, array in owners for n in names}

    def _joined(self, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Native parts by canonical name -> one array per trained variable."""
        return [
            join(tuple(v.shape), self.dtype, [(self._home(n)[1], values[n]) for n in names])
            for v, names in zip(self.trained, self.natives.values(), strict=True)
        ]

    def _tensors(self, inputs: Batch) -> dict[str, Any]:
        return {key: tf.convert_to_tensor(value) for key, value in inputs.items()}

    # --- compiled functions ------------------------------------------------------------------

    def _set_masks(self, inputs: Mapping[str, Any]) -> None:
        """Hand the masks of this trace to the dropout layers."""
        for layer in self.model.layers:
            if isinstance(layer, Dropout):
                layer.mask = inputs.get(f"mask/{layer.name}")

    def _run_layers(self, inputs: Any, training: bool) -> Any:
        self._set_masks(inputs)
        values = self.layers(inputs["observation"], training=training)
        self._set_masks({})
        return values

    def _objective(self, inputs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Run the forward passes that the objective asks for; return its loss and its reports."""
        assert self.objective is not None
        self._set_masks(inputs)
        outputs = {name: self._weight(name) for name in objective_parts.reads(self.objective)}
        for item in self._passes():
            # All nodes' outputs are asked for only where some are read: target networks have none.
            if item.nodes:
                values = self.layers(inputs[item.input], training=item.gradient)
            else:
                last = self.models[item.network](inputs[item.input], training=item.gradient)
                values = {self.network.output.name: last}
            found = self._results(item, values)
            keep = tf.identity if item.gradient else tf.stop_gradient
            outputs |= {name: keep(value) for name, value in found.items()}
        self._set_masks({})
        loss = self.objective.loss(XP, outputs, inputs)
        return loss, objective_parts.reports(self.objective, XP, outputs, inputs)

    def _differentiate(self, inputs: Mapping[str, Any]) -> tuple[Any, list[Any], dict[str, Any]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in self.trained])
            loss, reports = self._objective(inputs)
        values = [variable.value for variable in self.trained]
        grads = tape.gradient(loss, values, unconnected_gradients="zero")
        return loss, [tf.convert_to_tensor(grad) for grad in grads], reports

    def _learn(self, inputs: Mapping[str, Any], rate: Any) -> tuple[Any, dict[str, Any]]:
        loss, grads, reports = self._differentiate(inputs)
        self._change(grads, rate)
        return loss, reports

    def _change(self, grads: list[Any], rate: Any) -> None:
        assert self.optimizer is not None
        self.optimizer.learning_rate.assign(rate)
        self._apply_rule(self._clip(grads))

    def _rule_for_all(self) -> Callable[[list[Any]], None]:
        """The optimizer's work on all variables at once.

        XLA makes one pass over a variable of what TensorFlow makes a dozen of: half the time where
        there are millions of parameters.
        """
        many = self.network.parameter_count >= _NUMBERS_FOR_XLA
        large = many and len(self.trained) <= _NODES_FOR_XLA
        return tf.function(self._rule, jit_compile=True) if large else self._rule

    def _rule(self, grads: list[Any]) -> None:
        assert self.optimizer is not None
        self.optimizer.apply(grads, self.trained)

    def _clip(self, grads: list[Any]) -> list[Any]:
        """Clipped gradients; where each parameter has a norm of its own, part by part."""
        assert self.rule is not None
        if self.rule.clip.norm is None or len(grads) == len(self.network.trainable):
            return rules.clip(grads, self.rule.clip)
        pieces = self._pieces(grads)
        clipped = dict(zip(pieces, rules.clip(list(pieces.values()), self.rule.clip), strict=True))
        return [self._merged(names, clipped) for names in self.natives.values()]

    def _merged(self, names: list[str], pieces: Mapping[str, Any]) -> Any:
        """The inverse of :meth:`_pieces` for one variable, inside the compiled step."""
        homes = {name: self._home(name)[1] for name in names}
        rows = []
        for row in sorted({home.row or 0 for home in homes.values()}):
            own = [name for name in names if (homes[name].row or 0) == row]
            own.sort(key=lambda name: homes[name].part or (0, 1))
            rows.append(tf.concat([pieces[name] for name in own], axis=-1))
        return rows[0] if len(rows) == 1 else tf.stack(rows)

    # --- what the base class asks for --------------------------------------------------------

    def _forward(self, observations: np.ndarray, network: str) -> np.ndarray:
        x = tf.convert_to_tensor(observations)
        one = len(observations) == 1 and len(self.network.nodes) <= _NODES_FOR_XLA
        forward = self._for_one(x, network) if one else self._compiled_forward[network]
        value: np.ndarray = forward(x).numpy()
        return value

    def _for_one(self, x: Any, network: str) -> Any:
        """The forward pass of a single observation, as an agent acts.

        It is compiled by XLA where XLA knows all of its operations and the network is no deep one,
        and called without looking for a signature: half the time, most of which is TensorFlow's own
        at this size.
        """
        key = network, x.dtype
        if key not in self._compiled_for_one:
            run, spec = (
                self._compiled_forward[network].python_function,
                tf.TensorSpec.from_tensor(x),
            )
            made = tf.function(run, jit_compile=True).get_concrete_function(spec)
            try:
                made(x)
            except tf.errors.OpError:
                made = tf.function(run).get_concrete_function(spec)
            self._compiled_for_one[key] = made
        return self._compiled_for_one[key]

    def _advance(
        self, observations: np.ndarray, state: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        kind = self.dtype if self.network.input.layer.values == "real" else "int32"  # type: ignore[attr-defined]
        x = tf.cast(tf.convert_to_tensor(observations), kind)
        last, after = self._compiled_step_forward(x, self._tensors(state))
        return last.numpy(), {name: value.numpy() for name, value in after.items()}

    def _layer_outputs(self, inputs: Batch, training: bool) -> dict[str, np.ndarray]:
        kept = self._statistics()
        values = self._compiled_layers(self._tensors(inputs), training)
        self._restore_statistics(kept)
        return {name: value.numpy() for name, value in values.items()}

    def _loss_and_gradients(self, inputs: Batch) -> tuple[float, dict[str, np.ndarray]]:
        kept = self._statistics()
        loss, grads, _ = self._compiled_gradients(self._tensors(inputs))
        self._restore_statistics(kept)
        return float(loss), self._pieces([grad.numpy() for grad in grads])

    def _step(self, inputs: Batch, rate: float) -> Any:
        loss, self.reported = self._compiled_step(
            self._tensors(inputs), tf.constant(rate, self.dtype)
        )
        return loss

    def _apply(self, gradients: dict[str, np.ndarray], rate: float) -> None:
        grads = [tf.convert_to_tensor(grad) for grad in self._joined(gradients)]
        self._compiled_change(grads, tf.constant(rate, self.dtype))

    def _read(self, node: str, home: Home, network: str) -> np.ndarray:
        value: np.ndarray = home.piece(self._variable(node, home.attribute, network).numpy())
        return value

    def _write(self, values: dict[str, tuple[str, Home, np.ndarray]], network: str) -> None:
        for node, home, array in values.values():
            variable = self._variable(node, home.attribute, network)
            if not home.is_whole:
                whole = np.array(variable.numpy())
                home.piece(whole)[...] = array
                array = whole
            variable.assign(array)

    def _read_slot(self, slot: str, name: str) -> np.ndarray:
        assert self.optimizer is not None
        node, home = self._home(name)
        place = list(self.natives).index((node, home.attribute))
        value: np.ndarray = home.piece(self.optimizer.slot_variables[slot][place].numpy())
        return value

    def _write_slots(self, updates: int, values: dict[str, dict[str, np.ndarray]]) -> None:
        assert self.optimizer is not None
        self.optimizer.iterations.assign(updates)
        for slot, arrays in values.items():
            for place, array in enumerate(self._joined(arrays)):
                self.optimizer.slot_variables[slot][place].assign(array)

    def _statistics(self) -> list[np.ndarray]:
        """Copies of the running statistics."""
        return [variable.numpy() for variable in self.model.non_trainable_variables]

    def _restore_statistics(self, kept: list[np.ndarray]) -> None:
        for variable, value in zip(self.model.non_trainable_variables, kept, strict=True):
            variable.assign(value)


def _inference(item: keras.Model) -> Callable[[Any], Any]:
    """A model's forward pass; as a default argument the model would be looked at in every call."""
    return lambda x: item(x, training=False)


BACKEND = NativeBackend(
    "keras", KerasLearner, {"keras": keras.__version__, "tensorflow": tf.__version__}, source.write
)
