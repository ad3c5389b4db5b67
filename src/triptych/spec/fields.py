"""From plain data to frozen dataclasses, with every mistake collected and a hint for each.

A field's ``metadata`` may hold ``low``, ``high`` (inclusive bounds), ``above``, ``below``
(exclusive), ``choices``, and ``parse`` (a function of the value and its place, which may raise
ValueError). What the fields mean is said where the dataclasses stand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar, get_type_hints

from triptych.errors import did_you_mean

T = TypeVar("T")


def option(default: Any = MISSING, **metadata: Any) -> Any:
    """Return a dataclass field with bounds or choices in its metadata."""
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


def build(cls: type[T], data: Any, where: str, mistakes: list[str]) -> T | None:
    """Return ``cls`` built from a mapping, or None with a sentence per mistake appended.

    Args:
        cls: a frozen dataclass.
        data: the mapping read from a file.
        where: the place in the file, such as ``optimizer``.
        mistakes: receives a sentence for each mistake found.
    """
    if not isinstance(data, Mapping):
        mistakes.append(f"{where}: expected a mapping of options but found {data!r}")
        return None
    before = len(mistakes)
    known = {item.name: item for item in fields(cls) if item.init}  # type: ignore[arg-type]
    for name in data:
        if name not in known:
            hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
            mistakes.append(f"{where}.{name}: unknown option{hint}")
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, item in known.items():
        if name in data:
            values[name] = _value(data[name], hints[name], item, f"{where}.{name}", mistakes)
        elif item.default is MISSING and item.default_factory is MISSING:
            mistakes.append(f"{where}.{name}: is missing")
    if len(mistakes) > before:
        return None
    try:
        return cls(**values)
    except ValueError as error:
        mistakes.append(f"{where}: {error}")
        return None


def _value(value: Any, hint: Any, item: Field[Any], where: str, mistakes: list[str]) -> Any:
    parse: Callable[[Any, str], Any] | None = item.metadata.get("parse")
    try:
        if parse is not None:
            return parse(value, where)
        value = _typed(value, hint)
        _check_bounds(value, item.metadata)
    except ValueError as error:
        mistakes.append(f"{where}: {error}")
    return value


def _typed(value: Any, hint: Any) -> Any:
    """Return the value in the hinted type; numbers may be written as text such as ``1e-3``."""
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
    accepted = [kind for kind in names if kind is hint or kind in getattr(hint, "__args__", ())]
    if value is None and type(None) in getattr(hint, "__args__", ()):
        return None
    if isinstance(value, str) and float in accepted and str not in accepted:
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"expected a number but found {value!r}") from None
    for kind in accepted:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if type(value) is kind:
            return value
    if not accepted:
        return value
    raise ValueError(f"expected {' or '.join(names[k] for k in accepted)} but found {value!r}")


def _check_bounds(value: Any, metadata: Mapping[str, Any]) -> None:
    choices = metadata.get("choices")
    if choices is not None and value not in choices:
        known = ", ".join(str(choice) for choice in choices)
        raise ValueError(f"{value!r} is none of {known}{did_you_mean(str(value), choices)}")
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    tests = {
        "low": ("at least", lambda bound: value >= bound),
        "high": ("at most", lambda bound: value <= bound),
        "above": ("above", lambda bound: value > bound),
        "below": ("below", lambda bound: value < bound),
    }
    for name, (words, holds) in tests.items():
        if name in metadata and not holds(metadata[name]):
            raise ValueError(f"must be {words} {metadata[name]} but is {value}")
