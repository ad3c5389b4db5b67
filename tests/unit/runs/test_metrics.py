"""The table of metrics: exact, the same for the same rows, safe against a crash."""

from __future__ import annotations

import errno
import math
import os

import numpy as np
import pytest

from triptych.errors import RunError, StorageError
from triptych.runs.metrics import MetricsLog, read

COLUMNS = ["step", "episode", "loss"]


def write(path, rows):
    with MetricsLog.create(path, COLUMNS) as log:
        for step, loss in enumerate(rows):
            log.append({"step": step, "episode": step // 2, "loss": loss})
    return path


def test_floats_round_trip_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    hard = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, math.inf, math.nan, 1e16]
    values = [*hard, *rng.standard_normal(200), *rng.standard_normal(20).astype(np.float32)]
    table = read(write(tmp_path / "m.csv", values))
    assert table["loss"].tobytes() == np.array([float(v) for v in values]).tobytes()
    assert table["step"].dtype == np.int64
    assert table["step"].tolist() == list(range(len(values)))


def test_two_logs_of_the_same_rows_are_the_same_file(tmp_path):
    one, two = (write(tmp_path / name, [0.1, np.float64(0.2), 3.0]) for name in ("a", "b"))
    assert one.read_bytes() == two.read_bytes() == b"step,episode,loss\n0,0,0.1\n1,0,0.2\n2,1,3.0\n"
    assert write(tmp_path / "c", [0.1, 0.2, 3.0000000000000004]).read_bytes() != one.read_bytes()


def test_whole_numbers_and_missing_values(tmp_path):
    with MetricsLog.create(tmp_path / "m", ["a", "b"]) as log:
        log.append({"b": None, "a": np.int32(7)})
        log.append({"a": True, "b": 2})
    table = read(tmp_path / "m")
    assert table["a"].tolist() == [7, 1]
    assert math.isnan(table["b"][0])
    assert table["b"][1] == 2.0


def test_a_row_can_be_read_at_once(tmp_path):
    log = MetricsLog.create(tmp_path / "m", ["a"])
    assert read(tmp_path / "m")["a"].shape == (0,)
    log.append({"a": 1})
    log.sync()
    assert read(tmp_path / "m")["a"].tolist() == [1]


def test_resume_drops_the_rows_after_the_checkpoint(tmp_path):
    whole = write(tmp_path / "whole", [0.5, 0.25, 0.125, 0.0625]).read_bytes()
    write(tmp_path / "m", [0.5, 0.25, 9.0])
    with MetricsLog.open(tmp_path / "m") as log:
        assert (log.columns, log.rows) == (tuple(COLUMNS), 3)
        log.truncate(2)
        log.append({"step": 2, "episode": 1, "loss": 0.125})
        log.append({"step": 3, "episode": 1, "loss": 0.0625})
        assert log.rows == 4
    assert (tmp_path / "m").read_bytes() == whole


@pytest.mark.parametrize("rows", [-1, 4])
def test_rows_that_are_not_there_cannot_be_kept(tmp_path, rows):
    write(tmp_path / "m", [0.1, 0.2, 0.3])
    with MetricsLog.open(tmp_path / "m") as log, pytest.raises(RunError, match="has 3 rows, but"):
        log.truncate(rows)


def test_half_a_row_after_a_crash(tmp_path):
    path = write(tmp_path / "m", [0.1, 0.2])
    good = path.read_bytes()
    path.write_bytes(good + b"2,1,0.")
    assert read(path)["step"].tolist() == [0, 1]
    with MetricsLog.open(path) as log:
        assert log.rows == 2
        log.append({"step": 2, "episode": 1, "loss": 0.3})
    assert path.read_bytes() == good + b"2,1,0.3\n"


def test_a_full_disk_leaves_whole_rows(tmp_path, monkeypatch):
    path = write(tmp_path / "m", [0.1])
    with MetricsLog.open(path) as log, monkeypatch.context() as patch:

        def full(*_args):
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match=f"disk is full while writing {path}"):
            log.append({"step": 1, "episode": 0, "loss": 0.2})
        assert log.rows == 1
    assert read(path)["step"].tolist() == [0]


@pytest.mark.parametrize(
    "row",
    [
        {"step": 1, "episode": 0},
        {"step": 1, "episode": 0, "loss": 1.0, "extra": 1},
        {"step": 1, "episode": 0, "loss": "high"},
        {"step": 1, "episode": 0, "loss": np.zeros(1)},
    ],
)
def test_a_wrong_row_writes_nothing(tmp_path, row):
    path = write(tmp_path / "m", [0.1])
    before = path.read_bytes()
    with MetricsLog.open(path) as log, pytest.raises(RunError, match="loss"):
        log.append(row)
    assert path.read_bytes() == before


@pytest.mark.parametrize("columns", [["a", "a"], ["a,b"], [""], ['"a"'], ["a\n"]])
def test_wrong_columns(tmp_path, columns):
    with pytest.raises(RunError, match="columns must be different words"):
        MetricsLog.create(tmp_path / "m", columns)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "not a table of metrics"),
        (b"no end", "not a table of metrics"),
        (b"1,2\n3,4\n", "not a table of metrics"),
        (b"a,a\n1,2\n", "not a table of metrics"),
        (b"\xff\xfe\n", "not text"),
        (b"a,b\n1,2\n3\n", "line 3 has 1 cells, expected 2"),
        (b"a,b\n1,2\n3,x\n", "column 'b' holds no number"),
        (b"a\n1\n\x00\n", "column 'a' holds no number"),
    ],
)
@pytest.mark.parametrize("reader", [read, MetricsLog.open])
def test_files_that_are_not_ours(tmp_path, content, fault, reader):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(RunError, match=fault):
        reader(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == content


def test_a_missing_file(tmp_path):
    with pytest.raises(RunError, match="is missing"):
        read(tmp_path / "m")
