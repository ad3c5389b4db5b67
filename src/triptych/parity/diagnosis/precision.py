"""Two float32 sides of which one computes with fewer digits, layer by layer."""

from __future__ import annotations

import numpy as np

from triptych.parity.diagnosis.cause import Cause, cause
from triptych.parity.diagnosis.guess import Sight, on_arrays
from triptych.parity.diagnosis.machine import Array, Compute, Machine, local, of_layer
from triptych.parity.record import Record
from triptych.parity.subject import Subject
from triptych.spec.layers import BatchNorm, Layer
from triptych.spec.network import Node

_SINGLE = 1e-5
"""Relative difference of one layer from the oracle that float32 may make."""


def examine(subject: Subject, left: Record, right: Record) -> list[Cause]:
    """Return a cause for each layer of the right side that is short of float32's digits."""
    machine = Machine.of(subject.network, subject.seed)
    batch = next(iter(subject.batches))
    observations = machine.cast(batch[subject.objective.evaluations[0].input])
    found = []
    for node in subject.network.nodes[1:]:
        if isinstance(node.layer, BatchNorm):
            continue
        sight = _sight(machine, node, observations, right)
        before = sight.gap(of_layer(node.layer))
        if before <= _SINGLE:
            continue
        for words, digits in (("TF32", 10), ("bfloat16", 7), ("float16", 10)):
            after = sight.gap(_cut(node.layer, digits))
            if after <= max(_SINGLE, before / 20):
                sides = (left.name, right.name)
                values = ("float32", f"{words} in products")
                found.append(cause("dtype", node.name, sides, values, 2, (before, after)))
                break
    return found


def _sight(machine: Machine, node: Node, observations: Array, right: Record) -> Sight:
    known = {name: np.asarray(a, dtype=np.float64) for name, a in right.outputs.items()}
    known[machine.first] = observations
    inputs = [known[name] for name in node.inputs]
    return Sight(local(right.params, node.owner), ((inputs, False, None, known[node.name]),))


def _cut(layer: Layer, digits: int) -> Compute:
    """The layer with the factors of its products rounded to so many binary digits."""
    own = on_arrays(layer, lambda arrays: {n: _factor(n, a, digits) for n, a in arrays.items()})
    return lambda arrays, inputs, training, draws: own(
        arrays, [_round(x, digits) for x in inputs], training, draws
    )


def _factor(name: str, values: Array, digits: int) -> Array:
    """Kernels are factors; biases are added to the sums, which stay long."""
    return _round(values, digits) if "kernel" in name else values


def _round(values: Array, digits: int) -> Array:
    share, power = np.frexp(values)
    rounded: Array = np.ldexp(np.round(share * 2.0 ** (digits + 1)) / 2.0 ** (digits + 1), power)
    return rounded
