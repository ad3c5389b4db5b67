"""Network, objective and update rule alive in Keras on TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from triptych.backends._keras import factors, model, rules, source
from triptych.backends._keras.layers import Dropout
from triptych.backends._keras.layouts import HOMES
from triptych.backends._keras.namespace import TensorFlowNamespace
from triptych.backends.base import BaseLearner, NativeBackend
from triptych.backends.layout import Home
from triptych.backends.protocol import Batch

XP = TensorFlowNamespace()


class KerasLearner(BaseLearner):
    """See :class:`triptych.backends.protocol.Learner`."""

    homes = HOMES

    def _build(self) -> None:
        online, self.layers = model.build(self.network, self.dtype)
        self.models = {"online": online}
        if self.has_target:
            self.models["target"] = model.build(self.network, self.dtype)[0]
        self.trained: list[Any] = [
            self._array(*self._home(name), "online") for name in self.network.trainable
        ]
        self.optimizer = (
            rules.build(self.rule, self.trained, self.dtype) if self.rule is not None else None
        )
        self._compiled_forward = {
            name: tf.function(lambda x, m=item: m(x, training=False))
            for name, item in self.models.items()
        }
        self._compiled_layers = tf.function(self._run_layers)
        self._compiled_gradients = tf.function(self._differentiate)
        self._compiled_step = tf.function(self._learn)
        self._compiled_change = tf.function(self._change)

    @property
    def model(self) -> keras.Model:
        """The ``keras.Model`` that learns."""
        return self.models["online"]

    def _native_factors(self) -> dict[str, Any]:
        """Every constant read back from the live layers and the optimizer."""
        return factors.read(self)

    def _array(self, node: str, home: Home, network: str) -> Any:
        return getattr(self.models[network].get_layer(node), home.attribute)

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

    def _objective(self, inputs: Mapping[str, Any]) -> Any:
        """Run the forward passes that the objective asks for, and the objective."""
        assert self.objective is not None
        self._set_masks(inputs)
        outputs = {}
        for item in self._passes():
            value = self.models[item.network](inputs[item.input], training=item.gradient)
            outputs[item.name] = value if item.gradient else tf.stop_gradient(value)
        self._set_masks({})
        return self.objective.loss(XP, outputs, inputs)

    def _differentiate(self, inputs: Mapping[str, Any]) -> tuple[Any, list[Any]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in self.trained])
            loss = self._objective(inputs)
        values = [variable.value for variable in self.trained]
        grads = tape.gradient(loss, values, unconnected_gradients="zero")
        return loss, [tf.convert_to_tensor(grad) for grad in grads]

    def _learn(self, inputs: Mapping[str, Any], rate: Any) -> Any:
        loss, grads = self._differentiate(inputs)
        self._change(grads, rate)
        return loss

    def _change(self, grads: list[Any], rate: Any) -> None:
        assert self.optimizer is not None and self.rule is not None
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply(rules.clip(grads, self.rule.clip), self.trained)

    # --- what the base class asks for --------------------------------------------------------

    def _forward(self, observations: np.ndarray, network: str) -> np.ndarray:
        value: np.ndarray = self._compiled_forward[network](
            tf.convert_to_tensor(observations)
        ).numpy()
        return value

    def _layer_outputs(self, inputs: Batch, training: bool) -> dict[str, np.ndarray]:
        kept = self._statistics()
        values = self._compiled_layers(self._tensors(inputs), training)
        self._restore_statistics(kept)
        return {name: value.numpy() for name, value in values.items()}

    def _loss_and_gradients(self, inputs: Batch) -> tuple[float, dict[str, np.ndarray]]:
        kept = self._statistics()
        loss, grads = self._compiled_gradients(self._tensors(inputs))
        self._restore_statistics(kept)
        pairs = zip(self.network.trainable, grads, strict=True)
        return float(loss), {name: grad.numpy() for name, grad in pairs}

    def _step(self, inputs: Batch, rate: float) -> Any:
        return self._compiled_step(self._tensors(inputs), tf.constant(rate, self.dtype))

    def _apply(self, gradients: dict[str, np.ndarray], rate: float) -> None:
        grads = [tf.convert_to_tensor(gradients[name]) for name in self.network.trainable]
        self._compiled_change(grads, tf.constant(rate, self.dtype))

    def _read(self, node: str, home: Home, network: str) -> np.ndarray:
        value: np.ndarray = self._array(node, home, network).numpy()
        return value

    def _write(self, values: dict[str, tuple[str, Home, np.ndarray]], network: str) -> None:
        for node, home, array in values.values():
            self._array(node, home, network).assign(array)

    def _read_slot(self, slot: str, name: str) -> np.ndarray:
        assert self.optimizer is not None
        place = self.network.trainable.index(name)
        value: np.ndarray = self.optimizer.slot_variables[slot][place].numpy()
        return value

    def _write_slots(self, updates: int, values: dict[str, dict[str, np.ndarray]]) -> None:
        assert self.optimizer is not None
        self.optimizer.iterations.assign(updates)
        for slot, arrays in values.items():
            for place, name in enumerate(self.network.trainable):
                self.optimizer.slot_variables[slot][place].assign(arrays[name])

    def _statistics(self) -> list[np.ndarray]:
        """Copies of the running statistics."""
        return [variable.numpy() for variable in self.model.non_trainable_variables]

    def _restore_statistics(self, kept: list[np.ndarray]) -> None:
        for variable, value in zip(self.model.non_trainable_variables, kept, strict=True):
            variable.assign(value)


BACKEND = NativeBackend(
    "keras", KerasLearner, {"keras": keras.__version__, "tensorflow": tf.__version__}, source.write
)
