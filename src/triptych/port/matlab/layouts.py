"""Where each canonical array lives in the plain structs, and the order of its axes there: MATLAB's.

MATLAB keeps dense weights as (out, in), convolutions as (height, width, in / groups, out),
transposed ones as (height, width, out, in) and a recurrent layer's gates stacked as rows: an LSTM's
i, f, g, o and a GRU's r, z, n.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from triptych.backends.layout import Home, Homes, gates, join
from triptych.spec.layers import Shape

_BIAS = Home("bias")
_SIDES = {
    "kernel": ("input_weights", (1, 0)),
    "recurrent_kernel": ("recurrent_weights", (1, 0)),
    "bias": ("bias", ()),
    "recurrent_bias": ("recurrent_bias", ()),
}


def _gated(*names: str) -> dict[str, Home]:
    return {
        local: home
        for what, (attribute, axes) in _SIDES.items()
        for local, home in gates(names, what, attribute, axes).items()
    }


HOMES: Homes = {
    "conv": {"kernel": Home("weights"), "bias": _BIAS},
    "conv_transpose": {"kernel": Home("weights", (0, 1, 3, 2)), "bias": _BIAS},
    "dense": {"kernel": Home("weights", (1, 0)), "bias": _BIAS},
    "embedding": {"kernel": Home("weights", (1, 0))},
    "batch_norm": {name: Home(name) for name in ("scale", "offset", "mean", "variance")},
    "layer_norm": {name: Home(name) for name in ("scale", "offset")},
    "elman": {what: Home(attribute, axes) for what, (attribute, axes) in _SIDES.items()},
    "lstm": _gated("input", "forget", "cell", "output"),
    "gru": _gated("reset", "update", "candidate") | {"candidate_bias": Home("candidate_bias")},
}


def native_shape(home: Home, shape: Shape) -> Shape:
    """Return the shape of the native array that holds a canonical array of this shape."""
    turned = tuple(shape[axis] for axis in home.axes) if home.axes else shape
    if home.part is None:
        return turned
    return (turned[0] * home.part[1], *turned[1:])


def to_native(kind: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a layer's native arrays from its canonical ones by local name."""
    pieces: dict[str, list[tuple[Home, np.ndarray]]] = {}
    shapes: dict[str, Shape] = {}
    for local, array in arrays.items():
        home = HOMES[kind][local]
        pieces.setdefault(home.attribute, []).append((home, home.to_native(array)))
        shapes[home.attribute] = native_shape(home, array.shape)
    return {
        attribute: join(shapes[attribute], own[0][1].dtype, own)
        for attribute, own in pieces.items()
    }


def to_canonical(home: Home, native: np.ndarray, shape: Shape) -> np.ndarray:
    """Return a canonical array of a shape from a native one that has as many numbers.

    MATLAB keeps vectors as columns and drops last axes of size 1, so that only the numbers' order,
    the first axis fastest, counts.
    """
    whole = native.reshape(native_shape(home, shape), order="F")
    return np.ascontiguousarray(home.to_canonical(home.piece(whole)))
