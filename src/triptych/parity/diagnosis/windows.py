"""Hypotheses about layers with a sliding window: padding, stride, dilation, kernel's layout.

Each keeps the output's shape, since a layer of another shape is no silent difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np

from triptych.errors import NetworkError
from triptych.parity.diagnosis.guess import Guess, altered, on_arrays, on_output
from triptych.parity.diagnosis.machine import Array, Arrays
from triptych.spec import layers as spec
from triptych.spec.layers import Layer

Shape = tuple[int, ...]


def guesses(layer: Any, shape: Shape) -> Iterator[Guess]:
    """Yield the hypotheses about a convolution or pooling of an input of this shape."""
    yield from _paddings(layer, shape)
    if isinstance(layer, spec.MaxPool):
        yield from _pools(layer, shape)
    else:
        yield from _kernels(layer)
    for name, factor in _windows_of(layer):
        before = getattr(layer, name)
        for pair in product(range(1, 6), repeat=2):
            if pair != before and _fits(changed := replace(layer, **{name: pair}), layer, shape):
                yield altered(factor, before, pair, changed)
                yield from _paddings(changed, shape, factor, before, pair)


def _windows_of(layer: Layer) -> list[tuple[str, str]]:
    if isinstance(layer, spec.MaxPool):
        return [("stride", "pool-stride"), ("size", "pool-window")]
    return [("stride", "conv-stride"), ("dilation", "conv-dilation")]


def _fits(changed: Any, layer: Any, shape: Shape) -> bool:
    try:
        same_arrays = changed.parameters(shape) == layer.parameters(shape)
        return same_arrays and changed.shape(shape) == layer.shape(shape)
    except NetworkError:
        return False


def _pixels(layer: Any, shape: Shape) -> Any:
    return layer.crop() if isinstance(layer, spec.ConvTranspose) else layer.pixels(shape)


def _paddings(
    layer: Any, shape: Shape, factor: str = "", before: Any = None, after: Any = None
) -> Iterator[Guess]:
    """Every explicit padding of the same output shape; with ``factor``, said of another change."""
    own = _pixels(layer, shape)
    reach = 1 + max(max(map(abs, edge)) for edge in own)
    edges = list(product(range(min(reach, 4) + 1), repeat=2))
    for padding in product(edges, edges):
        if padding == own:
            continue
        changed = replace(layer, padding=padding)
        if not _fits(changed, layer, shape):
            continue
        moved = all(sum(a) == sum(b) for a, b in zip(padding, own, strict=True))
        name = factor or ("same-padding-side" if moved else "conv-padding")
        values: tuple[Any, Any] = (before, after) if factor else (own, padding)
        yield altered(name, values[0], values[1], changed)


def _pools(layer: spec.MaxPool, shape: Shape) -> Iterator[Guess]:
    """The other pooling, and the average that counts the padding or does not."""
    own = {"size": layer.size, "stride": layer.stride, "padding": layer.padding}
    if isinstance(layer, spec.AveragePool):
        other = replace(layer, count_padding=not layer.count_padding)
        words = ("counts the padding", "leaves the padding out")
        pair = words if layer.count_padding else words[::-1]
        yield altered("average-pool-edges", *pair, other)
        yield altered("layer-kind", "average_pool", "max_pool", spec.MaxPool(**own))  # type: ignore[arg-type]
        return
    for counted in (False, True):
        average = spec.AveragePool(**own, count_padding=counted)  # type: ignore[arg-type]
        yield altered("layer-kind", "max_pool", "average_pool", average)


def _kernels(layer: Any) -> Iterator[Guess]:
    """The kernel read in another order, and the groups' channels interleaved."""
    transposed = isinstance(layer, spec.ConvTranspose)
    factor = "transposed-conv-kernel" if transposed else "conv-kernel-layout"
    for words, change in kernel_readings():
        yield Guess(factor, "height, width, in, out", words, on_arrays(layer, on_kernel(change)))
    groups = getattr(layer, "groups", 1)
    if groups > 1:
        shuffled = on_output(layer, lambda y: _interleave(y, groups))
        yield Guess("conv-groups", "channels group by group", "channels interleaved", shuffled)
        back = on_output(layer, lambda y: _interleave(y, y.shape[-1] // groups))
        yield Guess("conv-groups", "channels group by group", "channels interleaved", back)


def on_kernel(change: Callable[[Array], Array]) -> Callable[[Arrays], Arrays]:
    """Return a change of the kernel alone."""
    return lambda arrays: arrays | {"kernel": change(arrays["kernel"])}


def kernel_readings() -> Iterator[tuple[str, Callable[[Array], Array]]]:
    """Yield the ways in which a 4-D kernel of the same shape can be misread, with their words."""
    for axes in ((0,), (1,), (0, 1)):
        words = " and ".join(("height", "width")[axis] for axis in axes)
        yield f"turned over in {words}", lambda k, axes=axes: np.flip(k, axes)  # type: ignore[misc]
    names = ("height", "width", "in", "out")
    for order in permutations(range(4)):
        if order == (0, 1, 2, 3):
            continue
        words = ", ".join(names[axis] for axis in order)
        yield (
            f"numbers in the order {words}",
            lambda k, o=order: np.ascontiguousarray(k.transpose(o)).reshape(k.shape),  # type: ignore[misc]
        )
        yield (
            f"numbers taken from the order {words}",
            lambda k, o=order: k.reshape([k.shape[i] for i in o]).transpose(np.argsort(o)),  # type: ignore[misc]
        )


def _interleave(y: Array, groups: int) -> Array:
    """Channels as (groups, rest) read as (rest, groups)."""
    shape = y.shape
    return y.reshape(*shape[:-1], groups, -1).swapaxes(-1, -2).reshape(shape)
