"""No false alarms: random networks, rules and objectives without a fault are green, and the
envelope is honest."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from triptych.engines.setup import load_recipe
from triptych.parity import record, rungs
from triptych.parity.measures import distance, last_bit, ratio, relative
from triptych.parity.record import Record
from triptych.parity.subject import of_recipe
from triptych.spec.rules import SGD
from triptych.spec.schedules import Constant
from triptych.testing.faults import clean
from triptych.testing.faults.problems import BROAD, problem


@pytest.mark.parametrize("number", (0, 1, 2, 3, 6))
def test_random_networks_stay_green(number: int) -> None:
    alarms = clean.alarms(number)
    assert not alarms, (clean.subject(number).network.nodes, clean.subject(number).rule, alarms)


def test_random_problems_vary() -> None:
    subjects = [clean.subject(number) for number in range(60)]
    kinds = {node.layer.kind for one in subjects for node in one.network.nodes}
    assert {"batch_norm", "layer_norm", "dueling", "add", "concatenate", "conv_transpose"} <= kinds
    assert len({type(one.rule) for one in subjects}) == 5
    assert len({type(one.rule.rate) for one in subjects}) == 4
    assert len({one.target for one in subjects}) == 2


def test_last_bit_moves_every_number_to_a_neighbour() -> None:
    values = {"a": np.array([1.0, -2.0, 0.0, 3e-7])}
    for dtype in ("float32", "float64"):
        moved = last_bit(values, np.random.default_rng(0), dtype)["a"]
        start = values["a"].astype(dtype)
        assert moved.dtype == dtype and (moved != start).all()
        assert ((np.nextafter(start, moved)) == moved).all()


def test_measures() -> None:
    a = np.array([1.0, 2.0, 4.0])
    assert relative(a, a) == 0.0
    assert relative(a, a + 0.4) == pytest.approx(0.1)
    assert relative(a, a[:2]) == np.inf
    assert relative(a, np.array([1.0, np.nan, 4.0])) == np.inf
    assert relative(np.zeros(2), np.array([0.0, 1e-30])) == np.inf
    assert relative(np.array([np.inf, 1.0]), np.array([-np.inf, 1.0])) == np.inf
    assert distance({"x": a, "y": a}, {"x": a, "y": a + 1.0}) == pytest.approx(np.sqrt(3.0))
    assert ratio(0.0, 0.0) == 0.0 and ratio(1.0, 0.0) == np.inf


def test_explosions_prove_nothing() -> None:
    subject = problem(BROAD, SGD(Constant(1e6)))
    made = record.make(subject, "torch", "float32")
    verdicts = rungs.climb(subject, made, replace(made, name="other"))
    assert not np.isfinite(made.states["lockstep"].params["dense1/kernel"]).all()
    assert [verdict.rung for verdict in verdicts if not verdict.passed] == [5, 6]


def with_loss(made: Record, share: float, noise: float = 0.0) -> Record:
    """The record of a framework whose loss differs by a share, and how far rounding moves it."""
    changed = made.loss * (1.0 + share)
    return replace(made, name="other", loss=changed, loss_envelope=noise * made.loss)


def test_a_loss_differs_by_its_rounding_and_no_more() -> None:
    subject = problem(BROAD, SGD(Constant(0.1)))
    made = replace(record.make(subject, "torch", "float32"), loss_envelope=0.0)

    def passes(one: Record, other: Record) -> bool:
        return rungs.loss(subject, one, other).passed

    assert passes(made, with_loss(made, 9e-7)) and not passes(made, with_loss(made, 4e-6))
    noisy = with_loss(made, 4e-6, noise=2e-6)
    assert passes(made, noisy) and passes(noisy, made)
    assert not passes(made, with_loss(made, 7e-6, noise=2e-6))
    # In float64 rounding excuses nothing.
    exact = replace(made, dtype="float64", loss_envelope=made.loss)
    assert not passes(exact, with_loss(exact, 4e-12, noise=1.0))


def test_the_tiny_loss_of_real_frames_is_no_difference() -> None:
    subject = replace(of_recipe(load_recipe("space-invaders"), 0), lockstep=1, scheduled=False)
    torch, jax = (record.make(subject, name, "float32") for name in ("torch", "jax"))
    verdict = rungs.loss(subject, torch, jax)
    assert torch.loss < 1e-3 and torch.loss_envelope > 0.0 and jax.loss_envelope > 0.0
    assert verdict.passed and verdict.bound < 1e-4, verdict


@pytest.fixture(scope="module")
def cancelling() -> Record:
    """A bias before batch normalisation, clipped by value: its momentum is rounding alone."""
    made = record.make(clean.subject(85), "torch", "float64")
    momentum = made.states["1"].slots.values["momentum"]
    assert np.abs(momentum["first/bias"]).max() < 1e-13 < np.abs(momentum["first/kernel"]).max()
    return made


def with_bias_momentum(made: Record, times: float, noise: float) -> Record:
    """The record of a framework whose momentum is so many times the other's, and its noise."""
    other = replace(deepcopy(made), name="other")
    other.states["1"].slots.values["momentum"]["first/bias"] *= times
    other.envelope["1"]["first/bias:momentum"] *= noise
    return other


def step_of(left: Record, right: Record) -> rungs.Verdict:
    return rungs.step(clean.subject(85), left, right)


def test_rounding_alone_is_no_alarm_whichever_side_rounds_worse(cancelling: Record) -> None:
    worse = with_bias_momentum(cancelling, -30.0, 30.0)
    assert step_of(cancelling, worse).passed
    assert step_of(worse, cancelling).passed


def test_a_real_momentum_beside_rounding_is_an_alarm_on_either_side(cancelling: Record) -> None:
    real = with_bias_momentum(cancelling, 1e12, 1.0)
    for verdict in (step_of(cancelling, real), step_of(real, cancelling)):
        assert not verdict.passed and verdict.culprit == "first/bias (momentum) after 1"
