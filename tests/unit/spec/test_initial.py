"""Initial params: limits and variances measured, orthogonality, streams, and every complaint."""

from __future__ import annotations

import math

import numpy as np
import pytest

from triptych.spec import initial
from triptych.spec.fields import build
from triptych.spec.initial import DISTRIBUTIONS, Initial
from triptych.spec.layers import Conv, Dense, Flatten, Input, Parameter, ReLU
from triptych.spec.network import Network

KERNEL = Parameter((5, 3, 40, 60), fan_in=600, fan_out=900)
DENSE = Network.sequential(Input((300,)), Dense(200))


def drawn(name: str, item: Parameter = KERNEL, seed: int = 0) -> np.ndarray:
    return DISTRIBUTIONS[name](np.random.default_rng(seed), item)


def kernel(distribution, network: Network = DENSE, seed: int = 0) -> np.ndarray:
    return Initial(kernel=distribution).draw(network, seed)["dense1/kernel"]


VARIANCES = {
    "glorot_uniform": 2 / 1500,
    "glorot_normal": 2 / 1500,
    "he_uniform": 2 / 600,
    "he_normal": 2 / 600,
    "lecun_uniform": 1 / 600,
    "lecun_normal": 1 / 600,
    "fan_in_uniform": 1 / 1800,
}


@pytest.mark.parametrize("name", VARIANCES)
def test_variance_and_limit(name):
    values, variance = drawn(name), VARIANCES[name]
    assert values.shape == KERNEL.shape
    assert values.dtype == np.float64
    assert values.var() == pytest.approx(variance, rel=0.03)
    assert abs(values.mean()) < 4 * math.sqrt(variance / values.size)
    cut = math.sqrt(3) if name.endswith("uniform") else 2 / 0.8796256610342398
    limit = cut * math.sqrt(variance)
    assert 0.99 * limit < np.abs(values).max() <= limit


def test_the_cut_normals_deviation_is_computed_right():
    density = math.exp(-2.0) / math.sqrt(2 * math.pi)
    inside = math.erf(math.sqrt(2.0))
    assert math.sqrt(1 - 2 * 2 * density / inside) == pytest.approx(initial._CUT, abs=1e-15)


def test_names_known_cover_the_test():
    assert set(DISTRIBUTIONS) == {*VARIANCES, "zeros", "ones", "orthogonal"}
    assert not drawn("zeros").any()
    assert (drawn("ones") == 1).all()


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6), (3, 2, 4, 10), (3, 3, 4, 50), (9,)])
def test_orthogonal(shape):
    flat = drawn("orthogonal", Parameter(shape)).reshape(-1, shape[-1])
    small = flat.T @ flat if flat.shape[0] >= flat.shape[1] else flat @ flat.T
    np.testing.assert_allclose(small, np.eye(min(flat.shape)), atol=1e-13)


def test_orthogonal_is_uniform_over_signs():
    corners = [drawn("orthogonal", Parameter((3, 3)), seed)[0, 0] for seed in range(400)]
    assert abs(np.mean(np.sign(corners))) < 0.2


def test_distributions_with_a_number():
    uniform = kernel(("uniform", 0.05))
    assert 0.0499 < np.abs(uniform).max() <= 0.05
    assert uniform.var() == pytest.approx(0.05**2 / 3, rel=0.03)
    normal = kernel(("normal", 0.01))
    assert normal.std() == pytest.approx(0.01, rel=0.02)
    assert np.abs(normal).max() > 0.03, "not cut"
    assert (kernel(("constant", -0.5)) == -0.5).all()
    np.testing.assert_array_equal(kernel({"uniform": 0.05}), uniform)


def test_each_kind_of_parameter_has_its_own_distribution():
    network = Network.sequential(Input((4, 4, 2)), Conv(3, (2, 2)), ReLU(), Flatten(), Dense(2))
    found = Initial(bias=("constant", 0.3)).draw(network, 1)
    assert list(found) == list(network.parameters)
    assert all(found[name].shape == item.shape for name, item in network.parameters.items())
    assert (found["conv1/bias"] == 0.3).all()
    assert found["conv1/kernel"].std() > 0
    assert Initial().factors() == {
        "kernel": "glorot_uniform",
        "bias": "zeros",
        "scale": "ones",
        "offset": "zeros",
        "mean": "zeros",
        "variance": "ones",
        "recurrent": "orthogonal",
        "forget_bias": "zeros",
    }


def test_streams_are_deterministic_and_independent_of_other_layers():
    short = Network.sequential(Input((8,)), Dense(4), Dense(4), Dense(4))
    long = Network.sequential(Input((8,)), Dense(4), Dense(4), Dense(4), ReLU(), Dense(9))
    one, again = Initial().draw(short, 3), Initial().draw(short, 3)
    other, more = Initial().draw(short, 4), Initial().draw(long, 3)
    for name in ("dense1/kernel", "dense2/kernel", "dense3/kernel"):
        np.testing.assert_array_equal(one[name], again[name])
        np.testing.assert_array_equal(one[name], more[name])
        assert not np.array_equal(one[name], other[name])
    assert not np.array_equal(one["dense2/kernel"], one["dense3/kernel"])
    biased = Initial(bias=("normal", 1.0)).draw(short, 3)
    np.testing.assert_array_equal(biased["dense2/kernel"], one["dense2/kernel"])


def test_drawn_values_stay_what_they_are():
    """Published runs start from these: a change of streams or formulas must be seen."""
    found = kernel("glorot_uniform", Network.sequential(Input((3,)), Dense(2)), seed=7)
    expected = [-0.440029638568158, -0.6826194070880931, 0.13790739061510737]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-15)


def read(**data):
    mistakes: list[str] = []
    return build(Initial, data, "initial", mistakes), mistakes


def test_reading_is_hashable():
    found, mistakes = read(kernel={"uniform": "5e-2"}, bias={"constant": -1})
    assert mistakes == []
    assert found == Initial(kernel=("uniform", 0.05), bias=("constant", -1.0))
    assert hash(found) == hash(Initial(kernel=("uniform", 0.05), bias=("constant", -1.0)))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("glorot_unifrm", "(did you mean 'glorot_uniform'?)"),
        ("uniform", "uniform needs a number; write for example {uniform: 0.05}"),
        (5, "unknown initialiser 5; known are zeros, ones, glorot_uniform,"),
        (None, "unknown initialiser None; known are"),
        ([], "unknown initialiser []; known are"),
        ({}, "unknown initialiser {}; known are"),
        ({"unifrom": 0.1}, "unknown initialiser {'unifrom': 0.1}; known are"),
        ({"uniform": 1, "normal": 1}, "unknown initialiser"),
        ({"uniform": -0.1}, "uniform needs a number of at least 0 but found -0.1"),
        ({"normal": True}, "expected a finite number but found True"),
        ({"normal": float("nan")}, "expected a finite number but found nan"),
        ({"normal": 10**400}, "expected a finite number but found 1000"),
        ({"constant": [1]}, "expected a finite number but found [1]"),
    ],
)
def test_what_is_no_distribution(value, says):
    found, mistakes = read(kernel=value)
    assert found is None
    (sentence,) = mistakes
    assert sentence.startswith("initial.kernel: ")
    assert says in sentence


def test_unknown_kinds_of_parameter():
    assert read(kernal="zeros")[1] == ["initial.kernal: unknown option (did you mean 'kernel'?)"]
