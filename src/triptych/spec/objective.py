"""Objectives' parameters as frozen data. The functions themselves are in ``learn/objectives.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from triptych.errors import did_you_mean
from triptych.spec.fields import build, option


@dataclass(frozen=True)
class Objective:
    """Base; ``reduction`` says how the examples of a batch become one number."""

    name: ClassVar[str] = ""
    reduction: str = option("mean", choices=("mean", "sum"))


@dataclass(frozen=True)
class TDSquared(Objective):
    """factor * (q[action] - target)^2: the squared temporal-difference error."""

    name: ClassVar[str] = "td_squared"
    factor: float = option(1.0, above=0.0)


@dataclass(frozen=True)
class TDHuber(Objective):
    """Huber: e^2 / 2 within ``delta``, delta * (|e| - delta / 2) outside (Huber 1964)."""

    name: ClassVar[str] = "td_huber"
    delta: float = option(1.0, above=0.0)


@dataclass(frozen=True)
class SquaredError(Objective):
    """factor * (output - target)^2, summed over an example's outputs."""

    name: ClassVar[str] = "squared_error"
    factor: float = option(1.0, above=0.0)


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """-log softmax(output)[target], integer targets, raw logits."""

    name: ClassVar[str] = "cross_entropy"


OBJECTIVES: dict[str, type[Objective]] = {
    item.name: item for item in (TDSquared, TDHuber, SquaredError, CrossEntropy)
}


def parse_objective(data: Any, where: str, mistakes: list[str]) -> Objective | None:
    """Return the objective ``{name: td_huber, ...}``, or None with the mistakes appended."""
    if not isinstance(data, Mapping) or "name" not in data:
        mistakes.append(f"{where}.name: is missing; known are {', '.join(OBJECTIVES)}")
        return None
    name = str(data["name"])
    if name not in OBJECTIVES:
        hint = did_you_mean(name, OBJECTIVES) or f"; known are {', '.join(OBJECTIVES)}"
        mistakes.append(f"{where}.name: unknown objective {name!r}{hint}")
        return None
    rest = {key: value for key, value in data.items() if key != "name"}
    return build(OBJECTIVES[name], rest, where, mistakes)
