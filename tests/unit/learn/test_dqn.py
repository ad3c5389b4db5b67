"""The agent: when it explores, when it learns, when it copies its target network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fakes import Corridor, FakeLearner, algorithm, make, memory_of

from triptych.learn.dqn import DQNAgent, greedy
from triptych.learn.training import Training
from triptych.spec.recipe import Budget
from triptych.spec.schedules import Constant, Linear


def agent(actions: int = 3, seed: int = 0, **options: Any) -> DQNAgent:
    own = algorithm(**options)
    return DQNAgent(own, FakeLearner(actions), memory_of(own), actions, seed)  # type: ignore[arg-type]


def update_steps(training: Training) -> list[int]:
    training.trace = []
    for _ in training.rows():
        pass
    return [step for step, (_, loss) in enumerate(training.trace, start=1) if loss is not None]


def test_epsilon_follows_its_schedule_over_steps() -> None:
    one = agent(exploration=Linear(start=1.0, end=0.1, steps=9), random_steps=3)
    found = []
    for one.steps in (0, 1, 2, 3, 6, 9, 1000):
        found.append(one.epsilon)
    assert found == pytest.approx([1.0, 1.0, 1.0, 0.7, 0.4, 0.1, 0.1])


def test_random_steps_come_before_the_schedule() -> None:
    one = agent(exploration=Constant(0.0), random_steps=5, actions=50)
    observation = np.array([7, 0], dtype=np.uint8)
    actions = []
    for one.steps in range(10):
        actions.append(one.act([observation])[0])
    assert len(set(actions[:5])) > 1
    assert actions[5:] == [7] * 5


def test_share_of_random_actions_is_epsilon() -> None:
    one = agent(exploration=Constant(0.3), actions=100)
    observation = np.array([7, 0], dtype=np.uint8)
    greedy_share = np.mean([one.act([observation])[0] == 7 for _ in range(4000)])
    assert greedy_share == pytest.approx(0.7 + 0.3 / 100, abs=0.02)


def test_exploration_does_not_depend_on_the_network() -> None:
    """Two agents that prefer different actions explore at the same steps with the same actions."""
    one, two = agent(actions=50, seed=3), agent(actions=50, seed=3)
    left = [one.act([np.array([7, 0], dtype=np.uint8)])[0] for _ in range(200)]
    right = [two.act([np.array([9, 0], dtype=np.uint8)])[0] for _ in range(200)]
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if (a, b) != (7, 9)]
    assert len(pairs) > 50
    assert all(a == b for a, b in pairs)


def test_greedy_takes_the_first_of_equals() -> None:
    class Level(FakeLearner):
        def outputs(self, observations: np.ndarray, network: str = "online") -> np.ndarray:
            return np.array([[1.0, 2.0, 2.0]])

    assert greedy(Level(), np.zeros((1, 2), dtype=np.uint8)) == [1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"learning_starts": 10}, list(range(10, 41))),
        ({"learning_starts": 1, "batch": 6}, list(range(6, 41))),
        ({"learning_starts": 10, "update_every": 4}, list(range(12, 41, 4))),
        ({"learning_starts": 12, "update_every": 4}, list(range(12, 41, 4))),
        ({"learning_starts": 41}, []),
    ],
)
def test_when_it_learns(options: dict[str, Any], expected: list[int]) -> None:
    assert update_steps(make(algorithm(**options), Budget(steps=40))) == expected


def test_fruit_makes_6500_steps_and_6373_updates() -> None:
    """500 episodes of 13 moves, learning from the 128th step on, at every step."""
    own = algorithm(batch=128, learning_starts=128, replay=7000, exploration=Constant(0.8))
    training = make(own, Budget(episodes=500), Corridor(length=13))
    steps = update_steps(training)
    assert training.agent.steps == 6500
    assert len(steps) == training.agent.learner.updates == 6373
    assert steps[0] == 128


def test_target_is_copied_every_so_many_steps_after_the_update() -> None:
    training = make(algorithm(learning_starts=10, target_sync=15), Budget(steps=40))
    update_steps(training)
    assert training.agent.learner.synced_at == [6, 21]  # type: ignore[attr-defined]
    without = make(algorithm(), Budget(steps=40))
    update_steps(without)
    assert without.agent.learner.synced_at == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("ends", ["terminated", "truncated"])
def test_only_a_terminal_state_is_remembered_as_one(ends: str) -> None:
    env = Corridor(length=3) if ends == "terminated" else Corridor(length=99, limit=3)
    training = make(algorithm(learning_starts=30), Budget(steps=60), env)
    update_steps(training)
    batches = training.agent.learner.batches  # type: ignore[attr-defined]
    last = np.concatenate([batch["next_observation"][:, 0] == 3 for batch in batches])
    terminal = np.concatenate([batch["terminated"] for batch in batches])
    assert last.any() and not last.all()
    assert (terminal == last).all() if ends == "terminated" else not terminal.any()
    for (
        batch
    ) in batches:  # the next observation is the last of its episode, not the next one's first
        assert (batch["next_observation"][:, 0] == batch["observation"][:, 0] + 1).all()


def test_the_seed_decides_exploration_and_replay() -> None:
    def actions(seed: int) -> tuple[list[int], np.ndarray]:
        training = make(algorithm(), Budget(steps=40), seed=seed)
        training.trace = []
        for _ in training.rows():
            pass
        batches = training.agent.learner.batches  # type: ignore[attr-defined]
        return [action for action, _ in training.trace], batches[-1]["observation"]

    assert actions(1)[0] == actions(1)[0]
    assert (actions(1)[1] == actions(1)[1]).all()
    assert actions(1)[0] != actions(2)[0]
