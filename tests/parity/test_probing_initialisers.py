"""Distributions named from drawn values: every one of the spec, and what frameworks draw."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from triptych.parity.probing.initialisers import Found, identify
from triptych.spec.initial import DISTRIBUTIONS, SIZED, Draw
from triptych.spec.layers import Parameter
from triptych.spec.randomness import generator


def truncated(rng: np.random.Generator, item: Parameter) -> np.ndarray:
    """Normal cut at two standard deviations of 0.05, not rescaled: what Keras calls truncated."""
    values = rng.standard_normal(item.shape)
    while (outside := np.abs(values) > 2.0).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return values * 0.05


DRAWS: dict[str, Draw] = DISTRIBUTIONS | {
    "uniform 0.05": SIZED["uniform"](0.05),
    "normal 0.02": SIZED["normal"](0.02),
    "constant 0.3": SIZED["constant"](0.3),
    "truncated 0.05": truncated,
}
SEEDS = 200


def drawn(name: str, seed: int) -> tuple[Parameter, np.ndarray]:
    """An array of 100 to 20,000 values in float32, of a shape that the seed decides."""
    rng = generator(seed, f"size/{name}")
    count = math.exp(rng.uniform(math.log(100), math.log(20_000)))
    fan_in = int(rng.integers(5, 200))
    item = Parameter((fan_in, max(1, round(count / fan_in))), fan_in, max(1, round(count / fan_in)))
    return item, DRAWS[name](generator(seed, f"init/{name}"), item).astype(np.float32)


def honest(found: Found, name: str) -> bool:
    """Whether an answer that doesn't name the truth says that it can't: with the truth in it."""
    kind, _, number = name.partition(" ")
    fits = [text.replace("about ", "").partition(" ") for text in found.alternatives]
    same = [n for k, _, n in fits if k == kind]
    close = [n for n in same if number and abs(float(n) / float(number) - 1.0) < 0.35]
    return (found.rough or found.name == "not told apart") and bool(close if number else same)


@pytest.mark.parametrize("name", DRAWS)
def test_every_distribution_is_named_from_200_seeds(name: str) -> None:
    told = 0
    for seed in range(SEEDS):
        item, values = drawn(name, seed)
        found = identify(values, item)
        right = found.told and not found.rough and name in found.alternatives
        assert right or honest(found, name), (seed, item, found)
        told += right
        if values.size > 4_000 and item.fan_out > 20:
            assert right or len(found.alternatives) > 1, (seed, item, found)
    assert told > SEEDS * 0.4


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "fan_in_uniform"])
def test_a_scale_that_is_three_percent_off_has_no_name(name: str) -> None:
    item = Parameter((100, 150), 100, 150)
    for seed in range(20):
        values = DRAWS[name](generator(seed, "off"), item)
        assert identify(values, item).name == name
        assert identify(values * 1.03, item).name in ("uniform", "truncated")


def test_a_scale_comes_with_its_error() -> None:
    item = Parameter((100, 100), 100, 100)
    off = []
    for seed in range(100):
        found = identify(DRAWS["normal 0.02"](generator(seed, "scale"), item), item)
        assert found.error == pytest.approx(0.02 / math.sqrt(2 * item.size), rel=0.1)
        off.append((found.scale - 0.02) / found.error)
    assert 0.8 < np.std(off) < 1.25


def test_three_numbers_tell_little() -> None:
    rng = generator(0, "bias")
    found = identify(rng.uniform(-0.1, 0.1, 3), Parameter((3,), 100, 3))
    assert found.name == "not told apart"
    assert found.text.startswith("not told apart: uniform or normal or truncated normal, scale ab")


def test_several_draws_tell_more_than_one() -> None:
    item = Parameter((40,), 25, 40)
    draws = [DRAWS["fan_in_uniform"](generator(seed, "draws"), item) for seed in range(40)]
    assert not identify(draws[0], item).told
    assert identify(draws, item).text == "fan_in_uniform"


Sample = Callable[[np.random.Generator], np.ndarray]
OTHERS: list[tuple[str, Sample]] = [
    ("uniform 0 0.01", lambda rng: rng.uniform(0.0, 0.01, 5_000)),
    ("normal 0.1 1", lambda rng: rng.normal(1.0, 0.1, 5_000)),
    ("unknown, scale about 1.4", lambda rng: rng.laplace(size=5_000)),
    ("unknown, scale about 0.31", lambda rng: rng.normal(size=5_000) * (rng.random(5_000) < 0.1)),
    ("unknown, scale about 1", lambda rng: rng.choice([-1.0, 1.0], 5_000)),
    ("orthogonal", lambda rng: np.linalg.qr(rng.normal(size=(50, 100)).T)[0].reshape(4, 25, 50)),
    ("normal 0.02", lambda rng: np.linalg.qr(rng.normal(size=(50, 50)))[0] * 0 + 0.02
     * rng.normal(size=(50, 50))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "draw"), OTHERS, ids=[text for text, _ in OTHERS])
def test_what_else_there_is(text: str, draw: Sample) -> None:
    values = draw(generator(3, "others"))
    assert identify(values, Parameter(values.shape, 100, 50)).text == text


def test_no_values_are_refused() -> None:
    for values in (np.zeros(0), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="finite values"):
            identify(values, Parameter((2,), 2, 2))
