"""Convolution and transposed convolution in two dimensions, and the arithmetic of padding.

Canonical kernels are (height, width, in / groups, out). Dense layers are in ``core.py``; pooling
shares the window arithmetic from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from triptych.errors import NetworkError
from triptych.spec.layers.base import Layer, Parameter, Shape, need_rank, show

Pair = tuple[int, int]
Amounts = tuple[Pair, Pair]
Padding = Literal["valid", "same"] | Amounts
"""``valid``, ``same`` or explicit ((top, bottom), (left, right)) in pixels."""


def extent(kernel: Pair, dilation: Pair) -> Pair:
    """Return the pixels a dilated kernel spans: dilation * (kernel - 1) + 1."""
    return (dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1)


def same_amounts(size: int, span: int, stride: int) -> Pair:
    """Return (before, after) of ``same``: output = ceil(size / stride), odd pixel after.

    Source: the notes on padding of TensorFlow's ``tf.nn``.
    """
    total = max((-(-size // stride) - 1) * stride + span - size, 0)
    return (total // 2, total - total // 2)


def amounts(padding: Padding, size: Pair, span: Pair, stride: Pair) -> Amounts:
    """Return a padding as explicit pixels for an input of ``size`` (height, width)."""
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding == "same":
        return (
            same_amounts(size[0], span[0], stride[0]),
            same_amounts(size[1], span[1], stride[1]),
        )
    return padding


def slide(size: Pair, span: Pair, stride: Pair, pad: Amounts, what: str) -> Pair:
    """Return the output (height, width) of a sliding window.

    out = floor((in + padding - extent) / stride) + 1.

    Raises:
        NetworkError: the window is larger than the padded input; the message shows the arithmetic.
    """
    out = []
    for axis, name in enumerate(("height", "width")):
        padded = size[axis] + sum(pad[axis])
        if padded < span[axis]:
            raise NetworkError(
                f"{what} does not fit: {name} {size[axis]} + padding {sum(pad[axis])} = {padded} "
                f"is smaller than the window of {span[axis]}, so "
                f"({padded} - {span[axis]}) / {stride[axis]} + 1 is below 1; "
                "use a smaller window, less stride before it, or more padding"
            )
        out.append((padded - span[axis]) // stride[axis] + 1)
    return (out[0], out[1])


def check_window(kernel: Pair, stride: Pair, dilation: Pair, padding: Padding, what: str) -> None:
    """Raise NetworkError where a window's own numbers make no sense."""
    if min(*kernel, *stride, *dilation) < 1:
        raise NetworkError(f"{what}: kernel, stride and dilation must be 1 or more")
    if isinstance(padding, tuple) and min(*padding[0], *padding[1]) < 0:
        raise NetworkError(f"{what}: padding must not be negative, got {padding}")


@dataclass(frozen=True)
class Conv(Layer):
    """Cross-correlation over (height, width), as every framework's convolution layer computes it.

    y[i, j, o] = sum x[i*stride + a*dilation - top, ..., c] kernel[a, b, c, o] + bias[o].
    """

    kind: ClassVar[str] = "conv"
    filters: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = "valid"
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = True

    def _check(self, shape: Shape) -> None:
        what = f"conv {self.filters} {show(self.kernel)}"
        need_rank(shape, 3, what)
        check_window(self.kernel, self.stride, self.dilation, self.padding, what)
        if self.filters < 1 or self.groups < 1:
            raise NetworkError(f"{what}: filters and groups must be 1 or more")
        if shape[2] % self.groups or self.filters % self.groups:
            raise NetworkError(
                f"{what}: groups {self.groups} must divide both the {shape[2]} input channels "
                f"and the {self.filters} filters"
            )

    def pixels(self, shape: Shape) -> Amounts:
        """Return the padding in explicit pixels for this input shape."""
        span = extent(self.kernel, self.dilation)
        return amounts(self.padding, (shape[0], shape[1]), span, self.stride)

    def shape(self, *inputs: Shape) -> Shape:
        """(height, width, channels) -> (height', width', filters)."""
        (shape,) = inputs
        self._check(shape)
        span = extent(self.kernel, self.dilation)
        what = f"conv {self.filters} {show(self.kernel)}"
        size = slide((shape[0], shape[1]), span, self.stride, self.pixels(shape), what)
        return (*size, self.filters)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """``kernel`` (height, width, in / groups, out) and ``bias`` (out,)."""
        channels = inputs[0][2] // self.groups
        area = self.kernel[0] * self.kernel[1]
        fans = (area * channels, area * self.filters // self.groups)
        kernel = Parameter((*self.kernel, channels, self.filters), *fans)
        bias = {"bias": Parameter((self.filters,), *fans)} if self.bias else {}
        return {"kernel": kernel} | bias

    def multiply_adds(self, *inputs: Shape) -> int:
        """Output positions times kernel entries."""
        height, width, _ = self.shape(*inputs)
        return height * width * self.parameters(*inputs)["kernel"].size

    def window(self) -> tuple[Pair, Pair]:
        """The dilated extent and the stride."""
        return extent(self.kernel, self.dilation), self.stride

    def factors(self, *inputs: Shape) -> dict[str, Any]:
        """The fields, with the padding in explicit pixels."""
        return super().factors() | {"padding": self.pixels(inputs[0])}


@dataclass(frozen=True)
class ConvTranspose(Layer):
    """Transposed convolution: the gradient of :class:`Conv` with respect to its input.

    Every input pixel adds x * kernel to the full output of (in - 1) * stride + extent pixels;
    ``padding`` is then cropped from its edges: nothing (``valid``), down to in * stride pixels,
    the odd one from the end (``same``), or explicit amounts. The bias is added last.
    """

    kind: ClassVar[str] = "conv_transpose"
    filters: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = "valid"
    dilation: Pair = (1, 1)
    bias: bool = True

    def crop(self) -> Amounts:
        """Return the pixels cropped from each edge; negative ones are zeros added."""
        span = extent(self.kernel, self.dilation)
        if self.padding != "same":
            return amounts(self.padding, (0, 0), span, self.stride)
        surplus = [span[axis] - self.stride[axis] for axis in (0, 1)]
        before = [max(extra, 0) // 2 for extra in surplus]
        return ((before[0], surplus[0] - before[0]), (before[1], surplus[1] - before[1]))

    def shape(self, *inputs: Shape) -> Shape:
        """(height, width, channels) -> (height', width', filters)."""
        (shape,) = inputs
        what = f"conv_transpose {self.filters} {show(self.kernel)}"
        need_rank(shape, 3, what)
        check_window(self.kernel, self.stride, self.dilation, self.padding, what)
        if self.filters < 1:
            raise NetworkError(f"{what}: filters must be 1 or more")
        span, crop, out = extent(self.kernel, self.dilation), self.crop(), []
        for axis, name in enumerate(("height", "width")):
            full = (shape[axis] - 1) * self.stride[axis] + span[axis]
            out.append(full - sum(crop[axis]))
            if out[-1] < 1:
                raise NetworkError(
                    f"{what}: {name} ({shape[axis]} - 1) * {self.stride[axis]} + {span[axis]} "
                    f"- crop {sum(crop[axis])} = {out[-1]} is below 1; crop less"
                )
        return (out[0], out[1], self.filters)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """``kernel`` (height, width, in, out) and ``bias`` (out,)."""
        channels, area = inputs[0][2], self.kernel[0] * self.kernel[1]
        fans = (area * channels, area * self.filters)
        kernel = Parameter((*self.kernel, channels, self.filters), *fans)
        bias = {"bias": Parameter((self.filters,), *fans)} if self.bias else {}
        return {"kernel": kernel} | bias

    def multiply_adds(self, *inputs: Shape) -> int:
        """Input positions times kernel entries."""
        height, width, _ = inputs[0]
        return height * width * self.parameters(*inputs)["kernel"].size

    def factors(self, *inputs: Shape) -> dict[str, Any]:
        """The fields, with the cropping in explicit pixels."""
        return super().factors() | {"padding": self.crop()}
