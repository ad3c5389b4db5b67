"""A Keras model once more, flat and in any type: the same layers, made anew from their configs.

Keras builds in the type of the moment, so that a model at home in float32 is built once more to
compute in float64; its gradients too are taken of such a copy, whose statistics may move. What is
ported is in ``porting.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, tree

from triptych.backends._keras.layers import _gelu, _leaky_relu
from triptych.backends._keras.native import _floatx, _keep_digits
from triptych.backends._keras.porting.graph import Read, walk
from triptych.backends.protocol import DType, Params


class Twin:
    """A walked model rebuilt in a type, with the same arrays.

    Args:
        function: the model's graph.
        shape: of one input.
        dtype: the type to compute in.
        index: whether the inputs are indices.

    Attributes:
        copies: by a variable's id its copy here.
        values: by a call's name, what stands for its output.
    """

    def __init__(self, function: Any, shape: Sequence[int], dtype: DType, index: bool) -> None:
        self.dtype = dtype
        self._clones: dict[int, tuple[Any, Any]] = {}
        self._names: set[str] = set()
        with _floatx(dtype), exact_functions():
            start = keras.Input(tuple(shape), dtype="int32" if index else dtype)
            self.values: dict[str, Any] = {}
            (output,) = tree.flatten(walk(function, [start], self._call, "the source"))
            self.model = keras.Model(start, output)
        self._pairs = [both for both in self._clones.values() if isinstance(both[0], layers.Layer)]
        for _, clone in self._pairs:
            for part in clone._flatten_layers():
                _keep_digits(part)
        self.copies = {
            id(own): other
            for op, clone in self._pairs
            for own, other in zip(op.weights, clone.weights, strict=True)
        }
        self.load()

    def _call(self, op: Any, args: Sequence[Any], options: Mapping[str, Any], call: str) -> Any:
        if id(op) not in self._clones:
            self._clones[id(op)] = (op, self._clone(op, call))
        value = self._clones[id(op)][1](*args, **options)
        self.values[call] = value
        return value

    def _clone(self, op: Any, call: str) -> Any:
        config = retyped(op.get_config(), self.dtype)
        name = base = call.replace("/", "_").replace(":", "_")
        while name in self._names:
            name += "_"
        self._names.add(name)
        config["name"] = name if name != base or "/" in call else op.name
        return type(op).from_config(config)

    def load(self) -> None:
        """Take the arrays over as they are now."""
        for op, clone in self._pairs:
            for own in op.weights:
                copy = self.copies[id(own)]
                copy.assign(np.asarray(own).astype(copy.dtype))
            _settle(op, clone)

    def outputs(self, inputs: np.ndarray) -> np.ndarray:
        """Return the output in inference mode."""
        with _floatx(self.dtype), exact_functions():
            return np.asarray(self.model(tf.convert_to_tensor(inputs), training=False))

    def layer_outputs(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return what every call gives in inference mode, by its name."""
        with _floatx(self.dtype), exact_functions():
            many = keras.Model(self.model.inputs, self.values)
            found = many(tf.convert_to_tensor(inputs), training=False)
        return {call: np.asarray(value) for call, value in found.items()}

    def gradients(self, inputs: np.ndarray, weights: np.ndarray) -> dict[int, np.ndarray]:
        """Return the gradient of ``sum(output * weights)`` by the original variable's id.

        All learn. In training mode, in which batch norms take the statistics of the batch; no
        other layer is told of it, so that none drops anything.
        """
        self.load()
        self.model.trainable = True
        with _floatx(self.dtype), exact_functions(), tf.GradientTape() as tape:
            tape.watch([copy.value for copy in self.copies.values()])
            start = [tf.convert_to_tensor(inputs)]
            (output,) = walk(self.model, start, _train, "the source")
            loss = tf.reduce_sum(output * tf.convert_to_tensor(weights))
            values = [copy.value for copy in self.copies.values()]
        grads = tape.gradient(loss, values, unconnected_gradients="zero")
        self.load()
        found = [np.asarray(tf.convert_to_tensor(grad)) for grad in grads]
        return dict(zip(self.copies, found, strict=True))


def _train(op: Any, args: Sequence[Any], options: Mapping[str, Any], call: str) -> Any:
    if isinstance(op, layers.BatchNormalization):
        return op(*args, **{**options, "training": True})
    if getattr(op, "_call_has_training_arg", False):
        return op(*args, **{**options, "training": False})
    return op(*args, **options)


def _settle(op: Any, clone: Any) -> None:
    """Let a ``Normalization`` compute with what the original has worked out of its arrays."""
    if isinstance(op, layers.Normalization):
        dtype = clone.compute_dtype
        clone.mean, clone.variance = tf.cast(op.mean, dtype), tf.cast(op.variance, dtype)


def retyped(config: Any, dtype: str) -> Any:
    """Return a config in which every real type is this one."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return dtype
        return {
            key: _kind(value, dtype) if key == "dtype" else retyped(value, dtype)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(retyped(item, dtype) for item in config)
    return config


def _kind(value: Any, dtype: str) -> Any:
    if isinstance(value, str):
        return value if "int" in value or value == "bool" else dtype
    return retyped(value, dtype)


@contextmanager
def exact_functions() -> Iterator[None]:
    """Let TensorFlow's leaky ReLU and GELU keep their constants' digits.

    ``tf.nn`` rounds them to float32 even for float64 values; to float32 ones they are the same.
    """
    kept = tf.nn.leaky_relu, tf.nn.gelu

    def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Any:
        if features.dtype != tf.float64:
            return kept[0](features, alpha=alpha, name=name)
        return _leaky_relu(features, float(alpha))

    def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Any:
        if features.dtype != tf.float64:
            return kept[1](features, approximate=approximate, name=name)
        return _gelu(features, approximate)

    tf.nn.leaky_relu, tf.nn.gelu = leaky_relu, gelu
    try:
        yield
    finally:
        tf.nn.leaky_relu, tf.nn.gelu = kept


def by_name(read: Read, found: Mapping[str, np.ndarray]) -> Params:
    """Return what calls gave by node, in the canonical layout."""
    values = {}
    for call, value in read.reading.calls.items():
        if call in found and value.order is None:
            values[value.node] = canonical(found[call], value.axes)
    return values


def canonical(array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Undo the order of axes in which the source has a value."""
    order = [axes.index(axis) + 1 for axis in range(len(axes))]
    return np.ascontiguousarray(np.transpose(array, (0, *order)))
