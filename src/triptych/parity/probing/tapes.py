"""What is played to an update rule, and the tape of what it answered.

Gradient sequences are made of named NumPy generators; a tape keeps all parameters of all updates
side by side in flat arrays. What the moves mean does not belong here (:mod:`model`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from triptych.spec.initial import Params
from triptych.spec.randomness import generator

Play = Callable[[Sequence[Params], Params, int], list[Params]]
"""``play(gradients, start, first)``: the params after each update of a fresh optimizer.

``gradients`` holds one ``{name: array}`` per update and ``start`` the params before the first.
``first`` is how many updates were already done: the optimizer is to stand as after ``first``
updates with zero gradients and zero params (its slots fresh, its counters, schedules and bias
corrections at ``first``), whether by setting its counters or by really doing them. The answer has
one ``{name: array}`` per update, float64 where the optimizer can.
"""

SHAPES = {"a": (6,), "b": (2, 3), "c": (4,)}
"""The probed parameters: of different shapes, so that norms per variable and global differ."""


@dataclass(frozen=True)
class Tape:
    """What was played and answered: T updates of n entries.

    ``gradients``, ``before`` (params), ``moved`` (before - after) and ``noise`` are (T, n); noise
    is how far rounding alone may have moved an entry, infinite where the answer is not a number;
    ``starts`` are the first entries of each parameter.
    """

    gradients: np.ndarray
    before: np.ndarray
    moved: np.ndarray
    noise: np.ndarray
    starts: np.ndarray
    first: int
    tolerance: float

    @cached_property
    def weight(self) -> np.ndarray:
        """(T, n): what makes an error relative; zero for what is not a number.

        An error counts against the entry's own move, but no less than a thousandth of its largest,
        and what rounding alone may have done counts as the tolerance.
        """
        sizes = np.abs(self.moved)
        scale = np.maximum(sizes, 1e-3 * sizes.max(axis=0, keepdims=True))
        return 1 / (scale + 1e-12 * sizes.max(initial=1e-88) + self.noise / self.tolerance)

    def flipped(self) -> Tape:
        """Return the same tape for a rule that climbs: the gradients' signs turned."""
        return replace(self, gradients=-self.gradients)


TOLERANCE = {"float64": 1e-6, "float32": 1e-3}
"""The largest relative error of a move that is still called rounding, by the optimizer's dtype."""


def record(play: Play, gradients: list[Params], start: Params, first: int, dtype: str) -> Tape:
    """Play a sequence and return its tape; ``dtype`` is the one that the optimizer computes in."""
    gradients, start = [_exact(update, dtype) for update in gradients], _exact(start, dtype)
    after = _flat(play(gradients, start, first))
    before = np.concatenate([_flat([start]), after[:-1]])
    finite = np.isfinite(before) & np.isfinite(after)
    unit = np.finfo(dtype).eps
    return Tape(
        gradients=_flat(gradients),
        before=np.where(finite, before, 0.0),
        moved=np.where(finite, before - after, 0.0),
        noise=np.where(finite, unit * np.maximum(np.abs(before), np.abs(after)), np.inf),
        starts=np.cumsum([0, *(value.size for value in start.values())][:-1]),
        first=first,
        tolerance=TOLERANCE[dtype],
    )


def _exact(params: Params, dtype: str) -> Params:
    """Return params that the optimizer's dtype holds without rounding, in float64."""
    return {key: value.astype(dtype).astype(np.float64) for key, value in params.items()}


def _flat(updates: Sequence[Params]) -> np.ndarray:
    rows = [np.concatenate([np.ravel(value) for value in update.values()]) for update in updates]
    return np.asarray(rows, dtype=np.float64)


def still(shapes: dict[str, tuple[int, ...]] = SHAPES) -> Params:
    """Return params that are all zero."""
    return {name: np.zeros(shape) for name, shape in shapes.items()}


def scattered(name: str, scale: float, shapes: dict[str, tuple[int, ...]] = SHAPES) -> Params:
    """Return params of random signs, their sizes between a quarter of ``scale`` and ``scale``."""
    rng = generator(0, f"probe/{name}")
    return {
        key: rng.choice((-1.0, 1.0), shape) * rng.uniform(0.25, 1, shape) * scale
        for key, shape in shapes.items()
    }


def small(updates: int = 12, name: str = "small", scale: float = 1.0) -> list[Params]:
    """Return gradients too small for a clip: sizes 1e-10 to 1e-2 times ``scale``.

    Each entry stays within a decade. Among them are zeros, an entry with a gradient at the first
    update only, one at the second only, a late one and one that jumps by four decades: they show
    what is remembered, and how long.
    """
    rng = generator(0, f"probe/{name}")
    sizes = 10 ** np.linspace(-10, -2, 12)
    table = rng.choice((-1.0, 1.0), (updates, 16)) * 10 ** rng.uniform(-1, 0, (updates, 16))
    table[:, :12] *= sizes
    table[:, 12:] *= 1e-3
    table[1:, 12] = 0
    table[np.arange(updates) != 1, 13] = 0
    table[: updates // 2, 14] = 0
    table[: updates // 2, 15] *= 1e-4
    table[2::3, 3:12:4] = 0
    return [_shaped(row * scale) for row in table]


def wide(updates: int = 12, name: str = "wide") -> list[Params]:
    """Return gradients whose norms run from 1e-3 to 1e3, differently in each parameter."""
    rng = generator(0, f"probe/{name}")
    table = rng.choice((-1.0, 1.0), (updates, 16)) * 10 ** rng.uniform(-1.5, 0, (updates, 16))
    size = 10 ** rng.permutation(np.linspace(-2.5, 2.8, updates))
    part = np.repeat([1.0, 0.2, 3.0], [6, 6, 4]) * 10 ** np.repeat(
        rng.uniform(-0.7, 0.7, (updates, 3)), [6, 6, 4], axis=1
    )
    table = table * size[:, None] * part
    table[1::4, 2::5] = 0
    return [_shaped(row) for row in table]


def held_out(updates: int = 12) -> list[Params]:
    """Return the sequence that judges: none of its values is used to find a constant."""
    tiny, large = small(updates, "held out, small"), wide(updates, "held out, wide")
    rng = generator(0, "probe/held out")
    chosen = rng.random(updates) < 0.6
    chosen[:3] = (True, False, True)
    return [low if few else high for low, high, few in zip(tiny, large, chosen, strict=True)]


def nothing(updates: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> list[Params]:
    """Return zero gradients."""
    return [still(shapes)] * updates


def _shaped(row: np.ndarray) -> Params:
    parts = np.split(row, np.cumsum([int(np.prod(shape)) for shape in SHAPES.values()])[:-1])
    return {
        name: part.reshape(shape) for (name, shape), part in zip(SHAPES.items(), parts, strict=True)
    }
