"""Cutting a chain of nodes out of a network and joining another in; who follows whom.

What the new nodes are belongs to ``convert.py`` and ``fold.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from triptych.backends.protocol import Params
from triptych.errors import NetworkError, did_you_mean
from triptych.spec.layers import Layer
from triptych.spec.network import Network, Node, fresh_name


def node_of(network: Network, name: str) -> Node:
    """Return a node by name; raises ``NetworkError`` for an unknown one, with the nearest."""
    if name not in network.by_name:
        hint = did_you_mean(name, network.by_name)
        raise NetworkError(f"there is no node {name!r}{hint}")
    return network.by_name[name]


def followers(network: Network, name: str) -> tuple[Node, ...]:
    """Return the nodes that take a node's output."""
    return tuple(node for node in network.nodes if name in node.inputs)


def only_follower(network: Network, name: str) -> Node | None:
    """Return the node that takes a node's output where exactly one does, and only once."""
    found = followers(network, name)
    return found[0] if len(found) == 1 and found[0].inputs.count(name) == 1 else None


def is_shared(network: Network, name: str) -> bool:
    """Whether a node's params are used at several places."""
    node = network.by_name[name]
    return node.shares is not None or any(other.shares == name for other in network.nodes)


def check_unshared(network: Network, name: str, doing: str) -> None:
    """Raise NetworkError for a node whose params stand at several places."""
    if is_shared(network, name):
        raise NetworkError(
            f"node {name!r} shares its params with another, so that it cannot be {doing} alone"
        )


def check_params(network: Network, params: Params) -> None:
    """Raise NetworkError unless params have the network's names and shapes."""
    expected = {name: item.shape for name, item in network.parameters.items()}
    found = {name: array.shape for name, array in params.items()}
    if found != expected:
        name = next(n for n in (*expected, *found) if found.get(n) != expected.get(n))
        raise NetworkError(
            f"the params are another network's: {name} has shape {found.get(name)}, but "
            f"{expected.get(name)} was expected"
        )


def named(network: Network, layer: Layer) -> Node:
    """Return a node of a layer under the next free name of its kind, still without input."""
    return Node(fresh_name(layer, network.by_name), layer)


def rejoin(
    network: Network, old: Sequence[str], new: Sequence[Node], source: str | None = None
) -> Network:
    """Return the network with one chain of nodes in the place of another.

    Args:
        network: where.
        old: names of nodes of which each takes the one before alone; only the last may be taken by
            nodes outside.
        new: the nodes instead, none to take ``old`` out; their inputs are set here.
        source: what the first of them takes; None for what the first old one takes.
    """
    before = source or network.by_name[old[0]].inputs[0]
    chain: list[Node] = []
    for node in new:
        chain.append(replace(node, inputs=(chain[-1].name if chain else before,)))
    end = chain[-1].name if chain else before
    nodes: list[Node] = []
    for node in network.nodes:
        if node.name == old[-1]:
            nodes += chain
        elif node.name not in old:
            inputs = tuple(end if name == old[-1] else name for name in node.inputs)
            nodes.append(replace(node, inputs=inputs))
    return Network(tuple(nodes))


def with_layer(network: Network, name: str, layer: Layer) -> Network:
    """Return the network with another layer at a node."""
    return Network(
        tuple(replace(node, layer=layer) if node.name == name else node for node in network.nodes)
    )
