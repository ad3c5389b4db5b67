"""Judging a trained network: greedy episodes, apart from training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from triptych.backends.protocol import Learner
from triptych.learn.dqn import greedy
from triptych.spec.randomness import generator, integer_seed


def play(
    learner: Learner,
    env: gymnasium.Env[Any, Any],
    episodes: int,
    seed: int,
    exploration: float = 0.0,
) -> list[float]:
    """Return the returns of episodes played greedily, with a little exploration where asked.

    Args:
        learner: whose online network acts.
        env: has Discrete actions; is seeded once with the stream ``evaluation`` of ``seed``.
        episodes: how many.
        seed: of the streams ``evaluation`` and ``evaluation/explore``.
        exploration: probability of a random action.
    """
    explore = generator(seed, "evaluation/explore")
    actions = int(env.action_space.n)  # type: ignore[attr-defined]
    returns = []
    for episode in range(episodes):
        first = integer_seed(seed, "evaluation") if episode == 0 else None
        observation, _ = env.reset(seed=first)
        total, over = 0.0, False
        while not over:
            random = exploration > 0.0 and explore.random() < exploration
            action = int(explore.integers(actions)) if random else greedy(learner, observation)
            observation, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            over = bool(terminated or truncated)
        returns.append(total)
    return returns


def play_from(
    learner: Learner, envs: VectorEnv[Any, Any, Any], starts: Sequence[Mapping[str, int]]
) -> list[float]:
    """Return the return of one greedy episode from each start state, all played at once.

    Args:
        learner: whose online network acts.
        envs: a vector environment with as many games as there are start states.
        starts: options of ``reset``, one mapping per game.
    """
    options = {key: np.array([start[key] for start in starts]) for key in starts[0]}
    observations, _ = envs.reset(options=options)
    totals = np.zeros(len(starts))
    playing = np.ones(len(starts), dtype=bool)
    while playing.any():
        actions = np.argmax(learner.outputs(observations), axis=1)
        observations, rewards, terminated, truncated, _ = envs.step(actions)
        totals += rewards * playing
        playing &= ~(terminated | truncated)
    return [float(total) for total in totals]


def metric(name: str, returns: Sequence[float]) -> float:
    """``greedy_return``: the mean return; ``success_rate``: the share of positive returns."""
    values = np.asarray(returns)
    return float(values.mean() if name == "greedy_return" else (values > 0).mean())
