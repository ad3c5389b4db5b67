"""Rung 7 and the ladder as a whole: free runs agree, and a fault in acting or learning is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from triptych.engines import setup
from triptych.errors import BackendError
from triptych.parity import free_run, ladder
from triptych.parity.certificate import Certificate
from triptych.parity.free_run import Trace

SETTINGS = ["task.grid=6", "algorithm.batch=16", "algorithm.learning_starts=16"]
SETTINGS += ["verify.free_episodes=40", "verify.lockstep=60", "algorithm.target_sync=25"]


def trace(backend: str, *more: str, seed: int = 0) -> Trace:
    """A free run of the small fruit with settings changed."""
    recipe = setup.load_recipe("fruit", [*SETTINGS, *more])
    return free_run.run("fruit", recipe.data, backend, seed, lambda *told: None)


@pytest.fixture(scope="module")
def healthy() -> Trace:
    return trace("torch")


def test_another_backend_takes_every_action_alike(healthy: Trace) -> None:
    verdict = free_run.compare(healthy, trace("keras"))
    assert verdict.passed and verdict.value <= 1e-12, verdict
    assert len(healthy.actions) == 160 and len(healthy.losses) == 145
    assert len(set(healthy.actions)) == 3


@pytest.mark.parametrize(
    "fault",
    [
        "algorithm.target_sync=26",
        "algorithm.update_every=2",
        "algorithm.learning_starts=17",
        "algorithm.double=true",
        "algorithm.discount=0.8000001",
        "algorithm.exploration=0.79",
        "initial.kernel=he_uniform",
        "optimizer.epsilon=1.0e-6",
    ],
)
def test_a_difference_in_any_choice_is_found(healthy: Trace, fault: str) -> None:
    verdict = free_run.compare(healthy, trace("torch", fault))
    assert not verdict.passed
    assert verdict.culprit is not None
    assert verdict.culprit.split()[0] in ("action", "update")


def test_another_seed_is_another_run(healthy: Trace) -> None:
    verdict = free_run.compare(healthy, trace("torch", seed=1))
    assert verdict.culprit is not None and verdict.culprit.startswith("action")


def test_the_first_differing_action_and_update_are_named() -> None:
    left = Trace("a", np.array([0, 1, 2, 1]), np.array([0.5, 0.25]))
    other_action = Trace("b", np.array([0, 1, 0, 1]), left.losses)
    other_loss = Trace("b", left.actions, np.array([0.5, 0.25 + 1e-8]))
    shorter = Trace("b", left.actions[:3], left.losses)
    unsound = Trace("b", left.actions, np.array([0.5, np.nan]))
    assert free_run.compare(left, other_action).culprit == "action 3"
    assert free_run.compare(left, other_loss).culprit == "update 2"
    assert free_run.compare(left, shorter).culprit == "action 4"
    assert not free_run.compare(left, unsound).passed
    assert free_run.compare(left, left).passed


def test_the_whole_ladder_on_all_three() -> None:
    recipe = setup.load_recipe("fruit", SETTINGS)
    certificate = ladder.climb(recipe, ["torch", "jax", "keras"], show=False)
    assert certificate.passed, certificate.sentence()
    data = certificate.as_dict()
    assert {entry["rung"] for entry in data["rungs"]} == set(range(8))
    assert {entry["pair"] for entry in data["rungs"]} == {"torch-jax", "torch-keras", "jax-keras"}
    assert len(data["rungs"]) == 3 * (7 * 2 + 1)
    assert "Proven equal: all 45 comparisons on 3 pairs passed" in certificate.sentence()


@pytest.mark.parametrize("backends", [["torch"], ["torch", "torch"], ["torch", "tf"], []])
def test_a_comparison_needs_different_known_backends(backends: list[str]) -> None:
    with pytest.raises(BackendError):
        ladder.climb(setup.load_recipe("fruit"), backends, show=False)


def test_a_certificate_says_where_it_differs() -> None:
    recipe = setup.load_recipe("fruit", SETTINGS)
    left = Trace("a", np.array([0, 1]), np.array([]))
    verdict = free_run.compare(left, Trace("b", np.array([0, 2]), np.array([])))
    certificate = Certificate.make(recipe, ["a", "b"], 0, [verdict])
    data: Mapping[str, Any] = certificate.as_dict()
    assert not data["passed"] and data["rungs"][0]["value"] is None
    assert "rung 7 (free run) fails for a-b" in certificate.sentence()
    assert "action 2" in certificate.sentence()
