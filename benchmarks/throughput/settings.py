"""The setting that every system is measured at: S4's, with a short start and a fixed exploration.

Exploration is 0.1, where S4's schedule ends and where nine steps of ten are paid for in full. The
memory takes 100,000 transitions, as in S4, but learning starts after 500 random steps, so that a
run is short; how full a memory is changes nothing that is timed.
"""

from __future__ import annotations

from typing import Any

from triptych.engines import setup
from triptych.spec.algorithms import DQN
from triptych.spec.recipe import Recipe

RANDOM_STEPS = 500
EPSILON = 0.1
WARM_UP = RANDOM_STEPS + 100
"""Steps before anything is timed: 25 updates compile everything and settle the allocators."""
RATE = 2.5e-4
MAX_NORM = 1.0
"""The recipe's rate and clip, in the words of the peers."""


def recipe() -> Recipe:
    """Return S4's recipe at the setting of the benchmark."""
    changes = {"learning_starts": RANDOM_STEPS, "random_steps": RANDOM_STEPS}
    changes |= {"exploration": EPSILON}
    return setup.load_recipe(
        "space-invaders", [f"algorithm.{key}={value}" for key, value in changes.items()]
    )


def algorithm() -> DQN:
    """Return the numbers of the algorithm: batch, replay, update_every, target_sync, discount."""
    found = recipe().algorithm
    assert isinstance(found, DQN)
    return found


def make_env() -> Any:
    """Return the game with the recipe's preprocessing, the same for every system."""
    return setup.make_env(recipe())
