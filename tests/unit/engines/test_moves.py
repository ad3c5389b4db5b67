"""Runs that move to another backend in the middle: the same run, and a folder that says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych.cli import main
from triptych.engines import comparison, local, setup
from triptych.errors import BackendError, RunError, Unsupported
from triptych.runs import checkpoints, metrics
from triptych.runs.folder import RunFolder

for package in ("torch", "jax", "keras"):
    pytest.importorskip(package)

VALUES = [
    "task.grid=5",
    "network=5x5x1 -> conv 3 3x3 relu -> flatten -> dense 8 relu -> dense 3",
    "algorithm.batch=8",
    "algorithm.learning_starts=8",
    "algorithm.target_sync=7",
    "optimizer={name: adam, rate: {schedule: linear, start: 0.01, end: 0.001, steps: 150}}",
    "budgets.published.episodes=60",
    "logging.episodes=1",
    "logging.checkpoint=20",
]
"""180 steps and 173 updates; checkpoints at every 20 steps."""

Trace = list[tuple[int, Any]]


def begin(path: Path, backend: str, until: int | None = None, **how: Any) -> local.Session:
    recipe = setup.load_recipe("fruit", VALUES)
    return local.start(recipe, backend, 0, path, dtype="float64", until=until, **how)


def traced(session: local.Session) -> Trace:
    session.training.trace = []
    session.run()
    return session.training.trace


@pytest.fixture(scope="module")
def stayed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trace]:
    """A run that never moved."""
    path = tmp_path_factory.mktemp("moves") / "stayed"
    return path, traced(begin(path, "keras"))


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that stopped on PyTorch at episode 30, which is step 90."""
    begin(tmp_path / "run", "torch", until=30).run()
    return tmp_path / "run"


def moves(run: Path) -> list[tuple[int, str]]:
    return [(move["step"], move["backend"]) for move in RunFolder.open(run).moves]


def test_a_run_on_all_three_is_the_run_that_stayed(
    stayed: tuple[Path, Trace], tmp_path: Path
) -> None:
    run, (home, expected) = tmp_path / "moved", stayed
    trace = traced(begin(run, "keras", until=30))
    assert RunFolder.open(run).status == "interrupted"
    trace += traced(local.resume(run, "jax", until=45))
    trace += traced(local.resume(run, "torch", command="triptych train --resume moved"))

    assert [action for action, _ in trace] == [action for action, _ in expected]
    assert len({action for action, _ in trace}) == 3
    own, theirs = metrics.read(run / "metrics.csv"), metrics.read(home / "metrics.csv")
    for column in ("episode", "frame", "running_reward", "max_reward", "epsilon"):
        assert np.array_equal(own[column], theirs[column]), column
    assert np.isfinite(own["loss"]).sum() > 50
    np.testing.assert_allclose(own["loss"], theirs["loss"], rtol=1e-9)
    there = RunFolder.open(home)
    for name, array in RunFolder.open(run).params().items():
        np.testing.assert_allclose(array, there.params()[name], rtol=0, atol=1e-10)


def test_the_header_says_who_trained_which_steps(
    stayed: tuple[Path, Trace], tmp_path: Path
) -> None:
    run = tmp_path / "moved"
    begin(run, "jax", until=30).run()
    local.resume(run, "torch", until=45, command="the second").run()
    local.resume(run, "jax").run()
    header = json.loads((run / "run.json").read_text())
    assert header["backend"] == "jax" and header["status"] == "finished"
    assert header["moves"] == [
        {"step": 0, "backend": "jax"},
        {"step": 90, "backend": "torch", "command": "the second"},
        {"step": 135, "backend": "jax"},
    ]
    assert {"torch", "jax", "flax", "optax"} <= set(header["versions"])
    assert RunFolder.open(run).trained_by == "jax, then torch, then jax"
    assert "moves" not in json.loads((stayed[0] / "run.json").read_text())


def test_staying_is_no_move(stopped: Path) -> None:
    before = RunFolder.open(stopped).header
    local.resume(stopped, "torch", until=40, command="again").run()
    assert RunFolder.open(stopped).header == before


def test_going_back_behind_a_move_forgets_it(stopped: Path) -> None:
    local.resume(stopped, "jax", until=32, command="over").run()
    assert moves(stopped) == [(0, "torch"), (90, "jax")]
    newest = checkpoints.listed(stopped / "checkpoints")[-1]
    shutil.rmtree(newest)
    local.resume(stopped, "torch", until=35).run()
    assert moves(stopped) == [(0, "torch")]
    assert RunFolder.open(stopped).header["backend"] == "torch"


def test_moved_twice_without_a_step_it_moved_once(stopped: Path) -> None:
    local.resume(stopped, "keras").close()
    assert moves(stopped) == [(0, "torch"), (90, "keras")]
    local.resume(stopped, "jax", until=31).run()
    assert moves(stopped) == [(0, "torch"), (90, "jax")]


def contents(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_what_cannot_be_resumed_there_stays_as_it_is(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, make = contents(stopped), setup.make_learner
    assert main(["train", "--resume", str(stopped), "--backend", "jx"]) == 2
    assert capsys.readouterr().err == (
        "triptych: unknown backend 'jx' (did you mean 'jax'?); there are torch, jax, keras, numpy\n"
    )
    assert main(["train", "--resume", str(stopped), "--backend", ""]) == 2
    assert main(["train", "--resume", str(stopped), "--backend", "jax", "--until", "30"]) == 2
    assert "is at episode 30 already; --until takes a later one" in capsys.readouterr().err

    def refuse(recipe: Any, backend: str, *rest: Any) -> Any:
        if backend == "jax":
            raise Unsupported("backend 'jax' cannot express node 'conv1' exactly")
        return make(recipe, backend, *rest)

    monkeypatch.setattr(setup, "make_learner", refuse)
    with pytest.raises(Unsupported, match="conv1"):
        local.resume(stopped, "jax")
    assert contents(stopped) == before
    local.resume(stopped).run()
    assert moves(stopped) == [(0, "torch")]


def test_a_backend_that_gives_up_hands_the_run_back(tmp_path: Path) -> None:
    values = [*VALUES, "network=5x5x1 -> flatten -> dense 96 relu -> dense 3"]
    recipe = setup.load_recipe("fruit", values)
    run = tmp_path / "run"
    local.start(recipe, "torch", 0, run, dtype="float64", until=30).run()
    with pytest.raises(BackendError, match="finite differences"):
        local.resume(run, "numpy").run()
    assert RunFolder.open(run).status == "interrupted"
    assert RunFolder.open(run).header["backend"] == "torch"
    assert moves(run) == [(0, "torch")]
    local.resume(run).run()
    assert RunFolder.open(run).status == "finished"


def test_damaged_moves_are_named(stopped: Path) -> None:
    for wrong in ([], [{"step": 0}], "keras"):
        header = RunFolder.open(stopped).header | {"moves": wrong}
        (stopped / "run.json").write_text(json.dumps(header))
        with pytest.raises(RunError, match="'moves' must list steps and backends"):
            local.resume(stopped, "jax")


def test_a_moved_run_cannot_stand_for_one_backend(tmp_path: Path) -> None:
    recipe = setup.load_recipe("fruit", VALUES)
    plan = comparison.Plan("fruit", recipe.data, ["torch", "jax"], [0], None, False, "")
    comparison.begin(tmp_path / "both", plan)
    run = comparison.place_of(tmp_path / "both", "torch", 0)
    begin(run, "torch", until=30).run()
    local.resume(run, "jax", until=40).run()
    sentence = "torch-seed0 was trained by torch, then jax, so that it cannot stand for torch"
    with pytest.raises(RunError, match=sentence):
        comparison.train_one(str(tmp_path / "both"), plan, "torch", 0, lambda *_: None)
    with pytest.raises(RunError, match=sentence):
        comparison.scores(tmp_path / "both", plan)
