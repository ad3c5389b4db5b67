"""What a diagnosis says: causes with their factor, both values, the residual before and after.

Finding causes belongs in the files beside this one; what a factor is, in ``triptych/factors``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

UNKNOWN = "unknown"
"""The factor of a difference that no hypothesis explains."""


@dataclass(frozen=True)
class Cause:
    """One reason why two sides differ.

    Attributes:
        factor: its slug, or ``unknown``.
        where: a node, an array, ``optimizer``, ``objective``, ``batch`` or ``types``.
        left, right: what each side does, in the spec's words where there are any.
        rung: the rung on which it shows first.
        residual_before: the relative difference without this cause in the model of the right side;
            None for a factor that both sides state and that no number of the record can test.
        residual_after: the same with it.
        sentence: what was found.
        fix: what to do about it.
    """

    factor: str
    where: str
    left: Any
    right: Any
    rung: int
    residual_before: float | None
    residual_after: float | None
    sentence: str
    fix: str

    def as_dict(self) -> dict[str, Any]:
        """As plain data for JSON; numbers that are not finite become ``null``."""
        return {key: _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Diagnosis:
    """The causes found for one pair; none where nothing is red."""

    pair: str
    causes: tuple[Cause, ...] = ()

    @property
    def known(self) -> bool:
        """Whether every difference found has a name."""
        return bool(self.causes) and all(cause.factor != UNKNOWN for cause in self.causes)

    def as_dicts(self) -> list[dict[str, Any]]:
        """The causes as plain data, each with the pair."""
        return [{"pair": self.pair} | cause.as_dict() for cause in self.causes]

    def sentences(self) -> list[str]:
        """What to print behind ``because:``, the fix included."""
        return [f"{cause.sentence} {cause.fix}".strip() for cause in self.causes]


def cause(
    factor: str,
    where: str,
    sides: tuple[str, str],
    values: tuple[Any, Any],
    rung: int,
    residuals: tuple[float | None, float | None],
) -> Cause:
    """Return a cause with its sentences.

    Args:
        factor: its slug.
        where: the place.
        sides: the names of left and right.
        values: what left and right do.
        rung: the lowest rung on which it shows.
        residuals: relative difference before and after.
    """
    left, right = (show(value) for value in values)
    sentence = (
        f"{where}: {factor.replace('-', ' ')} is {left} in {sides[0]} and {right} in {sides[1]}"
    )
    before, after = residuals
    if before is not None and after is not None:
        sentence += f" (with that the difference falls from {before:.1e} to {after:.1e})."
    elif before is not None:
        sentence += f" (a difference of {before:.1e})."
    else:
        sentence += ", as both say themselves; no number of this comparison tests it."
    fix = (
        f"Make it {left} in {sides[1]}, or {right} in {sides[0]}; see 'triptych explain {factor}'."
    )
    return Cause(factor, where, *values, rung, before, after, sentence, fix)


def unknown(where: str, pair: str, rung: int, residual: float, tried: str) -> Cause:
    """Return the honest answer: something differs here and no hypothesis removes it."""
    sentence = (
        f"{where}: {pair} differ by {residual:.1e} and none of the {tried} tested removes that: "
        "the cause is unknown."
    )
    fix = "Compare both sides' code at this place."
    return Cause(UNKNOWN, where, None, None, rung, residual, residual, sentence, fix)


def show(value: Any) -> str:
    """Return a value in words: a number to 3 digits where more would say nothing."""
    if isinstance(value, float):
        near = float(f"{value:.3g}")
        return f"{near:g}" if math.isclose(near, value, rel_tol=1e-12) else f"{value:.10g}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(show(item) for item in value) + ")"
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "size", 0) == 1:
        return _plain(value.item())
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
