"""Layers and ``keras.ops`` that move numbers, and masks over steps of time.

What computes is in ``arithmetic.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from triptych.backends._keras.porting.arithmetic import number_of
from triptych.backends.graph import Value

if TYPE_CHECKING:
    from triptych.backends._keras.porting.graph import Reading


@dataclass(frozen=True)
class Mask:
    """Which steps a recurrent layer takes: those of a node of which not all features are a number.

    Attributes:
        node: that is looked at.
        number: what masks.
        over_all: whether it is told of a step, or still of each feature.
    """

    node: str
    number: float
    over_all: bool = False


@dataclass(frozen=True)
class Masked(Value):
    """What a ``Masking`` layer gives: masked steps are 0 in it, and no longer the number."""


def unmasked(value: Value) -> Value:
    """Return a value as it was before a ``Masking`` layer."""
    return Value(value.node, value.axes, value.order)


def reshape_layer(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    return read.build.reshape(
        values[0], resolved(op.target_shape, read.build.shape(values[0])), place
    )


def resolved(shape: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    """Return a shape with its -1 worked out."""
    known = prod(size for size in shape if size != -1)
    return tuple(prod(before) // max(known, 1) if size == -1 else int(size) for size in shape)


def concatenate_layer(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    return read.build.concatenate(values, op.axis - 1 if op.axis > 0 else op.axis, place)


def masking(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    value = values[0]
    return Masked(value.node, value.axes, value.order) if op.mask_value else value


def reshape(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    shape = [-1 if size is None else size for size in op.newshape]
    before = read.build.shape(args[0])
    rest = shape[1:]
    if not rest or (shape[0] != -1 and -1 not in rest):
        raise read.build.refuse(place, f"reshapes the batch too, to {tuple(op.newshape)}")
    return read.build.reshape(args[0], resolved(rest, before), place)


def _axes(op: Any, rank: int) -> list[int]:
    """The axes an operation names, the batch counted, none negative."""
    given = op.axis if isinstance(op.axis, (list, tuple)) else [op.axis]
    return [axis % (rank + 1) for axis in given]


def transpose(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    rank = len(args[0].axes)
    axes = op.axes or tuple(range(rank, -1, -1))
    axes = [axis % (rank + 1) for axis in axes]
    if axes[0] != 0:
        raise read.build.refuse(place, f"moves the batch, by {tuple(axes)}")
    return read.build.permute(args[0], [axis - 1 for axis in axes[1:]], place)


def swapaxes(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    rank = len(args[0].axes)
    one, two = op.axis1 % (rank + 1), op.axis2 % (rank + 1)
    if 0 in (one, two):
        raise read.build.refuse(place, "moves the batch")
    axes = list(range(rank))
    axes[one - 1], axes[two - 1] = axes[two - 1], axes[one - 1]
    return read.build.permute(args[0], axes, place)


def mean(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    rank = len(args[0].axes)
    axes = list(range(rank + 1)) if op.axis is None else _axes(op, rank)
    if 0 in axes:
        raise read.build.refuse(place, "takes the mean over the batch")
    return read.build.mean(args[0], [axis - 1 for axis in axes], op.keepdims, place)


def squeeze(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    before = read.build.shape(args[0])
    if op.axis is None:
        gone = [axis for axis, size in enumerate(before) if size == 1]
    else:
        gone = [axis - 1 for axis in _axes(op, len(before))]
    kept = tuple(size for axis, size in enumerate(before) if axis not in gone)
    return read.build.reshape(args[0], kept, place)


def expand_dims(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    shape = list(read.build.shape(args[0]))
    for axis in sorted(_axes(op, len(shape) + 1)):
        if axis == 0:
            raise read.build.refuse(place, "adds an axis before the batch")
        shape.insert(axis - 1, 1)
    return read.build.reshape(args[0], tuple(shape), place)


def concatenate(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    values = list(args[0])
    if not all(isinstance(value, Value) for value in values) or op.axis == 0:
        raise read.build.refuse(place, "joins what is no layer's output, or examples of the batch")
    return read.build.concatenate(values, op.axis - 1 if op.axis > 0 else op.axis, place)


def pad(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    fill = options.get("constant_values")
    fill = args[1] if len(args) > 1 else fill
    batch, *amounts = [tuple(pair) for pair in op.pad_width]
    if op.mode != "constant" or fill not in (None, 0, 0.0) or any(batch) or len(amounts) != 3:
        raise read.build.refuse(place, f"pads by {op.mode} {fill}, not an image with zeros")
    return read.build.pad(args[0], amounts, place)


def not_equal(read: Reading, op: Any, args: Any, options: Any, place: str) -> Any:
    number = number_of(args[1]) if len(args) == 2 else None
    if number is None or not isinstance(args[0], Value) or not args[0].is_plain:
        raise read.build.refuse(place, "compares what is no mask of a Masking layer")
    return Mask(args[0].node, number)


def any_of(read: Reading, op: Any, args: Any, options: Any, place: str) -> Any:
    if not isinstance(args[0], Mask) or op.axis not in (-1, [-1], (-1,)) or op.keepdims:
        raise read.build.refuse(place, "is no mask of a Masking layer")
    return Mask(args[0].node, args[0].number, True)
