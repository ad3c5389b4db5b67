"""No false alarms: random networks, rules and objectives without a fault are green, and the
envelope is honest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import deep_q

from triptych.parity import record, rungs
from triptych.parity.measures import distance, last_bit, ratio, relative
from triptych.spec.objective import TDHuber, TDSquared
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule
from triptych.spec.schedules import Constant, Cosine, Exponential, Linear

PAIRS = (("torch", "jax"), ("torch", "keras"), ("jax", "keras"))


def random_network(rng: np.random.Generator) -> dict[str, str] | str:
    """A small random graph: convolutions of any kind, pools, norms, branches, dense layers."""
    height, width = rng.integers(8, 13, 2)
    activations = ["relu", "elu", "tanh", "gelu", "silu", "leaky_relu slope 0.1", "softplus"]
    nodes: dict[str, str] = {"input": f"{height}x{width}x{rng.integers(1, 4)}"}
    nodes["scaled"] = "rescale 1/255"

    def act() -> str:
        return str(rng.choice(activations))

    pad = rng.choice(["same", "valid", "1,0,2,1"])
    kernel = f"{rng.integers(2, 4)}x{rng.integers(2, 4)}/{rng.integers(1, 3)}"
    nodes["first"] = f"conv {2 * rng.integers(1, 4)} {kernel} pad {pad}"
    if rng.random() < 0.5:
        nodes["norm"] = str(rng.choice(["batch_norm", "layer_norm", "batch_norm unbiased"]))
    nodes["bent"] = act()
    if rng.random() < 0.5:
        nodes["second"] = "conv 4 3x3 pad same dilation 2"
        nodes["third"] = "conv 4 1x1 <- bent"
        nodes["joined"] = str(rng.choice(["add", "concatenate"])) + " <- second, third"
    if rng.random() < 0.5:
        nodes["pool"] = str(rng.choice(["average_pool 2x2", "average_pool 3x2/1 pad same"]))
    if rng.random() < 0.3:
        nodes["up"] = "conv_transpose 3 3x3/2 pad same"
    nodes["flat"] = "flatten"
    if rng.random() < 0.4:
        nodes["drop"] = "dropout 0.25"
    nodes["hidden"] = f"dense {rng.integers(8, 20)}"
    nodes["bent2"] = act()
    if rng.random() < 0.3:
        nodes |= {"value": "dense 1 <- bent2", "advantage": "dense 3 <- bent2"}
        nodes["q"] = "dueling <- value, advantage"
    else:
        nodes["q"] = "dense 3"
    return nodes


def random_rule(rng: np.random.Generator) -> Rule:
    """A random rule with a random schedule and clip."""
    rate = [Constant(1e-3), Linear(2e-3, 0.0, 100), Exponential(1e-3, 0.9, 10), Cosine(1e-3, 0, 90)]
    clip = [Clip(), Clip(global_norm=0.5), Clip(norm=0.2), Clip(value=0.05)]
    common: dict[str, Any] = {
        "rate": rate[rng.integers(4)],
        "clip": clip[rng.integers(4)],
        "l2": float(rng.choice([0.0, 1e-3])),
    }
    inside = bool(rng.random() < 0.5)
    makers = [
        lambda: SGD(**common),
        lambda: SGD(**common, momentum=0.9, nesterov=inside),
        lambda: Adam(**common, epsilon=1e-5, epsilon_inside_root=inside),
        lambda: Adam(**common, epsilon=1e-5, epsilon_before_correction=inside),
        lambda: AdamW(**common, weight_decay=0.01),
        lambda: RMSprop(**common, epsilon=1e-5, epsilon_inside_root=inside, centered=not inside),
        lambda: Adagrad(**common, epsilon=1e-6, epsilon_inside_root=inside, initial=0.1),
    ]
    return makers[rng.integers(len(makers))]()


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_stay_green(seed: int) -> None:
    rng = np.random.default_rng(seed)
    from triptych.spec.notation import parse

    subject = deep_q(
        random_rule(rng),
        parse(random_network(rng)),
        TDHuber() if rng.random() < 0.5 else TDSquared(),
        lockstep=60,
        seed=seed,
        double=bool(rng.random() < 0.5),
        target_sync=[None, 10][rng.integers(2)],
    )
    pair = PAIRS[seed % 3]
    for dtype in ("float64", "float32"):
        left, right = (record.make(subject, name, dtype) for name in pair)
        red = [verdict for verdict in rungs.climb(subject, left, right) if not verdict.passed]
        assert not red, (subject.network.nodes, subject.rule, red)


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
    subject = deep_q(SGD(Constant(1e6)), lockstep=60)
    made = record.make(subject, "torch", "float32")
    verdicts = rungs.climb(subject, made, replace(made, name="other"))
    assert not np.isfinite(made.states["lockstep"].params["dense1/kernel"]).all()
    assert [verdict.rung for verdict in verdicts if not verdict.passed] == [5, 6]
