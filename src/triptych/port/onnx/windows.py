"""ONNX' operators that slide a window over an image: convolutions and pooling.

Source: the operators' schemas in ONNX' own documentation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from triptych.backends.carried import Turn
from triptych.backends.graph import Value
from triptych.port.onnx.reading import Reader
from triptych.spec.layers import AveragePool, Conv, ConvTranspose, Layer, MaxPool

Amounts = tuple[tuple[int, int], tuple[int, int]]


def axes_of(*axes: int) -> Turn:
    """Return the turn that transposes."""
    return lambda array: np.transpose(array, axes)


def _pair(values: Any) -> tuple[int, int]:
    return (int(values[0]), int(values[1]))


def _rank(reader: Reader, node: Any) -> None:
    if len(reader.shape_of(node.input[0])) != 4:
        raise reader.refuse(node, "slides over other than two axes, which has no canonical form")


def _amounts(reader: Reader, node: Any, options: dict[str, Any], span: Any) -> Amounts:
    """Padding in pixels; ``auto_pad`` is worked out for the size that is there."""
    auto = options.get("auto_pad", "NOTSET")
    if auto == "VALID":
        return ((0, 0), (0, 0))
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        sizes, strides = reader.shape_of(node.input[0])[2:], options.get("strides", [1, 1])
        found = []
        for size, step, reach in zip(sizes, strides, span, strict=True):
            total = max((-(-size // step) - 1) * step + reach - size, 0)
            early = total // 2 if auto == "SAME_UPPER" else total - total // 2
            found.append((early, total - early))
        return (found[0], found[1])
    pads = options.get("pads", [0, 0, 0, 0])
    return ((pads[0], pads[2]), (pads[1], pads[3]))


def conv(reader: Reader, node: Any) -> Value:
    """Add a convolution."""
    _rank(reader, node)
    options, kernel = reader.options(node), reader.constant(node, 1)
    size, dilation = _pair(kernel.shape[2:]), _pair(options.get("dilations", (1, 1)))
    span = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    layer = Conv(
        filters=kernel.shape[0],
        kernel=size,
        stride=_pair(options.get("strides", (1, 1))),
        padding=_amounts(reader, node, options, span),
        dilation=dilation,
        groups=int(options.get("group", 1)),
        bias=reader.given(node, 2),
    )
    return _window(reader, node, layer, (2, 3, 1, 0))


def conv_transpose(reader: Reader, node: Any) -> Value:
    """Add a transposed convolution; what its output lacks of the full one is its crop."""
    _rank(reader, node)
    options, kernel = reader.options(node), reader.constant(node, 1)
    if options.get("group", 1) != 1:
        raise reader.refuse(node, "has groups, which a transposed convolution here has not")
    size, dilation = _pair(kernel.shape[2:]), _pair(options.get("dilations", (1, 1)))
    stride = _pair(options.get("strides", (1, 1)))
    before, after = (reader.shape_of(name)[2:] for name in (node.input[0], node.output[0]))
    early = options.get("pads", [0, 0, 0, 0])[:2]
    if options.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise reader.refuse(node, f"has auto_pad {options['auto_pad']}; give it explicit pads")
    crop = []
    for axis in (0, 1):
        full = (before[axis] - 1) * stride[axis] + dilation[axis] * (size[axis] - 1) + 1
        late = full - after[axis] - early[axis]
        crop.append((int(early[axis]), int(late)))
    layer = ConvTranspose(
        filters=kernel.shape[1],
        kernel=size,
        stride=stride,
        padding="same",
        dilation=dilation,
        bias=reader.given(node, 2),
    )
    if layer.crop() != (crop[0], crop[1]):
        layer = replace(layer, padding=(crop[0], crop[1]))
    return _window(reader, node, layer, (2, 3, 0, 1))


def _window(reader: Reader, node: Any, layer: Layer, axes: tuple[int, ...]) -> Value:
    arrays = {"kernel": reader.array(node, 1).then(axes_of(*axes))}
    if reader.given(node, 2):
        arrays["bias"] = reader.array(node, 2)
    shared = ("weights", node.input[1])
    where = reader.where(node)
    return reader.builder.windowed(layer, reader.value(node), where, arrays, True, shared)


def pool(reader: Reader, node: Any) -> Value:
    """Add a maximum or average pooling."""
    _rank(reader, node)
    options = reader.options(node)
    size = _pair(options["kernel_shape"])
    stride, padding = (
        _pair(options.get("strides", (1, 1))),
        _amounts(reader, node, options, size),
    )
    if max(options.get("dilations", [1, 1])) > 1:
        raise reader.refuse(node, "has a dilated window")
    padding = _ceiled(reader, node, options, size, stride, padding)
    layer: Layer = MaxPool(size, stride, padding)
    if node.op_type == "AveragePool":
        counted = bool(options.get("count_include_pad", 0))
        layer = AveragePool(size, stride, padding, counted and any(map(sum, padding)))
    return reader.builder.windowed(layer, reader.value(node), reader.where(node), None, True)


def _ceiled(
    reader: Reader,
    node: Any,
    options: dict[str, Any],
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: Amounts,
) -> Amounts:
    """With ``ceil_mode`` the window may run over the edge: as padding after, where that is all."""
    if not options.get("ceil_mode", 0):
        return padding
    before, after = (reader.shape_of(name)[2:] for name in (node.input[0], node.output[0]))
    over = [(after[a] - 1) * stride[a] + size[a] - before[a] - sum(padding[a]) for a in (0, 1)]
    if max(over) > 0 and node.op_type == "AveragePool":
        raise reader.refuse(node, "averages windows over the edge (ceil_mode)")
    found = [(padding[a][0], padding[a][1] + max(over[a], 0)) for a in (0, 1)]
    return (found[0], found[1])
