"""Deep Q-learning for fruit and Space Invaders written by hand, one file per framework.

What a good engineer would write without Triptych, with every trick that its backends use: the
yardstick for the cost of the abstraction.
Each file has ``make(name)``, which returns the :class:`Hands` that ``loop.py`` trains with, and
``matrix_multiply(size)``, which returns a call that multiplies two float32 matrices: the yardstick
for what the machine can do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Hands(NamedTuple):
    """A learner as three functions.

    Attributes:
        act: one observation (height, width, channels) -> the best action.
        update: a batch as the replay memory gives it -> the loss; one update is made.
        sync_target: copies the network into its target network, where there is one.
        parameters: how many numbers learn.
    """

    act: Callable[[np.ndarray], int]
    update: Callable[[Mapping[str, np.ndarray]], Any]
    sync_target: Callable[[], None]
    parameters: int
