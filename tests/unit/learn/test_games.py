"""Several games side by side: turns, draws, what is due among them, and going on exactly."""

from __future__ import annotations

import copy
from itertools import islice
from typing import Any

import numpy as np
import pytest
from fakes import Corridor, FakeLearner, algorithm, make

from triptych.learn.training import Training
from triptych.spec.algorithms import Prioritised
from triptych.spec.recipe import Budget, Logging
from triptych.spec.schedules import Linear


def played(training: Training) -> Training:
    training.trace = []
    for _ in training.rows():
        pass
    return training


def test_every_game_steps_in_turn_and_has_a_seed_of_its_own() -> None:
    envs = [Corridor(5), Corridor(7), Corridor(9)]
    training = played(make(algorithm(games=3), Budget(steps=30), *envs))
    batch = training.agent.memory.transitions(np.arange(30))
    places = [(step % length) + 1 for step in range(10) for length in (5, 7, 9)]
    assert batch["next_observation"][:, 0].tolist() == places
    assert [env.seeds[0] for env in envs] == [7, 8, 9]
    assert [len(env.seeds) for env in envs] == [2, 2, 2]
    assert training.episodes == 4


def test_one_pass_looks_at_all_games() -> None:
    class Counting(FakeLearner):
        sizes: list[int] = []  # noqa: RUF012

        def outputs(self, observations: np.ndarray, network: str = "online") -> np.ndarray:
            self.sizes.append(len(observations))
            return super().outputs(observations, network)

    training = make(algorithm(games=4), Budget(steps=80))
    training.agent.learner = Counting()  # type: ignore[assignment]
    played(training)
    assert set(Counting.sizes) == {4} and len(Counting.sizes) <= 20


def test_draws_are_made_in_the_order_of_the_games() -> None:
    """The same stream as of one game that shows the games' observations in turn."""
    more: Any = {"exploration": Linear(1.0, 0.0, 60), "random_steps": 7}
    side = make(algorithm(games=2, **more), Budget(steps=40), seed=3).agent
    alone = make(algorithm(**more), Budget(steps=40), seed=3).agent
    for step in range(50):
        pair = [np.array([step, 0], np.uint8), np.array([step + 1, 0], np.uint8)]
        expected = []
        side.steps = alone.steps = 2 * step
        for observation in pair:
            expected += alone.act([observation])
            alone.steps += 1
        assert side.act(pair) == expected


@pytest.mark.parametrize(("every", "sync", "games"), [(4, 10, 2), (1, 6, 4), (6, 12, 4), (8, 4, 4)])
def test_updates_are_due_at_the_same_steps_as_in_one_game(
    every: int, sync: int, games: int
) -> None:
    def due(games: int) -> tuple[list[int], list[int]]:
        own = algorithm(games=games, update_every=every, target_sync=sync, learning_starts=9)
        training = played(make(own, Budget(steps=48)))
        assert training.trace is not None
        steps = [k for k, (_, loss) in enumerate(training.trace, start=1) if loss is not None]
        return steps, training.agent.learner.synced_at  # type: ignore[attr-defined]

    assert due(games) == due(1)


def test_an_update_sees_the_whole_round() -> None:
    own = algorithm(games=4, learning_starts=5, update_every=5, replay=50, batch=4)
    training = make(own, Budget(steps=48))
    sizes, memory = [], training.agent.memory
    sample = memory.sample
    memory.sample = lambda *given: sizes.append(len(memory)) or sample(*given)  # type: ignore[method-assign]
    played(training)
    assert sizes == [8, 12, 16, 20, 28, 32, 36, 40, 48]


@pytest.mark.parametrize("stop", [0, 1, 3, 7, 11, 12])
@pytest.mark.parametrize("options", [{}, {"n_step": 3}, {"prioritised": True}])
def test_resumed_in_any_round_it_goes_on_exactly(stop: int, options: dict[str, Any]) -> None:
    def fresh() -> Training:
        chance = Prioritised() if options.get("prioritised") else None
        given = {**options, "prioritised": chance}
        own = algorithm(games=3, learning_starts=6, replay=21, target_sync=7, **given)
        envs = [Corridor(13, limit=4), Corridor(5), Corridor(6)]
        return make(own, Budget(steps=45), *envs, logging=Logging(1, 3, 100))

    whole = fresh()
    whole.trace = []
    rows = [row for row in whole.rows() if row is not None]
    torn = fresh()
    before = [row for row in islice(torn.rows(), stop) if row is not None]
    state = torn.state()
    chunks = state["agent"]["memory"].pop("chunks")
    assert not chunks  # functions, which there are only in larger memories
    state = copy.deepcopy(state)
    state["agent"]["memory"]["chunks"] = {}
    resumed = fresh()
    for _ in islice(resumed.rows(), 9):
        pass
    resumed.restore(state)
    resumed.trace = []
    after = [row for row in resumed.rows() if row is not None]
    assert resumed.trace == whole.trace[3 * stop :]
    assert str(before + after) == str(rows)


def test_a_budget_of_episodes_may_end_within_a_round() -> None:
    training = make(algorithm(games=3), Budget(episodes=4), logging=Logging(2, 3, 100))
    rows = [row for row in training.rows() if row is not None]
    assert [(row["episode"], row["frame"]) for row in rows] == [(3, 39), (6, 78)]
    assert training.progress() == (4, 4, "episode")
