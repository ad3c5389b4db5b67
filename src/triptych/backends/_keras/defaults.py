"""Fresh Keras objects with nothing said but sizes, for ``triptych defaults``.

Each maker is what a user would write first. What the objects then do is found out elsewhere.
Optimizers are made with ``floatx`` float64, so that a constant is seen as it was written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from triptych.backends.making import (
    CHANNELS,
    FEATURES,
    FILTERS,
    INPUTS,
    KERNEL,
    STATE,
    STEPS,
    TABLE,
    UNITS,
    WIDTH,
    Arrays,
    Function,
    Layer,
    Play,
    Rule,
)


def _call(layer: Any) -> Callable[[np.ndarray, bool], np.ndarray]:
    return lambda x, training: np.asarray(layer(x.astype(np.float32), training=training))


def _values(function: Callable[[Any], Any]) -> Function:
    return lambda x: np.asarray(function(keras.ops.convert_to_tensor(x, "float32")))


def _loss(function: Callable[..., Any]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda output, target: np.asarray(function(target, output))


def _built(layer: Any, *shape: int) -> Any:
    layer.build((None, *shape))
    return layer


def _named(layer: Any, *names: str) -> Arrays:
    values = [np.asarray(variable.value) for variable in layer.weights]
    return dict(zip(names, values, strict=True))


def _dense() -> Layer:
    return Layer(_named(_built(keras.layers.Dense(UNITS), FEATURES), "kernel", "bias"))


def _conv() -> Layer:
    layer = _built(keras.layers.Conv2D(FILTERS, KERNEL), 8, 8, CHANNELS)
    return Layer(_named(layer, "kernel", "bias"), _call(keras.layers.Conv2D(2, 3)))


def _batch_norm() -> Layer:
    layer = _built(keras.layers.BatchNormalization(), WIDTH)
    arrays = _named(layer, "scale", "offset", "mean", "variance")

    def call(x: np.ndarray, training: bool) -> np.ndarray:
        layer.set_weights(list(arrays.values()))
        return _call(layer)(x, training)

    def moved(x: np.ndarray) -> Arrays:
        call(x, True)
        return _named(layer, *arrays)

    return Layer(arrays, call, moved)


def _recurrent(layer: Any, forget: slice | None) -> Layer:
    """The gates' columns side by side; ``forget`` are the forget gate's."""
    arrays: dict[str, Any] = _named(_built(layer, 5, INPUTS), "kernel", "recurrent_kernel", "bias")
    bias = arrays["bias"]
    if bias.ndim == 2:
        arrays["bias"], arrays["recurrent_bias"] = bias
    if forget is not None:
        rest = np.ones(len(bias), bool)
        rest[forget] = False
        arrays["forget"], arrays["bias"] = bias[forget], bias[rest]
    return Layer(arrays, whole=True)


def _play(make: Callable[[], Any]) -> Play:
    """Apply gradients to fresh variables in float64; ``first`` goes into the counter."""

    def play(gradients: Any, start: Arrays, first: int) -> list[Arrays]:
        before = keras.config.floatx()
        keras.config.set_floatx("float64")
        try:
            optimizer = make()
            variables = {k: keras.Variable(value, dtype="float64") for k, value in start.items()}
            optimizer.build(list(variables.values()))
            optimizer.iterations.assign(first)
            after = []
            for given in gradients:
                own = [np.asarray(given[name], np.float64) for name in variables]
                optimizer.apply([keras.ops.convert_to_tensor(value) for value in own])
                after.append({name: np.array(item.value) for name, item in variables.items()})
            return after
        finally:
            keras.config.set_floatx(before)

    return play


def _falling() -> Any:
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([STEPS - 1], [0.1, 0.01])
    return keras.optimizers.SGD(rates, momentum=0.9)


DEFAULTS: dict[str, Callable[[], Any]] = {
    "dense": _dense,
    "conv": _conv,
    "embedding": lambda: Layer(_named(_built(keras.layers.Embedding(*TABLE), 3), "kernel")),
    "batch_norm": _batch_norm,
    "layer_norm": lambda: Layer(call=_call(_built(keras.layers.LayerNormalization(), WIDTH))),
    "dropout": lambda: Layer(call=_call(keras.layers.Dropout(0.5))),
    "max_pool": lambda: Layer(call=_call(keras.layers.MaxPooling2D(3))),
    "average_pool": lambda: Layer(call=_call(keras.layers.AveragePooling2D(3, padding="same"))),
    "lstm": lambda: _recurrent(keras.layers.LSTM(STATE), slice(STATE, 2 * STATE)),
    "gru": lambda: _recurrent(keras.layers.GRU(STATE), None),
    "leaky_relu layer": lambda: _values(keras.layers.LeakyReLU()),
    "leaky_relu function": lambda: _values(keras.activations.leaky_relu),
    "elu function": lambda: _values(keras.activations.elu),
    "gelu layer": lambda: _values(keras.layers.Activation("gelu")),
    "gelu function": lambda: _values(keras.ops.gelu),
    "hard_sigmoid function": lambda: _values(keras.activations.hard_sigmoid),
    "softplus function": lambda: _values(keras.activations.softplus),
    "squared": lambda: _loss(keras.losses.MeanSquaredError()),
    "absolute": lambda: _loss(keras.losses.MeanAbsoluteError()),
    "huber": lambda: _loss(keras.losses.Huber()),
    "cross_entropy": lambda: _loss(keras.losses.SparseCategoricalCrossentropy()),
    "binary_cross_entropy": lambda: _loss(keras.losses.BinaryCrossentropy()),
    "sgd": lambda: Rule(_play(keras.optimizers.SGD)),
    "momentum": lambda: Rule(_play(_falling), 0.1),
    "adam": lambda: Rule(_play(keras.optimizers.Adam)),
    "adamw": lambda: Rule(_play(keras.optimizers.AdamW)),
    "rmsprop": lambda: Rule(_play(keras.optimizers.RMSprop)),
    "adagrad": lambda: Rule(_play(keras.optimizers.Adagrad)),
    "clip by norm": lambda: Rule(_play(lambda: keras.optimizers.SGD(1.0, clipnorm=1.0))),
    "decay of adam": lambda: Rule(_play(lambda: keras.optimizers.Adam(weight_decay=0.1))),
}
"""A maker by subject; the subjects are those of ``parity/defaults.py``."""
