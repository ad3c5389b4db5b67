"""Rungs 0 to 6: two records in, verdicts out, each with its value, its bound and the culprit.

The bounds stand in one table. Records are made in ``record.py``; distances in ``measures.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from triptych.parity.measures import distance, farthest, ratio, relative
from triptych.parity.record import SHORT, Record, State, gaps
from triptych.parity.subject import Subject
from triptych.spec import ladder
from triptych.spec.rules import SCG

ENVELOPE = 3.0
"""How many envelopes apart two float32 trainings may be."""

BOUNDS: dict[str, dict[str, float]] = {
    "outputs": {"float64": 1e-12, "float32": 1e-5},
    "loss": {"float64": 1e-12, "float32": 1e-6},
    "gradients": {"float64": 1e-11, "float32": 1e-4},
    "step": {"float64": 1e-11, "float32": ENVELOPE},
    "lockstep": {"float64": 1e-10, "float32": ENVELOPE},
    "free run": {"float64": 1e-9},
}

_FLOOR = {"float64": 1e-2, "float32": 1e-1}
"""A gradient is measured against its own largest entry, or this share of the largest of all:
one that should cancel to zero (a bias before batch normalisation) is rounding alone."""
_ROUNDINGS = 10.0
"""By how many roundings two frameworks' gradients differ, summed over hundreds of examples."""
_ZERO = 1e-4
"""A float32 gradient this much smaller than the largest of all may be rounding alone."""


_LATE = ("50", "scheduled")
"""States after equally many updates, at one rate and at a falling one."""


@dataclass(frozen=True)
class Verdict:
    """One comparison. ``value`` passes when it is at most ``bound``; culprit and detail name
    where and how the first difference shows."""

    rung: int
    pair: str
    dtype: str
    passed: bool
    value: float
    bound: float
    culprit: str | None = None
    detail: str = ""

    @property
    def name(self) -> str:
        """The rung's name."""
        return ladder.RUNGS[self.rung][0]

    def as_dict(self) -> dict[str, Any]:
        """As plain data for JSON; a value that is not finite becomes ``null``."""
        data = asdict(self) | {"name": self.name}
        return data | {"value": self.value if math.isfinite(self.value) else None}


def climb(subject: Subject, left: Record, right: Record) -> list[Verdict]:
    """Return the verdicts of rungs 0 to 6 on two records of the same type."""
    lone = _lone(left, right)
    if lone is None:
        return [rung(subject, left, right) for rung in RUNGS]
    verdicts = [rung(subject, left, right) for rung in RUNGS[:4]]
    detail = f"{lone}: only one side has it"
    return verdicts + [
        _verdict(number, left, right, math.inf, BOUNDS[name][left.dtype], lone, detail)
        for number, name in ((4, "gradients"), (5, "step"), (6, "lockstep"))
    ]


def _lone(left: Record, right: Record) -> str | None:
    """An array that one side has and the other has not: then rungs 4 to 6 have no pairs."""
    return next(
        (
            name
            for name in dict.fromkeys([*left.params, *right.params])
            if name not in left.params
            or name not in right.params
            or left.params[name].shape != right.params[name].shape
        ),
        None,
    )


def factors(subject: Subject, left: Record, right: Record) -> Verdict:
    """Rung 0: every constant read back from the live native objects is equal."""
    names = list(dict.fromkeys([*left.factors, *right.factors]))
    unlike = [name for name in names if not _same(left.factors.get(name), right.factors.get(name))]
    detail = "; ".join(
        f"{name}: {left.factors.get(name)} and {right.factors.get(name)}" for name in unlike[:3]
    )
    return _verdict(0, left, right, len(unlike), 0, unlike[0] if unlike else None, detail)


def params(subject: Subject, left: Record, right: Record) -> Verdict:
    """Rung 1: names, shapes and count agree, and params come back bit for bit."""
    given = _start(subject, left)
    unlike = [
        name
        for name in dict.fromkeys([*given, *left.params, *right.params])
        if not all(_bits(given.get(name), record.params.get(name)) for record in (left, right))
    ]
    count = sum(array.size for array in left.params.values())
    culprit = unlike[0] if unlike else None
    return _verdict(1, left, right, len(unlike), 0, culprit, f"{count:,} numbers, bit for bit")


def outputs(subject: Subject, left: Record, right: Record) -> Verdict:
    """Rung 2: every layer's output, in inference and in training mode."""
    bound = BOUNDS["outputs"][left.dtype]
    found: dict[str, float] = {}
    for mode, a, b in (
        ("", left.outputs, right.outputs),
        (" (training)", left.training_outputs, right.training_outputs),
    ):
        for node in subject.nodes:
            found[node + mode] = relative(a[node], b[node])
    return _first(2, left, right, found, bound)


def loss(subject: Subject, left: Record, right: Record) -> Verdict:
    """Rung 3: the loss on a batch.

    A small loss is what is left of outputs that nearly cancel, with the outputs' rounding: in
    float32 it may differ by envelopes where these are more than the bound.
    """
    bound, size = BOUNDS["loss"][left.dtype], abs(left.loss)
    if left.dtype == "float32" and 0.0 < size < math.inf:
        envelope = max(left.loss_envelope, right.loss_envelope)
        bound = max(bound, ENVELOPE * envelope / size)
    value = relative(np.array(left.loss), np.array(right.loss))
    culprit = "loss" if not value <= bound else None
    return _verdict(3, left, right, value, bound, culprit, f"{left.loss!r} and {right.loss!r}")


def gradients(subject: Subject, left: Record, right: Record) -> Verdict:
    """Rung 4: every parameter's gradient; the first to differ on the way back is named."""
    bound = BOUNDS["gradients"][left.dtype]
    largest = max(
        (float(np.max(np.abs(g), initial=0.0)) for g in left.gradients.values()), default=0
    )
    found = {}
    for name in reversed(subject.trainable):
        own = float(np.max(np.abs(left.gradients[name]), initial=0.0))
        scale = max(own, _FLOOR[left.dtype] * largest)
        found[name] = relative(left.gradients[name], right.gradients[name], scale)
    return _first(4, left, right, found, bound)


def step(subject: Subject, left: Record, right: Record) -> Verdict:
    """Rung 5: params and slots after 1 and 50 updates, and after 50 under a falling rate."""
    bound = BOUNDS["step"]["float32" if subject.by_envelope(left.dtype) else "float64"]
    found: dict[str, float] = {}
    for label in ("1", "50", "scheduled"):
        if label in left.states:
            late = f" after {min(SHORT, subject.lockstep)}"
            when = {"1": " after 1", "50": late, "scheduled": f" after {SHORT} scheduled"}[label]
            for name, gap in _apart(subject, left, right, label).items():
                found[name + when] = gap
    return _first(5, left, right, found, bound)


def lockstep(subject: Subject, left: Record, right: Record) -> Verdict:
    """Rung 6: params after many updates on the same batches, against the distance travelled
    (float64) or the envelope (float32, and rules that search)."""
    by_envelope = subject.by_envelope(left.dtype)
    bound = BOUNDS["lockstep"]["float32" if by_envelope else "float64"]
    a, b = left.states["lockstep"], right.states["lockstep"]
    noise = _noise(subject, left, right, "50")
    judged = [name for name in a.params if name not in noise]
    gap = distance(a.params, b.params, judged)
    travelled = distance(a.params, _start(subject, left), judged)
    yard = travelled
    detail = f"{subject.lockstep} updates, {gap:.1e} apart after travelling {travelled:.1e}"
    if by_envelope:
        yard = _yard(subject, left, right, "lockstep", judged, travelled)
        detail += f", envelope {yard:.1e}"
    if noise:
        detail += f"; left out, since rounding alone moves them: {', '.join(sorted(noise))}"
    value = _finite(a, b, ratio(gap, yard))
    culprit = farthest(a.params, b.params, judged) if not value <= bound else None
    return _verdict(6, left, right, value, bound, culprit, detail)


RUNGS: tuple[Callable[[Subject, Record, Record], Verdict], ...] = (
    *(factors, params, outputs, loss, gradients, step, lockstep),
)


def _apart(subject: Subject, left: Record, right: Record, label: str) -> dict[str, float]:
    """Return how far params and slots are apart: relative in float64, in envelopes in float32."""
    noise = _noise(subject, left, right, label)
    if subject.by_envelope(left.dtype):
        return _apart_in_envelopes(subject, left, right, label, noise)
    a, b = left.states[label], right.states[label]
    found = {name: relative(a.params[name], b.params[name]) for name in a.params}
    for slot, arrays in a.slots.values.items():
        largest = max(float(np.max(np.abs(x), initial=0.0)) for x in arrays.values())
        for name, array in arrays.items():
            own = float(np.max(np.abs(array), initial=0.0))
            scale = max(own, _FLOOR["float64"] * largest)
            found[f"{name} ({slot})"] = relative(array, b.slots.values[slot][name], scale)
    return {name: value for name, value in found.items() if name not in noise}


def _apart_in_envelopes(
    subject: Subject, left: Record, right: Record, label: str, noise: set[str]
) -> dict[str, float]:
    """Return the distance of all params, and of each slot, in envelopes; the key names the
    parameter that is farthest.

    A slot is a mean of gradients and may differ at least as much as they may on rung 4.
    """
    a, b = left.states[label], right.states[label]
    judged = [name for name in a.params if name not in noise]
    travelled = distance(a.params, _start(subject, left), judged)
    yard = _yard(subject, left, right, label, judged, travelled)
    gap = distance(a.params, b.params, judged)
    found = {farthest(a.params, b.params, judged): _finite(a, b, ratio(gap, yard))}
    for slot, arrays in a.slots.values.items():
        others, names = b.slots.values[slot], [name for name in arrays if name not in noise]
        envelope = math.hypot(*(_envelope(left, right, label, f"{n}:{slot}") for n in names))
        size = distance(arrays, {name: np.zeros_like(x) for name, x in arrays.items()}, names)
        share = max(BOUNDS["gradients"][left.dtype], _magnified(subject, left))
        yard = max(_roundings(subject, left) * envelope, share * size)
        far = farthest(arrays, others, names)
        found[f"{far} ({slot})"] = ratio(distance(arrays, others, names), yard)
    return found


def _yard(
    subject: Subject,
    left: Record,
    right: Record,
    label: str,
    names: Sequence[str],
    travelled: float,
) -> float:
    """Return the envelope as a yardstick, or what rung 2 allows of the way if that is more.

    The envelope is one last-bit change at the start; on a short or calm way the rounding of every
    update adds up to more.
    """
    share = max(BOUNDS["outputs"][left.dtype], _magnified(subject, left))
    envelope = math.hypot(*(_envelope(left, right, label, name) for name in names))
    return max(_roundings(subject, left) * envelope, share * travelled)


def _roundings(subject: Subject, record: Record) -> float:
    """How many envelopes two frameworks' gradients are apart, where differences of them count.

    A rule that searches in float64 lives on gradients that frameworks sum in other orders over all
    examples, about ten roundings, where the envelope is one. In float32 the points it looks at are
    rounded worse than that, in all frameworks alike.
    """
    return _ROUNDINGS if subject.searches and record.dtype == "float64" else 1.0


def _magnified(subject: Subject, record: Record) -> float:
    """The error of one step of a rule that searches: such gradients divided by sigma."""
    if not isinstance(subject.rule, SCG):
        return 0.0
    return _ROUNDINGS * float(np.finfo(record.dtype).eps) / subject.rule.sigma


def _noise(subject: Subject, left: Record, right: Record, label: str) -> set[str]:
    """Return the arrays that rounding alone moves, which no comparison can judge.

    Such is a bias before batch normalisation under Adam: its gradient cancels to rounding, which
    the division by its own size makes a full step; and the running mean that follows the bias. In
    float64 these are arrays that a last-bit change of the initial params moves beyond the bound
    within one framework, where the two sides are no farther apart than that. In float32 they are
    params whose gradient is next to nothing, and with them the running statistics.
    """
    if left.dtype == "float32":
        return _next_to_nothing(left, right)
    if subject.by_envelope(left.dtype) or not any(
        label in record.envelope for record in (left, right)
    ):
        return set()
    a, b = left.states[label], right.states[label]
    bound, found = BOUNDS["step"]["float64"], set()
    wide_a, wide_b = _widths(left, label), _widths(right, label)
    for key, gap in gaps(a, b).items():
        name, _, slot = key.partition(":")
        size_a, size_b = _size(a, key), _size(b, key)
        doubtful = max(gap, _envelope(left, right, label, key)) > bound / ENVELOPE * size_a
        own = max(wide_a.get(name, 0.0) * size_a, wide_b.get(name, 0.0) * size_b)
        if key and doubtful and gap <= ENVELOPE * own:
            found.add(f"{name} ({slot})" if slot else name)
    return found


def _widths(record: Record, label: str) -> dict[str, float]:
    """Return each array's envelope, relative to its size: the widest of the array and its slots.

    One changed start shows an array's noise in some of them more than in others, and so do the two
    trainings of the same length, which are therefore looked at together.
    """
    found: dict[str, float] = {}
    for other in _LATE if label in _LATE else (label,):
        for key, gap in record.envelope.get(other, {}).items():
            size, name = _size(record.states[other], key), key.partition(":")[0]
            if key and size:
                found[name] = max(found.get(name, 0.0), gap / size)
    return found


def _size(state: State, key: str) -> float:
    """The Euclidean length of an array, or of a slot as ``name:slot``; 0 of what is not kept."""
    name, _, slot = key.partition(":")
    arrays = state.slots.values.get(slot, {}) if slot else state.params
    array = arrays.get(name, np.zeros(0))
    return float(np.linalg.norm(array.astype(np.float64)))


def _next_to_nothing(left: Record, right: Record) -> set[str]:
    """Params with a gradient that may be rounding alone, and the statistics where there are any."""
    sizes = {
        name: max(float(np.max(np.abs(r.gradients[name]), initial=0.0)) for r in (left, right))
        for name in left.gradients
    }
    limit = _ZERO * max(sizes.values(), default=0.0)
    found = {name for name, size in sizes.items() if 0.0 < size <= limit}
    return found | ({name for name in left.params if name not in sizes} if found else set())


def _start(subject: Subject, record: Record) -> dict[str, np.ndarray]:
    return {name: array.astype(record.dtype) for name, array in subject.params.items()}


def _envelope(left: Record, right: Record, label: str, name: str) -> float:
    """The wider of the two sides' envelopes."""
    return max(record.envelope.get(label, {}).get(name, 0.0) for record in (left, right))


def _finite(a: State, b: State, value: float) -> float:
    """The value, or infinity where params blew up: two explosions are no proof."""
    sound = all(np.isfinite(array).all() for s in (a, b) for array in s.params.values())
    return value if sound else math.inf


def _first(
    rung: int, left: Record, right: Record, found: dict[str, float], bound: float
) -> Verdict:
    """A verdict on several values: the largest counts, the first over the bound is named."""
    over = [name for name, value in found.items() if not value <= bound]
    worst = max(found, key=lambda name: found[name])
    culprit = over[0] if over else None
    shown = culprit or worst
    detail = f"{shown}: {found[shown]:.1e}" if found[shown] else "no difference at all"
    return _verdict(rung, left, right, found[worst], bound, culprit, detail)


def _verdict(
    rung: int,
    left: Record,
    right: Record,
    value: float,
    bound: float,
    culprit: str | None,
    detail: str = "",
) -> Verdict:
    pair = f"{left.name}-{right.name}"
    passed = bool(value <= bound)
    return Verdict(rung, pair, left.dtype, passed, float(value), float(bound), culprit, detail)


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))
    return type(left) is type(right) and bool(left == right)


def _bits(left: np.ndarray | None, right: np.ndarray | None) -> bool:
    if left is None or right is None or left.shape != right.shape or left.dtype != right.dtype:
        return False
    return left.tobytes() == right.tobytes()


def first_red(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the lowest rung that failed."""
    red = [verdict for verdict in verdicts if not verdict.passed]
    return min(red, key=lambda verdict: verdict.rung) if red else None
