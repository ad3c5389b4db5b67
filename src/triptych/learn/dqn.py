"""Deep Q-learning's agent: acting, remembering, and when to learn. No framework, no environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from triptych.backends.protocol import Learner
from triptych.learn.prioritised import PrioritisedMemory
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
        return self.epsilon_at(self.steps)

    def epsilon_at(self, step: int) -> float:
        """The probability of a random action at a step, counted from 0."""
        if step < self.algorithm.random_steps:
            return 1.0
        return self.algorithm.exploration.value(step)

    def act(self, observations: Sequence[np.ndarray]) -> list[int]:
        """Return an action for each game: with probability epsilon a random one, else the best by
        the network, which looks at all observations at once.

        One uniform number is drawn at every step, and one integer for a random action, in the order
        of the games, so that the stream does not depend on the network.
        """
        drawn = [self._draw(game) for game in range(len(observations))]
        if None not in drawn:
            return [action for action in drawn if action is not None]
        best = greedy(self.learner, np.stack(observations))
        pairs = zip(drawn, best, strict=True)
        return [chosen if action is None else action for action, chosen in pairs]

    def _draw(self, game: int) -> int | None:
        if self._explore.random() < self.epsilon_at(self.steps + game):
            return int(self._explore.integers(self.actions))
        return None

    def learn(self) -> Any | None:
        """Count a step that was remembered; learn and copy the target network where they are due.

        Returns:
            The loss where an update was made (something ``float()`` reads), else None.
        """
        self.steps += 1
        loss = None
        own = self.algorithm
        if self.steps >= own.first_update and self.steps % own.update_every == 0:
            loss = self._update()
        if own.target_sync is not None and self.steps % own.target_sync == 0:
            self.learner.sync_target()
        return loss

    def _update(self) -> Any:
        own, memory = self.algorithm, self.memory
        if own.prioritised is None:
            return self.learner.update(memory.sample(own.batch, self._replay))
        assert isinstance(memory, PrioritisedMemory)
        batch = memory.sample(own.batch, self._replay, own.prioritised.beta.value(self.steps))
        index = batch.pop("index")
        loss = self.learner.update(batch)
        memory.set_priorities(index, np.asarray(self.learner.reported["error"]))
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


def greedy(learner: Learner, observations: np.ndarray) -> list[int]:
    """Return for each observation the action with the largest output, the first of equals."""
    best: list[int] = np.argmax(learner.outputs(observations), axis=1).tolist()
    return best
