"""A user's own Keras model, optimizer and loss, alive: see ``backends/native.py``.

Which layer is which kind, and where its arrays live, is in ``native_layers.py``. Keras takes
the type of everything from ``floatx``, so that all is done while it is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from triptych.backends._keras import native_layers
from triptych.backends._keras.native_reading import loss_factors, optimizer_factors
from triptych.backends.native import Native, Setup
from triptych.backends.native_base import BaseNative, Handler
from triptych.backends.native_checks import unfit
from triptych.backends.native_parts import Place
from triptych.backends.protocol import Batch, DType, Params, Slots
from triptych.errors import SetupError, in_one_line

_SLOTS = {
    "Adam": {"first_moment": "_momentums", "second_moment": "_velocities"},
    "AdamW": {"first_moment": "_momentums", "second_moment": "_velocities"},
    "RMSprop": {"second_moment": "_velocities"},
    "Adagrad": {"accumulator": "_accumulators"},
}
"""Where an optimizer keeps what the spec's slots mean; SGD's buffer has the rate in it."""


@contextmanager
def _floatx(dtype: str) -> Iterator[None]:
    """Let Keras make everything in this type: by ``floatx`` and by the policy made of it."""
    before, policy = keras.backend.floatx(), keras.config.dtype_policy()
    keras.backend.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.backend.set_floatx(before)
        keras.config.set_dtype_policy(policy)


class KerasNative(BaseNative):
    """See :class:`triptych.backends.native.Native`."""

    framework = "keras"

    def __init__(self, setup: Setup, where: str, dtype: DType) -> None:
        self._own_dtype = keras.config.dtype_policy().compute_dtype
        with _floatx(dtype):
            super().__init__(setup, where, dtype)

    @property
    def own_dtype(self) -> str:
        """The type that the user's own arrays have outside."""
        return self._own_dtype

    def _begin(self) -> None:
        self.model, self.optimizer = self.objects["model"], self.objects["optimizer"]
        if not isinstance(self.optimizer, keras.optimizers.Optimizer):
            raise unfit(
                self.where, "optimizer", self.optimizer,
                "a keras optimizer, since the model is Keras'",
            )  # fmt: skip
        self._build_model()
        self.trained = list(self.model.trainable_variables)
        self._check_types()
        self.optimizer.build(self.trained)
        for owner in (self.optimizer, self.optimizer._learning_rate, *self.model._flatten_layers()):
            _keep_digits(owner)
        self._first_slots = [tf.identity(v.value) for v in self.optimizer.variables]
        self.leaves, self._layers = native_layers.leaves(self.model)
        self._compiled = tf.function(self._loss_and_gradients)
        self._compiled_step = tf.function(self._step)

    def _build_model(self) -> None:
        inputs = self._as_type(self._numpy(self.objects["batch"][0]))
        try:
            self.model(self._tensor(inputs), training=False)
        except Exception as error:
            raise SetupError(
                f"{self.where}: the model can't take the batch's input of shape {inputs.shape} and "
                f"type {inputs.dtype}: {in_one_line(error)}"
            ) from error

    def _check_types(self) -> None:
        for variable in self.model.weights:
            if "float" in variable.dtype and variable.dtype != self.dtype:
                raise SetupError(
                    f"{self.where}: {variable.path} is {variable.dtype} although Keras' floatx is "
                    f"{self.dtype}; build the model inside the function and give no dtype"
                )

    # --- forward ------------------------------------------------------------------------------

    def _run(self, inputs: np.ndarray, training: bool, handler: Handler) -> np.ndarray:
        with _floatx(self.dtype), self._kept_statistics(training), self._watched(handler):
            return self._numpy(self.model(self._tensor(inputs), training=training))

    @contextmanager
    def _watched(self, handler: Handler) -> Iterator[None]:
        """Let the handler decide what each main layer returns, before the layer's activation.

        Attributes are set past Keras' tracking, which has no business with them.
        """
        for path, layer in self._layers.items():
            object.__setattr__(layer, "call", _wrapped(path, layer, layer.call, handler))
        try:
            yield
        finally:
            for layer in self._layers.values():
                object.__delattr__(layer, "call")

    @contextmanager
    def _kept_statistics(self, training: bool) -> Iterator[None]:
        variables = self.model.non_trainable_variables if training else []
        kept = [(v, tf.identity(v.value)) for v in variables]
        try:
            yield
        finally:
            for variable, value in kept:
                variable.assign(value)

    def _layer(self, path: str, inputs: np.ndarray, training: bool) -> np.ndarray:
        layer = self._layers[path]
        options = {"training": training} if layer._call_has_training_arg else {}
        with _floatx(self.dtype), self._kept_statistics(training), _raw(layer):
            # Not through ``__call__``, which refuses other shapes than those it was built with.
            return self._numpy(layer.call(self._tensor(inputs), **options))

    def _tensor(self, array: np.ndarray) -> Any:
        return tf.convert_to_tensor(array)

    def _numpy(self, tensor: Any) -> np.ndarray:
        return np.asarray(tensor)

    def _get(self, handle: Any) -> np.ndarray:
        return np.array(handle)

    def _set(self, handle: Any, array: np.ndarray) -> None:
        handle.assign(array)

    # --- loss and learning ----------------------------------------------------------------------

    def _loss_of(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        with _floatx(self.dtype):
            loss = self.objects["loss"]
            return self._numpy(loss(self._tensor(targets), self._tensor(outputs)))

    def _evaluate(self, inputs: Any, targets: Any, masks: Mapping[str, Any]) -> Any:
        """The loss in training mode as ``fit`` has it: the mean, and what the layers add."""

        def drop(path: str, x: Any, call: Callable[[], Any]) -> Any:
            return self._masked(path, x, masks) if path in masks else call()

        with self._watched(drop):
            output = self.model(inputs, training=True)
        try:
            loss = self.objects["loss"](targets, output)
        except Exception as error:
            raise SetupError(
                f"{self.where}: 'loss' can't take the target {tuple(targets.shape)} "
                f"{targets.dtype.name} and the model's output {tuple(output.shape)}: "
                f"{in_one_line(error)}; Keras' order is (y_true, y_pred)"
            ) from error
        return tf.add_n([tf.reduce_mean(loss), *self.model.losses])

    def _loss_and_gradients(self, inputs: Any, targets: Any, masks: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = self._evaluate(inputs, targets, masks)
        values = [variable.value for variable in self.trained]
        grads = tape.gradient(loss, values, unconnected_gradients="zero")
        return loss, [tf.convert_to_tensor(grad) for grad in grads]

    def _step(self, inputs: Any, targets: Any, masks: Any) -> Any:
        loss, grads = self._loss_and_gradients(inputs, targets, masks)
        self.optimizer.apply(grads, self.trained)
        return loss

    def _given(self, batch: Batch) -> tuple[Any, Any, dict[str, Any]]:
        inputs, targets = self._native_batch(batch)
        masks = {path: self._tensor(m) for path, m in self._masks(len(inputs)).items()}
        return self._tensor(inputs), self._tensor(targets), masks

    def loss(self, batch: Batch) -> float:
        """Return the loss on a batch, in training mode, without learning from it."""
        with _floatx(self.dtype), self._kept_statistics(True):
            return float(self._compiled(*self._given(batch))[0])

    def gradients(self, batch: Batch) -> Params:
        """Return the gradient of every trainable array."""
        with _floatx(self.dtype), self._kept_statistics(True):
            _, grads = self._compiled(*self._given(batch))
        return self._by_name([np.asarray(grad) for grad in grads])

    def update(self, batch: Batch) -> Any:
        """Make one update with the user's optimizer; return the loss before it."""
        with _floatx(self.dtype):
            loss = self._compiled_step(*self._given(batch))
        self.updates += 1
        return loss

    def redraw(self) -> Params | None:
        """Return the params of a second call of the user's function; None if they are the same."""
        with _floatx(self.dtype):
            return super().redraw()

    def play(
        self, gradients: Sequence[Params], start: Params | None = None, first: int = 0
    ) -> list[Params]:
        """Return the trainable params after each of the given gradients."""
        kept = [tf.identity(v.value) for v in self.optimizer.variables]
        params, updates, found = self.params(), self.updates, []
        try:
            self.restart(params | dict(start or {}))
            self.optimizer.iterations.assign(first)
            for gradient in gradients:
                self._apply(gradient)
                found.append(self._by_name([np.array(v) for v in self.trained]))
        finally:
            self.load_params(params)
            self.updates = updates
            for variable, value in zip(self.optimizer.variables, kept, strict=True):
                variable.assign(value)
        return found

    def _apply(self, gradient: Params) -> None:
        """Make one update with a given gradient."""
        wholes = {id(v): np.zeros(tuple(v.shape), self.dtype) for v in self.trained}
        for name in self.trainable:
            place = self._places[name]
            native = np.asarray(gradient[name], self.dtype)
            wholes[id(place.handle)] = place.to_native(native, wholes[id(place.handle)])
        with _floatx(self.dtype):
            self.optimizer.apply([tf.constant(wholes[id(v)]) for v in self.trained], self.trained)

    def _by_name(self, arrays: Sequence[np.ndarray]) -> Params:
        """Arrays in the order of the trained variables, by canonical name."""
        by_variable = {id(v): array for v, array in zip(self.trained, arrays, strict=True)}
        places: list[tuple[str, Place]] = [(name, self._places[name]) for name in self.trainable]
        return {
            name: place.to_canonical(by_variable[id(place.handle)]).astype(self.dtype)
            for name, place in places
        }

    def _restart(self) -> None:
        for variable, value in zip(self.optimizer.variables, self._first_slots, strict=True):
            variable.assign(value)

    def slots(self) -> Slots:
        """Return the optimizer's state where its meaning is known, else no values."""
        values = {}
        for slot, attribute in _SLOTS.get(type(self.optimizer).__name__, {}).items():
            arrays = getattr(self.optimizer, attribute)
            values[slot] = self._by_name([np.array(array) for array in arrays])
        return Slots(self.updates, values)

    # --- factors --------------------------------------------------------------------------------

    def _optimizer_factors(self) -> dict[str, Any]:
        with _floatx(self.dtype):  # a schedule's constants too are made in it
            return optimizer_factors(self.optimizer)

    def _loss_factors(self) -> dict[str, Any]:
        return loss_factors(self.objects["loss"])


def _keep_digits(owner: Any) -> None:
    """Let an object's Python numbers reach float64 arithmetic as they are.

    ``ops.cast`` takes a Python number through float32, which moves a decay of 0.999 by 1e-8 and
    Adam's first step by 1e-5: rounding, which float64 is there to leave out.
    """
    for name, value in list(getattr(owner, "__dict__", {}).items()):
        if type(value) is float:
            object.__setattr__(owner, name, np.float64(value))


def _wrapped(
    path: str, layer: Any, call: Callable[..., Any], handler: Handler
) -> Callable[..., Any]:
    def wrapped(x: Any, *rest: Any, **options: Any) -> Any:
        activation = getattr(layer, "activation", None) if native_layers.bends(layer) else None

        def raw() -> Any:
            with _raw(layer):
                return call(x, *rest, **options)

        output = handler(path, x, raw)
        return output if activation is None else activation(output)

    return wrapped


@contextmanager
def _raw(layer: Any) -> Iterator[None]:
    """Let a layer compute without the activation it brings along."""
    if not native_layers.bends(layer):
        yield
        return
    activation = layer.activation
    object.__setattr__(layer, "activation", None)
    try:
        yield
    finally:
        object.__setattr__(layer, "activation", activation)


class _Backend:
    expected = "a keras.Model"

    def owns(self, objects: Mapping[str, Any]) -> bool:
        """Return whether the model is a ``keras.Model``."""
        return isinstance(objects.get("model"), keras.Model)

    def build(self, setup: Setup, where: str, dtype: DType) -> Native:
        """Call the user's function and return the setup, in this type."""
        if keras.backend.backend() != "tensorflow":
            raise SetupError(
                f"{where}: Keras runs on {keras.backend.backend()} here, expected TensorFlow; "
                "unset KERAS_BACKEND"
            )
        return KerasNative(setup, where, dtype)


NATIVE = _Backend()
