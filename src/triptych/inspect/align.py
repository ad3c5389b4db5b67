"""Which hidden unit of one network is which of another, up to order and positive rescaling.

The units of a layer can change places, and behind a rectifier each can be made larger by a factor
which the next layer takes back, without changing the function. Two networks that learned the same
are therefore compared only after the units of one have been put in the order and scale of the
other's. Units are matched by the numbers into and out of them ("weight matching" of Ainsworth,
Hayase and Srinivasa 2023), each layer by the Hungarian method while the others stand, until none
moves.

It follows chains of dense layers and convolutions. Branches, grouped convolutions and recurrent
layers are refused by name; the sign symmetry of odd functions such as tanh is not looked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from triptych.backends.protocol import Params
from triptych.errors import NetworkError
from triptych.inspect.chains import check_params, is_shared, only_follower
from triptych.spec.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool,
    Pad,
    ReLU,
    Rescale,
)
from triptych.spec.network import Network, Node

_SWEEPS = 100
"""Rounds over all layers; each round comes closer, so that there is an end before it."""
_HOMOGENEOUS = (ReLU, LeakyReLU, MaxPool, AveragePool, Flatten, Dropout, Pad)
"""f(c x) = c f(x) for c > 0, each channel by itself."""
_WEIGHTED = (Dense, Conv, ConvTranspose, Embedding)
_NORMS = (BatchNorm, LayerNorm)
_STATISTICS = ("mean", "variance")


@dataclass(frozen=True)
class Units:
    """The hidden units of a layer, and every array that speaks of them one by one.

    Attributes:
        name: the layer's node.
        count: how many.
        own: canonical names of arrays whose last axis is the units, or the units once for every
            pixel.
        scaled: those of them that a unit's size is in: kernel and bias, or scale and offset of the
            last normalisation behind them.
        taker: the node whose kernel takes them; "" for the network's outputs.
        free: whether a positive factor can move from ``scaled`` to the taker.
    """

    name: str
    count: int
    own: tuple[str, ...]
    scaled: tuple[str, ...]
    taker: str = ""
    free: bool = True


@dataclass(frozen=True)
class Alignment:
    """The right network in the order and scale of the left one's units.

    Attributes:
        params: of the right network, aligned; the same function as before.
        permutations: unit ``j`` now is the right network's unit ``permutations[layer][j]``.
        scales: the factor by which that unit grew, by layer; 1 where no factor can move.
        before: cosine of what goes into each pair of units, (units,) by layer, unaligned.
        similarity: the same after alignment; the output layer is the last.
    """

    params: Params
    permutations: dict[str, np.ndarray] = field(default_factory=dict)
    scales: dict[str, np.ndarray] = field(default_factory=dict)
    before: dict[str, np.ndarray] = field(default_factory=dict)
    similarity: dict[str, np.ndarray] = field(default_factory=dict)


def align(network: Network, left: Params, right: Params) -> Alignment:
    """Put the hidden units of ``right`` into the order and scale of those of ``left``.

    Computed in float64; the arrays come back in their own types.

    Args:
        network: of both; a chain.
        left: params to be compared with.
        right: params to be aligned.

    Raises:
        NetworkError: the network is no chain of layers that keep their units apart, or the params
            are another network's; the message names the node.
    """
    layers = layers_of(network)
    for params in (left, right):
        check_params(network, params)
    hidden = [units for units in layers if units.taker]
    ours, given = _double(left), _double(right)
    orders = _orders(hidden, _normalised(hidden, ours), _normalised(hidden, given))
    scales, theirs = {}, given
    for units in hidden:
        order = orders[units.name]
        # In turn: what goes into a layer has changed with the layer before it.
        scales[units.name] = _sizes(units, ours) / _sizes(units, theirs)[order]
        theirs = _move(units, theirs, order, scales[units.name])
    return Alignment(
        {name: theirs[name].astype(array.dtype) for name, array in right.items()},
        orders,
        scales,
        {units.name: _cosines(units, ours, given) for units in layers},
        {units.name: _cosines(units, ours, theirs) for units in layers},
    )


# --- who speaks of which units --------------------------------------------------------------------


def layers_of(network: Network) -> list[Units]:
    """Return the units of every layer with a kernel, in order, the network's outputs last.

    Raises:
        NetworkError: as for :func:`align`.
    """
    found: list[Units] = []
    for node in network.nodes[1:]:
        _check_chain(network, node)
        if isinstance(node.layer, _WEIGHTED):
            if found:
                found[-1] = replace(found[-1], taker=node.name)
            found.append(_units(network, node))
        elif found:
            found[-1] = _behind(found[-1], network, node)
        elif node.layer.parameters(*network.input_shapes(node)) and not _is_norm(node):
            raise NetworkError(_mixed(node))
    if not found:
        raise NetworkError("there are no units to align: no layer of the network has a kernel")
    return found


def _check_chain(network: Network, node: Node) -> None:
    ends = node is not network.output and only_follower(network, node.name) is None
    if len(node.inputs) != 1 or ends:
        raise NetworkError(
            f"node {node.name!r} is where the network branches or joins, and units are aligned "
            "along a single chain only"
        )
    if is_shared(network, node.name):
        raise NetworkError(
            f"node {node.name!r} shares its params with another, so that its units cannot be "
            "aligned"
        )
    if getattr(node.layer, "groups", 1) > 1:
        raise NetworkError(
            f"node {node.name!r} is a convolution in groups, whose units cannot change places"
        )


def _units(network: Network, node: Node) -> Units:
    own = tuple(f"{node.name}/{local}" for local in _locals(network, node))
    return Units(node.name, network.shapes[node.name][-1], own, own)


def _locals(network: Network, node: Node) -> tuple[str, ...]:
    return tuple(node.layer.parameters(*network.input_shapes(node)))


def _behind(units: Units, network: Network, node: Node) -> Units:
    """The units with what a layer behind them adds or forbids."""
    layer = node.layer
    if isinstance(layer, _NORMS):
        if isinstance(layer, LayerNorm) and network.shapes[node.name][-1] != units.count:
            raise NetworkError(_mixed(node))
        arrays = tuple(f"{node.name}/{local}" for local in _locals(network, node))
        sized = (f"{node.name}/scale", f"{node.name}/offset")
        return replace(units, own=(*units.own, *arrays), scaled=sized, free=True)
    if not isinstance(layer, (*_HOMOGENEOUS, Rescale, Activation)):
        raise NetworkError(_mixed(node))
    return replace(units, free=units.free and _keeps_factors(layer))


def _is_norm(node: Node) -> bool:
    return isinstance(node.layer, _NORMS)


def _keeps_factors(layer: Layer) -> bool:
    if isinstance(layer, Rescale):
        return layer.offset == 0.0
    return isinstance(layer, _HOMOGENEOUS)


def _mixed(node: Node) -> str:
    return (
        f"node {node.name!r} ({node.layer.kind}) does not keep its units apart, so that they "
        "cannot be aligned"
    )


# --- moving units ---------------------------------------------------------------------------------


def _move(units: Units, params: Params, order: np.ndarray, scale: np.ndarray) -> Params:
    """Return params with the units in another order, then each larger by its factor."""
    changed = {}
    for name in units.own:
        view = params[name].reshape(-1, units.count)[:, order]
        changed[name] = view * scale if name in units.scaled else view
    name = f"{units.taker}/kernel"
    changed[name] = _taken(units, params)[:, order] / scale[:, None]
    return params | {name: array.reshape(params[name].shape) for name, array in changed.items()}


def _taken(units: Units, params: Params) -> np.ndarray:
    """The kernel that takes the units: (pixels, units, out)."""
    kernel = params[f"{units.taker}/kernel"]
    return kernel.reshape(-1, units.count, kernel.shape[-1])


def _into(units: Units, params: Params) -> np.ndarray:
    """What goes into each unit: (numbers, units), without running statistics."""
    names = [name for name in units.own if name.rsplit("/")[-1] not in _STATISTICS]
    return np.concatenate([params[name].reshape(-1, units.count) for name in names])


def _sizes(units: Units, params: Params) -> np.ndarray:
    """The length of what a factor scales in each unit; 1 of dead units, and where none can move."""
    if not units.free:
        return np.ones(units.count)
    arrays = [params[name].reshape(-1, units.count) for name in units.scaled]
    lengths = np.linalg.norm(np.concatenate(arrays), axis=0)
    return np.where(lengths > 0.0, lengths, 1.0)


def _normalised(hidden: list[Units], params: Params) -> Params:
    """Return params in which every free unit has length 1."""
    for units in hidden:
        params = _move(units, params, np.arange(units.count), 1.0 / _sizes(units, params))
    return params


# --- matching -------------------------------------------------------------------------------------


def _orders(hidden: list[Units], left: Params, right: Params) -> dict[str, np.ndarray]:
    """Return the order, by layer, that puts right's units where left has its own.

    First from the inputs on, by what goes into each unit: the numbers before it are in order
    already. Then by what goes out of it too, round by round, each of which can only come closer.
    """
    orders = {units.name: np.arange(units.count) for units in hidden}
    for sweep in range(_SWEEPS):
        moved = False
        for units in hidden:
            gain = _into(units, left).T @ _into(units, right)
            if sweep:
                gain += np.einsum("pio,pjo->ij", _taken(units, left), _taken(units, right))
            order = _best(gain)
            if order is None:
                continue
            moved = True
            orders[units.name] = orders[units.name][order]
            right = _move(units, right, order, np.ones(units.count))
        if sweep and not moved:
            break
    return orders


def _best(gain: np.ndarray) -> np.ndarray | None:
    """Return the order with the largest sum of gain[j, order[j]]; None where none is better."""
    _, order = linear_sum_assignment(gain, maximize=True)
    places = np.arange(len(gain))
    better = gain[places, order].sum() - np.trace(gain)
    # Less is rounding, which could go round in circles.
    return order if better > 1e-12 * np.abs(gain).max(initial=0.0) * len(gain) else None


def _double(params: Params) -> Params:
    return {name: array.astype(np.float64) for name, array in params.items()}


def _cosines(units: Units, left: Params, right: Params) -> np.ndarray:
    """Cosine of what goes into the units of both, (units,); 1 where both are zero."""
    a, b = _into(units, left), _into(units, right)
    lengths = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    both = (np.abs(a).max(axis=0) == 0.0) & (np.abs(b).max(axis=0) == 0.0)
    cosine = (a * b).sum(axis=0) / np.where(lengths > 0.0, lengths, 1.0)
    return np.where(both, 1.0, cosine)
