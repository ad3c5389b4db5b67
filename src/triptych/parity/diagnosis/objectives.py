"""Rungs 3 and 4: what the right side's loss and gradients are made of, tested in the oracle.

A hypothesis is an objective. It must give the right's loss on several batches, and its slope along
random directions must be that of the right's gradients: one number could be met by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triptych.backends.protocol import Batch, Evaluation, Params
from triptych.errors import TriptychError
from triptych.parity.diagnosis import oracle
from triptych.parity.diagnosis.machine import Arrays, Machine
from triptych.spec.randomness import generator

LOSS = 1e-10
"""Relative difference of losses that counts as none."""
SLOPE = 1e-6
"""Relative difference of slopes that counts as none: they are taken by differences."""
_WIDTHS = (1e-4, 1e-5, 1e-6)
_LARGE = 20_000
"""Trainable numbers above which only whole gradients are judged, not each array's."""


@dataclass(frozen=True)
class Scene:
    """What the right side answered: losses on several batches, and its gradients on the first.

    ``params`` are its own; ``machine`` computes its network; ``trainable`` names what it learns;
    ``target`` is its target network where that is not the online one's copy.
    """

    machine: Machine
    params: Params
    batches: Sequence[Batch]
    losses: np.ndarray
    gradients: Params
    trainable: Sequence[str]
    seed: int
    target: tuple[Machine, Params] | None = None
    seen: dict[tuple[int, str, str, bool], np.ndarray] = field(default_factory=dict)

    def loss(self, objective: Any, params: Params, batch: Batch, xp: Any, held: Arrays) -> float:
        """Return an objective's loss; ``held`` are its outputs without gradient."""
        moving = {
            item.name: self.machine.output(params, batch[item.input], True)
            for item in objective.evaluations
            if item.gradient
        }
        return float(objective.loss(xp, held | moving, plain(batch)))

    def losses_of(self, objective: Any) -> np.ndarray:
        """Return an objective's losses on the batches."""
        xp = oracle.namespace()
        pairs = enumerate(self.batches)
        return np.array(
            [
                float(objective.loss(xp, self._outputs(objective.evaluations, i), plain(b)))
                for i, b in pairs
            ]
        )

    def _outputs(self, passes: Sequence[Evaluation], place: int) -> Arrays:
        """The outputs of passes on a batch; each is run once only."""
        found = {}
        for item in passes:
            key = (place, item.network, item.input, item.gradient)
            if key not in self.seen:
                apart = self.target if item.network == "target" else None
                machine, params = apart or (self.machine, self.params)
                observations = self.batches[place][item.input]
                self.seen[key] = machine.output(params, observations, item.gradient)
            found[item.name] = self.seen[key]
        return found

    def _held(self, objective: Any) -> Arrays:
        """The outputs without gradient, on the first batch."""
        return self._outputs([item for item in objective.evaluations if not item.gradient], 0)

    def residuals(self, objective: Any) -> np.ndarray:
        """Return the losses' differences from the right's, relative to the largest."""
        size = max(float(np.max(np.abs(self.losses))), 1e-300)
        return (self.losses_of(objective) - self.losses) / size

    def gap(self, objective: Any) -> float:
        """Return the largest of those; infinite where the objective can't be computed."""
        try:
            with np.errstate(all="ignore"):
                found = float(np.max(np.abs(self.residuals(objective))))
        except (TriptychError, ValueError, KeyError, IndexError, AttributeError):
            return np.inf
        return found if np.isfinite(found) else np.inf

    def slopes(self, objective: Any, leaky: bool = False) -> dict[str, float]:
        """Return how far slopes of the objective are from those of the right's gradients.

        By array, or ``""`` for all arrays at once where there are many numbers; relative to the
        size of the gradient.
        """
        stream = generator(self.seed, "diagnosis/directions")
        size = sum(self.params[name].size for name in self.trainable)
        groups = [[name] for name in self.trainable] if size <= _LARGE else [list(self.trainable)]
        largest = max(np.linalg.norm(g) for g in self.gradients.values())
        found = {}
        for names in groups:
            way = {name: stream.normal(size=self.params[name].shape) for name in names}
            length = np.sqrt(sum(float(np.sum(d * d)) for d in way.values()))
            way = {name: d / length for name, d in way.items()}
            expected = sum(float(np.sum(self.gradients[name] * d)) for name, d in way.items())
            own = max(np.linalg.norm(self.gradients[name]) for name in names)
            gap = abs(self._slope(objective, way, leaky) - expected) / max(own, 1e-2 * largest)
            found[names[0] if len(names) == 1 else ""] = float(gap)
        return found

    def _slope(self, objective: Any, way: Mapping[str, np.ndarray], leaky: bool) -> float:
        """The derivative of the loss along a direction, by the pair of differences that agree."""
        xp, batch = oracle.Held(leaky), self.batches[0]
        held = self._held(objective)
        self.loss(objective, self.params, batch, xp, held)

        def at(distance: float) -> float:
            xp.again()
            moved = {name: self.params[name] + distance * d for name, d in way.items()}
            return self.loss(objective, self.params | moved, batch, xp, held)

        best, least = 0.0, np.inf
        for width in _WIDTHS:
            wide = (at(width) - at(-width)) / (2 * width)
            narrow = (at(width / 2) - at(-width / 2)) / width
            if abs(wide - narrow) < least:
                best, least = (4 * narrow - wide) / 3, abs(wide - narrow)
        return best


def plain(batch: Batch) -> dict[str, np.ndarray]:
    """Return a batch with its real numbers in float64."""
    return {
        key: np.asarray(v).astype(np.float64) if np.asarray(v).dtype.kind == "f" else np.asarray(v)
        for key, v in batch.items()
    }
