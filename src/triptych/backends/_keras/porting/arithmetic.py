"""Elementwise and merging, layers and ``keras.ops`` alike, in the words of the spec.

What only moves numbers is in ``moves.py``; which class is which, in ``layers.py``
and ``calls.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import activations, layers

from triptych.backends.graph import Value
from triptych.spec import layers as spec

if TYPE_CHECKING:
    from triptych.backends._keras.porting.graph import Reading

Call = Callable[["Reading", Any, Sequence[Value], str], Value]
"""Adds a layer: what is read, Keras' layer, the values it takes, its place."""
Operate = Callable[["Reading", Any, Sequence[Any], Mapping[str, Any], str], Any]
"""Adds an operation: what is read, it, the arguments of the call, named ones, its place."""
Bend = Callable[[], spec.Layer]

_BENDS: dict[Any, Bend] = {
    activations.relu: spec.ReLU,
    activations.relu6: spec.ReLU6,
    activations.leaky_relu: lambda: spec.LeakyReLU(0.2),
    activations.elu: spec.ELU,
    activations.selu: spec.SELU,
    activations.gelu: spec.GELU,
    activations.silu: spec.SiLU,
    activations.sigmoid: spec.Sigmoid,
    activations.hard_sigmoid: spec.HardSigmoid,
    activations.tanh: spec.Tanh,
    activations.softplus: spec.Softplus,
    activations.softmax: spec.Softmax,
    activations.log_softmax: spec.LogSoftmax,
}
"""Keras' activation functions with the constants they have when called with nothing else."""
_GATED: dict[Any, tuple[Bend, ...]] = {
    activations.hard_silu: (spec.HardSigmoid,),
    activations.mish: (spec.Softplus, spec.Tanh),
}
"""Functions that are their input times these of it, one after the other."""


def bend(read: Reading, function: Any, value: Value, place: str) -> Value:
    """Add an activation: a function of Keras', or a layer used as one."""
    if function is None or function is activations.linear:
        return value
    if function in _BENDS:
        return read.build.add(_BENDS[function](), [value], place)
    if function in _GATED:
        gate = value
        for make in _GATED[function]:
            gate = read.build.add(make(), [gate], place)
        return read.build.add(spec.Multiply(), [value, gate], place)
    if isinstance(function, layers.Layer):
        return read.layer(function, [value], place)
    name = getattr(function, "__name__", type(function).__name__)
    raise read.build.refuse(place, f"the activation {name!r} has no canonical form")


def relu(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    slope, most, threshold = (
        float(number or 0.0) for number in (op.negative_slope, op.max_value, op.threshold)
    )
    layer: spec.Layer | None = None
    if not threshold and op.max_value is None:
        layer = spec.LeakyReLU(slope) if slope else spec.ReLU()
    elif not threshold and not slope and most == 6.0:
        layer = spec.ReLU6()
    if layer is None:
        said = f"max_value={op.max_value}, negative_slope={slope}, threshold={threshold}"
        raise read.build.refuse(place, f"a ReLU with {said} has no canonical form")
    return read.build.add(layer, values, place)


def softmax(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    if op.axis not in (-1, len(values[0].axes)):
        raise read.build.refuse(place, f"a softmax over axis {op.axis}, which is not the last")
    return read.build.add(spec.Softmax(), values, place)


def number_of(value: Any) -> float | None:
    """A constant as one number; None where it is none, or differs from entry to entry."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None
    same = array.size and np.all(array == array.flat[0])
    return float(array.flat[0]) if same else None


def rescaling(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    scale, offset = number_of(op.scale), number_of(op.offset)
    if scale is None or offset is None:
        raise read.build.refuse(place, "rescales each channel by a number of its own")
    return read.build.add(spec.Rescale(scale, offset), values, place)


def normalization(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    mean, variance = number_of(op.mean), number_of(op.variance)
    if mean is None or variance is None or op.invert:
        raise read.build.refuse(place, "normalises each channel by numbers of its own")
    # Keras divides by max(root, 1e-7); 1/root and mean/root are taken in float64.
    root = max(variance**0.5, 1e-7)
    return read.build.add(spec.Rescale(1.0 / root, -mean / root), values, place)


def merge(make: Callable[[], spec.Layer]) -> Call:
    return lambda read, op, values, place: read.build.add(make(), values, place)


def subtract(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    left, right = values
    negative = read.build.add(spec.Rescale(-1.0), [right], place)
    return read.build.add(spec.Add(), [left, negative], place)


def average(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    total = read.build.add(spec.Add(), values, place)
    return read.build.add(spec.Rescale(1.0 / len(values)), [total], place)


def noise(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    read.leave(f"{place} ({type(op).__name__}) is left out: it acts in training alone")
    return values[0]


def same(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    return values[0]


def bent(make: Callable[[Any], spec.Layer]) -> Call:
    return lambda read, op, values, place: read.build.add(make(op), values, place)


def unary(make: Callable[[Any], spec.Layer]) -> Operate:
    return lambda read, op, args, options, place: read.build.add(make(op), args[:1], place)


def over_last(make: Callable[[], spec.Layer]) -> Operate:
    def operate(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
        if op.axis not in (-1, len(args[0].axes)):
            raise read.build.refuse(place, f"goes over axis {op.axis}, which is not the last")
        return read.build.add(make(), args[:1], place)

    return operate


def arithmetic(
    merge: Callable[[], spec.Layer] | None, scaled: Callable[[float, bool], spec.Layer | None]
) -> Operate:
    """An operation on two values, or on a value and a number (and whether the number is first)."""

    def operate(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
        values = [arg for arg in args if isinstance(arg, Value)]
        if len(values) == 2:
            if merge is None:
                raise read.build.refuse(place, f"{type(op).__name__} of two values")
            return _two(read, merge, values, place)
        number = next((number_of(arg) for arg in args if not isinstance(arg, Value)), None)
        layer = None if number is None else scaled(number, not isinstance(args[0], Value))
        if layer is None:
            raise read.build.refuse(place, "takes an array of its own that is no layer's")
        return read.build.add(layer, values, place)

    return operate


def _two(
    read: Reading, merge: Callable[[], spec.Layer], values: Sequence[Value], place: str
) -> Value:
    layer = merge()
    if isinstance(layer, spec.Rescale):  # a difference
        right = read.build.add(layer, values[1:], place)
        return read.build.add(spec.Add(), [values[0], right], place)
    return read.build.add(layer, values, place)


def plus(number: float, first: bool) -> spec.Layer:
    """x + number."""
    return spec.Rescale(1.0, number)


def minus(number: float, first: bool) -> spec.Layer:
    """x - number, or number - x."""
    return spec.Rescale(-1.0, number) if first else spec.Rescale(1.0, -number)


def times(number: float, first: bool) -> spec.Layer:
    """x * number."""
    return spec.Rescale(number)


def over(number: float, first: bool) -> spec.Layer | None:
    """x / number; nothing for number / x."""
    return None if first or not number else spec.Rescale(1.0 / number)


def cast(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    if "float" not in str(op.dtype):
        raise read.build.refuse(place, f"casts to {op.dtype}")
    value: Value = args[0]
    return value


def hard_silu(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    return bend(read, activations.hard_silu, args[0], place)
