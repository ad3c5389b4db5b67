"""The training loop: an agent in an environment, step by step, to be stopped and resumed anywhere.

It knows no files and no clock: rows of metrics are handed to the caller, who may write them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np

from triptych.backends.protocol import Learner
from triptych.learn.dqn import DQNAgent
from triptych.spec.recipe import Budget, Logging

COLUMNS = ("episode", "frame", "running_reward", "max_reward", "epsilon", "loss")
"""The columns of metrics.csv: ``frame`` counts agent steps, ``running_reward`` is the mean return
of the last ``window`` episodes in the game's own score, ``max_reward`` the best return so far, ``loss`` the mean over the
updates since the row before (NaN where there was none)."""


class Training:
    """An agent learning in an environment until its budget is spent.

    Args:
        agent: who acts and learns.
        env: a Gymnasium environment; it is seeded once, at the first reset.
        budget: when to stop.
        logging: how often a row is made.
        env_seed: the integer given to the first reset.
        snapshot, restore: how the environment's exact state is taken and put back.
    """

    def __init__(
        self,
        agent: DQNAgent,
        env: gymnasium.Env[Any, Any],
        budget: Budget,
        logging: Logging,
        env_seed: int,
        snapshot: Callable[[Any], dict[str, Any]] | None = None,
        restore: Callable[[Any, Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.agent, self.env, self.budget, self.logging = agent, env, budget, logging
        self.env_seed, self._snapshot, self._restore = env_seed, snapshot, restore
        self.episodes = 0
        self.episode_return = 0.0
        self.best = -np.inf
        self.recent: deque[float] = deque(maxlen=logging.window)
        self.losses: list[Any] = []
        self.observation: np.ndarray | None = None
        self.trace: list[tuple[int, Any]] | None = None
        """Set to a list to keep (action, loss or None) of every step."""

    counts = ("episode", "frame")
    """The columns that count; the second is the checkpoints' step."""
    columns = COLUMNS

    @property
    def steps(self) -> int:
        """Agent steps made."""
        return self.agent.steps

    @property
    def learner(self) -> Learner:
        """The network that learns."""
        return self.agent.learner

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        own = self.budget
        return (own.episodes is not None and self.episodes >= own.episodes) or (
            own.steps is not None and self.agent.steps >= own.steps
        )

    def progress(self) -> tuple[int, int, str]:
        """Return (how far, of how much, the unit) for a progress bar."""
        if self.budget.episodes is not None:
            return self.episodes, self.budget.episodes, "episode"
        return self.agent.steps, self.budget.steps or 0, "step"

    def rows(self) -> Iterator[dict[str, float] | None]:
        """Make steps until the budget is spent; yield after each, a row where one is due."""
        while not self.finished:
            ended = self._step()
            due = ended and self.episodes % self.logging.episodes == 0
            # A budget of steps ends in the middle of an episode, which deserves its row too.
            yield self._row() if due or self.finished else None

    def _step(self) -> bool:
        """Make one step; return whether an episode ended."""
        if self.observation is None:
            first = self.agent.steps == 0 and self.episodes == 0
            self.observation, _ = self.env.reset(seed=self.env_seed if first else None)
            self.agent.begin(self.observation)
            self.episode_return = 0.0
        action = self.agent.act(self.observation)
        observation, reward, terminated, truncated, info = self.env.step(action)
        loss = self.agent.learn_from(action, float(reward), observation, terminated, truncated)
        if loss is not None:
            self.losses.append(loss)
        if self.trace is not None:
            self.trace.append((action, loss))
        self.episode_return += float(info.get("score", reward))
        self.observation = observation
        if terminated or truncated:
            self._end_episode()
            return True
        return False

    def _end_episode(self) -> None:
        self.episodes += 1
        self.recent.append(self.episode_return)
        self.best = max(self.best, self.episode_return)
        self.observation = None

    def _row(self) -> dict[str, float]:
        losses = [float(loss) for loss in self.losses]
        self.losses = []
        return {
            "episode": self.episodes,
            "frame": self.agent.steps,
            "running_reward": float(np.mean(self.recent)) if self.recent else float("nan"),
            "max_reward": float(self.best) if self.episodes else float("nan"),
            "epsilon": self.agent.epsilon,
            "loss": float(np.mean(losses)) if losses else float("nan"),
        }

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on exactly, between two steps."""
        assert self._snapshot is not None
        self.losses = [float(loss) for loss in self.losses]
        return {
            "episodes": self.episodes,
            "episode_return": self.episode_return,
            "best": float(self.best),
            "recent": list(self.recent),
            "losses": self.losses,
            "observation": self.observation,
            "environment": self._snapshot(self.env),
            "agent": self.agent.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a state from :meth:`state` back."""
        assert self._restore is not None
        self.episodes = int(state["episodes"])
        self.episode_return = float(state["episode_return"])
        self.best = float(state["best"])
        self.recent.clear()
        self.recent.extend(state["recent"])
        self.losses = list(state["losses"])
        self._restore(self.env, state["environment"])
        self.observation = state["observation"]
        self.agent.restore(state["agent"])
