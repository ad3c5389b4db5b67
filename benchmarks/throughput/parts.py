"""The parts that no framework touches: emulation, Triptych's memory, NumPy's matrix multiply."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from throughput import settings
from triptych.engines import setup


class Parts:
    """The game with the whole preprocessing, and the memory, as Triptych uses them."""

    parameters = None

    def __init__(self) -> None:
        self.env = settings.make_env()
        self.memory = setup.make_memory(settings.recipe(), self.env)
        self.rng = np.random.default_rng(0)

    def prepare(self) -> None:
        self._begin()
        for _ in range(2000):
            self._play()

    def components(self) -> dict[str, Callable[[], object]]:
        observation, batch = self.observation, settings.algorithm().batch
        left, right = np.random.default_rng(0).normal(size=(2, 2048, 2048)).astype(np.float32)
        return {
            "emulation": self._emulate,
            "append": lambda: self.memory.append(0, 0.0, observation, False, False),
            "sampling": lambda: self.memory.sample(batch, self.rng),
            "matrix multiply": lambda: left @ right,
        }

    def _begin(self) -> None:
        self.observation, _ = self.env.reset()
        self.memory.begin(self.observation)

    def _emulate(self) -> bool:
        action = int(self.rng.integers(self.env.action_space.n))
        self.observation, _, terminated, truncated, _ = self.env.step(action)
        over = terminated or truncated
        if over:
            self.env.reset()
        return over

    def _play(self) -> None:
        over = self._emulate()
        self.memory.append(0, 0.0, self.observation, over, False)
        if over:
            self._begin()


class VectorEmulator:
    """ALE's own vector environment with one game: what emulation alone could cost."""

    parameters = None

    def __init__(self) -> None:
        from ale_py.vector_env import AtariVectorEnv

        self.env = AtariVectorEnv(
            "space_invaders", num_envs=1, repeat_action_probability=0.0, reward_clipping=False
        )
        self.rng = np.random.default_rng(0)

    def prepare(self) -> None:
        self.env.reset(seed=0)

    def components(self) -> dict[str, Callable[[], object]]:
        return {"emulation": lambda: self.env.step(self.rng.integers(6, size=1))}
