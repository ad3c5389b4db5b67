"""The kit must bite: every fault fails its check, which the unbroken backend passes."""

from __future__ import annotations

import pytest

from triptych.backends import registry
from triptych.testing.broken import FAULTS, BrokenBackend, Fault, broken
from triptych.testing.conformance import checks, judge
from triptych.testing.recurrent_broken import RECURRENT_FAULTS
from triptych.testing.search_broken import SEARCH_FAULTS
from triptych.testing.shared_broken import SHARED_FAULTS

CHECKS = {check.id: check for check in checks()}
ALL = (*FAULTS, *RECURRENT_FAULTS, *SHARED_FAULTS, *SEARCH_FAULTS)


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name.replace(" ", "_"))
def test_fault_is_caught(fault: Fault) -> None:
    check, real = CHECKS[fault.caught_by], registry.get("torch")
    check(real)
    with pytest.raises(AssertionError) as caught:
        check(BrokenBackend(real, fault))
    assert str(caught.value)


def test_every_check_has_a_fault() -> None:
    proven = {CHECKS[fault.caught_by].name for fault in ALL}
    assert proven == {check.name for check in CHECKS.values()}


def test_ids_are_unique() -> None:
    assert len(CHECKS) == len(checks())


def test_waivers_are_strict() -> None:
    check, real = CHECKS["check_loss-graph"], registry.get("torch")
    wrong = broken(real, "sum for mean")
    judge(wrong, check, {"check_loss": "a known fault"})
    judge(wrong, check, {"check_loss-graph": "a known fault"})
    with pytest.raises(AssertionError, match="remove its waiver"):
        judge(real, check, {"check_loss": "no longer true"})
    with pytest.raises(AssertionError, match="off by"):
        judge(wrong, check, {"check_forward": "of another check"})
