"""Which PyTorch module is which layer of the spec: kind, constants, and where its arrays live.

What is called how is in ``native.py``; optimizers and losses are read in ``native_reading.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import nn

from triptych.backends.native_parts import Leaf, Place, Shape

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_MAX = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_MEAN = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_GATES = {
    nn.LSTM: ("lstm", ("input", "forget", "cell", "output")),
    nn.GRU: ("gru", ("reset", "update", "candidate")),
    nn.RNN: ("elman", ("",)),
}


def leaves(model: nn.Module, trained: set[str]) -> dict[str, Leaf]:
    """Return a model's main layers by path; ``trained`` are the parameters that learn."""
    found: dict[str, Leaf] = {}
    for path, module in model.named_modules():
        leaf = _leaf(path, module)
        own = [name for name, _ in module.named_parameters(recurse=False)]
        if leaf is None and own and (path or not list(module.children())):
            leaf = _unknown(path, module)
        if leaf is not None and not _inside(path, found):
            leaf.trainable = tuple(n for n, p in leaf.places.items() if p.handle in trained)
            found[path] = leaf
    return found


def _inside(path: str, found: Mapping[str, Leaf]) -> bool:
    """Whether a module is a part of a main layer."""
    return any(path.startswith(f"{outer}.") for outer in found if outer)


def _leaf(path: str, module: nn.Module) -> Leaf | None:
    for types, make in _LAYERS:
        if isinstance(module, types):
            return make(path, module)
    return None


def _place(path: str, module: nn.Module, **axes: tuple[str, tuple[int, ...]]) -> dict[str, Place]:
    """Places by local name, of the attributes that the module has."""
    return {
        local: Place(f"{path}.{attribute}" if path else attribute, order)
        for local, (attribute, order) in axes.items()
        if getattr(module, attribute, None) is not None
    }


def _unknown(path: str, module: nn.Module) -> Leaf:
    places = {
        name: Place(f"{path}.{name}" if path else name)
        for name, _ in module.named_parameters(recurse=False)
    }
    kind = {"kind": f"unknown ({type(module).__qualname__})"}
    return Leaf("unknown", path or "the model", module, lambda a, b: kind, places)


def _conv(path: str, module: Any) -> Leaf:
    space = len(module.kernel_size)
    kernel = (space + 1, space, *range(space))  # (out, in, ...) natively
    places = _place(path, module, kernel=("weight", kernel), bias=("bias", ()))
    return Leaf(
        "conv", path, module, lambda a, b: _conv_options(module), places, channels_first=True
    )


def _conv_options(module: Any) -> dict[str, Any]:
    options = {
        "filters": module.out_channels,
        "kernel": tuple(module.kernel_size),
        "stride": tuple(module.stride),
        "padding": _pixels(module),
        "dilation": tuple(module.dilation),
        "groups": module.groups,
        "bias": module.bias is not None,
    }
    if module.padding_mode != "zeros":
        options["padding_mode"] = module.padding_mode
    return options


def _pixels(module: Any) -> tuple[tuple[int, int], ...]:
    """``same`` adds the odd pixel at the end."""
    if module.padding == "valid":
        return ((0, 0),) * len(module.kernel_size)
    if module.padding == "same":
        totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return _even(module.padding, len(module.kernel_size))


def _conv_transpose(path: str, module: Any) -> Leaf:
    space = len(module.kernel_size)
    kernel = (space, space + 1, *range(space))  # (in, out, ...) natively
    places = _place(path, module, kernel=("weight", kernel), bias=("bias", ()))
    options = {
        "filters": module.out_channels,
        "kernel": tuple(module.kernel_size),
        "stride": tuple(module.stride),
        "padding": tuple(
            (p, p - extra) for p, extra in zip(module.padding, module.output_padding, strict=True)
        ),
        "dilation": tuple(module.dilation),
        "bias": module.bias is not None,
    }
    return Leaf("conv_transpose", path, module, lambda a, b: options, places, channels_first=True)


def _dense(path: str, module: Any) -> Leaf:
    places = _place(path, module, kernel=("weight", (1, 0)), bias=("bias", ()))
    options = {"units": module.out_features, "bias": module.bias is not None}
    return Leaf("dense", path, module, lambda a, b: options, places)


def _batch_norm(path: str, module: Any) -> Leaf:
    places = _place(
        path, module, scale=("weight", ()), offset=("bias", ()),
        mean=("running_mean", ()), variance=("running_var", ()),
    )  # fmt: skip
    keep = None if module.momentum is None else 1.0 - module.momentum
    options = {"epsilon": module.eps, "keep": keep, "unbiased": True}
    return Leaf("batch_norm", path, module, lambda a, b: options, places, channels_first=True)


def _layer_norm(path: str, module: Any) -> Leaf:
    places = _place(path, module, scale=("weight", ()), offset=("bias", ()))
    return Leaf("layer_norm", path, module, lambda a, b: {"epsilon": module.eps}, places)


def _embedding(path: str, module: Any) -> Leaf:
    options = {"size": module.num_embeddings, "features": module.embedding_dim}
    places = _place(path, module, kernel=("weight", ()))
    return Leaf("embedding", path, module, lambda a, b: options, places)


def _dropout(path: str, module: Any) -> Leaf:
    options = {"rate": module.p}
    if type(module) is not nn.Dropout:
        options["form"] = type(module).__name__
    return Leaf("dropout", path, module, lambda a, b: options, channels_first=True)


def _max_pool(path: str, module: Any) -> Leaf:
    options = pool_options(module.kernel_size, module.stride, module.padding, module)
    return Leaf("max_pool", path, module, options, channels_first=True)


def _average_pool(path: str, module: Any) -> Leaf:
    counted = bool(module.count_include_pad)
    options = pool_options(module.kernel_size, module.stride, module.padding, module, counted)
    return Leaf("average_pool", path, module, options, channels_first=True)


def pool_options(
    size: Any, stride: Any, padding: Any, module: Any = None, counted: bool | None = None
) -> Callable[[Shape, Shape], dict[str, Any]]:
    """Return the reader of a pooling's constants; ``counted`` for the mean alone."""

    def options(before: Shape, after: Shape) -> dict[str, Any]:
        space = len(before) - 1
        found: dict[str, Any] = {
            "size": _many(size, space),
            "stride": _many(size if stride is None else stride, space),
            "padding": _even(_many(padding, space), space),
        }
        if getattr(module, "ceil_mode", False):
            found["ceil_mode"] = True
        # Without padding the edges hold nothing to count.
        padded = any(sum(pair) for pair in found["padding"])
        return found | ({"count_padding": counted and padded} if counted is not None else {})

    return options


def _recurrent(path: str, module: Any) -> Leaf:
    kind, gates = _GATES[type(module)]
    if module.num_layers > 1 or module.bidirectional or getattr(module, "proj_size", 0):
        return _unknown(path, module)
    places = {}
    for what, attribute in (
        ("kernel", "weight_ih_l0"), ("recurrent_kernel", "weight_hh_l0"),
        ("bias", "bias_ih_l0"), ("recurrent_bias", "bias_hh_l0"),
    ):  # fmt: skip
        if not hasattr(module, attribute):
            continue
        axes = (1, 0) if "kernel" in what else ()
        for block, gate in enumerate(gates):
            local = f"{what}_{gate}" if gate else what
            home = f"{path}.{attribute}" if path else attribute
            places[local] = Place(home, axes, part=(0, block, len(gates)))
    options = {
        "units": module.hidden_size,
        "biases": 2 if module.bias else 0,
        "activation": getattr(module, "nonlinearity", "tanh"),
    }
    options |= {"gate_activation": "sigmoid"} if kind != "elman" else {}
    options |= {"reset_after": True} if kind == "gru" else {}
    first = not module.batch_first
    return Leaf(kind, path, module, lambda a, b: options, places, sequence_first=first)


_LAYERS: tuple[tuple[Any, Callable[[str, Any], Leaf]], ...] = (
    (_CONVS, _conv),
    (_TRANSPOSED, _conv_transpose),
    (nn.Linear, _dense),
    (_NORMS, _batch_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.Embedding, _embedding),
    (_DROPOUTS, _dropout),
    (_MAX, _max_pool),
    (_MEAN, _average_pool),
    (tuple(_GATES), _recurrent),
)


def function_leaf(func: Any, args: Any, options: Mapping[str, Any], count: int) -> Leaf | None:
    """Return the layer that a call of a pooling function is, or None for any other function."""
    name = getattr(func, "__name__", "").lstrip("_").replace("_with_indices", "")
    kinds = {f"{kind}_pool{n}d": kind for kind in ("max", "avg") for n in (1, 2)}
    if name not in kinds or options.get("return_indices"):
        return None
    given = dict(zip(("kernel_size", "stride", "padding"), args[1:], strict=False)) | dict(options)
    size, padding = given["kernel_size"], given.get("padding", 0)
    counted = None
    if kinds[name] == "avg":
        counted = bool(given.get("count_include_pad", args[5] if len(args) > 5 else True))
    reader = pool_options(size, given.get("stride") or size, padding, None, counted)
    kind = "max_pool" if kinds[name] == "max" else "average_pool"
    call = (func, tuple(args[1:]), dict(options))
    return Leaf(kind, f"{name}() number {count}", call, reader, channels_first=True)


def _many(value: Any, count: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * count


def _even(amounts: Any, space: int) -> tuple[tuple[int, int], ...]:
    return tuple((int(n), int(n)) for n in np.broadcast_to(np.asarray(amounts), (space,)))
