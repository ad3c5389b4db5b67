"""Pictures of bars: each row and each column of a square is lit or not, by chance alone.

Such pictures have a known best code, one unit for each bar (Földiák 1990). Here bars have a
brightness of their own in every picture, and pixels noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from triptych.data.options import Options
from triptych.spec.fields import option
from triptych.spec.randomness import generator


@dataclass(frozen=True)
class Bars(Options):
    """Options: ``size`` pixels a side, the chance that a bar is lit, and the noise's deviation."""

    size: int = option(8, low=2, high=64)
    chance: float = option(0.15, low=0.0, high=1.0)
    noise: float = option(0.05, low=0.0)

    def draw(self) -> np.ndarray:
        """Return raw pictures (examples + validation, size * size), row by row, float64."""
        stream, count = generator(self.seed, "data/bars"), self.examples + self.validation
        lit = stream.random((2, count, self.size)) < self.chance
        bright = stream.uniform(0.5, 1.0, (2, count, self.size)) * lit
        pictures = np.maximum(bright[0][:, :, None], bright[1][:, None, :])
        noise = stream.normal(0.0, self.noise, (count, self.size, self.size))
        return (pictures + noise).reshape(count, self.size**2)
