"""A kill of a training on Space Invaders on each backend; the emulator's state is part of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from killing import check_kills, points

pytest.importorskip("ale_py")
WORDS = [
    "space-invaders", "--budget", "short",
    "--set", "network=84x84x4 -> rescale 1/255 -> conv 8 8x8/4 relu -> conv 8 4x4/2 relu"
    " -> flatten -> dense 32 relu -> dense 6",
    "--set", "task.max_frames=2400", "--set", "outcome.episodes=1",
    "--set", "budgets.short.steps=1100", "--set", "algorithm.batch=8",
    "--set", "algorithm.learning_starts=300", "--set", "algorithm.random_steps=300",
    "--set", "algorithm.target_sync=100", "--set", "algorithm.replay=1050",
    "--set", "logging.checkpoint=100",
]  # fmt: skip


@pytest.mark.parametrize("backend", ["torch", "jax", "keras"])
def test_killed_it_equals_the_run_left_alone(backend: str, tmp_path: Path) -> None:
    check_kills(WORDS, backend, points(f"invaders {backend}", 1, 120, 980), tmp_path)
