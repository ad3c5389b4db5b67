"""Texts with conditions: the little language that native code is written with.

A template is the code itself. ``{{name}}`` stands for a value, and a line that ends in ``#if a, not
b`` is kept where flag a is set and b is not. What the templates say belongs to those who fill them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from triptych.spec.schedules import Constant, Cosine, Exponential, Linear, Piecewise, Schedule

_MARK = re.compile(r"\s*#if (.+)$")
_NAME = re.compile(r"{{(\w+)}}")


def fill(template: str, values: Mapping[str, str], flags: Collection[str] = ()) -> str:
    """Return a template's text.

    Args:
        template: its lines; leading and trailing empty ones are dropped.
        values: what stands for each name. A value of several lines must stand on a line alone,
            from column 0.
        flags: those that are set.

    Raises:
        KeyError: the template has a name without a value.
    """
    kept = []
    for line in template.strip("\n").splitlines():
        mark = _MARK.search(line)
        if mark is None or _holds(mark[1], flags):
            kept.append(line[: mark.start()] if mark else line)
    return _NAME.sub(lambda name: values[name[1]], "\n".join(kept))


def _holds(condition: str, flags: Collection[str]) -> bool:
    words = [word.strip() for word in condition.split(",")]
    return all((word.removeprefix("not ") in flags) != word.startswith("not ") for word in words)


def schedule(item: Schedule, count: str) -> list[str]:
    """Return the body of a function of a count that gives a schedule's value.

    Args:
        item: the schedule.
        count: the name of the argument that counts from 0.
    """
    return _SCHEDULES[type(item)](item, count)


def _linear(item: Linear, count: str) -> list[str]:
    change = f"({item.end!r} - {item.start!r})"
    return [f"return {item.start!r} + {change} * min({count} / {whole(item.steps)}, 1.0)"]


def _exponential(item: Exponential, count: str) -> list[str]:
    sign = "//" if item.staircase else "/"
    return [f"return {item.start!r} * {item.factor!r} ** ({count} {sign} {whole(item.steps)})"]


def _cosine(item: Cosine, count: str) -> list[str]:
    return [
        f"turn = math.cos(math.pi * min({count} / {whole(item.steps)}, 1.0))",
        f"return {item.end!r} + ({item.start!r} - {item.end!r}) * (1.0 + turn) / 2.0",
    ]


def _piecewise(item: Piecewise, count: str) -> list[str]:
    boundaries = ", ".join(whole(boundary) for boundary in item.boundaries)
    only = "," if len(item.boundaries) == 1 else ""
    return [
        f"boundaries, values = ({boundaries}{only}), {item.values!r}",
        f"return values[sum({count} >= boundary for boundary in boundaries)]",
    ]


_SCHEDULES = {
    Constant: lambda item, count: [f"return {item.start!r}"],
    Linear: _linear,
    Exponential: _exponential,
    Cosine: _cosine,
    Piecewise: _piecewise,
}


def whole(number: int) -> str:
    """Return a whole number as people read it: ``100_000``."""
    return f"{number:_}" if abs(number) >= 10_000 else str(number)
