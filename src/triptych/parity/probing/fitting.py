"""Finding a model's constants: a grid of guesses, then damped least squares, all guesses at once.

What a fit says about an optimizer (which model is believed, what is neutral) does not belong here
(:mod:`rules`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from triptych.parity.probing.model import Model, walk
from triptych.parity.probing.tapes import Tape

SHARES = ("beta1", "beta2", "decay", "momentum", "dampening")
"""Constants in [0, 1), searched as log(1 - x); the others above 0 as log(x)."""
LINEAR = ("weight_decay",)

GUESSES: dict[str, tuple[float, ...]] = {
    "beta1": (0.0, 0.6, 0.93),
    "beta2": (0.6, 0.95, 0.995, 0.9995),
    "decay": (0.6, 0.93, 0.99),
    "momentum": (0.0, 0.75),
    "dampening": (0.0, 0.5),
    "epsilon": (1e-16, 1e-11, 1e-9, 1e-7, 1e-5, 1e-2),
    "epsilon_inside_root": (1e-30, 1e-20, 1e-16, 1e-12, 1e-8, 1e-4),
    "epsilon_accumulated": (1e-30, 1e-20, 1e-16, 1e-12, 1e-8),
    "initial": (1e-30, 1e-3, 0.3),
    "momentum_decay": (0.01, 0.5),
    "l2": (3e-5, 3e-3, 1e-1),
    "weight_decay": (0.0,),
    "clip": tuple(10 ** np.linspace(-3, 3, 49)),
}
"""Where a search for each constant starts."""
LARGEST = {"epsilon": 0.0, "initial": 7.0}
"""Logarithms of the largest values tried: beyond them a rule is gradient descent in disguise."""


@dataclass(frozen=True)
class Fit:
    """A model with its numbers: constants by name, rates (T,) and the root mean square error.

    ``pinned`` names the free constants that are held where they are.
    """

    model: Model
    constants: dict[str, float]
    rates: np.ndarray
    error: float
    varying: bool = False
    pinned: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many constants the fit needs."""
        return len(self.model.free) - len(self.pinned) + self.varying


def search(
    model: Model,
    tapes: Sequence[Tape],
    varying: bool,
    starts: int = 2,
    guesses: dict[str, float] | None = None,
) -> Fit:
    """Return a model's best fit to tapes, from the most promising guesses of its grid.

    Args:
        model: the hypothesis.
        tapes: all beginning at the same update; the first is the longest and gives the rates.
        varying: whether each update has a rate of its own.
        starts: how many guesses are followed.
        guesses: the only guess of some constants, by name.
    """
    columns = [_guesses(model, name, (guesses or {}).get(name)) for name in model.free]
    grid = _grid(columns)
    return _followed(model, grid, tapes, varying, starts)


def refine(
    fit: Fit,
    tapes: Sequence[Tape],
    known: dict[str, float] | None = None,
    model: Model | None = None,
    anew: str | None = None,
) -> Fit:
    """Return a fit improved from where it is, for another model or with constants pinned.

    Args:
        fit: where to start.
        tapes: as in :func:`search`.
        known: constants to hold at a value.
        model: the hypothesis, if another than the fit's; its new constants are guessed.
        anew: a constant to guess again, all of whose guesses are followed.
    """
    model = model or fit.model
    held = {name: fit.constants[name] for name in fit.pinned} | (known or {})
    before = {name: value for name, value in fit.constants.items() if name != anew}
    columns = [_guesses(model, name, before.get(name)) for name in model.free if name not in held]
    grid = _grid(columns)
    return _followed(model, grid, tapes, fit.varying, len(grid) if anew else 2, held)


def _grid(columns: Sequence[tuple[float, ...]]) -> np.ndarray:
    points = list(product(*columns))
    return np.array(points, dtype=float).reshape(len(points), len(columns))


def _guesses(model: Model, name: str, known: float | None = None) -> tuple[float, ...]:
    if known is not None:  # small gradients may hide where a slot started
        return (known, *GUESSES[name]) if name == "initial" else (known,)
    inside = name == "epsilon" and model.family.fixed.get("epsilon_inside_root")
    if name == "l2" and model.family.rule == "sgd":
        return (1e-3,)
    return GUESSES["epsilon_inside_root" if inside else name]


def _followed(
    model: Model,
    grid: np.ndarray,
    tapes: Sequence[Tape],
    varying: bool,
    starts: int,
    held: dict[str, float] | None = None,
) -> Fit:
    problem = _Problem(model, tuple(tapes), varying, held or {})
    points = problem.inward(grid)
    costs = np.mean(np.square(problem.errors(points)), axis=1)
    order = np.argsort(costs, kind="stable")[:starts]
    ends = [_descend(problem, points[index]) for index in order]
    cost, point = min(ends, key=lambda end: end[0])
    constants = problem.constants(point[None])
    lead = walk(model, constants, tapes[0], problem.mode)
    numbers = {name: float(np.ravel(value)[0]) for name, value in constants.items()}
    return Fit(model, numbers, lead.rates[0], float(np.sqrt(cost)), varying, tuple(held or ()))


@dataclass(frozen=True)
class _Problem:
    """Errors of a model over points: one row of searched numbers for each guess."""

    model: Model
    tapes: tuple[Tape, ...]
    varying: bool
    held: dict[str, float]

    @property
    def mode(self) -> str:
        return "free" if self.varying else "one"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in self.model.free if name not in self.held)

    def inward(self, grid: np.ndarray) -> np.ndarray:
        """Return the searched numbers of constants (K, m)."""
        columns = [_inward(name, grid[:, i]) for i, name in enumerate(self.names)]
        return np.stack(columns, axis=1) if columns else grid

    def constants(self, points: np.ndarray) -> dict[str, Any]:
        """Return the constants of points (K, m), as columns (K, 1)."""
        found = {name: _outward(name, points[:, [i]]) for i, name in enumerate(self.names)}
        return {name: np.full((len(points), 1), value) for name, value in self.held.items()} | found

    def errors(self, points: np.ndarray) -> np.ndarray:
        """Return the relative errors (K, entries) of points, bounded by 1."""
        constants = self.constants(points)
        lead = walk(self.model, constants, self.tapes[0], self.mode)
        walks = [lead, *(walk(self.model, constants, tape, lead.rates) for tape in self.tapes[1:])]
        pairs = zip(walks, self.tapes, strict=True)
        return np.concatenate([bounded_errors(way.moved, tape) for way, tape in pairs], axis=1)


def bounded_errors(moved: np.ndarray, tape: Tape) -> np.ndarray:
    """Return (predicted - seen) / (size + |predicted|), (K, T * n), within 1."""
    with np.errstate(all="ignore"):
        sizes = np.abs(moved) * tape.weight
        errors = (moved - tape.moved) * tape.weight / (1 + sizes)
    errors = np.where(tape.weight > 0, np.nan_to_num(errors, nan=1.0, posinf=1.0, neginf=-1.0), 0.0)
    return errors.reshape(len(moved), -1)


def _inward(name: str, values: np.ndarray) -> np.ndarray:
    if name in LINEAR:
        return values
    return np.log1p(-values) if name in SHARES else np.log(values)


def _outward(name: str, points: np.ndarray) -> np.ndarray:
    if name in LINEAR:
        return points
    if name in SHARES:
        return -np.expm1(np.minimum(points, 0.0))
    return np.exp(np.clip(points, -99, LARGEST.get(name, 30)))


_DAMPINGS = 10.0 ** np.array([-9.0, -6.0, -4.0, -2.0, -1.0, 0.0, 1.5])


def _descend(problem: _Problem, point: np.ndarray, rounds: int = 40) -> tuple[float, np.ndarray]:
    """Return (mean square error, point) after damped Gauss-Newton steps (Marquardt 1963).

    Several dampings are tried at once, which costs hardly more than one. A guess that is far off
    and hardly comes nearer is given up.
    """
    errors = problem.errors(point[None])[0]
    cost = float(np.mean(errors**2))
    for _ in range(rounds):
        if cost < 1e-25 or not point.size:
            break
        trials = np.clip(point + _steps(_slopes(problem, point), errors), point - 3, point + 3)
        reached = problem.errors(trials)
        costs = np.mean(reached**2, axis=1)
        best = int(np.argmin(costs))
        if not costs[best] < cost * (0.98 if cost > 1e-5 else 0.999):
            break
        point, errors, cost = trials[best], reached[best], float(costs[best])
    return cost, point


def _slopes(problem: _Problem, point: np.ndarray, width: float = 1e-5) -> np.ndarray:
    """Return the errors' derivatives (entries, m) by central differences."""
    around = width * np.eye(point.size)
    errors = problem.errors(np.concatenate([point + around, point - around]))
    return ((errors[: point.size] - errors[point.size :]) / (2 * width)).T


def _steps(slopes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return one step (m,) for each damping."""
    normal, pull = slopes.T @ slopes, slopes.T @ errors
    diagonal = np.diag(np.maximum(np.diag(normal), max(1e-12 * np.max(np.diag(normal)), 1e-30)))
    damped = normal + _DAMPINGS[:, None, None] * diagonal
    return -np.linalg.solve(damped, np.broadcast_to(pull[:, None], (*damped.shape[:2], 1)))[..., 0]


def with_constants(fit: Fit, constants: dict[str, float], tapes: Sequence[Tape]) -> Fit:
    """Return the fit with exactly these constants, only the rates found anew."""
    problem = _Problem(fit.model, tuple(tapes), fit.varying, constants)
    point = np.zeros((1, 0))
    lead = walk(fit.model, problem.constants(point), tapes[0], problem.mode)
    error = float(np.sqrt(np.mean(problem.errors(point)[0] ** 2)))
    return replace(fit, constants=constants, rates=lead.rates[0], error=error)


def misfit(fit: Fit, tapes: Iterable[Tape]) -> float:
    """Return the largest relative error of a fit's moves on tapes that start where its rates do."""
    worst = 0.0
    for tape in tapes:
        moved = walk(fit.model, dict(fit.constants), tape, fit.rates[: len(tape.gradients)]).moved
        with np.errstate(all="ignore"):
            errors = np.where(tape.weight > 0, np.abs(moved - tape.moved) * tape.weight, 0.0)
        worst = max(worst, float(np.max(np.nan_to_num(errors, nan=1.0, posinf=1e9))))
    return worst
