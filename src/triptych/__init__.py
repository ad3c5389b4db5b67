"""Triptych: describe an agent once, train it natively in Keras, PyTorch and JAX, prove them equal.

This module holds the public names, looked up on first use; importing it imports no framework and
not even NumPy. Nothing is implemented here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC: dict[str, str] = {
    "TriptychError": "triptych.errors",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'triptych' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
