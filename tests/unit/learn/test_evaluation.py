"""Episodes to be counted: seeds, side by side, again; what is said of their returns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fakes import Corridor, FakeLearner

from triptych import envs
from triptych.learn import evaluation
from triptych.learn.evaluation import EpsilonGreedy, Start, held_out
from triptych.spec.randomness import integer_seed


class Fixed(FakeLearner):
    """Always prefers one action, and counts how often it is asked, and for how many games."""

    def __init__(self, action: int) -> None:
        super().__init__()
        self.action, self.asked = action, []

    def outputs(self, observations: np.ndarray, network: str = "online") -> np.ndarray:
        self.asked.append(len(observations))
        return np.eye(3)[[self.action] * len(observations)]


class Seeded(Corridor):
    """Its length is drawn from the seed."""

    def reset(self, *, seed=None, options=None):
        first = super().reset(seed=seed, options=options)
        self.length = int(self.np_random.integers(2, 20))
        return first


def play(learner, games, starts, exploration=0.0, **more):
    return evaluation.play(EpsilonGreedy(learner, 3, exploration, starts), games, starts, **more)


def test_each_episode_has_a_seed_that_no_training_has() -> None:
    starts, game = held_out(5, 4), Corridor(4)
    episodes = play(Fixed(2), [game], starts)
    assert game.seeds == [start.seed for start in starts]
    assert len(set(game.seeds)) == 4
    assert [episode.actions for episode in episodes] == [[2] * 4] * 4
    # The environment pays 0.25 for each step of action 2 over action 0, and draws the rest.
    lazy = play(Fixed(0), [Corridor(4)], starts)
    assert [a.total - b.total for a, b in zip(episodes, lazy, strict=True)] == pytest.approx(
        [2] * 4
    )
    training = {integer_seed(seed, "environment") for seed in range(200)}
    assert not training & {start.seed for seed in range(200) for start in held_out(seed, 100)}


def test_more_episodes_begin_with_the_same_ones() -> None:
    assert held_out(3, 8)[:3] == held_out(3, 3)
    assert held_out(3, 3) != held_out(4, 3)


@pytest.mark.parametrize("exploration", [0.0, 0.3, 1.0])
def test_side_by_side_is_the_same_as_one_after_the_other(exploration: float) -> None:
    starts = held_out(0, 9)
    one = play(FakeLearner(), [Seeded()], starts, exploration)
    several = play(FakeLearner(), [Seeded() for _ in range(4)], starts, exploration)
    assert several == one
    assert len({len(episode.actions) for episode in one}) > 3
    alone = play(FakeLearner(), [Seeded()], starts[5:6], exploration)
    assert alone == one[5:6]


def test_the_network_always_sees_as_many_games() -> None:
    learner = Fixed(2)
    play(learner, [Seeded() for _ in range(4)], held_out(0, 9))
    assert set(learner.asked) == {4}
    learner = Fixed(2)
    play(learner, [Seeded() for _ in range(4)], held_out(0, 2))
    assert set(learner.asked) == {2}


def test_episodes_may_be_cut_off() -> None:
    game = Corridor(99, limit=4)
    assert [len(each.actions) for each in play(Fixed(0), [game], held_out(0, 2))] == [4, 4]


def test_exploration_acts_at_random_by_its_own_stream() -> None:
    (episode,) = play(Fixed(2), [Corridor(2000)], held_out(0, 1), 0.3)
    counts = [episode.actions.count(action) for action in range(3)]
    assert counts[2] / 2000 == pytest.approx(0.7 + 0.1, abs=0.03)
    assert counts[0] == pytest.approx(200, abs=50)


def test_random_play_needs_no_learner() -> None:
    episode, other = play(None, [Corridor(3000)], held_out(0, 2), 1.0)
    assert episode.actions != other.actions
    counts = [episode.actions.count(action) for action in range(3)]
    assert counts == pytest.approx([1000] * 3, abs=100)


def test_an_episode_can_be_played_again_and_looked_at() -> None:
    starts, seen = held_out(0, 5), []
    episodes = play(FakeLearner(), [Seeded() for _ in range(3)], starts, 0.5)
    for episode in episodes:
        seen.clear()
        again = evaluation.again(episode)
        same = evaluation.play(again, [Seeded()], [episode.start], see=seen.append)
        assert same == [episode]
        assert len(seen) == len(episode.actions) + 1


def test_progress_is_told_after_each_episode() -> None:
    told: list[tuple[int, int, str]] = []
    tell = lambda *news: told.append(news)  # noqa: E731
    play(Fixed(0), [Corridor(2), Corridor(2)], held_out(0, 3), tell=tell)
    assert told == [(1, 3, "episode"), (2, 3, "episode"), (3, 3, "episode")]


def test_listed_starts_are_played_once_each() -> None:
    grid = 7
    listed = envs.start_states(grid)
    games = [envs.make({"environment": "triptych/Fruit-v0", "grid": grid}) for _ in range(6)]
    episodes = play(Fixed(1), games, [Start(0, options) for options in listed])
    # Action 1 stays: caught where the fruit falls onto the basket, three cells wide.
    expected = [1.0 if abs(start["fruit"] - start["basket"]) <= 1 else -1.0 for start in listed]
    assert [episode.total for episode in episodes] == expected
    assert 0 < expected.count(1.0) < len(expected)


def test_metrics() -> None:
    assert evaluation.metric("greedy_return", [1.0, -1.0, 4.0, 0.0]) == 1.0
    assert evaluation.metric("success_rate", [1.0, -1.0, 4.0, 0.0]) == 0.5


def test_summary() -> None:
    found = evaluation.summary([1.0, 5.0, 3.0, 11.0])
    error = math.sqrt((16 + 0 + 4 + 36) / 3 / 4)
    assert found == pytest.approx(
        {"mean": 5.0, "standard_error": error, "median": 4.0, "min": 1.0, "max": 11.0}
    )
    assert math.isnan(evaluation.summary([2.0])["standard_error"])
