"""The ladder on a rule that searches: green between frameworks, red for every change of meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from triptych.backends import registry
from triptych.backends.protocol import DType, Learner, Params
from triptych.engines import setup
from triptych.learn.objectives import Sparse
from triptych.parity import free_run, record, rungs, subject
from triptych.parity.record import Build, Record
from triptych.parity.subject import Subject
from triptych.spec.rules import Rule

pytest.importorskip("torch")
SMALL = ["task.size=4", "task.examples=60", "verify.free_epochs=10"]
SMALL += ["network=16 -> dense 4 sigmoid -> dense 16 sigmoid"]


@cache
def problem() -> Subject:
    return subject.of_recipe(setup.load_recipe("sparse-autoencoder", SMALL), 0)


@cache
def made(backend: str, dtype: DType) -> Record:
    return record.make(problem(), backend, dtype)


def first_red(left: Record, right: Record) -> int | None:
    red = rungs.first_red(rungs.climb(problem(), left, right))
    return None if red is None else red.rung


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_two_frameworks_are_the_same(dtype: DType) -> None:
    pytest.importorskip("jax")
    verdicts = rungs.climb(problem(), made("torch", dtype), made("jax", dtype))
    assert [verdict.rung for verdict in verdicts if not verdict.passed] == []
    late = verdicts[6]
    assert "10 updates" in late.detail and late.value > 0.0


def with_rule(change: Callable[[Any], Rule]) -> Build:
    def build(own: Subject, params: Params, rule: Rule, dtype: DType) -> Learner:
        return record.backend_learner("torch")(own, params, change(rule), dtype)

    return build


def with_objective(change: Callable[[Any], Any]) -> Build:
    def build(own: Subject, params: Params, rule: Rule, dtype: DType) -> Learner:
        options: Any = {"rule": rule, "dtype": dtype}
        return registry.get("torch").learner(
            own.network, params, objective=change(own.objective), **options
        )

    return build


def sparse(**changes: Any) -> Build:
    return with_objective(lambda o: Sparse(replace(o.objective, **changes), problem().network))


FAULTS: dict[str, tuple[Build, int]] = {
    "sigma": (with_rule(lambda rule: replace(rule, sigma=1e-4)), 5),
    "damping": (with_rule(lambda rule: replace(rule, damping=5e-6)), 5),
    "l2": (sparse(l2=0.002), 3),
    "one kernel": (sparse(l2_on=("dense1/kernel",)), 3),
    "proportion": (sparse(proportion=0.051), 3),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_change_of_meaning_is_red(name: str) -> None:
    build, rung = FAULTS[name]
    sick = record.make(problem(), "sick", "float64", build)
    assert first_red(made("torch", "float64"), sick) == 0
    hidden = replace(sick, factors=made("torch", "float64").factors)
    assert first_red(made("torch", "float64"), hidden) == rung


def test_the_free_run_counts_epochs() -> None:
    data = setup.load_recipe("sparse-autoencoder", SMALL).data
    one, other, parts = (
        free_run.run("mine", data | more, "torch", 0, lambda *told: None)
        for more in (
            {},
            {"objective": {**data["objective"], "l2": 0.0011}},
            {
                **{"algorithm": {"name": "fit", "batch": 20}},
                **{"objective": {"name": "squared_error"}},
                **{"optimizer": {"name": "adam", "rate": 0.01}},
            },
        )
    )
    assert len(one.losses) == 10 and len(parts.losses) == 30
    same = free_run.compare(one, one)
    assert same.passed and same.detail == "10 batches identical, 10 losses"
    assert free_run.compare(one, other).culprit == "update 1"
    assert free_run.compare(one, parts).culprit == "batch 1"
