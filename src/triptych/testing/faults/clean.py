"""Random problems without a fault: networks with branches, rules, schedules, objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from triptych.backends.protocol import DType
from triptych.parity import record
from triptych.parity.record import backend_learner
from triptych.parity.rungs import Verdict
from triptych.parity.subject import Subject
from triptych.spec.notation import parse
from triptych.spec.objective import TDHuber, TDSquared
from triptych.spec.randomness import generator
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule
from triptych.spec.schedules import Constant, Cosine, Exponential, Linear
from triptych.testing.faults.bank import judged
from triptych.testing.faults.problems import problem

PAIRS = (("torch", "jax"), ("torch", "keras"), ("jax", "keras"))
SINGLE = 5
"""Every so many-th problem is compared in float32 too."""
_BENDS = ("relu", "elu", "tanh", "gelu", "silu", "leaky_relu slope 0.1", "softplus")


@dataclass(frozen=True)
class Alarm:
    """A red rung where there is no fault."""

    number: int
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"number": self.number} | self.verdict.as_dict()


def network(rng: np.random.Generator) -> dict[str, str]:
    """Return a small random graph: convolutions, pools, norms, branches, dense layers."""
    height, width = rng.integers(8, 13, 2)
    nodes = {"input": f"{height}x{width}x{rng.integers(1, 4)}", "scaled": "rescale 1/255"}
    pad = rng.choice(["same", "valid", "1,0,2,1"])
    window = f"{rng.integers(2, 4)}x{rng.integers(2, 4)}/{rng.integers(1, 3)}"
    nodes["first"] = f"conv {2 * rng.integers(1, 4)} {window} pad {pad}"
    if rng.random() < 0.5:
        nodes["norm"] = str(rng.choice(["batch_norm", "layer_norm", "batch_norm unbiased"]))
    nodes["bent"] = str(rng.choice(_BENDS))
    nodes |= _middle(rng) | {"flat": "flatten"}
    if rng.random() < 0.4:
        nodes["drop"] = "dropout 0.25"
    nodes |= {"hidden": f"dense {rng.integers(8, 20)}", "bent2": str(rng.choice(_BENDS))}
    if rng.random() < 0.3:
        heads = {"value": "dense 1 <- bent2", "advantage": "dense 3 <- bent2"}
        return nodes | heads | {"q": "dueling <- value, advantage"}
    return nodes | {"q": "dense 3"}


def _middle(rng: np.random.Generator) -> dict[str, str]:
    """Branches, a pool, a transposed convolution, each or none."""
    nodes = {}
    if rng.random() < 0.5:
        nodes["second"] = "conv 4 3x3 pad same dilation 2"
        nodes["third"] = "conv 4 1x1 <- bent"
        nodes["joined"] = str(rng.choice(["add", "concatenate", "multiply"])) + " <- second, third"
    if rng.random() < 0.5:
        nodes["pool"] = str(rng.choice(["average_pool 2x2", "average_pool 3x2/1 pad same"]))
    if rng.random() < 0.3:
        nodes["up"] = "conv_transpose 3 3x3/2 pad same"
    return nodes


def rule(rng: np.random.Generator) -> Rule:
    """Return a random rule with a random schedule, clip and l2."""
    rates = [
        Constant(1e-3),
        Linear(2e-3, 0.0, 100),
        Exponential(1e-3, 0.9, 10),
        Cosine(1e-3, 0, 90),
    ]
    clips = [Clip(), Clip(global_norm=0.5), Clip(norm=0.2), Clip(value=0.05)]
    common: dict[str, Any] = {"rate": rates[rng.integers(4)], "clip": clips[rng.integers(4)]}
    common["l2"] = float(rng.choice([0.0, 1e-3]))
    inside = bool(rng.random() < 0.5)
    kinds: tuple[tuple[type[Rule], dict[str, Any]], ...] = (
        (SGD, {}),
        (SGD, {"momentum": 0.9, "nesterov": inside}),
        (Adam, {"epsilon": 1e-5, "epsilon_inside_root": inside}),
        (Adam, {"epsilon": 1e-5, "epsilon_before_correction": inside}),
        (AdamW, {"weight_decay": 0.01}),
        (RMSprop, {"epsilon": 1e-5, "epsilon_inside_root": inside, "centered": not inside}),
        (Adagrad, {"epsilon": 1e-6, "epsilon_inside_root": inside, "initial": 0.1}),
    )
    kind, options = kinds[rng.integers(len(kinds))]
    return kind(**common, **options)


def subject(number: int) -> Subject:
    """Return the random problem of a number."""
    rng = generator(number, "faults/clean")
    return problem(
        parse(network(rng)),
        rule(rng),
        TDHuber() if rng.random() < 0.5 else TDSquared(),
        seed=number,
        double=bool(rng.random() < 0.5),
        target_sync=[None, 10][rng.integers(2)],
    )


def types(number: int) -> tuple[DType, ...]:
    """Return the types a problem is compared in: float64, and every fifth in float32 too."""
    return ("float64", "float32") if number % SINGLE == 0 else ("float64",)


def alarms(number: int) -> list[Alarm]:
    """Return the red rungs of a random problem on a pair of backends; there should be none."""
    found, compared = [], subject(number)
    left, right = PAIRS[number % len(PAIRS)]
    builds = backend_learner(left), backend_learner(right)
    for dtype in types(number):
        wide = dtype == "float32"
        sides = (
            record.make(compared, left, dtype, envelope=wide),
            record.make(compared, right, dtype, envelope=wide),
        )
        verdicts = judged(compared, sides, builds)
        found += [Alarm(number, verdict) for verdict in verdicts if not verdict.passed]
    return found
