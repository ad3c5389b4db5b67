"""The order of axes as data: one permutation each way, the way back derived.

Which array has which order natively is in each backend's ``layouts.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Home:
    """Where a canonical array lives natively: an attribute and the order of its axes.

    ``axes[i]`` is the canonical axis that is the native axis i; empty keeps the order.
    """

    attribute: str
    axes: tuple[int, ...] = ()

    def to_native(self, array: np.ndarray) -> np.ndarray:
        """Canonical to native order."""
        return np.transpose(array, self.axes) if self.axes else array

    def to_canonical(self, array: np.ndarray) -> np.ndarray:
        """Native to canonical order."""
        if not self.axes:
            return array
        return np.transpose(array, [self.axes.index(axis) for axis in range(len(self.axes))])


Homes = dict[str, dict[str, Home]]
"""By a layer's kind, then by the array's local name."""
