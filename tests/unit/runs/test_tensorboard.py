"""The event file: what TensorBoard itself reads is what the table says, also after a resume."""

from __future__ import annotations

import builtins
import errno
import os
import sys
from types import ModuleType

import numpy as np
import pytest

from triptych.errors import StorageError
from triptych.runs.metrics import MetricsLog, read
from triptych.runs.tensorboard import EventLog

# TensorBoard's own switch: read without TensorFlow, which takes seconds to import.
sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
LOSSES = np.random.default_rng(0).standard_normal(6)


def scalars(folder):
    """Return ``{tag: [(step, value), ...]}`` as TensorBoard reads it."""
    found = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    tags = found.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in tags}


def in_table(path):
    """Return the same of the table, rounded to the float32 that TensorBoard keeps."""
    table = read(path)
    steps = table.pop("step").tolist()
    return {
        tag: list(zip(steps, column.astype(np.float32).astype(float).tolist(), strict=True))
        for tag, column in table.items()
    }


def rows(start, stop):
    return [{"step": 10 * i, "episode": i, "loss": LOSSES[i]} for i in range(start, stop)]


def write(folder, some):
    log, events = MetricsLog.create(folder / "m.csv", list(some[0])), EventLog(folder / "e", "step")
    for row in some:
        log.append(row)
        events.append(row)
    assert events.note is None
    log.close()
    events.close()


def resume(folder, kept, some):
    with MetricsLog.open(folder / "m.csv") as log:
        log.truncate(kept)
        events = EventLog(folder / "e", "step", kept=read(folder / "m.csv"))
        for row in some:
            log.append(row)
            events.append(row)
        events.close()


def test_tensorboard_reads_what_the_table_says(tmp_path):
    write(tmp_path, rows(0, 6))
    found = scalars(tmp_path / "e")
    assert found == in_table(tmp_path / "m.csv")
    assert sorted(found) == ["episode", "loss"]
    assert [step for step, _ in found["loss"]] == [0, 10, 20, 30, 40, 50]


def test_a_row_can_be_read_at_once_and_a_new_log_starts_empty(tmp_path):
    events = EventLog(tmp_path, "step")
    events.append({"step": 1, "loss": 0.5, "greedy_return": None})
    assert scalars(tmp_path) == {"loss": [(1, 0.5)]}
    events.close()
    events.close()
    EventLog(tmp_path, "step").close()
    assert scalars(tmp_path) == {}


@pytest.mark.parametrize("kept", [0, 2, 4])
def test_after_a_resume_no_step_appears_twice(tmp_path, kept):
    write(tmp_path, rows(0, 4))
    resume(tmp_path, kept, rows(kept, 6))
    found = scalars(tmp_path / "e")
    assert found == in_table(tmp_path / "m.csv")
    assert [step for step, _ in found["loss"]] == [0, 10, 20, 30, 40, 50]
    assert sum(path.stat().st_size > 0 for path in (tmp_path / "e").iterdir()) == 1


def test_an_open_tensorboard_follows_a_resume(tmp_path):
    write(tmp_path, rows(0, 4))
    reader = event_accumulator.EventAccumulator(str(tmp_path / "e")).Reload()
    assert len(reader.Scalars("loss")) == 4
    LOSSES[2:4] += 1.0
    resume(tmp_path, 2, rows(2, 6))
    found = [(event.step, event.value) for event in reader.Reload().Scalars("loss")]
    assert found == in_table(tmp_path / "m.csv")["loss"]


def test_a_resume_keeps_the_times_and_gaps_of_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1000.0)
    write(tmp_path, [{"step": 0, "loss": 0.5}, {"step": 1, "loss": None}, {"step": 2, "loss": 2.0}])
    monkeypatch.setattr("time.time", lambda: 2000.0)
    resume(tmp_path, 2, [{"step": 2, "loss": 3.0}])
    found = event_accumulator.EventAccumulator(str(tmp_path / "e")).Reload().Scalars("loss")
    assert [(e.wall_time, e.step, e.value) for e in found] == [(1000.0, 0, 0.5), (2000.0, 2, 3.0)]


@pytest.mark.parametrize("damage", ["missing", "cut", "overwritten", "of another run"])
def test_a_damaged_event_file_is_written_anew_from_the_table(tmp_path, damage):
    write(tmp_path, rows(0, 4))
    (path,) = (tmp_path / "e").iterdir()
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[:-20])
    elif damage == "overwritten":
        path.write_bytes(data[:40] + b"\xff" * (len(data) - 40))
    else:
        other = EventLog(tmp_path / "e", "step")
        for row in rows(0, 4):
            other.append({**row, "step": row["step"] + 1})
        other.close()
    resume(tmp_path, 4, rows(4, 6))
    assert scalars(tmp_path / "e") == in_table(tmp_path / "m.csv")


def test_a_crash_at_any_byte_of_the_last_event(tmp_path):
    write(tmp_path, rows(0, 2))
    (path,) = (tmp_path / "e").iterdir()
    data, table = path.read_bytes(), in_table(tmp_path / "m.csv")
    for end in range(len(data) - 60, len(data)):
        for old in (tmp_path / "e").iterdir():
            old.unlink()
        path.write_bytes(data[:end])
        resume(tmp_path, 2, [])
        assert scalars(tmp_path / "e") == table, end


def test_without_tensorboard_nothing_is_written_and_the_note_says_so(tmp_path, monkeypatch):
    load = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("tensorboard"):
            raise ImportError(name)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    events = EventLog(tmp_path / "e", "step")
    events.append({"step": 1, "loss": 0.5})
    events.close()
    assert events.note is not None
    assert "pip install 'triptych[report]'" in events.note
    assert not (tmp_path / "e").exists()


def test_a_full_disk(tmp_path, monkeypatch):
    events = EventLog(tmp_path, "step")
    events.append({"step": 1, "loss": 0.5})

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match="disk is full"):
        events.append({"step": 2, "loss": 0.5})
    assert scalars(tmp_path) == {"loss": [(1, 0.5)]}


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "plain").write_text("x")
    with pytest.raises(StorageError, match="cannot write"):
        EventLog(tmp_path / "plain" / "e", "step")
