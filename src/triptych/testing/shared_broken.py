"""Backends mistaken on purpose in layers that move numbers and in layers that stand at two places,
as ``broken.py`` has for the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from triptych.backends.protocol import Params
from triptych.spec import layers as spec
from triptych.spec.layers import Layer
from triptych.spec.network import Network, Node
from triptych.testing.broken import Answers, Fault


def _height_for_width(layer: Any) -> Layer:
    """Exchange the first two axes of an image's permutation."""
    if not isinstance(layer, spec.Permute) or len(layer.axes) != 3:
        return layer
    height, width, channels = layer.axes
    return replace(layer, axes=(width, height, channels))


def _padded_behind(layer: Any) -> Layer:
    if not isinstance(layer, spec.Pad):
        return layer
    (top, bottom), (left, right) = layer.amounts
    return replace(layer, amounts=((bottom, top), (right, left)))


def _copied(network: Network, params: Params) -> Params:
    """Give every place of a shared layer arrays of its own."""
    copies = {
        f"{node.name}/{name.rsplit('/', 1)[1]}": array
        for node in network.nodes
        for name, array in params.items()
        if node.shares and name.rsplit("/", 1)[0] == node.shares
    }
    return params | copies


class _Copies(Answers):
    def load_params(self, params: Params, network: str = "online") -> None:
        self.inner.load_params(_copied(self.given, params), network)

    def params(self, network: str = "online") -> Params:
        found = self.inner.params(network)
        return {name: found[name] for name in self.given.parameters}

    def gradients(self, batch: Any) -> Params:
        found = self.inner.gradients(batch)
        return {name: found[name] for name in self.given.trainable}


def _apart(node: Node) -> Node:
    return replace(node, shares=None)


_COPIES: dict[str, Any] = {"node": _apart, "params": _copied, "answers": _Copies}
SHARED_FAULTS = (
    Fault("height for width", "check_forward-moved", _height_for_width),
    Fault("padded behind", "check_forward-moved", _padded_behind),
    Fault("padding not read back", "check_factors-moved", _padded_behind),
    Fault("gradient of one place", "check_gradients-shared", **_COPIES),
    Fault("statistics of one place", "check_update-shared", **_COPIES),
    Fault("two layers for one", "check_factors-shared", **_COPIES),
    Fault("a layer of its own for every step", "check_gradients-twice", **_COPIES),
)
"""Every fault, with the check that must fail."""
