"""DQN's options in whole trainings on the fruit game: they learn, stop, and go on exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from triptych.engines import local, setup
from triptych.runs import checkpoints

pytest.importorskip("torch")

SMALL = [
    "task.grid=6",
    "algorithm.batch=16",
    "algorithm.learning_starts=64",
    "algorithm.target_sync=120",
    "logging.checkpoint=120",
    "budgets.published={steps: 2400}",
]
OPTIONS = {
    "games": ["algorithm.games=4"],
    "disk": ["algorithm.replay_storage=disk"],
    "all": ["algorithm.n_step=2", "algorithm.prioritised={}", "algorithm.games=3",
            "algorithm.dueling=true", "algorithm.double=true"],
}  # fmt: skip


@pytest.mark.parametrize("name", ["games", "all"])
def test_it_learns(name: str, tmp_path: Path) -> None:
    """Standing still catches the fruit in half of all starts of the 6 x 6 game."""
    recipe = setup.load_recipe("fruit", [*SMALL, *OPTIONS[name]])
    done = local.start(recipe, "torch", 0, tmp_path / "run").run()
    assert done["metric"] >= 0.85, done


@pytest.mark.parametrize("name", OPTIONS)
def test_stopped_and_resumed_it_ends_alike(name: str, tmp_path: Path) -> None:
    recipe = setup.load_recipe("fruit", [*SMALL, *OPTIONS[name], "budgets.published={steps: 480}"])
    local.start(recipe, "torch", 0, tmp_path / "whole").run()
    local.start(recipe, "torch", 0, tmp_path / "torn", until=204).run()
    local.resume(tmp_path / "torn").run()
    whole, torn = (
        checkpoints.load_latest(tmp_path / run / "checkpoints") for run in ("whole", "torn")
    )
    assert whole.step == torn.step == 480
    assert whole.state == torn.state
    assert set(whole.arrays) == set(torn.arrays)
    assert all((whole.arrays[key] == torn.arrays[key]).all() for key in whole.arrays)
    for file in ("metrics.csv", "params.safetensors"):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "torn" / file).read_bytes()
