"""A game of several lives: what is learned from are lives, what is counted are games."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from fakes import Corridor, algorithm, make

from triptych.learn.game import Game
from triptych.spec.recipe import Budget, Logging


class Lives(Corridor):
    """Ends an episode with each life of 3 steps; a game has ``lives`` of them, or ends before one
    of them begins, as when a no-op between two lives ends it. A step scores 10, and rewards 1."""

    def __init__(self, lives: int = 3, ends_between: int | None = None) -> None:
        super().__init__(length=3)
        self.lives, self.ends_between = lives, ends_between
        self.life = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        observation, _ = super().reset(seed=seed)
        over = self.life == self.ends_between
        self.life = 0 if over or self.life == self.lives else self.life
        return observation, {"game_over": over}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, _ = super().step(action)
        self.life += terminated
        told = {"game_over": terminated and self.life == self.lives, "score": 10.0}
        return observation, 1.0, terminated, truncated, told


def rows(env: gymnasium.Env[Any, Any], **options: Any) -> list[tuple[float, ...]]:
    training = make(algorithm(**options), Budget(steps=27), env, logging=Logging(1, 100, 100))  # type: ignore[arg-type]
    columns = ("episode", "frame", "running_reward", "max_reward")
    return [tuple(row[name] for name in columns) for row in training.rows() if row is not None]


def test_a_game_of_three_lives_is_counted_once_with_its_whole_score() -> None:
    assert rows(Lives()) == [(1, 9, 90, 90), (2, 18, 90, 90), (3, 27, 90, 90)]


def test_a_game_that_ends_between_two_lives_is_counted_with_the_next_step() -> None:
    assert rows(Lives(ends_between=2)) == [
        (1, 7, 60, 60), (2, 13, 60, 60), (3, 19, 60, 60), (4, 25, 60, 60), (4, 27, 60, 60),
    ]  # fmt: skip


def test_a_new_game_that_ends_at_once_is_none() -> None:
    """As where firing at its start ends it: nobody has played it."""

    class Twice(Lives):
        def reset(self, **given: Any) -> tuple[np.ndarray, dict[str, Any]]:
            observation, _ = super().reset(**given)
            return observation, {"game_over": self.life == 0}

    assert rows(Twice()) == rows(Lives())


def test_an_episode_of_the_memory_ends_with_each_life() -> None:
    training = make(algorithm(), Budget(steps=27), Lives())
    for _ in training.rows():
        pass
    batch = training.agent.memory.transitions(np.arange(27))
    assert batch["terminated"].tolist() == [False, False, True] * 9
    assert set(batch["reward"]) == {1.0}


def test_without_lives_an_episode_is_a_game() -> None:
    game, scores = Game(Corridor(4), 7), []
    for _ in range(3):
        assert game.begin()[1] is None
        total, step = 0.0, None
        while step is None or step.score is None:
            step = game.step(1)
            total += step.reward
        scores.append(step.score)
        assert step.score == pytest.approx(total)
        assert game.observation is None
    assert len(set(scores)) > 1
