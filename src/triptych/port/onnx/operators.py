"""What each ONNX operator is as a layer, a function each, in the order of the operators' families.

Source: the operators' schemas in ONNX' own documentation. A function takes the reader and the node
and returns the output's value, or None where it only notes something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from triptych.backends.carried import Origin
from triptych.backends.graph import Value
from triptych.port.onnx import patterns
from triptych.port.onnx.reading import Held, Reader
from triptych.port.onnx.recurrent import recurrent
from triptych.port.onnx.windows import axes_of, conv, conv_transpose, pool
from triptych.spec.layers import (
    ELU,
    GELU,
    SELU,
    Add,
    BatchNorm,
    Dropout,
    Embedding,
    HardSigmoid,
    Layer,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    MaxPool,
    Multiply,
    ReLU,
    ReLU6,
    Rescale,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
)

Operator = Callable[[Reader, Any], Value | Held | None]


def _global_average(reader: Reader, node: Any) -> Value:
    rank = len(reader.shape_of(node.input[0]))
    axes = range(1, rank - 1)
    return reader.builder.mean(reader.value(node), list(axes), True, reader.where(node))


def _global_max(reader: Reader, node: Any) -> Value:
    size = reader.shape_of(node.input[0])[2:]
    if len(size) != 2:
        raise reader.refuse(node, "slides over other than two axes, which has no canonical form")
    layer = MaxPool((size[0], size[1]), (size[0], size[1]))
    return reader.builder.windowed(layer, reader.value(node), reader.where(node), None, True)


def _reduce_mean(reader: Reader, node: Any) -> Value | None:
    options = reader.options(node)
    axes = options.get("axes") or reader.constant(node, 1).tolist()
    rank = len(reader.shape_of(node.input[0]))
    own = [axis % rank - 1 for axis in axes]
    if -1 in own:
        raise reader.refuse(node, "takes the mean over the batch")
    keep = bool(options.get("keepdims", 1))
    if rank == 2 and patterns.centres(reader, node):
        return None
    return reader.builder.mean(reader.value(node), own, keep, reader.where(node))


def _gemm(reader: Reader, node: Any) -> Value:
    options = reader.options(node)
    if options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0 or options.get("transA"):
        raise reader.refuse(node, "has alpha, beta or transA, which a dense layer has not")
    kernel = reader.array(node, 1)
    units = reader.constant(node, 1).shape[0 if options.get("transB") else 1]
    bias = reader.array(node, 2) if reader.given(node, 2) else None
    kernel = kernel.then(axes_of(1, 0)) if options.get("transB") else kernel
    return _dense(reader, node, units, kernel, bias)


def _matmul(reader: Reader, node: Any) -> Value:
    """A product with a constant matrix, and the addition of a bias behind it."""
    if not reader.is_constant(node.input[1]):
        raise reader.refuse(node, "multiplies two values of the network")
    kernel = reader.constant(node, 1)
    if kernel.ndim != 2:
        raise reader.refuse(node, f"multiplies with an array of {kernel.shape}")
    after, bias = reader.only_consumer(node.output[0]), None
    if after is not None and after.op_type == "Add":
        place = 1 if after.input[0] == node.output[0] else 0
        fixed = reader.is_constant(after.input[place])
        if fixed and reader.constant(after, place).shape == (kernel.shape[1],):
            bias = reader.array(after, place)
            reader.skipped.add(after.output[0])
    value = _dense(reader, node, kernel.shape[1], reader.array(node, 1), bias)
    if bias is not None:
        reader.held[after.output[0]] = Held(value)
    return value


def _dense(reader: Reader, node: Any, units: int, kernel: Origin, bias: Origin | None) -> Value:
    where, shared = reader.where(node), ("weights", node.input[1], bias and bias.key)
    return reader.builder.dense(reader.value(node), int(units), where, kernel, bias, shared)


def _batch_norm(reader: Reader, node: Any) -> Value:
    options = reader.options(node)
    if options.get("training_mode", 0):
        raise reader.refuse(node, "is in training mode; export the model in inference mode")
    layer = BatchNorm(float(options.get("epsilon", 1e-5)), float(options.get("momentum", 0.9)))
    names = ("scale", "offset", "mean", "variance")
    arrays = {name: reader.array(node, place) for place, name in enumerate(names, start=1)}
    axis = 0
    where, shared = reader.where(node), ("weights", *node.input[1:])
    return reader.builder.batch_norm(layer, reader.value(node), where, arrays, axis, shared)


def _layer_norm(reader: Reader, node: Any) -> Value:
    options = reader.options(node)
    rank = len(reader.shape_of(node.input[0]))
    if options.get("axis", -1) % rank != rank - 1 or not reader.given(node, 2):
        raise reader.refuse(node, "normalises other than the last axis, or has no offset")
    arrays = {"scale": reader.array(node, 1), "offset": reader.array(node, 2)}
    layer = LayerNorm(float(options.get("epsilon", 1e-5)))
    return reader.builder.add(layer, [reader.value(node)], reader.where(node), arrays)


def _activation(make: Callable[[dict[str, Any]], Layer]) -> Operator:
    def operator(reader: Reader, node: Any) -> Held:
        held = reader.held[node.input[0]]
        layer = make(reader.options(node))
        value = reader.builder.add(layer, [held.value], reader.where(node))
        return Held(value, held.batch)

    return operator


def _softmax(layer: Layer) -> Operator:
    def operator(reader: Reader, node: Any) -> Value:
        rank = len(reader.shape_of(node.input[0]))
        axis = reader.options(node).get("axis", -1 if reader.opset >= 13 else 1)
        if axis % rank == 0:
            raise reader.refuse(node, "is over the batch")
        value, where = reader.value(node), reader.where(node)
        return reader.builder.along(layer, value, axis % rank - 1, where)

    return operator


def _dropout(reader: Reader, node: Any) -> Value:
    """The ratio is an attribute before opset 12, an input since."""
    ratio = reader.options(node).get("ratio", 0.5)
    if reader.given(node, 1):
        ratio = reader.constant(node, 1).reshape(())
    return reader.builder.add(Dropout(float(ratio)), [reader.value(node)], reader.where(node))


def _hard_sigmoid(reader: Reader, node: Any) -> Value:
    options = reader.options(node)
    if options.get("beta", 0.5) != 0.5:
        raise reader.refuse(node, f"has beta {options['beta']}; only 1/2 is known")
    layer = HardSigmoid(float(options.get("alpha", np.float32(0.2))))
    return reader.builder.add(layer, [reader.value(node)], reader.where(node))


def _hard_swish(reader: Reader, node: Any) -> Value:
    """x * hard_sigmoid(x), slope 1/6."""
    value, where = reader.value(node), reader.where(node)
    gate = reader.builder.add(HardSigmoid(1.0 / 6.0), [value], where)
    return reader.builder.add(Multiply(), [value, gate], where)


def _clip(reader: Reader, node: Any) -> Value:
    options = reader.options(node)
    low = options.get("min", reader.constant(node, 1) if reader.given(node, 1) else -np.inf)
    high = options.get("max", reader.constant(node, 2) if reader.given(node, 2) else np.inf)
    ends = (float(low), float(high))
    layers: dict[tuple[float, float], Layer] = {(0.0, 6.0): ReLU6(), (0.0, np.inf): ReLU()}
    if ends not in layers:
        raise reader.refuse(node, f"clips to {ends}; only 0 to 6 and 0 upwards are known")
    return reader.builder.add(layers[ends], [reader.value(node)], reader.where(node))


def _arithmetic(reader: Reader, node: Any) -> Value | None:
    """A sum or product of two values, or of one and a constant number."""
    where = reader.where(node)
    if node.output[0] in reader.centred:
        return None
    known = patterns.dueling(reader, node) if node.op_type == "Add" else None
    known = patterns.gelu(reader, node) if node.op_type == "Div" else known
    if known is not None:
        return known
    fixed = [place for place in (0, 1) if reader.is_constant(node.input[place])]
    if not fixed:
        if node.op_type not in ("Add", "Mul"):
            raise reader.refuse(node, "of two values of the network has no canonical form")
        layer: Layer = Add() if node.op_type == "Add" else Multiply()
        return reader.builder.add(layer, [reader.value(node, 0), reader.value(node, 1)], where)
    array = reader.constant(node, fixed[0])
    if array.size != 1 or (fixed[0] == 0 and node.op_type in ("Sub", "Div")):
        raise reader.refuse(node, f"with a constant array of {array.shape} has no canonical form")
    number = float(array.reshape(()))
    scale, offset = {
        "Add": (1.0, number),
        "Sub": (1.0, -number),
        "Mul": (number, 0.0),
        "Div": (1.0 / number if number else np.inf, 0.0),
    }[node.op_type]
    return reader.builder.add(Rescale(scale, offset), [reader.value(node, 1 - fixed[0])], where)


def _concat(reader: Reader, node: Any) -> Value:
    values = [reader.value(node, place) for place in range(len(node.input))]
    axis = reader.options(node)["axis"]
    rank = len(reader.shape_of(node.input[0]))
    if axis % rank == 0:
        raise reader.refuse(node, "joins examples of the batch")
    return reader.builder.concatenate(values, axis % rank - 1, reader.where(node))


def _reshape(reader: Reader, node: Any) -> Value:
    """Reshape, Flatten, Squeeze and Unsqueeze: the shape that came out is what was asked for."""
    held = reader.held[node.input[0]]
    shape = reader.shape_of(node.output[0])
    before = reader.shape_of(node.input[0])
    if held.batch or shape[0] != before[0]:
        raise reader.refuse(node, f"reshapes {before} to {shape}, the batch among other axes")
    return reader.builder.reshape(held.value, shape[1:], reader.where(node))


def _transpose(reader: Reader, node: Any) -> Held:
    held = reader.held[node.input[0]]
    rank = len(reader.shape_of(node.input[0]))
    axes = list(reader.options(node).get("perm", range(rank)[::-1]))
    rest = [axis - (axis > held.batch) for axis in axes if axis != held.batch]
    value = reader.builder.permute(held.value, rest, reader.where(node))
    return Held(value, axes.index(held.batch))


def _pad(reader: Reader, node: Any) -> Value:
    options = reader.options(node)
    if options.get("mode", "constant") != "constant":
        raise reader.refuse(node, f"pads by {options['mode']}; only zeros are known")
    if reader.given(node, 2) and float(reader.constant(node, 2).reshape(())) != 0.0:
        raise reader.refuse(node, "pads with another number than zero")
    pads = options.get("pads") or reader.constant(node, 1).tolist()
    half = len(pads) // 2
    pairs = [(int(pads[axis]), int(pads[axis + half])) for axis in range(half)]
    if any(pairs[0]):
        raise reader.refuse(node, "pads the batch")
    value, where = reader.value(node), reader.where(node)
    return reader.builder.pad(value, pairs[1:], where, channels_first=True)


def _gather(reader: Reader, node: Any) -> Value:
    """A table's rows by the network's indices."""
    if not reader.is_constant(node.input[0]) or reader.options(node).get("axis", 0) != 0:
        raise reader.refuse(node, "takes entries of a value; only tables of rows are known")
    size, features = reader.constant(node, 0).shape
    arrays = {"kernel": reader.array(node, 0)}
    layer = Embedding(int(size), int(features))
    return reader.builder.add(layer, [reader.value(node, 1)], reader.where(node), arrays)


def _same(reader: Reader, node: Any) -> Held:
    return reader.held[node.input[0]]


OPERATORS: dict[str, Operator] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "MaxPool": pool,
    "AveragePool": pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "ReduceMean": _reduce_mean,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Relu": _activation(lambda o: ReLU()),
    "LeakyRelu": _activation(lambda o: LeakyReLU(float(o.get("alpha", 0.01)))),
    "Elu": _activation(lambda o: ELU(float(o.get("alpha", 1.0)))),
    "Selu": _activation(lambda o: SELU()),
    "Gelu": _activation(lambda o: GELU(o.get("approximate", "none") == "tanh")),
    "Sigmoid": _activation(lambda o: Sigmoid()),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Tanh": _activation(lambda o: Tanh()),
    "Softplus": _activation(lambda o: Softplus()),
    "Softmax": _softmax(Softmax()),
    "LogSoftmax": _softmax(LogSoftmax()),
    "Clip": _clip,
    "Dropout": _dropout,
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "Div": _arithmetic,
    "Concat": _concat,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "Pad": _pad,
    "Gather": _gather,
    "Identity": _same,
    "Cast": _same,
    "Shape": _same,
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
}
