"""The same curves for TensorBoard: one event file, one event for each row of the table.

TensorBoard keeps a scalar as float32; the exact numbers are in ``metrics.csv``. Needs the package
``tensorboard`` (not TensorFlow); where it is missing nothing is written and :attr:`EventLog.note`
says so. What the rows hold does not belong here.
"""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from triptych.errors import missing
from triptych.runs import files

_FILE = "events.out.tfevents.{:010d}.triptych"  # TensorBoard looks for "tfevents" in the name
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
        with files.storage(folder):
            folder.mkdir(parents=True, exist_ok=True)
            before = sorted(folder.glob("*tfevents*.triptych"))
            path = folder / _FILE.format(_number(before))
            _write(path, _kept_rows(before, step, kept or {}))
            for old in before:
                os.truncate(old, 0)
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


def _number(before: list[Path]) -> int:
    # An open TensorBoard goes on to a file of a later name. It does not notice that one it has read
    # was rewritten, and stops where one is deleted; so the old one stays, empty.
    return int(before[-1].name.split(".")[3]) + 1 if before else 0


def _kept_rows(before: list[Path], step: str, kept: Mapping[str, np.ndarray]) -> list[bytes]:
    """Return the records of the kept rows: those that were written, or else from the table."""
    rows = [dict(zip(kept, values, strict=True)) for values in zip(*kept.values(), strict=True)]
    written = _rows_in(before[-1]) if before else []
    now = time.time()
    return [
        _frame(old) if old and old.step == int(row[step]) else _scalars(row, step, now)
        for row, old in zip_longest(rows, written[: len(rows)])
    ]


def _write(path: Path, rows: list[bytes]) -> None:
    from tensorboard.compat.proto.event_pb2 import SessionLog

    now = time.time()
    with files.atomic_file(path) as handle:
        handle.write(_record(wall_time=now, file_version=_VERSION))
        # Makes an open TensorBoard forget what it has read of the file before.
        start = SessionLog(status=SessionLog.START)
        handle.write(_record(wall_time=now, step=0, session_log=start))
        handle.writelines(rows)


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
    """Return the events of rows in an event file, up to where it ends or is damaged."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    data, start, events = path.read_bytes(), 0, []
    while start + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        content, start = data[start + 12 : start + 12 + length], start + 16 + length
        try:
            events.append(Event.FromString(content))
        except DecodeError:
            break
    return [event for event in events if event.HasField("summary")]
