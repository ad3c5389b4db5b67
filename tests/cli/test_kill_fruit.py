"""Twenty kills of a training on fruit, over the three backends."""

from __future__ import annotations

from pathlib import Path

import pytest
from killing import check_kills, points

WORDS = [
    "fruit", "--set", "task.grid=5",
    "--set", "network=5x5x1 -> conv 4 3x3 relu -> flatten -> dropout 0.1"
    " -> dense 16 relu -> dense 3",
    "--set", "budgets.published.episodes=400", "--set", "logging.episodes=5",
    "--set", "logging.checkpoint=25", "--set", "algorithm.batch=16",
    "--set", "algorithm.replay=1150", "--set", "algorithm.target_sync=40",
]  # fmt: skip
"""1,200 steps, so that the memory forgets, is cut into chunks, and is saved 48 times."""


@pytest.mark.parametrize(("backend", "kills"), [("torch", 7), ("jax", 7), ("keras", 6)])
def test_killed_again_and_again_it_equals_the_run_left_alone(
    backend: str, kills: int, tmp_path: Path
) -> None:
    chosen = points(f"fruit {backend}", kills, 30, 1000)
    assert check_kills(WORDS, backend, chosen, tmp_path) > 0, chosen
