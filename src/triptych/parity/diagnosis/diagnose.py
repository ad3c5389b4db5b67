"""From red rungs to their causes: the stages in order, each beginning where the last one ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from triptych.parity.diagnosis import arrays, course, nodes, stated, statistics
from triptych.parity.diagnosis.cause import UNKNOWN, Cause, Diagnosis, unknown
from triptych.parity.diagnosis.machine import Machine
from triptych.parity.diagnosis.precision import examine as examine_precision
from triptych.parity.diagnosis.scenes import Bench, objective_causes, rule_causes, scene
from triptych.parity.record import Build, Record, backend_learner
from triptych.parity.rungs import Verdict, first_red
from triptych.parity.subject import Subject


def diagnose(
    subject: Subject,
    left: Record,
    right: Record,
    verdicts: Sequence[Verdict],
    *,
    builds: tuple[Build, Build] | None = None,
) -> Diagnosis:
    """Name the reasons why two records differ.

    The left side is taken for what the subject says; what the right side does is modelled in the
    float64 oracle, and hypotheses change the model until it reproduces the right's numbers. What
    the sides say about themselves is believed only where no number tests it. If the right side
    does what the subject says, the left is examined in the same way.

    Args:
        subject: what was compared.
        left, right: the records, of one type.
        verdicts: of this pair; where none is red there is nothing to find.
        builds: make the sides' learners; those of the backends with the records' names unless
            given.

    Returns:
        The causes in the order of the rungs; ``unknown`` where nothing tested explains them.
    """
    pair = f"{left.name}-{right.name}"
    red = first_red(v for v in verdicts if v.dtype == left.dtype)
    if red is None:
        return Diagnosis(pair)
    said = stated.differences(left, right)
    if not hasattr(subject, "network"):  # a user's own setup: its layers are no spec's
        return Diagnosis(pair, tuple(_merged(said, [], red)))
    if left.dtype == "float32":
        return Diagnosis(pair, tuple(_merged(said, examine_precision(subject, left, right), red)))
    builds = builds or (backend_learner(left.name), backend_learner(right.name))
    found = _stages(subject, (left, right), builds, red)
    if all(cause.factor == UNKNOWN for cause in found):
        others = _stages(subject, (right, left), builds[::-1], red)
        if any(cause.factor != UNKNOWN for cause in others):
            found = [_turned(cause) for cause in others]
    return Diagnosis(pair, tuple(_merged(said, found, red)))


def _stages(
    subject: Subject, sides: tuple[Record, Record], builds: tuple[Build, Build], red: Verdict
) -> list[Cause]:
    """The second of the sides examined from params to the course of training."""
    bench = Bench(subject, sides, builds[1])
    found = arrays.examine(subject.params, sides)
    machine = Machine.of(subject.network, subject.seed)
    batch = next(iter(subject.batches))
    key = subject.objective.evaluations[0].input
    machine, unlike = nodes.examine(subject.network, machine, batch, key, sides)
    found += unlike
    learner = bench.learner()
    assert learner is not None
    if machine.complete:
        rounded = any(cause.factor == "dtype" for cause in unlike)
        found += objective_causes(bench, scene(bench, machine, learner), rounded)
    found += rule_causes(bench, learner)
    found += statistics.examine(subject.network, sides)
    if all(cause.factor == UNKNOWN for cause in found):
        fresh = bench.learner()
        other = builds[0](subject, subject.params, subject.rule, "float64")
        assert fresh is not None
        found += course.examine(subject, builds[0], (other, fresh), sides, max(red.rung, 5))
    return found


def _merged(said: list[Cause], found: list[Cause], red: Verdict) -> list[Cause]:
    """What is stated and what was found, each once; unknown only where nothing else explains."""
    named = [cause for cause in found if cause.factor != UNKNOWN]
    places = {(cause.factor, cause.where): cause for cause in said}
    merged = [
        replace(cause, rung=0) if (cause.factor, cause.where) in places else cause
        for cause in named
    ]
    merged += [c for c in said if (c.factor, c.where) not in {(n.factor, n.where) for n in named}]
    if not said:
        merged += [cause for cause in found if cause.factor == UNKNOWN]
    if not merged:
        place = red.culprit or red.name
        merged = [unknown(place, red.pair, red.rung, red.value, "hypotheses")]
    return sorted(merged, key=lambda cause: cause.rung)


def _turned(cause: Cause) -> Cause:
    """A cause found with the sides exchanged, as of left and right."""
    return replace(cause, left=cause.right, right=cause.left)
