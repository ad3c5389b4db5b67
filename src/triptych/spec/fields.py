"""From plain data to frozen dataclasses, with every mistake collected and a hint for each.

A field's ``metadata`` may hold ``low``, ``high`` (inclusive bounds), ``above``, ``below``
(exclusive), ``choices``, and ``parse`` (a function of the value and its place, which may raise
ValueError). What the fields mean is said where the dataclasses stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, field, fields
from typing import Any, TypeVar, get_type_hints

from triptych.errors import did_you_mean

T = TypeVar("T")
_LONGEST = 60


class MistakesError(ValueError):
    """Several mistakes at once, each a sentence that already names its place."""

    def __init__(self, sentences: Iterable[str]) -> None:
        self.sentences = list(sentences)
        super().__init__("; ".join(self.sentences))


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
        mistakes.append(f"{where}: expected a mapping of options but found {brief(data)}")
        return None
    before = len(mistakes)
    known = {item.name: item for item in fields(cls) if item.init}  # type: ignore[arg-type]
    for name in data:
        if name not in known:
            mistakes.append(f"{place(where, name)}: unknown option{hint(name, known)}")
    types = get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, item in known.items():
        if name in data:
            values[name] = _value(data[name], types[name], item, f"{where}.{name}", mistakes)
        elif item.default is MISSING and item.default_factory is MISSING:
            mistakes.append(f"{where}.{name}: is missing")
    if len(mistakes) > before:
        return None
    try:
        return cls(**values)
    except ValueError as error:
        mistakes.append(f"{where}: {error}")
        return None


def build_strictly(cls: type[T], data: Any, where: str) -> T:
    """Return ``cls`` built from a mapping, for a ``parse`` in a field's metadata.

    Raises:
        MistakesError: with all the sentences that :func:`build` finds.
    """
    mistakes: list[str] = []
    built = build(cls, data, where, mistakes)
    if built is None:
        raise MistakesError(mistakes)
    return built


def build_named(
    table: Mapping[str, type[T]], data: Any, where: str, mistakes: list[str], key: str = "name"
) -> T | None:
    """Return the class that ``data[key]`` names, built from the other options, as :func:`build`."""
    known = ", ".join(table)
    if not isinstance(data, Mapping):
        example = f"{{{key}: {next(iter(table))}, ...}}"
        mistakes.append(f"{where}: expected options such as {example} but found {brief(data)}")
        return None
    if key not in data:
        mistakes.append(f"{where}.{key}: is missing; known are {known}")
        return None
    name = data[key]
    if not isinstance(name, str) or name not in table:
        mistakes.append(f"{where}.{key}: {brief(name)} is unknown{hint(name, table)}")
        return None
    return build(table[name], {k: v for k, v in data.items() if k != key}, where, mistakes)


def brief(value: Any) -> str:
    """Return a value as Python writes it, cut to a length that fits into a sentence."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits; endless nesting
        return f"a very long {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def place(*keys: Any) -> str:
    """Return the place that keys inside each other lead to: ``optimizer.rate``."""
    return ".".join(key if isinstance(key, str) else brief(key) for key in keys)


def hint(word: Any, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest known word, or else all known words."""
    known = list(known)
    close = did_you_mean(word, known) if isinstance(word, str) else ""
    return close or f"; known are {', '.join(known)}"


def number(value: Any) -> float:
    """Return a finite number, which may be written as text such as ``1e-3``.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            if math.isfinite(read := float(value)):
                return read
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"expected a finite number but found {brief(value)}")


def whole(value: Any) -> int:
    """Return a whole number of at most 64 bits.

    Raises:
        ValueError: it is none.
    """
    if type(value) is not int or abs(value) >= 2**63:
        raise ValueError(f"expected a whole number but found {brief(value)}")
    return value


def _value(value: Any, kind: Any, item: Field[Any], where: str, mistakes: list[str]) -> Any:
    parse: Callable[[Any, str], Any] | None = item.metadata.get("parse")
    try:
        if parse is not None:
            return parse(value, where)
        value = _typed(value, kind)
        _check_bounds(value, item.metadata)
    except MistakesError as several:
        mistakes += several.sentences
    except ValueError as error:
        mistakes.append(f"{where}: {error}")
    return value


def _typed(value: Any, kind: Any) -> Any:
    """Return the value in the type of its field: one of bool, int, float, str, or also None."""
    kinds = getattr(kind, "__args__", (kind,))
    if value is None and type(None) in kinds:
        return None
    if float in kinds:
        return number(value)
    if int in kinds:
        return whole(value)
    if type(value) not in kinds:
        wanted = "true or false" if bool in kinds else "a word"
        raise ValueError(f"expected {wanted} but found {brief(value)}")
    return value


def _check_bounds(value: Any, metadata: Mapping[str, Any]) -> None:
    choices = metadata.get("choices")
    if choices is not None and value not in choices:
        known = ", ".join(str(choice) for choice in choices)
        raise ValueError(f"{brief(value)} is none of {known}{did_you_mean(str(value), choices)}")
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
