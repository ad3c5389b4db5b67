"""Where a canonical array lives natively, as data: an attribute, the order of its axes, and which
part of the native array it is. The ways there and back are derived.

Which array has which home is in each backend's ``layouts.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Home:
    """Where a canonical array lives natively.

    Attributes:
        attribute: of the node's native layer; dots lead to parts of it, ``cell.kernel``.
        axes: ``axes[i]`` is the canonical axis that is the native axis i; empty keeps the order.
        part: (place, count) where the native array holds ``count`` equal ones side by side, as the
            gates of a recurrent layer; ``None`` where it is the whole.
        axis: the native axis along which they lie, 0 or -1.
        row: which row it is part of, where the native array has one for the biases of either side.
    """

    attribute: str
    axes: tuple[int, ...] = ()
    part: tuple[int, int] | None = None
    axis: int = 0
    row: int | None = None

    def to_native(self, array: np.ndarray) -> np.ndarray:
        """Canonical to native order."""
        return np.transpose(array, self.axes) if self.axes else array

    def to_canonical(self, array: np.ndarray) -> np.ndarray:
        """Native to canonical order."""
        if not self.axes:
            return array
        return np.transpose(array, [self.axes.index(axis) for axis in range(len(self.axes))])

    def piece(self, native: Any) -> Any:
        """Return the part of a native array that this is, a view; NumPy's or a framework's own."""
        if self.row is not None and len(native.shape) > 1:
            native = native[self.row]
        if self.part is None:
            return native
        place, count = self.part
        size = native.shape[self.axis] // count
        own = slice(place * size, (place + 1) * size)
        return native[..., own] if self.axis == -1 else native[own]

    @property
    def is_whole(self) -> bool:
        """Whether the native array holds nothing else."""
        return self.part is None and self.row is None


Homes = dict[str, dict[str, Home]]
"""By a layer's kind, then by the array's local name."""


def join(
    shape: tuple[int, ...], dtype: Any, pieces: Iterable[tuple[Home, np.ndarray]]
) -> np.ndarray:
    """Return a native array from its pieces, each in native order; the rest is zero."""
    whole = np.zeros(shape, dtype)
    for home, array in pieces:
        home.piece(whole)[...] = array
    return whole


def gates(
    names: Iterable[str],
    what: str,
    attribute: str,
    axes: tuple[int, ...] = (),
    axis: int = 0,
    row: int | None = None,
) -> dict[str, Home]:
    """Return the homes of a recurrent layer's arrays that lie side by side, in the native order.

    Args:
        names: the gates as the native array has them.
        what: what the canonical names begin with, such as ``recurrent_kernel``.
        attribute, axes, axis, row: as in :class:`Home`.
    """
    names = list(names)
    return {
        f"{what}_{name}": Home(attribute, axes, (place, len(names)), axis, row)
        for place, name in enumerate(names)
    }
