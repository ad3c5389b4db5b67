"""The options that every dataset has, as frozen data. A dataset's own stand in its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from triptych.spec.fields import brief, number, option


def _range(value: Any, where: str) -> tuple[float, float] | None:
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and len(value) == 2:
        low, high = map(number, value)
        if low < high:
            return low, high
    raise ValueError(f"expected two rising numbers such as [0, 1] but found {brief(value)}")


@dataclass(frozen=True)
class Options:
    """How many ``examples`` to learn from and to hold back for ``validation``.

    seed: of the dataset's own stream, so that trainings of all seeds see the same examples.
    minmax: the range to which every feature is mapped (MATLAB's ``mapminmax``), fitted to the
    examples that are learned from; ``null`` leaves inputs as they are.
    """

    examples: int = option(500, low=2, high=1_000_000)
    validation: int = option(100, low=1, high=1_000_000)
    seed: int = option(0, low=0)
    minmax: tuple[float, float] | None = option(None, parse=_range)

    def draw(self) -> np.ndarray:
        """Return raw examples (examples + validation, ...), float64."""
        raise NotImplementedError
