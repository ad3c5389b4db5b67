"""Rung 7: each backend acts and learns alone from the same seed in float64.

Every action must be the same and every loss equal: what a copy of the params cannot show, such as
exploration, replay order, target copies and the handling of episode ends, is all in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triptych.engines import setup
from triptych.parity.rungs import BOUNDS, Verdict
from triptych.spec.algorithms import DQN
from triptych.spec.recipe import Budget, Recipe

Tell = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Trace:
    """One free run: the action of every step, the loss of every update.

    Where a dataset is learned from, ``actions`` are the first examples of the batches instead, and
    ``what`` says so.
    """

    name: str
    actions: np.ndarray
    losses: np.ndarray
    what: str = "action"


def shortened(recipe: Recipe) -> Recipe:
    """Return the recipe with the free run's length and learning start, where it names them."""
    own = recipe.verify
    budget = recipe.budget
    if own.free_episodes is not None or own.free_steps is not None:
        budget = Budget(episodes=own.free_episodes, steps=own.free_steps)
    if own.free_epochs is not None:
        budget = Budget(epochs=own.free_epochs)
    algorithm = recipe.algorithm
    if isinstance(algorithm, DQN) and own.free_learning_starts is not None:
        starts = own.free_learning_starts
        algorithm = replace(algorithm, learning_starts=starts, random_steps=starts)
    return replace(recipe, budgets={"free": budget}, algorithm=algorithm)


def run(name: str, data: Mapping[str, Any], backend: str, seed: int, tell: Tell) -> Trace:
    """Train in float64 and return the trace; made to be called in another process."""
    recipe = shortened(setup.reparse(name, data))
    learner = setup.make_learner(recipe, backend, seed, "float64")
    training = setup.make_training(recipe, learner, seed)
    training.trace = []
    for _ in training.rows():
        tell(*training.progress())
    actions = np.array([action for action, _ in training.trace])
    losses = np.array([float(loss) for _, loss in training.trace if loss is not None])
    what = "action" if isinstance(recipe.algorithm, DQN) else "batch"
    return Trace(backend, actions, losses, what)


def compare(left: Trace, right: Trace) -> Verdict:
    """Return rung 7's verdict on two traces."""
    bound = BOUNDS["free run"]["float64"]
    pair = f"{left.name}-{right.name}"
    count = min(len(left.actions), len(right.actions))
    plural = f"{left.what}es" if left.what.endswith("ch") else f"{left.what}s"
    unlike = np.flatnonzero(left.actions[:count] != right.actions[:count])
    if len(left.actions) != len(right.actions) or unlike.size:
        first = int(unlike[0]) + 1 if unlike.size else count + 1
        detail = f"{unlike.size} of {count} {plural} differ"
        culprit = f"{left.what} {first}"
        return Verdict(7, pair, "float64", False, float("inf"), bound, culprit, detail)
    gaps = np.abs(left.losses - right.losses)
    value = float(gaps.max(initial=0.0))
    over = np.flatnonzero(~(gaps <= bound))
    late = f"update {int(over[0]) + 1}" if over.size else None
    detail = f"{len(left.actions):,} {plural} identical, {len(left.losses):,} losses"
    return Verdict(7, pair, "float64", not over.size, value, bound, late, detail)
