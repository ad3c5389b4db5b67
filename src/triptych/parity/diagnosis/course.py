"""Rungs 5 and 6: what shows only while training goes on, one update at a time.

The left side is set to where the right side stands before each update, and both make that update.
The first update on which they part is where the cause is, however far both have come by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np

from triptych.backends.protocol import Batch, Learner, Params
from triptych.learn.objectives import QLearning
from triptych.parity.diagnosis.cause import Cause, cause
from triptych.parity.diagnosis.losses import doubles
from triptych.parity.diagnosis.solve import tidy
from triptych.parity.measures import distance
from triptych.parity.record import Build, Record
from triptych.parity.subject import Subject
from triptych.spec.randomness import generator, get_state
from triptych.spec.schedules import Constant

APART = 1e-7
"""Relative difference of one update that is more than rounding."""
_AHEAD = 24
"""Batches around the own one that the right side may have used instead."""
_SILENT = 1e-9
"""Arrays whose gradient is this much smaller than the largest are rounding alone."""


Judged = tuple[list[str], list[str]]
"""The arrays that are judged: those that learn, and running statistics."""


@dataclass(frozen=True)
class Parting:
    """The first update that differs: its number (1 is the first), the right's state before and
    its params afterwards, the left's params afterwards, and the arrays that are judged."""

    number: int
    state: dict[str, Any]
    after: Params
    expected: Params
    judged: Judged
    gap: float


@dataclass(frozen=True)
class Reason:
    """A hypothesis about one update and what it leaves."""

    factor: str
    where: str
    left: Any
    right: Any
    gap: float


def examine(
    subject: Subject,
    build: Build,
    learners: tuple[Learner, Learner],
    sides: tuple[Record, Record],
    rung: int,
) -> list[Cause]:
    """Return the cause of the first update that differs; none where no single update does.

    Args:
        subject: what is learned.
        build: makes the left's learners.
        learners: fresh ones of both sides, left and right, float64.
        sides: the records.
        rung: the lowest red one.
    """
    parting = find(subject, learners, sides[1])
    if parting is None:
        return []
    batches = list(islice(subject.batches, parting.number + _AHEAD))
    reasons = chain(
        _reasons(learners[0], parting, batches, subject),
        _of_objective(build, parting, batches[parting.number - 1], subject),
    )
    for reason in reasons:
        if reason.gap <= APART:
            pair = (sides[0].name, sides[1].name)
            values, numbers = (reason.left, reason.right), (parting.gap, reason.gap)
            return [cause(reason.factor, reason.where, pair, values, rung, numbers)]
    return []


def find(subject: Subject, learners: tuple[Learner, Learner], right: Record) -> Parting | None:
    """Return the first update on which the sides part, or None."""
    left, other = learners
    judged = _judged(right)
    for number, batch in enumerate(islice(subject.batches, subject.lockstep), start=1):
        state = _place(other.state(), left.state(), subject)
        left.restore(state)
        left.update(batch)
        other.update(batch)
        after = other.params()
        expected = left.params()
        gap = _gap(expected, after, state["params"], judged)
        if gap > APART:
            return Parting(number, state, after, expected, judged, gap)
    return None


def _place(other: dict[str, Any], own: dict[str, Any], subject: Subject) -> dict[str, Any]:
    """Where the left is put: params and slots are the right's; masks and target are its own."""
    state = dict(other) | {"dropout": own["dropout"]}
    if "target" in state:
        state["target"] = dict(subject.params)
    return state


def _judged(right: Record) -> Judged:
    """Every array but those that rounding alone moves: those that learn, and the others."""
    sizes = {name: float(np.max(np.abs(g), initial=0.0)) for name, g in right.gradients.items()}
    largest = max(sizes.values(), default=0.0)
    loud = [name for name, size in sizes.items() if size > _SILENT * largest]
    return loud, [name for name in right.params if name not in sizes]


def _gap(own: Params, other: Params, before: Params, judged: Judged) -> float:
    """How far two updates are apart, relative to the longer one; the worse of both groups."""
    found = [0.0]
    for names in judged:
        way = max(distance(own, before, names), distance(other, before, names))
        found.append(distance(own, other, names) / way if way else 0.0)
    return max(found)


def _reasons(
    left: Learner, parting: Parting, batches: Sequence[Batch], subject: Subject
) -> Iterator[Reason]:
    own = batches[parting.number - 1]
    yield from _of_type(parting)
    yield from _of_frequency(left, parting, own, subject)
    if subject.target:
        yield from _of_target(left, parting, own, subject)
    yield from _of_batches(left, parting, batches, subject)
    yield from _of_masks(left, parting, own, subject)
    yield from _of_rate(left, parting, own, subject)


def _of_type(parting: Parting) -> Iterator[Reason]:
    """Whether params are float32 numbers from here on, rounded after the update or before it."""
    words, names = f"float32 from update {parting.number} on", parting.judged[0]
    if all(np.array_equal(parting.after[name], _short(parting.after[name])) for name in names):
        yield Reason("dtype", "params", "float64", words, 0.0)
    start = parting.state["params"]
    stepped = {n: _short(start[n]) + parting.expected[n] - start[n] for n in names}
    gap = _gap(stepped, parting.after, start, (names, []))
    yield Reason("dtype", "params", "float64", words, gap)


def _short(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32).astype(np.float64)


def _of_frequency(
    left: Learner, parting: Parting, own: Batch, subject: Subject
) -> Iterator[Reason]:
    """Whether the update was left out, or made twice."""
    still = all(
        np.array_equal(parting.after[n], parting.state["params"][n]) for n in parting.judged[0]
    )
    if still:
        words = f"update {parting.number} left out"
        yield Reason("train-frequency", "updates", "one for each batch", words, 0.0)
    left.restore(parting.state)
    left.update(own)
    left.update(own)
    yield Reason("train-frequency", "updates", "one for each batch", "two", _left(left, parting))


def _of_target(left: Learner, parting: Parting, own: Batch, subject: Subject) -> Iterator[Reason]:
    """Whether the target network is a copy of the online one here."""
    left.restore(parting.state)
    left.load_params(parting.state["params"], "target")
    left.update(own)
    period = parting.number - 1
    words = f"copied after {period} updates" if period > 1 else "the online network itself"
    yield Reason("target-update", "target network", "not copied", words, _left(left, parting))


def _of_batches(
    left: Learner, parting: Parting, batches: Sequence[Batch], subject: Subject
) -> Iterator[Reason]:
    """Whether another batch was used."""
    for place, batch in enumerate(batches, start=1):
        if place != parting.number and abs(place - parting.number) <= _AHEAD:
            left.restore(parting.state)
            left.update(batch)
            words = (f"batch {parting.number} at update {parting.number}", f"batch {place}")
            yield Reason("batch-order", "batches", *words, _left(left, parting))


def _of_masks(left: Learner, parting: Parting, own: Batch, subject: Subject) -> Iterator[Reason]:
    """Whether the first update's dropout masks were used again."""
    left.restore(dict(parting.state) | {"dropout": _first_stream(subject)})
    left.update(own)
    words = ("new masks for each update", "the first update's masks again")
    yield Reason("determinism", "dropout", *words, _left(left, parting))


def _first_stream(subject: Subject) -> Any:
    return get_state(generator(subject.seed, "dropout"))


def _of_rate(left: Learner, parting: Parting, own: Batch, subject: Subject) -> Iterator[Reason]:
    """Whether the rate was another one, by the size of the update."""
    rule = left.rule
    if rule is None:
        return
    rate = rule.rate.value(parting.number - 1)

    def at(number: float) -> np.ndarray:
        left.rule = replace(rule, rate=Constant(max(number, 0.0)))
        left.restore(parting.state)
        left.update(own)
        left.rule = rule
        mine = left.params()
        return np.concatenate([(mine[n] - parting.after[n]).ravel() for n in subject.trainable])

    still = at(0.0)
    way = at(rate) - still
    size = float(np.vdot(way, way))
    if not size:
        return
    found = -rate * float(np.vdot(still, way)) / size
    found = tidy(lambda c: at(c) / np.sqrt(size), found)
    at(found)
    words = f"{found:.3g} at update {parting.number}"
    yield Reason("rate-schedule", "optimizer", rate, words, _left(left, parting))


def _of_objective(build: Build, parting: Parting, own: Batch, subject: Subject) -> Iterator[Reason]:
    """Whether the target's value is chosen otherwise, which copies of one network hide."""
    if not isinstance(subject.objective, QLearning):
        return
    for idea in doubles(subject.objective):
        other = replace(subject, objective=idea.objective)
        learner = build(other, subject.params, subject.rule, "float64")
        learner.restore(parting.state)
        learner.update(own)
        gap = _left(learner, parting)
        yield Reason(idea.factor, "objective", idea.left, idea.right, gap)


def _left(left: Learner, parting: Parting) -> float:
    """What a hypothesis leaves of the difference."""
    return _gap(left.params(), parting.after, parting.state["params"], parting.judged)
