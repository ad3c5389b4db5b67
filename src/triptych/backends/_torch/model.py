"""The native model of a network: an ``nn.Module`` whose children bear the nodes' names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from triptych.backends._torch import layers, recurrent
from triptych.errors import Unsupported
from triptych.spec.network import Network

BUILDERS = layers.BUILDERS | recurrent.BUILDERS


class Model(nn.Module):
    """A graph of named modules; takes (batch, ...) channels last, uint8 or real."""

    def __init__(self, network: Network, dtype: torch.dtype) -> None:
        super().__init__()
        self.wiring = tuple((node.name, node.owner, node.inputs) for node in network.nodes[1:])
        self.masked = frozenset(n.name for n in network.nodes if n.layer.kind == "dropout")
        self.input_name = network.input.name
        self.input_dtype = dtype if network.input.layer.values == "real" else torch.int64  # type: ignore[attr-defined]
        for node in network.nodes[1:]:
            build = BUILDERS.get(node.layer.kind)
            if build is None:
                raise Unsupported(f"backend 'torch' has no layer {node.layer.kind!r}")
            if node.shares is not None:
                continue
            if hasattr(self, node.name):
                raise Unsupported(f"backend 'torch' cannot call a node {node.name!r}; rename it")
            shapes = network.input_shapes(node)
            self.add_module(node.name, build(node.layer, shapes[0], dtype))

    def forward(self, x: Tensor, masks: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the output of the last node."""
        return self.all_outputs(x, masks)[self.wiring[-1][0] if self.wiring else self.input_name]

    def all_outputs(
        self, x: Tensor, masks: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return every node's output by name."""
        values = {self.input_name: x.to(self.input_dtype)}
        for name, owner, inputs in self.wiring:
            module = self.get_submodule(owner)
            taken = [values[source] for source in inputs]
            if name in self.masked:
                taken.append((masks or {}).get(f"mask/{name}"))
            values[name] = module(*taken)
        return values

    def step(
        self, x: Tensor, state: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return every node's output for one step of (batch, features), and the state after it."""
        values = {self.input_name: x.to(self.input_dtype)}
        after: dict[str, Tensor] = {}
        for name, owner, inputs in self.wiring:
            module = self.get_submodule(owner)
            taken = [values[source] for source in inputs]
            if isinstance(module, recurrent.MODULES):
                prefix = f"{name}/"
                own = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
                own = module.step(taken[0], own)
                after |= {f"{prefix}{key}": value for key, value in own.items()}
                values[name] = own["hidden"]
            else:
                values[name] = module(*taken)
        return values, after
