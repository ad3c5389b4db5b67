"""Everything one backend does with a subject, as plain arrays, so that pairs can be compared.

A record is made in a process of its own or in this one; it says nothing about right or wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from triptych.backends import registry
from triptych.backends.protocol import DType, Learner, Params, Slots
from triptych.parity.measures import distance, last_bit
from triptych.parity.subject import Subject
from triptych.spec.randomness import generator
from triptych.spec.rules import Rule
from triptych.spec.schedules import Exponential

SHORT = 50
"""Updates after which rung 5 looks a second time."""
ENVELOPES = 2
"""Changed starts by which the envelope is measured."""

Build = Callable[[Subject, Params, Rule, DType], Learner]
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True)
class State:
    """Params and slots after an update, and the loss before it."""

    params: Params
    slots: Slots
    loss: float


@dataclass
class Record:
    """What one backend did. States are by label: ``1``, ``50``, ``scheduled``, ``lockstep``.

    ``envelope`` holds, for the same labels, how far last-bit changes of the initial params led
    away: by array name, slots as ``name:slot``, and ``""`` for all params. In float64 it is
    measured only where two sides differ (:func:`moved`), and leaves ``lockstep`` out.
    ``loss_envelope`` holds how far they led the loss on the first batch.
    """

    name: str
    dtype: DType
    factors: dict[str, Any]
    params: Params
    outputs: Params
    training_outputs: Params
    loss: float
    gradients: Params
    states: dict[str, State] = field(default_factory=dict)
    envelope: dict[str, dict[str, float]] = field(default_factory=dict)
    loss_envelope: float = 0.0


def backend_learner(name: str) -> Build:
    """Return the builder of a backend's learners."""

    def build(subject: Subject, params: Params, rule: Rule, dtype: DType) -> Learner:
        return registry.get(name).learner(
            subject.network,
            params,
            objective=subject.objective,
            rule=rule,
            dtype=dtype,
            seed=subject.seed,
            target=subject.target,
        )

    return build


def make(
    subject: Subject,
    name: str,
    dtype: DType,
    build: Build | None = None,
    tell: Tell | None = None,
    envelope: bool = True,
) -> Record:
    """Return the record of one backend in one type.

    Args:
        subject: what to compute.
        name: of the backend, and of the side in the verdicts.
        dtype: float32 or float64.
        build: makes the learners; the backend's own unless given.
        tell: is told how far the record is.
        envelope: whether to measure the envelope too.
    """
    build = build or backend_learner(name)
    progress = _Progress(tell, _own(subject) + (_more(subject, dtype) if envelope else 0))
    return _make(subject, name, dtype, build, progress, envelope)


def job(subject: Subject, name: str, dtypes: Sequence[DType], tell: Tell) -> list[Record]:
    """Make a backend's records in another process, with the envelope where it is the yardstick.

    Elsewhere in float64 hardly any two sides differ so that one is needed: see :func:`moved`.
    """
    registry.load_one_only()
    more = sum(_more(subject, dtype) for dtype in dtypes if subject.by_envelope(dtype))
    progress = _Progress(tell, _own(subject) * len(dtypes) + more)
    build = backend_learner(name)
    return [
        _make(subject, name, dtype, build, progress, subject.by_envelope(dtype)) for dtype in dtypes
    ]


def envelope_job(subject: Subject, name: str, dtype: DType, tell: Tell) -> list[dict[str, State]]:
    """Measure where last-bit changes lead, in another process, for :func:`widen`."""
    progress = _Progress(tell, _more(subject, dtype))
    return moved(subject, backend_learner(name), dtype, progress)


def _make(
    subject: Subject,
    name: str,
    dtype: DType,
    build: Build,
    progress: _Progress,
    envelope: bool,
) -> Record:
    learner = build(subject, subject.params, subject.rule, dtype)
    batch = next(iter(subject.batches))
    observations = batch[subject.objective.evaluations[0].input]
    record = Record(
        name=name,
        dtype=dtype,
        factors=learner.factors(),
        params=learner.params(),
        outputs=learner.layer_outputs(observations),
        training_outputs=learner.layer_outputs(observations, training=True),
        loss=learner.loss(batch),
        gradients=learner.gradients(batch),
    )
    record.states = _states(subject, build, subject.params, dtype, progress, learner)
    if envelope:
        widen(record, moved(subject, build, dtype, progress))
    return record


def moved(
    subject: Subject, build: Build, dtype: DType, progress: _Progress
) -> list[dict[str, State]]:
    """Return the states that last-bit changes of the initial params lead to.

    From several changed starts where the envelope is the yardstick; else from one, and without
    ``lockstep``, which float64 judges by the way travelled.
    """
    yard, stream = subject.by_envelope(dtype), generator(subject.seed, "envelope")
    short = replace(subject, lockstep=min(SHORT, subject.lockstep))
    found = []
    for _ in range(ENVELOPES if yard else 1):
        start = last_bit(subject.params, stream, dtype)
        states = _states(subject if yard else short, build, start, dtype, progress)
        if not yard:
            del states["lockstep"]
        found.append(states)
    return found


def _own(subject: Subject) -> int:
    """The updates of a record without its envelope."""
    return subject.lockstep + (SHORT if subject.scheduled else 0)


def _more(subject: Subject, dtype: DType) -> int:
    """The updates of an envelope."""
    if subject.by_envelope(dtype):
        return ENVELOPES * _own(subject)
    return min(SHORT, subject.lockstep) + SHORT


def scheduled(rule: Rule) -> Rule:
    """Return the rule with its rate falling by 3% at every update: what hides at a constant one."""
    return replace(rule, rate=Exponential(rule.rate.value(0), 0.97, 1))


def _states(
    subject: Subject,
    build: Build,
    params: Params,
    dtype: DType,
    progress: _Progress,
    learner: Learner | None = None,
) -> dict[str, State]:
    """Params and slots after 1, SHORT and lockstep updates, and after SHORT under a schedule."""
    states, loss = {}, math.nan
    learner = learner or build(subject, params, subject.rule, dtype)
    for count, batch in enumerate(islice(subject.batches, subject.lockstep), start=1):
        loss = learner.update(batch)
        progress.step()
        if count in (1, min(SHORT, subject.lockstep)):
            states["1" if count == 1 else str(SHORT)] = _state(learner, loss)
    states["lockstep"] = _state(learner, loss)
    if not subject.scheduled:
        return states
    falling = build(subject, params, scheduled(subject.rule), dtype)
    for batch in islice(subject.batches, SHORT):
        loss = falling.update(batch)
        progress.step()
    states["scheduled"] = _state(falling, loss)
    return states


def _state(learner: Learner, loss: Any) -> State:
    return State(learner.params(), learner.slots(), float(loss))


def widen(record: Record, starts: Sequence[dict[str, State]]) -> None:
    """Let the envelopes hold the distances to the states that changed starts led to."""
    for states in starts:
        led = abs(record.states["1"].loss - states["1"].loss)
        record.loss_envelope = max(record.loss_envelope, led)
        for label in states:
            found = record.envelope.setdefault(label, {})
            for name, gap in gaps(record.states[label], states[label]).items():
                found[name] = max(found.get(name, 0.0), gap)


def gaps(left: State, right: State) -> dict[str, float]:
    """Return Euclidean distances by array: params by name, slots as name:slot, all as ''."""
    found = {"": distance(left.params, right.params)}
    for name in left.params:
        found[name] = distance(left.params, right.params, [name])
    for slot, arrays in left.slots.values.items():
        for name in arrays:
            found[f"{name}:{slot}"] = distance(arrays, right.slots.values[slot], [name])
    return found


class _Progress:
    def __init__(self, tell: Tell | None, total: int) -> None:
        self.tell, self.total, self.count = tell, total, 0

    def step(self) -> None:
        self.count += 1
        if self.tell is not None:
            self.tell(self.count, self.total, "update")
