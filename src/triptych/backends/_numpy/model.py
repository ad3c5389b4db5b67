"""The oracle's model of a network: its arrays by canonical name, and the pass through the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from triptych.backends._numpy import layers, recurrent
from triptych.backends._numpy.layers import masked, training_batch_norm
from triptych.errors import Unsupported
from triptych.spec.layers import BatchNorm, Dropout, Recurrent
from triptych.spec.network import Network

Arrays = dict[str, np.ndarray]
FORWARD = layers.FORWARD | recurrent.FORWARD


class Model:
    """A network with its arrays; calling it gives the output in inference mode."""

    def __init__(self, network: Network) -> None:
        for node in network.nodes[1:]:
            if node.layer.kind not in FORWARD:
                raise Unsupported(f"backend 'numpy' has no layer {node.layer.kind!r}")
        self.network = network
        self.arrays: Arrays = {n: np.zeros(p.shape) for n, p in network.parameters.items()}

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(batch, ...) channels last, uint8 or real -> the last node's output."""
        return run(self.network, self.arrays, x)[0][self.network.output.name]


def run(
    network: Network,
    arrays: Arrays,
    x: np.ndarray,
    training: bool = False,
    masks: Mapping[str, np.ndarray] | None = None,
) -> tuple[Arrays, Arrays]:
    """Return every node's output by name, and the moved running statistics by canonical name.

    Pure: ``arrays`` are left as they are. In training a dropout node takes ``mask/<node>`` from
    ``masks``, and passes its input on where there is none.
    """
    real = network.input.layer.values == "real"  # type: ignore[attr-defined]
    values = {network.input.name: np.asarray(x).astype(np.float64 if real else np.int64)}
    moved: Arrays = {}
    for node in network.nodes[1:]:
        inputs = [values[name] for name in node.inputs]
        own = _own(node.owner, arrays | moved)
        mask = (masks or {}).get(f"mask/{node.name}")
        if training and isinstance(node.layer, BatchNorm):
            values[node.name], seen = training_batch_norm(node.layer, own, inputs[0])
            moved |= {f"{node.owner}/{local}": array for local, array in seen.items()}
        elif training and isinstance(node.layer, Dropout) and mask is not None:
            values[node.name] = masked(node.layer, inputs[0], mask)
        else:
            values[node.name] = FORWARD[node.layer.kind](node.layer, own, inputs)
    return values, moved


def step(network: Network, arrays: Arrays, x: np.ndarray, state: Arrays) -> tuple[Arrays, Arrays]:
    """Return every node's output for one step of (batch, features), and the state after it.

    ``state`` holds ``<node>/hidden`` and, for an LSTM, ``<node>/cell``; inference mode.
    """
    real = network.input.layer.values == "real"  # type: ignore[attr-defined]
    values = {network.input.name: np.asarray(x).astype(np.float64 if real else np.int64)}
    after: Arrays = {}
    for node in network.nodes[1:]:
        inputs, own = [values[name] for name in node.inputs], _own(node.owner, arrays)
        if isinstance(node.layer, Recurrent):
            moved = recurrent.advance(node.layer, own, inputs[0], _own(node.name, state))
            after |= {f"{node.name}/{name}": array for name, array in moved.items()}
            values[node.name] = moved["hidden"]
        else:
            values[node.name] = FORWARD[node.layer.kind](node.layer, own, inputs)
    return values, after


def _own(node: str, arrays: Arrays) -> dict[str, Any]:
    """A node's arrays by local name."""
    prefix = f"{node}/"
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}
