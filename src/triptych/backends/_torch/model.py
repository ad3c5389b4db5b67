"""The native model of a network: an ``nn.Module`` whose children bear the nodes' names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

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
        self.has_modes = any(n.layer.kind in ("dropout", "batch_norm") for n in network.nodes)
        self.last_reads = _last_reads(self.wiring)
        rescaled = frozenset(_rescaled_in_place(network))
        self.in_place = rescaled | frozenset(_rectified_in_place(network))
        self.writes_input = bool(rescaled)
        self.unturned = frozenset(
            source
            for name, _, (source, *_) in self.wiring
            if name in self.in_place and network.by_name[source].layer.kind == "conv"
        )
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
        for name in self.in_place:
            self.get_submodule(name).inplace = True

    def forward(self, x: Tensor, masks: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the output of the last node, keeping no value longer than it is read."""
        values = self._begun(x)
        for (name, owner, inputs), read in zip(self.wiring, self.last_reads, strict=True):
            taken = [values[source] for source in inputs]
            if name in self.unturned:
                # A rectifier that writes over a view would have the view's gradient copied.
                values[name] = self._modules[owner](*taken, channels_first=True)
            else:
                value = self._call(name, owner, taken, masks)
                turned = inputs[0] in self.unturned
                values[name] = layers.to_channels_last(value) if turned else value
            for source in read:
                del values[source]
        (last,) = values.values()
        return last

    def all_outputs(
        self, x: Tensor, masks: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return every node's output by name."""
        values = self._begun(x)
        for name, owner, inputs in self.wiring:
            taken = [values[source] for source in inputs]
            if name in self.in_place:
                taken = [taken[0].clone()]
            values[name] = self._call(name, owner, taken, masks)
        return values

    def _begun(self, x: Tensor) -> dict[str, Tensor]:
        """The input's values, which are a copy where a layer writes over them."""
        return {self.input_name: x.to(self.input_dtype, copy=self.writes_input)}

    def _call(
        self, name: str, owner: str, taken: list[Tensor], masks: Mapping[str, Tensor] | None
    ) -> Tensor:
        given = [(masks or {}).get(f"mask/{name}")] if name in self.masked else []
        value: Tensor = self._modules[owner](*taken, *given)
        return value

    def step(
        self, x: Tensor, state: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return every node's output for one step of (batch, features), and the state after it."""
        values = self._begun(x)
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


def _last_reads(wiring: Sequence[tuple[str, str, tuple[str, ...]]]) -> list[list[str]]:
    """For each node, the values that nothing reads after it; the last node's is kept."""
    last = {source: place for place, (_, _, inputs) in enumerate(wiring) for source in inputs}
    unread = {name: place for place, (name, _, _) in enumerate(wiring[:-1]) if name not in last}
    ends = last | unread
    return [[name for name, end in ends.items() if end == place] for place in range(len(wiring))]


def _rescaled_in_place(network: Network) -> Iterator[str]:
    """The node that alone reads the input and rescales it: it may write over the cast pixels."""
    readers = [node for node in network.nodes if network.input.name in node.inputs]
    real = network.input.layer.values == "real"  # type: ignore[attr-defined]
    if real and len(readers) == 1 and readers[0].layer.kind == "rescale":
        yield readers[0].name


def _rectified_in_place(network: Network) -> Iterator[str]:
    """The rectifiers that may write over their input: no other node reads it, and its own layer's
    gradient does not need it. It takes an update of a convolutional network a tenth less time."""
    readers = Counter(source for node in network.nodes for source in node.inputs)
    shared = {node.shares for node in network.nodes}
    for node in network.nodes[1:]:
        if node.layer.kind == "relu" and node.shares is None and node.name not in shared:
            (source,) = node.inputs
            made_by = network.by_name[source].layer.kind
            if made_by in ("conv", "conv_transpose", "dense") and readers[source] == 1:
                yield node.name
