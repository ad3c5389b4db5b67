"""How far two sets of arrays are apart. Pure functions of NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]


def relative(left: np.ndarray, right: np.ndarray, scale: float | None = None) -> float:
    """Return max |left - right| / scale; the scale is max |left| unless given.

    Infinite where a shape differs or a value is not finite on one side only.
    """
    if left.shape != right.shape:
        return math.inf
    if left.size == 0:
        return 0.0
    a, b = left.astype(np.float64, copy=False), right.astype(np.float64, copy=False)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return math.inf
    finite = np.isfinite(a)
    if not finite.all():
        same = np.array_equal(a[~finite], b[~finite], equal_nan=True)
        if not same:
            return math.inf
        a, b = a[finite], b[finite]
    gap = float(np.max(np.abs(a - b), initial=0.0))
    if gap == 0.0:
        return 0.0
    size = float(np.max(np.abs(a), initial=0.0)) if scale is None else scale
    return gap / size if size > 0.0 else math.inf


def distance(left: Arrays, right: Arrays, names: Iterable[str] | None = None) -> float:
    """Return the Euclidean distance between two sets of arrays."""
    total = 0.0
    for name in names if names is not None else left:
        gap = np.subtract(left[name], right[name], dtype=np.float64).reshape(-1)
        total += float(gap @ gap)
    return math.sqrt(total)


def farthest(left: Arrays, right: Arrays, names: Iterable[str]) -> str:
    """Return which of these arrays are the farthest apart; '' of none."""
    return max(names, key=lambda name: distance(left, right, [name]), default="")


def ratio(value: float, yardstick: float) -> float:
    """Return value / yardstick; 0 for 0/0."""
    if value == 0.0:
        return 0.0
    return value / yardstick if yardstick > 0.0 else math.inf


def last_bit(params: Arrays, rng: np.random.Generator, dtype: str) -> dict[str, np.ndarray]:
    """Return params in a type with every entry moved to a neighbouring number, up or down."""
    moved = {}
    for name, array in params.items():
        values = array.astype(dtype)
        towards = np.where(rng.random(values.shape) < 0.5, np.inf, -np.inf).astype(dtype)
        moved[name] = np.nextafter(values, towards)
    return moved
