"""Flax NNX models as people write them: published structures, modest widths, small inputs.

Order and kind of layers are the papers'; widths and input sizes (mostly 32x32) are smaller, so that
a test takes a second. :func:`filled` moves what Flax starts at 0 or 1: biases, scales,
statistics. Nothing of this project is imported here.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def filled(build, seed=0):
    """Return a model with values of its own in every array: no bias 0, no scale 1, all moved.

    Flax' own draws are left out, each of which JAX would compile.
    """
    model, stream = nnx.eval_shape(build), np.random.default_rng(seed)
    for place, variable in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))):
        shape, name = variable.shape, place[-1]
        if name == "var":
            value = stream.uniform(0.5, 2.0, shape)
        elif len(shape) > 1:
            value = stream.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
        else:
            value = (name == "scale") + 0.2 * stream.normal(size=shape)
        variable.set_value(jax.device_put(value.astype(variable.dtype)))
    nnx.reseed(model, default=0, carry=1)
    return model


class LeNet(nnx.Module):
    """LeCun et al. 1998."""

    def __init__(self, rngs):
        self.conv1 = nnx.Conv(1, 6, kernel_size=(5, 5), padding="VALID", rngs=rngs)
        self.conv2 = nnx.Conv(6, 16, kernel_size=(5, 5), padding="VALID", rngs=rngs)
        self.linear1 = nnx.Linear(400, 120, rngs=rngs)
        self.linear2 = nnx.Linear(120, 84, rngs=rngs)
        self.linear3 = nnx.Linear(84, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.avg_pool(nnx.tanh(self.conv1(x)), (2, 2), strides=(2, 2))
        x = nnx.avg_pool(nnx.tanh(self.conv2(x)), (2, 2), strides=(2, 2))
        x = x.reshape(x.shape[0], -1)
        x = nnx.tanh(self.linear1(x))
        x = nnx.tanh(self.linear2(x))
        return nnx.log_softmax(self.linear3(x))


class AlexNet(nnx.Module):
    """Krizhevsky 2014 ("one weird trick"), an eighth of the width, 64x64 pixels."""

    def __init__(self, rngs):
        conv = partial(nnx.Conv, rngs=rngs)
        self.convs = nnx.List(
            [
                conv(3, 8, (11, 11), strides=(4, 4), padding=[(2, 2), (2, 2)]),
                conv(8, 24, (5, 5), padding=2),
                conv(24, 48, (3, 3), padding=1),
                conv(48, 32, (3, 3), padding=1),
                conv(32, 32, (3, 3), padding=1),
            ]
        )
        self.pools = (True, True, False, False, True)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.dense1 = nnx.Linear(32, 64, rngs=rngs)
        self.dense2 = nnx.Linear(64, 64, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        for conv, pools in zip(self.convs, self.pools, strict=True):
            x = jax.nn.relu(conv(x))
            if pools:
                x = nnx.max_pool(x, (3, 3), strides=(2, 2))
        x = jnp.ravel(x[0])[None] if x.shape[0] == 1 else x.reshape((x.shape[0], -1))
        x = jax.nn.relu(self.dense1(self.dropout(x)))
        x = jax.nn.relu(self.dense2(self.dropout(x)))
        return self.head(x)


class VGG11(nnx.Module):
    """Simonyan and Zisserman 2015, configuration A, an eighth of the width."""

    plan = (8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M")

    def __init__(self, rngs):
        steps, channels = [], 3
        for step in self.plan:
            if step == "M":
                steps.append(partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2)))
            else:
                steps += [nnx.Conv(channels, step, (3, 3), rngs=rngs), nnx.relu]
                channels = step
        self.features = nnx.Sequential(*steps)
        self.classifier = nnx.Sequential(
            nnx.Linear(64, 64, rngs=rngs), nnx.relu, nnx.Dropout(0.5, rngs=rngs),
            nnx.Linear(64, 64, rngs=rngs), nnx.relu, nnx.Dropout(0.5, rngs=rngs),
            nnx.Linear(64, 10, rngs=rngs),
        )  # fmt: skip

    def __call__(self, x):
        x = self.features(x)
        return self.classifier(x.reshape(len(x), -1))


class BasicBlock(nnx.Module):
    """Two convolutions and a way around them."""

    def __init__(self, channels, filters, stride, rngs):
        conv = partial(nnx.Conv, use_bias=False, rngs=rngs)
        self.conv1 = conv(channels, filters, (3, 3), strides=stride, padding=1)
        self.bn1 = nnx.BatchNorm(filters, momentum=0.9, rngs=rngs)
        self.conv2 = conv(filters, filters, (3, 3), padding=1)
        self.bn2 = nnx.BatchNorm(filters, momentum=0.9, rngs=rngs)
        self.down = conv(channels, filters, (1, 1), strides=stride) if stride > 1 else None
        self.down_bn = nnx.BatchNorm(filters, momentum=0.9, rngs=rngs) if stride > 1 else None

    def __call__(self, x):
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.down is not None:
            x = self.down_bn(self.down(x))
        return nnx.relu(x + y)


class ResNet18(nnx.Module):
    """He et al. 2016, an eighth of the width."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (7, 7), strides=2, padding=3, use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        sizes = [(8, 8, 1), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1)]
        sizes += [(32, 64, 2), (64, 64, 1)]
        self.blocks = nnx.List([BasicBlock(*size, rngs=rngs) for size in sizes])
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.bn(self.stem(x)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for block in self.blocks:
            x = block(x)
        return self.head(jnp.mean(x, axis=(1, 2)))


class Inverted(nnx.Module):
    """Wide, depthwise, narrow."""

    def __init__(self, channels, filters, stride, widen, rngs):
        wide = channels * widen
        self.expand = nnx.Conv(channels, wide, (1, 1), use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(wide, momentum=0.99, epsilon=1e-3, rngs=rngs)
        self.depthwise = nnx.Conv(
            wide, wide, (3, 3), strides=(stride, stride), padding="SAME",
            feature_group_count=wide, use_bias=False, rngs=rngs,
        )  # fmt: skip
        self.bn2 = nnx.BatchNorm(wide, momentum=0.99, epsilon=1e-3, rngs=rngs)
        self.project = nnx.Conv(wide, filters, (1, 1), use_bias=False, rngs=rngs)
        self.bn3 = nnx.BatchNorm(filters, momentum=0.99, epsilon=1e-3, rngs=rngs)
        self.skips = stride == 1 and channels == filters

    def __call__(self, x, train):
        y = nnx.relu6(self.bn1(self.expand(x), use_running_average=not train))
        y = nnx.relu6(self.bn2(self.depthwise(y), use_running_average=not train))
        y = self.bn3(self.project(y), use_running_average=not train)
        return x + y if self.skips else y


class MobileNetV2(nnx.Module):
    """Sandler et al. 2018, with few blocks and channels."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (3, 3), strides=(2, 2), use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(8, rngs=rngs)
        sizes = [(8, 8, 1, 1), (8, 12, 2, 6), (12, 12, 1, 6), (12, 16, 2, 6), (16, 16, 1, 6)]
        self.blocks = nnx.List([Inverted(*size, rngs=rngs) for size in sizes])
        self.head = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x, train: bool = False):
        x = jnp.clip(self.bn(self.stem(x), use_running_average=not train), 0.0, 6.0)
        for block in self.blocks:
            x = block(x, train)
        return nnx.softmax(self.head(x.mean(axis=(1, 2))))


class Double(nnx.Module):
    """Two convolutions with batch norm."""

    def __init__(self, channels, filters, rngs):
        self.conv1 = nnx.Conv(channels, filters, (3, 3), rngs=rngs)
        self.bn1 = nnx.BatchNorm(filters, rngs=rngs)
        self.conv2 = nnx.Conv(filters, filters, (3, 3), rngs=rngs)
        self.bn2 = nnx.BatchNorm(filters, rngs=rngs)

    def __call__(self, x):
        x = nnx.leaky_relu(self.bn1(self.conv1(x)), 0.1)
        return nnx.leaky_relu(self.bn2(self.conv2(x)), 0.1)


class UNet(nnx.Module):
    """Ronneberger et al. 2015: skips, transposed convolutions; three levels, few channels."""

    def __init__(self, rngs):
        self.down1, self.down2 = Double(3, 6, rngs), Double(6, 12, rngs)
        self.bottom = Double(12, 24, rngs)
        self.up2 = nnx.ConvTranspose(24, 12, (2, 2), strides=(2, 2), rngs=rngs)
        self.join2 = Double(24, 12, rngs)
        self.up1 = nnx.ConvTranspose(12, 6, (3, 3), strides=(2, 2), padding="SAME", rngs=rngs)
        self.join1 = Double(12, 6, rngs)
        self.head = nnx.Conv(6, 2, (1, 1), rngs=rngs)

    def __call__(self, x):
        a = self.down1(x)
        b = self.down2(nnx.max_pool(a, (2, 2), strides=(2, 2)))
        c = self.bottom(nnx.max_pool(b, (2, 2), strides=(2, 2)))
        b = self.join2(jnp.concatenate([b, self.up2(c)], axis=-1))
        a = self.join1(jnp.concatenate([a, self.up1(b)], axis=-1))
        return nnx.sigmoid(self.head(a))


class TextClassifier(nnx.Module):
    """Indices, embedding, a recurrent layer, its last state."""

    def __init__(self, cell, rngs, reverse=False):
        self.embed = nnx.Embed(50, 12, rngs=rngs)
        self.rnn = nnx.RNN(cell(12, 16, rngs=rngs), reverse=reverse)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.head = nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, tokens):
        states = self.rnn(self.embed(tokens))
        return self.head(self.dropout(states[:, -1]))


class Stacked(nnx.Module):
    """A bidirectional layer, one above it that gives its carry; (time, features) inputs."""

    def __init__(self, rngs):
        cell = partial(nnx.OptimizedLSTMCell, rngs=rngs)
        self.both = nnx.Bidirectional(
            nnx.RNN(cell(5, 8)), nnx.RNN(nnx.GRUCell(5, 6, rngs=rngs)), rngs=rngs
        )
        self.norm = nnx.LayerNorm(14, rngs=rngs)
        self.top = nnx.RNN(cell(14, 7), return_carry=True)
        self.head = nnx.Linear(7, 2, rngs=rngs)

    def __call__(self, x):
        (_, hidden), _ = self.top(self.norm(self.both(x)))
        return self.head(hidden)


class TimeMajor(nnx.Module):
    """Sequences with the time first, as older code has them."""

    def __init__(self, rngs):
        cell = nnx.SimpleCell(5, 8, rngs=rngs)
        self.rnn = nnx.RNN(cell, time_major=True)
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        states = self.rnn(jnp.swapaxes(x, 0, 1))
        return self.head(states).transpose(1, 0, 2)


class Mixer(nnx.Module):
    """A block of the MLP-Mixer (Tolstikhin et al. 2021), and a head."""

    def __init__(self, rngs):
        self.patches = nnx.Conv(3, 16, (8, 8), strides=(8, 8), rngs=rngs)
        self.norm1, self.norm2 = nnx.LayerNorm(16, rngs=rngs), nnx.LayerNorm(16, rngs=rngs)
        self.tokens1, self.tokens2 = nnx.Linear(16, 24, rngs=rngs), nnx.Linear(24, 16, rngs=rngs)
        self.mix1, self.mix2 = nnx.Linear(16, 32, rngs=rngs), nnx.Linear(32, 16, rngs=rngs)
        self.norm = nnx.LayerNorm(16, rngs=rngs)
        self.head = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        x = self.patches(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        y = jnp.swapaxes(self.norm1(x), 1, 2)
        y = self.tokens2(jax.nn.gelu(self.tokens1(y)))
        x = x + jnp.swapaxes(y, 1, 2)
        x = x + self.mix2(jax.nn.gelu(self.mix1(self.norm2(x)), approximate=False))
        return self.head(self.norm(x).mean(axis=1))


class Shared(nnx.Module):
    """One layer at several places, one batch norm at two."""

    def __init__(self, rngs):
        self.first = nnx.Linear(7, 9, rngs=rngs)
        self.again = nnx.Linear(9, 9, rngs=rngs)
        self.norm = nnx.BatchNorm(9, rngs=rngs)
        self.head = nnx.Linear(9, 2, rngs=rngs)

    def __call__(self, x):
        x = nnx.elu(self.norm(self.first(x)))
        for _ in range(3):
            x = nnx.silu(self.again(x)) * 0.5 + x
        return self.head(nnx.softplus(x))


class SqueezeExcite(nnx.Module):
    """Gates over channels (Hu et al. 2018), explicit padding, formulas written by hand."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), strides=2, padding="VALID", rngs=rngs)
        self.norm = nnx.BatchNorm(8, use_scale=False, rngs=rngs)
        self.down, self.up = nnx.Linear(8, 4, rngs=rngs), nnx.Linear(4, 8, rngs=rngs)
        self.grow = nnx.ConvTranspose(
            8, 6, (3, 4), strides=(2, 1), padding=((1, 1), (2, 0)), transpose_kernel=True, rngs=rngs
        )
        self.head = nnx.Linear(6, 5, use_bias=False, rngs=rngs)

    def __call__(self, x):
        x = (x - 0.5) / 0.25
        x = self.norm(self.conv(jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))))
        x = x * jnp.tanh(jax.nn.softplus(x))
        gate = x.mean(axis=(1, 2))
        gate = jax.nn.hard_sigmoid(self.up(jnp.maximum(self.down(gate), 0.0)))
        x = x * gate[:, None, None, :]
        x = nnx.avg_pool(x, (3, 3), strides=(2, 2), padding="SAME", count_include_pad=False)
        x = jnp.where(x > 0, x, 0.25 * x)
        x = nnx.max_pool(self.grow(x), (2, 2), strides=(2, 2))
        return self.head(jnp.max(x, axis=(1, 2)) ** 2)


def _rngs():
    return nnx.Rngs(0)


# name: (makes it, shape of one input, whether inputs are indices)
ZOO = {
    "lenet": (lambda: LeNet(_rngs()), (32, 32, 1), False),
    "alexnet": (lambda: AlexNet(_rngs()), (64, 64, 3), False),
    "vgg11": (lambda: VGG11(_rngs()), (32, 32, 3), False),
    "resnet18": (lambda: ResNet18(_rngs()), (32, 32, 3), False),
    "mobilenet_v2": (lambda: MobileNetV2(_rngs()), (32, 32, 3), False),
    "unet": (lambda: UNet(_rngs()), (32, 24, 3), False),
    "lstm_text": (lambda: TextClassifier(nnx.LSTMCell, _rngs()), (20,), True),
    "gru_text": (lambda: TextClassifier(nnx.GRUCell, _rngs()), (20,), True),
    "reversed_text": (
        lambda: TextClassifier(nnx.OptimizedLSTMCell, _rngs(), reverse=True),
        (20,),
        True,
    ),
    "stacked": (lambda: Stacked(_rngs()), (9, 5), False),
    "time_major": (lambda: TimeMajor(_rngs()), (9, 5), False),
    "mlp_mixer": (lambda: Mixer(_rngs()), (32, 32, 3), False),
    "shared_layers": (lambda: Shared(_rngs()), (7,), False),
    "squeeze_excite": (lambda: SqueezeExcite(_rngs()), (18, 14, 3), False),
}


def make(name):
    """Return (the model with moved arrays, shape of one input, whether inputs are indices)."""
    build, shape, index = ZOO[name]
    return filled(build), shape, index
