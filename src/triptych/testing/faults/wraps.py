"""Learners in the place of others: they answer as the inner one does, but for one thing.

Each works on every backend, since it stands on the learner's protocol alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triptych.backends.protocol import Batch, DType, Params, Slots
from triptych.parity.subject import Subject

Turn = Callable[[np.ndarray], np.ndarray]


def same(array: np.ndarray) -> np.ndarray:
    """Return an array as it is."""
    return array


@dataclass(frozen=True)
class Turned:
    """How one array lives in the sick side: under which name, turned which way, and back."""

    name: str
    inwards: Turn = same
    outwards: Turn = same


@dataclass(frozen=True)
class Arrays:
    """How the sick side keeps arrays; those not named are kept as they are.

    Attributes:
        turned: by the name that the others know.
        lost: names the sick side has no array for: it answers what it was given.
        outputs: what a node's output looks like from outside.
    """

    turned: Mapping[str, Turned] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    outputs: Mapping[str, Turn] = field(default_factory=dict)

    def inwards(self, params: Params) -> Params:
        """Return arrays as the sick side keeps them."""
        found = {}
        for name, array in params.items():
            if name not in self.lost:
                turned = self.turned.get(name, Turned(name))
                found[turned.name] = np.ascontiguousarray(turned.inwards(array))
        return found

    def outwards(self, inner: Params, like: Params) -> Params:
        """Return the sick side's arrays as it answers them; lost ones as in ``like``."""
        found = {}
        for name in like:
            turned = self.turned.get(name, Turned(name))
            lost = name in self.lost
            found[name] = like[name] if lost else turned.outwards(inner[turned.name])
        return {name: np.ascontiguousarray(array) for name, array in found.items()}


def renamed(node: str, *names: str) -> Arrays:
    """Return arrays that live in ``<node>_raw``."""
    return Arrays({f"{node}/{name}": Turned(f"{node}_raw/{name}") for name in names})


class Wrapped:
    """A learner that passes everything on; subclasses override some answers."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Mapped(Wrapped):
    """A learner that keeps arrays in its own way and reads them back in the same way."""

    def __init__(self, inner: Any, arrays: Arrays, params: Params, dtype: DType) -> None:
        super().__init__(inner)
        self.arrays = arrays
        self.given = {name: array.astype(dtype) for name, array in params.items()}

    def _learnt(self, inner: Params) -> Params:
        """Gradients or slots by the names that others know; zero for lost arrays."""
        names = [
            name for name in self.given if self._name(name) in inner or name in self.arrays.lost
        ]
        zeros = {name: np.zeros_like(self.given[name]) for name in names}
        return self.arrays.outwards(inner, zeros)

    def _name(self, name: str) -> str:
        return self.arrays.turned.get(name, Turned(name)).name

    def params(self, network: str = "online") -> Params:
        """As the others know them."""
        return self.arrays.outwards(self.inner.params(network), self.given)

    def load_params(self, params: Params, network: str = "online") -> None:
        """As the others know them."""
        self.inner.load_params(self.arrays.inwards(params), network)

    def layer_outputs(self, observations: np.ndarray, training: bool = False) -> Params:
        """With the outputs turned that look otherwise from outside."""
        found = self.inner.layer_outputs(observations, training)
        return {name: self.arrays.outputs.get(name, same)(y) for name, y in found.items()}

    def gradients(self, batch: Batch) -> Params:
        """As the others know them."""
        return self._learnt(self.inner.gradients(batch))

    def apply_gradients(self, gradients: Params) -> None:
        """As the others know them."""
        self.inner.apply_gradients(self.arrays.inwards(gradients))

    def slots(self) -> Slots:
        """As the others know them."""
        slots = self.inner.slots()
        return Slots(slots.updates, {key: self._learnt(a) for key, a in slots.values.items()})

    def state(self) -> dict[str, Any]:
        """As the others know it."""
        state = dict(self.inner.state()) | {"params": self.params()}
        if "slots" in state:
            state["slots"] = self.slots().values
        if "target" in state:
            state["target"] = self.params("target")
        return state


class Observing(Wrapped):
    """A learner that sees other observations than it is given."""

    def __init__(self, inner: Any, see: Turn) -> None:
        super().__init__(inner)
        self.see = see

    def _seen(self, batch: Batch) -> dict[str, np.ndarray]:
        return {
            key: self.see(value) if "observation" in key else value for key, value in batch.items()
        }

    def layer_outputs(self, observations: np.ndarray, training: bool = False) -> Params:
        """Of what is seen, but for the input itself."""
        found = self.inner.layer_outputs(self.see(observations), training)
        return found | {"input": observations.astype(next(iter(found.values())).dtype)}

    def loss(self, batch: Batch) -> float:
        """On what is seen."""
        return float(self.inner.loss(self._seen(batch)))

    def gradients(self, batch: Batch) -> Params:
        """On what is seen."""
        found: Params = self.inner.gradients(self._seen(batch))
        return found

    def update(self, batch: Batch) -> Any:
        """On what is seen."""
        return self.inner.update(self._seen(batch))


class Reordering(Wrapped):
    """A learner that takes its batches pairwise in the other order: 2, 1, 4, 3, ..."""

    def __init__(self, inner: Any, batches: Iterable[Batch]) -> None:
        super().__init__(inner)
        self.swapped = self._pairs(iter(batches))

    def _pairs(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            first, second = next(batches), next(batches)
            yield second
            yield first

    def update(self, batch: Batch) -> Any:
        """On another batch."""
        return self.inner.update(next(self.swapped))


class Copying(Wrapped):
    """A learner that copies its network into the target every so many updates."""

    def __init__(self, inner: Any, period: int) -> None:
        super().__init__(inner)
        self.period, self.made = period, 0

    def update(self, batch: Batch) -> Any:
        """And the copy after it, when it is time."""
        loss = self.inner.update(batch)
        self.made += 1
        if self.made % self.period == 0:
            self.inner.sync_target()
        return loss


class Skipping(Wrapped):
    """A learner that leaves out every so many-th update."""

    def __init__(self, inner: Any, period: int) -> None:
        super().__init__(inner)
        self.period, self.asked = period, 0

    def update(self, batch: Batch) -> Any:
        """Or nothing."""
        self.asked += 1
        return 0.0 if self.asked % self.period == 0 else self.inner.update(batch)


class Repeating(Wrapped):
    """A learner whose dropout masks are those of the first update every time."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.masks = inner.state()["dropout"]

    def update(self, batch: Batch) -> Any:
        """With the stream of masks wound back."""
        loss = self.inner.update(batch)
        self.inner.restore(dict(self.inner.state()) | {"dropout": self.masks})
        return loss


class Rounding(Wrapped):
    """A learner whose params pass through float32 after a number of updates."""

    def __init__(self, inner: Any, first: int) -> None:
        super().__init__(inner)
        self.first = first

    def update(self, batch: Batch) -> Any:
        """And the rounding after it."""
        loss = self.inner.update(batch)
        if self.inner.updates >= self.first:
            params = self.inner.params()
            self.inner.load_params({n: a.astype(np.float32) for n, a in params.items()})
        return loss


OwnStep = Callable[[int, float, Params, Params, dict[str, Params]], Params]
"""(updates before, rate, gradients, params, slots to be changed) -> params."""


class OwnRule(Wrapped):
    """A learner whose update rule is written by hand in NumPy, on the backend's own gradients."""

    def __init__(self, inner: Any, step: OwnStep, subject: Subject) -> None:
        super().__init__(inner)
        self.step, self.rate = step, subject.rule.rate
        zeros = {name: np.zeros_like(subject.params[name]) for name in subject.trainable}
        start = getattr(subject.rule, "initial", 0.0)
        self.own = {key: {n: a + start for n, a in zeros.items()} for key in subject.rule.slots}
        self.made = 0

    def _move(self, gradients: Params, before: Params) -> None:
        trained = {name: before[name].astype(np.float64) for name in gradients}
        rate = self.rate.value(self.made)
        after = self.step(self.made, rate, gradients, trained, self.own)
        self.made += 1
        self.inner.load_params(self.inner.params() | after)

    def update(self, batch: Batch) -> Any:
        """The inner update moves statistics and masks; its params are replaced."""
        gradients, before = self.inner.gradients(batch), self.inner.params()
        loss = self.inner.update(batch)
        self._move(gradients, before)
        return loss

    def apply_gradients(self, gradients: Params) -> None:
        """By the rule written by hand."""
        before = self.inner.params()
        self.inner.apply_gradients(gradients)
        self._move(gradients, before)

    def slots(self) -> Slots:
        """Its own."""
        copies = {key: {n: np.array(a) for n, a in s.items()} for key, s in self.own.items()}
        return Slots(self.made, copies)

    def state(self) -> dict[str, Any]:
        """With its own slots."""
        return dict(self.inner.state()) | {"slots": self.slots().values, "updates": self.made}
