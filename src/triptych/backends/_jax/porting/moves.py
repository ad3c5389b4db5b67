"""JAX primitives that move numbers or gather them, as layers of the spec, by their names.

Each function takes the walk through the program (``graph.py``), the equation and its operands.
Elementwise primitives are in ``formulas.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from triptych.backends._jax.porting.formulas import Formula, Item, Known, Part, Seen
from triptych.backends.native_parts import Shape
from triptych.spec import layers as spec
from triptych.spec.layers.convolution import Amounts

if TYPE_CHECKING:
    from triptych.backends._jax.porting.graph import Walk

BATCH = 2
"""The batch of the traced program."""
_MIXES = "mixes the batch with other axes"


def without(shape: Sequence[int], axis: int) -> Shape:
    """Return a shape without one axis, the batch."""
    return (*shape[:axis], *shape[axis + 1 :])


def _transpose(walk: Walk, equation: Any, given: Item) -> Item:
    where = walk.place(equation)
    x, axes = walk.settle(given, where), list(equation.params["permutation"])
    kept = [axis - (axis > x.batch) for axis in axes if axis != x.batch]
    return Seen(walk.builder.permute(x.value, kept, where), axes.index(x.batch))


def _reshape(walk: Walk, equation: Any, given: Item) -> Item:
    before, shape = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    where = walk.place(equation)
    if isinstance(given, Part) and given.axes and len(shape) > len(before):
        return replace(given, keep=True)
    x = walk.settle(given, where)
    if x.batch or shape[:1] != (BATCH,):
        raise walk.refuse(equation, _MIXES)
    return Seen(walk.builder.reshape(x.value, tuple(shape[1:]), where))


def _squeeze(walk: Walk, equation: Any, given: Item) -> Item:
    gone = equation.params["dimensions"]
    if isinstance(given, Part) and given.what == "last step":
        return given
    where = walk.place(equation)
    x = walk.settle(given, where)
    if x.batch in gone:
        raise walk.refuse(equation, _MIXES)
    batch = x.batch - sum(axis < x.batch for axis in gone)
    shape = without(equation.outvars[0].aval.shape, batch)
    return Seen(walk.builder.reshape(x.value, shape, where), batch)


def _broadcast(walk: Walk, equation: Any, given: Item) -> Item:
    """New axes of size 1, or a value repeated along them."""
    before, shape = equation.invars[0].aval.shape, tuple(equation.outvars[0].aval.shape)
    axes, where = equation.params["broadcast_dimensions"], walk.place(equation)
    if isinstance(given, Part) and given.axes and prod(shape) == prod(before):
        return replace(given, keep=True)
    x = walk.settle(given, where)
    batch, ones = axes[x.batch], [1] * len(shape)
    for axis, size in zip(axes, before, strict=True):
        ones[axis] = size
    seen = Seen(walk.builder.reshape(x.value, without(ones, batch), where), batch)
    return seen if tuple(ones) == shape else Part("repeat", seen)


def _concatenate(walk: Walk, equation: Any, *given: Item) -> Item:
    where = walk.place(equation)
    seen = [walk.settle(item, where) for item in given]
    axis, batch = equation.params["dimension"], seen[0].batch
    if axis == batch or any(x.batch != batch for x in seen):
        raise walk.refuse(equation, _MIXES)
    values = [x.value for x in seen]
    return Seen(walk.builder.concatenate(values, axis - (axis > batch), where), batch)


def _pad(walk: Walk, equation: Any, given: Item, fill: Item) -> Item:
    where, amounts = walk.place(equation), equation.params["padding_config"]
    x = walk.settle(given, where)
    if not isinstance(fill, Known) or np.any(fill.array):
        raise walk.refuse(equation, "pads with other than zeros, which has no canonical form")
    if any(inner or min(low, high) < 0 for low, high, inner in amounts):
        raise walk.refuse(equation, "cuts, or pads between pixels, which has no canonical form")
    if x.batch or any(amounts[0]):
        raise walk.refuse(equation, _MIXES)
    pairs = [(int(low), int(high)) for low, high, _ in amounts[1:]]
    return Seen(walk.builder.pad(x.value, pairs, where))


def _slice(walk: Walk, equation: Any, given: Item) -> Item:
    """The last step of a recurrent layer's; no other part of a value has a canonical form."""
    before, params = equation.invars[0].aval.shape, equation.params
    if isinstance(given, Part) and given.what == "steps":
        axis, call = 1 - given.of.batch, given.params[1]
        backwards = call.option("reverse") and call.option("keep_order")
        wanted = [(0, size) for size in before]
        wanted[axis] = (0, 1) if backwards else (before[axis] - 1, before[axis])
        if list(zip(params["start_indices"], params["limit_indices"], strict=True)) == wanted:
            return replace(given, what="last step")
    raise walk.refuse(equation, "takes a part of a value, which has no canonical form")


def _reduce_sum(walk: Walk, equation: Any, given: Item) -> Item:
    axes = tuple(equation.params["axes"])
    if isinstance(given, Part) and given.what == "exp":
        return Part("exp sum", given.of, axes)
    return Part("sum", walk.settle(given, walk.place(equation)), axes)


def _reduce_max(walk: Walk, equation: Any, given: Item) -> Item:
    axes = tuple(equation.params["axes"])
    return Part("max", walk.settle(given, walk.place(equation)), axes)


def _stop_gradient(walk: Walk, equation: Any, given: Item) -> Item:
    if isinstance(given, Part) and given.what == "max":
        return given
    raise walk.refuse(equation, "stops the gradient, which has no canonical form")


def _convert(walk: Walk, equation: Any, given: Item) -> Item:
    """Another type for the same numbers."""
    before, after = (np.dtype(v.aval.dtype) for v in (equation.invars[0], equation.outvars[0]))
    if before.kind == "b":
        if not isinstance(given, Formula):
            return given
        return Formula(equation, (given,), given.base, given.place)
    if before.kind == "f" and after.kind != "f":
        raise walk.refuse(equation, "rounds to whole numbers, which has no canonical form")
    walk.casts |= before.kind == "f" and after.itemsize < before.itemsize
    return given


# --- windows -------------------------------------------------------------------------------------


def _window(walk: Walk, equation: Any) -> tuple[Any, Any, Amounts]:
    """Size, stride and padding of a window over height and width."""
    params = equation.params
    size, stride = params["window_dimensions"], params["window_strides"]
    padding = tuple((int(low), int(high)) for low, high in params["padding"])
    spread = {*params["base_dilation"], *params["window_dilation"]} - {1}
    outer = [(size[axis], stride[axis], padding[axis]) for axis in (0, -1)]
    if len(size) != 4 or spread or any(edge != (1, 1, (0, 0)) for edge in outer):
        raise walk.refuse(equation, "slides over other axes than height and width")
    return size[1:3], stride[1:3], (padding[1], padding[2])


def padding_word(padding: Amounts) -> Any:
    """``valid`` where there is none."""
    return padding if any(map(sum, padding)) else "valid"


def _max_windows(walk: Walk, equation: Any, given: Item) -> Item:
    size, stride, padding = _window(walk, equation)
    x, where = walk.settle(given, walk.place(equation)), walk.place(equation)
    layer = spec.MaxPool(size, stride, padding_word(padding))
    return Seen(walk.builder.windowed(layer, x.value, where))


def _sum_windows(walk: Walk, equation: Any, given: Item) -> Item:
    x = walk.settle(given, walk.place(equation))
    return Part("windows", x, params=_window(walk, equation))


def average(walk: Walk, part: Part, counts: np.ndarray, where: str) -> Seen:
    """Add the pooling that sums under a window make, divided by one number or by each its own."""
    size, stride, padding = part.params
    for count_padding in (False, True):
        layer = spec.AveragePool(size, stride, padding_word(padding), count_padding)
        if np.array_equal(
            np.broadcast_to(counts, counts.shape), _counts(walk, part, layer, counts)
        ):
            return Seen(walk.builder.windowed(layer, part.of.value, where))
    raise walk.builder.refuse(where, "divides sums under a window by other than their counts")


def _counts(walk: Walk, part: Part, layer: spec.AveragePool, like: np.ndarray) -> np.ndarray:
    """How many pixels stand under each window, in the shape of the numbers divided by."""
    height, width, _ = walk.builder.shape(part.of.value)
    whole = prod(layer.size)
    if layer.count_padding or layer.padding == "valid":
        return np.full(like.shape, whole)
    sizes = [
        [
            min(start - low + window, extent) - max(start - low, 0)
            for start in range(0, extent + low + high - window + 1, stride)
        ]
        for extent, window, stride, (low, high) in zip(
            (height, width), layer.size, layer.stride, layer.pixels((height, width, 1)), strict=True
        )
    ]
    rows, columns = sizes
    counts = np.outer(rows, columns)[None, :, :, None]
    return np.broadcast_to(counts, like.shape) if like.ndim == 4 else np.zeros(like.shape)


MOVES: dict[str, Callable[..., Item]] = {
    "transpose": _transpose,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "pad": _pad,
    "slice": _slice,
    "reduce_sum": _reduce_sum,
    "reduce_max": _reduce_max,
    "stop_gradient": _stop_gradient,
    "convert_element_type": _convert,
    "reduce_window_max": _max_windows,
    "reduce_window_sum": _sum_windows,
}
"""By the primitive's name."""
