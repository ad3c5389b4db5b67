"""The oracle's layers against plain loops, its gradients against derivatives in closed form."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest

from triptych.backends import registry
from triptych.backends._numpy import rules
from triptych.backends._numpy.layers import FORWARD
from triptych.backends._numpy.model import run
from triptych.backends.protocol import Evaluation
from triptych.errors import Unsupported
from triptych.spec import layers as spec
from triptych.spec.network import Network
from triptych.spec.notation import parse
from triptych.spec.rules import SGD, Rule, constant

ORACLE = registry.get("numpy")
RNG = np.random.default_rng(0)


def forward(layer: Any, *inputs: np.ndarray, **arrays: np.ndarray) -> np.ndarray:
    return FORWARD[layer.kind](layer, arrays, list(inputs))


class Loss:
    """An objective from a function of (xp, outputs, batch)."""

    def __init__(self, function: Any, *evaluations: Evaluation) -> None:
        self.function, self.evaluations = function, evaluations or (Evaluation("y"),)

    def loss(self, xp: Any, outputs: Any, batch: Any) -> Any:
        return self.function(xp, outputs, batch)


def learner(notation: Any, loss: Any = None, rule: Rule | None = None, **options: Any) -> Any:
    network = parse(notation)
    draw = np.random.default_rng(1)
    params = {n: draw.normal(size=p.shape) for n, p in network.parameters.items()}
    params |= {n: np.abs(p) + 0.5 for n, p in params.items() if n.endswith("variance")}
    return ORACLE.learner(network, params, objective=loss, rule=rule, dtype="float64", **options)


# --- layers ----------------------------------------------------------------------------------


def looped_conv(x: np.ndarray, kernel: np.ndarray, layer: spec.Conv, pad: Any) -> np.ndarray:
    """The spec's sum, one scalar at a time."""
    size = x.shape[1:3]
    height, width, depth, filters = kernel.shape
    (top, bottom), (left, right) = pad
    rows = (size[0] + top + bottom - layer.dilation[0] * (height - 1) - 1) // layer.stride[0] + 1
    columns = (size[1] + left + right - layer.dilation[1] * (width - 1) - 1) // layer.stride[1] + 1
    y = np.zeros((len(x), rows, columns, filters))
    for n, i, j, o in itertools.product(*map(range, y.shape)):
        group = o // (filters // layer.groups)
        for a, b, c in itertools.product(range(height), range(width), range(depth)):
            row = i * layer.stride[0] + a * layer.dilation[0] - top
            column = j * layer.stride[1] + b * layer.dilation[1] - left
            if 0 <= row < size[0] and 0 <= column < size[1]:
                y[n, i, j, o] += x[n, row, column, group * depth + c] * kernel[a, b, c, o]
    return y


@pytest.mark.parametrize(
    ("layer", "pad"),
    [
        (spec.Conv(4, (3, 2)), ((0, 0), (0, 0))),
        (spec.Conv(4, (3, 2), (2, 3), ((1, 0), (0, 2))), ((1, 0), (0, 2))),
        # 7 rows, stride 2 -> 4 rows: 3 * 2 + 3 - 7 = 2; 6 columns, stride 2 -> 3: 4 + 2 - 6 = 0
        (spec.Conv(4, (3, 2), (2, 2), "same"), ((1, 1), (0, 0))),
        # 7 rows, span 4: 7 - 1 + 4 - 7 = 3, the odd one at the bottom; columns: 6 - 1 + 3 - 6 = 2
        (spec.Conv(2, (4, 2), (1, 1), "same", (1, 2)), ((1, 2), (1, 1))),
        (spec.Conv(6, (2, 3), (2, 1), "valid", (2, 1), groups=2), ((0, 0), (0, 0))),
    ],
)
def test_conv_is_the_sum_of_the_spec(layer: spec.Conv, pad: Any) -> None:
    x = RNG.normal(size=(2, 7, 6, 4))
    kernel = RNG.normal(size=(*layer.kernel, 4 // layer.groups, layer.filters))
    bias = RNG.normal(size=layer.filters)
    got = forward(layer, x, kernel=kernel, bias=bias)
    np.testing.assert_allclose(got, looped_conv(x, kernel, layer, pad) + bias, rtol=1e-12)
    assert got.shape[1:] == layer.shape(x.shape[1:])


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("padding", ["valid", ((1, 0), (0, 2))])
def test_conv_transpose_is_the_adjoint_of_conv(stride: Any, dilation: Any, padding: Any) -> None:
    """<conv(x), y> = <x, conv_transpose(y)> where the convolution covers x exactly."""
    transposed = spec.ConvTranspose(3, (3, 2), stride, padding, dilation, bias=False)
    conv = spec.Conv(5, (3, 2), stride, padding, dilation, bias=False)
    y = RNG.normal(size=(2, 3, 4, 5))
    x = RNG.normal(size=(2, *transposed.shape(y.shape[1:])))
    kernel = RNG.normal(size=(3, 2, 3, 5))
    left = np.sum(forward(conv, x, kernel=kernel) * y)
    right = np.sum(x * forward(transposed, y, kernel=kernel.transpose(0, 1, 3, 2)))
    assert left == pytest.approx(right, rel=1e-12)


def test_conv_transpose_same_crops_the_end_and_fills_the_end() -> None:
    x = np.array([1.0, 10.0]).reshape(1, 1, 2, 1)
    wide = spec.ConvTranspose(1, (1, 3), (1, 2), "same", bias=False)
    kernel = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    # full: 1 2 3+10 20 30; span 3 - stride 2 = 1 pixel off the end
    assert forward(wide, x, kernel=kernel).ravel().tolist() == [1.0, 2.0, 13.0, 20.0]
    narrow = spec.ConvTranspose(1, (1, 1), (1, 3), "same")
    got = forward(narrow, x, kernel=np.full((1, 1, 1, 1), 2.0), bias=np.array([0.5]))
    assert got.ravel().tolist() == [2.5, 0.5, 0.5, 20.5, 0.5, 0.5]


def test_pooling_by_hand() -> None:
    x = np.array([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]]).reshape(1, 2, 3, 1)
    most = spec.MaxPool((2, 2), (1, 2), "same")
    assert forward(most, x).ravel().tolist() == [-1.0, -3.0, -4.0, -6.0]
    own = spec.AveragePool((2, 2), (2, 2), ((0, 0), (1, 0)))
    assert forward(own, x).ravel().tolist() == [-2.5, -4.0]
    counted = spec.AveragePool((2, 2), (2, 2), ((0, 0), (1, 0)), count_padding=True)
    assert forward(counted, x).ravel().tolist() == [-1.25, -4.0]


def test_batch_norm_in_both_modes_by_hand() -> None:
    network = parse("1 -> batch_norm epsilon 0.25 keep 0.5 unbiased")
    arrays = {"scale": 2.0, "offset": 1.0, "mean": 3.0, "variance": 3.75}
    named = {f"batch_norm1/{key}": np.array([value]) for key, value in arrays.items()}
    x = np.array([[1.0], [4.0]])
    still, nothing = run(network, named, x)
    assert still["batch_norm1"].ravel().tolist() == [-1.0, 2.0] and not nothing
    values, moved = run(network, named, x, training=True)
    expected = np.array([-1.5, 1.5]) / math.sqrt(2.5) * 2.0 + 1.0
    np.testing.assert_allclose(values["batch_norm1"].ravel(), expected, rtol=1e-15)
    assert moved["batch_norm1/mean"].tolist() == [0.5 * 3.0 + 0.5 * 2.5]
    assert moved["batch_norm1/variance"].tolist() == [0.5 * 3.75 + 0.5 * 2.25 * 2.0]
    assert named["batch_norm1/mean"].tolist() == [3.0]


def test_layer_norm_dueling_flatten_embedding_by_hand() -> None:
    norm = forward(
        spec.LayerNorm(epsilon=1.0), np.array([[1.0, 5.0]]), scale=np.ones(2), offset=np.zeros(2)
    )
    np.testing.assert_allclose(norm, [[-2.0 / math.sqrt(5.0), 2.0 / math.sqrt(5.0)]], rtol=1e-15)
    dueling = forward(spec.Dueling(), np.array([[10.0]]), np.array([[1.0, 2.0, 6.0]]))
    assert dueling.tolist() == [[8.0, 9.0, 13.0]]
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    assert forward(spec.Flatten(), x).ravel().tolist() == list(range(12))
    rows = forward(spec.Embedding(3, 2), np.array([[2, 0]]), kernel=np.arange(6.0).reshape(3, 2))
    assert rows.tolist() == [[[4.0, 5.0], [0.0, 1.0]]]


def test_dropout_masks_in_training_only() -> None:
    network = parse("3 -> dropout 0.75")
    x, mask = np.array([[1.0, 2.0, 3.0]]), np.array([[True, False, True]])
    masks = {"mask/dropout1": mask}
    assert run(network, {}, x, True, masks)[0]["dropout1"].tolist() == [[4.0, 0.0, 12.0]]
    assert run(network, {}, x, False, masks)[0]["dropout1"].tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("text", "x", "expected"),
    [
        ("relu6", 7.0, 6.0),
        ("leaky_relu slope 0.5", -4.0, -2.0),
        ("elu alpha 2", -1.0, 2.0 * (math.exp(-1.0) - 1.0)),
        ("selu", -1.0, 1.0507009873554805 * 1.6732632423543772 * (math.exp(-1.0) - 1.0)),
        ("gelu", 1.0, 0.8413447460685429),
        ("gelu approximate", 1.0, 0.8411919906082768),
        ("silu", -2.0, -2.0 / (1.0 + math.exp(2.0))),
        ("sigmoid", -800.0, 0.0),
        ("sigmoid", 2.0, 1.0 / (1.0 + math.exp(-2.0))),
        ("hard_sigmoid", 1.5, 0.75),
        ("tanh", 0.5, math.tanh(0.5)),
        ("softplus", 900.0, 900.0),
        ("softplus", -1.0, math.log(1.0 + math.exp(-1.0))),
    ],
)
def test_activations_by_hand(text: str, x: float, expected: float) -> None:
    (node,) = parse(f"1 -> {text}").nodes[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = forward(node.layer, np.array([[x]]))
    assert got.item() == pytest.approx(expected, rel=1e-15, abs=1e-300)


def test_softmaxes_survive_large_numbers() -> None:
    x = np.array([[1000.0, 1000.0 + math.log(3.0)]])
    np.testing.assert_allclose(forward(spec.Softmax(), x), [[0.25, 0.75]], rtol=1e-12)
    logs = forward(spec.LogSoftmax(), x)
    np.testing.assert_allclose(logs, np.log([[0.25, 0.75]]), rtol=1e-12)


# --- gradients -------------------------------------------------------------------------------


def squares(xp: Any, outputs: Any, batch: Any) -> Any:
    return xp.mean(xp.sum(xp.square(outputs["y"] - batch["target"]), axis=1))


def test_gradient_of_least_squares_to_nine_digits() -> None:
    one = learner("3 -> dense 2", Loss(squares))
    x, target = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 2))
    params = one.params()
    error = x @ params["dense1/kernel"] + params["dense1/bias"] - target
    got = one.gradients({"observation": x, "target": target})
    np.testing.assert_allclose(got["dense1/kernel"], 2.0 / 5.0 * x.T @ error, rtol=1e-9)
    np.testing.assert_allclose(got["dense1/bias"], 2.0 / 5.0 * error.sum(0), rtol=1e-9)


def test_gradient_through_curvature_to_nine_digits() -> None:
    one = learner("2 -> dense 3 tanh -> dense 1", Loss(lambda xp, o, b: xp.sum(o["y"])))
    x = RNG.normal(size=(4, 2))
    params = one.params()
    hidden = np.tanh(x @ params["dense1/kernel"] + params["dense1/bias"])
    slope = (1.0 - hidden**2) * params["dense2/kernel"].T
    got = one.gradients({"observation": x})
    np.testing.assert_allclose(got["dense1/kernel"], x.T @ slope, rtol=1e-9)
    np.testing.assert_allclose(got["dense2/kernel"], hidden.sum(0)[:, None], rtol=1e-9)


@pytest.mark.parametrize("distance", [1e-3, 1.5e-4, 5e-5, 7e-6])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_gradient_beside_a_corner_is_that_of_its_side(distance: float, side: float) -> None:
    one = learner("1 -> dense 1 relu", Loss(lambda xp, o, b: xp.sum(o["y"])))
    one.load_params({"dense1/kernel": np.array([[1.0]]), "dense1/bias": np.array([-1.0])})
    got = one.gradients({"observation": np.array([[1.0 + side * distance]])})
    assert got["dense1/bias"].item() == pytest.approx(float(side > 0), abs=1e-8)


def test_stop_gradient_holds_every_call_at_the_unperturbed_point() -> None:
    def loss(xp: Any, outputs: Any, batch: Any) -> Any:
        y = outputs["y"]
        return xp.sum(y * xp.stop_gradient(xp.square(y)) + 3.0 * xp.stop_gradient(y) * y)

    one = learner("1 -> dense 1", Loss(loss))
    x = np.array([[1.0], [2.0]])
    y = one.outputs(x)
    got = one.gradients({"observation": x})["dense1/bias"].item()
    assert got == pytest.approx(float((y**2 + 3.0 * y).sum()), rel=1e-9)
    assert one.loss({"observation": x}) == pytest.approx(float((y**3 + 3.0 * y**2).sum()))


def test_evaluations_without_gradient_are_constants_in_inference_mode() -> None:
    def loss(xp: Any, outputs: Any, batch: Any) -> Any:
        return xp.sum(outputs["y"] * outputs["same"] * outputs["old"])

    asked = (
        Evaluation("y"),
        Evaluation("same", gradient=False),
        Evaluation("old", network="target", gradient=False),
    )
    one = learner("2 -> dense 1 -> dropout 0.5", Loss(loss, *asked), target=True, seed=3)
    one.load_params({n: 2.0 * p for n, p in one.params().items()}, "target")
    x = RNG.normal(size=(6, 2))
    mask = one.layer_outputs(x, training=True)["dropout1"] / one.outputs(x)
    assert set(mask.ravel()) == {0.0, 2.0}
    expected = (mask * one.outputs(x) * one.outputs(x, "target")).sum()
    got = one.gradients({"observation": x})["dense1/bias"].item()
    assert got == pytest.approx(float(expected), rel=1e-9)


def test_update_is_the_rule_on_the_gradients() -> None:
    rule = SGD(constant(0.5), momentum=0.9)
    one = learner("3 -> dense 2 -> batch_norm", Loss(squares), rule)
    batch = {"observation": RNG.normal(size=(5, 3)), "target": RNG.normal(size=(5, 2))}
    before, grads = one.params(), one.gradients(batch)
    expected, slots = rules.apply(
        rule,
        0,
        0.5,
        {n: before[n] for n in one.network.trainable},
        grads,
        rules.start(rule, grads),
    )
    assert one.update(batch) == pytest.approx(one_loss(before, batch), rel=1e-12)
    after = one.params()
    for name in one.network.trainable:
        assert np.array_equal(after[name], expected[name])
    assert np.array_equal(
        one.slots().values["momentum"]["dense1/bias"], slots["momentum"]["dense1/bias"]
    )
    assert not np.array_equal(after["batch_norm1/mean"], before["batch_norm1/mean"])


def one_loss(params: Any, batch: Any) -> float:
    y = batch["observation"] @ params["dense1/kernel"] + params["dense1/bias"]
    scaled = (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-3)
    y = scaled * params["batch_norm1/scale"] + params["batch_norm1/offset"]
    return float(np.square(y - batch["target"]).sum(1).mean())


# --- refusals --------------------------------------------------------------------------------


def test_large_networks_have_losses_but_no_gradients() -> None:
    one = learner("60 -> dense 40", Loss(lambda xp, o, b: xp.mean(o["y"])), SGD(constant(0.1)))
    batch = {"observation": np.ones((2, 60))}
    assert math.isfinite(one.loss(batch))
    before = one.params()
    for attempt in (one.gradients, one.update):
        with pytest.raises(Unsupported, match=r"finite differences.*2,440.*2,000"):
            attempt(batch)
    one.apply_gradients(before)
    np.testing.assert_allclose(one.params()["dense1/bias"], 0.9 * before["dense1/bias"], rtol=1e-15)


def test_float32_and_gradients_through_the_target_are_refused() -> None:
    network = parse("2 -> dense 1")
    params = {n: np.zeros(p.shape) for n, p in network.parameters.items()}
    with pytest.raises(Unsupported, match="float64 only"):
        ORACLE.learner(network, params, dtype="float32")
    with pytest.raises(ValueError, match="no gradient flows through it"):
        Evaluation("y", "target")


def test_unknown_layers_are_refused() -> None:
    class Odd(spec.Layer):
        kind = "odd"

    from triptych.spec.network import Node

    network = Network((Node("input", spec.Input((2,))), Node("odd1", Odd(), ("input",))))
    with pytest.raises(Unsupported, match="no layer 'odd'"):
        ORACLE.learner(network, {}, dtype="float64")
