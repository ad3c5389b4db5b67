"""Rung 0: differences that both sides state themselves, and the factor each key belongs to."""

from __future__ import annotations

from typing import Any

from triptych.parity.diagnosis.cause import UNKNOWN, Cause, cause
from triptych.parity.record import Record
from triptych.spec import catalogue

_OWN = {"objective.passes": "target-update"}
"""Keys of records that audits do not have."""


def factor_of(key: str, *values: Any) -> str:
    """Return the factor a key of rung 0 belongs to, by the catalogue, or ``unknown``."""
    page = catalogue.of_key(key, *values)
    return _OWN.get(key) or (page.name if page else UNKNOWN)


def differences(left: Record, right: Record) -> list[Cause]:
    """Return a cause for each factor that both sides state and state differently.

    Of several rates of one schedule the first that differs is named.
    """
    found: dict[tuple[str, str], Cause] = {}
    for key in dict.fromkeys([*left.factors, *right.factors]):
        values = (left.factors.get(key), right.factors.get(key))
        if not _same(*values):
            where, factor = place(key), factor_of(key, *values)
            if factor == "clip-kind":
                factor = _clip(values)
            stated = cause(factor, where, (left.name, right.name), values, 0, (None, None))
            found.setdefault((factor, where), stated)
    rates = [key for key in found if key[0] == "learning-rate"]
    schedules = [key for key in found if key[0] == "rate-schedule"]
    if rates and schedules:  # another rate at the start moves those that follow
        del found[schedules[0]]
    return list(found.values())


def place(key: str) -> str:
    """Return the place of a key: the node or the part of the setup before the dot."""
    return key.rsplit(".", 1)[0] if key.count(".") == 1 and "/" in key else key.split(".", 1)[0]


def _clip(values: tuple[Any, Any]) -> str:
    """Two limits of one kind, or two kinds."""
    left, right = (v if isinstance(v, dict) else {} for v in values)
    kinds = [{kind for kind, limit in side.items() if limit is not None} for side in (left, right)]
    return "clip-limit" if kinds[0] == kinds[1] and left else "clip-kind"


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))
    return type(left) is type(right) and bool(left == right)
