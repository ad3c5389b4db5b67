"""Deep Q-learning's agent: acting, remembering, and when to learn. No framework, no environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from triptych.backends.protocol import Learner
from triptych.learn.replay import ReplayMemory
from triptych.spec.randomness import generator, get_state, set_state
from triptych.spec.recipe import DQN


class DQNAgent:
    """Acts epsilon-greedily and learns from a replay memory (Mnih et al. 2015).

    Args:
        algorithm: the recipe's parameters.
        learner: the network that learns.
        memory: where transitions go.
        actions: how many there are.
        seed: of the streams ``explore`` and ``replay``.
    """

    def __init__(
        self, algorithm: DQN, learner: Learner, memory: ReplayMemory, actions: int, seed: int
    ) -> None:
        self.algorithm, self.learner, self.memory, self.actions = (
            algorithm,
            learner,
            memory,
            actions,
        )
        self.steps = 0
        self._explore = generator(seed, "explore")
        self._replay = generator(seed, "replay")

    @property
    def epsilon(self) -> float:
        """The probability of a random action at this step."""
        if self.steps < self.algorithm.random_steps:
            return 1.0
        return self.algorithm.exploration.value(self.steps)

    def begin(self, observation: np.ndarray) -> None:
        """Start an episode."""
        self.memory.begin(observation)

    def act(self, observation: np.ndarray) -> int:
        """Return a random action with probability epsilon, else the best one by the network.

        One uniform number is drawn at every step, and one integer for a random action, so that the
        stream does not depend on the network.
        """
        if self._explore.random() < self.epsilon:
            return int(self._explore.integers(self.actions))
        return greedy(self.learner, observation)

    def learn_from(
        self,
        action: int,
        reward: float,
        next_observation: np.ndarray,
        terminated: bool,
        truncated: bool,
    ) -> Any | None:
        """Remember a step; learn and copy the target network where they are due.

        Returns:
            The loss where an update was made (something ``float()`` reads), else None.
        """
        self.memory.append(action, reward, next_observation, terminated, truncated)
        self.steps += 1
        loss = None
        own = self.algorithm
        ready = self.steps >= max(own.learning_starts, own.batch)
        if ready and self.steps % own.update_every == 0:
            loss = self.learner.update(self.memory.sample(own.batch, self._replay))
        if own.target_sync is not None and self.steps % own.target_sync == 0:
            self.learner.sync_target()
        return loss

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on exactly, the memory included."""
        return {
            "steps": self.steps,
            "explore": get_state(self._explore),
            "replay": get_state(self._replay),
            "memory": self.memory.snapshot(),
            "learner": self.learner.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a state from :meth:`state` back."""
        self.steps = int(state["steps"])
        set_state(self._explore, state["explore"])
        set_state(self._replay, state["replay"])
        self.memory.restore(state["memory"])
        self.learner.restore(state["learner"])


def greedy(learner: Learner, observation: np.ndarray) -> int:
    """Return the action with the largest output, the first of equals."""
    return int(np.argmax(learner.outputs(observation[None])[0]))
