"""The loop: rows, budgets, and going on exactly from any step."""

from __future__ import annotations

import copy
import math
from itertools import islice
from typing import Any

import numpy as np
import pytest
from fakes import Corridor, algorithm, make

from triptych.learn.training import COLUMNS, Training
from triptych.spec.recipe import Budget, Logging


def rows_of(training: Training) -> list[dict[str, float]]:
    return [row for row in training.rows() if row is not None]


def test_rows_are_made_at_the_ends_of_episodes() -> None:
    training = make(
        algorithm(learning_starts=20), Budget(episodes=6), Corridor(5), logging=Logging(2, 3, 100)
    )
    rows = rows_of(training)
    assert [tuple(row) for row in rows] == [COLUMNS] * 3
    assert [(row["episode"], row["frame"]) for row in rows] == [(2, 10), (4, 20), (6, 30)]
    assert [row["epsilon"] for row in rows] == [0.5] * 3
    # Losses are 1, 1/2, 1/3, ..; the first at step 20.
    assert math.isnan(rows[0]["loss"])
    assert rows[1]["loss"] == 1.0
    assert rows[2]["loss"] == pytest.approx(np.mean([1 / n for n in range(2, 12)]))


def test_rewards_are_means_over_the_window_and_the_best() -> None:
    training = make(algorithm(), Budget(episodes=7), Corridor(5), logging=Logging(1, 3, 100))
    returns, rows = [], []
    for row in training.rows():
        if row is not None:
            returns.append(training.recent[-1])
            rows.append(row)
    assert len(set(returns)) > 2
    for number, row in enumerate(rows, start=1):
        assert row["running_reward"] == pytest.approx(np.mean(returns[max(0, number - 3) : number]))
        assert row["max_reward"] == max(returns[:number])


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (Budget(episodes=3), [(2, 10), (3, 15)]),
        (Budget(steps=12), [(2, 10), (2, 12)]),
        (Budget(steps=3), [(0, 3)]),
        (Budget(steps=10), [(2, 10)]),
        (Budget(episodes=2, steps=7), [(1, 7)]),
        (Budget(episodes=1, steps=7), [(1, 5)]),
    ],
)
def test_the_last_step_has_a_row(budget: Budget, expected: list[tuple[int, int]]) -> None:
    training = make(algorithm(), budget, Corridor(5), logging=Logging(2, 3, 100))
    assert [(row["episode"], row["frame"]) for row in rows_of(training)] == expected
    assert training.finished
    assert rows_of(training) == []


def test_a_row_before_the_first_episode_has_no_rewards() -> None:
    (row,) = rows_of(make(algorithm(), Budget(steps=3), Corridor(5)))
    assert math.isnan(row["running_reward"]) and math.isnan(row["max_reward"])


def test_progress_counts_what_the_budget_counts() -> None:
    training = make(algorithm(), Budget(episodes=2), Corridor(5))
    assert training.progress() == (0, 2, "episode")
    rows_of(training)
    assert training.progress() == (2, 2, "episode")
    training = make(algorithm(), Budget(steps=4), Corridor(5))
    rows_of(training)
    assert training.progress() == (4, 4, "step")


def test_the_environment_is_seeded_once() -> None:
    env = Corridor(5)
    rows_of(make(algorithm(), Budget(episodes=4), env))
    assert env.seeds == [7, None, None, None]


def finish(training: Training) -> tuple[list[Any], list[Any], list[Any]]:
    training.trace = []
    rows = rows_of(training)
    batches = [batch["observation"].tolist() for batch in training.agent.learner.batches]  # type: ignore[attr-defined]
    return rows, training.trace, batches


@pytest.mark.parametrize("stop", [0, 1, 2, 5, 12, 13, 19, 26, 27, 43])
def test_resumed_at_any_step_it_goes_on_exactly(stop: int) -> None:
    def fresh() -> Training:
        own = algorithm(learning_starts=6, replay=15, target_sync=7)
        return make(own, Budget(steps=45), Corridor(13, limit=9), logging=Logging(1, 3, 100))

    rows, trace, batches = finish(fresh())
    torn = fresh()
    before = [row for row in islice(torn.rows(), stop) if row is not None]
    state = copy.deepcopy(torn.state())
    resumed = fresh()
    for _ in islice(resumed.rows(), 31):  # whatever it did before must not matter
        pass
    resumed.agent.learner.batches.clear()  # type: ignore[attr-defined]
    resumed.restore(state)
    rows_after, trace_after, batches_after = finish(resumed)
    assert trace_after == trace[stop:]
    assert batches_after == batches[len(batches) - len(batches_after) :]
    assert str(before + rows_after) == str(rows)  # NaN is like NaN in text


def test_taking_the_state_changes_nothing() -> None:
    own = algorithm(learning_starts=6)
    looked = make(own, Budget(steps=40))
    looked.trace, rows = [], []
    for row in looked.rows():
        looked.state()
        rows.append(row)
    plain = make(own, Budget(steps=40))
    plain.trace = []
    assert str(rows) == str(list(plain.rows()))
    assert looked.trace == plain.trace
