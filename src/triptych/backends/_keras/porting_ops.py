"""Layers without params, and ``keras.ops``, in the words of the spec: elementwise, merging, axes.

``OPS`` goes by the place and name of an operation of ``keras.ops``; its functions are handed the
arguments of the call, of which some are values. Layers with params and with windows are in
``porting_calls.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import activations, layers

from triptych.backends.graph import Value
from triptych.spec import layers as spec

if TYPE_CHECKING:
    from triptych.backends._keras.graph import Reading

Call = Callable[["Reading", Any, Sequence[Value], str], Value]
Operate = Callable[["Reading", Any, Sequence[Any], Mapping[str, Any], str], Any]
Bend = Callable[[], spec.Layer]


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


def _reshape(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    return read.build.reshape(
        values[0], resolved(op.target_shape, read.build.shape(values[0])), place
    )


def resolved(shape: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    """Return a shape with its -1 worked out."""
    known = prod(size for size in shape if size != -1)
    return tuple(prod(before) // max(known, 1) if size == -1 else int(size) for size in shape)


# --- elementwise and merging -----------------------------------------------------------------------


def _relu(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
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


def _softmax(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    if op.axis not in (-1, len(values[0].axes)):
        raise read.build.refuse(place, f"a softmax over axis {op.axis}, which is not the last")
    return read.build.add(spec.Softmax(), values, place)


def _number(value: Any) -> float | None:
    """A constant as one number; None where it is none, or differs from entry to entry."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None
    same = array.size and np.all(array == array.flat[0])
    return float(array.flat[0]) if same else None


def _rescaling(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    scale, offset = _number(op.scale), _number(op.offset)
    if scale is None or offset is None:
        raise read.build.refuse(place, "rescales each channel by a number of its own")
    return read.build.add(spec.Rescale(scale, offset), values, place)


def _normalization(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    mean, variance = _number(op.mean), _number(op.variance)
    if mean is None or variance is None or op.invert:
        raise read.build.refuse(place, "normalises each channel by numbers of its own")
    # Keras divides by max(root, 1e-7); 1/root and mean/root are taken in float64.
    root = max(variance**0.5, 1e-7)
    return read.build.add(spec.Rescale(1.0 / root, -mean / root), values, place)


def _merge(make: Callable[[], spec.Layer]) -> Call:
    return lambda read, op, values, place: read.build.add(make(), values, place)


def _subtract(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    left, right = values
    negative = read.build.add(spec.Rescale(-1.0), [right], place)
    return read.build.add(spec.Add(), [left, negative], place)


def _average(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    total = read.build.add(spec.Add(), values, place)
    return read.build.add(spec.Rescale(1.0 / len(values)), [total], place)


def _concatenate(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    return read.build.concatenate(values, op.axis - 1 if op.axis > 0 else op.axis, place)


def _masking(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    value = values[0]
    return Masked(value.node, value.axes, value.order) if op.mask_value else value


def _noise(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    read.leave(f"{place} ({type(op).__name__}) is left out: it acts in training alone")
    return values[0]


def _same(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    return values[0]


def _bent(make: Callable[[Any], spec.Layer]) -> Call:
    return lambda read, op, values, place: read.build.add(make(op), values, place)


LAYERS: dict[type, Call] = {
    layers.Flatten: lambda read, op, values, place: read.build.flatten(values[0], place),
    layers.Reshape: _reshape,
    layers.Permute: lambda read, op, values, place: read.build.permute(
        values[0], [axis - 1 for axis in op.dims], place
    ),
    layers.Activation: lambda read, op, values, place: bend(read, op.activation, values[0], place),
    layers.ReLU: _relu,
    layers.LeakyReLU: _bent(lambda op: spec.LeakyReLU(float(op.negative_slope))),
    layers.ELU: _bent(lambda op: spec.ELU(float(op.alpha))),
    layers.Softmax: _softmax,
    layers.Dropout: _bent(lambda op: spec.Dropout(float(op.rate))),
    **dict.fromkeys(
        (
            layers.SpatialDropout1D,
            layers.SpatialDropout2D,
            layers.GaussianNoise,
            layers.GaussianDropout,
            layers.AlphaDropout,
        ),
        _noise,
    ),
    **dict.fromkeys((layers.Identity, layers.ActivityRegularization), _same),
    layers.Masking: _masking,
    layers.Rescaling: _rescaling,
    layers.Normalization: _normalization,
    layers.Add: _merge(spec.Add),
    layers.Multiply: _merge(spec.Multiply),
    layers.Subtract: _subtract,
    layers.Average: _average,
    layers.Concatenate: _concatenate,
}


# --- keras.ops -------------------------------------------------------------------------------------


def _unary(make: Callable[[Any], spec.Layer]) -> Operate:
    return lambda read, op, args, options, place: read.build.add(make(op), args[:1], place)


def _last_only(make: Callable[[], spec.Layer]) -> Operate:
    def operate(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
        if op.axis not in (-1, len(args[0].axes)):
            raise read.build.refuse(place, f"goes over axis {op.axis}, which is not the last")
        return read.build.add(make(), args[:1], place)

    return operate


def _arithmetic(
    merge: Callable[[], spec.Layer] | None, scaled: Callable[[float, bool], spec.Layer | None]
) -> Operate:
    """An operation on two values, or on a value and a number (and whether the number is first)."""

    def operate(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
        values = [arg for arg in args if isinstance(arg, Value)]
        if len(values) == 2:
            if merge is None:
                raise read.build.refuse(place, f"{type(op).__name__} of two values")
            return _two(read, merge, values, place)
        number = next((_number(arg) for arg in args if not isinstance(arg, Value)), None)
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


def _minus(number: float, first: bool) -> spec.Layer:
    return spec.Rescale(-1.0, number) if first else spec.Rescale(1.0, -number)


def _over(number: float, first: bool) -> spec.Layer | None:
    return None if first or not number else spec.Rescale(1.0 / number)


def _op_reshape(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
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


def _op_transpose(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    rank = len(args[0].axes)
    axes = op.axes or tuple(range(rank, -1, -1))
    axes = [axis % (rank + 1) for axis in axes]
    if axes[0] != 0:
        raise read.build.refuse(place, f"moves the batch, by {tuple(axes)}")
    return read.build.permute(args[0], [axis - 1 for axis in axes[1:]], place)


def _op_swapaxes(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    rank = len(args[0].axes)
    one, two = op.axis1 % (rank + 1), op.axis2 % (rank + 1)
    if 0 in (one, two):
        raise read.build.refuse(place, "moves the batch")
    axes = list(range(rank))
    axes[one - 1], axes[two - 1] = axes[two - 1], axes[one - 1]
    return read.build.permute(args[0], axes, place)


def _op_mean(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    rank = len(args[0].axes)
    axes = list(range(rank + 1)) if op.axis is None else _axes(op, rank)
    if 0 in axes:
        raise read.build.refuse(place, "takes the mean over the batch")
    return read.build.mean(args[0], [axis - 1 for axis in axes], op.keepdims, place)


def _op_squeeze(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    before = read.build.shape(args[0])
    if op.axis is None:
        gone = [axis for axis, size in enumerate(before) if size == 1]
    else:
        gone = [axis - 1 for axis in _axes(op, len(before))]
    kept = tuple(size for axis, size in enumerate(before) if axis not in gone)
    return read.build.reshape(args[0], kept, place)


def _op_expand(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    shape = list(read.build.shape(args[0]))
    for axis in sorted(_axes(op, len(shape) + 1)):
        if axis == 0:
            raise read.build.refuse(place, "adds an axis before the batch")
        shape.insert(axis - 1, 1)
    return read.build.reshape(args[0], tuple(shape), place)


def _op_concatenate(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    values = list(args[0])
    if not all(isinstance(value, Value) for value in values) or op.axis == 0:
        raise read.build.refuse(place, "joins what is no layer's output, or examples of the batch")
    return read.build.concatenate(values, op.axis - 1 if op.axis > 0 else op.axis, place)


def _op_pad(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    fill = options.get("constant_values")
    fill = args[1] if len(args) > 1 else fill
    batch, *amounts = [tuple(pair) for pair in op.pad_width]
    if op.mode != "constant" or fill not in (None, 0, 0.0) or any(batch) or len(amounts) != 3:
        raise read.build.refuse(place, f"pads by {op.mode} {fill}, not an image with zeros")
    return read.build.pad(args[0], amounts, place)


def _op_pool(kind: type[spec.MaxPool]) -> Operate:
    def operate(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
        if op.data_format == "channels_first" or len(args[0].axes) != 3:
            raise read.build.refuse(place, "slides over other axes than height and width")
        size, step = (
            (value, value) if isinstance(value, int) else tuple(value)
            for value in (op.pool_size, op.pool_size if op.strides is None else op.strides)
        )
        return read.build.windowed(kind(size, step, op.padding), args[0], place)

    return operate


def _op_not_equal(read: Reading, op: Any, args: Any, options: Any, place: str) -> Any:
    number = _number(args[1]) if len(args) == 2 else None
    if number is None or not isinstance(args[0], Value) or not args[0].is_plain:
        raise read.build.refuse(place, "compares what is no mask of a Masking layer")
    return Mask(args[0].node, number)


def _op_any(read: Reading, op: Any, args: Any, options: Any, place: str) -> Any:
    if not isinstance(args[0], Mask) or op.axis not in (-1, [-1], (-1,)) or op.keepdims:
        raise read.build.refuse(place, "is no mask of a Masking layer")
    return Mask(args[0].node, args[0].number, True)


def _op_cast(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    if "float" not in str(op.dtype):
        raise read.build.refuse(place, f"casts to {op.dtype}")
    value: Value = args[0]
    return value


def _op_hard_silu(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
    return bend(read, activations.hard_silu, args[0], place)


OPS: dict[str, Operate] = {
    "nn.Relu": _unary(lambda op: spec.ReLU()),
    "nn.Relu6": _unary(lambda op: spec.ReLU6()),
    "nn.LeakyRelu": _unary(lambda op: spec.LeakyReLU(float(op.negative_slope))),
    "nn.Elu": _unary(lambda op: spec.ELU(float(op.alpha))),
    "nn.Selu": _unary(lambda op: spec.SELU()),
    "nn.Gelu": _unary(lambda op: spec.GELU(bool(op.approximate))),
    "nn.Silu": _unary(lambda op: spec.SiLU()),
    "nn.Sigmoid": _unary(lambda op: spec.Sigmoid()),
    "nn.HardSigmoid": _unary(lambda op: spec.HardSigmoid()),
    "nn.HardSilu": _op_hard_silu,
    "nn.Softplus": _unary(lambda op: spec.Softplus()),
    "nn.Softmax": _last_only(spec.Softmax),
    "nn.LogSoftmax": _last_only(spec.LogSoftmax),
    "nn.MaxPool": _op_pool(spec.MaxPool),
    "nn.AveragePool": _op_pool(spec.AveragePool),
    "numpy.Tanh": _unary(lambda op: spec.Tanh()),
    "numpy.Negative": _unary(lambda op: spec.Rescale(-1.0)),
    "numpy.Add": _arithmetic(spec.Add, lambda number, first: spec.Rescale(1.0, number)),
    "numpy.Subtract": _arithmetic(lambda: spec.Rescale(-1.0), _minus),
    "numpy.Multiply": _arithmetic(spec.Multiply, lambda number, first: spec.Rescale(number)),
    "numpy.Divide": _arithmetic(None, _over),
    "numpy.TrueDivide": _arithmetic(None, _over),
    "numpy.Reshape": _op_reshape,
    "numpy.Transpose": _op_transpose,
    "numpy.Swapaxes": _op_swapaxes,
    "numpy.Mean": _op_mean,
    "numpy.Squeeze": _op_squeeze,
    "numpy.ExpandDims": _op_expand,
    "numpy.Concatenate": _op_concatenate,
    "numpy.Pad": _op_pad,
    "numpy.NotEqual": _op_not_equal,
    "numpy.Any": _op_any,
    "core.Cast": _op_cast,
}
