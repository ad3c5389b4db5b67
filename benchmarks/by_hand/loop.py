"""Deep Q-learning's loop written by hand, in the way of a single-file script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from by_hand import Hands


def training_steps(
    env: Any, memory: Any, hands: Hands, algorithm: Any, epsilon: float
) -> Iterator[Any]:
    """Train for ever, yielding after every step: the loss where there was an update, else None.

    Args:
        env: a Gymnasium environment with Discrete actions.
        memory: with ``begin``, ``append`` and ``sample``.
        hands: the learner.
        algorithm: its ``batch``, ``random_steps``, ``learning_starts``, ``update_every`` and
            ``target_sync`` are read.
        epsilon: the probability of a random action after the random steps.
    """
    rng = np.random.default_rng(0)
    actions, step = int(env.action_space.n), 0
    observation, _ = env.reset(seed=0)
    memory.begin(observation)
    while True:
        if step < algorithm.random_steps or rng.random() < epsilon:
            action = int(rng.integers(actions))
        else:
            action = hands.act(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        memory.append(action, float(reward), observation, terminated, truncated)
        step, loss = step + 1, None
        if step >= algorithm.learning_starts and step % algorithm.update_every == 0:
            loss = hands.update(memory.sample(algorithm.batch, rng))
        if step % algorithm.target_sync == 0:
            hands.sync_target()
        if terminated or truncated:
            observation, _ = env.reset()
            memory.begin(observation)
        yield loss
