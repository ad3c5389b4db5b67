"""Nested state as named arrays and JSON, and back.

A tree is a nested ``dict`` with string keys whose leaves are NumPy arrays, JSON values, or *parts*:
functions that return named arrays, always the same, which a checkpoint writes only once. Its flat
form joins the keys of all levels with ``|``; a key's own ``|`` and backslash are escaped, and a
``/`` needs no care, so that a param named ``conv1/kernel`` stays one key. Files do not belong here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from triptych.errors import CheckpointError

_SEPARATOR = "|"


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"level|level|key": leaf}`` in the tree's order; an empty dict is a leaf.

    Raises:
        CheckpointError: a key is not a string.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = _escape(key)
        if isinstance(value, Mapping) and value:
            below = flatten(value)
            flat.update({f"{name}{_SEPARATOR}{rest}": leaf for rest, leaf in below.items()})
        else:
            flat[name] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree that :func:`flatten` made flat.

    Raises:
        CheckpointError: one name is both a leaf and a level above another leaf.
    """
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *levels, last = _keys(name)
        node = tree
        for level in levels:
            node = node.setdefault(level, {})
            if not isinstance(node, dict):
                raise CheckpointError(f"the name {name!r} goes on below {level!r}, which is a leaf")
        if last in node:
            raise CheckpointError(f"the name {name!r} stands for a leaf and for a level at once")
        node[last] = leaf
    return tree


def split(
    tree: Mapping[str, Any],
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Callable[[], Any]]]:
    """Take a tree apart into its arrays, by flat name, its JSON values, and its parts.

    Args:
        tree: nested dict of NumPy arrays (any shape), JSON values and functions; lists of JSON
            values are values. NumPy scalars become Python's, tuples become lists.

    Returns:
        ``(arrays, state, parts)``; in ``state`` a ``None`` keeps the place of each array and part,
        hence the order.

    Raises:
        CheckpointError: a key is not a string, or a value is neither an array nor JSON.
    """
    flat = flatten(tree)
    arrays = {name: leaf for name, leaf in flat.items() if isinstance(leaf, np.ndarray)}
    parts = {name: leaf for name, leaf in flat.items() if callable(leaf)}
    apart = {**arrays, **parts}
    values = {name: None if name in apart else plain(leaf, name) for name, leaf in flat.items()}
    return arrays, unflatten(values), parts


def join(
    arrays: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
    parts: Mapping[str, Callable[[], Any]] | None = None,
) -> dict[str, Any]:
    """Return the tree that :func:`split` took apart, with its keys in their order.

    Without ``parts`` their places hold ``None``.

    Raises:
        CheckpointError: the two do not belong together.
    """
    flat = flatten(state)
    apart = {**arrays, **(parts or {})}
    strangers = [name for name in apart if flat.get(name, ...) is not None]
    if strangers:
        raise CheckpointError(f"the state keeps no place for the array {strangers[0]!r}")
    return unflatten({**flat, **apart})


def plain(value: Any, name: str) -> Any:
    """Return ``value`` as plain JSON data; ``name`` says in an error where it stood.

    Raises:
        CheckpointError: JSON cannot hold it without loss.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_text(key): plain(item, f"{name}{_SEPARATOR}{key}") for key, item in value.items()}
    raise CheckpointError(
        f"{name!r} is of type {type(value).__name__}; expected an array outside any list, "
        "a number, text, true, false, null, a list or a dict"
    )


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise CheckpointError(f"the key {key!r} is of type {type(key).__name__}; expected a string")
    return key


def _escape(key: Any) -> str:
    return _text(key).replace("\\", "\\\\").replace(_SEPARATOR, f"\\{_SEPARATOR}")


def _keys(name: str) -> list[str]:
    keys = [""]
    for escaped, separator, other in re.findall(r"\\(.)|(\|)|(.)", name, flags=re.DOTALL):
        if separator:
            keys.append("")
        else:
            keys[-1] += escaped or other
    return keys
