"""One unknown number from many residuals, and the round number it stands for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from triptych.errors import TriptychError

Residuals = Callable[[float], np.ndarray]
"""A number -> the vector that should vanish. May raise or be infinite where it makes no sense."""

_REFUSED = (TriptychError, ValueError, ArithmeticError)
_ROUNDING = 1e-12
"""Relative residuals below this are rounding: numbers that reach it are equally good."""


def constant(
    residuals: Residuals, starts: Sequence[float], *, positive: bool = False
) -> float | None:
    """Return the number whose residuals are least, or None where none can be computed.

    Args:
        residuals: of a guess.
        starts: tried in turn; the best three by their residual are refined.
        positive: search among positive numbers, in their logarithm.
    """
    ranked = sorted(
        (size, start) for start in starts if (size := _size(residuals, start)) < math.inf
    )
    found = [_refine(residuals, start, positive) for _, start in ranked[:3]]
    best = min(found, key=lambda value: _size(residuals, value), default=None)
    return None if best is None else tidy(residuals, best)


def tidy(residuals: Residuals, value: float) -> float:
    """Return the roundest number that does no worse: what a person typed."""
    least = _size(residuals, value)
    for near in _round(value):
        if _size(residuals, near) <= max(2.0 * least, _ROUNDING):
            return near
    return value


def _round(value: float) -> Iterable[float]:
    """The number with 1, 2, 3, ... digits, simple fractions, and what float32 makes of those."""
    digits = [float(f"{value:.{count}g}") for count in range(1, 8)]
    fractions = [round(value * n) / n for n in (3, 6, 7, 9, 255) if round(value * n)]
    inverse = [1.0 / round(1.0 / value)] if 0.0 < abs(value) < 0.5 else []
    exact = [*digits, *fractions, *inverse]
    return [*exact, *(float(np.float32(near)) for near in exact)]


def _refine(residuals: Residuals, start: float, positive: bool) -> float:
    # Imported late: certificates hold diagnoses, and are read where nothing is solved.
    from scipy.optimize import least_squares

    there: Callable[[float], float] = math.exp if positive else float
    first = math.log(start) if positive else start

    def vector(x: np.ndarray) -> np.ndarray:
        try:
            values = residuals(there(float(x[0])))
        except _REFUSED:
            return np.full(1, 1e3)
        return np.nan_to_num(values, nan=1e3, posinf=1e3, neginf=-1e3)

    size = len(vector(np.array([first])))

    def padded(x: np.ndarray) -> np.ndarray:
        values = vector(x)
        return values if len(values) == size else np.full(size, 1e3)

    scale = max(abs(first), 1e-3)
    options = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 40}
    done = least_squares(padded, [first], x_scale=scale, jac="3-point", **options)
    return there(float(done.x[0]))


def _size(residuals: Residuals, value: float) -> float:
    try:
        values = residuals(value)
    except _REFUSED:
        return math.inf
    size = float(np.sqrt(np.mean(np.square(values)))) if values.size else math.inf
    return size if math.isfinite(size) else math.inf
