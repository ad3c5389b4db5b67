"""Which Keras layer is which layer of the spec: kind, constants, and where its arrays live.

What is called how is in ``native.py``; optimizers and losses are read in ``native_reading.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import Model, layers

from triptych.backends.native_parts import Leaf, Place, Shape
from triptych.spec.layers.convolution import same_amounts

_GATES = {
    layers.LSTM: ("lstm", ("input", "forget", "cell", "output")),
    layers.GRU: ("gru", ("update", "reset", "candidate")),
    layers.SimpleRNN: ("elman", ("",)),
}


def leaves(model: Model) -> tuple[dict[str, Leaf], dict[str, Any]]:
    """Return a built model's main layers by path, and the layers themselves by path."""
    found: dict[str, Leaf] = {}
    inside: set[int] = set()
    learnt = {id(variable) for variable in model.trainable_variables}
    for layer in model._flatten_layers():
        if id(layer) in inside:
            continue
        path = layer.path or layer.name
        path = path if path not in found else f"{path} ({len(found)})"
        leaf = _leaf(path, layer)
        if leaf is None:
            continue
        inside |= {id(part) for part in layer._flatten_layers(include_self=False)}
        leaf.trainable = tuple(n for n, p in leaf.places.items() if id(p.handle) in learnt)
        found[path] = leaf
    return found, {path: leaf.layer for path, leaf in found.items() if leaf.layer is not model}


def bends(layer: Any) -> bool:
    """Whether a layer brings an activation along that it applies last."""
    return isinstance(layer, (*_CONVS, *_TRANSPOSED, layers.Dense)) and layer.activation is not None


def _leaf(path: str, layer: Any) -> Leaf | None:
    for types, make in _LAYERS:
        if isinstance(layer, types):
            return make(path, layer)
    own = [*layer._trainable_variables, *layer._non_trainable_variables]
    if not own:
        return None
    places = {f"{v.name}_{n}" if n else v.name: Place(v) for n, v in enumerate(own)}
    kind = {"kind": f"unknown ({type(layer).__qualname__})"}
    return Leaf("unknown", path, layer, lambda a, b: kind, places)


def _places(layer: Any, **homes: tuple[str, tuple[int, ...]]) -> dict[str, Place]:
    return {
        local: Place(getattr(layer, attribute), axes)
        for local, (attribute, axes) in homes.items()
        if getattr(layer, attribute, None) is not None
    }


def _conv(path: str, layer: Any) -> Leaf:
    def options(before: Shape, after: Shape) -> dict[str, Any]:
        return {
            "filters": layer.filters,
            "kernel": tuple(layer.kernel_size),
            "stride": tuple(layer.strides),
            "padding": _pixels(layer, layer.kernel_size, layer.dilation_rate, before),
            "dilation": tuple(layer.dilation_rate),
            "groups": layer.groups,
            "bias": layer.use_bias,
        } | _regularised(layer)

    return Leaf(
        "conv", path, layer, options, _places(layer, kernel=("kernel", ()), bias=("bias", ()))
    )


def _pixels(layer: Any, kernel: Any, dilation: Any, before: Shape) -> Any:
    if layer.padding == "causal":
        return ((dilation[0] * (kernel[0] - 1), 0),)
    if layer.padding != "same":
        return ((0, 0),) * len(kernel)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    return tuple(map(same_amounts, before, spans, layer.strides))


def _conv_transpose(path: str, layer: Any) -> Leaf:
    space = len(layer.kernel_size)
    places = _places(layer, kernel=("kernel", (*range(space), space + 1, space)), bias=("bias", ()))

    def options(before: Shape, after: Shape) -> dict[str, Any]:
        spans = [
            d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True)
        ]
        crop = []
        for axis, (span, stride) in enumerate(zip(spans, layer.strides, strict=True)):
            total = (before[axis] - 1) * stride + span - after[axis]
            early = max(span - stride, 0) // 2 if layer.padding == "same" else 0
            crop.append((early, total - early))
        return {
            "filters": layer.filters,
            "kernel": tuple(layer.kernel_size),
            "stride": tuple(layer.strides),
            "padding": tuple(crop),
            "dilation": tuple(layer.dilation_rate),
            "bias": layer.use_bias,
        }

    return Leaf("conv_transpose", path, layer, options, places)


def _dense(path: str, layer: Any) -> Leaf:
    options = {"units": layer.units, "bias": layer.use_bias} | _regularised(layer)
    places = _places(layer, kernel=("kernel", ()), bias=("bias", ()))
    return Leaf("dense", path, layer, lambda a, b: options, places)


def _regularised(layer: Any) -> dict[str, Any]:
    """Penalties that a layer adds to the loss, as Keras writes their configuration."""
    found = {}
    for name in ("kernel_regularizer", "bias_regularizer", "activity_regularizer"):
        own = getattr(layer, name, None)
        if own is not None:
            constants: dict[str, float] = own.get_config() if hasattr(own, "get_config") else {}
            found[name] = " ".join(
                [
                    type(own).__name__.lower(),
                    *(f"{key} {value:.6g}" for key, value in constants.items()),
                ]
            )
    return found


def _batch_norm(path: str, layer: Any) -> Leaf:
    places = _places(
        layer, scale=("gamma", ()), offset=("beta", ()),
        mean=("moving_mean", ()), variance=("moving_variance", ()),
    )  # fmt: skip
    options = {"epsilon": layer.epsilon, "keep": layer.momentum, "unbiased": False}
    return Leaf("batch_norm", path, layer, lambda a, b: options, places)


def _layer_norm(path: str, layer: Any) -> Leaf:
    places = _places(layer, scale=("gamma", ()), offset=("beta", ()))
    return Leaf("layer_norm", path, layer, lambda a, b: {"epsilon": layer.epsilon}, places)


def _embedding(path: str, layer: Any) -> Leaf:
    options = {"size": layer.input_dim, "features": layer.output_dim}
    places = _places(layer, kernel=("embeddings", ()))
    return Leaf("embedding", path, layer, lambda a, b: options, places)


def _dropout(path: str, layer: Any) -> Leaf:
    options = {"rate": layer.rate}
    if type(layer) is not layers.Dropout:
        options["form"] = type(layer).__name__
    return Leaf("dropout", path, layer, lambda a, b: options)


def _pool(path: str, layer: Any) -> Leaf:
    kind = "max_pool" if isinstance(layer, _MAX) else "average_pool"

    def options(before: Shape, after: Shape) -> dict[str, Any]:
        found = {
            "size": tuple(layer.pool_size),
            "stride": tuple(layer.strides),
            "padding": _pixels(layer, layer.pool_size, (1,) * len(layer.pool_size), before),
        }
        return found | ({"count_padding": False} if kind == "average_pool" else {})

    return Leaf(kind, path, layer, options)


def _recurrent(path: str, layer: Any) -> Leaf:
    kind, gates = _GATES[type(layer)]
    cell, pair = layer.cell, getattr(layer.cell, "reset_after", False)
    places = {}
    for block, gate in enumerate(gates):
        end = f"_{gate}" if gate else ""
        part = (1, block, len(gates))
        places[f"kernel{end}"] = Place(cell.kernel, part=part)
        places[f"recurrent_kernel{end}"] = Place(cell.recurrent_kernel, part=part)
        if cell.use_bias:
            part = (0, block, len(gates))
            places[f"bias{end}"] = Place(cell.bias, part=part, row=0 if pair else None)
            if pair:
                places[f"recurrent_bias{end}"] = Place(cell.bias, part=part, row=1)
    options = {
        "units": layer.units,
        "biases": (2 if pair else 1) if cell.use_bias else 0,
        "activation": layer.activation.__name__,
    }
    options |= {"gate_activation": layer.recurrent_activation.__name__} if kind != "elman" else {}
    options |= {"reset_after": bool(pair)} if kind == "gru" else {}
    options |= {"reverse": True} if layer.go_backwards else {}
    found = {name: places[name] for name in sorted(places, key=_order(gates))}
    return Leaf(kind, path, layer, lambda a, b: options, found)


def _order(gates: tuple[str, ...]) -> Callable[[str], Any]:
    """All of one kind of array before the next, gate by gate, as the spec has them."""
    names = [
        f"{what}_{gate}" if gate else what
        for what in ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
        for gate in gates
    ]
    return names.index


_CONVS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_MAX = (layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D)
_MEAN = (layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)
_DROPOUTS = (
    layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.AlphaDropout,
    layers.GaussianDropout,
)  # fmt: skip

# Transposed convolutions before convolutions, whose classes they share a base with.
_LAYERS: tuple[tuple[Any, Callable[[str, Any], Leaf]], ...] = (
    (_TRANSPOSED, _conv_transpose),
    (_CONVS, _conv),
    (layers.Dense, _dense),
    (layers.BatchNormalization, _batch_norm),
    (layers.LayerNormalization, _layer_norm),
    (layers.Embedding, _embedding),
    (_DROPOUTS, _dropout),
    ((*_MAX, *_MEAN), _pool),
    (tuple(_GATES), _recurrent),
)
