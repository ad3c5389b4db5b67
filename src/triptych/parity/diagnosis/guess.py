"""A hypothesis about one node, and how well it explains what the right side recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triptych.errors import TriptychError
from triptych.parity.diagnosis import solve
from triptych.parity.diagnosis.machine import Array, Arrays, Compute, Draws, of_layer
from triptych.parity.measures import relative
from triptych.spec.layers import Layer

VANISHED = 1e-9
"""A relative residual at most this large is gone."""


@dataclass(frozen=True)
class Sight:
    """What is known of a node on the right side: (inputs, training, draws, output) by mode."""

    arrays: Arrays
    modes: tuple[tuple[list[Array], bool, Draws | None, Array], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The output's shape without the batch axis."""
        return self.modes[0][3].shape[1:]

    def gap(self, compute: Compute) -> float:
        """Return the largest relative difference between a function and what was recorded."""
        return max((_gap(compute, self.arrays, mode) for mode in self.modes), default=math.inf)

    def residuals(self, compute: Compute) -> np.ndarray:
        """Return the differences of both modes as one vector, relative to the largest output."""
        parts = []
        for inputs, training, draws, output in self.modes:
            size = max(float(np.max(np.abs(output), initial=0.0)), 1e-300)
            parts.append((compute(self.arrays, inputs, training, draws) - output).ravel() / size)
        return np.concatenate(parts)


def _gap(compute: Compute, arrays: Arrays, mode: Any) -> float:
    inputs, training, draws, output = mode
    try:
        with np.errstate(all="ignore"):
            found = compute(arrays, inputs, training, draws)
    except (TriptychError, ValueError, IndexError):
        return math.inf
    return relative(np.asarray(output), np.asarray(found))


@dataclass(frozen=True)
class Guess:
    """One hypothesis: the factor, what left and right would do, and the right's function.

    ``layer`` is the right's layer where the hypothesis is a layer of the spec, on which further
    hypotheses can stand.
    """

    factor: str
    left: Any
    right: Any
    compute: Compute
    layer: Layer | None = None


def altered(factor: str, left: Any, right: Any, layer: Layer) -> Guess:
    """Return the hypothesis that the right side has another layer of the spec."""
    return Guess(factor, left, right, of_layer(layer), layer)


@dataclass(frozen=True)
class Unknown:
    """A hypothesis with a number to find: ``make(number)`` is the right's function, ``words`` says
    what the right does with it."""

    factor: str
    left: Any
    make: Callable[[float], Compute]
    starts: tuple[float, ...]
    positive: bool = False
    words: Callable[[float], Any] = float

    def solved(self, sight: Sight) -> Guess | None:
        """Return the hypothesis with the number that explains most."""
        number = solve.constant(
            lambda c: sight.residuals(self.make(c)), self.starts, positive=self.positive
        )
        return (
            None
            if number is None
            else Guess(self.factor, self.left, self.words(number), self.make(number))
        )


def best(guesses: Iterable[Guess | Unknown], sight: Sight) -> tuple[Guess, float] | None:
    """Return the first hypothesis whose residual vanishes, with the residual; None if none does."""
    for item in guesses:
        guess = item.solved(sight) if isinstance(item, Unknown) else item
        if guess is not None and (gap := sight.gap(guess.compute)) <= VANISHED:
            return guess, gap
    return None


def fewer(sight: Sight, rows: int) -> Sight:
    """Return what is known of the first examples alone, for a quicker look."""
    modes = []
    for inputs, training, draws, output in sight.modes:
        short = Draws(draws.uniform[:rows]) if draws else None
        modes.append(([x[:rows] for x in inputs], training, short, output[:rows]))
    return Sight(sight.arrays, tuple(modes))


def through_float32(layer: Layer, fields: Sequence[str]) -> Iterator[Guess]:
    """Each constant of a layer, as float32 would hold it."""
    for name in fields:
        exact = float(getattr(layer, name))
        rounded = float(np.float32(exact))
        if rounded != exact:
            changed = replace(layer, **{name: rounded})
            yield Guess("constant-through-float32", exact, rounded, of_layer(changed))


def on_arrays(layer: Layer, change: Callable[[Arrays], Arrays]) -> Compute:
    """Return a layer's function with its arrays changed before use."""
    own = of_layer(layer)
    return lambda arrays, inputs, training, draws: own(change(arrays), inputs, training, draws)


def on_inputs(layer: Layer, change: Callable[[Array], Array]) -> Compute:
    """Return a layer's function with its inputs changed before use."""
    own = of_layer(layer)
    return lambda arrays, inputs, training, draws: own(
        arrays, [change(x) for x in inputs], training, draws
    )


def on_output(layer: Layer, change: Callable[[Array], Array]) -> Compute:
    """Return a layer's function with its output changed afterwards."""
    own = of_layer(layer)
    return lambda arrays, inputs, training, draws: change(own(arrays, inputs, training, draws))
