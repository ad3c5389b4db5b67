"""Rung 0 bites: a fault that is built into a side shows in what its live objects say.

That the same faults are found where a side hides them is tested in ``test_fault_bank.py``.
"""

from __future__ import annotations

from typing import Any

import pytest

from triptych.parity.diagnosis.stated import differences
from triptych.parity.record import Record, backend_learner
from triptych.testing.faults.bank import FAULTS
from triptych.testing.faults.fault import Fault
from triptych.testing.faults.problems import named

SAID = [
    "Keras' epsilon value",
    "epsilon before the correction",
    "epsilon 1e-5 in batch normalisation",
    "slope 0.01 for 0.2",
    "slope 0.3 for 0.2",
    "unbiased running variance in JAX",
    "clipping by variable",
    "clipping limit 0.1 for 0.05",
    "half the squared error",
    "sum for mean",
    "discount through float32",
    "online network as its own target",
    "double Q-learning",
    "Nesterov's momentum",
    "Adagrad begins at 0.1",
    "L2 forgotten",
    "schedule not followed",
    "rate ten times too small",
    "dropout rate for the share kept",
    "gelu by tanh",
]
"""Faults whose sick side says the truth when it is asked, unlike in the bank."""
_ALOUD = {"constant-through-float32": "discount"}
"""Rung 0 sees another discount; that float32 made it, only numbers tell."""


def said_by(learner: Any, name: str) -> Record:
    """A record that holds nothing but what a learner says of itself."""
    return Record(name, "float64", learner.factors(), {}, {}, {}, 0.0, {})


@pytest.mark.parametrize("name", SAID)
def test_a_fault_said_aloud_turns_rung_0_red(name: str) -> None:
    fault: Fault = next(fault for fault in FAULTS if fault.name == name)
    subject = named(fault.problem)
    sides = [
        said_by(build(subject, subject.params, subject.rule, "float64"), side)
        for side, build in (("left", backend_learner(fault.sick)), ("right", fault.build()))
    ]
    found = differences(*sides)
    assert _ALOUD.get(fault.factor, fault.factor) in {cause.factor for cause in found}, found
    assert all(cause.rung == 0 for cause in found)
    assert differences(sides[0], sides[0]) == []
