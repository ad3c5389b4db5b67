"""What each operation of ``keras.ops`` is in the words of the spec: ``OPS``, by place and name.

Their functions are handed the arguments of the call, of which some are values. Layers are in
``layers.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triptych.backends._keras.porting import arithmetic as arithmetic
from triptych.backends._keras.porting import moves as moves
from triptych.backends._keras.porting.arithmetic import Operate
from triptych.backends.graph import Value
from triptych.spec import layers as spec

if TYPE_CHECKING:
    from triptych.backends._keras.porting.graph import Reading


def _pool(kind: type[spec.MaxPool]) -> Operate:
    def operate(read: Reading, op: Any, args: Any, options: Any, place: str) -> Value:
        if op.data_format == "channels_first" or len(args[0].axes) != 3:
            raise read.build.refuse(place, "slides over other axes than height and width")
        size, step = (
            (value, value) if isinstance(value, int) else tuple(value)
            for value in (op.pool_size, op.pool_size if op.strides is None else op.strides)
        )
        return read.build.windowed(kind(size, step, op.padding), args[0], place)

    return operate


OPS: dict[str, Operate] = {
    "nn.Relu": arithmetic.unary(lambda op: spec.ReLU()),
    "nn.Relu6": arithmetic.unary(lambda op: spec.ReLU6()),
    "nn.LeakyRelu": arithmetic.unary(lambda op: spec.LeakyReLU(float(op.negative_slope))),
    "nn.Elu": arithmetic.unary(lambda op: spec.ELU(float(op.alpha))),
    "nn.Selu": arithmetic.unary(lambda op: spec.SELU()),
    "nn.Gelu": arithmetic.unary(lambda op: spec.GELU(bool(op.approximate))),
    "nn.Silu": arithmetic.unary(lambda op: spec.SiLU()),
    "nn.Sigmoid": arithmetic.unary(lambda op: spec.Sigmoid()),
    "nn.HardSigmoid": arithmetic.unary(lambda op: spec.HardSigmoid()),
    "nn.HardSilu": arithmetic.hard_silu,
    "nn.Softplus": arithmetic.unary(lambda op: spec.Softplus()),
    "nn.Softmax": arithmetic.over_last(spec.Softmax),
    "nn.LogSoftmax": arithmetic.over_last(spec.LogSoftmax),
    "nn.MaxPool": _pool(spec.MaxPool),
    "nn.AveragePool": _pool(spec.AveragePool),
    "numpy.Tanh": arithmetic.unary(lambda op: spec.Tanh()),
    "numpy.Negative": arithmetic.unary(lambda op: spec.Rescale(-1.0)),
    "numpy.Add": arithmetic.arithmetic(spec.Add, arithmetic.plus),
    "numpy.Subtract": arithmetic.arithmetic(lambda: spec.Rescale(-1.0), arithmetic.minus),
    "numpy.Multiply": arithmetic.arithmetic(
        spec.Multiply, lambda number, first: spec.Rescale(number)
    ),
    "numpy.Divide": arithmetic.arithmetic(None, arithmetic.over),
    "numpy.TrueDivide": arithmetic.arithmetic(None, arithmetic.over),
    "numpy.Reshape": moves.reshape,
    "numpy.Transpose": moves.transpose,
    "numpy.Swapaxes": moves.swapaxes,
    "numpy.Mean": moves.mean,
    "numpy.Squeeze": moves.squeeze,
    "numpy.ExpandDims": moves.expand_dims,
    "numpy.Concatenate": moves.concatenate,
    "numpy.Pad": moves.pad,
    "numpy.NotEqual": moves.not_equal,
    "numpy.Any": moves.any_of,
    "core.Cast": arithmetic.cast,
}
