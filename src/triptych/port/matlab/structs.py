"""The plain-struct form of a network, ``triptych-network-1``: what each part is, both ways.

A file holds ``format``, ``layers`` (a cell of structs with ``kind``, ``name``, ``inputs``,
``options``, ``arrays``, ``shares``, ``slots``), ``source``, and where a run goes on from it
``rule`` (JSON text, in a recipe's words), ``updates`` and ``numbers``. The first layer is the
input, the last the output. ``docs/matlab.md`` describes it for people; ``run_network.m`` computes
it. Kinds and options are those of the spec, and those of ``graph.py`` for what MATLAB has besides.
From structs to a network is ``graph.py``'s work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from triptych.backends.carried import Trained
from triptych.errors import NetworkError, PortError
from triptych.port.matlab import layouts
from triptych.spec.layers import Flatten, Layer
from triptych.spec.network import Node
from triptych.spec.rules import Rule, parse_rule
from triptych.spec.schedules import Schedule

FORMAT = "triptych-network-1"
_PARTS = ("kind", "name", "inputs", "options", "arrays")
_PAIRS = ("padding", "amounts")
"""Options that are pixels at four edges, a 2 x 2 matrix [top bottom; left right]."""


@dataclass(frozen=True)
class Stored:
    """One layer of a file, its parts checked."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    options: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    shares: str = ""
    slots: Mapping[str, Mapping[str, np.ndarray]] | None = None


# --- to structs ------------------------------------------------------------------------------


def to_structs(trained: Trained) -> dict[str, Any]:
    """Return the variables of a file."""
    found: dict[str, Any] = {
        "format": FORMAT,
        "source": "triptych",
        "layers": [_layer_of(trained, node) for node in trained.network.nodes],
    }
    if trained.rule is not None:
        found["rule"] = json.dumps(rule_to_plain(trained.rule))
    if trained.slots is not None:
        found["updates"] = float(trained.slots.updates)
        found["numbers"] = dict(trained.slots.numbers)
    return found


def _layer_of(trained: Trained, node: Node) -> dict[str, Any]:
    layer = node.layer
    slots = trained.slots.values if trained.slots else {}
    return {
        "kind": layer.kind,
        "name": node.name,
        "inputs": list(node.inputs),
        "options": options_of(layer),
        "arrays": layouts.to_native(layer.kind, _own(node, trained.params)),
        "shares": node.shares or "",
        "slots": {
            slot: layouts.to_native(layer.kind, own)
            for slot, arrays in slots.items()
            if (own := _own(node, arrays))
        },
    }


def _own(node: Node, params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    head = f"{node.name}/"
    return {n.removeprefix(head): array for n, array in params.items() if n.startswith(head)}


def options_of(layer: Layer) -> dict[str, Any]:
    """Return a layer's fields as MATLAB's values; what is None is left out."""
    found = {field.name: getattr(layer, field.name) for field in fields(layer)}
    options = {name: _matlab(value) for name, value in found.items() if value is not None}
    return options | ({"order": "row-major"} if isinstance(layer, Flatten) else {})


def _matlab(value: Any) -> Any:
    if isinstance(value, tuple):
        return np.atleast_2d(np.array(value, np.float64))
    return value if isinstance(value, (bool, str)) else float(value)


def rule_to_plain(rule: Rule) -> dict[str, Any]:
    """Return a rule as a recipe has it: name, and every field."""
    found = {field.name: getattr(rule, field.name) for field in fields(rule)}
    rate: Schedule = found.pop("rate")
    clip = found.pop("clip")
    plain = {"schedule": rate.name} | {f.name: getattr(rate, f.name) for f in fields(rate)}
    limits = {f.name: getattr(clip, f.name) for f in fields(clip)}
    cut = {name: limit for name, limit in limits.items() if limit is not None}
    return {"name": rule.name, "rate": plain} | ({"clip": cut} if cut else {}) | found


# --- from structs ----------------------------------------------------------------------------


def from_structs(data: Mapping[str, Any], where: str) -> list[Stored]:
    """Return a file's layers.

    Raises:
        PortError: it is of another form, or a part is missing or of another type.
    """
    if data.get("format") != FORMAT:
        names = ", ".join(list(data)[:4]) or "nothing"
        raise PortError(
            f"{where} holds no network in the form {FORMAT} (it holds {names}); in MATLAB write it "
            "with export_network(net, file), see docs/matlab.md"
        )
    layers = data.get("layers")
    if not isinstance(layers, list) or not layers:
        raise PortError(f"{where}: layers must be a cell of structs")
    return [_stored(item, f"{where}: layer {place}") for place, item in enumerate(layers, 1)]


def _stored(item: Any, where: str) -> Stored:
    if not isinstance(item, dict) or any(part not in item for part in _PARTS):
        raise PortError(f"{where}: expected a struct with {', '.join(_PARTS)}")
    if not isinstance(item["kind"], str) or not isinstance(item["name"], str):
        raise PortError(f"{where}: kind and name must be text")
    where = f"{where} ({item['name']})"
    inputs = item["inputs"] if isinstance(item["inputs"], list) else [item["inputs"]]
    if not all(isinstance(name, str) for name in inputs):
        raise PortError(f"{where}: inputs must be a cell of names")
    shares = item.get("shares", "")
    return Stored(
        item["kind"],
        item["name"],
        tuple(inputs),
        _struct(item["options"], f"{where}: options"),
        _arrays(item["arrays"], f"{where}: arrays"),
        shares if isinstance(shares, str) else "",
        {
            slot: _arrays(arrays, f"{where}: slots.{slot}")
            for slot, arrays in _struct(item.get("slots", {}), f"{where}: slots").items()
        },
    )


def _struct(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, np.ndarray) and value.size == 0:
        return {}
    if not isinstance(value, dict):
        raise PortError(f"{where} must be a struct")
    return value


def _arrays(value: Any, where: str) -> dict[str, np.ndarray]:
    found = _struct(value, where)
    for name, array in found.items():
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
            raise PortError(f"{where}.{name} must be an array of single or double")
        if not np.isfinite(array).all():
            raise PortError(f"{where}.{name} holds NaN or infinity; nothing can be proven of it")
    return found


def layer_from(cls: type[Layer], options: Mapping[str, Any], where: str) -> Layer:
    """Return a layer of the spec from options as MATLAB's values.

    Raises:
        PortError: an option is missing, unknown or makes no sense.
    """
    kinds = get_type_hints(cls)
    known = {field.name: kinds[field.name] for field in fields(cls)}
    extra = set(options) - set(known) - ({"order"} if cls is Flatten else set())
    if extra:
        raise PortError(f"{where}: {sorted(extra)[0]!r} is no option of {cls.kind}")
    values: dict[str, Any] = {}
    for name, kind in known.items():
        if name in options:
            values[name] = _plain(options[name], name, kind, where)
        elif type(None) not in get_args(kind):
            raise PortError(f"{where}: the option {name!r} of {cls.kind} is missing")
    try:
        return cls(**values)
    except (NetworkError, TypeError, ValueError) as error:
        raise PortError(f"{where}: {error}") from None


def _plain(value: Any, name: str, kind: Any, where: str) -> Any:
    """A MATLAB value in the type of its field."""
    if isinstance(value, str):
        words = [w for one in (kind, *get_args(kind)) if get_origin(one) is Literal
                 for w in get_args(one)]  # fmt: skip
        if value not in words:
            wanted = f"one of {', '.join(words)}" if words else "numbers"
            raise PortError(f"{where}: {name} must be {wanted} but is {value!r}")
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise PortError(f"{where}: {name} must be finite numbers")
    if kind in (bool, int, float) or float in get_args(kind):
        if array.size != 1 or (kind is int and array.item() != int(array.item())):
            raise PortError(f"{where}: {name} must be one {'whole ' * (kind is int)}number")
        number = array.item()
        return bool(number) if kind is bool else int(number) if kind is int else float(number)
    if (array != array.astype(np.int64)).any():
        raise PortError(f"{where}: {name} must be whole numbers")
    if name in _PAIRS and array.shape == (2, 2):
        return tuple((int(row[0]), int(row[1])) for row in array)
    return tuple(int(n) for n in array.ravel(order="F"))


def rule_from(data: Mapping[str, Any], where: str) -> Rule | None:
    """Return the rule of a file, or None where it has none; raises PortError."""
    if "rule" not in data:
        return None
    mistakes: list[str] = []
    try:
        rule = parse_rule(json.loads(data["rule"]), "rule", mistakes)
    except (TypeError, ValueError, RecursionError) as error:
        raise PortError(f"{where}: rule is no JSON text of an update rule: {error}") from None
    if mistakes or rule is None:
        raise PortError(f"{where}: {'; '.join(mistakes)}")
    return rule


def numbers_from(data: Mapping[str, Any], where: str) -> dict[str, float]:
    """Return what an optimizer keeps once for all arrays; raises PortError."""
    found = _arrays(data.get("numbers", {}), f"{where}: numbers")
    for name, number in found.items():
        if number.size != 1:
            raise PortError(f"{where}: numbers.{name} must be one number")
    return {name: float(number.item()) for name, number in found.items()}
