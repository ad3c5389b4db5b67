"""The scorecard: every fault and many clean problems run, in processes, counted and judged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
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


@dataclass(frozen=True)
class Scorecard:
    """The result: a row for each fault, clean problems counted, and their false alarms."""

    rows: tuple[Row, ...]
    cleans: int
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
            "clean": self.cleans,
            "false_alarms": len({alarm.number for alarm in self.alarms}),
            "passed": self.passed,
            "rows": [row.as_dict() for row in self.rows],
            "alarms": [alarm.as_dict() for alarm in self.alarms],
        }

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
            f"rightly; {len(self.alarms)} false alarms in {self.cleans} clean pairs"
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


def run(
    faults: Sequence[Fault], cleans: Iterable[int], jobs: int = 1, show: bool = False
) -> Scorecard:
    """Return the scorecard of faults and of the numbered clean problems.

    Args:
        faults: from the bank; with several jobs they are found there by name again.
        cleans: numbers of random problems.
        jobs: processes; 1 stays in this one.
        show: whether to draw a progress bar.
    """
    numbers = list(cleans)
    if jobs == 1:
        bar = tqdm(total=len(faults) + len(numbers), disable=not show, unit="pair")
        rows = [_told(examine, fault, bar) for fault in faults]
        alarms = [alarm for number in numbers for alarm in _told(clean.alarms, number, bar)]
        return Scorecard(tuple(rows), len(numbers), tuple(alarms))
    return _in_processes(faults, numbers, jobs, show)


def _told(function: Callable[[Any], Any], item: Any, bar: Any) -> Any:
    found = function(item)
    bar.update()
    return found


def _in_processes(faults: Sequence[Fault], numbers: list[int], jobs: int, show: bool) -> Scorecard:
    """Faults of one problem and healthy side go together, so that its record is made once."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows: dict[str, Row] = {}
    alarms: list[clean.Alarm] = []
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=6) as pool:
        waiting = {pool.submit(_faults, names) for names in _groups(faults)}
        waiting |= {pool.submit(_cleans, part) for part in _parts(numbers)}
        with tqdm(total=len(faults) + len(numbers), disable=not show, unit="pair") as bar:
            for done in as_completed(waiting):
                more_rows, more_alarms, count = done.result()
                rows |= {row.fault: row for row in more_rows}
                alarms += more_alarms
                bar.update(count)
    ordered = tuple(rows[fault.name] for fault in faults)
    return Scorecard(ordered, len(numbers), tuple(sorted(alarms, key=lambda a: a.number)))


def _groups(faults: Sequence[Fault]) -> Iterator[list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for fault in faults:
        groups.setdefault((fault.problem, fault.healthy), []).append(fault.name)
    yield from sorted(groups.values(), key=len, reverse=True)


def _parts(numbers: list[int]) -> Iterator[list[int]]:
    """Numbers of one pair of backends together."""
    for place in range(len(clean.PAIRS)):
        same = [number for number in numbers if number % len(clean.PAIRS) == place]
        yield from (same[i : i + _CLEAN_AT_ONCE] for i in range(0, len(same), _CLEAN_AT_ONCE))


def _faults(names: list[str]) -> tuple[list[Row], list[clean.Alarm], int]:
    by_name = {fault.name: fault for fault in FAULTS}
    return [examine(by_name[name]) for name in names], [], len(names)


def _cleans(numbers: list[int]) -> tuple[list[Row], list[clean.Alarm], int]:
    return [], [alarm for number in numbers for alarm in clean.alarms(number)], len(numbers)
