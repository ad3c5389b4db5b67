"""A game that an agent plays: one environment, and what is going on in it.

An episode is what is learned from; a game is what has a score. They are one, unless the environment
ends an episode with each lost life and says in ``info["game_over"]`` whether the game ended too.
Acting and learning do not belong here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

Snapshot = Callable[[Any], dict[str, Any]]
Restore = Callable[[Any, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Step:
    """What followed an action: the transition's parts, and the whole game's score if it ended.

    The score sums ``info["score"]`` where rewards are not the game's own, else the rewards.
    """

    observation: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    score: float | None


class Game:
    """One environment, played episode after episode.

    Args:
        env: a Gymnasium environment.
        seed: given to its first reset; it is seeded once.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        self.env, self.seed = env, seed
        self.observation: np.ndarray | None = None
        """The newest of the running episode; None between two episodes."""
        self.score = 0.0
        """Of the running game so far."""
        self._begun = False
        self._runs = False

    def begin(self) -> tuple[np.ndarray, float | None]:
        """Start an episode; return its first observation, and a score if that ended a game."""
        observation, info = self.env.reset(seed=None if self._begun else self.seed)
        self._begun, self.observation = True, observation
        ended = self.score if self._runs and info.get("game_over") else None
        if ended is not None or not self._runs:
            self._runs, self.score = False, 0.0
        return observation, ended

    def step(self, action: int) -> Step:
        """Take an action in the running episode."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.score += float(info.get("score", reward))
        ended = bool(terminated or truncated)
        over = ended and info.get("game_over", True)
        self._runs, self.observation = not over, None if ended else observation
        score = self.score if over else None
        return Step(observation, float(reward), bool(terminated), bool(truncated), score)

    def state(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return everything needed to go on exactly, the environment by ``snapshot``."""
        return {
            "observation": self.observation,
            "score": self.score,
            "begun": self._begun,
            "runs": self._runs,
            "environment": snapshot(self.env),
        }

    def restore(self, state: Mapping[str, Any], restore: Restore) -> None:
        """Put a state from :meth:`state` back."""
        self.observation, self.score = state["observation"], float(state["score"])
        self._begun, self._runs = bool(state["begun"]), bool(state["runs"])
        restore(self.env, state["environment"])
