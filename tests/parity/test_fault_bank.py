"""The bank of faults: a spread of them is found and named, and the scorecard itself can fail.

The whole bank is run by ``python -m triptych.testing.faults``; its result is in
``docs/results/faults.json``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from triptych.parity.diagnosis import Cause, Diagnosis
from triptych.spec import catalogue
from triptych.testing.faults import bank, scorecard
from triptych.testing.faults.bank import FAULTS, Row
from triptych.testing.faults.fault import Fault
from triptych.testing.faults.scorecard import Scorecard

QUICK = [
    "flatten column-major",
    "kernel turned over",
    "slope 0.01 for 0.2",
    "unbiased running variance",
    "dropout not rescaled",
    "weights loaded through half precision",
    "end of episode ignored",
    "half of the batch",
    "discount of one step for three",
    "weights of priorities ignored",
    "a bias that does not learn",
    "epsilon before the correction",
    "counter of updates forgotten",
    "PyTorch's clipping, 1e-6 added",
    "momentum dampened",
    "coupled decay",
    "float32 from update 55 on",
    "every fifth update left out",
    "no sticky actions",
]
"""Faults of every kind that need little time."""
RESULT = Path(__file__).parents[2] / "docs" / "results" / "faults.json"


def fault(name: str) -> Fault:
    """A fault of the bank by name."""
    return next(item for item in FAULTS if item.name == name)


@pytest.mark.parametrize("name", QUICK)
def test_a_fault_is_found_and_named(name: str) -> None:
    row = bank.examine(fault(name))
    assert row.rung == row.expected_rung, row
    assert row.named == row.expected_name, row


def test_the_bank_is_wide() -> None:
    assert len(FAULTS) >= 75
    assert len({item.name for item in FAULTS}) == len(FAULTS)
    assert {item.rung for item in FAULTS} == set(range(7))
    assert {item.sick for item in FAULTS} == {"torch", "jax", "keras"}
    assert all(item.sick != item.healthy for item in FAULTS)
    assert {item.factor for item in FAULTS} <= {page.name for page in catalogue.factors()}


def test_the_committed_scorecard_reaches_its_bars() -> None:
    data = json.loads(RESULT.read_text(encoding="utf-8"))
    assert data["faults"] == len(data["rows"]) >= 75 and data["clean"] >= 100
    rows = [Row(**{k: v for k, v in row.items() if k != "causes"}) for row in data["rows"]]
    detected = [row for row in rows if row.detected]
    assert len(detected) == data["detected"] >= scorecard.DETECTED * len(rows)
    assert sum(row.right for row in detected) == data["named"] >= scorecard.NAMED * len(detected)
    assert data["false_alarms"] == 0 and data["passed"]


def answer_the_same(subject: Any, left: Any, right: Any, verdicts: Any, builds: Any) -> Diagnosis:
    """A diagnosis that thinks of one cause only."""
    one = Cause("epsilon", "optimizer", 1, 2, 5, 1.0, 0.0, "It is always epsilon.", "")
    return Diagnosis("a-b", (one,))


def test_a_diagnosis_that_always_answers_the_same_fails() -> None:
    chosen = [fault(name) for name in QUICK[:3]]
    card = Scorecard(tuple(bank.examine(item, answer_the_same) for item in chosen), ())
    assert card.detected == 3 and card.named == 0 and not card.passed


def test_a_fault_that_does_nothing_is_not_detected() -> None:
    harmless = replace(fault("slope 0.01 for 0.2"), touch=None)
    row = bank.examine(harmless)
    assert row.rung is None and row.named == "" and not row.detected
    assert not Scorecard((row,), ()).passed


def test_a_fault_on_the_wrong_rung_does_not_count() -> None:
    row = Row("x", "a-b", 5, 2, "epsilon", "epsilon")
    card = Scorecard((row, replace(row, rung=2)), ())
    assert (card.detected, card.named, card.passed) == (1, 1, False)
    two = replace(row, rung=2, named="epsilon and bias")
    assert two.detected and not two.right


def test_a_false_alarm_fails_the_card() -> None:
    good = Row("x", "a-b", 2, 2, "epsilon", "epsilon")
    assert Scorecard((good,), (0,)).passed
    alarm: Any = type("Alarm", (), {"number": 0})()
    assert not Scorecard((good,), (0,), (alarm,)).passed


def test_faults_are_chosen_by_pattern() -> None:
    assert {item.factor for item in scorecard.chosen("*epsilon*")} >= {"epsilon", "epsilon-place"}
    assert scorecard.chosen(None) == FAULTS and scorecard.chosen("nothing") == ()
