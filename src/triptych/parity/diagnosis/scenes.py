"""Rungs 3 to 5: a side's loss, gradients and update rule, and the hypotheses tried on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from triptych.backends.protocol import Learner, Params
from triptych.parity.diagnosis import losses, playing, rules, solve
from triptych.parity.diagnosis.cause import Cause, cause, unknown
from triptych.parity.diagnosis.machine import Machine
from triptych.parity.diagnosis.objectives import LOSS, SLOPE, Scene
from triptych.parity.diagnosis.search import Step, Told, explain
from triptych.parity.record import Build, Record, scheduled
from triptych.parity.subject import Subject

_BATCHES = 4
"""Batches whose losses are compared: one loss alone could be met by accident."""


@dataclass(frozen=True)
class Bench:
    """What the stages need: the subject, the records, the side under judgement and its builder."""

    subject: Subject
    sides: tuple[Record, Record]
    build: Build | None

    @property
    def names(self) -> tuple[str, str]:
        """The sides' names."""
        return self.sides[0].name, self.sides[1].name

    def learner(self, under_schedule: bool = False) -> Learner | None:
        """Return a fresh learner of the judged side, float64, or None without a builder."""
        if self.build is None:
            return None
        rule = scheduled(self.subject.rule) if under_schedule else self.subject.rule
        return self.build(self.subject, self.subject.params, rule, "float64")


def scene(bench: Bench, machine: Machine, learner: Learner | None) -> Scene:
    """Return what the side answered about its loss and gradients."""
    right = bench.sides[1]
    batches = list(islice(bench.subject.batches, _BATCHES if learner else 1))
    values = (
        [right.loss, *(learner.loss(batch) for batch in batches[1:])] if learner else [right.loss]
    )
    params = {name: np.asarray(a, dtype=np.float64) for name, a in right.params.items()}
    subject = bench.subject
    seen = Scene(
        machine, params, batches, np.array(values), right.gradients, subject.trainable, subject.seed
    )
    if seen.gap(subject.objective) <= LOSS or not subject.target:
        return seen
    # The change may not have reached the target network, which was made apart.
    given = Machine.of(subject.network, subject.seed), subject.params
    apart = replace(seen, target=given, seen={})
    return apart if apart.gap(subject.objective) <= LOSS else seen


def objective_causes(bench: Bench, seen: Scene, rounded: bool) -> list[Cause]:
    """Return why the side's loss and gradients are others than the subject's objective gives.

    Where a layer is ``rounded`` to a shorter type, slopes can't be taken by differences.
    """
    own = bench.subject.objective
    if seen.gap(own) > LOSS:
        return _loss_causes(bench, seen)
    if rounded:
        return []
    slopes = seen.slopes(own)
    return _gradient_causes(bench, seen, slopes) if max(slopes.values()) > SLOPE else []


def _loss_causes(bench: Bench, seen: Scene) -> list[Cause]:
    own = bench.subject.objective
    size = len(seen.batches[0][own.evaluations[0].input])
    outputs = bench.sides[1].outputs[bench.subject.nodes[-1]].shape[-1]
    tried = lambda objective: _steps(seen, objective, size, outputs)  # noqa: E731
    told = explain(own, tried, seen.gap, LOSS)
    if told is None:
        return [unknown("loss", "-".join(bench.names), 3, seen.gap(own), "objectives")]
    return _causes(bench, told, "objective", 3)


def _steps(seen: Scene, objective: Any, size: int, outputs: int) -> Iterator[Step[Any]]:
    """The hypotheses about an objective that change the loss, numbers found."""
    for item in losses.ideas(objective, size, outputs):
        if isinstance(item, losses.Idea):
            yield Step(item.factor, item.left, item.right, item.objective)
            continue
        number = solve.constant(
            lambda c, search=item: seen.residuals(search.make(c)),  # type: ignore[misc]
            item.starts,
            positive=item.positive,
        )
        if number is not None:
            factor = item.name(number) or item.factor
            yield Step(factor, item.left, number, item.make(number))


def _gradient_causes(bench: Bench, seen: Scene, slopes: dict[str, float]) -> list[Cause]:
    """The loss is right and its gradients are not."""
    own, before = bench.subject.objective, max(slopes.values())
    for idea in losses.ideas(own, 1, 1):
        if isinstance(idea, losses.Idea) and idea.leaky and seen.gap(idea.objective) <= LOSS:
            after = max(seen.slopes(idea.objective, leaky=True).values())
            if after <= SLOPE:
                values = (idea.left, idea.right)
                return [cause(idea.factor, "objective", bench.names, values, 4, (before, after))]
    still = [name for name, gap in slopes.items() if gap > SLOPE and _zero(seen.gradients, name)]
    if still and all(gap <= SLOPE or name in still for name, gap in slopes.items()):
        return [_still(bench, name, slopes[name]) for name in still]
    scaled = _scaled(bench, seen)
    return scaled or [unknown("gradients", "-".join(bench.names), 4, before, "objectives")]


def _zero(gradients: Params, name: str) -> bool:
    return name in gradients and not np.any(gradients[name])


def _still(bench: Bench, name: str, gap: float) -> Cause:
    """An array that does not learn."""
    if name.endswith("bias"):
        return cause("bias", name, bench.names, ("learns", "does not learn"), 4, (gap, 0.0))
    return unknown(name, "-".join(bench.names), 4, gap, "objectives (its gradient is zero)")


def _scaled(bench: Bench, seen: Scene) -> list[Cause]:
    """All gradients the same number of times too large, or with a share of the params added."""
    left, right = (_flat(side.gradients) for side in bench.sides)
    params = _flat({name: seen.params[name] for name in bench.sides[1].gradients})
    size = float(np.linalg.norm(left)) or 1.0
    before = float(np.linalg.norm(right - left)) / size
    gain = float(np.vdot(left, right)) / size**2
    share = float(np.vdot(right - left, params)) / float(np.vdot(params, params))
    for factor, where, value, guess in (
        ("loss-reduction", "gradients", f"times {gain:.3g}", gain * left),
        ("l2", "gradients", f"{share:.3g} times the params added", left + share * params),
    ):
        after = float(np.linalg.norm(right - guess)) / size
        if after <= 1e-9:
            values = ("as the loss gives them", value)
            return [cause(factor, where, bench.names, values, 4, (before, after))]
    return []


def _flat(arrays: Params) -> np.ndarray:
    return np.concatenate([np.asarray(a, np.float64).ravel() for a in arrays.values()])


def rule_causes(bench: Bench, learner: Learner) -> list[Cause]:
    """Return why the side's update rule does something else with chosen gradients."""
    subject = bench.subject
    names = playing.watch(subject.params, subject.trainable)
    gradients = playing.chosen(subject.params, subject.trainable, names, subject.seed)
    falling = bench.learner(under_schedule=True)
    assert falling is not None
    seen = [playing.ask(one, gradients, names) for one in (learner, falling)]
    start = {name: np.asarray(bench.sides[1].params[name], dtype=np.float64) for name in names}
    start = playing.moving(start, seen)
    schedules = [subject.rule.rate, scheduled(subject.rule).rate]
    played = playing.Scene(start, gradients, schedules, seen)
    own = playing.Variant(subject.rule)
    before = played.gap(own)
    if before <= rules.VANISHED:
        return []
    told = explain(own, lambda v: rules.steps(played, v), played.gap, rules.VANISHED)
    if told is None:
        return [unknown("optimizer", "-".join(bench.names), 5, before, "update rules")]
    return _causes(bench, told, "optimizer", 5)


def _causes(bench: Bench, told: list[Told[Any]], where: str, rung: int) -> list[Cause]:
    return [
        cause(
            item.step.factor,
            where,
            bench.names,
            (item.step.left, item.step.right),
            rung,
            (item.before, item.after),
        )
        for item in told
    ]
