"""``.mat`` files of version 7.3: HDF5 with MATLAB's conventions, read and written by h5py.

Arrays are stored with their axes reversed; cells and struct arrays hold references into ``#refs#``;
``MATLAB_class`` says what an entry is and ``MATLAB_empty`` that it holds sizes only. Links that
lead out of the file, data kept in other files and filters that load code are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from triptych.errors import in_one_line, missing
from triptych.port.matlab.limits import BrokenError, Budget

_NUMBERS = {
    "double": "f8", "single": "f4", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
    "int32": "i4", "uint32": "u4", "int64": "i8", "uint64": "u8",
}  # fmt: skip
_CLASSES = {np.dtype(kind): name for name, kind in _NUMBERS.items()}
_FILTERS = {1, 2, 3}
"""gzip, shuffle and Fletcher's checksum, which HDF5 brings along."""
_DENSEST = 1100
"""gzip packs at most 1,032 bytes into one."""
_HEAD = b"MATLAB 7.3 MAT-file, Platform: Triptych, HDF5 schema 1.00 ."


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise missing("h5py", "port", "a .mat file of version 7.3") from None
    return h5py


def read(path: Path) -> dict[str, Any]:
    """Return the variables of a file; raises BrokenError."""
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            return _Reader(h5py, file).group(file, 0)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise BrokenError(f"it is no readable HDF5 file: {in_one_line(error)}") from None


class _Reader:
    def __init__(self, h5py: Any, file: Any) -> None:
        self.h5py = h5py
        self.file = file
        self.budget = Budget()

    def group(self, group: Any, depth: int) -> dict[str, Any]:
        """Return the entries of a group: of the file, or of a struct."""
        found = {}
        for name in group:
            if name in ("#refs#", "#subsystem#"):
                continue
            if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                raise BrokenError(f"{name} is a link that may lead out of the file")
            found[name] = self.entry(group[name], name, depth)
        return found

    def entry(self, item: Any, name: str, depth: int) -> Any:
        """Return a variable, a field or an entry of a cell."""
        if "OCTAVE_NEW_FORMAT" in item.attrs:
            raise BrokenError("it is of Octave's own HDF5 form; save it with save('-v7', ...)")
        kind = item.attrs.get("MATLAB_class", b"")
        kind = kind.decode() if isinstance(kind, bytes) else str(kind)
        if isinstance(item, self.h5py.Group):
            self.budget.take(0, depth)
            if kind != "struct" or "MATLAB_sparse" in item.attrs:
                raise BrokenError(f"{name} is {_thing(kind or 'an unknown thing', item)}")
            return _transposed(self.group(item, depth + 1))
        if not isinstance(item, self.h5py.Dataset):
            raise BrokenError(f"{name} is neither an array nor a struct")
        self._check(item, name, depth)
        if item.attrs.get("MATLAB_empty"):
            return _empty(kind, item[()])
        if item.dtype == self.h5py.ref_dtype:
            entries = self._entries(item, name, depth)
            return entries if kind == "cell" else _Fields(entries)
        return self._array(item, kind, name)

    def _check(self, item: Any, name: str, depth: int) -> None:
        """Its data must be in this file, all of it, and unpacked without foreign code."""
        if item.external or item.is_virtual:
            raise BrokenError(f"{name} keeps its numbers in another file")
        self.budget.take(int(item.size or 0) * item.dtype.itemsize, depth)
        plist = item.id.get_create_plist()
        filters = {plist.get_filter(place)[0] for place in range(plist.get_nfilters())}
        if not filters <= _FILTERS:
            raise BrokenError(f"{name} is packed by an unknown filter ({max(filters)})")
        announced = int(item.size or 0) * item.dtype.itemsize
        held = item.id.get_storage_size()
        if announced > (_DENSEST * held if filters else held):
            raise BrokenError(
                f"{name} announces {announced:,} bytes, but the file holds {held:,} for it"
            )

    def _entries(self, item: Any, name: str, depth: int) -> list[Any]:
        references = item[()].T.ravel(order="F")
        if not all(references):
            raise BrokenError(f"{name} has an entry that refers to nothing")
        return [self.entry(self.file[one], name, depth + 1) for one in references]

    def _array(self, item: Any, kind: str, name: str) -> Any:
        if kind not in (*_NUMBERS, "char", "logical"):
            raise BrokenError(f"{name} is {_thing(kind or 'of no MATLAB class', item)}")
        if item.dtype.kind not in "iuf":
            raise BrokenError(f"{name} is complex or no array of numbers; networks here are real")
        array = np.asarray(item[()]).T
        array = array if array.ndim > 1 else array.reshape(-1, 1)
        if kind == "char":
            letters = [chr(int(n)) for n in array.ravel(order="F")]
            rows = ["".join(letters[i :: array.shape[0]]) for i in range(array.shape[0])]
            return rows[0] if len(rows) == 1 else rows
        return array.astype(bool if kind == "logical" else _NUMBERS[kind])


class _Fields(list[Any]):
    """One field of every struct of a struct array."""


def _transposed(fields: dict[str, Any]) -> Any:
    """A struct array is kept field by field; return it struct by struct."""
    columns = list(fields.values())
    if not columns or not all(isinstance(column, _Fields) for column in columns):
        return fields
    if len({len(column) for column in columns}) > 1:
        raise BrokenError("the fields of a struct array are of different lengths")
    return [dict(zip(fields, row, strict=True)) for row in zip(*columns, strict=True)]


def _empty(kind: str, sizes: Any) -> Any:
    shape = tuple(int(n) for n in np.ravel(sizes))
    if kind == "cell":
        return []
    if kind == "char":
        return ""
    if kind == "struct":
        return {} if all(shape) else []
    if kind not in (*_NUMBERS, "logical") or all(shape) or len(shape) > 32 or min(shape) < 0:
        raise BrokenError(f"an empty {kind or 'array'} announces the sizes {shape}")
    return np.zeros(shape, bool if kind == "logical" else _NUMBERS[kind])


def _thing(kind: str, item: Any) -> str:
    if "MATLAB_sparse" in item.attrs:
        return "a sparse array; write full(...) of it"
    if kind == "function_handle":
        return "a function handle, which is code"
    return f"{kind}, no plain data; export_network.m writes objects as plain structs"


# --- writing ---------------------------------------------------------------------------------


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Write variables as MATLAB does; lists become cells."""
    h5py = _h5py()
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in values.items():
            _put(h5py, file, name, value)
    with open(path, "r+b") as handle:
        handle.write(_HEAD.ljust(116) + b"\0" * 8 + b"\x00\x02IM")


def _put(h5py: Any, parent: Any, name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        item = parent.create_group(name)
        item.attrs["MATLAB_class"] = np.bytes_("struct")
        for field, inner in value.items():
            _put(h5py, item, field, inner)
        return item
    if isinstance(value, (list, tuple)):
        return _put_cell(h5py, parent, name, list(value))
    if isinstance(value, str):
        letters = np.frombuffer(value.encode("utf-16-le"), "<u2").reshape(1, -1)
        return _put_array(parent, name, letters, "char", letters.size == 0)
    array = np.asarray(value)
    array = array if array.ndim > 1 else array.reshape(-1, 1)
    if array.dtype == bool:
        return _put_array(parent, name, array.astype("u1"), "logical", array.size == 0)
    if array.dtype not in _CLASSES:
        raise BrokenError(f"{name}: MATLAB has no arrays of {array.dtype}")
    return _put_array(parent, name, array, _CLASSES[array.dtype], array.size == 0)


def _put_array(parent: Any, name: str, array: np.ndarray, kind: str, empty: bool) -> Any:
    item = parent.create_dataset(
        name, data=np.array(array.shape, "u8") if empty else np.ascontiguousarray(array.T)
    )
    item.attrs["MATLAB_class"] = np.bytes_(kind)
    if kind in ("char", "logical"):
        item.attrs["MATLAB_int_decode"] = np.int32(2 if kind == "char" else 1)
    if empty:
        item.attrs["MATLAB_empty"] = np.uint8(1)
    return item


def _put_cell(h5py: Any, parent: Any, name: str, values: list[Any]) -> Any:
    if not values:
        item = parent.create_dataset(name, data=np.array([1, 0], "u8"))
        item.attrs["MATLAB_empty"] = np.uint8(1)
    else:
        refs = parent.file.require_group("#refs#")
        stem = f"{parent.name}/{name}".replace("/", ".")
        made = [_put(h5py, refs, f"{stem}.{i}", value).ref for i, value in enumerate(values)]
        item = parent.create_dataset(name, (len(made), 1), h5py.ref_dtype)
        item[:, 0] = made
    item.attrs["MATLAB_class"] = np.bytes_("cell")
    return item
