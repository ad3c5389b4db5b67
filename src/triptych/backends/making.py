"""What a framework makes when nothing is said: the shapes in which ``defaults.py`` hands it over.

Each backend's ``defaults.py`` has ``DEFAULTS``, a maker by subject; here are the subjects' sizes
and what makers return. What is found out about them is in ``parity/defaults.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Function = Callable[[np.ndarray], np.ndarray]
Play = Callable[[Sequence[Arrays], Arrays, int], list[Arrays]]
"""Gradients per update, params at the start, the first update: params after each."""

FEATURES, UNITS = 60, 1500
"""Of the dense layer: many units, so that a bias shows its distribution."""
KERNEL, CHANNELS, FILTERS = (3, 2), 5, 1200
"""Of the convolution."""
TABLE = (300, 60)
"""Rows and features of the embedding."""
INPUTS, STATE = 40, 64
"""Features and units of the recurrent layers."""
WIDTH = 6
"""Channels of the normalisations."""
STEPS = 100
"""Updates after which the rate of ``momentum`` falls to a tenth."""


@dataclass(frozen=True)
class Layer:
    """A fresh layer.

    Attributes:
        arrays: canonical local name to array; of recurrent layers several with the same fans may
            stand for one name.
        call: from inputs in the canonical layout and whether it trains to outputs.
        moved: from a training batch to the running statistics after it.
        whole: whether recurrent arrays hold all gates side by side, drawn as one.
    """

    arrays: Mapping[str, Any] = field(default_factory=dict)
    call: Callable[[np.ndarray, bool], np.ndarray] | None = None
    moved: Callable[[np.ndarray], Mapping[str, np.ndarray]] | None = None
    whole: bool = False


@dataclass(frozen=True)
class Rule:
    """A fresh optimizer; ``rate`` is one that had to be given, None where there is a default."""

    play: Play
    rate: float | None = None
