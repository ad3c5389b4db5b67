"""Schedules: a number that depends on a count, for learning rates and for exploration.

Values are Python floats computed on the host, once for all frameworks, and handed to the compiled
step. What is counted (updates, frames) is said by the user of the schedule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from triptych.spec.fields import MistakesError, brief, build_named, number, option, whole

COUNTS = (0, 1, 10, 100, 1_000)
"""Updates, counted from 0, at which a rate is looked at where each look costs something."""
FAR_COUNTS = (*COUNTS, 10_000, 100_000)
"""The same where a rate is a function."""


def _numbers(value: Any, where: str) -> tuple[float, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected a list of numbers but found {brief(value)}")
    if any(number(item) < 0.0 for item in value):
        raise ValueError(f"every number must be at least 0 but they are {brief(value)}")
    return tuple(number(item) for item in value)


def _boundaries(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected a list of whole numbers but found {brief(value)}")
    return tuple(whole(item) for item in value)


@dataclass(frozen=True)
class Schedule:
    """Base: ``value(count)`` with count = 0 for the first use."""

    name: ClassVar[str] = ""

    def value(self, count: int) -> float:
        """Return the number to use at this count."""
        raise NotImplementedError

    def highest(self) -> float:
        """Return a bound that no value exceeds, such as 1 for a probability's schedule."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """The same number always."""

    name: ClassVar[str] = "constant"
    start: float = option(low=0.0)

    def value(self, count: int) -> float:
        """``start``."""
        return self.start

    def highest(self) -> float:
        """``start``."""
        return self.start


@dataclass(frozen=True)
class Linear(Schedule):
    """From ``start`` to ``end`` in equal parts over ``steps`` counts, then ``end``."""

    name: ClassVar[str] = "linear"
    start: float = option(low=0.0)
    end: float = option(low=0.0)
    steps: int = option(low=1)

    def value(self, count: int) -> float:
        """start + (end - start) * min(count / steps, 1)."""
        return self.start + (self.end - self.start) * min(count / self.steps, 1.0)

    def highest(self) -> float:
        """The larger end."""
        return max(self.start, self.end)


@dataclass(frozen=True)
class Exponential(Schedule):
    """``start * factor ** (count / steps)``; with ``staircase`` the exponent is rounded down."""

    name: ClassVar[str] = "exponential"
    start: float = option(low=0.0)
    factor: float = option(above=0.0)
    steps: int = option(low=1)
    staircase: bool = False

    def value(self, count: int) -> float:
        """The formula above; infinity where it outgrows a float."""
        power = count // self.steps if self.staircase else count / self.steps
        try:
            return self.start * self.factor**power
        except OverflowError:
            return math.inf

    def highest(self) -> float:
        """``start`` where it falls, no bound where it grows."""
        return self.start if self.factor <= 1.0 else math.inf


@dataclass(frozen=True)
class Cosine(Schedule):
    """From ``start`` to ``end`` along half a cosine over ``steps`` counts (SGDR, one period)."""

    name: ClassVar[str] = "cosine"
    start: float = option(low=0.0)
    end: float = option(low=0.0)
    steps: int = option(low=1)

    def value(self, count: int) -> float:
        """end + (start - end) * (1 + cos(pi * min(count / steps, 1))) / 2."""
        turn = math.cos(math.pi * min(count / self.steps, 1.0))
        return self.end + (self.start - self.end) * (1.0 + turn) / 2.0

    def highest(self) -> float:
        """The larger end."""
        return max(self.start, self.end)


@dataclass(frozen=True)
class Piecewise(Schedule):
    """``values[i]`` from ``boundaries[i - 1]`` (inclusive) up to ``boundaries[i]``."""

    name: ClassVar[str] = "piecewise"
    boundaries: tuple[int, ...] = option(parse=_boundaries)
    values: tuple[float, ...] = option(parse=_numbers)

    def __post_init__(self) -> None:
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"piecewise needs one value more than boundaries but has {len(self.values)} "
                f"values and {len(self.boundaries)} boundaries"
            )
        if any(after <= before for before, after in pairwise((0, *self.boundaries))):
            raise ValueError(
                f"piecewise boundaries must be above 0 and rise but are {brief(self.boundaries)}"
            )

    def value(self, count: int) -> float:
        """The value of the piece that holds the count."""
        return self.values[sum(count >= boundary for boundary in self.boundaries)]

    def highest(self) -> float:
        """The largest value."""
        return max(self.values)


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.name: schedule for schedule in (Constant, Linear, Exponential, Cosine, Piecewise)
}


def parse_schedule(value: Any, where: str = "schedule") -> Schedule:
    """Return a schedule from a number or from ``{schedule: linear, start: .., ...}``.

    Raises:
        ValueError: it says what is wrong; as a :class:`MistakesError` where there may be several.
    """
    if isinstance(value, Schedule):
        return value
    if not isinstance(value, Mapping):
        start = number(value)
        if start < 0.0:
            raise ValueError(f"must be at least 0 but is {brief(value)}")
        return Constant(start)
    mistakes: list[str] = []
    schedule = build_named(SCHEDULES, value, where, mistakes, key="schedule")
    if schedule is None:
        raise MistakesError(mistakes)
    return schedule
