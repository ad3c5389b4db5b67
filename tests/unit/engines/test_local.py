"""Run folders: damaged checkpoints, runs killed at their very beginning, wrong folders."""

from __future__ import annotations

import json
import shutil
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest

from triptych.cli import main
from triptych.engines import evaluating, local, setup
from triptych.errors import RecipeError, RunError, StorageError, TriptychError
from triptych.runs import checkpoints
from triptych.runs.folder import RunFolder

pytest.importorskip("torch")
VALUES = [
    "task.grid=5",
    "network=5x5x1 -> flatten -> dense 8 relu -> dense 3",
    "algorithm.batch=8",
    "algorithm.learning_starts=8",
    "budgets.published.episodes=30",
    "logging.episodes=4",
    "logging.checkpoint=20",
]
"""90 steps, checkpoints at 20, 40, 60, 80 and 90."""


class Stop(Exception):
    """Stands for a process that was killed."""


@pytest.fixture(autouse=True)
def _keep_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A run that nothing disturbed."""
    begin(tmp_path / "whole").run()
    return tmp_path / "whole"


@pytest.fixture
def torn(tmp_path: Path) -> Path:
    """The same run, killed after 50 steps."""
    kill_at(begin(tmp_path / "torn"), 50)
    return tmp_path / "torn"


def begin(path: Path) -> local.Session:
    return local.start(setup.load_recipe("fruit", VALUES), "torch", 0, path)


def kill_at(session: local.Session, step: int) -> None:
    def tell(done: int, total: int, unit: str) -> None:
        if session.training.agent.steps == step:
            raise Stop

    with pytest.raises(Stop):
        session.run(tell)


def files(run: Path) -> tuple[bytes, bytes]:
    return (run / "params.safetensors").read_bytes(), (run / "metrics.csv").read_bytes()


def newest(run: Path) -> Path:
    return checkpoints.listed(run / "checkpoints")[-1]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def test_a_killed_run_ends_as_if_nothing_had_been(whole: Path, torn: Path) -> None:
    assert newest(torn).name == "000000040"
    assert RunFolder.open(torn).status == "running"
    local.resume(torn).run()
    assert files(torn) == files(whole)


@pytest.mark.parametrize("name", ["arrays.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_damaged_checkpoint_is_passed_over(
    name: str, damage: object, whole: Path, torn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(newest(torn) / name)  # type: ignore[operator]
    assert main(["train", "--resume", str(torn)]) == 0
    warning = capsys.readouterr().err
    assert warning.startswith("triptych: warning: ")
    assert "000000040" in warning and warning.endswith("going back to step 20\n")
    assert warning.count("\n") == 1
    assert files(torn) == files(whole)


def test_without_a_good_checkpoint_it_says_so(
    torn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in checkpoints.listed(torn / "checkpoints"):
        cut(path / "arrays.safetensors")
    before = {path: path.read_bytes() for path in torn.rglob("*") if path.is_file()}
    assert main(["train", "--resume", str(torn)]) == 2
    sentence = capsys.readouterr().err
    assert sentence.startswith("triptych: no checkpoint can be used: ")
    assert sentence.count("arrays.safetensors has ") == 2
    assert {path: path.read_bytes() for path in torn.rglob("*") if path.is_file()} == before


def test_lost_checkpoints_are_no_new_beginning(torn: Path) -> None:
    shutil.rmtree(torn / "checkpoints")
    with pytest.raises(TriptychError, match="holds no checkpoint yet"):
        local.resume(torn)


@pytest.mark.parametrize("left", [("run.json", "recipe.yaml"), ("metrics.csv", "timing.csv")])
def test_killed_before_its_first_checkpoint_it_begins_anew(
    left: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "early"
    kill_at(begin(run), 1)
    for path in run.iterdir():
        if path.name not in {"run.json", "recipe.yaml", *left}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    local.resume(run).run()
    assert files(run) == files(whole)


def test_killed_while_it_was_judged_it_is_judged_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "judged"
    with monkeypatch.context() as patch:
        patch.setattr(evaluating, "judge", lambda *_: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            begin(run).run()
    assert not (run / "params.safetensors").exists()
    local.resume(run).run()
    assert files(run) == files(whole)


def test_a_run_keeps_its_folder_to_itself(torn: Path) -> None:
    session = local.resume(torn)
    with pytest.raises(RunError, match="is being trained by another process"):
        local.resume(torn)
    session.run()
    with pytest.raises(RunError, match="is finished already; look at it with: triptych watch"):
        local.resume(torn)


def test_a_failed_beginning_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(checkpoints, "save", full)
    with pytest.raises(StorageError):
        begin(tmp_path / "new")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "thesis.txt").touch()
    with pytest.raises(RunError, match="exists and is not empty"):
        begin(tmp_path / "old")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["old", "thesis.txt"]


@pytest.mark.usefixtures("signals_work")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_save_and_say_how_to_go_on(
    number: signal.Signals, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "my run"
    session = begin(run)

    def tell(done: int, total: int, unit: str) -> None:
        if session.training.agent.steps in (50, 51):
            signal.raise_signal(number)

    with pytest.raises(TriptychError, match=r"saved up to step 50; .*--resume '.*my run'"):
        session.run(tell)
    assert RunFolder.open(run).status == "interrupted"
    assert newest(run).name == "000000050"
    local.resume(run).run()
    assert files(run) == files(whole)


def test_the_header_says_how_it_was_made(whole: Path) -> None:
    header = json.loads((whole / "run.json").read_text())
    told = {"recipe": "fruit", "backend": "torch", "seed": 0, "dtype": "float32"}
    assert header.items() >= {**told, "budget": "published", "status": "finished"}.items()
    assert header["versions"]["torch"]
    assert len(header["returns"]) == 15
    assert header["metric"] == sum(value > 0 for value in header["returns"]) / 15


def test_what_cannot_be_judged_is_refused_before_training() -> None:
    values = ["task={environment: CartPole-v1}", "network=4 -> dense 2"]
    with pytest.raises(RecipeError, match=r"outcome\.episodes: null plays every start state"):
        setup.load_recipe("fruit", values)
    recipe = setup.load_recipe("fruit", [*values, "outcome.episodes=2"])
    assert recipe.outcome.episodes == 2


def test_a_resumed_run_gets_the_threads_it_was_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = tmp_path / "run"
    local.start(setup.load_recipe("fruit", VALUES), "torch", 0, run, until=5).run()
    assert header(run)["threads"] == 1
    limits: list[int] = []
    monkeypatch.setattr(local, "limit_threads", limits.append)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        local.resume(run, until=7).run()
        local.resume(run, threads=1, until=9).run()
    assert limits == [1]
    with pytest.warns(UserWarning, match="with 1 threads so far and now has 2: float sums"):
        local.resume(run, threads=2, until=11).run()
    assert limits == [1] and header(run)["threads"] == 2
    local.resume(run, until=13).run()
    assert limits == [1, 2]


def test_all_cores_are_said_to_be_others_on_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run = tmp_path / "run"
    local.start(setup.load_recipe("fruit", VALUES), "torch", 0, run, until=5).run()
    assert header(run)["threads"] is None
    monkeypatch.setattr(local.os, "cpu_count", lambda: 77)
    with pytest.warns(UserWarning, match=r"with all \d+ threads so far and now has all 77"):
        local.resume(run, until=7).run()
    assert header(run)["cores"] == 77


def header(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found
