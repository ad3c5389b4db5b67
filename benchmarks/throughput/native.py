"""The loops written by hand: the same game, memory and steps as Triptych's, the learner by hand."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from itertools import cycle, islice

import numpy as np
from by_hand.loop import training_steps

from throughput import settings
from throughput.library import fruit_batches
from triptych.engines import setup


class Native:
    """A loop by hand in one framework: ``torch``, ``jax`` or ``keras``."""

    def __init__(self, framework: str) -> None:
        self.module = import_module(f"by_hand.{framework}_by_hand")
        self.hands = self.module.make("space-invaders")
        self.parameters, self.updates = self.hands.parameters, 0
        env = settings.make_env()
        self.memory = setup.make_memory(settings.recipe(), env)
        self._steps = training_steps(
            env, self.memory, self.hands, settings.algorithm(), settings.EPSILON
        )
        self._observation = np.zeros(env.observation_space.shape, np.uint8)

    def prepare(self) -> None:
        self.run(settings.WARM_UP)

    def run(self, steps: int) -> None:
        for loss in islice(self._steps, steps):
            self.updates += loss is not None
        self.hands.act(self._observation)

    def components(self) -> dict[str, Callable[[], object]]:
        rng = np.random.default_rng(0)
        batches = cycle([self.memory.sample(settings.algorithm().batch, rng) for _ in range(8)])
        observation = next(batches)["observation"][0]
        small, fruits = self.module.make("fruit"), fruit_batches()
        return {
            "selection": lambda: self.hands.act(observation),
            "update": lambda: float(self.hands.update(next(batches))),
            "target sync": self.hands.sync_target,
            "update (fruit)": lambda: float(small.update(next(fruits))),
            "matrix multiply": self.module.matrix_multiply(2048),
        }
