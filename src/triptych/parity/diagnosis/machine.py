"""The model of the right side: the left's network node by node, with the changes found so far.

A node computes by a function of its arrays and inputs, so that a hypothesis may be anything. The
functions of unchanged nodes are the oracle's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from triptych.backends.protocol import Params
from triptych.parity.diagnosis import oracle
from triptych.spec.layers import Dropout, Layer
from triptych.spec.network import Network
from triptych.spec.randomness import generator

Array = np.ndarray
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Draws:
    """Random numbers of a dropout node and what is kept of them; ``uniform`` is (batch, ...)."""

    uniform: Array


Compute = Callable[[Arrays, list[Array], bool, Draws | None], Array]
"""(arrays by local name, inputs, training, dropout's draws) -> output."""


def of_layer(layer: Layer) -> Compute:
    """Return the oracle's function of a layer."""

    def compute(arrays: Arrays, inputs: list[Array], training: bool, draws: Draws | None) -> Array:
        mask = draws.uniform >= layer.rate if draws and isinstance(layer, Dropout) else None
        return oracle.forward(layer, arrays, inputs, training, mask)

    return compute


@dataclass(frozen=True)
class Part:
    """One node: its name, the nodes it takes, its function, and whose params it uses."""

    name: str
    inputs: tuple[str, ...]
    compute: Compute
    owner: str


@dataclass(frozen=True)
class Machine:
    """A network that computes in float64 by its parts' functions.

    ``complete`` is false where a node's function is unknown: outputs behind it mean nothing.
    """

    first: str
    parts: tuple[Part, ...]
    complete: bool = True
    seed: int = 0
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dropouts: tuple[str, ...] = ()
    real: bool = True

    @classmethod
    def of(cls, network: Network, seed: int) -> Machine:
        """Return the machine of a network; ``seed`` is that of the dropout masks."""
        parts = tuple(Part(n.name, n.inputs, of_layer(n.layer), n.owner) for n in network.nodes[1:])
        real = network.input.layer.values == "real"  # type: ignore[attr-defined]
        drops = tuple(node.name for node in network.nodes_of(Dropout))
        return cls(network.input.name, parts, True, seed, network.shapes, drops, real)

    def with_part(self, part: Part) -> Machine:
        """Return a machine with one part exchanged, by name."""
        parts = tuple(part if own.name == part.name else own for own in self.parts)
        return replace(self, parts=parts)

    def draws(self, size: int) -> dict[str, Draws]:
        """Return the dropout nodes' random numbers for a learner's first batch of this size."""
        stream = generator(self.seed, "dropout")
        return {name: Draws(stream.random((size, *self.shapes[name]))) for name in self.dropouts}

    def cast(self, observations: Array) -> Array:
        """Return a network's input in float64, or its indices."""
        return np.asarray(observations).astype(np.float64 if self.real else np.int64)

    def run(self, params: Params, observations: Array, training: bool = False) -> dict[str, Array]:
        """Return every node's output by name."""
        values = {self.first: self.cast(observations)}
        draws = self.draws(len(observations)) if training and self.dropouts else {}
        for part in self.parts:
            inputs = [values[name] for name in part.inputs]
            own = local(params, part.owner)
            values[part.name] = part.compute(own, inputs, training, draws.get(part.name))
        return values

    def output(self, params: Params, observations: Array, training: bool = False) -> Array:
        """Return the last node's output."""
        return self.run(params, observations, training)[self.parts[-1].name]


def local(params: Params, node: str) -> Arrays:
    """Return a node's arrays by local name, float64."""
    prefix = f"{node}/"
    return {
        name[len(prefix) :]: np.asarray(array, dtype=np.float64)
        for name, array in params.items()
        if name.startswith(prefix)
    }
