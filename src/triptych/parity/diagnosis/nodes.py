"""Rung 2: which nodes of the right side compute something else, each judged on its own inputs.

A node is given what the right side itself recorded as its inputs, so that one wrong node does not
hide another, and differences that merely follow from an earlier one are not seen at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from triptych.backends.protocol import Batch
from triptych.parity.diagnosis import elementwise, inner, recurrent, windows
from triptych.parity.diagnosis.cause import Cause, cause, unknown
from triptych.parity.diagnosis.guess import Guess, Sight, Unknown, best, fewer
from triptych.parity.diagnosis.machine import Machine, Part, local, of_layer
from triptych.parity.record import Record
from triptych.spec import layers as spec
from triptych.spec.layers import Layer
from triptych.spec.layers.recurrent import Recurrent
from triptych.spec.network import Network, Node

HEALTHY = 3e-12
"""Relative difference of one node from the oracle that rounding may make."""
_FIRSTS = 40
"""First causes of which a second one in the same layer is looked for."""
_LARGEST = 4000
"""Numbers in an output above which pairs take too long to be tried."""
_ROWS = 4
"""Examples that layers without batch statistics are looked at with first."""


Shapes = Sequence[tuple[int, ...]]
Held = tuple[tuple[Guess, ...], Guess | Unknown]
"""Hypotheses that are taken for true, and one that stands on them."""


def examine(
    network: Network, machine: Machine, batch: Batch, key: str, sides: tuple[Record, Record]
) -> tuple[Machine, list[Cause]]:
    """Return the machine that computes as the right side does, and a cause for each change.

    Args:
        network: the left's.
        machine: its model.
        batch: what the records' outputs were computed from.
        key: of the observations in it.
        sides: the records.
    """
    observations, causes = machine.cast(batch[key]), []
    for node in network.nodes[1:]:
        sight = _sight(machine, node, observations, sides[1])
        part = Part(node.name, node.inputs, of_layer(node.layer), node.owner)
        gap = sight.gap(part.compute)
        if gap <= HEALTHY:
            continue
        found = _explain(network, machine, node, sight, observations, sides[1])
        pair = (sides[0].name, sides[1].name)
        if found is None:
            causes.append(unknown(node.name, "-".join(pair), 2, gap, "hypotheses"))
            machine = replace(machine, complete=False)
            continue
        held, part, after = found
        machine = machine.with_part(part)
        for guess in held:
            values = (guess.left, guess.right)
            causes.append(cause(guess.factor, node.name, pair, values, 2, (gap, after)))
    return machine, causes


def _explain(
    network: Network,
    machine: Machine,
    node: Node,
    sight: Sight,
    observations: np.ndarray,
    right: Record,
) -> tuple[tuple[Guess, ...], Part, float] | None:
    """Return the hypothesis that holds on all examples, first looked for on a few; or a pair."""
    shapes = network.input_shapes(node)
    short = sight if isinstance(node.layer, spec.BatchNorm) else fewer(sight, _ROWS)
    found = _first_that_holds(node, _singles(node.layer, shapes), short, sight)
    found = found or _rewired(network, machine, node, observations, right)
    if found is None and math.prod(sight.shape) <= _LARGEST:
        found = _first_that_holds(node, _pairs(node.layer, shapes), short, sight)
    return found


def _first_that_holds(
    node: Node, tried: Iterator[Held], short: Sight, sight: Sight
) -> tuple[tuple[Guess, ...], Part, float] | None:
    for before, item in tried:
        found = best([item], short)
        if found and (found := best([found[0]], sight)):
            part = Part(node.name, node.inputs, found[0].compute, node.owner)
            return (*before, found[0]), part, found[1]
    return None


def _rewired(
    network: Network, machine: Machine, node: Node, observations: np.ndarray, right: Record
) -> tuple[tuple[Guess, ...], Part, float] | None:
    """Return the other inputs with which the layer does what the right side recorded."""
    for inputs in _wirings(network, node):
        seen = _sight(machine, replace(node, inputs=inputs), observations, right)
        guess = Guess("layer-wiring", list(node.inputs), list(inputs), of_layer(node.layer))
        if found := best([guess], seen):
            return (guess,), Part(node.name, inputs, guess.compute, node.owner), found[1]
    return None


def _singles(layer: Layer, shapes: Shapes) -> Iterator[Held]:
    yield from (((), item) for item in guesses(layer, shapes))


def _pairs(layer: Layer, shapes: Shapes) -> Iterator[Held]:
    """Two causes in one layer: the second a hypothesis about the layer that the first gives."""
    firsts = [item for item in guesses(layer, shapes) if isinstance(item, Guess) and item.layer]
    for first in firsts[:_FIRSTS]:
        yield from (((first,), second) for second in guesses(first.layer, shapes))


def guesses(layer: Any, shapes: Sequence[tuple[int, ...]]) -> Iterator[Guess | Unknown]:
    """Yield every hypothesis about a layer, the likeliest first."""
    if isinstance(layer, spec.Activation):
        yield from elementwise.guesses(layer)
    elif isinstance(layer, (spec.Conv, spec.ConvTranspose, spec.MaxPool)):
        yield from windows.guesses(layer, shapes[0])
    elif isinstance(layer, spec.Flatten):
        yield from inner.flatten(shapes[0])
    elif isinstance(layer, (spec.Concatenate, spec.Add, spec.Dueling)):
        yield from {"add": inner.add, "concatenate": inner.concatenate}.get(
            layer.kind, inner.dueling
        )()
    elif isinstance(layer, Recurrent):
        yield from recurrent.guesses(layer)
    elif layer.kind in _OWN:
        yield from _OWN[layer.kind](layer)
    if isinstance(layer, (spec.Conv, spec.ConvTranspose)):
        yield from inner.biases(layer)
        yield from elementwise.fused(layer)
    yield from elementwise.whole(layer)


_OWN: dict[str, Any] = {
    "rescale": inner.rescale,
    "dense": inner.dense,
    "batch_norm": inner.batch_norm,
    "layer_norm": inner.layer_norm,
    "dropout": inner.dropout,
}


def _wirings(network: Network, node: Node) -> Iterator[tuple[str, ...]]:
    """Other inputs of the same shapes, one exchanged at a time."""
    before = [n.name for n in network.nodes[: network.nodes.index(node)]]
    for place, name in enumerate(node.inputs):
        for other in before:
            if other != name and network.shapes[other] == network.shapes[name]:
                yield (*node.inputs[:place], other, *node.inputs[place + 1 :])


def _sight(machine: Machine, node: Node, observations: np.ndarray, right: Record) -> Sight:
    """What the right side recorded of a node and of its inputs, in both modes."""
    modes = []
    for training, values in ((False, right.outputs), (True, right.training_outputs)):
        draws = machine.draws(len(observations)).get(node.name) if training else None
        known = {name: np.asarray(value) for name, value in values.items()}
        known[machine.first] = observations
        inputs = [known[name] for name in node.inputs]
        modes.append((inputs, training, draws, known[node.name]))
    return Sight(local(right.params, node.owner), tuple(modes))
