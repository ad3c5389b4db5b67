"""The bytes of ``.mat`` files of version 5 and 7 (which is 5 with compressed variables), read.

Source: MathWorks, *MAT-File Format*, chapter 1. Nothing is allocated by what a header announces:
every size is compared with the bytes that are there. Writing is scipy's, in ``files.py``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from triptych.port.matlab.limits import MOST, BrokenError, Budget

_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
    16: "u1", 17: "u2", 18: "u4",
}  # fmt: skip
"""Data types of elements; 16 to 18 are text in UTF-8, 16 and 32."""
_TEXT = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_REFUSED = {3: "an object", 5: "a sparse array", 16: "a function handle", 17: "an object"}
_OBJECT = "export_network.m writes it as plain structs"


@dataclass(frozen=True)
class _Element:
    kind: int
    data: memoryview
    end: int


def read(path: Path) -> dict[str, Any]:
    """Return the variables of a file; raises BrokenError."""
    whole = memoryview(path.read_bytes())
    order = "<" if bytes(whole[126:128]) == b"IM" else ">"
    reader = _Reader(order)
    variables: dict[str, Any] = {}
    at = 128
    while at < len(whole):
        element = reader.element(whole, at, padded=False)
        at = element.end
        if element.kind == _COMPRESSED:
            element = reader.element(_inflated(element.data, reader.budget), 0)
        if element.kind != _MATRIX:
            raise BrokenError(f"a variable is of the unknown type {element.kind}")
        name, value = reader.matrix(element.data, 0)
        if name:  # the workspace of objects has no name
            variables[name] = value
    return variables


def _inflated(data: memoryview, budget: Budget) -> memoryview:
    engine = zlib.decompressobj()
    try:
        found = engine.decompress(data, MOST - budget.bytes + 1)
    except zlib.error as error:
        raise BrokenError(f"a compressed variable is broken: {error}") from None
    if len(found) > MOST - budget.bytes:
        raise BrokenError(f"it holds more than the {MOST:,} bytes that are read")
    if not engine.eof:
        raise BrokenError("it is truncated: a compressed variable ends before its time")
    return memoryview(found)


class _Reader:
    """Reads elements in one byte order."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.budget = Budget()

    def element(self, data: memoryview, at: int, padded: bool = True) -> _Element:
        """Return the element at a place: its type, its bytes and where the next begins."""
        if len(data) - at < 8:
            raise BrokenError("it is truncated: an element's tag is not whole")
        kind, size = (int(n) for n in np.frombuffer(data[at : at + 8], f"{self.order}u4"))
        if kind >> 16:  # four bytes or less stand in the tag itself
            if kind >> 16 > 4:
                raise BrokenError("an element of its tag's own size is too long")
            return _Element(kind & 0xFFFF, data[at + 4 : at + 4 + (kind >> 16)], at + 8)
        start, end = at + 8, at + 8 + size
        if end > len(data):
            raise BrokenError(
                f"it is truncated: an element announces {size:,} bytes where {len(data) - start:,} "
                "are left"
            )
        return _Element(kind, data[start:end], end + (-size % 8 if padded else 0))

    def matrix(self, data: memoryview, depth: int) -> tuple[str, Any]:
        """Return the name and the value of an array."""
        self.budget.take(len(data), depth)
        if not len(data):
            return "", np.zeros((0, 0))
        flags = self.element(data, 0)
        kind, marks = self._flags(flags)
        if kind == 17:
            return self._opaque(data, flags.end)
        dims = self.element(data, flags.end)
        name = self.element(data, dims.end)
        shape = tuple(int(n) for n in self.numbers(dims))
        title = bytes(name.data).decode("ascii", "replace")
        if len(shape) < 2 or min(shape) < 0:
            raise BrokenError(f"{title or 'an array'} has the sizes {shape}")
        if kind in _REFUSED:
            raise BrokenError(
                f"{title or 'an entry'} is {_REFUSED[kind]}, which is code; {_OBJECT}"
            )
        if marks & 8:
            raise BrokenError(f"{title or 'an entry'} is complex; networks here are real")
        return title, self._value(kind, bool(marks & 2), shape, data, name.end, depth)

    def _flags(self, flags: _Element) -> tuple[int, int]:
        if flags.kind != 6 or len(flags.data) != 8:
            raise BrokenError("an array does not begin with its flags")
        word = int(np.frombuffer(flags.data[:4], f"{self.order}u4")[0])
        return word & 0xFF, word >> 8 & 0xFF

    def _opaque(self, data: memoryview, at: int) -> tuple[str, Any]:
        name = bytes(self.element(data, at).data).decode("ascii", "replace")
        raise BrokenError(f"{name or 'an entry'} is an object, which is code; {_OBJECT}")

    def _value(
        self,
        kind: int,
        logical: bool,
        shape: tuple[int, ...],
        data: memoryview,
        at: int,
        depth: int,
    ) -> Any:
        if kind == 1:
            return self._cell(prod(shape), data, at, depth)
        if kind == 2:
            return self._struct(prod(shape), data, at, depth)
        part = self.element(data, at)
        if kind == 4:
            return self._text(part, shape)
        if kind not in _CLASSES:
            raise BrokenError(f"an array is of the unknown class {kind}")
        array = _shaped(self.numbers(part), shape)
        self.budget.take(array.size * 8, depth)  # one stored byte may become eight
        return array.astype(bool) if logical else array.astype(_CLASSES[kind])

    def numbers(self, element: _Element) -> np.ndarray:
        """Return an element's numbers as they are stored; small types hold larger ones' values."""
        if element.kind not in _NUMBERS:
            raise BrokenError(f"an array's numbers are of the unknown type {element.kind}")
        kind = np.dtype(self.order + _NUMBERS[element.kind])
        if len(element.data) % kind.itemsize:
            raise BrokenError("an array's bytes are no whole number of entries")
        return np.frombuffer(element.data, kind)

    def _text(self, element: _Element, shape: tuple[int, ...]) -> Any:
        if element.kind in _TEXT:
            suffix = "" if element.kind == 16 else ("-le" if self.order == "<" else "-be")
            # Octave cuts UTF-8 in the middle of a letter; such a text is read as far as it can be.
            letters = bytes(element.data).decode(_TEXT[element.kind] + suffix, "replace")
        else:
            letters = "".join(chr(int(n)) for n in self.numbers(element))
        return rows_of(letters, shape)

    def _cell(self, count: int, data: memoryview, at: int, depth: int) -> list[Any]:
        if count * 8 > len(data) - at:  # every entry has a tag of eight bytes
            raise BrokenError(f"it is truncated: a cell announces {count:,} entries")
        entries = []
        for _ in range(count):
            value, at = self._entry(data, at, depth)
            entries.append(value)
        return entries

    def _entry(self, data: memoryview, at: int, depth: int) -> tuple[Any, int]:
        element = self.element(data, at)
        if element.kind != _MATRIX:
            raise BrokenError("an entry of a cell or struct is no array")
        return self.matrix(element.data, depth + 1)[1], element.end

    def _struct(self, count: int, data: memoryview, at: int, depth: int) -> Any:
        width = self.element(data, at)
        names = self.element(data, width.end)
        (length,) = self.numbers(width) if len(width.data) == 4 else (0,)
        if not len(names.data):
            return {} if count == 1 else []
        if length < 1 or len(names.data) % int(length):
            raise BrokenError("a struct's field names are broken")
        text = bytes(names.data)
        fields = [
            text[i : i + int(length)].split(b"\0")[0].decode("ascii", "replace")
            for i in range(0, len(text), int(length))
        ]
        flat = self._cell(count * len(fields), data, names.end, depth)
        found = [
            dict(zip(fields, flat[i : i + len(fields)], strict=True))
            for i in range(0, len(flat), len(fields))
        ]
        return found[0] if count == 1 else found


def _shaped(numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if numbers.size != prod(shape):
        raise BrokenError(
            f"it is truncated: an array of sizes {shape} holds {numbers.size:,} numbers"
        )
    return numbers.reshape(shape, order="F")


def rows_of(letters: str, shape: tuple[int, ...]) -> Any:
    """Return the text of a character array in MATLAB's order: one row, or a list of rows."""
    if not letters:
        return ""
    if len(shape) != 2 or prod(shape) != len(letters):
        if shape[0] != 1:
            raise BrokenError(f"a text of sizes {shape} has {len(letters)} letters")
        return letters
    rows = ["".join(letters[i :: shape[0]]) for i in range(shape[0])]
    return rows[0] if shape[0] == 1 else rows
