"""Gradients by central differences: slow, and independent of every framework's differentiation.

D(h) = (f(p + h) - f(p - h)) / 2h has an error in h^2; Richardson's (4 D(h/2) - D(h)) / 3 has one
in h^4. Where D(h) and D(h/2) disagree more than a smooth function allows, the interval holds a
corner (of a relu, a maximum) or a sharp bend, and a smaller h is tried. Exactly on a corner there
is no derivative, and the mean of both sides is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from triptych.errors import Unsupported

Arrays = dict[str, np.ndarray]

STEPS = (2e-4, 2e-5, 2e-6)
"""Half-widths h, tried in turn. Rounding costs about 1e-16 * loss / h."""
LIMIT = 2000
"""The most trainable numbers a gradient is taken of; each costs four to twelve losses."""


def gradient(loss: Callable[[Arrays], float], params: Arrays, names: Sequence[str]) -> Arrays:
    """Return the gradient of ``loss`` for the named arrays; ``params`` are left as they are.

    Raises:
        Unsupported: the arrays hold more than ``LIMIT`` numbers.
    """
    size = sum(params[name].size for name in names)
    if size > LIMIT:
        raise Unsupported(
            f"backend 'numpy' takes gradients by finite differences, several losses for each of "
            f"{size:,} trainable numbers, and refuses above {LIMIT:,}: use a smaller network, or "
            "another backend for gradients and updates"
        )
    point = {name: np.array(array, dtype=np.float64) for name, array in params.items()}
    scale = max(1.0, abs(loss(point)))
    found = {}
    for name in names:
        flat = point[name].reshape(-1)
        slopes = [_slope(loss, point, flat, place, scale) for place in range(flat.size)]
        found[name] = np.array(slopes).reshape(point[name].shape)
    return found


def _slope(
    loss: Callable[[Arrays], float], point: Arrays, flat: np.ndarray, place: int, scale: float
) -> float:
    """The slope along one entry of ``flat``, a view into ``point``."""
    best, least = 0.0, np.inf
    for h in STEPS:
        wide, narrow = (_central(loss, point, flat, place, width) for width in (h, h / 2))
        doubt = abs(wide - narrow) / max(abs(narrow), 1e-3 * scale)
        if doubt < least:
            best, least = (4.0 * narrow - wide) / 3.0, doubt
        if doubt < 1e-7:
            break
    return best


def _central(
    loss: Callable[[Arrays], float], point: Arrays, flat: np.ndarray, place: int, h: float
) -> float:
    kept = flat[place]
    flat[place] = up = kept + h
    above = loss(point)
    flat[place] = down = kept - h
    below = loss(point)
    flat[place] = kept
    return (above - below) / float(up - down)
