"""n-step targets and prioritised replay in the agent: what a learner is given, what it reports."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fakes import Corridor, algorithm, make

from triptych.learn.training import Training
from triptych.spec.algorithms import Prioritised
from triptych.spec.fields import build
from triptych.spec.recipe import DQN, Budget
from triptych.spec.schedules import Linear


def played(steps: int = 60, **options: Any) -> Training:
    training = make(algorithm(**options), Budget(steps=steps), Corridor(7))
    training.trace = []
    for _ in training.rows():
        pass
    return training


def test_batches_of_one_step_hold_nothing_new() -> None:
    batches = played().agent.learner.batches  # type: ignore[attr-defined]
    keys = {"observation", "action", "reward", "next_observation", "terminated"}
    assert all(set(batch) == keys for batch in batches)


def test_batches_of_three_steps_hold_their_discount() -> None:
    batches = played(n_step=3).agent.learner.batches  # type: ignore[attr-defined]
    found = set(np.concatenate([batch["discount"] for batch in batches]).round(12))
    assert found == {0.8, 0.64, 0.512}
    for batch in batches:
        ahead = batch["next_observation"][:, 0] - batch["observation"][:, 0]
        np.testing.assert_allclose(batch["discount"], 0.8**ahead)
        assert (batch["terminated"] == (batch["next_observation"][:, 0] == 7)).all()


def test_the_first_update_waits_for_a_whole_batch_of_long_transitions() -> None:
    training = played(n_step=5, games=1, batch=4)
    assert training.trace is not None
    first = next(k for k, (_, loss) in enumerate(training.trace, start=1) if loss is not None)
    assert first == 4 + 4


def test_priorities_follow_what_the_learner_reports() -> None:
    training = played(prioritised=Prioritised(alpha=1.0, epsilon=0.5), replay=100)
    memory, batches = training.agent.memory, training.agent.learner.batches  # type: ignore[attr-defined]
    assert all("weight" in batch and "index" not in batch for batch in batches)
    priorities = memory.snapshot()["priorities"]
    batch = memory.transitions(np.arange(60))
    expected = np.abs(batch["reward"] + batch["observation"][:, 0]) + 0.5
    drawn = np.isclose(priorities, expected)
    assert drawn.sum() > 30
    # The rest still has what it began with: the largest at that time.
    assert set(priorities[~drawn]) <= {1.0, *expected}


def test_beta_follows_its_schedule_over_steps() -> None:
    given: list[float] = []
    own = Prioritised(beta=Linear(0.4, 1.0, 40))
    training = make(
        algorithm(prioritised=own, learning_starts=10, update_every=10), Budget(steps=60)
    )
    memory = training.agent.memory
    sample = memory.sample
    memory.sample = lambda n, rng, beta: given.append(beta) or sample(n, rng, beta)  # type: ignore
    for _ in training.rows():
        pass
    assert given == pytest.approx([0.55, 0.7, 0.85, 1.0, 1.0, 1.0])


def sentences(**options: Any) -> list[str]:
    found: list[str] = []
    given = {"discount": 0.8, "batch": 4, "replay": 100, "exploration": 0.5, **options}
    build(DQN, given, "algorithm", found)
    return found


def test_options_are_read_from_plain_data() -> None:
    found: list[str] = []
    data = {"discount": 0.8, "batch": 4, "replay": 100, "exploration": 0.5, "prioritised": {}}
    built = build(DQN, data, "algorithm", found)
    assert found == [] and built is not None and built.prioritised == Prioritised()
    beta = Prioritised().beta
    assert (beta.value(0), beta.value(10**6)) == (0.4, 1.0)
    assert (Prioritised().alpha, Prioritised().epsilon) == (0.6, 1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_step": 0}, "algorithm.n_step: must be at least 1 but is 0"),
        ({"games": 0}, "algorithm.games: must be at least 1 but is 0"),
        ({"n_step": 10, "replay": 12}, "replay 12 is smaller than batch 4 and the 9 transitions"),
        ({"n_step": 4, "games": 8, "replay": 27}, "n_step 4 cannot draw yet in 8 games; make"),
        ({"replay": 3}, "algorithm: replay 3 is smaller than batch 4"),
        ({"replay_storage": "dist"}, "none of memory, disk (did you mean 'disk'?)"),
        ({"prioritised": {"alpha": -1}}, "algorithm.prioritised.alpha: must be at least 0.0"),
        ({"prioritised": {"epsilon": 0}}, "algorithm.prioritised.epsilon: must be above 0.0"),
        ({"prioritised": {"beta": 2}}, "must stay between 0 and 1 but 2 goes above 1"),
        ({"prioritised": {"bta": 0.4}}, "algorithm.prioritised.bta: unknown option"),
        ({"prioritised": True}, "algorithm.prioritised: expected a mapping of options but found"),
    ],
)
def test_mistakes_are_sentences(options: dict[str, Any], says: str) -> None:
    (sentence,) = sentences(**options)
    assert says in sentence
