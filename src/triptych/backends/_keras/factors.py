"""Reading every constant back from the live Keras layers and optimizer, in the words of the spec.

Nothing here looks at the spec's values.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import keras

from triptych.backends._keras import layers, recurrent
from triptych.backends.reading import Reader, plain, unknown

if TYPE_CHECKING:
    from triptych.backends._keras.learner import KerasLearner


def read(learner: KerasLearner) -> dict[str, Any]:
    """Return {"conv1.stride": (1, 1), ..., "optimizer.epsilon": 1e-8, ...}."""
    found: dict[str, Any] = {}
    calls = _calls(learner)
    names = {call: name for name, call in calls.items()}
    for name, (owner, place) in list(calls.items())[1:]:
        layer = learner.model.get_layer(owner)
        own = _LAYERS.get(type(layer), unknown)(layer)
        own["inputs"] = [names[source] for source in _sources(layer, place)]
        own |= {"shares": owner} if owner != name else {}
        found |= {f"{name}.{factor}": value for factor, value in own.items()}
    if learner.optimizer is not None:
        found |= {f"optimizer.{key}": v for key, v in learner.optimizer.constants.items()}
        found["optimizer.clip"] = asdict(learner.rule.clip) if learner.rule else None
    return found


Call = tuple[str, int]
"""A layer's name, and at which of its places it stands: 0 unless it is shared."""


def _calls(learner: KerasLearner) -> dict[str, Call]:
    """The calls of the model's layers by the names of the nodes."""
    count: Counter[str] = Counter()
    found: dict[str, Call] = {}
    for node in learner.network.nodes:
        found[node.name] = (node.owner, count[node.owner])
        count[node.owner] += 1
    return found


def _sources(layer: keras.layers.Layer, place: int) -> list[Call]:
    """The calls that feed a call of a layer."""
    histories = [tensor._keras_history for tensor in layer._inbound_nodes[place].input_tensors]
    return [(history.operation.name, history.node_index) for history in histories]


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


_LAYERS: dict[type, Reader] = {
    layers.Conv2D: _conv,
    layers.Conv2DTranspose: _conv_transpose,
    layers.MaxPooling2D: plain("max_pool", size="pool_size", stride="strides", padding="amounts"),
    layers.AveragePooling2D: plain(
        "average_pool",
        size="pool_size",
        stride="strides",
        padding="amounts",
        count_padding="count_padding",
    ),
    keras.layers.Dense: plain("dense", units="units", bias="use_bias"),
    keras.layers.Flatten: lambda layer: {"kind": "flatten", "order": "height, width, channels"},
    layers.BatchNormalization: plain(
        "batch_norm", epsilon="epsilon", keep="momentum", unbiased="unbiased"
    ),
    keras.layers.LayerNormalization: plain("layer_norm", epsilon="epsilon"),
    layers.Dropout: plain("dropout", rate="rate"),
    keras.layers.Embedding: plain("embedding", size="input_dim", features="output_dim"),
    layers.Rescale: plain("rescale", scale="scale", offset="offset"),
    keras.layers.Add: plain("add"),
    keras.layers.Multiply: plain("multiply"),
    keras.layers.Reshape: plain("reshape", size="target_shape"),
    keras.layers.Permute: lambda layer: {
        "kind": "permute",
        "axes": tuple(axis - 1 for axis in layer.dims),
    },
    keras.layers.ZeroPadding2D: plain("pad", amounts="padding"),
    keras.layers.Concatenate: plain("concatenate"),
    layers.Dueling: plain("dueling"),
    layers.Function: lambda layer: {"kind": layer.kind} | layer.constants,
    **recurrent.READERS,
}
