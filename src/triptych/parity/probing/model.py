"""A whole update rule: clipping, L2, a family's direction, momentum, decoupled decay, the rate.

:func:`walk` says how far each update moves the params, from the observed params before it, so that
an update's error is its own and not its forerunners'. How the constants are found does not belong
here (:mod:`fitting`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triptych.parity.probing.families import Family
from triptych.parity.probing.tapes import Tape

CLIPS = ("value", "norm", "global_norm")
GUARD = 1e-6
"""What PyTorch's ``clip_grad_norm_`` adds to the norm that it divides by."""


@dataclass(frozen=True)
class Model:
    """One hypothesis about an update rule: everything but its numbers.

    Attributes:
        family: the direction's formula.
        momentum: ``None``, ``"outside"`` (the rate times the buffer) or ``"inside"`` (rate in it).
        nesterov: the gradient is looked ahead by the buffer.
        dampened: the buffer takes (1 - dampening) of every step but the first (PyTorch).
        decay: ``None``, ``"l2"`` (onto the gradient), ``"decoupled"`` (times the rate) or
            ``"fixed"`` (decoupled, without the rate).
        clip: ``None`` or one of :data:`CLIPS`.
        guard: what is added to a norm that is divided by.
        clip_after_l2: the L2 term is clipped as well.
    """

    family: Family
    momentum: str | None = None
    nesterov: bool = False
    dampened: bool = False
    decay: str | None = None
    clip: str | None = None
    guard: float = 0.0
    clip_after_l2: bool = False

    @property
    def free(self) -> tuple[str, ...]:
        """The names of the constants that are numbers to be found, without the rate."""
        return (
            *self.family.free,
            *(("momentum",) if self.momentum else ()),
            *(("dampening",) if self.dampened else ()),
            *(("l2",) if self.decay == "l2" else ()),
            *(("weight_decay",) if self.decay in ("decoupled", "fixed") else ()),
            *(("clip",) if self.clip else ()),
        )


@dataclass
class Walk:
    """A model's way along a tape: the moves it predicts and the rates that fit best.

    ``moved`` is (K, T, n), ``rates`` (K, T) for K guesses of the constants.
    """

    moved: np.ndarray
    rates: np.ndarray


@dataclass
class _State:
    slots: defaultdict[str, Any] = field(default_factory=lambda: defaultdict(float))
    buffer: Any = None


def walk(
    model: Model, constants: dict[str, Any], tape: Tape, rates: np.ndarray | str = "one"
) -> Walk:
    """Return the moves a model predicts on a tape.

    Args:
        model: the hypothesis.
        constants: its free constants by name, floats or columns (K, 1).
        tape: what was played and seen.
        rates: ``"one"``: the one rate that fits best; ``"free"``: the best for each update; or the
            known rates, (T,) or (K, T).
    """
    numbers = {name: np.asarray(value, dtype=float) for name, value in constants.items()}
    known = dict(model.family.fixed) | numbers
    state, (updates, entries) = _State(), tape.moved.shape
    guesses = max((np.size(value) for value in numbers.values()), default=1)
    guesses = max(guesses, len(rates) if isinstance(rates, np.ndarray) and rates.ndim == 2 else 1)
    offsets, directions = np.zeros((2, guesses, updates, entries))
    found = np.ones((guesses, updates))
    with np.errstate(all="ignore"):
        for k in range(updates):
            offset, direction, memory = _update(model, known, state, tape, k)
            given = _rate(rates, k, tape.moved[k] - offset, direction, tape.weight[k])
            state.buffer = memory[0] + given * memory[1]
            offsets[:, k], directions[:, k], found[:, [k]] = offset, direction, given
        if isinstance(rates, str) and rates == "one":
            flat = (guesses, updates * entries)
            seen = (tape.moved - offsets).reshape(flat)
            found = found * _ratio(seen, directions.reshape(flat), tape.weight.ravel())
        return Walk(offsets + found[:, :, None] * directions, found)


def _rate(rates: np.ndarray | str, k: int, seen: Any, direction: Any, weight: np.ndarray) -> Any:
    """Return the update's rate: given, fitted, or 1 where one rate is fitted to all afterwards."""
    if isinstance(rates, np.ndarray):
        return rates[..., k : k + 1]
    return _ratio(seen, direction, weight) if rates == "free" else 1.0


def _ratio(seen: Any, direction: Any, weight: np.ndarray) -> np.ndarray:
    """Return the (K, 1) factor on a direction that comes nearest to the moves seen.

    Least squares, in which an entry weighs less the farther it goes beyond the move seen: constants
    that are far off in a few entries would otherwise spoil the rate, and with it all others.
    """
    ratios = np.where((weight > 0) & (np.abs(direction) > 0), seen / direction, np.nan)
    near = direction * weight
    scaled = near / (1 + np.abs(np.nan_to_num(_median(ratios)) * near))
    along = np.sum(scaled * scaled * np.nan_to_num(ratios), axis=-1, keepdims=True)
    return along / np.maximum(np.sum(scaled * scaled, axis=-1, keepdims=True), 1e-300)


def _median(ratios: np.ndarray) -> np.ndarray:
    """Return the median of the last axis without what is not a number (which sorts last)."""
    ratios = np.sort(np.atleast_2d(ratios), axis=-1)
    middle = np.maximum(np.sum(np.isfinite(ratios), axis=-1, keepdims=True) - 1, 0) // 2
    return np.take_along_axis(ratios, middle, axis=-1)


def _update(
    model: Model, c: dict[str, Any], state: _State, tape: Tape, k: int
) -> tuple[Any, np.ndarray, tuple[Any, Any]]:
    """Return (offset, direction, memory): the move is offset + rate * direction.

    ``memory`` (a, b) is what the momentum's buffer will be: a + rate * b.
    """
    count = tape.first + k + 1
    gradient = _prepared(model, c, tape.gradients[k], tape.before[k], tape.starts)
    step = model.family.direction(c, state.slots, gradient, count)
    offset, direction, memory = _with_momentum(model, c, state.buffer, step, count)
    if model.decay == "decoupled":
        direction = direction + c["weight_decay"] * tape.before[k]
    if model.decay == "fixed":
        offset = offset + c["weight_decay"] * tape.before[k]
    return offset, direction, memory


def _prepared(
    model: Model, c: dict[str, Any], g: np.ndarray, p: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Return the gradient as the family sees it, clipped and with its L2 term."""
    term = c["l2"] * p if model.decay == "l2" else 0.0
    if model.clip is None:
        return g + term
    if model.clip_after_l2:
        return _clipped(model, c["clip"], g + term, starts)
    return _clipped(model, c["clip"], g, starts) + term


def _clipped(model: Model, limit: Any, g: np.ndarray, starts: np.ndarray) -> np.ndarray:
    if model.clip == "value":
        return np.clip(g, -limit, limit)
    if model.clip == "global_norm":
        norms = np.sqrt(np.sum(g * g, axis=-1, keepdims=True))
    else:
        norms = np.sqrt(np.add.reduceat(g * g, starts, axis=-1))
        norms = np.repeat(norms, np.diff([*starts, g.shape[-1]]), axis=-1)
    return g * np.minimum(1.0, limit / (norms + model.guard))


def _with_momentum(
    model: Model, c: dict[str, Any], buffer: Any, step: np.ndarray, count: int
) -> tuple[Any, np.ndarray, tuple[Any, Any]]:
    """Return (offset, direction, memory) of a step under the model's momentum."""
    if model.momentum is None:
        return 0.0, step, (0.0, 0.0)
    mu, held = c["momentum"], 0.0 if buffer is None else buffer
    if model.momentum == "inside":
        if model.nesterov:
            return mu * mu * held, (1 + mu) * step, (mu * held, step)
        return mu * held, step, (mu * held, step)
    share = 1 - c["dampening"] if model.dampened and count > 1 else 1.0
    held = mu * held + share * step
    return 0.0, (step + mu * held if model.nesterov else held), (held, 0.0)
