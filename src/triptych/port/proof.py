"""The proof of a port: what was written against the runtime that ran the source.

Outputs on random and edge inputs, gradients where both sides have them, arrays bit by bit, and
where outputs part, the first layer at which they do. Reading and writing are not here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from triptych.backends import registry
from triptych.backends.carried import Source, Trained, Written
from triptych.backends.protocol import DType, Evaluation, Learner, Namespace, Params
from triptych.spec.layers import Dropout, Embedding, Input
from triptych.spec.network import Network
from triptych.spec.randomness import generator

FORWARD: dict[DType, float] = {"float32": 1e-5, "float64": 1e-12}
GRADIENT: dict[DType, float] = {"float32": 1e-4, "float64": 1e-11}
"""The largest difference, as a share of the scale: the ladder's rungs 2 and 4."""
_ROUNDING = 3.0
"""float32 may be as far off as so many times the source's own rounding, as on the ladder."""
_SMALL = 1e-3
"""An example's scale is at least this share of the largest: less is rounding of larger numbers."""
_FLOOR: dict[DType, float] = {"float64": 1e-2, "float32": 1e-1}
"""A gradient's scale is at least this share of the largest of all, as on the ladder: one that
should cancel to zero (a bias before batch normalisation) is rounding alone."""


@dataclass(frozen=True)
class Proof:
    """What was compared, and how far apart it was, as a share of the scale.

    Attributes:
        forward: by type, the largest difference of outputs.
        gradients: by type; empty where the source's runtime has none.
        reasons: one sentence for each thing that failed; empty means it passed.
        notes: what could not be compared.
    """

    forward: Mapping[DType, float]
    gradients: Mapping[DType, float]
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.reasons


@dataclass(frozen=True)
class Weighted:
    """The objective ``sum(output * weights)``, whose gradient is the network's own."""

    evaluations: tuple[Evaluation, ...] = (Evaluation("outputs"),)

    def loss(self, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return the weighted sum of all outputs."""
        weights = xp.astype(batch["weights"], outputs["outputs"])
        return xp.sum(outputs["outputs"] * weights)


def prove(source: Source, written: Written, target: str, seed: int = 0) -> Proof:
    """Compare what was written with its source.

    Args:
        target: the backend that can give gradients and single layers for what was written;
            ``numpy``, the oracle, for formats without a backend.
    """
    trained = source.trained
    inputs = inputs_of(trained.network, seed)
    types = [dtype for dtype in source.dtypes if dtype in written.dtypes]
    runs = {dtype: _outputs(source, inputs, dtype) for dtype in source.dtypes}
    forward, gradients = {}, {}
    reasons = _same_arrays(trained.params, written.params())
    notes = [
        f"{side.runtime} can't compute this network in {dtype}, or keeps its constants in another "
        "type, so that the other type alone was compared"
        for side in (source, written)
        for dtype in FORWARD
        if dtype not in side.dtypes
    ]
    for dtype in types:
        forward[dtype] = apart_by_example(runs[dtype], _outputs(written, inputs, dtype))
        bar = _bar(dtype, runs)
        if not forward[dtype] <= bar:
            reasons.append(
                f"{dtype} outputs differ by {forward[dtype]:.2g} of their scale "
                f"(at most {bar:.0e} is rounding): "
                + _first_difference(source, target, inputs, dtype, bar)
            )
            continue
        found = _compare_gradients(source, target, inputs, dtype, seed)
        if found is None:
            side = written if target == "numpy" else source
            notes.append(f"{side.runtime} gives no gradients, so that none were compared")
            continue
        gradients[dtype] = found.gap
        # Where float64 can tell, it is the judge of meaning; float32's rounding is told as it is.
        judged = dtype == "float64" or "float64" not in types
        if judged and not found.gap <= found.bar:
            reasons.append(
                f"the {dtype} gradient of {found.name} differs by {found.gap:.2g} of its scale"
            )
    if not types:
        reasons.append("no type is known to both sides, so that nothing could be compared")
    return Proof(forward, gradients, tuple(reasons), tuple(dict.fromkeys(notes)))


def inputs_of(network: Network, seed: int) -> np.ndarray:
    """Return inputs to compare on: random ones, and those at the edges.

    (8, ...) float64: four normal, one of zeros, one of ones, one large (30), one tiny (1e-6); or
    for indices random ones, all first and all last rows.
    """
    stream = generator(seed, "port/inputs")
    layer = network.input.layer
    assert isinstance(layer, Input)
    if layer.values == "index":
        last = min(n.layer.size for n in network.nodes_of(Embedding)) - 1  # type: ignore[attr-defined]
        rows = stream.integers(0, last + 1, (6, *layer.size))
        return np.stack([*rows, np.zeros(layer.size, int), np.full(layer.size, last)])
    random = stream.normal(0.0, 1.0, (6, *layer.size))
    random[4] *= 30.0
    random[5] *= 1e-6
    return np.stack([*random, np.zeros(layer.size), np.ones(layer.size)])


def _typed(inputs: np.ndarray, dtype: DType) -> np.ndarray:
    """Inputs in a type; indices as they are."""
    return inputs if inputs.dtype.kind == "i" else inputs.astype(dtype)


def _outputs(side: Source | Written, inputs: np.ndarray, dtype: DType) -> np.ndarray:
    """Outputs of all inputs at once, and of the first alone, which may take another way."""
    typed = _typed(inputs, dtype)
    together = side.outputs(typed, dtype)
    return np.concatenate([together, side.outputs(typed[:1], dtype)])


def _bar(dtype: DType, runs: Mapping[DType, np.ndarray]) -> float:
    """The rung's bar; in float32 at least three times the source's own rounding."""
    if dtype == "float64" or "float64" not in runs or "float32" not in runs:
        return FORWARD[dtype]
    own = apart_by_example(runs["float64"], runs["float32"])
    return max(FORWARD[dtype], _ROUNDING * own) if math.isfinite(own) else FORWARD[dtype]


def apart_by_example(left: np.ndarray, right: np.ndarray) -> float:
    """Return the largest difference of any example, as a share of that example's scale."""
    if left.shape != right.shape:
        return math.inf
    a, b = (x.astype(np.float64).reshape(len(x), -1) for x in (left, right))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0 if np.array_equal(a, b, equal_nan=True) else math.inf
    scale = np.abs(a).max(axis=1, initial=0.0)
    scale = np.maximum(scale, _SMALL * float(scale.max(initial=0.0)))
    gap = np.abs(a - b).max(axis=1, initial=0.0)
    return float(np.max(np.where(gap == 0.0, 0.0, gap / np.where(scale > 0.0, scale, 1e-300))))


def _same_arrays(expected: Params, found: Params) -> list[str]:
    """A sentence for the first array that is not the source's bit by bit."""
    for name in dict.fromkeys([*expected, *found]):
        if name not in expected or name not in found:
            where = "the source" if name not in expected else "what was written"
            return [f"{name} is missing in {where}"]
        if expected[name].shape != found[name].shape:
            return [f"{name} is {expected[name].shape} but was written as {found[name].shape}"]
        if not np.array_equal(expected[name], found[name].astype(expected[name].dtype)):
            return [f"{name} was not written as it is"]
    return []


@dataclass(frozen=True)
class _Gradients:
    """How far the sides' gradients are apart, at which array, and the bar, shares of the scale."""

    gap: float
    name: str
    bar: float


def _compare_gradients(
    source: Source, target: str, inputs: np.ndarray, dtype: DType, seed: int
) -> _Gradients | None:
    """Compare the gradients of a random weighting of the outputs; None where a side has none."""
    if target == "numpy":
        return None
    network = _without_dropout(source.trained.network)
    shape = (len(inputs), *network.shapes[network.output.name])
    weights = generator(seed, "port/weights").normal(0.0, 1.0, shape).astype(dtype)
    typed = _typed(inputs, dtype)
    own = source.gradients(typed, weights, dtype)
    if own is None:
        return None
    learner = _learner(target, replace(source.trained, network=network), dtype)
    gap, name = _farthest(
        own, learner.gradients({"observation": typed, "weights": weights}), _FLOOR[dtype]
    )
    bar = GRADIENT[dtype]
    if gap > bar:
        # A deep network makes rounding larger: how far does a last bit move the source itself?
        last = np.asarray(np.inf, dtype)
        near = typed if typed.dtype.kind == "i" else np.nextafter(typed, last)
        moved = source.gradients(near, np.nextafter(weights, last), dtype)
        assert moved is not None
        bar = max(bar, _ROUNDING * _farthest(own, moved, _FLOOR[dtype])[0])
    return _Gradients(gap, name, bar)


def _farthest(left: Params, right: Params, share: float) -> tuple[float, str]:
    """The largest difference of an array and its name."""
    largest = max((float(np.abs(array).max(initial=0.0)) for array in left.values()), default=0.0)
    gaps = {name: _apart(left[name], right[name], share * largest) for name in left}
    worst = max(gaps, key=lambda name: gaps[name], default="")
    return gaps.get(worst, 0.0), worst


def _apart(left: np.ndarray, right: np.ndarray, floor: float) -> float:
    if left.shape != right.shape:
        return math.inf
    scale = max(float(np.abs(left).max(initial=0.0)), floor, 1e-300)
    gap = float(np.abs(left.astype(np.float64) - right).max(initial=0.0))
    return gap / scale if math.isfinite(gap) else math.inf


def _without_dropout(network: Network) -> Network:
    """The network with dropout off, which two frameworks draw differently."""
    off = {node.name for node in network.nodes_of(Dropout)}
    nodes = [replace(n, layer=Dropout(0.0)) if n.name in off else n for n in network.nodes]
    return Network(tuple(nodes))


def _learner(target: str, trained: Trained, dtype: DType) -> Learner:
    return registry.get(target).learner(
        trained.network, trained.params, objective=Weighted(), dtype=dtype
    )


def _first_difference(
    source: Source, target: str, inputs: np.ndarray, dtype: DType, bar: float
) -> str:
    """Where outputs part first, in the order of execution."""
    typed = _typed(inputs, dtype)
    kind: DType = "float64" if target == "numpy" else dtype
    own = source.layer_outputs(typed, dtype)
    other = _learner(target, source.trained, kind).layer_outputs(typed)
    for node in source.trained.network.nodes:
        if node.name in own and node.name in other:
            gap = apart_by_example(own[node.name], other[node.name])
            if not gap <= bar:
                place = source.trained.places.get(node.name, node.name)
                return f"first at {node.name} ({place}), by {gap:.2g}"
    return "no single layer shows it, so that it is in what was written"
