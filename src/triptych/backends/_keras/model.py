"""The native model of a network: a functional ``keras.Model``; layers bear the nodes' names."""

from __future__ import annotations

from typing import Any

import keras

from triptych.backends._keras.layers import BUILDERS
from triptych.errors import Unsupported
from triptych.spec.network import Network


def build(network: Network, dtype: str) -> tuple[keras.Model, keras.Model]:
    """Return the model, and one on the same layers that gives every node's output by name.

    Both take (batch, ...) channels last, uint8 or real; Keras casts to the input's type.
    """
    kind = dtype if network.input.layer.values == "real" else "int32"  # type: ignore[attr-defined]
    start = keras.Input(network.shapes[network.input.name], dtype=kind, name=network.input.name)
    values: dict[str, Any] = {network.input.name: start}
    for node in network.nodes[1:]:
        make = BUILDERS.get(node.layer.kind)
        if make is None:
            raise Unsupported(f"backend 'keras' has no layer {node.layer.kind!r}")
        options = {"name": node.name, "dtype": dtype}
        layer = make(node.layer, network.input_shapes(node)[0], options)
        taken = [values[name] for name in node.inputs]
        values[node.name] = layer(taken[0] if len(taken) == 1 else taken)
    model = keras.Model(start, values[network.output.name], name="online")
    return model, keras.Model(start, values, name="layers")
