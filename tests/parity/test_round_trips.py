"""What was learned, carried from each framework to each other and back: every layer, every rule.

Carried are params, running statistics, target params, slots and the stream of dropout masks, bit by
bit; then the outputs are the same, and training goes on as it would have at home.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from triptych.backends import registry
from triptych.backends.protocol import DType, Evaluation, Learner
from triptych.backends.registry import FRAMEWORKS
from triptych.parity.measures import distance
from triptych.spec.layers import Dropout
from triptych.spec.network import Network
from triptych.spec.notation import parse
from triptych.spec.randomness import generator
from triptych.spec.rules import Adam, Rule
from triptych.spec.schedules import Exponential
from triptych.testing.cases import NETWORKS, RULES, Bootstrapped, NetworkCase, RuleCase
from triptych.testing.comparing import all_close, copy_of, same_bits
from triptych.testing.recurrent_cases import RECURRENT

for package in ("torch", "jax", "flax", "optax", "keras", "tensorflow"):
    pytest.importorskip(package)

PAIRS = list(permutations(FRAMEWORKS, 2))
"""All six ways from one to another."""
LAYERS = (*NETWORKS, *RECURRENT)
PLAIN = [case for case in RULES if "_clip_" not in case.name]
"""Every rule with every option that has a slot of its own; clipping has none."""
BEFORE, AFTER = 5, 50
"""Updates at home, and after moving."""
SMALL = parse("6 -> dense 7 tanh -> dense 3")
LIVELY = parse("6 -> dense 7 no bias -> batch_norm keep 0.8 -> tanh -> dropout 0.2 -> dense 3")
"""Running statistics and the stream of masks go on too."""


@contextmanager
def quickly() -> Iterator[None]:
    """Let Keras compute without tracing first, which takes longer than the few steps here."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def carry(learners: Mapping[str, Learner], one: str, other: str) -> None:
    """Move all that a learner holds to another and back, and compare it bit by bit."""
    left = copy_of(learners[one].state())
    learners[other].restore(copy_of(left))
    there = copy_of(learners[other].state())
    same_bits(there, left, f"{one} in {other}")
    assert list(there["params"]) == list(left["params"])
    learners[one].restore(there)
    same_bits(learners[one].state(), left, f"{one} back from {other}")


def moved_about(state: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return a state in which every number is another, so that each framework has its own."""
    if isinstance(state, Mapping):
        return {key: moved_about(value, seed) for key, value in state.items()}
    if not isinstance(state, np.ndarray) or state.dtype.kind != "f":
        return state
    size = generator(seed, "moved about").uniform(0.5, 1.5, state.shape)
    return (state * size).astype(state.dtype)


def spread(learners: Mapping[str, Learner]) -> None:
    """Give what PyTorch learned, where nothing has to be compiled for it, to the others, moved.

    All three learn for themselves where they go on training, below.
    """
    learnt = copy_of(learners["torch"].state())
    assert all(array.any() for slot in learnt["slots"].values() for array in slot.values())
    learners["jax"].restore(moved_about(learnt, 1))
    learners["keras"].restore(moved_about(learnt, 2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.name)
def test_every_layer_comes_back_bit_for_bit(case: NetworkCase, dtype: DType) -> None:
    learners = {
        name: registry.get(name).learner(
            case.network,
            case.params(),
            objective=Bootstrapped(),
            rule=Adam(Exponential(0.01, 0.9, 1)),
            dtype=dtype,
            seed=7,
            target=True,
        )
        for name in FRAMEWORKS
    }
    for _ in range(2):
        learners["torch"].update(case.batch())
    spread(learners)
    for one, other in PAIRS:
        carry(learners, one, other)
    if dtype == "float64":
        check_outputs(learners, case)


def check_outputs(learners: Mapping[str, Learner], case: NetworkCase) -> None:
    """After the last move all three hold the same, and give the same at every node."""
    state = learners["torch"].state()
    with quickly():
        for name in ("jax", "keras"):
            learners[name].restore(copy_of(state))
        found = {name: one.outputs(case.observations("now")) for name, one in learners.items()}
    for one, other in PAIRS:
        all_close({"y": found[other]}, {"y": found[one]}, 1e-12, f"{other} instead of {one}")


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_slots_of_every_rule_come_back_bit_for_bit(case: RuleCase) -> None:
    learners = {
        name: registry.get(name).learner(
            case.network, case.params(), rule=case.rule, dtype="float32"
        )
        for name in FRAMEWORKS
    }
    for grads in case.gradients(4):
        learners["torch"].apply_gradients(grads)
    spread(learners)
    for one, other in PAIRS:
        carry(learners, one, other)


class Squared:
    """The mean squared error to ``target``."""

    evaluations = (Evaluation("y"),)

    def loss(self, xp: Any, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        return xp.mean(xp.square(outputs["y"] - batch["target"]))


SQUARED = Squared()
"""One object, so that learners of a rule share their compiled program."""


def batches(count: int) -> list[dict[str, np.ndarray]]:
    draw = generator(3, "round trips")
    return [
        {"observation": draw.normal(size=(9, 6)), "target": draw.normal(size=(9, 3))}
        for _ in range(count)
    ]


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_updates_after_a_move_are_those_at_home(case: RuleCase) -> None:
    check_updates(SMALL, case.rule)


def test_statistics_and_masks_go_on_after_a_move() -> None:
    check_updates(LIVELY, Adam(Exponential(0.05, 0.9, 1)))


def check_updates(network: Network, rule: Rule) -> None:
    """All six ways, under a falling rate."""
    params = NetworkCase("small", network).params()
    falling = replace(rule, rate=Exponential(rule.rate.value(0), 0.97, 1))
    learners = {
        name: registry.get(name).learner(
            network, params, objective=SQUARED, rule=falling, dtype="float64", seed=7
        )
        for name in FRAMEWORKS
    }
    home = {}
    for name, learner in learners.items():
        train(learner, 0, BEFORE)
        start = copy_of(learner.state())
        train(learner, BEFORE, BEFORE + AFTER)
        home[name] = (start, copy_of(learner.state()))
    for one, other in PAIRS:
        start, end = home[one]
        learners[other].restore(copy_of(start))
        same_bits(learners[other].state(), start, f"{one} in {other}")
        train(learners[other], BEFORE, BEFORE + AFTER)
        check_same_way(start, end, learners[other].state())
    drawn = home["torch"][0]["dropout"] != home["torch"][1]["dropout"]
    assert drawn == bool(network.nodes_of(Dropout))


def train(learner: Learner, first: int, last: int) -> None:
    for batch in batches(last)[first:]:
        learner.update(batch)


def check_same_way(start: Any, end: Any, found: Any) -> None:
    """Params within 1e-11 of the way they travelled; slots within 1e-11 of their size."""
    assert found["updates"] == end["updates"] == BEFORE + AFTER
    assert found["dropout"] == end["dropout"]
    travelled = distance(start["params"], end["params"])
    assert travelled > 1e-3
    assert distance(found["params"], end["params"]) <= 1e-11 * travelled
    assert set(found["slots"]) == set(end["slots"])
    for slot, arrays in end["slots"].items():
        largest = max(float(np.abs(array).max()) for array in arrays.values())
        for name, array in arrays.items():
            size = max(float(np.abs(array).max()), 1e-2 * largest)
            gap = float(np.abs(found["slots"][slot][name] - array).max())
            assert gap <= 1e-11 * size, (slot, name, gap, size)
