"""Chosen gradients played to a side's update rule, and to hypotheses about it in the oracle.

A hypothesis is a :class:`Variant`: a rule of the spec with what no rule of the spec can say (a rate
inside the buffer, a counter that stands still). Hypotheses are in ``rules.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from triptych.backends import registry
from triptych.backends.protocol import Learner, Params
from triptych.spec import layers as spec
from triptych.spec.network import Network, Node
from triptych.spec.randomness import generator
from triptych.spec.rules import Rule
from triptych.spec.schedules import Constant, Schedule

SIZES = (1e-3, 1.0, 1e-6, 10.0, -1.0, 0.0, 1e-2, -3.0, 0.3, 1e-4)
"""Gradients' sizes, update by update: small ones show epsilon, large ones clipping."""
_ARRAYS, _LARGEST = 4, 512
"""How many arrays are looked at, and how large they may be; the others' gradients are zero."""
_FLOOR = 1e-4
"""An update is measured against its own size, or this share of the largest update."""

Change = Callable[[Params, Params, float, int], Params]
"""(gradients or params, params before, rate, updates before) -> changed gradients or params."""


def _as_it_is(values: Params, before: Params, rate: float, count: int) -> Params:
    return values


@dataclass(frozen=True)
class Variant:
    """A hypothetical update rule.

    Attributes:
        rule: its constants; the rate is a schedule.
        before: changes the gradients before clipping.
        after: changes the params after the update.
        counter: the updates that the rule believes to have been made.
        shift: added to the count at which the schedule is read.
        gain: times the rate; ``gains`` the same for one schedule and update.
        frozen: whether the rate stays that of the first update.
        unit: whether the rule itself runs at rate 1 and ``before`` brings the rate in.
    """

    rule: Rule
    before: Change = _as_it_is
    after: Change = _as_it_is
    counter: Callable[[int], int] = int
    shift: int = 0
    gain: float = 1.0
    gains: Mapping[tuple[Schedule, int], float] = field(default_factory=dict)
    frozen: bool = False
    unit: bool = False

    def rate(self, schedule: Schedule, count: int) -> float:
        """Return the rate of an update."""
        rate = schedule.value(0 if self.frozen else max(count + self.shift, 0))
        return self.gain * self.gains.get((schedule, count), 1.0) * rate


@dataclass(frozen=True)
class Scene:
    """What one side's rule did with the chosen gradients, under one or more schedules.

    ``seen`` has, for each schedule, the watched arrays after each update.
    """

    start: Params
    gradients: Sequence[Params]
    schedules: Sequence[Schedule]
    seen: Sequence[Sequence[Params]]
    network: Network = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", _network(self.start))

    def gap(self, variant: Variant) -> float:
        """Return the largest relative difference of an update."""
        with np.errstate(all="ignore"):
            values = self.residuals(variant)
        size = float(np.max(np.abs(values), initial=0.0))
        return size if np.isfinite(size) else np.inf

    def residuals(self, variant: Variant) -> np.ndarray:
        """Return the differences between the updates, each relative to the update's size."""
        parts = []
        for schedule, seen in zip(self.schedules, self.seen, strict=True):
            steps = _updates(self.start, seen)
            own = _updates(self.start, self.play(variant, schedule))
            sizes = np.max(np.abs(steps), axis=1, initial=0.0)
            scale = np.maximum(sizes, _FLOOR * np.max(sizes, initial=0.0))
            parts.append(((own - steps) / np.maximum(scale, 1e-300)[:, None]).ravel())
        return np.concatenate(parts)

    def gains(self, variant: Variant) -> dict[tuple[Schedule, int], float]:
        """Return the number of times by which each update is too long, by least squares."""
        found = {}
        for schedule, seen in zip(self.schedules, self.seen, strict=True):
            own = _updates(self.start, self.play(variant, schedule))
            for count, (mine, step) in enumerate(zip(own, _updates(self.start, seen), strict=True)):
                size = float(np.vdot(mine, mine))
                found[schedule, count] = float(np.vdot(mine, step)) / size if size else 1.0
        return found

    def play(self, variant: Variant, schedule: Schedule) -> list[Params]:
        """Return the watched arrays after each update of a hypothetical rule, by the oracle."""
        learner = self._learner(variant.rule)
        names, found = list(self.start), []
        params = {name: np.array(array) for name, array in self.start.items()}
        for count, gradient in enumerate(self.gradients):
            rate = variant.rate(schedule, count)
            learner.rule = replace(variant.rule, rate=Constant(1.0 if variant.unit else rate))
            learner.updates = variant.counter(count)
            changed = variant.before(_watched(gradient, names), params, rate, count)
            with np.errstate(all="ignore"):
                learner.apply_gradients(_packed(changed, names))
            after = variant.after(_unpacked(learner.params(), params), params, rate, count)
            learner.load_params(_packed(after, names))
            params = after
            found.append(params)
        return found

    def _learner(self, rule: Rule) -> Learner:
        start = _packed(self.start, list(self.start))
        return registry.get("numpy").learner(self.network, start, rule=rule, dtype="float64")


def watch(params: Params, trainable: Sequence[str]) -> list[str]:
    """Return the names of the arrays that are watched: the smallest, of more than one number."""
    small = sorted((n for n in trainable if params[n].size > 1), key=lambda n: params[n].size)
    few = [name for name in small if params[name].size <= _LARGEST][-_ARRAYS:]
    return few or small[:1] or list(trainable[:1])


def chosen(
    params: Params, trainable: Sequence[str], names: Sequence[str], seed: int
) -> list[Params]:
    """Return gradients for each update: awkward ones for the watched arrays, zero elsewhere."""
    stream, found = generator(seed, "diagnosis/gradients"), []
    for size in SIZES:
        gradient = {name: np.zeros(params[name].shape) for name in trainable}
        for place, name in enumerate(names):
            gradient[name] = size * (0.5 + place) * stream.normal(size=params[name].shape)
        found.append(gradient)
    return found


def ask(learner: Learner, gradients: Sequence[Params], names: Sequence[str]) -> list[Params]:
    """Return a side's watched arrays after each of the gradients."""
    found = []
    for gradient in gradients:
        learner.apply_gradients(gradient)
        params = learner.params()
        found.append({name: np.array(params[name], dtype=np.float64) for name in names})
    return found


def moving(start: Params, seen: Sequence[Sequence[Params]]) -> Params:
    """Return the watched arrays that move at all: one that has no use on a side says nothing."""
    found = {
        name: array
        for name, array in start.items()
        if any(not np.array_equal(params[name], array) for played in seen for params in played)
    }
    return found or start


def _network(start: Params) -> Network:
    """A network whose kernels hold the watched arrays, row by row: rules know no layout."""
    first = Node("input", spec.Input((1,)))
    parts = [
        Node(f"part{place}", spec.Dense(array.size, bias=False), ("input",))
        for place, array in enumerate(start.values())
    ]
    if len(parts) == 1:
        return Network((first, *parts))
    joined = Node("joined", spec.Concatenate(), tuple(part.name for part in parts))
    return Network((first, *parts, joined))


def _packed(params: Params, names: Sequence[str]) -> Params:
    return {f"part{i}/kernel": params[name].reshape(1, -1) for i, name in enumerate(names)}


def _unpacked(packed: Params, like: Params) -> Params:
    return {
        name: packed[f"part{i}/kernel"].reshape(like[name].shape) for i, name in enumerate(like)
    }


def _watched(gradient: Mapping[str, np.ndarray], names: Sequence[str]) -> Params:
    return {name: gradient[name] for name in names}


def _updates(start: Params, seen: Sequence[Params]) -> np.ndarray:
    """(updates, numbers): how far each update moved each number."""
    rows = [np.concatenate([p[name].ravel() for name in start]) for p in (start, *seen)]
    return np.diff(np.array(rows), axis=0)
