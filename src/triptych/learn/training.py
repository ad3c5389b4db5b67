"""The training loop: an agent in its games, step by step, to be stopped and resumed anywhere.

It knows no files and no clock: rows of metrics are handed to the caller, who may write them. What
goes on within one game is in ``game.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from triptych.backends.protocol import Learner
from triptych.learn.dqn import DQNAgent
from triptych.learn.game import Game, Restore, Snapshot
from triptych.spec.recipe import Budget, Logging

COLUMNS = ("episode", "frame", "running_reward", "max_reward", "epsilon", "loss")
"""The columns of metrics.csv: ``episode`` counts whole games, however many lives they have,
``frame`` agent steps; ``running_reward`` is the mean score of the last ``window`` games in the
game's own points, ``max_reward`` the best score so far, ``loss`` the mean over the updates since
the row before (NaN where there was none)."""


class Training:
    """An agent learning in one game, or in several side by side, until its budget is spent.

    Every game makes one step in turn, all of which are remembered before an update is made that
    fell due among them.

    Args:
        agent: who acts and learns.
        games: one or more of the same task.
        budget: when to stop.
        logging: how often a row is made.
        snapshot, restore: how an environment's exact state is taken and put back.
    """

    def __init__(
        self,
        agent: DQNAgent,
        games: Sequence[Game],
        budget: Budget,
        logging: Logging,
        snapshot: Snapshot | None = None,
        restore: Restore | None = None,
    ) -> None:
        self.agent, self.games, self.budget, self.logging = agent, games, budget, logging
        self._snapshot, self._restore = snapshot, restore
        self.episodes = 0
        self.best = -np.inf
        self.recent: deque[float] = deque(maxlen=logging.window)
        self.losses: list[Any] = []
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
        """Close the environments."""
        for game in self.games:
            game.env.close()

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
            # Several games may end at once.
            return min(self.episodes, self.budget.episodes), self.budget.episodes, "episode"
        return self.agent.steps, self.budget.steps or 0, "step"

    def rows(self) -> Iterator[dict[str, float] | None]:
        """Make steps until the budget is spent, one in each game at a time; yield after these, and
        yield a row where one is due."""
        every = self.logging.episodes
        while not self.finished:
            before = self.episodes
            self._step()
            due = self.episodes // every > before // every
            # A budget of steps ends in the middle of an episode, which deserves its row too.
            yield self._row() if due or self.finished else None

    def _step(self) -> None:
        """Make one step in each game."""
        actions = self.agent.act([self._look(lane) for lane in range(len(self.games))])
        for lane, action in enumerate(actions):
            step = self.games[lane].step(action)
            self.agent.memory.append(
                action, step.reward, step.observation, step.terminated, step.truncated, lane
            )
            self._count(step.score)
        for action in actions:
            loss = self.agent.learn()
            if loss is not None:
                self.losses.append(loss)
            if self.trace is not None:
                self.trace.append((action, loss))

    def _look(self, lane: int) -> np.ndarray:
        """Return what a game shows, after starting an episode where none is running."""
        game = self.games[lane]
        if game.observation is not None:
            return game.observation
        observation, score = game.begin()
        self.agent.memory.begin(observation, lane)
        self._count(score)
        return observation

    def _count(self, score: float | None) -> None:
        """Count a game that ended with a score."""
        if score is not None:
            self.episodes += 1
            self.recent.append(score)
            self.best = max(self.best, score)

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
        games = {str(lane): game.state(self._snapshot) for lane, game in enumerate(self.games)}
        return {
            "episodes": self.episodes,
            "best": float(self.best),
            "recent": list(self.recent),
            "losses": self.losses,
            "games": games,
            "agent": self.agent.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a state from :meth:`state` back."""
        assert self._restore is not None
        self.episodes = int(state["episodes"])
        self.best = float(state["best"])
        self.recent.clear()
        self.recent.extend(state["recent"])
        self.losses = list(state["losses"])
        for lane, game in enumerate(self.games):
            game.restore(state["games"][str(lane)], self._restore)
        self.agent.restore(state["agent"])
