"""Each layer of the spec as a Keras layer.

Keras is channels last as the spec is. Where its layer says the same as the spec it is used as it
is; where it does not (explicit padding, dilation with stride, unbiased running variance, masks as
data) the difference is written out here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from triptych.spec import layers as spec
from triptych.spec.layers import Shape
from triptych.spec.layers.convolution import Amounts, extent


def pad(x: Any, amounts: Amounts, value: float = 0.0) -> Any:
    """(batch, height, width, channels) with pixels added at its edges."""
    if amounts == ((0, 0), (0, 0)):
        return x
    return tf.pad(x, [(0, 0), *amounts, (0, 0)], constant_values=tf.constant(value, x.dtype))


class Conv2D(keras.layers.Conv2D):
    """``keras.layers.Conv2D`` with explicit padding added before it."""

    def __init__(self, layer: spec.Conv, shape: Shape, **options: Any) -> None:
        # Keras refuses a stride together with a dilation; the call below takes both.
        both = max(layer.stride) > 1 and max(layer.dilation) > 1
        super().__init__(
            layer.filters,
            layer.kernel,
            strides=(1, 1) if both else layer.stride,
            padding="valid",
            data_format="channels_last",
            dilation_rate=layer.dilation,
            groups=layer.groups,
            activation=None,
            use_bias=layer.bias,
            kernel_initializer="zeros",
            bias_initializer="zeros",
            **options,
        )
        self.steps, self.amounts = layer.stride, layer.pixels(shape)
        self.shape_of = layer.shape

    def call(self, inputs: Any) -> Any:
        """(batch, height, width, in) -> (batch, height', width', out)."""
        x = pad(inputs, self.amounts)
        kernel = _dilate(tf.convert_to_tensor(self.kernel), self.dilation_rate)
        if self.groups == 1:
            y = tf.nn.conv2d(x, kernel, self.steps, "VALID")
        else:
            # TensorFlow's CPU kernels have no gradient for groups: one convolution per group.
            parts = zip(
                tf.split(x, self.groups, axis=-1),
                tf.split(kernel, self.groups, axis=-1),
                strict=True,
            )
            y = tf.concat([tf.nn.conv2d(a, k, self.steps, "VALID") for a, k in parts], -1)
        return y if self.bias is None else tf.nn.bias_add(y, self.bias)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As the spec infers it."""
        return (input_shape[0], *self.shape_of(input_shape[1:]))


class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """``keras.layers.Conv2DTranspose`` in full, then cropped by any amounts, then the bias."""

    def __init__(self, layer: spec.ConvTranspose, shape: Shape, **options: Any) -> None:
        super().__init__(
            layer.filters,
            layer.kernel,
            strides=(1, 1),
            padding="valid",
            output_padding=None,
            data_format="channels_last",
            dilation_rate=(1, 1),
            activation=None,
            use_bias=layer.bias,
            kernel_initializer="zeros",
            bias_initializer="zeros",
            **options,
        )
        self.steps, self.holes, self.crop = layer.stride, layer.dilation, layer.crop()
        self.shape_of = layer.shape

    def call(self, inputs: Any) -> Any:
        """(batch, height, width, in) -> (batch, height', width', out)."""
        kernel = _dilate(tf.convert_to_tensor(self.kernel), self.holes)
        span = extent(self.kernel_size, self.holes)
        shape = tf.shape(inputs)
        size = [(shape[axis + 1] - 1) * self.steps[axis] + span[axis] for axis in (0, 1)]
        full = tf.nn.conv2d_transpose(
            inputs, kernel, [shape[0], *size, self.filters], self.steps, "VALID"
        )
        y = pad(full, tuple((max(-a, 0), max(-b, 0)) for a, b in self.crop))  # type: ignore[arg-type]
        (top, bottom), (left, right) = ((max(a, 0), max(b, 0)) for a, b in self.crop)
        y = y[:, top : tf.shape(y)[1] - bottom, left : tf.shape(y)[2] - right, :]
        return y if self.bias is None else tf.nn.bias_add(y, self.bias)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As the spec infers it."""
        return (input_shape[0], *self.shape_of(input_shape[1:]))


def _dilate(kernel: Any, holes: tuple[int, int]) -> Any:
    """Put zeros between a kernel's rows and columns.

    TensorFlow's CPU kernels have no gradient for dilations.
    """
    for axis, step in enumerate(holes):
        if step > 1:
            zeros = tf.zeros_like(kernel)
            spread = tf.stack([kernel, *[zeros] * (step - 1)], axis=axis + 1)
            shape = list(kernel.shape)
            shape[axis] *= step
            kernel = tf.reshape(spread, shape)
            keep = shape[axis] - (step - 1)
            kernel = kernel[:keep] if axis == 0 else kernel[:, :keep]
    return kernel


class MaxPooling2D(keras.layers.Layer):
    """Maximum under a window; padding is minus infinity."""

    def __init__(self, layer: spec.MaxPool, shape: Shape, **options: Any) -> None:
        super().__init__(**options)
        self.pool_size, self.strides, self.amounts = layer.size, layer.stride, layer.pixels(shape)

    def call(self, inputs: Any) -> Any:
        """(batch, height, width, channels) -> (batch, height', width', channels)."""
        x = pad(inputs, self.amounts, float("-inf"))
        return tf.nn.max_pool2d(x, self.pool_size, self.strides, "VALID")


class AveragePooling2D(keras.layers.Layer):
    """Mean under a window, over the window or over the pixels of the image in it."""

    def __init__(self, layer: spec.AveragePool, shape: Shape, **options: Any) -> None:
        super().__init__(**options)
        self.pool_size, self.strides, self.amounts = layer.size, layer.stride, layer.pixels(shape)
        self.count_padding = layer.count_padding

    def call(self, inputs: Any) -> Any:
        """(batch, height, width, channels) -> (batch, height', width', channels)."""
        mean = tf.nn.avg_pool2d(pad(inputs, self.amounts), self.pool_size, self.strides, "VALID")
        if not self.count_padding and self.amounts != ((0, 0), (0, 0)):
            inside = pad(tf.ones_like(inputs[:1, :, :, :1]), self.amounts)
            mean = mean / tf.nn.avg_pool2d(inside, self.pool_size, self.strides, "VALID")
        return mean


class BatchNormalization(keras.layers.BatchNormalization):
    """``keras.layers.BatchNormalization`` by the two-pass variance, running unbiased or not.

    Keras takes the variance as E[x^2] - E[x]^2, which loses digits.
    """

    def __init__(self, layer: spec.BatchNorm, **options: Any) -> None:
        super().__init__(
            axis=-1,
            momentum=layer.keep,
            epsilon=layer.epsilon,
            center=True,
            scale=True,
            synchronized=False,
            **options,
        )
        self.unbiased = layer.unbiased

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """(batch, ..., channels) -> the same."""
        if not training:
            return self._normalise(inputs, self.moving_mean, self.moving_variance)
        mean = _channel_mean(inputs)
        variance = _channel_mean(tf.square(inputs - mean))
        kept = variance
        if self.unbiased:
            count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), inputs.dtype)
            kept = variance * (count / (count - 1))
        keep = self.momentum
        self.moving_mean.assign(keep * self.moving_mean + (1.0 - keep) * mean)
        self.moving_variance.assign(keep * self.moving_variance + (1.0 - keep) * kept)
        return self._normalise(inputs, mean, variance)

    def _normalise(self, x: Any, mean: Any, variance: Any) -> Any:
        return (x - mean) / tf.sqrt(variance + self.epsilon) * self.gamma + self.beta


def _channel_mean(x: Any) -> Any:
    """Mean over all axes but the last, one axis at a time.

    TensorFlow adds float32 numbers in one long row; over thousands of them that loses two digits.
    """
    for _ in range(len(x.shape) - 1):
        x = tf.reduce_mean(x, axis=0)
    return x


class Dropout(keras.layers.Layer):
    """x * mask / (1 - rate) in training; the compiled step sets ``mask`` before the call."""

    def __init__(self, layer: spec.Dropout, **options: Any) -> None:
        super().__init__(**options)
        self.rate = layer.rate
        self.mask: Any = None

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The same shape; without a mask, unchanged."""
        if not training or self.mask is None:
            return inputs
        return inputs * tf.cast(self.mask, inputs.dtype) / (1.0 - self.rate)


class Rescale(keras.layers.Layer):
    """x * scale + offset."""

    def __init__(self, layer: spec.Rescale, **options: Any) -> None:
        super().__init__(**options)
        self.scale, self.offset = layer.scale, layer.offset

    def call(self, inputs: Any) -> Any:
        """The same shape."""
        x = inputs * self.scale
        return x + self.offset if self.offset else x


class Dueling(keras.layers.Layer):
    """value + advantage - mean(advantage)."""

    def call(self, inputs: Any) -> Any:
        """[(batch, 1), (batch, actions)] -> (batch, actions)."""
        value, advantage = inputs
        return value + advantage - tf.reduce_mean(advantage, axis=-1, keepdims=True)


class Function(keras.layers.Layer):
    """An elementwise function with its constants, such as ``leaky_relu`` with ``slope``."""

    def __init__(self, kind: str, function: Any, constants: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.kind, self.function, self.constants = kind, function, dict(constants)

    def call(self, inputs: Any) -> Any:
        """The same shape."""
        return self.function(inputs, **self.constants)


def _elu(x: Any, alpha: float) -> Any:
    return tf.where(x > 0, x, alpha * tf.math.expm1(tf.minimum(x, tf.zeros_like(x))))


# ``tf.nn.leaky_relu`` and ``tf.nn.gelu`` keep their constants in float32 even for float64 values.
def _leaky_relu(x: Any, slope: float) -> Any:
    return tf.where(x > 0, x, slope * x)


def _gelu(x: Any, approximate: bool) -> Any:
    if approximate:
        return 0.5 * x * (1.0 + tf.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


def _hard_sigmoid(x: Any, slope: float) -> Any:
    y = x * slope + 0.5
    return tf.where(y > 0, tf.where(y < 1, y, tf.ones_like(y)), tf.zeros_like(y))


def _function(kind: str, function: Any, *names: str) -> Build:
    """A builder that takes the named constants from the spec's layer."""
    return lambda layer, shape, options: Function(
        kind, function, {name: getattr(layer, name) for name in names}, **options
    )


def _dense(layer: Any, shape: Shape, options: dict[str, Any]) -> Any:
    return keras.layers.Dense(
        layer.units,
        activation=None,
        use_bias=layer.bias,
        kernel_initializer="zeros",
        bias_initializer="zeros",
        **options,
    )


def _embedding(layer: Any, shape: Shape, options: dict[str, Any]) -> Any:
    return keras.layers.Embedding(
        layer.size, layer.features, embeddings_initializer="zeros", mask_zero=False, **options
    )


def _layer_norm(layer: Any, shape: Shape, options: dict[str, Any]) -> Any:
    return keras.layers.LayerNormalization(axis=-1, epsilon=layer.epsilon, **options)


def _permute(layer: Any, shape: Shape, options: dict[str, Any]) -> Any:
    return keras.layers.Permute(tuple(axis + 1 for axis in layer.axes), **options)


def _zero_padding(layer: Any, shape: Shape, options: dict[str, Any]) -> Any:
    return keras.layers.ZeroPadding2D(layer.amounts, data_format="channels_last", **options)


Build = Callable[[Any, Shape, dict[str, Any]], Any]

BUILDERS: dict[str, Build] = {
    "rescale": lambda layer, shape, options: Rescale(layer, **options),
    "conv": lambda layer, shape, options: Conv2D(layer, shape, **options),
    "conv_transpose": lambda layer, shape, options: Conv2DTranspose(layer, shape, **options),
    "dense": _dense,
    "flatten": lambda layer, shape, options: keras.layers.Flatten("channels_last", **options),
    "max_pool": lambda layer, shape, options: MaxPooling2D(layer, shape, **options),
    "average_pool": lambda layer, shape, options: AveragePooling2D(layer, shape, **options),
    "batch_norm": lambda layer, shape, options: BatchNormalization(layer, **options),
    "layer_norm": _layer_norm,
    "dropout": lambda layer, shape, options: Dropout(layer, **options),
    "embedding": _embedding,
    "add": lambda layer, shape, options: keras.layers.Add(**options),
    "multiply": lambda layer, shape, options: keras.layers.Multiply(**options),
    "reshape": lambda layer, shape, options: keras.layers.Reshape(layer.size, **options),
    "permute": _permute,
    "pad": _zero_padding,
    "concatenate": lambda layer, shape, options: keras.layers.Concatenate(axis=-1, **options),
    "dueling": lambda layer, shape, options: Dueling(**options),
    "relu": _function("relu", tf.nn.relu),
    "relu6": _function("relu6", tf.nn.relu6),
    "leaky_relu": _function("leaky_relu", _leaky_relu, "slope"),
    "elu": _function("elu", _elu, "alpha"),
    "selu": _function("selu", tf.nn.selu),
    "gelu": _function("gelu", _gelu, "approximate"),
    "silu": _function("silu", tf.nn.silu),
    "sigmoid": _function("sigmoid", tf.sigmoid),
    "hard_sigmoid": _function("hard_sigmoid", _hard_sigmoid, "slope"),
    "tanh": _function("tanh", tf.tanh),
    "softplus": _function("softplus", tf.nn.softplus),
    "softmax": _function("softmax", tf.nn.softmax),
    "log_softmax": _function("log_softmax", tf.nn.log_softmax),
}
