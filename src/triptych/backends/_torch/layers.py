"""Each layer of the spec as a PyTorch module.

Values between modules are channels last, (batch, height, width, channels). PyTorch's image layers
see a permuted view of that, which is its own ``channels_last`` memory format: no copy is made.
Where PyTorch's module says the same as the spec it is used as it is; where it does not (biased
running variance, slopes, uneven padding, masks as data) the difference is written out here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.spec import layers as spec
from triptych.spec.layers import Shape
from triptych.spec.layers.convolution import Amounts


def to_channels_first(x: Tensor) -> Tensor:
    """(batch, height, width, channels) -> (batch, channels, height, width), a view."""
    return x.permute(0, 3, 1, 2)


def to_channels_last(x: Tensor) -> Tensor:
    """(batch, channels, height, width) -> (batch, height, width, channels), a view."""
    return x.permute(0, 2, 3, 1)


def edges(pad: Amounts) -> list[int]:
    """Return ((top, bottom), (left, right)) in the order of ``F.pad``: the last axis first."""
    return [*pad[1], *pad[0]]


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` on channels-last values; uneven padding is added before it."""

    def __init__(self, layer: spec.Conv, shape: Shape, dtype: torch.dtype) -> None:
        pad = layer.pixels(shape)
        even = all(before == after for before, after in pad)
        super().__init__(
            shape[2],
            layer.filters,
            layer.kernel,
            stride=layer.stride,
            padding=(pad[0][0], pad[1][0]) if even else 0,
            dilation=layer.dilation,
            groups=layer.groups,
            bias=layer.bias,
            dtype=dtype,
        )
        # As its input lies in memory; otherwise the kernel is copied at every call.
        self.to(memory_format=torch.channels_last)
        self.uneven: Amounts | None = None if even else pad

    def forward(self, x: Tensor, channels_first: bool = False) -> Tensor:
        """(batch, height, width, in) -> (batch, height', width', out), or out before height'."""
        x = to_channels_first(x)
        if self.uneven is not None:
            x = F.pad(x, edges(self.uneven))
        y = super().forward(x)
        return y if channels_first else to_channels_last(y)


class ConvTranspose2d(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d`` in full, then cropped by any amounts, then the bias."""

    def __init__(self, layer: spec.ConvTranspose, shape: Shape, dtype: torch.dtype) -> None:
        super().__init__(
            shape[2],
            layer.filters,
            layer.kernel,
            stride=layer.stride,
            padding=0,
            output_padding=0,
            dilation=layer.dilation,
            bias=layer.bias,
            dtype=dtype,
        )
        self.crop: Amounts = layer.crop()

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(batch, height, width, in) -> (batch, height', width', out)."""
        full = F.conv_transpose2d(
            to_channels_first(x),
            self.weight,
            stride=self.stride,
            dilation=self.dilation,
        )
        y = to_channels_last(F.pad(full, [-pixels for pixels in edges(self.crop)]))
        return y if self.bias is None else y + self.bias


class MaxPool2d(nn.Module):
    """Maximum under a window; padding is minus infinity."""

    def __init__(self, layer: spec.MaxPool, shape: Shape) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = layer.size, layer.stride, layer.pixels(shape)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) -> (batch, height', width', channels)."""
        x = F.pad(to_channels_first(x), edges(self.padding), value=float("-inf"))
        return to_channels_last(F.max_pool2d(x, self.kernel_size, self.stride))


class AvgPool2d(nn.Module):
    """Mean under a window, over the window or over the pixels of the image in it."""

    def __init__(self, layer: spec.AveragePool, shape: Shape) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = layer.size, layer.stride, layer.pixels(shape)
        self.count_include_pad = layer.count_padding

    def forward(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) -> (batch, height', width', channels)."""
        x, pad = to_channels_first(x), edges(self.padding)
        mean = F.avg_pool2d(F.pad(x, pad), self.kernel_size, self.stride)
        if not self.count_include_pad and any(pad):
            inside = F.pad(torch.ones_like(x[:1, :1]), pad)
            mean = mean / F.avg_pool2d(inside, self.kernel_size, self.stride)
        return to_channels_last(mean)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last.

    Not ``nn.BatchNorm2d``: that always keeps the unbiased running variance.
    """

    def __init__(self, layer: spec.BatchNorm, shape: Shape, dtype: torch.dtype) -> None:
        super().__init__()
        self.eps, self.keep, self.unbiased = layer.epsilon, layer.keep, layer.unbiased
        self.weight = nn.Parameter(torch.ones(shape[-1], dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(shape[-1], dtype=dtype))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(shape[-1], dtype=dtype))
        self.register_buffer("running_var", torch.ones(shape[-1], dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, ..., channels) -> the same."""
        if not self.training:
            return self._normalise(x, self.running_mean, self.running_var)
        axes = tuple(range(x.dim() - 1))
        variance, mean = torch.var_mean(x, dim=axes, correction=0)
        with torch.no_grad():
            count = x.numel() // x.shape[-1]
            kept = variance * (count / (count - 1)) if self.unbiased else variance
            self.running_mean.mul_(self.keep).add_(mean, alpha=1.0 - self.keep)
            self.running_var.mul_(self.keep).add_(kept, alpha=1.0 - self.keep)
        return self._normalise(x, mean, variance)

    def _normalise(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return (x - mean) / torch.sqrt(variance + self.eps) * self.weight + self.bias


class Dropout(nn.Module):
    """x * mask / (1 - rate) in training, with the mask handed in."""

    def __init__(self, layer: spec.Dropout) -> None:
        super().__init__()
        self.p = layer.rate

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same shape; without a mask, unchanged."""
        return x if mask is None else x * mask.to(x.dtype) / (1.0 - self.p)


class Rescale(nn.Module):
    """x * scale + offset; ``inplace`` as in ``nn.ReLU``."""

    def __init__(self, layer: spec.Rescale) -> None:
        super().__init__()
        self.scale, self.offset, self.inplace = layer.scale, layer.offset, False

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        x = x.mul_(self.scale) if self.inplace else x * self.scale
        return x + self.offset if self.offset else x


class HardSigmoid(nn.Module):
    """min(max(slope * x + 1/2, 0), 1); ``nn.Hardsigmoid`` knows one slope only."""

    def __init__(self, layer: spec.HardSigmoid) -> None:
        super().__init__()
        self.slope = layer.slope

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        y = x * self.slope + 0.5
        return torch.where(y > 0, torch.where(y < 1, y, torch.ones_like(y)), torch.zeros_like(y))


class Softplus(nn.Module):
    """log(1 + exp(x)); ``nn.Softplus`` becomes linear above a threshold."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return torch.logaddexp(x, torch.zeros_like(x))


class Add(nn.Module):
    """The sum of all inputs."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Equal shapes -> the same."""
        total = inputs[0]
        for x in inputs[1:]:
            total = total + x
        return total


class Multiply(nn.Module):
    """The product of all inputs; an axis of size 1 is repeated."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """(..., a), (..., a or 1) -> (..., a)."""
        product = inputs[0]
        for x in inputs[1:]:
            product = product * x
        return product


class Reshape(nn.Module):
    """The same numbers in the canonical order under other axes."""

    def __init__(self, layer: spec.Reshape) -> None:
        super().__init__()
        self.size = layer.size

    def forward(self, x: Tensor) -> Tensor:
        """(batch, ...) -> (batch, *size)."""
        return x.reshape(len(x), *self.size)


class Permute(nn.Module):
    """Axes in another order, the batch left in front."""

    def __init__(self, layer: spec.Permute) -> None:
        super().__init__()
        self.dims = (0, *(axis + 1 for axis in layer.axes))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, a, b, ...) -> (batch, b, a, ...), a view."""
        return x.permute(self.dims)


class ZeroPad2d(nn.Module):
    """Zeros around (height, width); ``nn.ZeroPad2d`` expects channels first."""

    def __init__(self, layer: spec.Pad) -> None:
        super().__init__()
        self.padding = layer.amounts

    def forward(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) -> (batch, height', width', channels)."""
        return F.pad(x, [0, 0, *edges(self.padding)])


class Concatenate(nn.Module):
    """All inputs along the last axis."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """(..., a), (..., b) -> (..., a + b)."""
        return torch.cat(inputs, dim=-1)


class Dueling(nn.Module):
    """value + advantage - mean(advantage)."""

    def forward(self, value: Tensor, advantage: Tensor) -> Tensor:
        """(batch, 1), (batch, actions) -> (batch, actions)."""
        return value + advantage - advantage.mean(dim=-1, keepdim=True)


def _dense(layer: Any, shape: Shape, dtype: torch.dtype) -> nn.Module:
    return nn.Linear(shape[-1], layer.units, bias=layer.bias, dtype=dtype)


def _embedding(layer: Any, shape: Shape, dtype: torch.dtype) -> nn.Module:
    return nn.Embedding(layer.size, layer.features, dtype=dtype)


def _layer_norm(layer: Any, shape: Shape, dtype: torch.dtype) -> nn.Module:
    return nn.LayerNorm(shape[-1], eps=layer.epsilon, dtype=dtype)


Build = Callable[[Any, Shape, torch.dtype], nn.Module]

BUILDERS: dict[str, Build] = {
    "rescale": lambda layer, shape, dtype: Rescale(layer),
    "conv": Conv2d,
    "conv_transpose": ConvTranspose2d,
    "dense": _dense,
    "flatten": lambda layer, shape, dtype: nn.Flatten(start_dim=1),
    "max_pool": lambda layer, shape, dtype: MaxPool2d(layer, shape),
    "average_pool": lambda layer, shape, dtype: AvgPool2d(layer, shape),
    "batch_norm": BatchNorm,
    "layer_norm": _layer_norm,
    "dropout": lambda layer, shape, dtype: Dropout(layer),
    "embedding": _embedding,
    "add": lambda layer, shape, dtype: Add(),
    "multiply": lambda layer, shape, dtype: Multiply(),
    "reshape": lambda layer, shape, dtype: Reshape(layer),
    "permute": lambda layer, shape, dtype: Permute(layer),
    "pad": lambda layer, shape, dtype: ZeroPad2d(layer),
    "concatenate": lambda layer, shape, dtype: Concatenate(),
    "dueling": lambda layer, shape, dtype: Dueling(),
    "relu": lambda layer, shape, dtype: nn.ReLU(),
    "relu6": lambda layer, shape, dtype: nn.ReLU6(),
    "leaky_relu": lambda layer, shape, dtype: nn.LeakyReLU(layer.slope),
    "elu": lambda layer, shape, dtype: nn.ELU(layer.alpha),
    "selu": lambda layer, shape, dtype: nn.SELU(),
    "gelu": lambda layer, shape, dtype: nn.GELU("tanh" if layer.approximate else "none"),
    "silu": lambda layer, shape, dtype: nn.SiLU(),
    "sigmoid": lambda layer, shape, dtype: nn.Sigmoid(),
    "hard_sigmoid": lambda layer, shape, dtype: HardSigmoid(layer),
    "tanh": lambda layer, shape, dtype: nn.Tanh(),
    "softplus": lambda layer, shape, dtype: Softplus(),
    "softmax": lambda layer, shape, dtype: nn.Softmax(dim=-1),
    "log_softmax": lambda layer, shape, dtype: nn.LogSoftmax(dim=-1),
}
