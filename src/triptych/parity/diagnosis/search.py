"""From many hypotheses to the few that explain: one that suffices, or several, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

State = TypeVar("State")
"""What is changed by hypotheses: an objective, or an update rule's variant."""

DEPTH = 3
"""At most so many causes of one kind at once."""


@dataclass(frozen=True)
class Step(Generic[State]):
    """One hypothesis applied: the factor, both sides' values, and the state with it."""

    factor: str
    left: Any
    right: Any
    state: State


@dataclass(frozen=True)
class Told(Generic[State]):
    """A step of the explanation with the residual before and after it."""

    step: Step[State]
    before: float
    after: float


def explain(
    state: State,
    steps: Callable[[State], Iterable[Step[State]]],
    gap: Callable[[State], float],
    vanished: float,
    depth: int = DEPTH,
) -> list[Told[State]] | None:
    """Return the steps that make the residual vanish, or None if none are found.

    A single step is tried first. Where none suffices, the step that leaves least is taken and the
    search goes on from there.

    Args:
        state: where to begin.
        steps: the hypotheses about a state.
        gap: a state's residual.
        vanished: the residual that counts as none.
        depth: how many steps at most.
    """
    before, best, least = gap(state), None, float("inf")
    for step in steps(state):
        after = gap(step.state)
        if after <= vanished:
            return [Told(step, before, after)]
        if after < least:
            best, least = step, after
    if best is None or depth == 1 or least > 0.9 * before:
        return None
    rest = explain(best.state, steps, gap, vanished, depth - 1)
    return None if rest is None else [Told(best, before, least), *rest]
