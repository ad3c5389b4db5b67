"""How much room a replay memory takes, and frames that lie on a disk.

What the frames mean is in ``replay``; whether there is so much room is asked in ``engines``.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.errors import StorageError

REST = 15
"""Bytes of a transition beside its frame: action, reward, depth, terminated, ended."""


def disk_frames(shape: tuple[int, ...], dtype: np.dtype[Any], folder: Path) -> NDArray[Any]:
    """Return an array of zeros in a file of ``folder`` that has no name and ends with the process.

    The whole file is reserved at once: a disk that got full later would kill the process.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    try:
        with tempfile.TemporaryFile(dir=folder) as handle:
            os.posix_fallocate(handle.fileno(), 0, size)
            return np.memmap(handle, dtype=dtype, mode="r+", shape=shape)
    except OSError as error:
        raise StorageError(
            f"cannot keep {size / 1e9:,.1f} GB of frames in {folder}: "
            f"{error.strerror or error}; free some space or lower algorithm.replay"
        ) from error
