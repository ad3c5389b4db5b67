"""A file's arrays matched with the layers they belong to: by names first, else by order and shape.

What didn't match is said exactly: the first array, the shape found, the shape expected. Reading
files is in ``files.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from triptych.backends._jax.layouts import HOMES
from triptych.backends._jax.porting.files import Place, Stored
from triptych.backends.carried import Origin
from triptych.errors import PortError
from triptych.spec.layers import GRU, LSTM, Recurrent, Shape
from triptych.spec.network import Network, Node

_AROUND = {"params", "batch_stats", "model", "state", "variables", "module", "graphdef", "nnx"}
"""Words around a model's own paths."""
_OPTIMIZER = {"opt_state", "optimizer", "opt", "optimizer_state", "step", "tx"}
_BEHIND = {"value", "raw_value"}
_RANDOM = {"rngs", "rng", "count", "key"}


@dataclass(frozen=True)
class Contents:
    """A file's arrays: the model's by path with dots, and the optimizer's by words."""

    model: Mapping[str, np.ndarray]
    optimizer: Mapping[Place, np.ndarray]


def contents(stored: Stored, wanted: Iterable[str] = ()) -> Contents:
    """Return a file's arrays apart; ``wanted`` are paths of the model, which no word is cut off."""
    known = set(wanted)
    model: dict[str, np.ndarray] = {}
    optimizer: dict[Place, np.ndarray] = {}
    for place, array in stored.arrays.items():
        words = tuple(word for word in place if word not in _BEHIND)
        if _OPTIMIZER & set(words) and key_in(words, known) not in known:
            optimizer[words] = array
        elif not (_RANDOM & set(words) and array.dtype.kind != "f"):
            model[key_in(words, known)] = array
    return Contents(model, optimizer)


def key_in(words: Place, known: set[str]) -> str:
    """Return a path without the words around it."""
    while ".".join(words) not in known and len(words) > 1 and words[0] in _AROUND:
        words = words[1:]
    return ".".join(words)


def by_name(
    arrays: Mapping[str, np.ndarray], wanted: Mapping[str, Shape], where: str
) -> dict[str, np.ndarray]:
    """Return the arrays that a model wants; every one must be there and fit, and none be left."""
    for key, shape in wanted.items():
        if key not in arrays:
            raise PortError(
                f"{where}: {key} {shape} is not in it, which the model has; it holds "
                f"{_some(arrays)}"
            )
        _check(key, arrays[key], shape, where)
    for key, array in arrays.items():
        if key not in wanted:
            raise PortError(f"{where}: holds {key} {array.shape}, which the model does not have")
    return {key: arrays[key] for key in wanted}


def _check(key: str, array: np.ndarray, shape: Shape, where: str) -> None:
    if array.shape != tuple(shape):
        raise PortError(f"{where}: {key} is {array.shape}, expected {tuple(shape)}")
    if array.dtype.kind != "f":
        raise PortError(f"{where}: {key} has type {array.dtype}, expected real numbers")


def _some(arrays: Mapping[str, np.ndarray]) -> str:
    names = [f"{key} {array.shape}" for key, array in arrays.items()]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


# --- a given network -----------------------------------------------------------------------------


def of_network(
    arrays: Mapping[str, np.ndarray], network: Network, where: str
) -> tuple[dict[str, Origin], tuple[str, ...]]:
    """Return where a network's arrays are in a file, and notes.

    By names where the file has ``<node>.<attribute>``; otherwise the layers of each kind in the
    order of their names: ``Conv_0``, ``Conv_1``, ``Dense_0``.
    """
    native = named(network)
    if any(origin.key in arrays for origin in native.values()):
        wanted = {
            origin.key: HOMES[_node(network, name).layer.kind][name.rsplit("/", 1)[1]]
            .to_native(np.empty(network.parameters[name].shape, np.int8))
            .shape
            for name, origin in native.items()
        }
        by_name(arrays, wanted, where)
        return native, ()
    return _in_order(arrays, network, where)


def _node(network: Network, name: str) -> Node:
    return network.by_name[name.rsplit("/", 1)[0]]


def named(network: Network) -> dict[str, Origin]:
    """The origins of a network's arrays in the modules that Triptych itself makes of it."""
    found = {}
    for name in network.parameters:
        node, local = name.rsplit("/", 1)
        home = HOMES[network.by_name[node].layer.kind][local]
        found[name] = Origin(f"{node}.{home.attribute}", home.to_canonical)
    return found


@dataclass
class _Group:
    """The arrays of one layer in a file: attribute to key."""

    path: str
    kind: str = ""
    keys: dict[str, str] = field(default_factory=dict)


def _in_order(
    arrays: Mapping[str, np.ndarray], network: Network, where: str
) -> tuple[dict[str, Origin], tuple[str, ...]]:
    groups = _groups(arrays, where)
    nodes = [n for n in network.nodes if n.shares is None and _has_params(network, n)]
    found: dict[str, Origin] = {}
    notes: list[str] = []
    for kind in dict.fromkeys([*(node.layer.kind for node in nodes), *(g.kind for g in groups)]):
        mine = [node for node in nodes if node.layer.kind == kind]
        theirs = [group for group in groups if group.kind == kind]
        if len(mine) != len(theirs):
            names = ", ".join(group.path for group in theirs) or "none"
            raise PortError(
                f"{where}: holds {len(theirs)} layers of the kind {kind} ({names}), but the "
                f"network has {len(mine)}"
            )
        for node, group in zip(mine, theirs, strict=True):
            found |= _origins(arrays, network, node, group, where, notes)
    return {name: found[name] for name in network.parameters}, tuple(notes)


def _has_params(network: Network, node: Node) -> bool:
    return bool(node.layer.parameters(*network.input_shapes(node)))


def _origins(
    arrays: Mapping[str, np.ndarray],
    network: Network,
    node: Node,
    group: _Group,
    where: str,
    notes: list[str],
) -> dict[str, Origin]:
    """The origins of one node's arrays, each of the shape that the node expects."""
    found = {}
    locals_ = _recurrent(arrays, node.layer, group) if isinstance(node.layer, Recurrent) else {}
    for local, parameter in node.layer.parameters(*network.input_shapes(node)).items():
        origin = locals_.get(local) or _plain(node, local, group)
        if origin is None:
            raise PortError(
                f"{where}: {group.path} has no array for {node.name}/{local} {parameter.shape}; it "
                f"has {', '.join(group.keys)}"
            )
        if node.layer.kind == "conv_transpose" and local == "kernel":
            origin = _upright(arrays[origin.key], origin, parameter.shape, group.path, notes)
        shape = origin.turn(arrays[origin.key]).shape
        if shape != parameter.shape:
            raise PortError(
                f"{where}: {origin.key} is {arrays[origin.key].shape}, expected {parameter.shape} "
                f"for {node.name}/{local}"
            )
        found[f"{node.name}/{local}"] = origin
    left = set(group.keys.values()) - {origin.key for origin in found.values()}
    if left:
        raise PortError(f"{where}: holds {min(left)}, which {node.name} does not have")
    return found


def _plain(node: Node, local: str, group: _Group) -> Origin | None:
    home = HOMES[node.layer.kind].get(local)
    key = group.keys.get(home.attribute) if home is not None else None
    return None if key is None else Origin(key)


def _upright(
    array: np.ndarray, origin: Origin, shape: Shape, path: str, notes: list[str]
) -> Origin:
    """A transposed convolution's kernel: Flax' own stands upside down unless it is transposed."""
    if array.shape == shape:
        if shape[2] == shape[3]:
            notes.append(f"{path} was read as Flax writes it without transpose_kernel")
        return Origin(origin.key, lambda kernel: kernel[::-1, ::-1])
    return Origin(origin.key, lambda kernel: np.swapaxes(kernel, 2, 3))


# --- layers in a file ----------------------------------------------------------------------------

_LSTM = {"i": "input", "f": "forget", "g": "cell", "o": "output"}
_GRU = {"z": "update", "r": "reset", "n": "candidate"}
_CELL = re.compile(r"(?:[ih][ifgozrn]|if_|in_|[ih]|dense_[ih])")
"""Dense layers inside recurrent cells: ``ii``, ``hf``, ``in``, ``dense_i``."""


def _groups(arrays: Mapping[str, np.ndarray], where: str) -> list[_Group]:
    groups: dict[str, _Group] = {}
    for key in arrays:
        *outer, attribute = key.split(".")
        if outer and _CELL.fullmatch(outer[-1]):
            attribute, outer = f"{outer[-1]}.{attribute}", outer[:-1]
        path = ".".join(outer)
        groups.setdefault(path, _Group(path)).keys[attribute] = key
    for group in groups.values():
        group.kind = _kind(arrays, group)
        if not group.kind:
            raise PortError(
                f"{where}: {group.path or 'the top'} holds {', '.join(sorted(group.keys))}, which "
                "is no known layer's; give the module itself with --network FILE.py:FUNCTION"
            )
    return sorted(groups.values(), key=lambda group: _natural(group.path))


def _natural(path: str) -> list[tuple[bool, int, str]]:
    """Names in the order people count: ``Conv_2`` before ``Conv_10``."""
    parts = re.findall(r"\d+|\D+", path)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _kind(arrays: Mapping[str, np.ndarray], group: _Group) -> str:
    names = set(group.keys)
    if "kernel" in names and names <= {"kernel", "bias"}:
        rank = arrays[group.keys["kernel"]].ndim
        up = "transpose" in group.path.lower()
        return {2: "dense", 4: "conv_transpose" if up else "conv"}.get(rank, "")
    if names == {"embedding"}:
        return "embedding"
    if {"mean", "var"} <= names:
        return "batch_norm"
    if names and names <= {"scale", "bias"}:
        return "layer_norm"
    if "dense_h.kernel" in names:
        units, wide = arrays[group.keys["dense_h.kernel"]].shape
        return {1: "elman", 3: "gru", 4: "lstm"}.get(wide // units, "")
    kinds = {"hf.kernel": "lstm", "hr.kernel": "gru", "h.kernel": "elman"}
    return next((kind for sign, kind in kinds.items() if sign in names), "")


def _recurrent(
    arrays: Mapping[str, np.ndarray], layer: Recurrent, group: _Group
) -> dict[str, Origin]:
    """A cell's arrays, gate by gate: each in a dense layer of its own, or all side by side."""
    found: dict[str, Origin] = {}
    letters = {LSTM: _LSTM, GRU: _GRU}.get(type(layer), {"": ""})
    order = ["r", "z", "n"] if isinstance(layer, GRU) else list(letters)
    for what in ("kernel", "bias"):
        for side, mark in (("", "i"), ("recurrent_", "h")):
            for place, letter in enumerate(order):
                local = layer.local(f"{side}{what}", letters[letter])
                turn: Callable[[np.ndarray], np.ndarray]
                for name in (f"{mark}{letter}", f"{mark}{letter}_", f"dense_{mark}"):
                    key = group.keys.get(f"{name}.{what}")
                    if key is None:
                        continue
                    whole = name.startswith("dense") and len(order) > 1
                    turn = partial(_block, place=place, count=len(order)) if whole else _same
                    found[local] = Origin(key, turn)
    return _renamed(found, layer)


def _renamed(found: dict[str, Origin], layer: Recurrent) -> dict[str, Origin]:
    """One bias is one, wherever Flax has it; a GRU's candidate has one more."""
    first = layer.local("bias", layer.gates[0])
    if first not in found:
        return {name.replace("recurrent_bias", "bias"): origin for name, origin in found.items()}
    second = layer.local("recurrent_bias", layer.gates[0])
    if isinstance(layer, GRU) and second not in found and "recurrent_bias_candidate" in found:
        found["candidate_bias"] = found.pop("recurrent_bias_candidate")
    return found


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _block(array: np.ndarray, place: int, count: int) -> np.ndarray:
    return np.split(array, count, axis=-1)[place]
