"""Batch normalisation folded into the layer before it, or the one after it where that is exact.

In inference y = (x - mean) / sqrt(variance + epsilon) * scale + offset is x * s + t for each
channel, which a linear layer beside it can take into its kernel and bias. The network that is left
gives the same outputs in inference; it is made to be used, and would train otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from triptych.backends.protocol import Params
from triptych.inspect.chains import check_params, is_shared, only_follower, rejoin, with_layer
from triptych.spec.layers import BatchNorm, Conv, ConvTranspose, Dense, Flatten
from triptych.spec.network import Network, Node


@dataclass(frozen=True)
class Folded:
    """A network with less batch normalisation, and where it went.

    Attributes:
        network: what is left.
        params: its params, in the types they had.
        into: each folded batch norm, and the layer that took it.
        left: each other one, and why it stays.
    """

    network: Network
    params: Params
    into: dict[str, str]
    left: dict[str, str]


def fold(network: Network, params: Params) -> Folded:
    """Fold every batch norm that can be, first into the layer before it, else into the one after.

    Computed in float64. A layer before takes it where nothing else takes that layer's output; a
    layer after takes it where nothing stands between but a flatten, and where every pixel it sees
    has been through the batch norm: a dense layer, or a convolution without padding.

    Args:
        network: any.
        params: canonical, by name.

    Raises:
        NetworkError: the params are another network's.
    """
    check_params(network, params)
    into: dict[str, str] = {}
    left: dict[str, str] = {}
    for name in [node.name for node in network.nodes_of(BatchNorm)]:
        node = network.by_name[name]
        taker = _before(network, node)
        after = _after(network, node)
        if is_shared(network, node.name):
            left[node.name] = "it shares its params with another"
        elif isinstance(taker, Node):
            network, params = _fold_before(network, params, node, taker)
            into[node.name] = taker.name
        elif isinstance(after, Node):
            network, params = _fold_after(network, params, node, after)
            into[node.name] = after.name
        else:
            left[node.name] = f"{taker}, and {after}"
    return Folded(network, params, into, left)


def _before(network: Network, node: Node) -> Node | str:
    """The layer before that takes it, or why none does."""
    before = network.by_name[node.inputs[0]]
    what = f"{before.name} before it"
    if not isinstance(before.layer, (Dense, Conv, ConvTranspose)):
        return f"{what} is {before.layer.kind}"
    if only_follower(network, before.name) is None:
        return f"{what} is taken by others too"
    return f"{what} shares its params" if is_shared(network, before.name) else before


def _after(network: Network, node: Node) -> Node | str:
    """The layer after that takes it, or why none does."""
    after = only_follower(network, node.name)
    if after is not None and isinstance(after.layer, Flatten):
        after = only_follower(network, after.name)
    if after is None:
        return "no single layer follows"
    what = f"{after.name} after it"
    if isinstance(after.layer, Conv):
        if after.layer.pixels(*network.input_shapes(after)) != ((0, 0), (0, 0)):
            return f"{what} pads with zeros that have not been normalised"
    elif not isinstance(after.layer, Dense):
        return f"{what} is {after.layer.kind}"
    return f"{what} shares its params" if is_shared(network, after.name) else after


def _line(params: Params, node: Node) -> tuple[np.ndarray, np.ndarray]:
    """Return s and t of x * s + t, float64."""
    scale, offset, mean, variance = (
        params[f"{node.name}/{local}"].astype(np.float64)
        for local in ("scale", "offset", "mean", "variance")
    )
    assert isinstance(node.layer, BatchNorm)
    slope = scale / np.sqrt(variance + node.layer.epsilon)
    return slope, offset - mean * slope


def _fold_before(
    network: Network, params: Params, node: Node, taker: Node
) -> tuple[Network, Params]:
    """(x k + b) s + t = x (k s) + (b s + t), the filters on the kernel's last axis."""
    slope, start = _line(params, node)
    kernel = params[f"{taker.name}/kernel"]
    bias = params.get(f"{taker.name}/bias", np.zeros(1)).astype(np.float64)
    return _without(network, params, node, taker, kernel * slope, bias * slope + start)


def _fold_after(
    network: Network, params: Params, node: Node, taker: Node
) -> tuple[Network, Params]:
    """(x s + t) k + b = x (s k) + (t k + b), the channels on the kernel's last axis but one."""
    slope, start = _line(params, node)
    kernel = params[f"{taker.name}/kernel"].astype(np.float64)
    # Behind a flatten the channels come round once for every pixel; in a grouped convolution each
    # filter sees its own group's.
    inputs, filters = kernel.shape[-2:]
    groups = getattr(taker.layer, "groups", 1)
    rounds = max(inputs // len(slope), 1)
    seen = np.arange(inputs)[:, None] + np.arange(filters) * groups // filters * inputs
    slope, start = np.tile(slope, rounds)[seen], np.tile(start, rounds)[seen]
    bias = params.get(f"{taker.name}/bias", np.zeros(1)).astype(np.float64)
    bias = bias + (start * kernel).reshape(-1, filters).sum(axis=0)
    return _without(network, params, node, taker, kernel * slope, bias)


def _without(
    network: Network,
    params: Params,
    node: Node,
    taker: Node,
    kernel: np.ndarray,
    bias: np.ndarray,
) -> tuple[Network, Params]:
    """The network without a batch norm, its taker with a new kernel and, in any case, a bias."""
    layer = replace(taker.layer, bias=True)  # type: ignore[call-arg]
    new = rejoin(with_layer(network, taker.name, layer), [node.name], [])
    kept = {name: array for name, array in params.items() if name.split("/")[0] != node.name}
    kind = params[f"{taker.name}/kernel"].dtype
    changed = {
        f"{taker.name}/kernel": kernel.astype(kind),
        f"{taker.name}/bias": bias.astype(kind),
    }
    merged = kept | changed
    return new, {name: merged[name] for name in new.parameters}
