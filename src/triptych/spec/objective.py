"""Objectives' parameters as frozen data. The functions themselves are in ``learn``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from triptych.spec.fields import build_named, option


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
    return build_named(OBJECTIVES, data, where, mistakes)
