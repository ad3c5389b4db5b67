"""A network: a graph of named layers, shapes and parameters inferred; no weights, no framework.

Sequential networks are the common case of nodes that each take the one before. Text notations are
in ``notation.py``, the printed table in ``table.py``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from keyword import iskeyword

from triptych.errors import NetworkError, did_you_mean
from triptych.spec.layers import (
    Activation,
    Add,
    BatchNorm,
    Concatenate,
    Dense,
    Dropout,
    Dueling,
    Embedding,
    Input,
    Layer,
    LayerNorm,
    Multiply,
    Parameter,
    Recurrent,
    Rescale,
    Shape,
)
from triptych.spec.layers.base import show

_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
_STEPWISE = (
    *(Activation, Add, BatchNorm, Concatenate, Dense, Dropout, Embedding, LayerNorm, Multiply),
    Rescale,
)
"""Layers that work on the last axis alone, so that a step of (time, features) needs no other."""


@dataclass(frozen=True)
class Node:
    """A named layer and the names of the nodes it takes as inputs.

    ``shares`` names an earlier node whose params it uses: one layer that stands at several places.
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...] = ()
    shares: str | None = None

    @property
    def owner(self) -> str:
        """The node whose params it uses, most often itself."""
        return self.shares or self.name


@dataclass(frozen=True)
class Network:
    """Named nodes in an order in which every input comes before its use.

    The first node is the input, the last the output, and every other leads to it: the params of a
    branch that leads nowhere would get no gradient, which frameworks treat differently. Raises
    NetworkError at construction where a name is unknown or double, or sizes do not fit; the message
    names the node.
    """

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        if not self.nodes or not isinstance(self.nodes[0].layer, Input):
            raise NetworkError("a network begins with an input, such as 84x84x4")
        self._check_names()
        self._check_ends()
        self._check_indices()
        _ = self.shapes
        self._check_sharing()

    def _check_names(self) -> None:
        seen: set[str] = set()
        for node in self.nodes:
            if seen and isinstance(node.layer, Input):
                raise NetworkError(f"node {node.name!r} is a second input; a network has one")
            if not _NAME.fullmatch(node.name) or iskeyword(node.name):
                raise NetworkError(
                    f"node name {node.name!r} must be a plain word: a letter, then letters, digits "
                    "and _, and no keyword of Python"
                )
            if node.name in seen:
                raise NetworkError(f"two nodes are called {node.name!r}; give each its own name")
            for name in node.inputs:
                if name not in seen:
                    hint = did_you_mean(name, seen)
                    raise NetworkError(
                        f"node {node.name!r} takes {name!r}, which is no node before it{hint}"
                    )
            _check_arity(node)
            seen.add(node.name)

    def _check_sharing(self) -> None:
        """One layer at several places: its params, and every constant of it, must fit them all."""
        seen: dict[str, Node] = {}
        for node in self.nodes:
            seen[node.name] = node
            if node.shares is None:
                continue
            owner = seen.get(node.shares)
            if owner is None or owner.shares is not None or owner.layer != node.layer:
                raise NetworkError(
                    f"node {node.name!r} shares the params of {node.shares!r}, which must be an "
                    "earlier node with an equal layer and params of its own"
                )
            self._check_places(owner, node)

    def _check_places(self, owner: Node, node: Node) -> None:
        layer, places = node.layer, (self.input_shapes(owner), self.input_shapes(node))
        if not layer.parameters(*places[0]):
            raise NetworkError(
                f"node {node.name!r} shares {owner.name!r}, but a layer {layer.kind!r} has no "
                "params; leave 'shares' out"
            )
        own, other = ((layer.parameters(*at), layer.factors(*at), len(at[0])) for at in places)
        if own != other:
            raise NetworkError(
                f"node {node.name!r} shares the params of {owner.name!r}, but takes "
                f"{show(places[1][0])} where that takes {show(places[0][0])}: one layer at two "
                "places needs as many axes, params of equal shapes, and equal padding in pixels"
            )

    def _check_ends(self) -> None:
        taken = {name for node in self.nodes for name in node.inputs}
        for node in self.nodes[:-1]:
            if node.name not in taken:
                raise NetworkError(
                    f"node {node.name!r} leads nowhere: no node takes it, and the output is "
                    f"{self.output.name!r}, the last"
                )

    def _check_indices(self) -> None:
        """Whole numbers go into embeddings and nowhere else."""
        layer = self.input.layer
        index = isinstance(layer, Input) and layer.values == "index"
        for node in self.nodes[1:]:
            embeds = isinstance(node.layer, Embedding)
            if embeds != (index and self.input.name in node.inputs):
                wrong = "takes only" if embeds else "cannot take"
                raise NetworkError(
                    f"node {node.name!r} ({node.layer.kind}) {wrong} the indices of an input such "
                    "as '10 index'; put an embedding right behind such an input, and nowhere else"
                )

    @classmethod
    def sequential(cls, *layers: Layer) -> Network:
        """Build a chain; nodes are named by kind and number: conv1, relu1, conv2, ..."""
        nodes: list[Node] = []
        taken: set[str] = set()
        for layer in layers:
            before = (nodes[-1].name,) if nodes else ()
            nodes.append(Node(fresh_name(layer, taken), layer, before))
            taken.add(nodes[-1].name)
        return cls(tuple(nodes))

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """The nodes by name."""
        return {node.name: node for node in self.nodes}

    @property
    def input(self) -> Node:
        """The input node."""
        return self.nodes[0]

    @property
    def output(self) -> Node:
        """The output node."""
        return self.nodes[-1]

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The output shape of every node, without the batch axis."""
        shapes: dict[str, Shape] = {}
        for node in self.nodes:
            try:
                shapes[node.name] = node.layer.shape(*(shapes[name] for name in node.inputs))
            except NetworkError as error:
                raise NetworkError(f"node {node.name!r}: {error}") from None
        return shapes

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        """The shapes a node takes."""
        return tuple(self.shapes[name] for name in node.inputs)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Every array of the network by its canonical name, such as ``conv1/kernel``."""
        return {
            f"{node.name}/{local}": parameter
            for node in self.nodes
            if node.shares is None
            for local, parameter in node.layer.parameters(*self.input_shapes(node)).items()
        }

    @cached_property
    def trainable(self) -> tuple[str, ...]:
        """The canonical names of the arrays that are trained, in order."""
        return tuple(name for name, item in self.parameters.items() if item.trainable)

    @property
    def parameter_count(self) -> int:
        """The number of trainable numbers."""
        return sum(self.parameters[name].size for name in self.trainable)

    @cached_property
    def states(self) -> dict[str, Shape]:
        """What is carried from step to step, by name, such as ``lstm1/hidden``: shapes without the
        batch axis.

        Raises:
            NetworkError: the network cannot be run step by step; the message names the node.
        """
        self._check_steps()
        return {
            f"{node.name}/{state}": (node.layer.units,)  # type: ignore[attr-defined]
            for node in self.nodes_of(Recurrent)
            for state in node.layer.states  # type: ignore[attr-defined]
        }

    def _check_steps(self) -> None:
        start = self.input.layer
        index = isinstance(start, Input) and start.values == "index"
        if len(self.shapes[self.input.name]) != (1 if index else 2):
            raise NetworkError(
                "only a network over (time, features), or over (time,) indices, can be run step by "
                f"step, but this one takes {self.shapes[self.input.name]}"
            )
        timed = {self.input.name}
        for node in self.nodes[1:]:
            over_time = timed & set(node.inputs)
            if not over_time:
                continue
            if over_time != set(node.inputs):
                raise NetworkError(
                    f"node {node.name!r} ({node.layer.kind}) joins values over time with values "
                    "that are not, so the network cannot be run step by step"
                )
            if getattr(node.layer, "reverse", False):
                raise NetworkError(
                    f"node {node.name!r} reads the last step first, so the network cannot be run "
                    "step by step; leave 'reverse' out"
                )
            if not isinstance(node.layer, (*_STEPWISE, Recurrent)):
                raise NetworkError(
                    f"node {node.name!r} ({node.layer.kind}) needs all steps at once, so the "
                    "network cannot be run step by step; put it behind a recurrent layer without "
                    "'sequences', or leave it out"
                )
            if getattr(node.layer, "sequences", True):
                timed.add(node.name)

    def nodes_of(self, *layers: type[Layer]) -> tuple[Node, ...]:
        """The nodes whose layer is of one of the given types."""
        return tuple(node for node in self.nodes if isinstance(node.layer, layers))


def _check_arity(node: Node) -> None:
    expected, got = node.layer.arity, len(node.inputs)
    if (expected is None and got < 2) or (expected is not None and got != expected):
        wanted = "two or more inputs" if expected is None else f"{expected} input(s)"
        raise NetworkError(f"node {node.name!r} ({node.layer.kind}) takes {wanted}, got {got}")


def fresh_name(layer: Layer, taken: Collection[str]) -> str:
    """Return the next free name of a layer's kind: ``input``, then conv1, conv2, ..."""
    if isinstance(layer, Input):
        return "input"
    number = 1
    while f"{layer.kind}{number}" in taken:
        number += 1
    return f"{layer.kind}{number}"


def dueling(network: Network) -> Network:
    """Return the network with its last dense layer split into value and advantage streams.

    Source: Wang et al. 2016. The node names are ``value``, ``advantage`` and ``dueling1``.

    Raises:
        NetworkError: the output is not a dense layer.
    """
    last = network.output
    if not isinstance(last.layer, Dense):
        raise NetworkError(f"dueling needs a dense output, but {last.name!r} is {last.layer.kind}")
    value = Node("value", Dense(1, bias=last.layer.bias), last.inputs)
    advantage = Node("advantage", last.layer, last.inputs)
    merged = Node("dueling1", Dueling(), ("value", "advantage"))
    return Network((*network.nodes[:-1], value, advantage, merged))
