"""The run folder: what it holds, what it refuses, how runs are found."""

from __future__ import annotations

import errno
import json
import os
import shutil

import numpy as np
import pytest
import yaml

from triptych.errors import CheckpointError, RunError, StorageError
from triptych.runs import files, listing
from triptych.runs.folder import RunFolder

RECIPE = {"network": "15x15x1 -> dense 3", "optimizer": {"rate": 1e-3, "epsilon": 1e-7}, "to": None}
HEADER = {
    "recipe": "fruit",
    "backend": "torch",
    "seed": np.int64(0),
    "dtype": "float32",
    "command": "triptych train fruit",
    "versions": {"numpy": np.__version__},
}
PARAMS = {"dense/kernel": np.ones((4, 3), np.float32), "dense/bias": np.zeros(3, np.float32)}


def test_a_new_run_reads_back(tmp_path):
    made = RunFolder.create(tmp_path / "deep" / "run", RECIPE, HEADER)
    run = RunFolder.open(tmp_path / "deep" / "run")
    assert run.header == made.header == {"format": 1, **HEADER, "status": "running"}
    assert run.recipe == RECIPE
    assert run.status == "running"
    assert sorted(os.listdir(run.path)) == ["recipe.yaml", "run.json"]


def test_the_files_read_without_triptych(tmp_path):
    run = RunFolder.create(tmp_path / "run", RECIPE, HEADER)
    text = (run.path / "recipe.yaml").read_text()
    assert yaml.safe_load(text) == RECIPE
    assert list(yaml.safe_load(text)) == list(RECIPE)
    assert json.loads((run.path / "run.json").read_text())["seed"] == 0


def test_an_empty_folder_may_stand_there_even_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunFolder.create(".", RECIPE, HEADER).path.is_dir()
    assert RunFolder.open(".").recipe == RECIPE


def test_an_existing_run_is_refused_with_the_way_on(tmp_path):
    run = RunFolder.create(tmp_path / "a run", RECIPE, HEADER)
    before = (run.path / "run.json").read_bytes()
    resume = f"go on with: triptych train --resume '{run.path}', or choose another .* --out"
    with pytest.raises(RunError, match=resume):
        RunFolder.create(run.path, RECIPE, {**HEADER, "seed": 1})
    run.finish(PARAMS)
    with pytest.raises(RunError, match="holds a finished run; choose another folder with --out"):
        RunFolder.create(run.path, RECIPE, HEADER)
    assert before != (run.path / "run.json").read_bytes()
    assert RunFolder.open(run.path).header["seed"] == 0


def test_other_things_that_stand_there_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="not empty; choose another folder with --out"):
        RunFolder.create(tmp_path, RECIPE, HEADER)
    with pytest.raises(RunError, match="is a file, not a folder"):
        RunFolder.create(tmp_path / "thesis.tex", RECIPE, HEADER)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_an_unwritable_parent(tmp_path):
    (tmp_path / "plain").write_text("x")
    with pytest.raises(StorageError, match=r"cannot write .*Not a directory.*--out"):
        RunFolder.create(tmp_path / "plain" / "run", RECIPE, HEADER)


def test_a_folder_without_the_right_to_look(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()

    def denied(_self):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", denied)
    with pytest.raises(StorageError, match="Permission denied"):
        RunFolder.create(tmp_path / "run", RECIPE, HEADER)


def test_a_full_disk_leaves_a_folder_that_can_be_used_again(tmp_path, monkeypatch):
    replace = os.replace

    def full(source, target):
        if os.path.basename(target) == "run.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(StorageError, match=r"disk is full .*start again"):
            RunFolder.create(tmp_path / "run", RECIPE, HEADER)
    assert os.listdir(tmp_path / "run") == []
    RunFolder.create(tmp_path / "run", RECIPE, HEADER)


def test_a_missing_folder_suggests_its_neighbour(tmp_path):
    RunFolder.create(tmp_path / "fruit-torch-0", RECIPE, HEADER)
    with pytest.raises(RunError, match=r"no run folder .*did you mean 'fruit-torch-0'"):
        RunFolder.open(tmp_path / "fruit-torch-1")
    with pytest.raises(RunError, match="there is no run folder"):
        RunFolder.open(tmp_path / "no" / "where")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "not a run folder: it has no run.json"),
        ("{", "not readable JSON"),
        ('{"format": 2, "status": "running"}', "has format 2"),
        ('{"format": 1, "status": "ready"}', "status 'ready'; expected .*finished"),
    ],
)
def test_folders_that_are_no_run(tmp_path, text, fault):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=fault):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("text", ["a: [", "- 1", "\x00", ""])
def test_a_damaged_recipe(tmp_path, text):
    run = RunFolder.create(tmp_path / "run", RECIPE, HEADER)
    (run.path / "recipe.yaml").write_text(text)
    with pytest.raises(RunError, match=r"recipe\.yaml"):
        _ = run.recipe


def test_status_and_fields_are_written(tmp_path):
    run = RunFolder.create(tmp_path / "run", RECIPE, HEADER)
    run.set_status("interrupted")
    run.update(tensorboard="not installed")
    header = RunFolder.open(run.path).header
    assert (header["status"], header["tensorboard"]) == ("interrupted", "not installed")
    with pytest.raises(RunError, match="one of running, interrupted, finished, not 'ready'"):
        run.set_status("ready")


def test_final_params(tmp_path):
    run = RunFolder.create(tmp_path / "run", RECIPE, HEADER)
    with pytest.raises(RunError, match=r"not finished .* --resume"):
        run.params()
    run.finish(PARAMS)
    found = RunFolder.open(run.path).params()
    assert list(found) == list(PARAMS)
    assert all(np.array_equal(found[name], PARAMS[name]) for name in PARAMS)


def test_damaged_params_are_noticed(tmp_path):
    run = RunFolder.create(tmp_path / "run", RECIPE, HEADER)
    run.finish(PARAMS)
    path = run.path / "params.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckpointError, match=r"params\.safetensors is corrupt"):
        run.params()


def test_a_full_disk_at_the_end_does_not_finish_the_run(tmp_path, monkeypatch):
    run = RunFolder.create(tmp_path / "run", RECIPE, HEADER)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"disk is full .*--resume"):
        run.finish(PARAMS)
    assert run.status == RunFolder.open(run.path).status == "running"
    assert sorted(os.listdir(run.path)) == ["recipe.yaml", "run.json"]


def test_runs_are_found_below_a_folder(tmp_path):
    for name in ("b/two", "a"):
        RunFolder.create(tmp_path / name, RECIPE, HEADER)
    RunFolder.create(tmp_path / ".hidden" / "run", RECIPE, HEADER)
    shutil.copytree(tmp_path / "a", tmp_path / "a" / "nested")
    (tmp_path / "empty").mkdir()
    assert [run.path for run in listing.find(tmp_path)] == [tmp_path / "a", tmp_path / "b/two"]
    assert [run.path for run in listing.find(tmp_path / "a")] == [tmp_path / "a"]
    assert listing.find(tmp_path / "empty") == []


def test_paths(tmp_path):
    run = RunFolder(tmp_path, {})
    found = [p.name for p in (run.metrics, run.timing, run.events, run.checkpoints)]
    assert found == ["metrics.csv", "timing.csv", "events", "checkpoints"]
    assert files.RUN_FILE == "run.json"
