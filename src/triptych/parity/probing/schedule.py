"""The rate at chosen updates, where it first changes, and what only a changing rate shows.

Needs a fit of the rule; how that is found does not belong here (:mod:`rules`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from triptych.parity.probing.fitting import Fit, refine
from triptych.parity.probing.model import walk
from triptych.parity.probing.naming import CLEAN
from triptych.parity.probing.settling import shortest
from triptych.parity.probing.tapes import Play, Tape, record, scattered, small, still


def near(dtype: str, residual: float) -> float:
    """Return how close two rates are (relatively) that are one.

    Args:
        dtype: what the optimizer computes in.
        residual: how well its rule is reproduced; Keras' float64 rules have float32 constants.
    """
    if dtype == "float32":
        return 2e-4
    return 1e-8 if residual < CLEAN else 1e-5


class Rates:
    """The rates of a live optimizer whose rule is known, each played once and remembered."""

    def __init__(self, play: Play, fit: Fit, dtype: str, climbs: bool, within: float) -> None:
        self._play, self._fit, self._dtype, self._climbs = play, fit, dtype, climbs
        self._within = within
        self._seen = {count: float(rate) for count, rate in enumerate(fit.rates) if fit.varying}

    def at(self, count: int) -> float:
        """Return the rate of the update that ``count`` others came before."""
        if count not in self._seen:
            tape = self.tape(count, 1, moved=False)
            found = walk(self._fit.model, dict(self._fit.constants), tape, "free")
            self._seen[count] = float(found.rates[0, 0])
        return shortest(self._seen[count], self._within)

    def same(self, one: int, other: int) -> bool:
        """Whether two updates have one rate."""
        low, high = self.at(one), self.at(other)
        return abs(low - high) <= self._within * max(abs(low), abs(high))

    def tape(self, first: int, updates: int, moved: bool) -> Tape:
        """Play small gradients from an update on, from zero or (``moved``) scattered params."""
        start = scattered("across", 0.1) if moved else still()
        tape = record(self._play, small(updates, "rates"), start, first, self._dtype)
        return tape.flipped() if self._climbs else tape

    def first_change(self, counts: Sequence[int]) -> int | None:
        """Return the first update with another rate than update 0, or None.

        Between two of ``counts`` it is found by halving, which takes the rate there to leave its
        first value once and not to return to it.
        """
        ordered = sorted({0, *counts, *self._seen})
        for low, high in pairwise(ordered):
            if not self.same(0, high):
                return self._halved(low, high)
        return None

    def _halved(self, low: int, high: int) -> int:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.same(0, middle) else (low, middle)
        return high


def across(fit: Fit, rates: Rates, change: int) -> Fit:
    """Return the fit with what only a change of the rate shows: the buffer's, the decay's rate.

    Args:
        fit: the rule, found at a constant rate.
        rates: its rates.
        change: the first update with another rate.
    """
    tape = rates.tape(max(change - 4, 0), 8, moved=True)
    best, least = fit, np.inf
    for momentum in (
        ("outside", "inside") if fit.constants.get("momentum") else (fit.model.momentum,)
    ):
        for decay in (
            ("decoupled", "fixed") if fit.model.decay == "decoupled" else (fit.model.decay,)
        ):
            model = replace(fit.model, momentum=momentum, decay=decay)
            known = dict(fit.constants)
            if decay == "fixed":
                known["weight_decay"] *= float(fit.rates[0])
            trial = refine(replace(fit, varying=True), [tape], known, model)
            if trial.error < 0.5 * least:
                best, least = replace(fit, model=model, constants=known), trial.error
    return best
