"""Layers identified by probing: activations, windows, normalisation, dropout, flattening."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from triptych.backends import registry
from triptych.parity.probing import activations, layers, windows
from triptych.spec.randomness import generator

registry.get("jax")
registry.get("keras")
import keras  # noqa: E402

Array = np.ndarray
Layer = Callable[[Array, bool], Array]


def torch_image(module: nn.Module) -> Layer:
    module = module.double()

    def call(x: Array, training: bool) -> Array:
        with torch.no_grad():
            module.train(training)
            return module(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()

    return call


def of_torch(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Array], Array]:
    return lambda x: function(torch.tensor(x)).detach().numpy()


def of_jax(function: Callable[[Any], Any]) -> Callable[[Array], Array]:
    return lambda x: np.asarray(function(jax.numpy.asarray(x)))


def of_keras(layer: Any) -> Layer:
    return lambda x, training: np.asarray(layer(x.astype(np.float32), training=training))


def plain_keras(function: Callable[[Any], Any]) -> Callable[[Array], Array]:
    return lambda x: np.asarray(function(keras.ops.convert_to_tensor(x, "float32")))


ACTIVATIONS: list[tuple[Callable[[Array], Array], str]] = [
    (lambda x: x, "linear"),
    (of_torch(torch.relu), "relu"),
    (of_torch(nn.ReLU6()), "relu6"),
    (of_torch(nn.LeakyReLU()), "leaky_relu slope 0.01"),
    (of_torch(nn.LeakyReLU(0.123)), "leaky_relu slope 0.123"),
    (of_torch(nn.ELU(0.7)), "elu alpha 0.7"),
    (of_torch(nn.CELU(0.7)), "celu alpha 0.7"),
    (of_torch(nn.SELU()), "selu"),
    (of_torch(nn.GELU()), "gelu exact"),
    (of_torch(nn.GELU("tanh")), "gelu tanh"),
    (of_torch(nn.SiLU()), "silu"),
    (of_torch(nn.Hardswish()), "hard_silu"),
    (of_torch(torch.sigmoid), "sigmoid"),
    (of_torch(nn.Hardsigmoid()), "hard_sigmoid slope 0.1667"),
    (of_torch(nn.Softplus()), "softplus threshold 20"),
    (of_torch(nn.Softplus(2.0, 15.0)), "softplus beta 2 threshold 15"),
    (of_torch(nn.Softsign()), "softsign"),
    (of_torch(nn.Mish()), "mish"),
    (of_torch(nn.LogSoftmax(-1)), "log_softmax"),
    (plain_keras(keras.layers.LeakyReLU()), "leaky_relu slope 0.3"),
    (plain_keras(keras.activations.leaky_relu), "leaky_relu slope 0.2"),
    (plain_keras(keras.activations.gelu), "gelu exact"),
    (plain_keras(keras.ops.gelu), "gelu tanh"),
    (plain_keras(keras.activations.elu), "elu alpha 1"),
    (plain_keras(keras.activations.hard_sigmoid), "hard_sigmoid slope 0.1667"),
    (plain_keras(keras.activations.softplus), "softplus"),
    (plain_keras(keras.activations.exponential), "exponential"),
    (plain_keras(keras.activations.log_sigmoid), "log_sigmoid"),
    (plain_keras(keras.activations.hard_tanh), "hard_tanh"),
    (of_jax(jax.nn.gelu), "gelu tanh"),
    (of_jax(jax.nn.leaky_relu), "leaky_relu slope 0.01"),
    (of_jax(jax.nn.softplus), "softplus"),
    (of_jax(jax.nn.softmax), "softmax"),
    (of_jax(jax.numpy.tanh), "tanh"),
    (lambda x: np.clip(0.2 * x + 0.5, 0.0, 1.0), "hard_sigmoid slope 0.2"),
    (lambda x: np.sin(x), "unknown"),
    (lambda x: np.maximum(x, 0.0) * 1.0001, "unknown"),
    (lambda x: np.where(x > 0, x, 0.2 * x - 0.001), "unknown"),
]


@pytest.mark.parametrize(("function", "text"), ACTIVATIONS)
def test_an_activation_is_named(function: Callable[[Array], Array], text: str) -> None:
    found = activations.identify(function)
    assert found.text == text, found


def test_tanh_approximation_is_an_option_of_gelu() -> None:
    assert activations.identify(of_torch(nn.GELU())).constants == {"approximate": False}


CONVS: list[tuple[dict[str, Any], tuple[int, int, int], dict[str, Any]]] = [
    ({"kernel_size": (3, 2)}, (7, 6, 2), {"size": (3, 2), "rule": "valid"}),
    ({"kernel_size": 3, "padding": 1}, (6, 7, 2), {"padding": ((1, 1), (1, 1))}),
    (
        {"kernel_size": (4, 3), "stride": (2, 3), "padding": (1, 0)},
        (9, 11, 2),
        {"stride": (2, 3), "padding": ((1, 1), (0, 0)), "rule": "explicit"},
    ),
    (
        {"kernel_size": (2, 3), "dilation": (3, 2), "padding": (2, 3)},
        (9, 10, 2),
        {"dilation": (3, 2), "padding": ((2, 2), (3, 3))},
    ),
    ({"kernel_size": 3, "groups": 2}, (6, 6, 4), {"groups": 2}),
    ({"kernel_size": 3, "groups": 4, "bias": False}, (6, 6, 4), {"groups": 4}),
    ({"kernel_size": 1, "stride": 2}, (6, 5, 2), {"size": (1, 1), "stride": (2, 2)}),
    ({"kernel_size": 2, "stride": 3}, (9, 10, 2), {"stride": (3, 3), "padding": ((0, 0), (0, 0))}),
]


@pytest.mark.parametrize(("options", "shape", "wanted"), CONVS)
def test_a_torch_convolution(
    options: dict[str, Any], shape: tuple[int, int, int], wanted: dict[str, Any]
) -> None:
    module = nn.Conv2d(shape[2], 8, **options)
    layer = torch_image(module)
    kernel = module.weight.detach().permute(2, 3, 1, 0).numpy()
    bias = None if module.bias is None else module.bias.detach().numpy()
    found = windows.conv(layer, shape, kernel, bias)
    assert found.kind == "conv"
    assert found.residual < 1e-12
    assert {name: getattr(found, name) for name in wanted} == wanted, found
    flipped = windows.conv(layer, shape, kernel[::-1, ::-1], bias)
    assert flipped.flipped == (kernel.shape[:2] != (1, 1))
    wrong = windows.conv(layer, shape, kernel * 1.001, bias)
    assert wrong.kind == "unknown"


@pytest.mark.parametrize(
    ("size", "pads"),
    [((8, 9), ((0, 1), (1, 1))), ((9, 8), ((1, 1), (0, 1)))],
)
def test_same_puts_the_odd_pixel_after(size: tuple[int, int], pads: Any) -> None:
    layer = keras.layers.Conv2D(5, 3, strides=2, padding="same", bias_initializer="ones")
    layer.build((None, *size, 2))
    kernel, bias = (np.asarray(v) for v in layer.weights)
    found = windows.conv(of_keras(layer), (*size, 2), kernel, bias)
    assert (found.rule, found.padding) == ("same", pads)
    assert found.residual < 1e-5


def test_same_lower_puts_it_before() -> None:
    own = nnx.Conv(1, 2, (4, 4), strides=2, padding="SAME_LOWER", rngs=nnx.Rngs(0))
    found = windows.conv(lambda x, _: np.asarray(own(x)), (8, 9, 1))
    assert (found.rule, found.padding) == ("same_lower", ((1, 1), (2, 1)))


def test_a_layer_for_one_size_says_so() -> None:
    torch_layer = torch_image(nn.Conv2d(1, 3, 3, stride=2, padding=1))

    def one_size(x: Array, training: bool) -> Array:
        assert x.shape[1:] == (6, 6, 1), "built for 6x6"
        return torch_layer(x, training)

    found = windows.conv(one_size, (6, 6, 1))
    assert (found.rule, found.padding) == ("one size", ((1, 0), (1, 0)))


POOLS: list[tuple[Layer, dict[str, Any]]] = [
    (torch_image(nn.MaxPool2d(2)), {"kind": "max_pool", "size": (2, 2), "stride": (2, 2)}),
    (
        torch_image(nn.MaxPool2d((3, 2), (2, 1), padding=1)),
        {"kind": "max_pool", "size": (3, 2), "stride": (2, 1), "padding": ((1, 1), (1, 1))},
    ),
    (
        torch_image(nn.AvgPool2d(3, 2, padding=1)),
        {"kind": "average_pool", "count_padding": True, "padding": ((1, 1), (1, 1))},
    ),
    (
        torch_image(nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)),
        {"kind": "average_pool", "count_padding": False},
    ),
    (torch_image(nn.AvgPool2d(2)), {"kind": "average_pool", "count_padding": None}),
    (
        of_keras(keras.layers.AveragePooling2D(3, padding="same")),
        {"kind": "average_pool", "count_padding": False, "rule": "same", "stride": (3, 3)},
    ),
    (
        lambda x, _: np.asarray(nnx.avg_pool(x, (3, 3), padding="SAME")),
        {"kind": "average_pool", "count_padding": True, "stride": (1, 1)},
    ),
    (torch_image(nn.LPPool2d(2, 2)), {"kind": "unknown"}),
]


@pytest.mark.parametrize(("layer", "wanted"), POOLS)
def test_a_pooling(layer: Layer, wanted: dict[str, Any]) -> None:
    found = windows.pool(layer, (10, 8, 2))
    assert {name: getattr(found, name) for name in wanted} == wanted, found


def test_torch_batch_norm() -> None:
    rng = generator(0, "batch_norm")
    module = nn.BatchNorm1d(4, eps=3e-4, momentum=0.3).double()
    start = {"mean": rng.normal(size=4), "variance": rng.uniform(0.5, 2, 4)}
    start |= {"scale": rng.normal(size=4), "offset": rng.normal(size=4)}
    names = {"running_mean": "mean", "running_var": "variance", "weight": "scale", "bias": "offset"}

    def run(x: Array, training: bool) -> Array:
        state = {key: torch.tensor(start[name]) for key, name in names.items()}
        module.load_state_dict(state, strict=False)
        module.train(training)
        return module(torch.tensor(x)).detach().numpy()

    def moved(x: Array) -> dict[str, Array]:
        run(x, True)
        return {"mean": module.running_mean.numpy(), "variance": module.running_var.numpy()}

    found = layers.batch_norm(run, start, moved)
    assert (found.epsilon, found.keep, found.unbiased) == (3e-4, 0.7, True)
    assert found.statistics == "batch"
    assert found.residual < 1e-10
    still = layers.batch_norm(lambda x, _: run(x, False), start)
    assert (still.epsilon, still.statistics, still.keep) == (3e-4, "running", None)


def test_keras_batch_norm_in_float32() -> None:
    layer = keras.layers.BatchNormalization(momentum=0.9)
    layer.build((None, 3))
    start = {
        "scale": np.ones(3),
        "offset": np.zeros(3),
        "mean": np.zeros(3),
        "variance": np.ones(3),
    }
    fresh = [value.numpy() for value in layer.weights]

    def run(x: Array, training: bool) -> Array:
        layer.set_weights(fresh)
        return of_keras(layer)(x, training)

    def moved(x: Array) -> dict[str, Array]:
        run(x, True)
        return {name: value.numpy() for name, value in zip(start, layer.weights, strict=True)}

    found = layers.batch_norm(run, start, moved)
    assert found.epsilon == pytest.approx(1e-3, rel=1e-3)
    assert (found.keep, found.unbiased, found.statistics) == (0.9, False, "batch")


def test_layer_norm() -> None:
    module = nn.LayerNorm(6, eps=2e-5).double()
    with torch.no_grad():
        module.weight[:] = torch.linspace(0.5, 2.0, 6)
        module.bias[:] = 0.3
    arrays = {"scale": module.weight.detach().numpy()}
    for shape in ((6,), (4, 6)):
        found = layers.layer_norm(lambda x, _: of_torch(module)(x), shape, arrays)
        assert (found.epsilon, found.axes, found.unbiased) == (2e-5, "last", False)
        assert found.residual < 1e-9
    whole = nn.LayerNorm((4, 6), eps=1e-4).double()
    found = layers.layer_norm(lambda x, _: of_torch(whole)(x), (4, 6))
    assert (found.epsilon, found.axes) == (1e-4, "all")

    def unbiased(x: Array, _: bool) -> Array:
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True, ddof=1) + 1e-3)

    found = layers.layer_norm(unbiased, (5,))
    assert (found.epsilon, found.unbiased) == (1e-3, True)


def test_dropout_rates_and_scalings() -> None:
    module = nn.Dropout(0.37)

    def inverted(x: Array, training: bool) -> Array:
        module.train(training)
        return module(torch.tensor(x)).numpy()

    found = layers.dropout(inverted)
    assert (found.rate, found.scaling) == (0.37, "training")
    rng = generator(0, "dropout")

    def old(x: Array, training: bool) -> Array:
        return x * (rng.random(x.shape) >= 0.2) if training else x * 0.8

    assert layers.dropout(old).rate == 0.2
    assert layers.dropout(old).scaling == "inference"
    assert layers.dropout(lambda x, t: old(x, True) if t else x).scaling == "none"
    off = layers.dropout(lambda x, t: old(x, True) * 2.0 if t else x)
    assert (off.rate, off.scaling) == (0.2, "unknown")
    assert layers.dropout(lambda x, _: x).rate == 0.0


def test_flatten_orders() -> None:
    x = generator(0, "flatten").normal(size=(2, 3, 4, 5))
    assert layers.flatten_order(x, x.reshape(2, -1)) == "height, width, channels"
    first = torch.tensor(x).permute(0, 3, 1, 2).flatten(1).numpy()
    assert layers.flatten_order(x, first) == "channels, height, width"
    assert layers.flatten_order(x, np.sort(first)) == "unknown"
