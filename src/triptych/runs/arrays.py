"""Named arrays as a safetensors file (https://github.com/huggingface/safetensors#format).

Written here rather than through the library because the library writes the wrong numbers for an
array that is not contiguous, and reports a full disk as a text; read through the library, which
checks the format. What the names mean does not belong here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from triptych.errors import CheckpointError

_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "uint64": "U64",
    "int32": "I32",
    "uint32": "U32",
    "int16": "I16",
    "uint16": "U16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_RESERVED = "__metadata__"


class Writer(Protocol):
    """What takes bytes: a binary file, or what hashes on the way to one."""

    def write(self, data: bytes | memoryview, /) -> Any:
        """Take all of the data."""


def write(handle: Writer, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of any shape, contiguous or not, as one safetensors file.

    The file is a function of the names, their order and the values alone.

    Raises:
        CheckpointError: an array's type or name has no place in the format.
        OSError: the disk failed.
    """
    header: dict[str, dict] = {name: _describe(name, array) for name, array in arrays.items()}
    # Wide types first, so that every array lies at a multiple of its item's size.
    in_file = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)
    end = 0
    for name in in_file:
        start, end = end, end + arrays[name].nbytes
        header[name]["data_offsets"] = [start, end]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    handle.write(struct.pack("<Q", len(text)) + text)
    for name in in_file:
        handle.write(_little_endian_bytes(arrays[name]))


def _describe(name: str, array: np.ndarray) -> dict:
    if array.dtype.name not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise CheckpointError(f"array {name!r} is of type {array.dtype}; expected one of {known}")
    if name == _RESERVED:
        raise CheckpointError(f"no array can be named {_RESERVED!r}; choose another name")
    return {"dtype": _DTYPES[array.dtype.name], "shape": list(array.shape)}


def _little_endian_bytes(array: np.ndarray) -> memoryview:
    ordered = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    return ordered.reshape(-1).view(np.uint8).data


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file, writable, in the order in which they were given.

    Raises:
        CheckpointError: the file is missing, truncated or not a safetensors file.
    """
    try:
        arrays = load_file(path)
        return {name: arrays[name] for name in _names(path)}
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error


def _names(path: Path) -> list[str]:
    with open(path, "rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        return [name for name in json.loads(handle.read(length)) if name != _RESERVED]
