"""Atomic writing: the old file or the new one, an error that says what to do, nothing left over."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from triptych.errors import RunError, StorageError
from triptych.runs import files


def fail_with(number: int):
    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a"
    files.write_bytes(path, b"old")
    files.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, step):
    path = tmp_path / "a"
    files.write_bytes(path, b"old")
    monkeypatch.setattr(os, step, fail_with(errno.ENOSPC))
    with pytest.raises(StorageError, match=f"disk is full while writing {path}: .*free some space"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_an_interrupt_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    files.write_bytes(path, b"old")
    with pytest.raises(KeyboardInterrupt), files.atomic_file(path) as handle:
        handle.write(b"ne")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_in_a_run_names_the_command_that_goes_on(tmp_path, monkeypatch, number):
    run = tmp_path / "my run"
    run.mkdir()
    files.write_bytes(run / files.RUN_FILE, b"{}")
    monkeypatch.setattr(os, "fsync", fail_with(number))
    with pytest.raises(StorageError, match=f"full.*resume with: triptych train --resume '{run}'$"):
        files.write_bytes(run / "a", b"x")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM, errno.EIO])
def test_an_unwritable_folder_says_so(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "replace", fail_with(number))
    with pytest.raises(StorageError, match=f"cannot write .*{os.strerror(number)}.*--out"):
        files.write_bytes(tmp_path / "a", b"x")


def test_a_path_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "plain").write_text("x")
    with pytest.raises(StorageError, match=r"cannot write .*Not a directory"):
        files.write_bytes(tmp_path / "plain" / "a", b"x")


def test_a_folder_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "f"
    for content in ("old", "new"):
        with files.atomic_folder(path) as temporary:
            (temporary / content).write_text(content)
    assert os.listdir(path) == ["new"]
    assert os.listdir(path.parent) == ["f"]


def test_a_folder_that_cannot_be_replaced_stands_still(tmp_path, monkeypatch):
    path = tmp_path / "f"
    with files.atomic_folder(path) as temporary:
        (temporary / "old").write_text("old")
    replace = os.replace

    def second_fails(source: Path, target: Path) -> None:
        if Path(source).name == ".f.tmp":
            raise OSError(errno.ENOSPC, "full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(StorageError), files.atomic_folder(path) as temporary:
        (temporary / "new").write_text("new")
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["f"]


def test_leftovers_of_a_killed_process_go_and_nothing_else(tmp_path):
    (tmp_path / ".a.tmp").write_text("half")
    (tmp_path / ".f.tmp").mkdir()
    (tmp_path / ".f.tmp" / "x").write_text("half")
    (tmp_path / "b.tmp").write_text("the user's")
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["b.tmp"]


def test_an_append_writes_all_or_nothing(tmp_path, monkeypatch):
    handle = files.open_append(tmp_path / "a")
    files.append_bytes(handle, b"first\n")
    write = os.write

    def full_after_two(descriptor: int, data: memoryview) -> int:
        if len(data) < 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:2])

    monkeypatch.setattr(os, "write", full_after_two)
    with pytest.raises(StorageError, match="disk is full"):
        files.append_bytes(handle, b"second\n")
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    files.append_bytes(handle, b"in small parts\n")
    handle.close()
    assert (tmp_path / "a").read_bytes() == b"first\nin small parts\n"


REAL_LIMIT = """
import resource, sys
from pathlib import Path
import numpy as np
from triptych.errors import StorageError
from triptych.runs import checkpoints, files
from triptych.runs.metrics import MetricsLog

folder = Path(sys.argv[1])
checkpoints.save(folder / "c", 1, {"x": np.zeros(10)}, {})
log = MetricsLog.create(folder / "m.csv", ["step"])
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    checkpoints.save(folder / "c", 2, {"x": np.zeros(100_000)}, {})
except StorageError as error:
    print(error)
try:
    while True:
        log.append({"step": 1234567})
except StorageError as error:
    print(error)
print(log.rows)
"""


def test_a_real_limit_on_the_size_of_files(tmp_path):
    # Python ignores SIGXFSZ, so that the limit shows as EFBIG, in the middle of a write.
    result = subprocess.run(
        [sys.executable, "-c", REAL_LIMIT, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    checkpoint, table, rows = result.stdout.splitlines()
    assert checkpoint.startswith(f"the disk is full while writing {tmp_path}/c/000000002: File too")
    assert table.startswith(f"the disk is full while writing {tmp_path}/m.csv: File too large")
    assert os.listdir(tmp_path / "c") == ["000000001"]
    assert (tmp_path / "m.csv").read_text() == "step\n" + "1234567\n" * int(rows)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{", "not readable JSON"),
        (b"\xff", "not readable JSON"),
        (b"[1]", "must hold a JSON object"),
        (b"[" * 100_000, "not readable JSON"),
    ],
)
def test_json_that_is_none(tmp_path, content, fault):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match=fault):
        files.read_json(tmp_path / "a.json")


def test_json_that_is_missing_or_a_folder(tmp_path):
    with pytest.raises(RunError, match="is missing"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(RunError, match=r"cannot read .*Is a directory"):
        files.read_json(tmp_path)


def test_the_runs_import_no_framework(tmp_path):
    code = (
        "import sys, triptych.runs.listing, triptych.runs.metrics, triptych.runs.checkpoints, "
        "triptych.runs.tensorboard as t; from pathlib import Path; "
        "e = t.EventLog(Path(sys.argv[1]), 'step'); e.append({'step': 1, 'x': 2.0}); "
        "print([m for m in ('torch', 'jax', 'keras', 'tensorflow', 'gymnasium') "
        "if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout.strip() == "[]"
