"""The native model of a network: a functional ``keras.Model``; layers bear the nodes' names."""

from __future__ import annotations

from typing import Any

import keras

from triptych.backends._keras import layers, recurrent
from triptych.errors import Unsupported
from triptych.spec.layers import BatchNorm
from triptych.spec.network import Network, Node

BUILDERS = layers.BUILDERS | recurrent.BUILDERS


def build(network: Network, dtype: str) -> tuple[keras.Model, keras.Model]:
    """Return the model, and one on the same layers that gives every node's output by name.

    Both take (batch, ...) channels last, uint8 or real; Keras casts to the input's type.
    """
    kind = dtype if network.input.layer.values == "real" else "int32"  # type: ignore[attr-defined]
    start = keras.Input(network.shapes[network.input.name], dtype=kind, name=network.input.name)
    values: dict[str, Any] = {network.input.name: start}
    made: dict[str, Any] = {}
    for node in network.nodes[1:]:
        if node.shares is None:
            made[node.name] = _make(network, node, dtype)
        taken = [values[name] for name in node.inputs]
        values[node.name] = made[node.owner](taken[0] if len(taken) == 1 else taken)
    last = values[network.output.name]
    if any(isinstance(node.layer, BatchNorm) for node in network.nodes if node.shares):
        model = Ordered(network, inputs=start, outputs=last, name="online")
    else:
        model = keras.Model(start, last, name="online")
    return model, keras.Model(start, values, name="layers")


def _make(network: Network, node: Node, dtype: str) -> Any:
    make = BUILDERS.get(node.layer.kind)
    if make is None:
        raise Unsupported(f"backend 'keras' has no layer {node.layer.kind!r}")
    options = {"name": node.name, "dtype": dtype}
    return make(node.layer, network.input_shapes(node)[0], options)


class Ordered(keras.Model):
    """A functional model that runs its layers in the order of the network's nodes.

    Keras runs them by their distance from the output, and then as it found them; a batch
    normalisation that stands at two places would move its running statistics in that order.
    """

    def __init__(self, network: Network, **options: Any) -> None:
        super().__init__(**options)
        self.network = network

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the output of the last node."""
        network = self.network
        start = keras.ops.cast(inputs, self.inputs[0].dtype)
        values: dict[str, Any] = {network.input.name: start}
        for node in network.nodes[1:]:
            taken = [values[name] for name in node.inputs]
            layer = self.get_layer(node.owner)
            values[node.name] = layer(taken[0] if len(taken) == 1 else taken, training=training)
        return values[network.output.name]


def step(
    network: Network, model: keras.Model, x: Any, state: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the model's output for one step of (batch, features), and the state after it.

    Layers were built for sequences, and some insist on an axis of time: here it has one step.
    """
    values: dict[str, Any] = {network.input.name: x[:, None]}
    after: dict[str, Any] = {}
    for node in network.nodes[1:]:
        layer = model.get_layer(node.owner)
        taken = [values[name] for name in node.inputs]
        if isinstance(layer, recurrent.OverTime):
            prefix = f"{node.name}/"
            own = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            own = layer.step(taken[0][:, 0], own)
            after |= {f"{prefix}{key}": value for key, value in own.items()}
            hidden = own["hidden"]
            values[node.name] = hidden[:, None] if layer.return_sequences else hidden
        else:
            values[node.name] = layer(taken[0] if len(taken) == 1 else taken, training=False)
    last = values[network.output.name]
    return last[:, 0] if len(network.shapes[network.output.name]) == 2 else last, after
