"""The native model of a network: an NNX module whose attributes bear the nodes' names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from triptych.backends._jax import layers, recurrent
from triptych.errors import Unsupported
from triptych.spec.network import Network

BUILDERS = layers.BUILDERS | recurrent.BUILDERS


class Model(nnx.Module):
    """A graph of named modules; takes (batch, ...) channels last, uint8 or real."""

    def __init__(self, network: Network, dtype: Any) -> None:
        self.wiring = tuple((node.name, node.owner, node.inputs) for node in network.nodes[1:])
        self.masked = frozenset(n.name for n in network.nodes if n.layer.kind == "dropout")
        self.normed = frozenset(n.name for n in network.nodes if n.layer.kind == "batch_norm")
        self.input_name = network.input.name
        self.input_dtype = dtype if network.input.layer.values == "real" else jnp.int32  # type: ignore[attr-defined]
        for node in network.nodes[1:]:
            build = BUILDERS.get(node.layer.kind)
            if build is None:
                raise Unsupported(f"backend 'jax' has no layer {node.layer.kind!r}")
            if node.shares is not None:
                continue
            if hasattr(self, node.name):
                raise Unsupported(f"backend 'jax' cannot call a node {node.name!r}; rename it")
            setattr(self, node.name, build(node.layer, network.input_shapes(node)[0], dtype))

    def __call__(
        self, x: Array, training: bool = False, masks: Mapping[str, Array] | None = None
    ) -> Array:
        """Return the output of the last node."""
        last = self.wiring[-1][0] if self.wiring else self.input_name
        return self.all_outputs(x, training, masks)[last]

    def all_outputs(
        self, x: Array, training: bool = False, masks: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """Return every node's output by name."""
        values = {self.input_name: x.astype(self.input_dtype)}
        for name, owner, inputs in self.wiring:
            taken = [values[source] for source in inputs]
            options: dict[str, Any] = {}
            if name in self.masked and training:
                options["mask"] = (masks or {}).get(f"mask/{name}")
            if name in self.normed:
                options["use_running_average"] = not training
            values[name] = getattr(self, owner)(*taken, **options)
        return values

    def step(
        self, x: Array, state: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return every node's output for one step of (batch, features), and the state after it."""
        values = {self.input_name: x.astype(self.input_dtype)}
        after: dict[str, Array] = {}
        for name, owner, inputs in self.wiring:
            module = getattr(self, owner)
            taken = [values[source] for source in inputs]
            if isinstance(module, recurrent.Recurrent):
                own = {key: state[f"{name}/{key}"] for key in module.states}
                own = module.step(taken[0], own)
                after |= {f"{name}/{key}": value for key, value in own.items()}
                values[name] = own["hidden"]
            else:
                options = {"use_running_average": True} if name in self.normed else {}
                values[name] = module(*taken, **options)
        return values, after
