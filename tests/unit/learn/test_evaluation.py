"""Judging: greedy episodes, returns, metrics."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import Corridor, FakeLearner
from gymnasium.vector import SyncVectorEnv

from triptych import envs
from triptych.learn import evaluation


class Fixed(FakeLearner):
    """Always prefers one action."""

    def __init__(self, action: int) -> None:
        super().__init__()
        self.action = action

    def outputs(self, observations: np.ndarray, network: str = "online") -> np.ndarray:
        return np.eye(3)[[self.action] * len(observations)]


def test_greedy_play_seeds_once_and_sums_rewards() -> None:
    env = Corridor(4)
    returns = evaluation.play(Fixed(2), env, 3, seed=5)  # type: ignore[arg-type]
    assert len(returns) == 3
    assert env.seeds[0] is not None and env.seeds[1:] == [None, None]
    again = evaluation.play(Fixed(2), Corridor(4), 3, seed=5)  # type: ignore[arg-type]
    assert again == returns
    lazy = evaluation.play(Fixed(0), Corridor(4), 3, seed=5)  # type: ignore[arg-type]
    # The environment pays 0.25 for each step of action 2 over action 0, and draws the rest.
    assert np.subtract(returns, lazy) == pytest.approx([4 * 0.5] * 3)


def test_episodes_may_be_cut_off() -> None:
    env = Corridor(99, limit=4)
    assert len(evaluation.play(Fixed(0), env, 2, seed=0)) == 2  # type: ignore[arg-type]
    assert len(env.seeds) == 2


def test_exploration_acts_at_random_by_its_own_stream() -> None:
    taken: list[int] = []

    class Recording(Corridor):
        def step(self, action: int):  # type: ignore[no-untyped-def]
            taken.append(action)
            return super().step(action)

    evaluation.play(Fixed(2), Recording(2000), 1, seed=0, exploration=0.3)  # type: ignore[arg-type]
    share = taken.count(2) / len(taken)
    assert share == pytest.approx(0.7 + 0.1, abs=0.03)
    assert taken.count(0) == pytest.approx(200, abs=50)


def test_play_from_every_start_counts_each_game_once() -> None:
    grid = 7
    starts = envs.start_states(grid)
    games = envs.make_vector({"environment": "triptych/Fruit-v0", "grid": grid}, len(starts))
    returns = evaluation.play_from(Fixed(1), games, starts)  # type: ignore[arg-type]
    # Action 1 stays: caught where the fruit falls onto the basket, three cells wide.
    expected = [1.0 if abs(start["fruit"] - start["basket"]) <= 1 else -1.0 for start in starts]
    assert returns == expected
    assert 0 < expected.count(1.0) < len(expected)


class Paid(Corridor):
    """Pays 1 a step."""

    def step(self, action: int):  # type: ignore[no-untyped-def]
        observation, _, terminated, truncated, info = super().step(action)
        return observation, 1.0, terminated, truncated, info


def test_games_that_end_early_earn_no_more() -> None:
    """Autoreset begins another game, whose rewards nobody asked for."""
    lengths = (2, 9, 5)
    games = SyncVectorEnv([lambda n=n: Paid(n) for n in lengths])  # type: ignore[misc]
    returns = evaluation.play_from(Fixed(2), games, [{"unused": 0}] * 3)  # type: ignore[arg-type]
    assert returns == [2.0, 9.0, 5.0]


def test_metrics() -> None:
    assert evaluation.metric("greedy_return", [1.0, -1.0, 4.0, 0.0]) == 1.0
    assert evaluation.metric("success_rate", [1.0, -1.0, 4.0, 0.0]) == 0.5
