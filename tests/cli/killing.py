"""Killing a training again and again, and comparing all that it leaves with one left alone."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import kill_driver
import numpy as np
from terminal import Command, header, triptych

from triptych.runs import checkpoints, files
from triptych.runs.parts import FOLDER

SEED = int(os.environ.get("TRIPTYCH_KILL_SEED", "1"))
Point = tuple[str, str, str]
"""Step, kind and amount, as the driver takes them."""


def points(name: str, kills: int, first: int, last: int) -> list[Point]:
    """Draw points of a training, at rising steps; about half of them lie inside a checkpoint."""
    stream = np.random.default_rng([SEED, *name.encode()])
    steps = np.sort(stream.choice(np.arange(first, last), kills, replace=False))
    writes = stream.random(kills) < 0.5
    moments, changes = stream.uniform(0, 0.03, kills), stream.integers(0, 14, kills)
    return [
        (str(step), "write", str(change)) if write else (str(step), "moment", f"{moment:.6f}")
        for step, write, moment, change in zip(steps, writes, moments, changes, strict=True)
    ]


def check_kills(words: list[str], backend: str, chosen: list[Point], folder: Path) -> int:
    """Assert that a training ends the same, undisturbed and killed at the chosen points.

    Returns:
        How often a checkpoint was left half written.
    """
    how = ["--backend", backend, "--threads", "1"]
    whole = triptych("train", *words, *how, "--out", "whole", "--json", folder=folder)
    assert whole.json["status"] == "finished"
    command = ["train", *words, *how, "--out", "killed"]
    half_written = 0
    for point in chosen:
        answer = Command(command, folder, main=partial(kill_driver.run, *point)).answer()
        assert answer.code == -signal.SIGKILL, (point, chosen, answer)
        assert header(folder / "killed")["status"] == "running"
        half_written += any((folder / "killed" / "checkpoints").rglob(".*.tmp"))
        command = ["train", "--resume", "killed"]
    assert triptych(*command, "--json", folder=folder).json["status"] == "finished", chosen
    ours, theirs = content(folder / "killed"), content(folder / "whole")
    assert list(ours) == list(theirs), chosen
    unlike = [name for name in ours if ours[name] != theirs[name]]
    assert unlike == [], (chosen, SEED)
    return half_written


def content(run: Path) -> dict[str, Any]:
    """All that a seed decides of a run: whole files by name, and TensorBoard's values."""
    found: dict[str, Any] = {
        name: (run / name).read_bytes() for name in ("params.safetensors", "metrics.csv")
    }
    newest = checkpoints.listed(run / "checkpoints")[-1]
    manifest = files.read_json(newest / "manifest.json")
    assert manifest["parts"], "the replay was too small to be cut"
    for part in manifest["parts"].values():
        found[part["file"]] = (newest.parent / FOLDER / part["file"]).read_bytes()
    for path in sorted(newest.iterdir()):
        found[f"{newest.name}/{path.name}"] = path.read_bytes()
    own = header(run)
    return {**found, "judged": (own["metric"], own["returns"]), "events": events(run)}


def events(run: Path) -> list[tuple[int, str, bytes]]:
    """Step, tag and value of every scalar that TensorBoard shows, wall times left out."""
    # Said so, it reads without TensorFlow, whose import takes long.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(run / "events"), size_guidance={"scalars": 0})
    shown.Reload()
    return [
        (event.step, tag, np.float64(event.value).tobytes())
        for tag in shown.Tags()["scalars"]
        for event in shown.Scalars(tag)
    ]
