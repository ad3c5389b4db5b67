"""A network as plain data that JSON holds, and back: what a port writes beside the params.

Every option of every layer is written out, and none may be missing: a constant that changes its
default must not change a network that was written before. Text for people is in ``notation.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from triptych.errors import NetworkError
from triptych.spec.fields import brief, hint, number, whole
from triptych.spec.layers import LAYERS, Layer
from triptych.spec.network import Network, Node

_KEYS = ("name", "kind", "options", "inputs", "shares")


def to_plain(network: Network) -> dict[str, Any]:
    """Return ``{"nodes": [{"name", "kind", "options", "inputs", "shares"}, ...]}``.

    ``options`` are the layer's fields, tuples as lists; ``shares`` is None, or the node whose
    params are used.
    """
    return {"nodes": [_plain(node) for node in network.nodes]}


def _plain(node: Node) -> dict[str, Any]:
    layer = node.layer
    return {
        "name": node.name,
        "kind": layer.kind,
        "options": {field.name: _lists(getattr(layer, field.name)) for field in fields(layer)},
        "inputs": list(node.inputs),
        "shares": node.shares,
    }


def from_plain(data: Any) -> Network:
    """Return the network that :func:`to_plain` wrote.

    Raises:
        NetworkError: a key is missing, unknown or of another type, or the nodes are no network; the
            message names the node.
    """
    _check_keys(data, ("nodes",), "the network")
    if not isinstance(data["nodes"], list):
        raise NetworkError(f"nodes: expected a list of nodes but found {brief(data['nodes'])}")
    return Network(tuple(_node(item, f"nodes[{i}]") for i, item in enumerate(data["nodes"])))


def _node(data: Any, where: str) -> Node:
    _check_keys(data, _KEYS, where)
    name, kind, inputs, shares = (data[key] for key in ("name", "kind", "inputs", "shares"))
    for key in ("name", "kind"):
        if not isinstance(data[key], str):
            raise NetworkError(f"{where}.{key}: expected a word but found {brief(data[key])}")
    if not isinstance(inputs, list) or not all(isinstance(item, str) for item in inputs):
        raise NetworkError(f"{where}.inputs: expected a list of names but found {brief(inputs)}")
    if not isinstance(shares, (str, NoneType)):
        raise NetworkError(f"{where}.shares: expected a name or null but found {brief(shares)}")
    if kind not in LAYERS:
        raise NetworkError(f"{where}.kind: {brief(kind)} is no layer{hint(kind, LAYERS)}")
    return Node(name, _layer(LAYERS[kind], data["options"], f"{where}.options"), (*inputs,), shares)


def _layer(cls: type[Layer], options: Any, where: str) -> Layer:
    types = get_type_hints(cls)
    names = tuple(field.name for field in fields(cls))
    _check_keys(options, names, where)
    values = {}
    for name in names:
        try:
            values[name] = _typed(options[name], types[name])
        except ValueError as error:
            raise NetworkError(f"{where}.{name}: {error}") from None
    return cls(**values)


def _check_keys(data: Any, expected: tuple[str, ...], where: str) -> None:
    if not isinstance(data, Mapping):
        raise NetworkError(
            f"{where}: expected a mapping of {', '.join(expected) or 'nothing'} but found "
            f"{brief(data)}"
        )
    for key in expected:
        if key not in data:
            raise NetworkError(f"{where}: {key!r} is missing; write every option out")
    for key in data:
        if key not in expected:
            raise NetworkError(f"{where}: {brief(key)} is unknown{hint(key, expected)}")


def _lists(value: Any) -> Any:
    """Return tuples, nested ones too, as lists."""
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def _typed(value: Any, kind: Any) -> Any:
    """Return a plain value in the type of its field; raise ValueError where it is of another."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _first(value, inner)
    if origin is tuple:
        return _tuple(value, inner)
    if kind is float and type(value) in (int, float):
        return number(value)
    if kind is int:
        return whole(value)
    if origin is Literal:
        if isinstance(value, str) and value in inner:
            return value
        raise ValueError(f"{brief(value)} is none of {', '.join(inner)}")
    if type(value) is not kind:
        words = {bool: "true or false", float: "a number", NoneType: "null"}
        raise ValueError(f"expected {words[kind]} but found {brief(value)}")
    return value


def _first(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Return the value in the first type that it fits."""
    reasons = []
    for kind in kinds:
        try:
            return _typed(value, kind)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError("; or ".join(reasons))


def _tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a list as a tuple: of one type and any length, or of one type for each place."""
    if not isinstance(value, list):
        raise ValueError(f"expected a list but found {brief(value)}")
    if kinds[-1] is ...:
        return tuple(_typed(item, kinds[0]) for item in value)
    if len(value) != len(kinds):
        raise ValueError(f"expected a list of {len(kinds)} but found {brief(value)}")
    return tuple(_typed(item, kind) for item, kind in zip(value, kinds, strict=True))
