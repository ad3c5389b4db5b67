"""Running statistics after the first update: how much is kept, and which variance is seen."""

from __future__ import annotations

import numpy as np

from triptych.parity.diagnosis.cause import Cause, cause, unknown
from triptych.parity.diagnosis.nodes import HEALTHY
from triptych.parity.diagnosis.solve import tidy
from triptych.parity.measures import relative
from triptych.parity.record import Record
from triptych.spec.layers import BatchNorm
from triptych.spec.network import Network, Node

Array = np.ndarray
_STILL = 1e-9
"""Differences of the share kept that count as none."""


def examine(network: Network, sides: tuple[Record, Record]) -> list[Cause]:
    """Return a cause for each batch normalisation whose statistics move otherwise on the right."""
    # Where one layer stands at several places, its statistics move several times.
    shared = {node.owner for node in network.nodes if node.shares}
    return [
        found
        for node in network.nodes_of(BatchNorm)
        if not shared & {node.name, node.owner}
        for found in _explain(node, node.layer, sides)  # type: ignore[arg-type]
    ]


def _explain(node: Node, layer: BatchNorm, sides: tuple[Record, Record]) -> list[Cause]:
    right, pair = sides[1], (sides[0].name, sides[1].name)
    x = np.asarray(right.training_outputs[node.inputs[0]], dtype=np.float64)
    axes = tuple(range(x.ndim - 1))
    seen = (x.mean(axis=axes), x.var(axis=axes))
    count = x.size // x.shape[-1]
    old, new = ([s[f"{node.name}/{n}"] for n in ("mean", "variance")] for s in _before_after(right))
    gain = count / (count - 1) if layer.unbiased else 1.0
    before = _gap(old, new, seen, layer.keep, gain)
    if before <= HEALTHY:
        return []
    keep = _kept(old[0], new[0], seen[0])
    found: list[Cause] = []
    for unlike in (gain, 1.0 if layer.unbiased else count / (count - 1)):
        after = _gap(old, new, seen, keep, unlike)
        if after > _STILL:
            continue
        if abs(keep - layer.keep) > _STILL:
            factor = (
                "constant-through-float32" if _single(layer.keep, keep) else "batch-norm-momentum"
            )
            found.append(cause(factor, node.name, pair, (layer.keep, keep), 5, (before, after)))
        if unlike != gain:
            words = ("unbiased", "biased") if layer.unbiased else ("biased", "unbiased")
            values = tuple(f"{word} running variance" for word in words)
            numbers = (before, after)
            found.append(
                cause("batch-norm-variance", node.name, pair, (values[0], values[1]), 5, numbers)
            )
        break
    return found or [unknown(node.name, "-".join(pair), 5, before, "ways to keep statistics")]


def _before_after(record: Record) -> tuple[dict[str, Array], dict[str, Array]]:
    return record.params, record.states["1"].params


def _kept(old: Array, new: Array, seen: Array) -> float:
    """The share of the old mean in the new one, by least squares, round if it may be."""
    way = old - seen
    size = float(np.vdot(way, way))
    keep = float(np.vdot(new - seen, way)) / size if size else 1.0
    return tidy(lambda c: (c * old + (1.0 - c) * seen - new) / max(np.sqrt(size), 1e-300), keep)


def _gap(
    old: list[Array], new: list[Array], seen: tuple[Array, Array], keep: float, gain: float
) -> float:
    mean = keep * old[0] + (1.0 - keep) * seen[0]
    variance = keep * old[1] + (1.0 - keep) * gain * seen[1]
    return max(relative(new[0], mean), relative(new[1], variance))


def _single(exact: float, found: float) -> bool:
    return abs(found - float(np.float32(exact))) < 1e-11 and found != exact
