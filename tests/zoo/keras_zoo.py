"""Keras models as people write them: published structures, modest widths, small inputs.

Each function returns a built model. Widths and input sizes (mostly 32x32) are smaller than in the
papers, so that a test takes a second; order and kind of layers are theirs. :func:`shake` moves what
Keras starts at 0 or 1: biases, scales, running statistics. Nothing of Triptych belongs here.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops


def shake(model, seed=0):
    """Give every array values of its own: no bias 0, no scale 1, statistics moved."""
    stream = np.random.default_rng(seed)
    for variable in model.weights:
        shape, start = tuple(variable.shape), np.array(variable)
        if variable.name == "moving_variance":
            value = stream.uniform(0.5, 2.0, shape)
        elif len(shape) > 1:
            value = start + 0.02 * stream.normal(size=shape)
        else:
            value = start + 0.2 * stream.normal(size=shape)
        variable.assign(value.astype(start.dtype))
    return model


def lenet():
    """LeCun et al. 1998: sequential, average pooling, tanh."""
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(6, 5, padding="same", activation="tanh"),
        layers.AveragePooling2D(2),
        layers.Conv2D(16, 5, activation="tanh"),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(120, activation="tanh"),
        layers.Dense(84, activation="tanh"),
        layers.Dense(10, activation="softmax"),
    ])  # fmt: skip


def alexnet():
    """Krizhevsky et al. 2012, on 64x64: wide strides, overlapping pooling, dropout, two groups."""
    return keras.Sequential([
        keras.Input((64, 64, 3)),
        layers.Rescaling(1 / 127.5, offset=-1.0),
        layers.Conv2D(16, 11, strides=4, padding="same", activation="relu"),
        layers.MaxPooling2D(3, strides=2),
        layers.Conv2D(24, 5, padding="same", groups=2, activation="relu"),
        layers.MaxPooling2D(3, strides=2),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.Conv2D(24, 3, padding="same", activation="relu", groups=2),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(48, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(10),
    ])  # fmt: skip


def vgg11():
    """Simonyan and Zisserman 2014, configuration A with batch norm, an eighth of the width."""
    inputs = x = keras.Input((32, 32, 3))
    for width, count in ((8, 1), (16, 1), (32, 2), (64, 2), (64, 2)):
        for _ in range(count):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(x)
            x = layers.ReLU()(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dropout(0.5)(layers.Dense(64, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def resnet18():
    """He et al. 2015, on 32x32 with an eighth of the width."""

    def block(x, width, stride):
        before = x
        x = layers.ZeroPadding2D(1)(x)
        x = layers.Conv2D(width, 3, strides=stride, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5)(x))
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(epsilon=1e-5)(x)
        if stride > 1:
            before = layers.Conv2D(width, 1, strides=stride, use_bias=False)(before)
            before = layers.BatchNormalization(epsilon=1e-5)(before)
        return layers.ReLU()(layers.Add()([x, before]))

    inputs = keras.Input((32, 32, 3))
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.Conv2D(8, 7, strides=2, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for place, width in enumerate((8, 16, 32, 64)):
        for stride in (1 if place == 0 else 2, 1):
            x = block(x, width, stride)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def mobilenet_v2():
    """Sandler et al. 2018: depthwise convolutions, relu6, odd padding at stride 2."""

    def bottleneck(x, width, stride):
        before, channels = x, x.shape[-1]
        x = layers.Conv2D(4 * channels, 1, use_bias=False)(x)
        x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.999)(x))
        if stride == 2:
            x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
        padding = "valid" if stride == 2 else "same"
        x = layers.DepthwiseConv2D(3, strides=stride, padding=padding, use_bias=False)(x)
        x = layers.Activation("relu6")(layers.BatchNormalization(momentum=0.999)(x))
        x = layers.BatchNormalization()(layers.Conv2D(width, 1, use_bias=False)(x))
        return layers.Add()([before, x]) if stride == 1 and channels == width else x

    inputs = keras.Input((33, 33, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = ops.relu6(layers.BatchNormalization()(x))
    for width, stride in ((8, 1), (12, 2), (12, 1), (16, 2), (16, 1)):
        x = bottleneck(x, width, stride)
    x = layers.SeparableConv2D(32, 3, padding="same", depth_multiplier=2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Conv2D(10, 1, padding="same")(x)
    return keras.Model(inputs, layers.Softmax()(layers.Reshape((10,))(x)))


def unet():
    """Ronneberger et al. 2015: transposed convolutions, skips over whole levels."""

    def twice(x, width):
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same")(x)
            x = layers.LeakyReLU(negative_slope=0.1)(x)
        return x

    inputs = x = keras.Input((32, 32, 3))
    skips = []
    for width in (8, 16):
        x = twice(x, width)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = twice(x, 24)
    for width, kernel in ((16, 2), (8, 3)):
        x = layers.Conv2DTranspose(width, kernel, strides=2, padding="same")(x)
        x = twice(layers.Concatenate()([skips.pop(), x]), width)
    return keras.Model(inputs, layers.Conv2D(2, 1, activation="sigmoid")(x))


def lstm_text():
    """A classifier of 20 words: embedding, two LSTMs, the first in both directions."""
    return keras.Sequential([
        keras.Input((20,), dtype="int32"),
        layers.Embedding(50, 12),
        layers.Bidirectional(layers.LSTM(8, return_sequences=True)),
        layers.LSTM(10),
        layers.Dense(6, activation="relu"),
        layers.Dense(3),
    ])  # fmt: skip


def gru_text():
    """The same with GRUs, their reset before and after the product, and one that goes backwards."""
    inputs = keras.Input((20,))
    x = layers.Embedding(50, 12)(inputs)
    x = layers.SpatialDropout1D(0.2)(x)
    x = layers.GRU(8, return_sequences=True)(x)
    x = layers.GRU(8, return_sequences=True, reset_after=False, dropout=0.1)(x)
    both = layers.Concatenate()([layers.GRU(6, go_backwards=True)(x), layers.SimpleRNN(5)(x)])
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(both))


def mlp_mixer():
    """Tolstikhin et al. 2021: patches, layer norm, mixing over places and over channels."""

    def mlp(x, hidden, width):
        return layers.Dense(width)(layers.Dense(hidden, activation="gelu")(x))

    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(12, 4, strides=4)(inputs)
    x = layers.Reshape((16, 12))(x)
    for _ in range(2):
        y = layers.Permute((2, 1))(layers.LayerNormalization(epsilon=1e-6)(x))
        x = layers.Add()([x, layers.Permute((2, 1))(mlp(y, 10, 16))])
        x = x + mlp(layers.LayerNormalization(epsilon=1e-6)(x), 24, 12)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def shared_layers():
    """One encoder for two halves of the input, as in a Siamese network."""
    encoder = keras.Sequential([
        keras.Input((8,)), layers.Dense(7, activation="tanh"), layers.Dense(5),
    ])  # fmt: skip
    inputs = keras.Input((8,))
    mirrored = layers.Dense(8, use_bias=False)(inputs)
    left, right = encoder(inputs), encoder(mirrored)
    product = layers.Multiply()([left, right])
    distance = layers.Subtract()([left, right])
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([product, distance])))


def squeeze_excite():
    """Hu et al. 2018: gates over channels, hard swish, and operations of keras.ops."""
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="hard_swish")(inputs / 255.0)
    gate = ops.mean(x, axis=(1, 2), keepdims=True)
    gate = layers.Conv2D(4, 1, activation="silu")(gate)
    gate = layers.Conv2D(8, 1, activation="hard_sigmoid")(gate)
    x = ops.multiply(x, gate)
    x = ops.max_pool(x, 2, strides=2)
    x = ops.reshape(x, (-1, 8 * 8 * 8))
    return keras.Model(inputs, layers.Dense(4, activation=layers.LeakyReLU(0.05))(x))


def sequence_convolutions():
    """Convolutions over time (WaveNet's causal ones), pooling over time, masking before a GRU."""
    inputs = keras.Input((24, 3))
    x = inputs
    for rate in (1, 2, 4):
        x = layers.Conv1D(6, 2, padding="causal", dilation_rate=rate, activation="elu")(x)
    x = layers.MaxPooling1D(2)(x)
    y = layers.GRU(5)(layers.Masking(0.5)(inputs))
    z = layers.TimeDistributed(layers.Dense(4, activation="softplus"))(x)
    z = layers.GlobalMaxPooling1D()(layers.DepthwiseConv1D(3, depth_multiplier=2)(z))
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([y, z])))


class Residual(layers.Layer):
    """A layer of one's own, made of Keras' layers."""

    def __init__(self, width):
        super().__init__()
        self.conv = layers.Conv2D(width, 3, padding="same", activation="relu")
        self.norm = layers.BatchNormalization()

    def call(self, x):
        return x + self.norm(self.conv(x))


class Subclassed(keras.Model):
    """A model of one's own, made of layers, of layers of one's own and of keras.ops."""

    def __init__(self):
        super().__init__()
        self.stem = layers.Conv2D(6, 3, strides=2)
        self.blocks = [Residual(6), Residual(6)]
        self.drop = layers.Dropout(0.3)
        self.head = layers.Dense(4)

    def call(self, x, training=None):
        x = ops.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = ops.reshape(x, (-1, 7 * 7 * 6))
        return self.head(self.drop(x, training=training))


def subclassed():
    """The model above, built."""
    model = Subclassed()
    model(np.zeros((1, 15, 15, 2), "float32"))
    return model


MODELS = {
    make.__name__: make
    for make in (
        *(lenet, alexnet, vgg11, resnet18, mobilenet_v2, unet, lstm_text, gru_text, mlp_mixer),
        *(shared_layers, squeeze_excite, sequence_convolutions, subclassed),
    )
}
