"""Constants as people write them: the shortest number that a measured one may stand for.

How precisely something was measured is said by whoever measured it.
"""

from __future__ import annotations

import math


def shortest(low: float, high: float, best: float | None = None) -> float:
    """Return the number with the fewest significant digits from ``low`` to ``high``.

    Among equally short ones the nearest to ``best`` (the middle unless given) is taken; 0.0 where
    it lies between.
    """
    if low <= 0.0 <= high:
        return 0.0
    best = (low + high) / 2.0 if best is None else min(max(best, low), high)
    for digits in range(1, 17):
        value = float(f"{best:.{digits - 1}e}")
        if low <= value <= high:
            return value
    return best


def near(value: float, relative: float, absolute: float = 0.0) -> float:
    """Return the shortest number within a relative and an absolute error of a measured value."""
    if not math.isfinite(value):
        return value
    error = abs(value) * relative + absolute
    return shortest(value - error, value + error, value)
