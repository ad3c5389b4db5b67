"""Maps of inputs, feature by feature, as data: fitted once to the examples that are learned from.

A map belongs to what was trained with it: without its constants a network can't be run on raw
inputs. Maps that are layers (``rescale``) are in ``spec``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class InputMap:
    """``(x - least) * gain + low`` in every feature; without constants, x as it is.

    MATLAB's ``mapminmax``: gain = (high - low) / (most - least), and a feature that never changes
    is left as it is.

    Attributes:
        low, gain, least: float64 arrays of the shape of one example, or empty.
    """

    low: np.ndarray = field(default_factory=lambda: np.zeros(0))
    gain: np.ndarray = field(default_factory=lambda: np.zeros(0))
    least: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return raw inputs (n, ...) as the network sees them."""
        return (x - self.least) * self.gain + self.low if self.gain.size else x

    def back(self, y: np.ndarray) -> np.ndarray:
        """Return what the network sees (n, ...) as raw inputs."""
        return (y - self.low) / self.gain + self.least if self.gain.size else y

    def constants(self) -> dict[str, Any]:
        """Return the constants as plain lists, for a file that keeps them."""
        return {name: getattr(self, name).tolist() for name in ("low", "gain", "least")}


def minmax(x: np.ndarray, low: float, high: float) -> InputMap:
    """Return the map that takes every feature of ``x`` (n, ...) to the range from low to high."""
    least, most = x.min(axis=0), x.max(axis=0)
    moves = most > least
    gain = np.where(moves, (high - low) / np.where(moves, most - least, 1.0), 1.0)
    return InputMap(np.where(moves, low, 0.0), gain, np.where(moves, least, 0.0))
