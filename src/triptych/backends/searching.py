"""Update rules that look at several points of a batch before they step, on the host, for all
backends: scaled conjugate gradient.

The backend gives loss and gradient at a point; all else is NumPy on one long vector, in float64
whatever the learner's type, so that frameworks can differ in nothing but the two. The formulas are
in :class:`triptych.spec.rules.SCG`; the oracle has its own writing of them, and Octave another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from triptych.backends.protocol import Params
from triptych.errors import Unsupported
from triptych.spec.rules import SCG, Rule

At = Callable[[Params], tuple[float, Params]]
"""Moves the learner to a point and returns the loss and the gradient there."""


@dataclass
class Search:
    """The state of a search, and one update of it.

    Attributes:
        rule: its constants.
        shapes: of the arrays that learn, by name.
        dtype: of the learner; direction and residual are kept in it.
    """

    rule: SCG
    shapes: Mapping[str, tuple[int, ...]]
    dtype: str
    direction: np.ndarray = field(init=False)
    residual: np.ndarray = field(init=False)
    numbers: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget everything: the next update begins at the params it finds."""
        size = sum(int(np.prod(shape)) for shape in self.shapes.values())
        self.direction, self.residual = np.zeros((2, size), self.dtype)
        self.numbers = dict(self.rule.numbers)

    def slots(self) -> dict[str, Params]:
        """Return direction and residual as arrays by name."""
        return {"direction": self.split(self.direction), "residual": self.split(self.residual)}

    def load(self, slots: Mapping[str, Params], numbers: Mapping[str, float]) -> None:
        """Replace the state."""
        self.direction, self.residual = self.join(slots["direction"]), self.join(slots["residual"])
        self.numbers = {name: float(numbers[name]) for name in self.rule.numbers}

    def factors(self) -> dict[str, Any]:
        """Return the constants that are really used."""
        return self.rule.factors() | {"clip": asdict(self.rule.clip)}

    def join(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return arrays by name as one vector."""
        return np.concatenate(
            [np.asarray(arrays[name], self.dtype).ravel() for name in self.shapes]
        )

    def split(self, vector: np.ndarray) -> Params:
        """Return one vector as arrays by name; the inverse of :meth:`join`."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])[:-1]
        pieces = zip(self.shapes.items(), np.split(vector, ends), strict=True)
        return {name: np.array(piece.reshape(shape)) for (name, shape), piece in pieces}

    def update(self, params: Params, count: int, at: At) -> tuple[float, Params]:
        """Make one update; return the loss before it, and the arrays that learn after it.

        Args:
            params: the arrays that learn.
            count: the updates made before this one.
            at: of the batch; called two times, three where the search begins.
        """
        point = self.join(params)
        if not self.direction.any():
            self._begin_at(params, at)
        own = self.numbers
        before, slope = own["loss"], self._dot(self.direction, self.residual)
        if not self.direction.any() or slope == 0.0:
            return before, params
        square = self._curve(point, at)
        length = slope / own["curvature"]
        ahead = self._ahead(point, length)
        loss, gradient = at(self.split(ahead))
        gain = 2.0 * own["curvature"] * (before - loss) / slope**2
        if gain >= 0.0:
            self._step(loss, -self.join(gradient), slope, count + 1)
        else:
            own["raised"], own["stepped"], ahead = own["damping"], 0.0, point
        if gain >= 0.75:
            own["damping"] /= 4.0
        elif not gain >= 0.25:
            own["damping"] += own["curvature"] * (1.0 - gain) / square
        return before, self.split(ahead)

    def _begin_at(self, params: Params, at: At) -> None:
        loss, gradient = at(params)
        self.begin()
        self.numbers["loss"] = loss
        self.residual = -self.join(gradient)
        self.direction = self.residual.copy()

    def _curve(self, point: np.ndarray, at: At) -> float:
        """Bring the curvature along the direction up to date, made positive; return |p|^2."""
        own, square = self.numbers, self._dot(self.direction, self.direction)
        if own["stepped"]:
            small = self.rule.sigma / math.sqrt(square)
            near = self.join(at(self.split(self._ahead(point, small)))[1])
            # g = -r: the difference of the gradients, taken along the direction.
            rise = near.astype(np.float64) + self.residual
            own["curvature"] = self._dot(self.direction, rise) / small
        own["curvature"] += (own["damping"] - own["raised"]) * square
        if own["curvature"] <= 0.0:
            own["raised"] = 2.0 * (own["damping"] - own["curvature"] / square)
            own["curvature"] = own["damping"] * square - own["curvature"]
            own["damping"] = own["raised"]
        return square

    def _step(self, loss: float, residual: np.ndarray, slope: float, number: int) -> None:
        """Take over a point that was found good, and choose the next direction."""
        self.numbers |= {"loss": loss, "raised": 0.0, "stepped": 1.0}
        conjugate = self._dot(residual, residual) - self._dot(residual, self.residual)
        restart = number % len(residual) == 0
        kept = 0.0 if restart else conjugate / slope
        self.direction = (residual + kept * self.direction.astype(np.float64)).astype(self.dtype)
        self.residual = residual

    def _ahead(self, point: np.ndarray, length: float) -> np.ndarray:
        return (point + length * self.direction.astype(np.float64)).astype(self.dtype)

    def _dot(self, left: np.ndarray, right: np.ndarray) -> float:
        return float(np.dot(left.astype(np.float64), right.astype(np.float64)))


def build(
    rule: Rule | None, shapes: Mapping[str, tuple[int, ...]], kinds: Sequence[str], dtype: str
) -> Search | None:
    """Return the search of a rule, or None for a rule that steps at once.

    Raises:
        Unsupported: a layer's output differs from pass to pass, so that losses can't be compared.
    """
    if rule is None or not rule.searches:
        return None
    for kind in ("dropout", "batch_norm"):
        if kind in kinds:
            raise Unsupported(f"rule {rule.name!r} compares losses, which {kind} makes differ")
    assert isinstance(rule, SCG)
    return Search(rule, shapes, dtype)
