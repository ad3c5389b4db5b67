"""Rung 1: params of the right side that are not the ones given: rounded, turned, scaled, zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from triptych.backends.protocol import Params
from triptych.parity.diagnosis.cause import Cause, cause, unknown
from triptych.parity.diagnosis.guess import VANISHED
from triptych.parity.diagnosis.windows import kernel_readings
from triptych.parity.measures import relative
from triptych.parity.record import Record

Array = np.ndarray
Change = tuple[str, str, Callable[[Array], Array]]
"""Factor, words, and what the right does to the array."""


def examine(given: Params, sides: tuple[Record, Record]) -> list[Cause]:
    """Return a cause for each array of the right side that is not as given.

    Args:
        given: the subject's params, float64.
        sides: the records.
    """
    found = []
    for name, array in given.items():
        start, there = array.astype(sides[1].dtype), sides[1].params.get(name)
        if there is None or start.tobytes() == there.tobytes():
            continue
        found.append(_explain(name, start, there, (sides[0].name, sides[1].name)))
    return found


def _explain(name: str, start: Array, there: Array, sides: tuple[str, str]) -> Cause:
    before = relative(start, there)
    for factor, words, change in (
        *_roundings(),
        *_readings(name, start),
        *_sizes(name, start, there),
    ):
        try:
            after = relative(there, np.asarray(change(start)))
        except ValueError:
            continue
        if after <= min(VANISHED, before / 2):
            return cause(factor, name, sides, ("as given", words), 1, (before, after))
    return unknown(name, "-".join(sides), 1, before, "roundings, layouts and scales")


def _roundings() -> Iterator[Change]:
    for kind in ("float32", "float16"):
        yield "dtype", f"through {kind}", lambda a, k=kind: a.astype(k).astype(a.dtype)  # type: ignore[misc]
    yield "dtype", "through bfloat16", _bfloat16


def _bfloat16(array: Array) -> Array:
    """float32 with the last 16 bits rounded off, to even."""
    bits = array.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32).astype(array.dtype)


def _readings(name: str, start: Array) -> Iterator[Change]:
    """The layouts in which an array of the same shape can be misread."""
    if start.ndim == 4:
        factor = "transposed-conv-kernel" if "transpose" in name else "conv-kernel-layout"
        for words, change in kernel_readings():
            yield factor, words, change
    if start.ndim == 2:
        factor = "gate-order" if "recurrent" in name else "dense-kernel-layout"
        yield factor, "transposed", np.transpose
        yield factor, "numbers in the order out, in", lambda a: a.T.reshape(a.shape)
        yield factor, "numbers taken from the order out, in", lambda a: a.reshape(a.shape[::-1]).T
        yield "flatten-order", "rows in another order", lambda a: a


def _sizes(name: str, start: Array, there: Array) -> Iterator[Change]:
    """Zero, or the same numbers at another scale."""
    factor = "initial-scale" if start.ndim > 1 else "bias-initialiser"
    yield factor, "zeros", np.zeros_like
    if "forget" in name:
        yield "forget-bias", "1 added", lambda a: a + 1.0
    square = float(np.vdot(start, start))
    scale = float(np.vdot(start, there)) / square if square and start.shape == there.shape else 1.0
    yield "initial-scale", f"{scale:.3g} times as large", lambda a: scale * a
