"""An environment's options as data, and their validation.

An environment's file lists its options once, as a table of :class:`Option`. What an option does to
an environment does not belong here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triptych.errors import did_you_mean

_KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Option:
    """One option of an environment.

    Attributes:
        default: the value where the recipe is silent; its type (bool, int, float) is the option's.
        low: the smallest allowed value, or None.
        high: the largest allowed value, or None.
    """

    default: bool | int | float
    low: float | None = None
    high: float | None = None


def unknown_names(
    environment: str, given: Mapping[str, Any], known: Mapping[str, Any]
) -> list[str]:
    """Return one sentence for each option that the environment does not have."""
    has = f"it has {', '.join(known)}" if known else "it has none"
    return [
        f"environment {environment!r} has no option {name!r}{did_you_mean(name, known)}; {has}"
        for name in given
        if name not in known
    ]


def wrong_values(
    environment: str, given: Mapping[str, Any], known: Mapping[str, Option]
) -> list[str]:
    """Return one sentence for each value of the wrong type or out of its range."""
    return [
        f"option {name!r} of environment {environment!r} must be {_expected(known[name])}, "
        f"but is {value!r}"
        for name, value in given.items()
        if name in known and not _fits(value, known[name])
    ]


def _fits(value: Any, option: Option) -> bool:
    kind = type(option.default)
    # A bool is an int to Python, and a whole number is a fine number to a reader of YAML.
    if type(value) is not kind and not (kind is float and type(value) is int):
        return False
    above = option.low is None or value >= option.low
    return above and (option.high is None or value <= option.high)


def _expected(option: Option) -> str:
    kind = _KINDS[type(option.default)]
    if option.low is not None and option.high is not None:
        return f"{kind} from {option.low} to {option.high}"
    if option.low is not None:
        return f"{kind}, at least {option.low}"
    return kind
