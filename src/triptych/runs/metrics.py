"""The curves of a run as a CSV table: one row for each logging interval.

A table is a function of what is appended: no clock goes in, and floats are written with ``repr``,
the shortest text that reads back to the same bits; so two runs of one seed have equal files. Wall
time has a table of its own (``timing.csv``). Which columns there are does not belong here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from triptych.errors import RunError
from triptych.runs import files

_COLUMN = re.compile(r"[A-Za-z_][\w./-]*")


class MetricsLog:
    """Appends rows of numbers to a CSV file; each row is in the system's hands on return.

    Make one with :meth:`create` for a new table or :meth:`open` to go on with one.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], rows: int) -> None:
        self.path = path
        self.columns = columns
        self.rows = rows
        self._handle = files.open_append(path)

    @classmethod
    def create(cls, path: Path, columns: Sequence[str]) -> MetricsLog:
        """Start a table with these columns; a file that stands at ``path`` is replaced.

        Raises:
            RunError: a column's name is not a word, or stands there twice.
            StorageError: the file cannot be written.
        """
        if len(set(columns)) != len(columns) or not all(map(_COLUMN.fullmatch, columns)):
            raise RunError(f"columns must be different words, but are {list(columns)}")
        files.write_bytes(path, _line(columns))
        return cls(path, tuple(columns), rows=0)

    @classmethod
    def open(cls, path: Path) -> MetricsLog:
        """Go on with a table; the beginning of a row that a crash left at its end is dropped.

        Raises:
            RunError: the file is missing or is not a table of numbers.
        """
        table = read(path)
        lines = _complete_lines(path)
        _cut(path, lines)
        return cls(path, tuple(table), rows=len(lines) - 1)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row: a number for each column, or ``None`` where there is none.

        Raises:
            RunError: a column is missing or unknown, or a value is not a number.
            StorageError: the disk is full.
        """
        if set(row) != set(self.columns):
            raise RunError(
                f"a row of {self.path} must have the columns {list(self.columns)}, "
                f"but has {list(row)}"
            )
        cells = [_cell(self.path, column, row[column]) for column in self.columns]
        files.append_bytes(self._handle, _line(cells))
        self.rows += 1

    def truncate(self, rows: int) -> None:
        """Keep the first ``rows`` rows, those that the checkpoint one resumes from has seen.

        Raises:
            RunError: there are fewer rows than that.
        """
        if not 0 <= rows <= self.rows:
            raise RunError(f"{self.path} has {self.rows} rows, but {rows} are to be kept")
        _cut(self.path, _complete_lines(self.path)[: rows + 1])
        self.rows = rows

    def sync(self) -> None:
        """Put the rows on the disk; called before a checkpoint that counts on them."""
        with files.storage(self.path):
            os.fsync(self._handle.fileno())

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        self._handle.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the table as ``{column: array of shape (rows,)}``, int64 or float64 by column.

    A column of whole numbers is int64; an empty cell reads as NaN; a last row without its end,
    left by a crash, is passed over.

    Raises:
        RunError: the file is missing or is not a table of numbers; the message has the line.
    """
    lines = _complete_lines(path)
    columns = lines[0].split(",") if lines else []
    if not columns or not all(map(_COLUMN.fullmatch, columns)) or len(set(columns)) < len(columns):
        raise RunError(f"{path} is not a table of metrics: its first line must name the columns")
    cells = [line.split(",") for line in lines[1:]]
    for number, row in enumerate(cells, start=2):
        if len(row) != len(columns):
            raise RunError(
                f"{path} is damaged: line {number} has {len(row)} cells, expected {len(columns)}"
            )
    return {
        column: _numbers(path, column, [row[index] for row in cells])
        for index, column in enumerate(columns)
    }


def _numbers(path: Path, column: str, cells: list[str]) -> np.ndarray:
    if cells and all(re.fullmatch(r"-?\d{1,18}", cell) for cell in cells):
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            values[row] = float(cell or "nan")
        except ValueError:
            raise RunError(
                f"{path} is damaged: line {row + 2}, column {column!r} holds no number: "
                f"{cell[:40]!r}"
            ) from None
    return values


def _cell(path: Path, column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | np.bool_ | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return repr(float(value))
    raise RunError(f"column {column!r} of {path} needs a number or None, but got {value!r}")


def _line(cells: Sequence[str]) -> bytes:
    return (",".join(cells) + "\n").encode()


def _complete_lines(path: Path) -> list[str]:
    try:
        text = files.read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is not a table of metrics: it is not text") from error
    return text.split("\n")[:-1]


def _cut(path: Path, lines: list[str]) -> None:
    with files.storage(path):
        os.truncate(path, sum(len(line.encode()) + 1 for line in lines))
