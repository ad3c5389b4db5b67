"""Reading every constant back from the live Keras layers and optimizer, in the words of the spec.

Nothing here looks at the spec's values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import keras

from triptych.backends._keras import layers

if TYPE_CHECKING:
    from triptych.backends._keras.learner import KerasLearner


def read(learner: KerasLearner) -> dict[str, Any]:
    """Return {"conv1.stride": (1, 1), ..., "optimizer.epsilon": 1e-8, ...}."""
    found: dict[str, Any] = {}
    for layer in learner.model.layers[1:]:
        own = {"inputs": _sources(layer)} | _LAYERS.get(type(layer), _unknown)(layer)
        found |= {f"{layer.name}.{factor}": value for factor, value in own.items()}
    if learner.optimizer is not None:
        found |= {f"optimizer.{key}": v for key, v in learner.optimizer.constants.items()}
        found["optimizer.clip"] = asdict(learner.rule.clip) if learner.rule else None
    return found


def _sources(layer: keras.layers.Layer) -> list[str]:
    """The names of the layers that feed a layer."""
    inputs = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in inputs]


def _unknown(layer: keras.layers.Layer) -> dict[str, Any]:
    return {"kind": f"unknown ({type(layer).__qualname__})"}


def _conv(layer: layers.Conv2D) -> dict[str, Any]:
    return {
        "kind": "conv",
        "filters": layer.filters,
        "kernel": tuple(layer.kernel_size),
        "stride": tuple(layer.steps),
        "padding": tuple(map(tuple, layer.amounts)),
        "dilation": tuple(layer.dilation_rate),
        "groups": layer.groups,
        "bias": layer.use_bias,
    }


def _conv_transpose(layer: layers.Conv2DTranspose) -> dict[str, Any]:
    return {
        "kind": "conv_transpose",
        "filters": layer.filters,
        "kernel": tuple(layer.kernel_size),
        "stride": tuple(layer.steps),
        "padding": tuple(map(tuple, layer.crop)),
        "dilation": tuple(layer.holes),
        "bias": layer.use_bias,
    }


def _pool(kind: str) -> Callable[[Any], dict[str, Any]]:
    def read_pool(layer: Any) -> dict[str, Any]:
        found = {"kind": kind, "size": tuple(layer.pool_size), "stride": tuple(layer.strides)}
        found["padding"] = tuple(map(tuple, layer.amounts))
        if kind == "average_pool":
            found["count_padding"] = layer.count_padding
        return found

    return read_pool


def _plain(kind: str, **attributes: str) -> Callable[[Any], dict[str, Any]]:
    """A reader of plain attributes: spec name = native attribute."""
    return lambda layer: {"kind": kind} | {k: getattr(layer, v) for k, v in attributes.items()}


_LAYERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    layers.Conv2D: _conv,
    layers.Conv2DTranspose: _conv_transpose,
    layers.MaxPooling2D: _pool("max_pool"),
    layers.AveragePooling2D: _pool("average_pool"),
    keras.layers.Dense: _plain("dense", units="units", bias="use_bias"),
    keras.layers.Flatten: lambda layer: {"kind": "flatten", "order": "height, width, channels"},
    layers.BatchNormalization: _plain(
        "batch_norm", epsilon="epsilon", keep="momentum", unbiased="unbiased"
    ),
    keras.layers.LayerNormalization: _plain("layer_norm", epsilon="epsilon"),
    layers.Dropout: _plain("dropout", rate="rate"),
    keras.layers.Embedding: _plain("embedding", size="input_dim", features="output_dim"),
    layers.Rescale: _plain("rescale", scale="scale", offset="offset"),
    keras.layers.Add: _plain("add"),
    keras.layers.Concatenate: _plain("concatenate"),
    layers.Dueling: _plain("dueling"),
    layers.Function: lambda layer: {"kind": layer.kind} | layer.constants,
}
