"""Parts of checkpoints: written once, verified, dropped when nobody lists them, whole or not."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

from triptych.errors import CheckpointError, StorageError
from triptych.runs import arrays as array_files
from triptych.runs import checkpoints, files, parts, trees
from triptych.runs.checkpoints import load, load_latest, save


def part(value, size=3):
    return lambda: {"x": np.full(size, float(value)), "empty": np.zeros((0, 2), np.uint8)}


def tree(step, first, last):
    """A state whose parts are numbered, each holding its own number."""
    chunks = {f"{number:03d}": part(number) for number in range(first, last)}
    return {"step": step, "rest": np.arange(step), "memory": {"chunks": chunks}}


def write(folder, step, first, last, ledger=None):
    return save(folder, step, *trees.split(tree(step, first, last)), ledger)


def read(checkpoint):
    """The numbers that a checkpoint's parts hold, by key."""
    chunks = checkpoint.tree()["memory"]["chunks"]
    return {key: float(chunk()["x"][0]) for key, chunk in chunks.items()}


def expected(first, last):
    return {f"{number:03d}": float(number) for number in range(first, last)}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def keys(folder):
    return sorted(path.name.split("-")[0] for path in (folder / parts.FOLDER).iterdir())


def test_round_trip(tmp_path):
    path = write(tmp_path, 5, 0, 3)
    found = load_latest(tmp_path)
    assert read(found) == expected(0, 3)
    assert list(found.tree()) == ["step", "rest", "memory"]
    chunk = found.parts["memory|chunks|001"]()
    assert chunk["empty"].shape == (0, 2) and chunk["x"].dtype == np.float64
    listed = json.loads((path / "manifest.json").read_text())["parts"]
    for entry in listed.values():
        file = tmp_path / "parts" / entry.pop("file")
        assert files.fingerprint(file) == entry
        assert file.name.endswith(f"-{entry['sha256'][:16]}.safetensors")


def test_each_is_written_once_and_kept_as_long_as_it_is_listed(tmp_path, monkeypatch):
    written, ledger, own = [], {}, array_files.write
    monkeypatch.setattr(array_files, "write", lambda h, a: (written.append(list(a)), own(h, a)))
    write(tmp_path, 1, 0, 3, ledger)
    assert written.count(["x", "empty"]) == 3
    write(tmp_path, 2, 1, 5, ledger)
    assert written.count(["x", "empty"]) == 5
    assert keys(tmp_path) == ["000", "001", "002", "003", "004"]
    write(tmp_path, 3, 4, 6, ledger)
    assert keys(tmp_path) == ["001", "002", "003", "004", "005"]
    assert read(load_latest(tmp_path)) == expected(4, 6)
    written.clear()
    write(tmp_path, 4, 4, 7, load_latest(tmp_path).ledger)
    assert written.count(["x", "empty"]) == 1


def test_a_ledger_that_the_disk_forgot_is_not_believed(tmp_path):
    ledger = {}
    write(tmp_path, 1, 0, 2, ledger)
    (tmp_path / "parts" / ledger["memory|chunks|001"]["file"]).unlink()
    write(tmp_path, 2, 0, 2, ledger)
    assert read(load_latest(tmp_path)) == expected(0, 2)


def test_nothing_of_an_abandoned_future_is_taken_by_its_name(tmp_path):
    write(tmp_path, 1, 0, 1)
    write(tmp_path, 2, 0, 3)
    flip(tmp_path / "000000002" / "state.json")
    with pytest.warns(UserWarning, match="going back to step 1"):
        found = load_latest(tmp_path)
    state = tree(2, 0, 3)
    state["memory"]["chunks"]["002"] = part(222)
    save(tmp_path, 2, *trees.split(state), found.ledger)
    assert read(load_latest(tmp_path)) == {**expected(0, 2), "002": 222.0}
    assert keys(tmp_path) == ["000", "001", "002"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "fault"),
    [(flip, "is corrupt"), (cut, r"has \d+ bytes, but was"), (os.unlink, "is missing")],
)
def test_damage_to_a_part(tmp_path, damage, fault):
    ledger = {}
    write(tmp_path, 1, 0, 2, ledger)
    write(tmp_path, 2, 1, 4, ledger)
    damage(tmp_path / "parts" / ledger["memory|chunks|003"]["file"])
    with pytest.warns(UserWarning, match=f"parts/003-.*{fault}.*; going back to step 1"):
        assert read(load_latest(tmp_path)) == expected(0, 2)
    damage(tmp_path / "parts" / ledger["memory|chunks|001"]["file"])
    both = f"no checkpoint can be used: .*parts/001-.*{fault}.*parts/001-.*{fault}"
    with pytest.raises(CheckpointError, match=both):
        load_latest(tmp_path)


@pytest.mark.parametrize(
    ("listed", "fault"),
    [
        ([], "must list parts"),
        ({"a": 3}, "must name the file of 'a'"),
        ({"a": {"file": "../../x"}}, "must name the file of 'a'"),
        ({"a": {"file": "x", "size": 1, "sha256": ""}}, "x is missing"),
    ],
)
def test_a_manifest_that_lists_nonsense(tmp_path, listed, fault):
    path = write(tmp_path, 1, 0, 1)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "parts": listed}))
    with pytest.raises(CheckpointError, match=fault):
        load(path)
    write(tmp_path, 2, 0, 1)
    assert load_latest(tmp_path).step == 2


def test_a_part_without_a_place_is_refused(tmp_path):
    path = write(tmp_path, 1, 0, 1)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["parts"] = {"elsewhere": manifest["parts"].pop("memory|chunks|000")}
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="no place for the array 'elsewhere'"):
        load(path)


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_failure_leaves_the_earlier_ones_and_nothing_else(tmp_path, monkeypatch, at, error):
    files.write_bytes(tmp_path / files.RUN_FILE, b"{}")
    folder, ledger = tmp_path / "checkpoints", {}
    write(folder, 1, 0, 1, ledger)
    write(folder, 2, 0, 2, ledger)
    before, known, own, left = content(folder), dict(ledger), array_files.write, [at]

    def failing(handle, arrays):
        left[0] -= 1
        if left[0] < 0:
            handle.write(b"half")
            raise error
        own(handle, arrays)

    monkeypatch.setattr(array_files, "write", failing)
    raised = StorageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(raised) as caught:
        write(folder, 3, 0, 5, ledger)
    if raised is StorageError:
        assert f"train --resume {tmp_path}" in str(caught.value)
    assert content(folder) == before
    assert ledger == known
    monkeypatch.undo()
    write(folder, 3, 0, 5, ledger)
    assert read(load_latest(folder)) == expected(0, 5)


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


REAL_LIMIT = """
import resource, sys
from pathlib import Path
import numpy as np
from triptych.errors import StorageError
from triptych.runs import checkpoints

folder = Path(sys.argv[1])
parts = {f"chunk{n}": (lambda n=n: {"x": np.full(100 + 400 * n, n)}) for n in range(4)}
state = dict.fromkeys(parts)
checkpoints.save(folder, 1, {}, {"chunk0": None}, {"chunk0": parts["chunk0"]})
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
try:
    checkpoints.save(folder, 2, {}, state, parts)
except StorageError as error:
    print(error)
print(checkpoints.load_latest(folder).step)
"""


def test_a_real_limit_on_the_size_of_files(tmp_path):
    command = [sys.executable, "-c", REAL_LIMIT, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    sentence, step = result.stdout.splitlines()
    assert sentence.startswith(f"the disk is full while writing {tmp_path}/parts")
    assert step == "1"
    assert keys(tmp_path) == ["chunk0"]
    assert names(tmp_path) == ["000000001", "parts"]


CHANGES = ("fsync", "replace", "unlink", "rmdir", "mkdir")


def killed_before_change(folder, number):
    """Save in a process that is killed before its n-th change of the disk; return whether it was.

    A fork of this process, which holds no framework and has no other thread.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)
    left = number

    def counting(change):
        def counted(*args, **more):
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*args, **more)

        return counted

    for name in CHANGES:
        setattr(os, name, counting(getattr(os, name)))
    try:
        write(folder, 3, 2, 6, load_latest(folder).ledger)
    finally:
        os._exit(0)


def test_killed_at_any_change_of_the_disk_one_of_the_two_is_there(tmp_path):
    steps = []
    for number in range(200):
        folder, ledger = tmp_path / str(number), {}
        write(folder, 1, 0, 3, ledger)
        write(folder, 2, 1, 4, ledger)
        if not killed_before_change(folder, number):
            break
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = load_latest(folder)
        assert read(found) == (expected(1, 4) if found.step == 2 else expected(2, 6))
        steps.append(found.step)
        # Whatever was left half done is cleared by the next checkpoint.
        write(folder, 4, 3, 7, found.ledger)
        assert names(folder) == [path.name for path in checkpoints.listed(folder)] + ["parts"]
        assert keys(folder) == sorted(set(read_all(folder)))
    assert steps == sorted(steps) and steps.count(2) > 10 and steps.count(3) > 3


def read_all(folder):
    return [key for path in checkpoints.listed(folder) for key in read(load(path))]
