"""Training for real, in processes: the same twice, and the same whatever tears it apart."""

from __future__ import annotations

import csv
import math
import shutil
import signal
from pathlib import Path

import pytest
from terminal import FRUIT, Command, header, once, results, rows, triptych

BACKENDS = [
    pytest.param(name, marks=pytest.mark.xdist_group(f"train-{name}"))
    for name in ("torch", "jax", "keras")
]


def train(backend: str, out: str) -> list[str]:
    return ["train", *FRUIT, "--backend", backend, "--threads", "1", "--out", out]


on_torch = pytest.mark.parametrize("reference", BACKENDS[:1], indirect=True)
"""For what is the same on every backend."""


@pytest.fixture(scope="module", params=BACKENDS)
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    backend = request.param

    def make(folder: Path) -> None:
        answer = triptych(*train(backend, "whole"), "--json", folder=folder)
        expected = {"backend": backend, "seed": 0, "folder": "whole", "status": "finished"}
        assert answer.json.items() >= expected.items()
        assert answer.err == ""

    return once(tmp_path_factory, f"train-{backend}", make) / "whole"


def stop(words: list[str], run: Path, at_rows: int, number: int) -> Command:
    command = Command(words, run.parent)
    command.wait_until(lambda: rows(run) >= at_rows)
    command.signal_group(number)
    return command


def test_interrupted_and_killed_runs_end_as_if_nothing_had_been(reference: Path) -> None:
    backend, run = header(reference)["backend"], reference.parent / "torn"
    shutil.rmtree(run, ignore_errors=True)
    sentence = stop(train(backend, "torn"), run, 12, signal.SIGINT).answer().check_refused()
    assert "triptych train --resume torn" in sentence
    assert header(run)["status"] == "interrupted"
    assert 12 <= rows(run) < 30
    assert not (run / "params.safetensors").exists()

    before = rows(run)
    resume = ["train", "--resume", "torn", "--threads", "1"]
    killed = stop(resume, run, before + 6, signal.SIGKILL)
    assert killed.answer().code == -signal.SIGKILL
    assert header(run)["status"] == "running"

    assert triptych(*resume, "--json", folder=run.parent).json["status"] == "finished"
    assert results(run) == results(reference)
    assert "is finished already" in triptych(*resume, folder=run.parent).check_refused()
    assert results(run) == results(reference)


def test_the_tables_and_tensorboard_hold_the_same_curves(reference: Path) -> None:
    with open(reference / "metrics.csv", newline="") as handle:
        table = list(csv.DictReader(handle))
    assert list(table[0]) == [
        "episode", "frame", "running_reward", "max_reward", "epsilon", "loss",
    ]  # fmt: skip
    assert [int(row["episode"]) for row in table] == list(range(5, 151, 5))
    assert [int(row["frame"]) for row in table] == list(range(15, 451, 15))
    learnt = [math.isfinite(float(row["loss"])) for row in table]
    assert learnt == [int(row["frame"]) >= 128 for row in table]
    timing = (reference / "timing.csv").read_text().splitlines()
    assert timing[0] == "episode,frame,seconds"
    assert len(timing) == len(table) + 1

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(reference / "events"))
    events.Reload()
    for column in ("running_reward", "max_reward", "epsilon", "loss"):
        scalars = events.Scalars(column)
        assert [scalar.step for scalar in scalars] == [int(row["frame"]) for row in table]
        assert [scalar.value for scalar in scalars] == pytest.approx(
            [float(row[column]) for row in table], rel=1e-6, nan_ok=True
        )


@on_torch
def test_the_next_seed_learns_otherwise(reference: Path) -> None:
    other = [*train("torch", "other"), "--seed", "1"]
    assert triptych(*other, folder=reference.parent).code == 0
    assert results(reference.parent / "other")[0] != results(reference)[0]


@on_torch
def test_a_full_disk_loses_nothing(reference: Path) -> None:
    folder = reference.parent
    sentence = triptych(*train("torch", "none"), folder=folder, file_limit=4096).check_refused()
    assert "the disk is full" in sentence
    assert not (folder / "none").exists()

    sizes = [
        (checkpoint / "arrays.safetensors").stat().st_size
        for checkpoint in sorted((reference / "checkpoints").iterdir())
    ]
    limit = sizes[-1] - 1000
    sentence = triptych(*train("torch", "full"), folder=folder, file_limit=limit).check_refused()
    assert "the disk is full" in sentence
    assert "triptych train --resume full" in sentence
    assert triptych("train", "--resume", "full", "--threads", "1", folder=folder).code == 0
    assert results(folder / "full") == results(reference)


@on_torch
def test_two_processes_cannot_train_into_one_folder(reference: Path) -> None:
    run = reference.parent / "shared"
    first = Command(train("torch", "shared"), run.parent)
    first.wait_until(lambda: rows(run) >= 1)
    first.signal_group(signal.SIGSTOP)
    second = triptych("train", "--resume", "shared", folder=run.parent)
    first.signal_group(signal.SIGCONT)
    assert "is being trained by another process" in second.check_refused()
    assert first.answer().code == 0
    assert results(run) == results(reference)


@on_torch
def test_watch_and_report_show_the_run(reference: Path) -> None:
    folder = reference.parent
    shown = triptych("watch", "whole", "--episodes", "3", "--json", folder=folder).json
    assert len(shown["returns"]) == 3
    assert set(shown["returns"]) <= {-1.0, 1.0}
    names = [*(f"episode-{number:02d}.png" for number in (1, 2, 3)), "episodes.gif", "episodes.mp4"]
    assert shown["files"] == [f"whole/watch/{name}" for name in names]
    check_pictures(folder / "whole" / "watch", frames=3 * 4)

    page = triptych("report", "whole", "--json", folder=folder).json["report"]
    text = (folder / page).read_text()
    assert text.startswith("<!doctype html>") or text.startswith("<!DOCTYPE html>")
    assert "triptych train fruit" in text
    sentence = triptych("watch", "whole", "--out", "whole/run.json", folder=folder).check_refused()
    assert "is a file" in sentence


def check_pictures(folder: Path, frames: int) -> None:
    import av
    import numpy as np
    from PIL import Image

    strip = np.asarray(Image.open(folder / "episode-01.png").convert("RGB"))
    assert strip.shape[1] == 4 * strip.shape[0]
    assert strip.std() > 0
    gif = Image.open(folder / "episodes.gif")
    lasting = [gif.info.get("duration", 0)]
    for number in range(1, gif.n_frames):
        gif.seek(number)
        lasting.append(gif.info["duration"])
    # Equal pictures in a row are kept as one that lasts longer.
    assert sum(lasting) == frames * lasting[0] or gif.n_frames == frames
    with av.open(str(folder / "episodes.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == frames
