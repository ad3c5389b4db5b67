"""What the readers of live native objects share; which attribute says what is in each backend's
``factors.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Reader = Callable[[Any], dict[str, Any]]


def plain(kind: str, **attributes: str) -> Reader:
    """Return a reader of attributes: the spec's name = the native attribute's name.

    Lists become tuples, so that readings of different frameworks can be compared.
    """
    return lambda layer: (
        {"kind": kind}
        | {name: tuples(getattr(layer, attribute)) for name, attribute in attributes.items()}
    )


def unknown(layer: Any) -> dict[str, Any]:
    """Read a layer that no reader knows: a difference to everything."""
    return {"kind": f"unknown ({type(layer).__qualname__})"}


def tuples(value: Any) -> Any:
    """Return lists, nested ones too, as tuples."""
    return tuple(map(tuples, value)) if isinstance(value, (list, tuple)) else value
