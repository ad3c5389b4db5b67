"""What two users' setups are compared on: the left's params, batches drawn from the left's batch.

A native setup takes a learner's place in ``record.py`` here, under the left side's names. How they
are run and judged is in ``native_ladder.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from triptych.backends.native import Native
from triptych.backends.protocol import Batch, DType, Evaluation, Params, Slots
from triptych.parity.record import Build
from triptych.parity.sides import asking
from triptych.parity.subject import Subject, shake
from triptych.spec.randomness import generator
from triptych.spec.rules import Rule

_STEADY, _BRIEF = 1e6, 1e7
"""Numbers times examples up to which rung 6 makes 1,000 and 300 updates; beyond it makes 50."""
_ROWS = 8
"""Examples per batch where a model is larger still."""
_NOISE = 0.1
"""How far real inputs are moved, in their own standard deviations."""


@dataclass(frozen=True)
class _Fed:
    """The place of an objective: says what the model is fed with."""

    evaluations: tuple[Evaluation, ...] = (Evaluation("output", input="input"),)

    def loss(self, xp: Any, outputs: Any, batch: Any) -> Any:
        raise NotImplementedError("the loss is the user's own")


@dataclass(frozen=True)
class NativeSubject(Subject):
    """A subject without a spec: names instead of a network, the user's own loss and optimizer."""

    names: tuple[str, ...] = ()
    learning: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """The matched nodes and the model's output."""
        return (*self.names, "output")

    @property
    def trainable(self) -> tuple[str, ...]:
        """The arrays that learn on the left."""
        return self.learning


@dataclass(frozen=True)
class DrawnBatches:
    """Batches without end, the same ones each time: the user's examples, drawn anew and moved.

    Examples are drawn with replacement; real inputs get noise, whole numbers (pixels, words,
    labels) and all targets stay as they are.
    """

    batch: Batch
    rows: int
    seed: int

    def __iter__(self) -> Iterator[Batch]:
        stream, inputs = generator(self.seed, "lockstep"), self.batch["input"]
        real = np.issubdtype(inputs.dtype, np.floating)
        size = _NOISE * float(np.std(inputs)) if real else 0.0
        while True:
            chosen = stream.integers(0, len(inputs), self.rows)
            x = inputs[chosen]
            moved = x + stream.normal(0.0, 1.0, x.shape) * size if real else x
            yield {"input": moved, "target": self.batch["target"][chosen]}


def make(
    params: Params,
    batch: Batch,
    nodes: tuple[str, ...],
    trainable: tuple[str, ...],
    seed: int,
    lockstep: int | None,
) -> NativeSubject:
    """Return the subject of two setups that fit each other.

    Args:
        params: the left's, float64.
        batch: the left's, canonical.
        nodes: the left's names of what both have.
        trainable: the left's names of the arrays that learn on both sides.
        seed: of batches, of dropout masks, and of what zero params become.
        lockstep: updates of rung 6; by the model's size if None.
    """
    count = sum(array.size for array in params.values())
    rows = len(batch["input"])
    work = count * rows
    if work > _BRIEF:
        rows = min(rows, _ROWS)
    updates = 1000 if work <= _STEADY else 300 if work <= _BRIEF else 50
    return NativeSubject(
        network=cast(Any, None),
        params=shake(params, seed),
        objective=_Fed(),
        rule=cast(Rule, None),
        batches=DrawnBatches(batch, rows, seed),
        seed=seed,
        lockstep=lockstep or updates,
        scheduled=False,
        names=nodes,
        learning=trainable,
    )


@dataclass
class NativeLearner:
    """A native setup under the left's names, as ``record.py`` takes a learner.

    Attributes:
        native: the setup.
        nodes: left name to its own name, of nodes.
        arrays: the same, of arrays.
        learning: the left's names of the arrays that learn on both sides.
        known: its factors under the left's names.
    """

    native: Native
    nodes: Mapping[str, str]
    arrays: Mapping[str, str]
    learning: tuple[str, ...]
    known: Mapping[str, Any]

    @property
    def updates(self) -> int:
        """Updates made so far."""
        return self.native.updates

    def begin(self, params: Params, seed: int) -> None:
        """Begin again from these params; dropout masks are drawn from this seed."""
        self.native.masks_seed = seed
        self.native.restart({self.arrays[name]: array for name, array in params.items()})

    def factors(self) -> dict[str, Any]:
        """What was read from the live objects."""
        return dict(self.known)

    def params(self) -> Params:
        """All arrays."""
        return self._left(self.native.params())

    def layer_outputs(self, observations: np.ndarray, training: bool = False) -> Params:
        """Every matched node's output and the model's."""
        found = self.native.layer_outputs(observations, training)
        own = {name: found[other] for name, other in self.nodes.items() if other in found}
        return own | {"output": found["output"]}

    def loss(self, batch: Batch) -> float:
        """The user's loss."""
        with asking(self.native.where, "'loss' of the model's output"):
            return self.native.loss(batch)

    def gradients(self, batch: Batch) -> Params:
        """The gradient of every array that learns on both sides."""
        with asking(self.native.where, "the gradient of 'loss'"):
            found = self._left(self.native.gradients(batch))
        return {name: found[name] for name in self.learning}

    def update(self, batch: Batch) -> Any:
        """One update by the user's optimizer."""
        with asking(self.native.where, "'optimizer' at an update"):
            return self.native.update(batch)

    def slots(self) -> Slots:
        """The optimizer's state, as far as its meaning is known."""
        slots = self.native.slots()
        values = {slot: self._left(arrays) for slot, arrays in slots.values.items()}
        return Slots(slots.updates, values)

    def _left(self, arrays: Params) -> Params:
        return {name: arrays[other] for name, other in self.arrays.items() if other in arrays}


def builder(learner: NativeLearner) -> Build:
    """Return what begins a native setup again instead of building it anew."""

    def build(subject: Subject, params: Params, rule: Rule, dtype: DType) -> Any:
        learner.begin(params, subject.seed)
        return learner

    return build
