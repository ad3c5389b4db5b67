"""Triptych itself: the training that `triptych train` runs, on one backend."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice

import numpy as np

from throughput import settings
from triptych.engines import setup
from triptych.parity.subject import of_recipe


class Library:
    """A backend of Triptych: ``torch``, ``jax`` or ``keras``."""

    def __init__(self, backend: str) -> None:
        self.backend, recipe = backend, settings.recipe()
        self.learner = setup.make_learner(recipe, backend, 0)
        self.training = setup.make_training(recipe, self.learner, 0)
        self.parameters = sum(array.size for array in self.learner.params().values())
        self._rows = self.training.rows()
        self._observation = np.zeros(recipe.network.shapes["input"], np.uint8)

    @property
    def updates(self) -> int:
        return self.learner.updates

    def prepare(self) -> None:
        self.run(settings.WARM_UP)

    def run(self, steps: int) -> None:
        for _ in islice(self._rows, steps):
            pass
        # Updates may still be under way; the next output waits for them.
        self.learner.outputs(self._observation[None])

    def components(self) -> dict[str, Callable[[], object]]:
        memory, rng = self.training.agent.memory, np.random.default_rng(0)
        batches = cycle([memory.sample(settings.algorithm().batch, rng) for _ in range(8)])
        observation = next(batches)["observation"][0]
        fruit, fruits = setup.load_recipe("fruit"), fruit_batches()
        small = setup.make_learner(fruit, self.backend, 0)
        return {
            "selection": lambda: int(np.argmax(self.learner.outputs(observation[None])[0])),
            "update": lambda: float(self.learner.update(next(batches))),
            "target sync": self.learner.sync_target,
            "update (fruit)": lambda: float(small.update(next(fruits))),
        }


def fruit_batches() -> cycle:
    """Return batches of the fruit game really played, again and again."""
    return cycle(list(islice(of_recipe(setup.load_recipe("fruit"), 0).batches, 8)))
