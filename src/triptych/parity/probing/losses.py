"""Identifying a live loss by probing: kind, factor, reduction, and the constants it hides.

Each kind's constants are read from a few chosen outputs and targets; then the whole formula with
every reduction is judged on random ones that it hasn't seen, with other batch sizes. What no
formula reproduces is ``unknown``. The formulas are in ``loss_kinds.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triptych.parity.probing.loss_kinds import FORMULAS, REDUCTIONS
from triptych.parity.probing.rounding import near
from triptych.spec.randomness import generator

LossOf = Callable[[np.ndarray, np.ndarray], Any]
TOLERANCE = 3e-5
"""Relative residual that a formula may have, for losses that compute in float32."""
SMALLEST = 1e-6
"""Residual below which nothing better is looked for."""


@dataclass(frozen=True)
class FoundLoss:
    """What a loss computes.

    Attributes:
        kind: ``squared``, ``absolute``, ``huber``, ``log_cosh``, ``poisson``, ``cross_entropy``,
            ``binary_cross_entropy`` or ``unknown``.
        factor: what the formula of ``loss_kinds.py`` is multiplied by: 1 or 0.5, or a weight.
        reduction: a name of ``loss_kinds.REDUCTIONS``.
        constants: ``delta``, ``from_logits``, ``clip``, ``smoothing``, where the kind has them.
        targets: ``real``, ``index`` or ``one-hot``: the form the loss was asked in.
        residual: relative error of the formula on what it had not seen; infinity for unknown.
    """

    kind: str
    factor: float = 1.0
    reduction: str = "unknown"
    constants: Mapping[str, Any] = field(default_factory=dict)
    targets: str = "real"
    residual: float = math.inf

    @property
    def text(self) -> str:
        """In one line."""
        if self.kind == "unknown":
            return "unknown"
        extra = [f"{name} {value}" for name, value in self.constants.items() if value]
        factor = [] if self.factor == 1.0 else [f"factor {self.factor:g}"]
        return ", ".join([self.kind, *factor, *extra, self.reduction])


def factors(found: FoundLoss) -> dict[str, Any]:
    """Return the audit's keys ``loss.*``."""
    own = {"kind": found.kind, "factor": found.factor, "reduction": found.reduction}
    if found.kind == "unknown":
        own = {"kind": "unknown"}
    return {f"loss.{name}": value for name, value in {**own, **found.constants}.items()}


def identify(
    loss_of: LossOf, outputs: np.ndarray | None = None, targets: np.ndarray | None = None
) -> FoundLoss:
    """Find out what a loss computes.

    Args:
        loss_of: from outputs and targets in the canonical layout to a scalar or an array.
        outputs: an example of what it takes, (batch, ...), for shape and type; without one, outputs
            are (batch, classes) and several forms of targets are tried.
        targets: an example of the targets; integers without the outputs' last axis are classes.
    """
    best = FoundLoss("unknown")
    for form in _forms(outputs, targets):
        for candidate in _candidates(_Probe(loss_of, form)):
            if candidate.residual < best.residual / 3.0:
                best = candidate
            if best.residual < SMALLEST:
                return best
    return best if best.residual < TOLERANCE else FoundLoss("unknown")


@dataclass(frozen=True)
class _Form:
    """How outputs and targets are shaped: trailing axes tried, and whether targets are classes."""

    trailing: tuple[tuple[int, ...], ...]
    index: bool = False
    kind: Any = np.float64
    target_kind: Any = np.float64

    @property
    def classes(self) -> bool:
        """Whether the last axis can hold classes."""
        return bool(self.trailing[0]) and self.trailing[0][-1] > 1


def _forms(outputs: np.ndarray | None, targets: np.ndarray | None) -> list[_Form]:
    """Return what to try: the example's own form, or all."""
    if outputs is None or targets is None:
        wide = ((3,), (5,))
        return [_Form(wide), _Form(wide, True, target_kind=np.int64), _Form(((1,),))]
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    own = outputs.shape[1:]
    # Another number of outputs tells a sum over them from a mean.
    wider = (own, (*own[:-1], own[-1] + 2)) if own and own[-1] > 1 else (own,)
    index = np.issubdtype(targets.dtype, np.integer) and targets.shape == outputs.shape[:-1]
    index = index and bool(own) and own[-1] > 1
    return [_Form(wider, index, outputs.dtype, targets.dtype)]


@dataclass(frozen=True)
class _Probe:
    """A loss that can be asked; one that refuses a form answers None."""

    loss_of: LossOf
    form: _Form

    def ask(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        """Return the loss in float64 for targets as real numbers or one-hot rows."""
        given = targets.argmax(axis=-1) if self.form.index else targets
        try:
            answer = self.loss_of(
                outputs.astype(self.form.kind), given.astype(self.form.target_kind)
            )
            return np.asarray(answer, np.float64)
        # A user's loss may refuse a form of targets by any exception at all.
        except Exception:
            return None

    def cast(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both as the loss will see them, in float64."""
        kept = targets if self.form.index else targets.astype(self.form.target_kind)
        return outputs.astype(self.form.kind).astype(np.float64), kept.astype(np.float64)

    def total(self, outputs: np.ndarray, targets: np.ndarray) -> float | None:
        """Return the sum of the answer, in which every reduction is a constant multiple."""
        answer = self.ask(outputs, targets)
        return None if answer is None or not np.isfinite(answer).all() else float(answer.sum())

    def ratio(self, first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> float | None:
        """Return how many times the first answer is the second, where both are numbers."""
        above, below = self.total(*first), self.total(*second)
        return None if above is None or not below else above / below

    @property
    def shape(self) -> tuple[int, ...]:
        """The outputs' trailing axes."""
        return self.form.trailing[0]


def _candidates(probe: _Probe) -> Iterator[FoundLoss]:
    """Yield every kind with the constants it would need, judged; the simplest come first."""
    makers: list[Callable[[_Probe], Iterator[tuple[str, dict[str, Any]]]]] = []
    if not probe.form.index:
        makers.append(_regressions)
    if probe.form.classes:
        makers.append(_cross_entropies)
    if not probe.form.index:
        makers.append(_binary_cross_entropies)
    for maker in makers:
        for kind, constants in maker(probe):
            found = _judge(probe, kind, constants)
            if found is not None:
                yield found


def _regressions(probe: _Probe) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "squared", {}
    yield "absolute", {}
    delta = _delta(probe)
    if delta is not None:
        yield "huber", {"delta": delta}
    yield "log_cosh", {}
    yield "poisson", {}


def _delta(probe: _Probe) -> float | None:
    """Read Huber's delta from a small and a large error.

    With f(e) = c e^2 / 2 for a small e and c delta (E - delta / 2) for a large one, g = f(E) / c
    gives delta = 2 g / (E + sqrt(E^2 - 2 g)).
    """
    small, large = 1e-4, 1e4
    zero = np.zeros((2, *probe.shape))
    ratio = probe.ratio((zero + large, zero), (zero + small, zero))
    if ratio is None:
        return None
    cost = ratio * small**2 / 2.0
    if not 0.0 < 2.0 * cost < large**2:
        return None
    return near(2.0 * cost / (large + math.sqrt(large**2 - 2.0 * cost)), 1e-5)


def _cross_entropies(probe: _Probe) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield logits, then probabilities, then log probabilities.

    With smoothing s of n classes, the share w = s (n - 1) / n of the target lies on the others.
    """
    classes = probe.shape[-1]
    hot = _one_hot(np.zeros(2, int), probe.shape)
    even = (np.full_like(hot, 1.0 / classes), hot)
    share = classes / (classes - 1.0)

    def cost(outputs: np.ndarray, reference: tuple[np.ndarray, ...]) -> float | None:
        ratio = probe.ratio((outputs, hot), reference)
        return None if ratio is None else ratio * math.log(classes)

    # Of logits (a, 0, 0, ..) with a large a, the smoothed target costs w a.
    smoothing = _small(cost(hot * 50.0, (hot * 0.0, hot)), lambda c: share * c / 50.0)
    yield "cross_entropy", {"from_logits": True, "clip": None, "smoothing": smoothing}
    other = 0.2 / (classes - 1.0)
    rise = math.log(0.8) - math.log(other)
    split = np.where(hot > 0.0, 0.8, other)
    smoothing = _small(cost(split, even), lambda c: share * (c + math.log(0.8)) / rise)

    def lowest(p: float) -> float | None:
        rest = (1.0 - p) / (classes - 1.0)
        found, w = cost(np.where(hot > 0.0, p, rest), even), smoothing / share
        return None if found is None else -(found + w * math.log(rest)) / (1.0 - w)

    plain = {"from_logits": False, "clip": None, "smoothing": smoothing}
    if classes > 2:
        yield "cross_entropy", plain | {"clip": _clip(lowest)}
    yield "cross_entropy", plain | {"from_logits": "log probabilities", "smoothing": 0.0}


def _binary_cross_entropies(probe: _Probe) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield logits, then probabilities; smoothing s leaves s / 2 on the other side."""
    ones = np.ones((2, *probe.shape))

    def cost(value: float, reference: float) -> float | None:
        ratio = probe.ratio((ones * value, ones), (ones * reference, ones))
        return None if ratio is None else ratio * math.log(2.0)

    # Of a large logit a, the smoothed target costs a s / 2.
    smoothing = _small(cost(50.0, 0.0), lambda c: 2.0 * c / 50.0)
    yield (
        "binary_cross_entropy",
        {"from_logits": True, "clip": None, "smoothing": smoothing},
    )
    rise = math.log(0.8) - math.log(0.2)
    smoothing = _small(cost(0.8, 0.5), lambda c: 2.0 * (c + math.log(0.8)) / rise)

    def lowest(p: float) -> float | None:
        found, half = cost(p, 0.5), smoothing / 2.0
        return None if found is None else -(found + half * math.log1p(-p)) / (1.0 - half)

    plain = {"from_logits": False, "clip": None, "smoothing": smoothing}
    yield "binary_cross_entropy", plain | {"clip": _clip(lowest)}


def _small(cost: float | None, read: Callable[[float], float]) -> float:
    """Return a smoothing read from a cost; 0 where it is none that a smoothing can be."""
    smoothing = near(read(cost), 1e-4, 3e-6) if cost is not None and math.isfinite(cost) else 0.0
    return smoothing if 0.0 <= smoothing < 1.0 else 0.0


def _clip(lowest: Callable[[float], float | None]) -> Any:
    """Read what keeps log 0 finite from the log that is really taken of a probability.

    Of a probability equal to the bound found, a cut takes the same log, an added number one that is
    larger by log 2.
    """
    bottom = lowest(0.0)
    if bottom is None or not math.isfinite(bottom) or bottom >= 0.0:
        return None
    if bottom < -87.0:  # below the log of float32's smallest normal number
        return f"log at {near(bottom, 1e-4):g}"
    bound = near(math.exp(bottom), 1e-3)
    there = lowest(bound)
    added = there is not None and there - bottom > 0.3
    return f"added {bound:g}" if added else bound


def _one_hot(classes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return rows (batch, ..., n) with a one at each example's class."""
    row = np.eye(shape[-1])[classes]
    return np.broadcast_to(
        row.reshape(len(classes), *([1] * (len(shape) - 1)), shape[-1]), (len(classes), *shape)
    ).copy()


def _judge(probe: _Probe, kind: str, constants: dict[str, Any]) -> FoundLoss | None:
    """Return the kind with the reduction and factor that reproduce what was not seen before."""
    asked = []
    for number, (size, shape) in enumerate(_sizes(probe.form)):
        outputs, targets = _held_out(kind, constants, size, shape, number)
        outputs, targets = probe.cast(outputs, targets)
        answer = probe.ask(outputs, targets)
        if answer is None or not np.isfinite(answer).all():
            continue
        asked.append((FORMULAS[kind](outputs, targets, constants), answer))
    if len(asked) < 2:
        return None
    matches = {reduction: _match(asked, reduction) for reduction in REDUCTIONS}
    least = min(residual for _, residual in matches.values())
    fitting = [name for name, (_, r) in matches.items() if r <= max(3.0 * least, SMALLEST)]
    # Where the number of outputs can't be changed, some reductions differ by a factor alone.
    plain = [name for name in fitting if matches[name][0] in (1.0, 0.5)]
    reduction = (plain or fitting or ["unknown"])[0]
    if reduction == "unknown":
        return None
    form = "index" if probe.form.index else "real"
    form = "one-hot" if kind == "cross_entropy" and form == "real" else form
    factor, residual = matches[reduction]
    return FoundLoss(kind, factor, reduction, constants, form, residual)


def _sizes(form: _Form) -> list[tuple[int, tuple[int, ...]]]:
    """Batch sizes with outputs' shapes, of which no two have the same ratio of reductions."""
    first = [(4, form.trailing[0]), (7, form.trailing[0]), (4, form.trailing[0])]
    return first + [(6, shape) for shape in form.trailing[1:]]


def _held_out(
    kind: str, constants: dict[str, Any], size: int, shape: tuple[int, ...], number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs and targets that the kind is defined on, with errors of many sizes."""
    rng = generator(number, f"probe/{kind}")
    outputs = rng.normal(size=(size, *shape)) * 10.0 ** rng.uniform(-2, 1, (size, *shape))
    targets = rng.normal(size=(size, *shape)) * 3.0
    if kind in ("squared", "absolute", "huber", "log_cosh"):
        outputs, targets = (x * (1.0, 100.0, 0.01, 1.0)[number % 4] for x in (outputs, targets))
    if kind == "poisson":
        return np.abs(outputs) + 0.1, np.floor(np.abs(targets))
    if kind == "binary_cross_entropy":
        targets = (targets > 0.0).astype(np.float64)
        outputs = outputs if constants["from_logits"] else 1.0 / (1.0 + np.exp(-outputs / 5.0))
    if kind == "cross_entropy":
        targets = _one_hot(rng.integers(0, shape[-1], size), shape)
        if constants["from_logits"] is not True:
            outputs = np.exp(outputs / 5.0)
            outputs = outputs / outputs.sum(axis=-1, keepdims=True)
        if constants["from_logits"] == "log probabilities":
            outputs = np.log(outputs)
    return outputs, targets


def _match(asked: list[tuple[np.ndarray, np.ndarray]], reduction: str) -> tuple[float, float]:
    """Return the factor by least squares and the largest relative error left with it."""
    pairs = []
    for costs, answer in asked:
        reduced = np.asarray(REDUCTIONS[reduction](costs))
        if reduced.size != answer.size or not answer.any():
            return 0.0, math.inf
        pairs.append((reduced.ravel(), answer.ravel()))
    weights = [1.0 / float(np.abs(answer).max()) for _, answer in pairs]
    predicted = np.concatenate([p * w for (p, _), w in zip(pairs, weights, strict=True)])
    answered = np.concatenate([a * w for (_, a), w in zip(pairs, weights, strict=True)])
    square = float(predicted @ predicted)
    if square == 0.0:
        return 0.0, math.inf
    factor = near(float(predicted @ answered) / square, 1e-5)
    return factor, float(np.abs(factor * predicted - answered).max())
