"""Inferred sizes against PyTorch's real ones and against arithmetic by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from triptych.errors import NetworkError
from triptych.spec.layers import (
    LAYERS,
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Concatenate,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Dueling,
    Embedding,
    Flatten,
    Input,
    LayerNorm,
    LeakyReLU,
    MaxPool,
    Multiply,
    Pad,
    Parameter,
    Permute,
    Rescale,
    Reshape,
)
from triptych.spec.layers.convolution import same_amounts

few = settings(max_examples=60, deadline=None, derandomize=True)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


sizes, kernels, steps = pairs(1, 12), pairs(1, 4), pairs(1, 3)
explicit = st.tuples(pairs(0, 3), pairs(0, 3))
paddings = st.one_of(st.just("valid"), st.just("same"), explicit)


def torch_pad(pad) -> list[int]:
    return [*pad[1], *pad[0]]


@few
@given(sizes, kernels, steps, kernels, paddings, st.sampled_from([(1, 2, 3), (2, 4, 6), (3, 3, 3)]))
def test_conv_has_torchs_size_and_work(size, kernel, stride, dilation, padding, grouping):
    groups, channels, filters = grouping
    layer = Conv(filters, kernel, stride, padding, dilation, groups)
    channels = channels if channels % groups == 0 else groups
    assume(filters % groups == 0)
    shape = (*size, channels)
    weight = torch.zeros(filters, channels // groups, *kernel)
    padded = F.pad(torch.zeros(1, channels, *size), torch_pad(layer.pixels(shape)))
    try:
        real = F.conv2d(padded, weight, stride=stride, dilation=dilation, groups=groups)
    except RuntimeError:
        with pytest.raises(NetworkError, match="does not fit"):
            layer.shape(shape)
        return
    assert layer.shape(shape) == (*real.shape[2:], filters)
    kernel_size = math.prod(kernel) * channels // groups * filters
    assert layer.multiply_adds(shape) == math.prod(real.shape[2:]) * kernel_size
    assert layer.parameters(shape)["kernel"].shape == (*kernel, channels // groups, filters)


@few
@given(sizes, kernels, steps, kernels)
def test_same_padding_is_tensorflows_rule(size, kernel, stride, dilation):
    layer = Conv(2, kernel, stride, "same", dilation)
    assert layer.shape((*size, 1))[:2] == tuple(
        math.ceil(s / t) for s, t in zip(size, stride, strict=True)
    )
    for before, after in layer.pixels((*size, 1)):
        assert after - before in (0, 1)


def test_same_padding_known_cases():
    assert same_amounts(5, 3, 1) == (1, 1)
    assert same_amounts(5, 4, 1) == (1, 2)
    assert same_amounts(6, 3, 2) == (0, 1)
    assert same_amounts(7, 3, 2) == (1, 1)
    assert same_amounts(5, 1, 3) == (0, 0)


@few
@given(sizes, kernels, steps, kernels, paddings)
def test_conv_transpose_has_torchs_size(size, kernel, stride, dilation, padding):
    layer = ConvTranspose(3, kernel, stride, padding, dilation)
    full = F.conv_transpose2d(
        torch.zeros(1, 2, *size), torch.zeros(2, 3, *kernel), stride=stride, dilation=dilation
    )
    cut = [-pixels for pixels in torch_pad(layer.crop())]
    out = [full.shape[2] + cut[2] + cut[3], full.shape[3] + cut[0] + cut[1]]
    if min(out) < 1:
        with pytest.raises(NetworkError, match="below 1; crop less"):
            layer.shape((*size, 2))
        return
    assert layer.shape((*size, 2)) == (*F.pad(full, cut).shape[2:], 3)
    assert layer.multiply_adds((*size, 2)) == math.prod(size) * math.prod(kernel) * 2 * 3
    if padding == "same":
        assert out == [size[0] * stride[0], size[1] * stride[1]]


@few
@given(sizes, kernels, steps, paddings, st.sampled_from([MaxPool, AveragePool]))
def test_pool_has_torchs_size_and_no_empty_window(size, window, stride, padding, kind):
    layer, shape = kind(window, stride, padding), (*size, 2)
    if isinstance(padding, tuple) and any(
        max(p) >= w for p, w in zip(padding, window, strict=True)
    ):
        with pytest.raises(NetworkError, match="smaller than the window"):
            layer.shape(shape)
        return
    inside = F.pad(torch.ones(1, 2, *size), torch_pad(layer.pixels(shape)))
    try:
        real = F.max_pool2d(inside, window, stride)
    except RuntimeError:
        with pytest.raises(NetworkError, match="does not fit"):
            layer.shape(shape)
        return
    assert layer.shape(shape) == (*real.shape[2:], 2)
    assert (real == 1).all(), "a window lies wholly in the padding"


@pytest.mark.parametrize(
    ("layer", "inputs", "output"),
    [
        (Dense(7), ((5,),), (7,)),
        (Dense(7), ((4, 3, 5),), (4, 3, 7)),
        (Flatten(), ((4, 3, 5),), (60,)),
        (Flatten(), ((6,),), (6,)),
        (Embedding(10, 4), ((3,),), (3, 4)),
        (Dropout(0.2), ((4, 3, 5),), (4, 3, 5)),
        (Rescale(1 / 255), ((4, 3, 5),), (4, 3, 5)),
        (BatchNorm(), ((4, 3, 5),), (4, 3, 5)),
        (LayerNorm(), ((5,),), (5,)),
        (Add(), ((4, 3), (4, 3), (4, 3)), (4, 3)),
        (Concatenate(), ((4, 3), (4, 5), (4, 1)), (4, 9)),
        (Dueling(), ((1,), (6,)), (6,)),
        (Multiply(), ((4, 3), (4, 3), (4, 3)), (4, 3)),
        (Multiply(), ((1, 1, 5), (4, 3, 5)), (4, 3, 5)),
        (Multiply(), ((4, 1), (1, 3)), (4, 3)),
        (Reshape((2, 6)), ((4, 3),), (2, 6)),
        (Reshape((12,)), ((4, 3),), (12,)),
        (Permute((1, 0)), ((4, 3),), (3, 4)),
        (Permute((2, 0, 1)), ((4, 3, 5),), (5, 4, 3)),
        (Permute((0,)), ((7,),), (7,)),
        (Pad(((1, 0), (2, 3))), ((4, 3, 5),), (5, 8, 5)),
    ],
)
def test_other_layers(layer, inputs, output):
    assert layer.shape(*inputs) == output


@pytest.mark.parametrize("kind", [k for k, v in LAYERS.items() if issubclass(v, Activation)])
def test_activations_keep_the_shape_and_have_no_parameters(kind):
    layer = LAYERS[kind]()
    assert layer.shape((4, 3, 5)) == (4, 3, 5)
    assert layer.parameters((4, 3, 5)) == {}
    assert layer.multiply_adds((4, 3, 5)) == 0


def test_parameters_of_each_layer():
    fans = {"fan_in": 27, "fan_out": 63}
    found = Conv(7, (3, 3)).parameters((9, 9, 3))
    assert found == {"kernel": Parameter((3, 3, 3, 7), **fans), "bias": Parameter((7,), **fans)}
    grouped = Conv(6, (1, 3), groups=3).parameters((9, 9, 3))["kernel"]
    assert (grouped.shape, grouped.fan_in, grouped.fan_out) == ((1, 3, 1, 6), 3, 6)
    assert set(Conv(7, (3, 3), bias=False).parameters((9, 9, 3))) == {"kernel"}
    assert ConvTranspose(7, (3, 2)).parameters((9, 9, 4))["kernel"].shape == (3, 2, 4, 7)
    assert Dense(7).parameters((5,))["kernel"] == Parameter((5, 7), 5, 7)
    assert Dense(7).multiply_adds((2, 5)) == 70
    assert Embedding(10, 4).parameters((3,))["kernel"].shape == (10, 4)
    norm = BatchNorm().parameters((4, 3, 5))
    assert {name: item.trainable for name, item in norm.items()} == {
        "scale": True,
        "offset": True,
        "mean": False,
        "variance": False,
    }
    assert all(item.shape == (5,) for item in norm.values())
    assert set(LayerNorm().parameters((5,))) == {"scale", "offset"}
    assert Parameter((3, 4, 5)).size == 60


@pytest.mark.parametrize(
    ("layer", "inputs", "says"),
    [
        (Conv(4, (3, 3)), ((10,),), "takes \\(height, width, channels\\) but its input is 10"),
        (Conv(0, (3, 3)), ((9, 9, 1),), "filters and groups must be 1 or more"),
        (Conv(4, (0, 3)), ((9, 9, 1),), "must be 1 or more"),
        (Conv(4, (3, 3), (0, 1)), ((9, 9, 1),), "must be 1 or more"),
        (Conv(4, (3, 3), padding=((0, -1), (0, 0))), ((9, 9, 1),), "must not be negative"),
        (Conv(4, (3, 3), groups=2), ((9, 9, 3),), "groups 2 must divide both the 3 input channels"),
        (Conv(4, (3, 4)), ((9, 3, 1),), r"width 3 \+ padding 0 = 3 is smaller than the window of"),
        (ConvTranspose(4, (1, 1), padding=((1, 1), (0, 0))), ((2, 2, 1),), "= 0 is below 1"),
        (ConvTranspose(0, (1, 1)), ((2, 2, 1),), "filters must be 1 or more"),
        (MaxPool((2, 2), (2, 2)), ((9, 9),), "takes \\(height, width, channels\\)"),
        (Dense(0), ((5,),), "units must be 1 or more"),
        (Dropout(1.0), ((5,),), r"must be in \[0, 1\)"),
        (Embedding(0, 3), ((5,),), "must be 1 or more"),
        (Input((3, 0)), (), "must be 1 or more, got 3x0"),
        (Input(()), (), "must be 1 or more"),
        (Add(), ((3,), (4,)), "add takes equal shapes but got 3, 4"),
        (Concatenate(), ((2, 3), (3, 3)), "differ in the last axis only but got 2x3, 3x3"),
        (Dueling(), ((2,), (6,)), "value 1 and advantage"),
        (Multiply(), ((2, 3), (2, 4)), "equal or 1 along every axis but got 2x3, 2x4"),
        (Multiply(), ((2, 3), (3,)), "equal or 1 along every axis but got 2x3, 3"),
        (Reshape((2, 5)), ((4, 3),), "reshape 2x5 holds 10 numbers but its input 4x3 has 12"),
        (Reshape(()), ((1,),), r"reshape \(\) holds"),
        (Reshape((-3, -4)), ((4, 3),), "reshape -3x-4 holds"),
        (Permute((1, 0)), ((4, 3, 5),), "permute 1,0 must name each of the 3 axes of its input"),
        (Permute((0, 0)), ((4, 3),), "must name each of the 2 axes of its input 4x3 once"),
        (Permute((1, 2)), ((4, 3),), "counted from 0 without the batch"),
        (Pad(((1, 0), (2, 3))), ((4, 3),), "pad takes .height, width, channels."),
        (Pad(((1, 0), (-1, 3))), ((4, 3, 5),), "amounts must be 0 or more"),
    ],
)
def test_sizes_that_do_not_fit(layer, inputs, says):
    with pytest.raises(NetworkError, match=says):
        layer.shape(*inputs)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LeakyReLU(math.nan), "leaky_relu: slope must be finite but is nan"),
        (lambda: Rescale(math.inf), "scale must be finite"),
        (lambda: BatchNorm(epsilon=0.0), "batch_norm: epsilon must be above 0"),
        (lambda: LayerNorm(epsilon=-1e-5), "layer_norm: epsilon must be above 0"),
        (lambda: BatchNorm(keep=1.1), "keep must be from 0 to 1"),
        (lambda: BatchNorm(keep=math.nan), "keep must be finite"),
    ],
)
def test_constants_that_make_no_sense(make, says):
    with pytest.raises(NetworkError, match=says):
        make()


def test_factors_hold_the_padding_in_pixels():
    assert Conv(4, (3, 3), (2, 2), "same").factors((6, 7, 1))["padding"] == ((0, 1), (1, 1))
    assert MaxPool((3, 3), (2, 2), "same").factors((6, 7, 1))["padding"] == ((0, 1), (1, 1))
    assert ConvTranspose(4, (4, 3), (2, 2), "same").factors((6, 7, 1))["padding"] == (
        (1, 1),
        (0, 1),
    )
