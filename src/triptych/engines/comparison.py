"""Training one recipe on several backends with several seeds, into one folder, to be resumed.

::

    <folder>/
        compare.json         the plan: recipe, backends, seeds, budget
        runs/<backend>-seed<n>/   one run folder each
        forecast.json        the power of so many seeds, told before training (by the command)
        certificate.json     what the ladder and the outcome found (written by the command)
        report.html          the page (written by the command)

Proving and drawing belong to ``parity`` and ``report``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from triptych.engines import local, needs, setup
from triptych.engines.processes import Job, Tell, run_all
from triptych.errors import RunError, StorageError
from triptych.runs import files, trees
from triptych.runs.folder import RunFolder
from triptych.spec.recipe import Recipe

PLAN, CERTIFICATE, PAGE = "compare.json", "certificate.json", "report.html"
FORECAST = "forecast.json"


@dataclass(frozen=True)
class Plan:
    """What a comparison trains; ``data`` is the recipe's plain mapping."""

    recipe: str
    data: Mapping[str, Any]
    backends: list[str]
    seeds: list[int]
    budget: str | None
    verify: bool
    command: str

    def reparse(self) -> Recipe:
        """Return the recipe."""
        return setup.reparse(self.recipe, self.data)


def begin(folder: Path, plan: Plan) -> None:
    """Make a comparison's folder.

    Raises:
        RunError: something stands there already; the message says how to go on.
        RecipeError, StorageError: the replay memories do not fit the computer or its disk.
        StorageError: it cannot be written; nothing is left behind.
    """
    _refuse_existing(folder)
    _check_needs(folder, plan)
    fresh = not folder.exists()
    text = json.dumps(trees.plain(asdict(plan), "plan"), indent=2)
    try:
        with files.storage(folder):
            folder.mkdir(parents=True, exist_ok=True)
        files.write_bytes(folder / PLAN, text.encode())
    except StorageError:
        if fresh:
            local.remove_if_empty(folder)
        raise


def read(folder: Path) -> Plan:
    """Return the plan of a comparison; raises ``RunError`` where there is none or it is damaged."""
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}; a comparison begins with: triptych compare")
    if (folder / files.RUN_FILE).is_file():
        raise RunError(f"{folder} is a single run; go on with: {files.resume_command(folder)}")
    if not (folder / PLAN).is_file():
        raise RunError(f"{folder} is not a comparison: it has no {PLAN}")
    data = files.read_json(folder / PLAN)
    if set(data) != set(Plan.__dataclass_fields__):
        raise RunError(f"{folder / PLAN} is not a comparison's plan; begin a new comparison")
    return Plan(**data)


def train(folder: Path, plan: Plan, show: bool) -> list[dict[str, Any]]:
    """Train what is not finished yet, each run in a process of its own.

    Returns:
        For each run, by seed and backend: backend, seed, folder, metric.

    Raises:
        KeyboardInterrupt: after Ctrl-C; every run is saved.
        TriptychError: the first error of a run, after the others have ended.
    """
    _check_needs(folder, plan)
    jobs = [
        Job(f"{backend} seed {seed}", train_one, (str(folder), plan, backend, seed))
        for seed in plan.seeds
        for backend in plan.backends
    ]
    results = run_all(jobs, show)
    keys = ("backend", "seed", "folder", "metric")
    return [{key: result[key] for key in keys} for result in results]


def _check_needs(folder: Path, plan: Plan) -> None:
    """Refuse runs that do not fit side by side."""
    recipe, runs = plan.reparse(), len(plan.backends) * len(plan.seeds)
    at_once = min(runs, len(os.sched_getaffinity(0)))
    needs.check(recipe, folder, recipe.budget_named(plan.budget), at_once, runs)


def scores(folder: Path, plan: Plan) -> dict[str, dict[int, float]]:
    """Return the metric of every run that is finished, by backend and seed."""
    found: dict[str, dict[int, float]] = {}
    for backend in plan.backends:
        paths = {seed: place_of(folder, backend, seed) for seed in plan.seeds}
        there = {
            seed: RunFolder.open(path)
            for seed, path in paths.items()
            if (path / files.RUN_FILE).is_file()
        }
        for run in there.values():
            _check_stayed(run, backend)
        found[backend] = {
            seed: run.header["metric"] for seed, run in there.items() if run.status == "finished"
        }
    return found


def place_of(folder: Path, backend: str, seed: int) -> Path:
    """Return where one run of a comparison is."""
    return folder / "runs" / f"{backend}-seed{seed}"


def train_one(folder: str, plan: Plan, backend: str, seed: int, tell: Tell) -> dict[str, Any]:
    """Train, or go on training, one run of a comparison; made to be called in a process."""
    path = place_of(Path(folder), backend, seed)
    if not (path / files.RUN_FILE).is_file():
        session = local.start(
            plan.reparse(), backend, seed, path, budget=plan.budget, command=plan.command
        )
        return session.run(tell)
    run = RunFolder.open(path)
    _check_stayed(run, backend)
    if run.status == "finished":
        return local.summary(run)
    return local.resume(path).run(tell)


def _check_stayed(run: RunFolder, backend: str) -> None:
    """A run that another backend trained for a while says nothing about its own."""
    if [move["backend"] for move in run.moves] != [backend]:
        raise RunError(
            f"{run.path} was trained by {run.trained_by}, so that it cannot stand for {backend} in "
            "a comparison; move its folder elsewhere, and its training begins anew"
        )


def _refuse_existing(folder: Path) -> None:
    with files.storage(folder):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise RunError(f"{folder} is a file, not a folder; choose a folder with --out")
        if not any(folder.iterdir()):
            return
    if (folder / PLAN).is_file():
        raise RunError(
            f"{folder} holds a comparison already; go on with: {resume_command(folder)}, "
            "or choose another folder with --out"
        )
    raise RunError(f"{folder} exists and is not empty; choose another folder with --out")


def resume_command(folder: Path) -> str:
    """Return the command that goes on with a comparison, fit to paste into a shell."""
    return files.resume_command(folder).replace("train", "compare", 1)
