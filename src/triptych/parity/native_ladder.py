"""Rungs 0 to 6 between two setups of users' own, each alive in a process of its own.

What they are compared on is in ``native_subject.py``, which array is which in ``matching.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from triptych.backends.native import Native, NativeNode
from triptych.backends.protocol import Batch, DType, Params
from triptych.engines.processes import Job, Tell, run_all
from triptych.errors import SetupError
from triptych.parity import matching, record, rungs, sides
from triptych.parity.audit.natives import trained_by
from triptych.parity.certificate import installed_versions, sentence_of
from triptych.parity.matching import Match
from triptych.parity.native_subject import NativeLearner, NativeSubject, builder, make
from triptych.parity.record import Record
from triptych.parity.rungs import Verdict
from triptych.parity.sides import Side

DTYPES = ("float64", "float32")
HIGHEST = 6
"""Rungs 7 and 8 need an agent that acts, and trainings."""

Factors = Callable[[Native], dict[str, Any]]


@dataclass(frozen=True)
class Description:
    """What there is to know of a side before it is compared."""

    framework: str
    nodes: tuple[NativeNode, ...]
    trainable: tuple[str, ...]
    params: Params
    batch: Batch
    factors: dict[str, Any]


@dataclass(frozen=True)
class NativeCertificate:
    """What was compared, and how it came out.

    Attributes:
        left: as it was given; right: the other.
        frameworks: of the left and the right.
        seed: of batches and masks.
        updates: of rung 6.
        weights: left array to right array.
        notes: sentences on what the comparison took for granted.
    """

    left: str
    right: str
    frameworks: tuple[str, str]
    seed: int
    updates: int
    weights: dict[str, str]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    versions: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether every comparison passed."""
        return all(verdict.passed for verdict in self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """As plain data: what ``verify --json`` prints."""
        return {
            "left": self.left,
            "right": self.right,
            "frameworks": list(self.frameworks),
            "passed": self.passed,
            "rungs": [verdict.as_dict() for verdict in self.verdicts],
            "seed": self.seed,
            "updates": self.updates,
            "weights": self.weights,
            "notes": list(self.notes),
            "versions": self.versions,
        }

    def sentence(self) -> str:
        """Return the verdict in one sentence."""
        return sentence_of([verdict.as_dict() for verdict in self.verdicts])

    def reasons(self) -> list[str]:
        """Return the command that finds the reason of what is red."""
        return [] if self.passed else [f"why: triptych audit {self.left} {self.right}"]


def climb(
    left: str,
    right: str,
    seed: int = 0,
    *,
    weights: Mapping[str, str] | None = None,
    highest: int = HIGHEST,
    dtypes: Sequence[str] = DTYPES,
    lockstep: int | None = None,
    factors: Factors = trained_by,
    show: bool = True,
) -> NativeCertificate:
    """Climb the ladder for two ``file.py:function``.

    Args:
        left: the side whose params, batch and names are taken.
        right: the other side.
        seed: of batches and dropout masks.
        weights: left name to right name, of nodes or arrays, where the automatic match is wrong.
        highest: the highest rung, at most 6.
        dtypes: float64 decides on the meaning, float32 is judged by its envelope.
        lockstep: updates of rung 6; by the model's size if None.
        factors: what rung 0 compares, from a live setup; a function that another process can
            import.
        show: whether to draw progress bars.

    Raises:
        SetupError: a side is no code, or its function raises or returns what does not fit, or
            ``weights`` names what is not there.
    """
    both = [_code(text) for text in (left, right)]
    labels = ("left", "right")
    jobs = [
        Job(f"{label} setup", describe, (side, factors))
        for label, side in zip(labels, both, strict=True)
    ]
    a, b = run_all(jobs, show)
    found = matching.match(a.nodes, b.nodes, weights or {})
    compared, notes = _subject(a, b, found, seed, lockstep)
    known = _comparable(a, b, found.nodes)

    def certificate(verdicts: Sequence[Verdict]) -> NativeCertificate:
        kept = tuple(sorted(verdicts, key=lambda verdict: verdict.rung))
        return NativeCertificate(
            left, right, (a.framework, b.framework), seed, compared.lockstep, found.arrays,
            kept, notes, installed_versions(),
        )  # fmt: skip

    if found.problems:
        return certificate(_unmatched(a, b, found, known, dtypes)[: 2 * len(dtypes)])
    maps = (
        ({name: name for name in found.nodes}, {name: name for name in found.arrays}),
        (found.nodes, found.arrays),
    )
    jobs = [
        Job(label, make_records, (side, label, compared, *maps[n], known[n], tuple(dtypes)))
        for n, (label, side) in enumerate(zip(labels, both, strict=True))
    ]
    verdicts = []
    for one, other in zip(*run_all(jobs, show), strict=True):
        _keep_common_slots(one, other)
        verdicts += rungs.climb(compared, one, other)[: min(highest, HIGHEST) + 1]
    return certificate(verdicts)


def _code(text: str) -> Side:
    side = sides.parse(text)
    if side.kind != "code":
        raise SetupError(f"{text!r} is no setup; write path/to/file.py:function")
    return side


def describe(side: Side, factors: Factors, tell: Tell) -> Description:
    """Build a side in float64 and describe it, in another process."""
    native = sides.build(side, "float64")
    tell(1, 1, "setup")
    return Description(
        native.framework,
        native.nodes,
        native.trainable,
        native.params(),
        dict(native.batch),
        {key: _rounded(value) for key, value in factors(native).items()},
    )


def make_records(
    side: Side,
    label: str,
    subject: NativeSubject,
    nodes: Mapping[str, str],
    arrays: Mapping[str, str],
    known: Mapping[str, Any],
    dtypes: Sequence[DType],
    tell: Tell,
) -> list[Record]:
    """Make a side's records in every type, in another process."""
    found = []
    for place, dtype in enumerate(dtypes):
        native = sides.build(side, dtype)
        build = builder(NativeLearner(native, nodes, arrays, subject.learning, known))

        def part(done: int, total: int, unit: str, place: int = place) -> None:
            tell(place * total + done, len(dtypes) * total, unit)

        found.append(record.make(subject, label, dtype, build, part))
    return found


def _subject(
    left: Description, right: Description, found: Match, seed: int, lockstep: int | None
) -> tuple[NativeSubject, tuple[str, ...]]:
    """Return what both are compared on, and notes on what that takes for granted."""
    learning = tuple(
        name for name in left.trainable if found.arrays.get(name) in set(right.trainable)
    )
    nodes = tuple(node.name for node in left.nodes if node.name in found.nodes)
    compared = make(left.params, left.batch, nodes, learning, seed, lockstep)
    rows, batches = len(left.batch["input"]), cast(Any, compared.batches)
    notes = [*_frozen(left, right, found, learning)]
    if not all(
        left.batch[key].shape == right.batch[key].shape
        and np.array_equal(left.batch[key], right.batch[key])
        for key in ("input", "target")
    ):
        notes.append("the two batches differ; both sides get the left's")
    if batches.rows < rows:
        notes.append(f"the model is large: batches of {batches.rows} of the {rows} examples")
    return compared, tuple(notes)


def _frozen(
    left: Description, right: Description, found: Match, learning: Sequence[str]
) -> list[str]:
    """Say which arrays learn on one side only."""
    back = {b: a for a, b in found.arrays.items()}
    either = dict.fromkeys([*left.trainable, *(back.get(n, n) for n in right.trainable)])
    alone = [name for name in either if name in found.arrays and name not in learning]
    return [f"only one side trains {', '.join(alone)}"] if alone else []


def _comparable(
    left: Description, right: Description, nodes: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both sides' factors under the left's names, without what only one side can show.

    An Optax transformation shows no constants; nothing can be said of them here. What belongs to
    a layer shows on both sides, or differs.
    """
    back = {b: a for a, b in nodes.items()}
    theirs = {_renamed(key, back): value for key, value in right.factors.items()}
    layers = {node.name for node in left.nodes} | {back.get(n.name, n.name) for n in right.nodes}

    def judged(key: str) -> bool:
        own = key.split(".")[0].split("/")[0] in layers
        return own or (key in left.factors and key in theirs)

    frozen = (
        {"trainable": sorted(left.trainable)},
        {"trainable": sorted(_renamed(name, back, "/") for name in right.trainable)},
    )
    return tuple(  # type: ignore[return-value]
        {key: value for key, value in factors.items() if judged(key)} | own
        for factors, own in zip((left.factors, theirs), frozen, strict=True)
    )


def _renamed(key: str, names: Mapping[str, str], mark: str = ".") -> str:
    node, dot, rest = key.partition(mark)
    return f"{names.get(node, node)}{dot}{rest}"


def _rounded(value: Any) -> Any:
    """A constant to 12 digits: 1 - 0.9 is 0.1 here."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_rounded, value))
    if isinstance(value, (float, np.floating)):
        return float(f"{float(value):.12g}")
    return value


def _unmatched(
    left: Description,
    right: Description,
    found: Match,
    known: Sequence[dict[str, Any]],
    dtypes: Sequence[str],
) -> list[Verdict]:
    """Rungs 0 and 1 of models whose params don't fit each other; no higher rung can be climbed."""
    shapes = matching.shapes_of(left.nodes), matching.shapes_of(right.nodes)
    detail = matching.explain(found.problems, *shapes)
    verdicts = []
    for dtype in dtypes:
        empty = [
            Record(name, cast(DType, dtype), own, {}, {}, {}, 0.0, {})
            for name, own in zip(("left", "right"), known, strict=True)
        ]
        verdicts.append(rungs.factors(cast(Any, None), *empty))
        count, culprit = float(len(found.problems)), found.problems[0]
        verdicts.append(Verdict(1, "left-right", dtype, False, count, 0.0, culprit, detail))
    return verdicts


def _keep_common_slots(left: Record, right: Record) -> None:
    """Compare the optimizers' state as far as both sides' is known."""
    for label in left.states:
        a, b = left.states[label], right.states[label]
        for side, own, other in ((left, a, b), (right, b, a)):
            values = {
                slot: {name: arrays[name] for name in arrays if name in other.slots.values[slot]}
                for slot, arrays in own.slots.values.items()
                if slot in other.slots.values
            }
            side.states[label] = replace(own, slots=replace(own.slots, values=values))
