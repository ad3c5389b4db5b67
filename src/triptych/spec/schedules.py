"""Schedules: a number that depends on a count, for learning rates and for exploration.

Values are Python floats computed on the host, once for all frameworks, and handed to the compiled
step. What is counted (updates, frames) is said by the user of the schedule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from triptych.errors import did_you_mean
from triptych.spec.fields import build, option


@dataclass(frozen=True)
class Schedule:
    """Base: ``value(count)`` with count = 0 for the first use."""

    name: ClassVar[str] = ""

    def value(self, count: int) -> float:
        """Return the number to use at this count."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """The same number always."""

    name: ClassVar[str] = "constant"
    start: float

    def value(self, count: int) -> float:
        """``start``."""
        return self.start


@dataclass(frozen=True)
class Linear(Schedule):
    """From ``start`` to ``end`` in equal parts over ``steps`` counts, then ``end``."""

    name: ClassVar[str] = "linear"
    start: float
    end: float
    steps: int = option(low=1)

    def value(self, count: int) -> float:
        """start + (end - start) * min(count / steps, 1)."""
        return self.start + (self.end - self.start) * min(count / self.steps, 1.0)


@dataclass(frozen=True)
class Exponential(Schedule):
    """``start * factor ** (count / steps)``; with ``staircase`` the exponent is rounded down."""

    name: ClassVar[str] = "exponential"
    start: float
    factor: float = option(above=0.0)
    steps: int = option(low=1)
    staircase: bool = False

    def value(self, count: int) -> float:
        """The formula above."""
        power = count // self.steps if self.staircase else count / self.steps
        return self.start * self.factor**power


@dataclass(frozen=True)
class Cosine(Schedule):
    """From ``start`` to ``end`` along half a cosine over ``steps`` counts (SGDR, one period)."""

    name: ClassVar[str] = "cosine"
    start: float
    end: float
    steps: int = option(low=1)

    def value(self, count: int) -> float:
        """end + (start - end) * (1 + cos(pi * min(count / steps, 1))) / 2."""
        turn = math.cos(math.pi * min(count / self.steps, 1.0))
        return self.end + (self.start - self.end) * (1.0 + turn) / 2.0


@dataclass(frozen=True)
class Piecewise(Schedule):
    """``values[i]`` from ``boundaries[i - 1]`` (inclusive) up to ``boundaries[i]``."""

    name: ClassVar[str] = "piecewise"
    boundaries: tuple[int, ...] = option(parse=lambda value, where: tuple(value))
    values: tuple[float, ...] = option(parse=lambda value, where: tuple(map(float, value)))

    def __post_init__(self) -> None:
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError("piecewise needs one value more than boundaries")
        if list(self.boundaries) != sorted(self.boundaries):
            raise ValueError("piecewise boundaries must rise")

    def value(self, count: int) -> float:
        """The value of the piece that holds the count."""
        return self.values[sum(count >= boundary for boundary in self.boundaries)]


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.name: schedule for schedule in (Constant, Linear, Exponential, Cosine, Piecewise)
}


def parse_schedule(value: Any, where: str = "schedule") -> Schedule:
    """Return a schedule from a number or from ``{schedule: linear, start: .., ...}``.

    Raises:
        ValueError: the sentence says what is wrong.
    """
    if isinstance(value, Schedule):
        return value
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"expected a number or a schedule but found {value!r}") from None
        if not math.isfinite(number) or number < 0:
            raise ValueError(f"must be zero or more but is {value}")
        return Constant(number)
    if not isinstance(value, Mapping) or "schedule" not in value:
        raise ValueError(f"expected a number or {{schedule: linear, ...}} but found {value!r}")
    name = str(value["schedule"])
    if name not in SCHEDULES:
        hint = did_you_mean(name, SCHEDULES) or f"; known are {', '.join(SCHEDULES)}"
        raise ValueError(f"unknown schedule {name!r}{hint}")
    rest = {key: item for key, item in value.items() if key != "schedule"}
    mistakes: list[str] = []
    schedule = build(SCHEDULES[name], rest, "schedule", mistakes)
    if schedule is None:
        raise ValueError("; ".join(mistakes))
    return schedule
