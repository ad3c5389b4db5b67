"""The sparse autoencoder as a run: resumed to the same bits, moved to another backend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from triptych.cli import main
from triptych.engines import local, setup
from triptych.runs import metrics

pytest.importorskip("torch")
SHORT = ["task.examples=60", "budgets.short.epochs=16", "logging.checkpoint=5"]


def begin(run: Path, until: int | None = None) -> local.Session:
    recipe = setup.load_recipe("sparse-autoencoder", SHORT)
    return local.start(recipe, "torch", 0, run, dtype="float64", budget="short", until=until)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert begin(run).run()["status"] == "finished"
    return run


def test_a_run_keeps_what_it_needs(whole: Path) -> None:
    table = metrics.read(whole / "metrics.csv")
    assert list(table) == [
        *("epoch", "update", "loss", "error", "weights", "sparsity", "gradient"),
        "validation_error",
    ]
    assert list(table["epoch"]) == list(range(1, 17))
    assert table["loss"][-1] < 0.7 * table["loss"][0]
    header = json.loads((whole / "run.json").read_text())
    assert header["metric"] == table["validation_error"][-1]
    assert {name: len(values) for name, values in header["input_map"].items()} == {
        **{"low": 64, "gain": 64, "least": 64}
    }


def test_resumed_it_ends_in_the_same_bits(whole: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    assert begin(torn, until=7).run()["status"] == "interrupted"
    assert local.resume(torn).run()["status"] == "finished"
    for name in ("params.safetensors", "metrics.csv"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("backend", ["jax"])
def test_moved_it_goes_on_as_if_it_had_stayed(whole: Path, tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    moved = tmp_path / "moved"
    begin(moved, until=7).run()
    local.resume(moved, backend).run()
    home, away = (metrics.read(run / "metrics.csv") for run in (whole, moved))
    assert np.array_equal(home["update"], away["update"])
    assert np.max(np.abs(home["loss"] / away["loss"] - 1.0)) <= 1e-8
    assert not np.array_equal(home["loss"], away["loss"])


def test_there_is_nothing_to_watch(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", str(whole)]) == 2
    assert "in which nobody acts or plays" in capsys.readouterr().err
