"""``.mat`` files as plain data, and back: which version one is, and what is refused.

Structs are dicts (arrays of structs lists of dicts), cells are flat lists in MATLAB's order, text
is ``str`` (several rows a list), all else is an array as MATLAB has it, with two axes at least.
Objects, function handles, sparse and complex arrays are refused by name: they need MATLAB's code,
or are no part of a network. The bytes of versions 5 and 7 are read in ``version5.py``, those of 7.3
in ``version73.py``; what the data mean is in ``structs.py``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from triptych.errors import PortError, in_one_line
from triptych.port.matlab import version5, version73
from triptych.port.matlab.limits import MOST, BrokenError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_V5_MOST = 2**31 - 2**20
"""Bytes of one variable in versions 5 and 7, with room for tags."""
_EXPORT = "in MATLAB save it with save(file, ..., '-v7'), or write it with export_network.m"


def read(path: Path) -> dict[str, Any]:
    """Return a file's variables by name.

    Raises:
        PortError: it is no ``.mat`` file of version 5, 7 or 7.3, is truncated, announces more than
            it holds or more than is read, or holds what is no plain data.
    """
    try:
        size = path.stat().st_size
        if size > MOST:
            raise PortError(f"{path} has {size:,} bytes; at most {MOST:,} are read")
        with open(path, "rb") as handle:
            head = handle.read(520)
    except OSError as error:
        raise PortError(f"{path} can't be read: {error.strerror}") from None
    try:
        if _HDF5 in (head[:8], head[512:520]):
            return version73.read(path)
        if head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
            return version5.read(path)
    except BrokenError as error:
        raise PortError(f"{path}: {error}") from None
    except (ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise PortError(f"{path} is a broken .mat file: {in_one_line(error)}") from None
    raise PortError(f"{path} is no .mat file of version 5, 7 or 7.3; {_EXPORT}")


def write(path: Path, values: Mapping[str, Any], version: str = "7") -> None:
    """Write variables: dicts, lists, text, numbers and arrays.

    ``version`` is ``5`` (not compressed), ``7`` or ``7.3``. Vectors become columns. A file that
    could not be written whole is not left behind.

    Raises:
        PortError: a variable is too large for versions 5 and 7, or of a type MATLAB does not have.
        OSError: the place cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        if version == "7.3":
            version73.write(unfinished, values)
        else:
            _write_5(unfinished, values, version == "7")
        os.replace(unfinished, path)
    except BrokenError as error:
        raise PortError(f"{path.name}: {error}") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _write_5(path: Path, values: Mapping[str, Any], compressed: bool) -> None:
    import scipy.io

    for name, value in values.items():
        if (size := _bytes(value)) > _V5_MOST:
            raise PortError(
                f"{path.name}: {name} has {size:,} bytes, and a variable of a .mat file of version "
                f"7 at most {_V5_MOST:,}"
            )
    scipy.io.savemat(
        path,
        {name: _matlab(value) for name, value in values.items()},
        appendmat=False,
        format="5",
        long_field_names=True,
        do_compression=compressed,
        oned_as="column",
    )


def _bytes(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_bytes, value))
    return int(np.asarray(value).nbytes)


def _matlab(value: Any) -> Any:
    """A value as scipy takes it: lists become cells."""
    if isinstance(value, Mapping):
        return {key: _matlab(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        cell = np.empty((1, len(value)), dtype=object)
        for place, item in enumerate(value):
            cell[0, place] = _matlab(item)
        return cell
    return value
