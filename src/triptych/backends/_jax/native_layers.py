"""Which Flax NNX module is which layer of the spec: kind, constants, and where its arrays live.

Calls are watched by replacing ``__call__`` of the modules' classes for a while, since Python looks
it up there; pooling functions are replaced in Flax' own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import flax.linen as linen
from flax import nnx

from triptych.backends.native_base import Handler
from triptych.backends.native_parts import Leaf, Place, Shape
from triptych.spec.layers.convolution import extent, same_amounts

_POOLS = {"max_pool": "max_pool", "avg_pool": "average_pool"}
_POOL_HOMES = (nnx, linen, linen.pooling)


def modules(model: Any) -> dict[str, Any]:
    """Return a model's modules by path."""
    return {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}


def leaves(model: Any, learnt: set[tuple[Any, ...]]) -> dict[str, Leaf]:
    """Return a model's main layers by path; ``learnt`` are the paths of arrays that learn."""
    found: dict[str, Leaf] = {}
    for path, module in sorted(nnx.iter_modules(model), key=lambda item: len(item[0])):
        name = ".".join(map(str, path))
        if any(name.startswith(f"{outer}.") for outer in found):
            continue
        leaf = _leaf(path, module)
        if leaf is not None:
            leaf.trainable = tuple(n for n, p in leaf.places.items() if p.handle in learnt)
            found[name] = leaf
    return found


@contextmanager
def watched(model: Any, known: dict[str, Leaf], handler: Handler) -> Iterator[None]:
    """Let the handler decide what each main layer of this model returns."""
    paths = {id(module): path for path, module in modules(model).items() if path in known}
    classes = {type(module) for path, module in modules(model).items() if path in known}
    before = [(owner, owner.__dict__.get("__call__")) for owner in classes]
    pools = [(home, name, getattr(home, name)) for home in _POOL_HOMES for name in _POOLS]
    count = _Count()
    for owner in classes:
        owner.__call__ = _wrapped(owner.__call__, paths, handler)
    for home, name, function in pools:
        setattr(home, name, _pooled(function, name, count, known, handler))
    try:
        yield
    finally:
        for owner, call in before:
            if call is None:
                del owner.__call__
            else:
                owner.__call__ = call
        for home, name, function in pools:
            setattr(home, name, function)


class _Count:
    """How many pooling functions were called in this pass, and whether one is running."""

    def __init__(self) -> None:
        self.value, self.inside = 0, False


def _wrapped(call: Any, paths: Mapping[int, str], handler: Handler) -> Callable[..., Any]:
    def wrapped(self: Any, x: Any, *rest: Any, **options: Any) -> Any:
        path = paths.get(id(self))
        if path is None:
            return call(self, x, *rest, **options)
        return handler(path, x, lambda: call(self, x, *rest, **options))

    return wrapped


def _pooled(
    function: Any, name: str, count: _Count, known: dict[str, Leaf], handler: Handler
) -> Callable[..., Any]:
    def pool(inputs: Any, window_shape: Any, *rest: Any, **options: Any) -> Any:
        run = partial(function, window_shape=window_shape)
        if rest:
            names = ("strides", "padding", "count_include_pad")
            options = dict(zip(names, rest, strict=False)) | options
        if count.inside:
            return run(inputs, **options)
        count.value += 1
        path = f"{name}() number {count.value}"
        own = partial(run, **options)
        known.setdefault(
            path, Leaf(_POOLS[name], path, own, _pool_options(name, window_shape, options))
        )
        count.inside = True
        try:
            return handler(path, inputs, lambda: own(inputs))
        finally:
            count.inside = False

    return pool


def _pool_options(
    name: str, window: Any, given: Mapping[str, Any]
) -> Callable[[Shape, Shape], dict[str, Any]]:
    def options(before: Shape, after: Shape) -> dict[str, Any]:
        stride = tuple(given.get("strides") or (1,) * len(window))
        padding = _pixels(given.get("padding", "VALID"), before, tuple(window), stride)
        found = {"size": tuple(window), "stride": stride, "padding": padding}
        if name == "max_pool":
            return found
        padded = any(sum(pair) for pair in padding)
        return found | {"count_padding": bool(given.get("count_include_pad", True)) and padded}

    return options


def _pixels(padding: Any, before: Shape, spans: Shape, strides: Shape) -> Any:
    """Padding as explicit pixels; what is no zeros is its name."""
    if isinstance(padding, str):
        if padding == "SAME":
            return tuple(map(same_amounts, before, spans, strides))
        return ((0, 0),) * len(spans) if padding == "VALID" else padding.lower()
    if isinstance(padding, int):
        return ((padding, padding),) * len(spans)
    return tuple((pair, pair) if isinstance(pair, int) else tuple(pair) for pair in padding)


def _leaf(path: tuple[Any, ...], module: Any) -> Leaf | None:
    for types, make in _LAYERS:
        if isinstance(module, types):
            return make(path, module)
    own = [name for name, value in vars(module).items() if isinstance(value, nnx.Param)]
    if not own:
        return None
    places = {name: Place((*path, name)) for name in own}
    kind = {"kind": f"unknown ({type(module).__qualname__})"}
    return Leaf("unknown", _name(path), module, lambda a, b: kind, places)


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path)) or "the model"


def _places(path: tuple[Any, ...], module: Any, **homes: str) -> dict[str, Place]:
    return {
        local: Place((*path, attribute))
        for local, attribute in homes.items()
        if getattr(module, attribute, None) is not None
    }


def _many(value: Any, count: int) -> tuple[int, ...]:
    if value is None:
        return (1,) * count
    return (value,) * count if isinstance(value, int) else tuple(value)


def _conv(path: tuple[Any, ...], module: Any) -> Leaf:
    space = len(module.kernel_size)
    stride, dilation = _many(module.strides, space), _many(module.kernel_dilation, space)

    def options(before: Shape, after: Shape) -> dict[str, Any]:
        spans = [d * (k - 1) + 1 for k, d in zip(module.kernel_size, dilation, strict=True)]
        return {
            "filters": module.out_features,
            "kernel": tuple(module.kernel_size),
            "stride": stride,
            "padding": _pixels(module.padding, before, tuple(spans), stride),
            "dilation": dilation,
            "groups": module.feature_group_count,
            "bias": module.bias is not None,
        }

    places = _places(path, module, kernel="kernel", bias="bias")
    return Leaf("conv", _name(path), module, options, places)


def _conv_transpose(path: tuple[Any, ...], module: Any) -> Leaf:
    space = len(module.kernel_size)
    stride, dilation = _many(module.strides, space), _many(module.kernel_dilation, space)
    places = _places(path, module, kernel="kernel", bias="bias")
    # The canonical kernel is the gradient's; unless it is transposed, Flax' stands upside down.
    axes = (*range(space), space + 1, space) if module.transpose_kernel else ()
    places["kernel"] = Place((*path, "kernel"), axes, flip=not module.transpose_kernel)

    def options(before: Shape, after: Shape) -> dict[str, Any]:
        return {
            "filters": module.out_features,
            "kernel": tuple(module.kernel_size),
            "stride": stride,
            "padding": _crop(module, before, after, stride, dilation),
            "dilation": dilation,
            "bias": module.bias is not None,
        }

    return Leaf("conv_transpose", _name(path), module, options, places)


def _crop(module: Any, before: Shape, after: Shape, stride: Shape, dilation: Shape) -> Any:
    """Pixels taken from each edge of the full output; the rule for ``same`` is JAX's."""
    found = []
    for axis, step in enumerate(stride):
        span = extent(tuple(module.kernel_size), dilation)[axis]  # type: ignore[arg-type]
        total = (before[axis] - 1) * step + span - after[axis]
        early = 0
        if module.padding == "SAME":
            early = span - 1 - (span - 1 if step > span - 1 else -(-(span + step - 2) // 2))
        found.append((early, total - early))
    return tuple(found)


def _dense(path: tuple[Any, ...], module: Any) -> Leaf:
    options = {"units": module.out_features, "bias": module.bias is not None}
    places = _places(path, module, kernel="kernel", bias="bias")
    return Leaf("dense", _name(path), module, lambda a, b: options, places)


def _batch_norm(path: tuple[Any, ...], module: Any) -> Leaf:
    places = _places(path, module, scale="scale", offset="bias", mean="mean", variance="var")
    options = {"epsilon": module.epsilon, "keep": module.momentum, "unbiased": False}
    return Leaf("batch_norm", _name(path), module, lambda a, b: options, places)


def _layer_norm(path: tuple[Any, ...], module: Any) -> Leaf:
    places = _places(path, module, scale="scale", offset="bias")
    return Leaf("layer_norm", _name(path), module, lambda a, b: {"epsilon": module.epsilon}, places)


def _embedding(path: tuple[Any, ...], module: Any) -> Leaf:
    options = {"size": module.num_embeddings, "features": module.features}
    places = _places(path, module, kernel="embedding")
    return Leaf("embedding", _name(path), module, lambda a, b: options, places)


def _dropout(path: tuple[Any, ...], module: Any) -> Leaf:
    options = {"rate": module.rate}
    if module.broadcast_dims:
        options["form"] = f"one mask for axes {tuple(module.broadcast_dims)}"
    return Leaf("dropout", _name(path), module, lambda a, b: options)


def _recurrent(path: tuple[Any, ...], module: Any) -> Leaf | None:
    kind, gates, fused = next(
        (
            (kind, gates, fused)
            for types, kind, gates, fused in _CELLS
            if type(module.cell) is types
        ),
        ("", (), False),
    )
    if not kind or module.return_carry or getattr(module.cell, "residual", False):
        return None
    found = _fused(path, module, gates) if fused else _separate(path, module)
    # The gate's two sides are only added up in an LSTM: one bias is one, wherever it stands.
    alone = kind != "gru" and not any(name.startswith("bias") for name in found)
    places = {
        name.replace("recurrent_bias", "bias") if alone else name: place
        for name, place in found.items()
    }
    biases = sum(
        any(name.startswith(f"{side}bias") for name in places) for side in ("", "recurrent_")
    )
    options = {
        "units": module.cell.hidden_features,
        "biases": biases,
        "activation": module.cell.activation_fn.__name__,
    }
    options |= {"gate_activation": module.cell.gate_fn.__name__} if kind != "elman" else {}
    options |= {"reset_after": True} if kind == "gru" else {}
    options |= {"reverse": True} if module.reverse else {}
    first = bool(module.time_major)
    return Leaf(kind, _name(path), module, lambda a, b: options, places, sequence_first=first)


def _fused(path: tuple[Any, ...], module: Any, gates: tuple[str, ...]) -> dict[str, Place]:
    """All gates side by side in one dense layer for the input and one for the state."""
    found = {}
    for what in ("kernel", "bias"):
        for side, dense in (("", "dense_i"), ("recurrent_", "dense_h")):
            if getattr(getattr(module.cell, dense), what) is None:
                continue
            for block, gate in enumerate(gates):
                part = (1 if what == "kernel" else 0, block, len(gates))
                local = f"{side}{what}_{gate}" if gate else f"{side}{what}"
                found[local] = Place((*path, "cell", dense, what), part=part)
    return found


def _separate(path: tuple[Any, ...], module: Any) -> dict[str, Place]:
    """A dense layer for each gate: ``ii``, ``if_``, .. for the input, ``hi``, .. for the state."""
    found = {}
    letters = {"input": "i", "forget": "f", "cell": "g", "output": "o"}
    for what in ("kernel", "bias"):
        for side, mark in (("", "i"), ("recurrent_", "h")):
            for gate, letter in letters.items():
                name = "if_" if mark + letter == "if" else mark + letter
                if getattr(getattr(module.cell, name), what) is not None:
                    found[f"{side}{what}_{gate}"] = Place((*path, "cell", name, what))
    return found


_LSTM = ("input", "forget", "cell", "output")
# cell, kind, gates in the order they stand in, whether they share a layer
_CELLS: tuple[tuple[type, str, tuple[str, ...], bool], ...] = (
    (nnx.OptimizedLSTMCell, "lstm", _LSTM, True),
    (nnx.LSTMCell, "lstm", _LSTM, False),
    (nnx.GRUCell, "gru", ("reset", "update", "candidate"), True),
    (nnx.SimpleCell, "elman", ("",), True),
)

_LAYERS: tuple[tuple[Any, Callable[[tuple[Any, ...], Any], Leaf | None]], ...] = (
    (nnx.Conv, _conv),
    (nnx.ConvTranspose, _conv_transpose),
    (nnx.Linear, _dense),
    (nnx.BatchNorm, _batch_norm),
    (nnx.LayerNorm, _layer_norm),
    (nnx.Embed, _embedding),
    (nnx.Dropout, _dropout),
    (nnx.RNN, _recurrent),
)
