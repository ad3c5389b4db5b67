"""Checkpoints: whole or not at all, verified, with a way back."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

from triptych.errors import CheckpointError, StorageError
from triptych.runs import arrays as array_files
from triptych.runs import checkpoints, files
from triptych.runs.checkpoints import load, load_latest, save
from triptych.runs.trees import join, split

ARRAYS = {"params|conv1/kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}
STATE = {"step": 5, "loss": math.inf, "nothing": math.nan, "names": ["a", None], "mean": 0.1}


def names(folder):
    return sorted(os.listdir(folder))


def test_round_trip(tmp_path):
    path = save(tmp_path / "c", 5, ARRAYS, {**STATE, "count": np.int64(3)})
    assert path == tmp_path / "c" / "000000005"
    assert names(path) == ["arrays.safetensors", "manifest.json", "state.json"]
    found = load_latest(tmp_path / "c")
    assert (found.path, found.step) == (path, 5)
    assert found.arrays["params|conv1/kernel"].tobytes() == ARRAYS["params|conv1/kernel"].tobytes()
    assert math.isnan(found.state.pop("nothing"))
    assert found.state == {
        "step": 5,
        "loss": math.inf,
        "names": ["a", None],
        "mean": 0.1,
        "count": 3,
    }


def test_a_nested_tree_round_trips(tmp_path):
    tree = {"b": {"x": np.zeros(2), "empty": {}}, "a": {"n": 1, "y": np.ones(3, np.uint8)}}
    path = save(tmp_path, 1, *split(tree))
    found = load(path)
    again = join(found.arrays, found.state)
    assert list(again) == ["b", "a"]
    assert list(again["a"]) == ["n", "y"]
    assert again["b"]["empty"] == {}
    np.testing.assert_array_equal(again["a"]["y"], np.ones(3, np.uint8))


def test_the_same_content_makes_the_same_files(tmp_path):
    one, two = (save(tmp_path / name, 5, ARRAYS, STATE) for name in "ab")
    for name in names(one):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_the_two_newest_are_kept(tmp_path):
    for step in (1, 2, 30, 4_000_000_000):
        save(tmp_path, step, ARRAYS, {"step": step})
    assert names(tmp_path) == ["000000030", "4000000000"]
    assert load_latest(tmp_path).state == {"step": 4_000_000_000}


def test_steps_are_compared_as_numbers(tmp_path):
    for step in (999_999_998, 999_999_999, 1_000_000_000):
        save(tmp_path, step, ARRAYS, {"step": step})
    assert [path.name for path in checkpoints.listed(tmp_path)] == ["999999999", "1000000000"]
    assert load_latest(tmp_path).state == {"step": 1_000_000_000}


def test_after_going_back_the_abandoned_future_is_dropped(tmp_path):
    for step in (100, 200, 300):
        save(tmp_path, step, ARRAYS, STATE)
    (tmp_path / "000000300" / "state.json").write_text("{}")
    save(tmp_path, 250, ARRAYS, STATE)
    assert names(tmp_path) == ["000000200", "000000250"]


def test_the_same_step_can_be_written_again(tmp_path):
    save(tmp_path, 1, ARRAYS, {"try": 1})
    save(tmp_path, 1, ARRAYS, {"try": 2})
    assert names(tmp_path) == ["000000001"]
    assert load_latest(tmp_path).state == {"try": 2}


def write_fails(error):
    def fail(handle, arrays):
        handle.write(b"half")
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), StorageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
    ],
)
def test_a_failure_in_the_middle_leaves_the_earlier_ones(tmp_path, monkeypatch, error, raised):
    save(tmp_path, 1, ARRAYS, STATE)
    save(tmp_path, 2, ARRAYS, STATE)
    monkeypatch.setattr(array_files, "write", write_fails(error))
    with pytest.raises(raised):
        save(tmp_path, 3, ARRAYS, STATE)
    assert names(tmp_path) == ["000000001", "000000002"]
    assert load_latest(tmp_path).step == 2


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_full_disk_at_the_end_leaves_the_earlier_one(tmp_path, monkeypatch, step):
    files.write_bytes(tmp_path / files.RUN_FILE, b"{}")
    folder = tmp_path / "checkpoints"
    save(folder, 1, ARRAYS, STATE)

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(StorageError, match=f"disk is full .*train --resume {tmp_path}$"):
        save(folder, 2, ARRAYS, STATE)
    assert names(folder) == ["000000001"]


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from triptych.runs import checkpoints
folder = Path(sys.argv[1])
checkpoints.save(folder, 1, {"x": np.ones(3)}, {})
replace = os.replace
def killed(source, target):
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = killed
checkpoints.save(folder, 2, {"x": np.ones(3)}, {})
"""


def test_a_killed_process_leaves_the_earlier_one_and_the_next_write_clears_up(tmp_path):
    result = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=60)
    assert result.returncode == -signal.SIGKILL
    assert names(tmp_path) == [".000000002.tmp", "000000001"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_latest(tmp_path).step == 1
    save(tmp_path, 3, ARRAYS, STATE)
    assert names(tmp_path) == ["000000001", "000000003"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


FAULTS = [
    (flip, "arrays.safetensors", r"arrays\.safetensors is corrupt"),
    (cut, "arrays.safetensors", r"arrays\.safetensors has \d+ bytes, but was written with"),
    (empty, "arrays.safetensors", r"arrays\.safetensors has 0 bytes"),
    (os.unlink, "arrays.safetensors", r"arrays\.safetensors is missing"),
    (flip, "state.json", r"state\.json is corrupt"),
    (cut, "state.json", r"state\.json has"),
    (os.unlink, "state.json", r"state\.json is missing"),
    (os.unlink, "manifest.json", r"damaged: .*manifest\.json is missing"),
    (empty, "manifest.json", r"damaged: .*manifest\.json is not readable JSON"),
]


@pytest.mark.parametrize(("damage", "name", "fault"), FAULTS)
def test_damage_is_named_and_the_one_before_is_used(tmp_path, damage, name, fault):
    save(tmp_path, 1, ARRAYS, {"step": 1})
    path = save(tmp_path, 2, ARRAYS, {"step": 2})
    damage(path / name)
    with pytest.raises(CheckpointError, match=fault):
        load(path)
    with pytest.warns(UserWarning, match=f"{fault}.*; going back to step 1"):
        found = load_latest(tmp_path)
    assert found.state == {"step": 1}


def test_when_none_is_good_each_fault_is_named(tmp_path):
    cut(save(tmp_path, 1, ARRAYS, STATE) / "state.json")
    flip(save(tmp_path, 2, ARRAYS, STATE) / "arrays.safetensors")
    with pytest.raises(CheckpointError, match=r"no checkpoint.*000000002/arrays.*000000001/state"):
        load_latest(tmp_path)


@pytest.mark.parametrize("name", ["", "missing"])
def test_no_checkpoint_yet(tmp_path, name):
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        load_latest(tmp_path / name)


def test_no_byte_of_a_manifest_can_change_unnoticed(tmp_path):
    path = save(tmp_path, 5, ARRAYS, STATE) / "manifest.json"
    good = path.read_bytes()
    unnoticed = []
    for index in range(len(good)):
        path.write_bytes(good[:index] + bytes([good[index] ^ 1]) + good[index + 1 :])
        try:
            found = load(path.parent)
        except CheckpointError:
            continue
        unnoticed.append((index, found.step, found.state["mean"]))
    assert all(found[1:] == (5, 0.1) for found in unnoticed)
    assert all(good[index : index + 1].isspace() for index, *_ in unnoticed)


def test_a_checkpoint_that_was_renamed_or_is_newer(tmp_path):
    path = save(tmp_path, 5, ARRAYS, STATE)
    shutil.copytree(path, tmp_path / "000000006")
    with pytest.raises(CheckpointError, match="is of step 5, but stands in folder 000000006"):
        load(tmp_path / "000000006")
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 1}))
    with pytest.raises(CheckpointError, match="format 1, and this version reads 2"):
        load(path)


def test_what_cannot_be_stored_leaves_nothing(tmp_path):
    with pytest.raises(CheckpointError, match=r"'state.x' is of type object"):
        save(tmp_path / "c", 1, ARRAYS, {"x": object()})
    with pytest.raises(CheckpointError, match="array 'x' is of type object"):
        save(tmp_path / "c", 1, {"x": np.array([None])}, {})
    with pytest.raises(CheckpointError, match="0 or more"):
        save(tmp_path / "c", -1, ARRAYS, {})
    assert checkpoints.listed(tmp_path / "c") == []
    assert names(tmp_path / "c") == []
