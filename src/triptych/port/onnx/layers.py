"""Each layer as ONNX operators, a function for each kind.

Source: the operators' schemas in ONNX' own documentation, opset 20.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triptych.errors import Unsupported
from triptych.port.onnx.writing import Writer
from triptych.spec.network import Node

Write = Callable[[Writer, Node], None]


def _conv(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    (shape,) = own.network.input_shapes(node)
    _window(own, node, "Conv", layer.pixels(shape), group=layer.groups)


def _conv_transpose(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    crop = layer.crop()
    if min(min(pair) for pair in crop) >= 0:
        _window(own, node, "ConvTranspose", crop)
        return
    if any(min(pair) < 0 and max(pair) > 0 for pair in crop) or any(a < 0 for a, _ in crop):
        raise Unsupported(f"ONNX can't crop {crop} pixels in node {node.name!r}")
    _window(
        own, node, "ConvTranspose", ((0, 0), (0, 0)), output_padding=[-late for _, late in crop]
    )


def _window(own: Writer, node: Node, kind: str, pads: Any, **options: Any) -> None:
    layer: Any = node.layer
    inputs = [own.first(node.inputs[0]), own.array(node, "W")]
    inputs += [own.array(node, "B")] if layer.bias else []
    own.op(
        kind, inputs, own.give(node, "first"),
        kernel_shape=layer.kernel, strides=layer.stride, dilations=layer.dilation,
        pads=_pads(pads), **options,
    )  # fmt: skip


def _pads(amounts: Any) -> list[int]:
    (top, bottom), (left, right) = amounts
    return [top, left, bottom, right]


def _pool(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    (shape,) = own.network.input_shapes(node)
    average = layer.kind == "average_pool"
    options = {"count_include_pad": int(layer.count_padding)} if average else {}
    own.op(
        "AveragePool" if average else "MaxPool",
        [own.first(node.inputs[0])], own.give(node, "first"),
        kernel_shape=layer.size, strides=layer.stride, pads=_pads(layer.pixels(shape)), **options,
    )  # fmt: skip


def _dense(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    x = own.last(node.inputs[0])
    flat = len(own.network.shapes[node.name]) == 1
    inputs = [x, own.array(node, "W")] + ([own.array(node, "B")] if layer.bias else [])
    output = own.give(node, "last")
    if flat:
        own.op("Gemm", inputs, output)
    elif layer.bias:
        product = own.op("MatMul", inputs[:2], f"{node.name}/product")
        own.op("Add", [product, inputs[2]], output)
    else:
        own.op("MatMul", inputs, output)


def _batch_norm(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    arrays = [own.array(node, name) for name in ("scale", "B", "mean", "var")]
    options = {"epsilon": layer.epsilon, "momentum": layer.keep}
    rank = len(own.network.shapes[node.name])
    if rank == 3:
        x = own.first(node.inputs[0])
        own.op("BatchNormalization", [x, *arrays], own.give(node, "first"), **options)
        return
    x, output = own.last(node.inputs[0]), own.give(node, "last")
    if rank == 1:
        own.op("BatchNormalization", [x, *arrays], output, **options)
        return
    turned = own.op("Transpose", [x], f"{node.name}/turned", perm=(0, 2, 1))
    named = own.op("BatchNormalization", [turned, *arrays], f"{node.name}/normal", **options)
    own.op("Transpose", [named], output, perm=(0, 2, 1))


def _layer_norm(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    inputs = [own.last(node.inputs[0]), own.array(node, "scale"), own.array(node, "B")]
    output = own.give(node, "last")
    own.op("LayerNormalization", inputs, output, axis=-1, epsilon=layer.epsilon)


def _elementwise(kind: str, **names: str) -> Write:
    """An operator of one input; ``names`` are its attributes and the layer's fields."""

    def write(own: Writer, node: Node) -> None:
        inputs, layout = own.alike(node)
        options = {option: getattr(node.layer, name) for option, name in names.items()}
        own.op(kind, inputs, own.give(node, layout), **options)

    return write


def _over_last(kind: str) -> Write:
    def write(own: Writer, node: Node) -> None:
        x = own.last(node.inputs[0])
        own.op(kind, [x], own.give(node, "last"), axis=-1)

    return write


def _rescale(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    (x,), layout = own.alike(node)
    output = own.give(node, layout)
    scaled = own.op(
        "Mul", [x, own.number(f"{node.name}/scale", layer.scale)],
        f"{node.name}/scaled" if layer.offset else output,
    )  # fmt: skip
    if layer.offset:
        own.op("Add", [scaled, own.number(f"{node.name}/offset", layer.offset)], output)


def _relu6(own: Writer, node: Node) -> None:
    inputs, layout = own.alike(node)
    ends = [own.number(f"{node.name}/low", 0.0), own.number(f"{node.name}/high", 6.0)]
    own.op("Clip", [*inputs, *ends], own.give(node, layout))


def _dropout(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    inputs, layout = own.alike(node)
    ratio = own.number(f"{node.name}/ratio", layer.rate)
    own.op("Dropout", [*inputs, ratio], own.give(node, layout))


def _gelu(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    inputs, layout = own.alike(node)
    way = "tanh" if layer.approximate else "none"
    own.op("Gelu", inputs, own.give(node, layout), approximate=way)


def _silu(own: Writer, node: Node) -> None:
    inputs, layout = own.alike(node)
    gate = own.op("Sigmoid", inputs, f"{node.name}/gate")
    own.op("Mul", [*inputs, gate], own.give(node, layout))


def _chained(kind: str) -> Write:
    """An operator of two inputs, one after the other for more."""

    def write(own: Writer, node: Node) -> None:
        (total, *rest), layout = own.alike(node)
        output = own.give(node, layout)
        for place, one in enumerate(rest):
            last = place == len(rest) - 1
            total = own.op(kind, [total, one], output if last else f"{node.name}/part{place}")

    return write


def _concatenate(own: Writer, node: Node) -> None:
    inputs, layout = own.alike(node)
    own.op("Concat", inputs, own.give(node, layout), axis=1 if layout == "first" else -1)


def _dueling(own: Writer, node: Node) -> None:
    value, advantage = (own.last(name) for name in node.inputs)
    axes = own.whole(f"{node.name}/axes", [-1])
    mean = own.op("ReduceMean", [advantage, axes], f"{node.name}/mean", keepdims=1)
    apart = own.op("Sub", [advantage, mean], f"{node.name}/apart")
    own.op("Add", [value, apart], own.give(node, "last"))


def _reshape(own: Writer, node: Node) -> None:
    size = own.whole(f"{node.name}/size", [-1, *own.network.shapes[node.name]])
    x = own.last(node.inputs[0])
    own.op("Reshape", [x, size], own.give(node, "last"))


def _permute(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    axes = (0, *(axis + 1 for axis in layer.axes))
    x = own.last(node.inputs[0])
    own.op("Transpose", [x], own.give(node, "last"), perm=axes)


def _pad(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    (top, bottom), (left, right) = layer.amounts
    inputs, layout = own.alike(node)
    early, late = [top, left], [bottom, right]
    pads = [0, 0, *early, 0, 0, *late] if layout == "first" else [0, *early, 0, 0, *late, 0]
    inputs.append(own.whole(f"{node.name}/pads", pads))
    own.op("Pad", inputs, own.give(node, layout))


def _embedding(own: Writer, node: Node) -> None:
    inputs = [own.array(node, "W"), own.last(node.inputs[0])]
    own.op("Gather", inputs, own.give(node, "last"), axis=0)


_BENDS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu"}


def _recurrent(own: Writer, node: Node) -> None:
    layer: Any = node.layer
    if layer.mask_value is not None:
        raise Unsupported(f"ONNX has no masking by value, which node {node.name!r} asks for")
    kind = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN"}[layer.kind]
    options: dict[str, Any] = {
        "hidden_size": layer.units,
        "direction": "reverse" if layer.reverse else "forward",
        "activations": [_BENDS[layer.activation]],
    }
    if kind != "RNN":
        hard = layer.gate_activation == "hard_sigmoid"
        options["activations"].insert(0, "HardSigmoid" if hard else "Sigmoid")
        options |= {"activation_alpha": [1.0 / 6.0], "activation_beta": [0.5]} if hard else {}
    options["activations"] += [_BENDS[layer.activation]] if kind == "LSTM" else []
    options |= {"linear_before_reset": int(layer.reset_after)} if kind == "GRU" else {}
    x = own.op("Transpose", [own.last(node.inputs[0])], f"{node.name}/steps", perm=(1, 0, 2))
    names = ("W", "R", "B") if layer.biases else ("W", "R")
    inputs = [x, *(own.array(node, name) for name in names)]
    states, end = f"{node.name}/states", f"{node.name}/end"
    outputs = [states] if layer.sequences else ["", end]
    own.nodes.append(
        own.onnx.helper.make_node(kind, inputs, outputs, name=f"{node.name}:{kind}", **options)
    )
    output = own.give(node, "last")
    axes = own.whole(f"{node.name}/axes", [1 if layer.sequences else 0])
    if not layer.sequences:
        own.op("Squeeze", [end, axes], output)
        return
    flat = own.op("Squeeze", [states, axes], f"{node.name}/flat")
    own.op("Transpose", [flat], output, perm=(1, 0, 2))


LAYERS: dict[str, Write] = {
    "rescale": _rescale,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _pool,
    "average_pool": _pool,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "flatten": _reshape,
    "reshape": _reshape,
    "permute": _permute,
    "pad": _pad,
    "embedding": _embedding,
    "dropout": _dropout,
    "add": _chained("Add"),
    "multiply": _chained("Mul"),
    "concatenate": _concatenate,
    "dueling": _dueling,
    **dict.fromkeys(("elman", "lstm", "gru"), _recurrent),
    "relu": _elementwise("Relu"),
    "relu6": _relu6,
    "leaky_relu": _elementwise("LeakyRelu", alpha="slope"),
    "elu": _elementwise("Elu", alpha="alpha"),
    "selu": _elementwise("Selu", alpha="alpha", gamma="scale"),
    "gelu": _gelu,
    "silu": _silu,
    "sigmoid": _elementwise("Sigmoid"),
    "hard_sigmoid": _elementwise("HardSigmoid", alpha="slope"),
    "tanh": _elementwise("Tanh"),
    "softplus": _elementwise("Softplus"),
    "softmax": _over_last("Softmax"),
    "log_softmax": _over_last("LogSoftmax"),
}
