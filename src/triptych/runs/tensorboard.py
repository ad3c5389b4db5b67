"""The same curves for TensorBoard: one event file, one event for each row of the table.

TensorBoard keeps a scalar as float32; the exact numbers are in ``metrics.csv``. Needs the package
``tensorboard`` (not TensorFlow); where it is missing nothing is written and :attr:`EventLog.note`
says so. What the rows hold does not belong here.
"""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from triptych.errors import missing
from triptych.runs import files

_FILE = "events.out.tfevents.0.triptych"  # TensorBoard looks for "tfevents" in the name
_VERSION = "brain.Event:2"


class EventLog:
    """Appends rows as TensorBoard scalars; does nothing where ``tensorboard`` is not installed.

    Args:
        folder: the folder of the run's events; made where it is missing.
        step: the column that counts the steps; every other column is a scalar.
        kept: on resume, the rows that ``metrics.csv`` keeps, as ``metrics.read`` returns them: the
            event file is written anew with these alone, so that no step appears twice. ``None``
            starts an empty file.

    Raises:
        StorageError: the file cannot be written.
    """

    note: str | None
    """``None``, or the sentence for ``run.json`` that says why there are no events."""

    def __init__(
        self, folder: Path, step: str, kept: Mapping[str, np.ndarray] | None = None
    ) -> None:
        self._step = step
        self._handle: BinaryIO | None = None
        self.note = _missing()
        if self.note is not None:
            return
        path = folder / _FILE
        with files.storage(path):
            folder.mkdir(parents=True, exist_ok=True)
        _rewrite(path, step, kept or {})
        self._handle = files.open_append(path)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row, as appended to the table; a ``None`` is left out.

        Raises:
            StorageError: the disk is full.
        """
        if self._handle is not None:
            files.append_bytes(self._handle, _scalars(row, self._step, time.time()))

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None


def _missing() -> str | None:
    try:
        import tensorboard.compat.proto.event_pb2
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ImportError:
        return str(missing("tensorboard", "report", "writing TensorBoard events"))
    return None


def _rewrite(path: Path, step: str, kept: Mapping[str, np.ndarray]) -> None:
    """Write the file's head and the kept rows: as they stand in it, or else from the table."""
    rows = [dict(zip(kept, values, strict=True)) for values in zip(*kept.values(), strict=True)]
    standing = _rows_in(path) if rows else []
    now = time.time()
    with files.atomic_file(path) as handle:
        handle.write(_record(wall_time=now, file_version=_VERSION))
        for row, old in zip_longest(rows, standing[: len(rows)]):
            same = old is not None and old.step == int(row[step])
            handle.write(_frame(old) if same else _scalars(row, step, now))


def _scalars(row: Mapping[str, Any], step: str, wall_time: float) -> bytes:
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [
        Summary.Value(tag=column, simple_value=float(value))
        for column, value in row.items()
        if column != step and value is not None
    ]
    return _record(wall_time=wall_time, step=int(row[step]), summary=Summary(value=values))


def _record(**fields: Any) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event

    return _frame(Event(**fields))


def _frame(event: Any) -> bytes:
    """Return a record: length (uint64), its checksum (4 bytes), the event, its checksum."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    record = io.BytesIO()
    RecordWriter(record).write(event.SerializeToString())
    return record.getvalue()


def _rows_in(path: Path) -> list[Any]:
    """Return the events of an event file after its head, up to where it ends or is damaged."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    data, start, events = path.read_bytes() if path.is_file() else b"", 0, []
    while start + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        content, start = data[start + 12 : start + 12 + length], start + 16 + length
        if start > len(data):
            break
        try:
            events.append(Event.FromString(content))
        except DecodeError:
            break
    return events[1:]
