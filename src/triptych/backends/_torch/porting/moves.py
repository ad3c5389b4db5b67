"""PyTorch's operations that move numbers without computing any: views, casts, slices, steps.

What computes is in ``layers.py`` and ``arithmetic.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from triptych.backends._torch.porting.calls import (
    Array,
    Call,
    Filled,
    Final,
    Handler,
    Seen,
    refuse,
)
from triptych.backends.graph import FIRST
from triptych.spec import layers as spec
from triptych.spec.layers import Input

if TYPE_CHECKING:
    from triptych.backends._torch.porting.graph import Walk

_REALS = (torch.float32, torch.float64)
_ENDLESS = 2**62


def _same(walk: Walk, call: Call) -> Any:
    """What changes neither numbers nor their order."""
    return call["self"]


def _copy(walk: Walk, call: Call) -> Any:
    found = call["self"]
    if not isinstance(found, Seen):
        return found
    return walk.fresh(found.value, found.batch)


def _cast(walk: Walk, call: Call) -> Any:
    dtype, found = call.given.get("dtype"), call["self"]
    if isinstance(found, Seen) and dtype is not None and dtype not in _REALS:
        layer = walk.layer(found)
        index = isinstance(layer, Input) and layer.values == "index"
        if not index or dtype.is_floating_point:
            raise refuse(walk, call, f"casts to {dtype}, which has no canonical form")
    return found


def _filled(walk: Walk, call: Call) -> Filled:
    value = call.given.get("fill_value", 1.0 if "ones" in call.name else 0.0)
    return Filled(float(value) if isinstance(value, (int, float)) else None)


def _permute(walk: Walk, call: Call) -> Any:
    found = call["self"]
    if isinstance(found, Array):
        return turned(found, _dims(call, len(found.shape)))
    seen = walk.seen(call)
    dims = _dims(call, len(seen.value.axes) + 1)
    axes = [walk.axis(call, seen, dim) for dim in dims if dim != seen.batch]
    value = walk.builder.permute(seen.value, axes, call.place)
    return Seen(value, dims.index(seen.batch), seen.memory)


def _dims(call: Call, rank: int) -> tuple[int, ...]:
    """The dimension of before that is each one of after."""
    if call.name == "permute":
        return tuple(dim % rank for dim in call["dims"])
    dims = list(range(rank))
    first, second = (0, 1) if "dim0" not in call.given else (call["dim0"], call["dim1"])
    if rank > 1:
        dims[first % rank], dims[second % rank] = second % rank, first % rank
    return tuple(dims)


def turned(array: Array, axes: Sequence[int]) -> Array:
    """Return an array with its axes in another order."""
    before, order = array.turn, tuple(axes)
    shape = tuple(array.shape[axis] for axis in order)
    return replace(array, shape=shape, turn=lambda held: np.transpose(before(held), order))


def _reshape(walk: Walk, call: Call) -> Any:
    found = call["self"]
    if isinstance(found, Array) and tuple(call.shape) == found.shape:
        return found
    if isinstance(found, Final) and len(found.states) == 1 and len(call.shape) == 2:
        return walk.final(call, found.states[0])
    seen = walk.seen(call)
    before = walk.shape(seen)
    batch = _batch_after(walk, call, seen)
    shape = tuple(call.shape[:batch]) + tuple(call.shape[batch + 1 :])
    if len(before) == 1 and shape == (*before, 1, 1):
        # A gate for every channel: canonical (1, 1, channels).
        value = walk.builder.add(spec.Reshape((1, 1, *before)), [seen.value], call.place)
        return Seen(replace(value, axes=FIRST), batch, seen.memory)
    return Seen(walk.builder.reshape(seen.value, shape, call.place), batch, seen.memory)


def _batch_after(walk: Walk, call: Call, seen: Seen) -> int:
    """Where the batch lies after a view: in front, or where an axis of size 1 moves it to."""
    before = seen.batch
    if call.name == "unsqueeze":
        at = call["dim"] % (len(seen.value.axes) + 2)
        return before + (at <= before)
    if call.name == "squeeze":
        sizes = list(walk.shape(seen))
        sizes.insert(before, 2)
        rank = len(sizes)
        dims = call.given.get("dim", range(rank))
        dims = dims if isinstance(dims, (list, tuple, range)) else [dims]
        return before - sum(dim % rank < before and sizes[dim] == 1 for dim in dims)
    if before == 0 and call.shape and call.shape[0] == walk.batch:
        return 0
    raise refuse(
        walk, call, f"to {tuple(call.shape)} mixes the batch with other axes, which has no "
        "canonical form",
    )  # fmt: skip


def _slice(walk: Walk, call: Call) -> Any:
    start, end = call["start"] or 0, call["end"]
    whole = start == 0 and (end is None or end >= _ENDLESS) and call["step"] == 1
    if whole:
        return call["self"]
    seen = walk.seen(call)
    size = walk.shape(seen)[walk.axis(call, seen, call["dim"])]
    if start == 0 and end == size and call["step"] == 1:
        return seen
    what = f"takes a slice of {size} (from {start} to {end} by {call['step']})"
    raise refuse(walk, call, f"{what}, which has no canonical form")


def _select(walk: Walk, call: Call) -> Any:
    found, dim, at = call["self"], call["dim"], call["index"]
    if isinstance(found, Final):
        if dim != 0:
            raise refuse(walk, call, f"takes part {at} of the states' axis {dim}")
        return walk.final(call, found.states[at])
    seen = walk.seen(call)
    axis = walk.axis(call, seen, dim)
    size = walk.shape(seen)[axis]
    if size == 1 or axis != 0 or at % size not in (0, size - 1):
        raise refuse(walk, call, f"takes entry {at} of {size}, which has no canonical form")
    return walk.final(call, seen.value, last=at % size == size - 1)


def _item(walk: Walk, call: Call) -> Any:
    return call["0"][call["1"]]


_VIEWS = ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "_unsafe_view")
_CASTS = ("to", "_to_copy", "type_as", "float", "double")
_SAME = ("contiguous", "detach", "detach_", "alias", "lift_fresh_copy", "identity")

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(_SAME, _same),
    "clone": _copy,
    **dict.fromkeys(_CASTS, _cast),
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros", "full", "full_like", "new_full"), _filled),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), _filled),
    **dict.fromkeys(("permute", "transpose", "t", "numpy_T"), _permute),
    **dict.fromkeys(_VIEWS, _reshape),
    "slice": _slice,
    "select": _select,
    "getitem": _item,
}
