"""Each layer of the spec as a Flax NNX module.

Flax is channels last as the spec is. Where its module says the same as the spec it is used as it
is; where it does not (unbiased running variance, gradients at the corners of piecewise functions,
masks as data) the difference is written out here. Initial values are zeros, since params are
loaded; JAX's random generator is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from triptych.spec import layers as spec
from triptych.spec.layers import Shape
from triptych.spec.layers.convolution import Amounts, extent

_ZEROS = nnx.initializers.zeros
_PRECISION = jax.lax.Precision.HIGHEST


class ConvTranspose(nnx.ConvTranspose):
    """``nnx.ConvTranspose`` without bias and in full, cropped by any amounts, then the bias."""

    def __init__(self, layer: spec.ConvTranspose, shape: Shape, dtype: Any) -> None:
        super().__init__(
            shape[2],
            layer.filters,
            layer.kernel,
            strides=layer.stride,
            padding=[(span - 1, span - 1) for span in extent(layer.kernel, layer.dilation)],
            kernel_dilation=layer.dilation,
            use_bias=layer.bias,
            dtype=dtype,
            param_dtype=dtype,
            precision=_PRECISION,
            kernel_init=_ZEROS,
            bias_init=_ZEROS,
            transpose_kernel=True,
            rngs=nnx.Rngs(0),
        )
        self.crop: Amounts = layer.crop()

    def __call__(self, x: Array, output_size: Any = None) -> Array:
        """(batch, height, width, in) -> (batch, height', width', out)."""
        full = jax.lax.conv_transpose(
            x,
            self.kernel[...],
            self.strides,
            self.padding,
            rhs_dilation=self.kernel_dilation,
            transpose_kernel=True,
            precision=_PRECISION,
        )
        edges = [(0, 0, 0), *((-before, -after, 0) for before, after in self.crop), (0, 0, 0)]
        y = jax.lax.pad(full, jnp.zeros((), full.dtype), edges)
        return y if self.bias is None else y + self.bias[...]


class MaxPool(nnx.Module):
    """Maximum under a window; padding is minus infinity."""

    def __init__(self, layer: spec.MaxPool, shape: Shape) -> None:
        self.window, self.strides, self.padding = layer.size, layer.stride, layer.pixels(shape)

    def __call__(self, x: Array) -> Array:
        """(batch, height, width, channels) -> (batch, height', width', channels)."""
        return nnx.max_pool(x, self.window, self.strides, self.padding)


class AvgPool(nnx.Module):
    """Mean under a window, over the window or over the pixels of the image in it."""

    def __init__(self, layer: spec.AveragePool, shape: Shape) -> None:
        self.window, self.strides, self.padding = layer.size, layer.stride, layer.pixels(shape)
        self.count_include_pad = layer.count_padding

    def __call__(self, x: Array) -> Array:
        """(batch, height, width, channels) -> (batch, height', width', channels)."""
        if self.count_include_pad:
            return self._sum(x) / (self.window[0] * self.window[1])
        # ``nnx.avg_pool`` counts in float64 once 64-bit types are on, whatever the type of x.
        return self._sum(x) / self._sum(jnp.ones_like(x[:1, :, :, :1]))

    def _sum(self, x: Array) -> Array:
        edges = ((0, 0), *self.padding, (0, 0))
        window, strides = (1, *self.window, 1), (1, *self.strides, 1)
        return jax.lax.reduce_window(x, np.zeros((), x.dtype), jax.lax.add, window, strides, edges)


class BatchNorm(nnx.BatchNorm):
    """``nnx.BatchNorm`` by the two-pass variance, whose running variance may be unbiased."""

    def __init__(self, layer: spec.BatchNorm, shape: Shape, dtype: Any) -> None:
        super().__init__(
            shape[-1],
            use_running_average=True,
            momentum=layer.keep,
            epsilon=layer.epsilon,
            dtype=dtype,
            param_dtype=dtype,
            use_fast_variance=False,
            rngs=nnx.Rngs(0),
        )
        self.unbiased = layer.unbiased
        # Flax makes the running statistics float32 whatever the types asked for.
        self.mean = nnx.BatchStat(jnp.zeros(shape[-1:], dtype))
        self.var = nnx.BatchStat(jnp.ones(shape[-1:], dtype))

    def __call__(self, x: Array, *args: Any, **kwargs: Any) -> Array:
        """(batch, ..., channels) -> the same."""
        before = self.var[...]
        y = super().__call__(x, *args, **kwargs)
        if self.unbiased and kwargs.get("use_running_average") is False:
            count = x.size // x.shape[-1]
            step = (self.var[...] - self.momentum * before) * (count / (count - 1))
            self.var[...] = self.momentum * before + step
        return y


class Dropout(nnx.Module):
    """x * mask / (1 - rate) in training, with the mask handed in."""

    def __init__(self, layer: spec.Dropout) -> None:
        self.rate = layer.rate

    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """The same shape; without a mask, unchanged."""
        return x if mask is None else x * mask.astype(x.dtype) / (1.0 - self.rate)


class Rescale(nnx.Module):
    """x * scale + offset."""

    def __init__(self, layer: spec.Rescale) -> None:
        self.scale, self.offset = layer.scale, layer.offset

    def __call__(self, x: Array) -> Array:
        """The same shape."""
        x = x * self.scale
        return x + self.offset if self.offset else x


class Flatten(nnx.Module):
    """All axes but the batch into one: height, width, channels."""

    def __call__(self, x: Array) -> Array:
        """(batch, a, b, ...) -> (batch, a * b * ...)."""
        return x.reshape(x.shape[0], -1)


class Add(nnx.Module):
    """The sum of all inputs."""

    def __call__(self, *inputs: Array) -> Array:
        """Equal shapes -> the same."""
        total = inputs[0]
        for x in inputs[1:]:
            total = total + x
        return total


class Multiply(nnx.Module):
    """The product of all inputs; an axis of size 1 is repeated."""

    def __call__(self, *inputs: Array) -> Array:
        """(..., a), (..., a or 1) -> (..., a)."""
        product = inputs[0]
        for x in inputs[1:]:
            product = product * x
        return product


class Reshape(nnx.Module):
    """The same numbers in the same order under other axes."""

    def __init__(self, layer: spec.Reshape) -> None:
        self.size = layer.size

    def __call__(self, x: Array) -> Array:
        """(batch, ...) -> (batch, *size)."""
        return x.reshape(x.shape[0], *self.size)


class Permute(nnx.Module):
    """Axes in another order, the batch left in front."""

    def __init__(self, layer: spec.Permute) -> None:
        self.axes = (0, *(axis + 1 for axis in layer.axes))

    def __call__(self, x: Array) -> Array:
        """(batch, a, b, ...) -> (batch, b, a, ...)."""
        return x.transpose(self.axes)


class Pad(nnx.Module):
    """Zeros around (height, width)."""

    def __init__(self, layer: spec.Pad) -> None:
        self.padding = layer.amounts

    def __call__(self, x: Array) -> Array:
        """(batch, height, width, channels) -> (batch, height', width', channels)."""
        return jnp.pad(x, ((0, 0), *self.padding, (0, 0)))


class Concatenate(nnx.Module):
    """All inputs along the last axis."""

    def __call__(self, *inputs: Array) -> Array:
        """(..., a), (..., b) -> (..., a + b)."""
        return jnp.concatenate(inputs, axis=-1)


class Dueling(nnx.Module):
    """value + advantage - mean(advantage)."""

    def __call__(self, value: Array, advantage: Array) -> Array:
        """(batch, 1), (batch, actions) -> (batch, actions)."""
        return value + advantage - advantage.mean(axis=-1, keepdims=True)


class Function(nnx.Module):
    """An elementwise function with its constants, such as ``leaky_relu`` with ``slope``."""

    def __init__(self, kind: str, function: Callable[..., Array], **constants: Any) -> None:
        self.kind, self.function, self.constants = kind, function, tuple(constants.items())

    def __call__(self, x: Array) -> Array:
        """The same shape."""
        return self.function(x, **dict(self.constants))


# Written with ``where`` so that the gradient at a corner is that of the flat side, as elsewhere;
# ``jnp.maximum`` would halve it, and ``jax.nn.leaky_relu`` takes the other side at zero.
def _relu6(x: Array) -> Array:
    return jnp.where(x > 0, jnp.where(x < 6, x, 6.0), 0.0)


def _leaky_relu(x: Array, slope: float) -> Array:
    return jnp.where(x > 0, x, slope * x)


def _hard_sigmoid(x: Array, slope: float) -> Array:
    y = x * slope + 0.5
    return jnp.where(y > 0, jnp.where(y < 1, y, 1.0), 0.0)


def _softplus(x: Array) -> Array:
    return jnp.logaddexp(x, 0.0)


def _conv(layer: Any, shape: Shape, dtype: Any) -> nnx.Module:
    return nnx.Conv(
        shape[2],
        layer.filters,
        layer.kernel,
        strides=layer.stride,
        padding=layer.pixels(shape),
        kernel_dilation=layer.dilation,
        feature_group_count=layer.groups,
        use_bias=layer.bias,
        dtype=dtype,
        param_dtype=dtype,
        precision=_PRECISION,
        kernel_init=_ZEROS,
        bias_init=_ZEROS,
        rngs=nnx.Rngs(0),
    )


def _dense(layer: Any, shape: Shape, dtype: Any) -> nnx.Module:
    return nnx.Linear(
        shape[-1],
        layer.units,
        use_bias=layer.bias,
        dtype=dtype,
        param_dtype=dtype,
        precision=_PRECISION,
        kernel_init=_ZEROS,
        bias_init=_ZEROS,
        rngs=nnx.Rngs(0),
    )


def _embedding(layer: Any, shape: Shape, dtype: Any) -> nnx.Module:
    return nnx.Embed(
        layer.size,
        layer.features,
        dtype=dtype,
        param_dtype=dtype,
        embedding_init=_ZEROS,
        rngs=nnx.Rngs(0),
    )


def _layer_norm(layer: Any, shape: Shape, dtype: Any) -> nnx.Module:
    return nnx.LayerNorm(
        shape[-1],
        epsilon=layer.epsilon,
        dtype=dtype,
        param_dtype=dtype,
        use_fast_variance=False,
        rngs=nnx.Rngs(0),
    )


Build = Callable[[Any, Shape, Any], nnx.Module]

BUILDERS: dict[str, Build] = {
    "rescale": lambda layer, shape, dtype: Rescale(layer),
    "conv": _conv,
    "conv_transpose": ConvTranspose,
    "dense": _dense,
    "flatten": lambda layer, shape, dtype: Flatten(),
    "max_pool": lambda layer, shape, dtype: MaxPool(layer, shape),
    "average_pool": lambda layer, shape, dtype: AvgPool(layer, shape),
    "batch_norm": BatchNorm,
    "layer_norm": _layer_norm,
    "dropout": lambda layer, shape, dtype: Dropout(layer),
    "embedding": _embedding,
    "add": lambda layer, shape, dtype: Add(),
    "multiply": lambda layer, shape, dtype: Multiply(),
    "reshape": lambda layer, shape, dtype: Reshape(layer),
    "permute": lambda layer, shape, dtype: Permute(layer),
    "pad": lambda layer, shape, dtype: Pad(layer),
    "concatenate": lambda layer, shape, dtype: Concatenate(),
    "dueling": lambda layer, shape, dtype: Dueling(),
    "relu": lambda layer, shape, dtype: Function("relu", jax.nn.relu),
    "relu6": lambda layer, shape, dtype: Function("relu6", _relu6),
    "leaky_relu": lambda layer, shape, dtype: Function(
        "leaky_relu", _leaky_relu, slope=layer.slope
    ),
    "elu": lambda layer, shape, dtype: Function("elu", jax.nn.elu, alpha=layer.alpha),
    "selu": lambda layer, shape, dtype: Function("selu", jax.nn.selu),
    "gelu": lambda layer, shape, dtype: Function(
        "gelu", jax.nn.gelu, approximate=layer.approximate
    ),
    "silu": lambda layer, shape, dtype: Function("silu", jax.nn.silu),
    "sigmoid": lambda layer, shape, dtype: Function("sigmoid", jax.nn.sigmoid),
    "hard_sigmoid": lambda layer, shape, dtype: Function(
        "hard_sigmoid", _hard_sigmoid, slope=layer.slope
    ),
    "tanh": lambda layer, shape, dtype: Function("tanh", jnp.tanh),
    "softplus": lambda layer, shape, dtype: Function("softplus", _softplus),
    "softmax": lambda layer, shape, dtype: Function("softmax", jax.nn.softmax),
    "log_softmax": lambda layer, shape, dtype: Function("log_softmax", jax.nn.log_softmax),
}
