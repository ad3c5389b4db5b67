"""What the readers of users' models share: leaves, places of arrays, names of what lies between.

Plain NumPy on the host. Which native layer is which kind is in each backend's ``native.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import erf, sqrt
from typing import Any

import numpy as np

Shape = tuple[int, ...]
_CLOSE = 1e-5
"""Float32 rounding of an activation of moderate numbers stays below this."""


@dataclass(frozen=True)
class Place:
    """Where a canonical array lives natively.

    Attributes:
        handle: what the backend finds the native array by.
        axes: ``axes[i]`` is the canonical axis that is the native axis i; empty keeps the order.
        flip: whether the native array stands upside down on its first two axes.
        part: (native axis, which block, of how many): a gate's block of a larger array; None for
            the whole.
        row: the native array's first index, before anything else; None for all of it.
    """

    handle: Any
    axes: tuple[int, ...] = ()
    flip: bool = False
    part: tuple[int, int, int] | None = None
    row: int | None = None

    def to_canonical(self, whole: np.ndarray) -> np.ndarray:
        """Native to canonical."""
        array = whole if self.row is None else whole[self.row]
        array = array[self._block(array)] if self.part else array
        array = array[::-1, ::-1] if self.flip else array
        if self.axes:
            array = np.transpose(array, [self.axes.index(axis) for axis in range(len(self.axes))])
        return np.array(array, order="C")

    def to_native(self, array: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """Canonical to native, put into the native array that is there."""
        array = np.transpose(array, self.axes) if self.axes else array
        array = array[::-1, ::-1] if self.flip else array
        if self.part is None and self.row is None:
            return np.array(array, order="C")
        changed = whole.copy()
        inner = changed if self.row is None else changed[self.row]
        inner[self._block(inner) if self.part else ...] = array
        return changed

    def _block(self, whole: np.ndarray) -> tuple[slice, ...]:
        axis, block, count = self.part or (0, 0, 1)
        size = whole.shape[axis] // count
        return (*(slice(None),) * axis, slice(block * size, (block + 1) * size))


@dataclass
class Leaf:
    """One main layer of a user's model, before it has a name.

    Attributes:
        kind: the spec's word; ``unknown`` for others.
        path: where it stands in the user's own model.
        layer: the native object.
        options: from the canonical shapes of input and output, without the batch, to constants.
        places: local name to where the array lives.
        trainable: the local names that learn.
        channels_first: whether its images are (batch, channels, ...).
        sequence_first: whether its sequences are (time, batch, features).
    """

    kind: str
    path: str
    layer: Any
    options: Callable[[Shape, Shape], Mapping[str, Any]] = lambda before, after: {}
    places: dict[str, Place] = field(default_factory=dict)
    trainable: tuple[str, ...] = ()
    channels_first: bool = False
    sequence_first: bool = False

    def canonical(self, array: np.ndarray) -> np.ndarray:
        """One of its inputs or outputs with the batch first and channels last."""
        if self.sequence_first and array.ndim == 3:
            return np.moveaxis(array, 0, 1)
        return last(array) if self.channels_first else array

    def native(self, array: np.ndarray) -> np.ndarray:
        """The way back."""
        if self.sequence_first and array.ndim == 3:
            return np.moveaxis(array, 1, 0)
        return first(array) if self.channels_first else array


RECURRENT = ("elman", "lstm", "gru")
"""Kinds that return more than one array, and pass their own activations."""


def last(array: np.ndarray) -> np.ndarray:
    """(batch, channels, ...) -> (batch, ..., channels), from three axes on."""
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array


def first(array: np.ndarray) -> np.ndarray:
    """(batch, ..., channels) -> (batch, channels, ...), from three axes on."""
    return np.moveaxis(array, -1, 1) if array.ndim > 2 else array


def ramp(shape: Shape) -> np.ndarray:
    """Different numbers above zero, rising in the order of the canonical axes.

    Every usual activation rises there, so that the order of the values survives it.
    """
    size = int(np.prod(shape))
    return ((np.arange(size) + 1.0) / (size + 1.0) * 0.8 + 0.1).reshape(shape)


def flatten_order(image: np.ndarray, flat: np.ndarray) -> str | None:
    """Return the order of axes by which an image (..., channels) became a row, by ranks.

    None where it is neither, or where the sizes differ.
    """
    if image.ndim < 2 or flat.ndim != 1 or flat.size != image.size:
        return None
    ranks = np.argsort(flat, kind="stable")
    for order in orders(image.ndim):
        if np.array_equal(ranks, np.argsort(flatten(image, order), kind="stable")):
            return order
    return None


def orders(axes: int) -> tuple[str, str]:
    """Return the two usual orders' names for an image with so many axes, channels among them."""
    space = {2: ["length"], 3: ["height", "width"]}.get(
        axes, [f"axis {place}" for place in range(1, axes)]
    )
    return ", ".join([*space, "channels"]), ", ".join(["channels", *space])


def flatten(image: np.ndarray, order: str) -> np.ndarray:
    """(..., channels) -> (size,) in a named order."""
    return (np.moveaxis(image, -1, 0) if order.startswith("channels") else image).reshape(-1)


def alike(left: np.ndarray, right: np.ndarray) -> float:
    """Return the correlation of two arrays' numbers in order; 0 where sizes differ."""
    a, b = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    if a.size != b.size or not a.std() or not b.std():
        return 0.0
    return abs(float(np.corrcoef(a, b)[0, 1]))


GRID = np.concatenate([np.linspace(-4.0, 4.0, 33), [-9.0, 7.0, 9.0]])
"""Where an activation is looked at to name it; it holds -1 and 1."""

_ERF = np.vectorize(erf)
_SELU = (1.6732632423543772, 1.0507009873554805)


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + np.tanh(sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


_PLAIN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
    "selu": lambda x: _SELU[1] * _elu(x, _SELU[0]),
    "gelu": lambda x: 0.5 * x * (1.0 + _ERF(x * sqrt(0.5))),
    "gelu approximate": _gelu_tanh,
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
}


def activation_name(values: np.ndarray) -> str:
    """Return the name of the function that has these values on :data:`GRID`, with its constant.

    Formulas are those of ``spec/layers/activation.py``; ``unknown`` for any other.
    """
    for name, function in _PLAIN.items():
        if _equal(values, function(GRID)):
            return name
    at = dict(zip(GRID.tolist(), values.tolist(), strict=True))
    slope, alpha, hard = -at[-1.0], at[-1.0] / np.expm1(-1.0), at[1.0] - at[0.0]
    families = {
        f"leaky_relu slope {_short(slope)}": np.where(GRID > 0.0, GRID, slope * GRID),
        f"elu alpha {_short(alpha)}": _elu(GRID, alpha),
        f"hard_sigmoid slope {_short(hard)}": np.clip(hard * GRID + 0.5, 0.0, 1.0),
    }
    return next((name for name, own in families.items() if _equal(values, own)), "unknown")


def _equal(left: np.ndarray, right: np.ndarray) -> bool:
    return bool(np.allclose(left, right, rtol=_CLOSE, atol=_CLOSE))


def _short(number: float) -> float:
    """A constant to five digits, all that float32 tells."""
    return float(f"{number:.5g}")


def softmax_name(before: np.ndarray, after: np.ndarray) -> str | None:
    """Return ``softmax`` or ``log_softmax`` where rows (n, k) show it, else None."""
    if before.shape != after.shape or before.ndim != 2 or before.shape[1] < 2:
        return None
    rows = before.astype(np.float64)
    logs = rows - rows.max(axis=1, keepdims=True)
    logs = logs - np.log(np.exp(logs).sum(axis=1, keepdims=True))
    found = {"softmax": np.exp(logs), "log_softmax": logs}
    return next((name for name, own in found.items() if _equal(after, own)), None)
