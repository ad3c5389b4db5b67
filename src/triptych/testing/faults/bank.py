"""All faults, and one of them run: both records, the verdicts, the diagnosis."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, cast

from triptych.parity import record, rungs
from triptych.parity.diagnosis import Diagnosis, diagnose
from triptych.parity.record import Build, Record, backend_learner
from triptych.parity.rungs import Verdict, first_red
from triptych.parity.subject import Subject
from triptych.testing.faults import (
    in_course,
    in_factors,
    in_layers,
    in_losses,
    in_recurrent,
    in_rules,
)
from triptych.testing.faults.fault import Fault
from triptych.testing.faults.problems import named

FAULTS: tuple[Fault, ...] = (
    *in_layers.FAULTS,
    *in_recurrent.FAULTS,
    *in_losses.FAULTS,
    *in_rules.FAULTS,
    *in_course.FAULTS,
    *in_factors.FAULTS,
)
"""Every fault, from the layers to what only factors show."""


@dataclass(frozen=True)
class Row:
    """One line of the scorecard: what was owed and what was found.

    ``rung`` is the lowest red one, None where nothing turned red; ``named`` are the factors of all
    causes, joined; ``causes`` says them in full.
    """

    fault: str
    pair: str
    rung: int | None
    expected_rung: int
    named: str
    expected_name: str
    causes: tuple[str, ...] = ()

    @property
    def detected(self) -> bool:
        """Whether the right rung turned red first."""
        return self.rung == self.expected_rung

    @property
    def right(self) -> bool:
        """Whether the diagnosis names this cause and no other."""
        return self.named == self.expected_name

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"causes": list(self.causes)}


@lru_cache(maxsize=32)
def healthy(problem: str, backend: str) -> Record:
    """Return the record of a side without a fault, made once, without its envelope."""
    return record.make(named(problem), backend, "float64", envelope=False)


def examine(fault: Fault, find: Any = diagnose) -> Row:
    """Return a fault's line of the scorecard.

    Args:
        fault: what is wrong.
        find: the diagnosis to judge, the real one unless given.
    """
    subject, builds = named(fault.problem), (backend_learner(fault.healthy), fault.build())
    sides = _sides(fault, builds[1])
    verdicts = judged(subject, sides, builds)
    found: Diagnosis = find(subject, *sides, verdicts, builds=builds)
    red = first_red(verdicts)
    return Row(
        fault.name,
        f"{sides[0].name}-{sides[1].name}",
        red.rung if red else None,
        fault.rung,
        " and ".join(dict.fromkeys(cause.factor for cause in found.causes)),
        fault.factor,
        tuple(found.sentences()),
    )


def _sides(fault: Fault, build: Build) -> tuple[Record, Record]:
    """Both records; the sick side says of itself what the healthy one says, but for ``stated``."""
    left = healthy(fault.problem, fault.healthy)
    right = record.make(named(fault.problem), fault.sick, "float64", build, envelope=False)
    said = left.factors
    return (
        replace(left, factors=said | dict(fault.stated[0])),
        replace(right, factors=said | dict(fault.stated[1])),
    )


class _Silent:
    """A progress that nobody looks at."""

    def step(self) -> None:
        """Nothing."""


def judged(
    subject: Subject, sides: tuple[Record, Record], builds: tuple[Build, Build]
) -> list[Verdict]:
    """Return the verdicts; the envelope is measured only where the sides part late, as on the
    ladder itself."""
    verdicts = rungs.climb(subject, *sides)
    red = first_red(verdicts)
    if red is None or red.rung < 5:
        return verdicts
    for side, build in zip(sides, builds, strict=True):
        if not side.envelope:
            silent = cast(Any, _Silent())
            record.widen(side, record.moved(subject, build, side.dtype, silent))
    return rungs.climb(subject, *sides)
