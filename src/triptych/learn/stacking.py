"""Putting frames side by side as channels, fast. Which frames, does not belong here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numpy.typing import NDArray

_MERGED = ("uint8", "uint16", "int16", "int32", "float32", "float64")


def interleave(
    planes: NDArray[Any], channels: int, out: NDArray[Any], use_cv2: bool = True
) -> None:
    """Put planes of (stack, batch, ...) into ``out`` of (batch, ..., stack * channels).

    Writing every stack-th byte is what NumPy is slow at; OpenCV, which comes with the extra
    ``atari``, does it at the speed of memory. Both give the same.

    Args:
        planes: the frames of each group of channels, the oldest group first; any shape that ends
            in ``channels``.
        channels: of one frame.
        out: contiguous, of the planes' type.
        use_cv2: whether OpenCV may be used where it can be.
    """
    stack, batch = planes.shape[:2]
    flat = planes.reshape(stack, batch, -1, channels)
    made = out.reshape(batch, -1, stack * channels)
    merge = _merge() if use_cv2 and channels == 1 and planes.dtype.name in _MERGED else None
    if merge is not None and stack > 1 and made.size:
        merge([plane[..., 0] for plane in flat], made)
        return
    for group in range(stack):
        made[..., group * channels : (group + 1) * channels] = flat[group]


@cache
def _merge() -> Callable[..., Any] | None:
    try:
        import cv2
    except ImportError:
        return None
    return cv2.merge
