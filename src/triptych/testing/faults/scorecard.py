"""The scorecard: every fault and many clean problems run, in processes, counted and judged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from multiprocessing import get_context
from typing import Any

from tqdm import tqdm

from triptych.testing.faults import clean
from triptych.testing.faults.bank import FAULTS, Row, examine
from triptych.testing.faults.fault import Fault

DETECTED, NAMED = 0.95, 0.90
"""Shares that must be reached: of all faults, and of those detected."""
_CLEAN_AT_ONCE = 5
_TASKS = 8
"""Groups that a process runs before a new one takes its place: compiled programs pile up."""


@dataclass(frozen=True)
class Scorecard:
    """The result: a row for each fault, the clean problems' numbers, and their false alarms."""

    rows: tuple[Row, ...]
    numbers: tuple[int, ...]
    alarms: tuple[clean.Alarm, ...] = ()

    @property
    def detected(self) -> int:
        """Faults that turned the right rung red first."""
        return sum(row.detected for row in self.rows)

    @property
    def named(self) -> int:
        """Faults detected and named rightly, and nothing else with them."""
        return sum(row.detected and row.right for row in self.rows)

    @property
    def passed(self) -> bool:
        """Whether all bars are reached."""
        enough = self.detected >= DETECTED * len(self.rows)
        return enough and self.named >= NAMED * self.detected and not self.alarms

    def as_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "faults": len(self.rows),
            "detected": self.detected,
            "named": self.named,
            "clean": len(self.numbers),
            "clean_float32": sum("float32" in clean.types(n) for n in self.numbers),
            "false_alarms": len({alarm.number for alarm in self.alarms}),
            "passed": self.passed,
            "rows": [row.as_dict() for row in self.rows],
            "alarms": [alarm.as_dict() for alarm in self.alarms],
            "numbers": list(self.numbers),
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Scorecard:
        """Return the scorecard of :meth:`as_dict`; clean problems with an alarm are forgotten."""
        rows = [Row(**dict(row) | {"causes": tuple(row["causes"])}) for row in data["rows"]]
        loud = {alarm["number"] for alarm in data["alarms"]}
        return cls(tuple(rows), tuple(n for n in data["numbers"] if n not in loud))

    def text(self) -> str:
        """As lines for people: what went wrong, then the counts."""
        lines = [
            f"{'ok  ' if row.detected and row.right else 'FAIL'} {row.fault}: rung {row.rung} "
            f"(expected {row.expected_rung}), named {row.named} (expected {row.expected_name})"
            for row in self.rows
        ]
        lines += [f"FAIL clean {a.number}: rung {a.verdict.rung} red" for a in self.alarms]
        counts = (
            f"{self.detected} of {len(self.rows)} detected at the right rung, {self.named} named "
            f"rightly; {len(self.alarms)} false alarms in {len(self.numbers)} clean pairs"
        )
        return "\n".join([*lines, "", counts])


def chosen(pattern: str | None) -> tuple[Fault, ...]:
    """Return the faults whose name, factor or sick backend fits a pattern such as ``*epsilon*``."""
    if pattern is None:
        return FAULTS
    return tuple(
        fault
        for fault in FAULTS
        if any(fnmatch(text, pattern) for text in (fault.name, fault.factor, fault.sick))
    )


Keep = Callable[["Scorecard"], None]
"""Told the scorecard so far after every few results, so that a stopped run is not lost."""


def run(
    faults: Sequence[Fault],
    cleans: Iterable[int],
    jobs: int = 1,
    *,
    show: bool = False,
    before: Scorecard | None = None,
    keep: Keep | None = None,
) -> Scorecard:
    """Return the scorecard of faults and of the numbered clean problems.

    Args:
        faults: from the bank; the processes find them there by name again.
        cleans: numbers of random problems.
        jobs: processes.
        show: whether to draw a progress bar.
        before: an earlier scorecard: what it holds is not run again.
        keep: see :data:`Keep`.
    """
    before = before or Scorecard((), ())
    rows = {row.fault: row for row in before.rows}
    numbers, alarms = list(before.numbers), list(before.alarms)
    parts = _groups([fault for fault in faults if fault.name not in rows])
    parts += _parts([number for number in cleans if number not in numbers])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with (
        get_context("spawn").Pool(jobs, maxtasksperchild=_TASKS) as pool,
        tqdm(total=sum(map(len, parts)), disable=not show, unit="pair") as bar,
    ):
        for more_rows, more_numbers, more_alarms in pool.imap_unordered(_work, parts):
            rows |= {row.fault: row for row in more_rows}
            numbers, alarms = numbers + more_numbers, alarms + more_alarms
            bar.update(len(more_rows) + len(more_numbers))
            card = _card(faults, rows, numbers, alarms)
            if keep:
                keep(card)
    return _card(faults, rows, numbers, alarms)


def _card(
    faults: Sequence[Fault], rows: Mapping[str, Row], numbers: list[int], alarms: list[clean.Alarm]
) -> Scorecard:
    """Rows in the bank's order; those of faults that are no more are left out."""
    ordered = tuple(rows[fault.name] for fault in faults if fault.name in rows)
    return Scorecard(ordered, tuple(sorted(numbers)), tuple(sorted(alarms, key=_number)))


def _number(alarm: clean.Alarm) -> int:
    return alarm.number


def _groups(faults: Sequence[Fault]) -> list[list[str] | list[int]]:
    """Names of faults on one problem and healthy side, so that its record is made once."""
    groups: dict[tuple[str, str], list[str]] = {}
    for fault in faults:
        groups.setdefault((fault.problem, fault.healthy), []).append(fault.name)
    return list(sorted(groups.values(), key=len, reverse=True))


def _parts(numbers: list[int]) -> list[list[str] | list[int]]:
    """Numbers of one pair of backends together."""
    parts: list[list[str] | list[int]] = []
    for place in range(len(clean.PAIRS)):
        same = [number for number in numbers if number % len(clean.PAIRS) == place]
        parts += [same[i : i + _CLEAN_AT_ONCE] for i in range(0, len(same), _CLEAN_AT_ONCE)]
    return parts


def _work(part: list[str] | list[int]) -> tuple[list[Row], list[int], list[clean.Alarm]]:
    """In a process of its own: faults by name, or clean problems by number."""
    by_name = {fault.name: fault for fault in FAULTS}
    rows = [examine(by_name[item]) for item in part if isinstance(item, str)]
    numbers = [item for item in part if isinstance(item, int)]
    return rows, numbers, [alarm for number in numbers for alarm in clean.alarms(number)]
