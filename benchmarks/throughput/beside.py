"""A backend of Triptych and the loop by hand in one process: what the abstraction costs.

Between two processes there lies more than the few percent looked for: where each finds its memory.
Here both train in turns, a few steps at a time, and every turn is compared with its neighbour.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from throughput.library import Library
from throughput.native import Native

STEPS = 40
"""Training steps of a turn: half a second."""


class Beside:
    """Both loops in one framework: ``torch``, ``jax`` or ``keras``."""

    def __init__(self, backend: str) -> None:
        self.ours, self.theirs = Library(backend), Native(backend)
        self.parameters = self.ours.parameters

    def prepare(self) -> None:
        for side in (self.ours, self.theirs):
            side.prepare()

    def components(self) -> dict[str, Callable[[], object]]:
        return {}

    def compare(self, steps: int) -> float:
        """Return Triptych's training speed over that by hand: the median over pairs of turns."""
        pairs = []
        for number in range(steps // STEPS):
            taken = {}
            for side in (self.ours, self.theirs)[:: -1 if number % 2 else 1]:
                began = time.perf_counter()
                side.run(STEPS)
                taken[side] = time.perf_counter() - began
            pairs.append(taken[self.theirs] / taken[self.ours])
        return median(pairs)
