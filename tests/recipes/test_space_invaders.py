"""Space Invaders through the real emulator: learns, is interrupted, resumes to the same bits."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from pathlib import Path

import pytest

from triptych.engines import local
from triptych.engines.setup import load_recipe
from triptych.errors import Interrupted

pytest.importorskip("ale_py")
pytest.importorskip("torch")

SHORT = [
    "task.max_frames=500",
    "task.noop_max=10",
    "algorithm.learning_starts=60",
    "algorithm.random_steps=20",
    "algorithm.exploration={schedule: linear, start: 1.0, end: 0.1, steps: 200}",
    "algorithm.batch=4",
    "algorithm.replay=250",
    "algorithm.target_sync=100",
    "algorithm.update_every=4",
    "budgets.short.steps=300",
    "logging.checkpoint=110",
    "outcome.episodes=1",
]
"""300 steps in episodes of at most 125; the memory is full before they end."""


def begin(run: Path) -> local.Session:
    return local.start(load_recipe("space-invaders", SHORT), "torch", 0, run, budget="short")


def stop_at(session: local.Session, step: int) -> None:
    """Press Ctrl-C at a step."""

    def tell(done: int, total: int, unit: str) -> None:
        assert (total, unit) == (300, "step")
        if done == step:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=f"saved up to step {step}; go on with"):
        session.run(tell)


@pytest.mark.usefixtures("signals_work")
def test_interrupted_in_the_middle_of_an_episode(tmp_path: Path) -> None:
    whole = begin(tmp_path / "whole").run()
    assert whole["status"] == "finished"
    stop_at(begin(tmp_path / "torn"), 170)
    newest = tmp_path / "torn" / "checkpoints" / "000000170"
    shutil.rmtree(newest)  # so that it goes on from step 110
    stop_at(local.resume(tmp_path / "torn"), 270)
    torn = local.resume(tmp_path / "torn").run()

    assert torn["metric"] == whole["metric"]
    for name in ("params.safetensors", "metrics.csv"):
        assert (tmp_path / "torn" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with open(tmp_path / "whole" / "metrics.csv", newline="") as handle:
        table = list(csv.DictReader(handle))
    assert [int(row["frame"]) for row in table][-1] == 300
    assert len(table) >= 3
    assert float(table[-1]["loss"]) > 0.0
