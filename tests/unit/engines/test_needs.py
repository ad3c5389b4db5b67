"""Replay memories that do not fit are refused before anything is made, with the arithmetic."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from triptych.cli import main
from triptych.engines import local, needs, setup
from triptych.errors import RecipeError, StorageError
from triptych.spec.recipe import Budget

GB = 10**9
FRUIT = ["task.grid=5", "network=5x5x1 -> flatten -> dense 8 relu -> dense 3"]
"""Frames of 25 bytes, or 40 with the rest of a transition."""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A machine with so much free memory and disk; both can be set."""
    free = SimpleNamespace(memory=10 * GB, disk=100 * GB)
    monkeypatch.setattr(needs, "available_memory", lambda: free.memory)
    usage = lambda place: SimpleNamespace(total=1000 * GB, free=free.disk)  # noqa: E731
    monkeypatch.setattr(needs.shutil, "disk_usage", usage)
    return free


def check(*values: str, folder: str = "runs", steps: int | None = None, **more: int) -> None:
    recipe = setup.load_recipe("fruit", [*FRUIT, *values])
    budget = Budget(steps=steps) if steps else Budget(episodes=10)
    needs.check(recipe, Path(folder), budget, **more)


def test_memory_is_compared_to_the_byte(machine: SimpleNamespace) -> None:
    machine.memory = 40 * 10**6
    check("algorithm.replay=1000000")
    machine.memory -= 1
    with pytest.raises(RecipeError) as caught:
        check("algorithm.replay=1000000")
    assert str(caught.value) == (
        "the replay of 1,000,000 transitions needs 40.0 MB of memory (1,000,000 x "
        "(5 x 5 x 1 x 1 + 15) bytes), but 40.0 MB are free; lower algorithm.replay, or keep the "
        "frames on the disk: algorithm.replay_storage=disk"
    )
    machine.memory = 15 * 10**6
    check("algorithm.replay=1000000", "algorithm.replay_storage=disk")
    machine.memory -= 1
    with pytest.raises(RecipeError, match=r"15\.0 MB of memory \(1,000,000 x 15 bytes beside"):
        check("algorithm.replay=1000000", "algorithm.replay_storage=disk")


def test_runs_side_by_side_need_as_many_times_the_memory(machine: SimpleNamespace) -> None:
    machine.memory = 80 * 10**6
    check("algorithm.replay=1000000", at_once=2)
    with pytest.raises(RecipeError, match=r"needs 120.0 MB of memory \(3 runs at once x 1,000,000"):
        check("algorithm.replay=1000000", at_once=3)


def test_the_disk_holds_checkpoints_and_frames(machine: SimpleNamespace) -> None:
    values = ["algorithm.replay=1000000", "logging.checkpoint=1000"]
    machine.disk = 40 * 1_001_000
    check(*values)
    machine.disk -= 1
    with pytest.raises(StorageError, match=r"1,001,000 x \(5 x 5 x 1 x 1 \+ 15\) bytes in check"):
        check(*values)
    check(*values, steps=999_000)
    machine.disk += 1 + 25 * 10**6
    check(*values, "algorithm.replay_storage=disk")
    machine.disk -= 1
    with pytest.raises(StorageError, match=r"and 25\.0 MB of frames\), but .* choose another disk"):
        check(*values, "algorithm.replay_storage=disk")
    with pytest.raises(StorageError, match="2 runs x"):
        check(*values, in_all=2)


def test_what_a_run_has_saved_is_not_needed_again(machine: SimpleNamespace, tmp_path: Path) -> None:
    saved = tmp_path / "checkpoints" / "parts" / "x.safetensors"
    saved.parent.mkdir(parents=True)
    saved.write_bytes(bytes(5000))
    machine.disk = 40 * 1_002_000 - 5000
    check("algorithm.replay=1000000", folder=str(tmp_path))
    machine.disk -= 1
    with pytest.raises(StorageError):
        check("algorithm.replay=1000000", folder=str(tmp_path))


def test_a_dataset_needs_none(machine: SimpleNamespace) -> None:
    machine.memory = machine.disk = 0
    recipe = setup.load_recipe("sparse-autoencoder")
    needs.check(recipe, Path(), recipe.budget)


def test_an_atari_replay_of_a_hundred_million(machine: SimpleNamespace) -> None:
    pytest.importorskip("ale_py")
    recipe = setup.load_recipe("space-invaders", ["algorithm.replay=100000000"])
    with pytest.raises(RecipeError, match=r"needs 707\.1 GB of memory \(100,000,000 x \(84 x 84"):
        needs.check(recipe, Path(), recipe.budget)


@pytest.mark.parametrize("words", [["train", "--backend", "torch"], ["compare"]])
def test_the_commands_refuse_and_leave_nothing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    large = ["--set", "algorithm.replay=1000000000000", "--out", str(tmp_path / "new")]
    assert main([words[0], "fruit", *words[1:], *large]) == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("triptych: the replay of 1,000,000,000,000 transitions needs")
    assert sentence.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_is_asked_again(machine: SimpleNamespace, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    values = [*FRUIT, "algorithm.batch=8", "budgets.published.episodes=6", "logging.checkpoint=5"]
    recipe = setup.load_recipe("fruit", values)
    local.start(recipe, "torch", 0, tmp_path / "run", until=3).run()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    machine.memory = 10
    with pytest.raises(RecipeError, match=r"but 0\.0 MB are free"):
        local.resume(tmp_path / "run")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    machine.memory = GB
    assert local.resume(tmp_path / "run").run()["status"] == "finished"


def test_the_lower_of_what_is_free_and_the_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:   5000 kB\n")
    monkeypatch.setattr(needs, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(needs, "_CGROUPS", tmp_path)
    assert needs.available_memory() == 5000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert needs.available_memory() == 5000 * 1024
    (tmp_path / "memory.max").write_text("123456\n")
    assert needs.available_memory() == 123456
    (tmp_path / "meminfo").unlink()
    assert needs.available_memory() is None


def test_the_machine_at_hand_says_something() -> None:
    free: Any = needs.available_memory()
    if os.path.exists("/proc/meminfo"):
        assert 10**7 < free < 10**14


def test_what_is_no_disk_is_left_to_the_write() -> None:
    assert shutil.disk_usage("/proc").total == 0
    check("algorithm.replay=100000", folder="/proc/a/run")


def test_a_name_that_is_too_long_is_left_to_the_write(machine: SimpleNamespace) -> None:
    check("algorithm.replay=1000000", folder="n" * 300)
