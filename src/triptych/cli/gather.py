"""Gathering what the page shows from a comparison's folder or from run folders.

Drawing it is the report's work. Replays and native definitions are made in processes of their own,
since each needs its framework.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from triptych.engines import setup
from triptych.engines.comparison import CERTIFICATE, PLAN
from triptych.engines.evaluating import kept
from triptych.engines.processes import Job, Tell, run_all
from triptych.engines.replay import frame_rate, play_run
from triptych.errors import RunError
from triptych.parity.certificate import installed_versions
from triptych.report import media
from triptych.report.page import Page
from triptych.runs import files, metrics
from triptych.runs.folder import RunFolder
from triptych.runs.listing import find
from triptych.spec import table
from triptych.spec.recipe import Recipe

_MOST_FRAMES = 300
"""Pictures of one replay on the page."""


def page_of_folders(folders: Sequence[Path], show: bool = True) -> Page:
    """Return the page of one comparison, or of one or more runs of one recipe.

    Raises:
        RunError: a folder holds no runs, or runs of different recipes.
    """
    runs = _runs(folders)
    recipe = setup.recipe_of(runs[0])
    certificate = _certificate(folders[0])
    looks = _looks(runs, show)
    return Page(
        title=recipe.name,
        about=recipe.about,
        recipe_text=yaml.safe_dump(dict(recipe.data), sort_keys=False, allow_unicode=True),
        commands=_commands(folders[0], runs),
        versions=(certificate or {}).get("versions") or installed_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        ladder=(certificate or {}).get("rungs", []),
        runs=[_run(run) for run in runs],
        evaluations=_evaluations(runs, recipe),
        replays=[look["replay"] for look in looks if look["replay"] is not None],
        definitions={look["backend"]: look["source"] for look in looks},
        network=table.rows(recipe.network),
        certificate=json.dumps(certificate, indent=2) if certificate else "",
    )


def _runs(folders: Sequence[Path]) -> list[RunFolder]:
    for folder in folders:
        if not folder.is_dir():
            raise RunError(f"there is no folder {folder}; give a comparison or run folders")
    runs = [run for folder in folders for run in find(folder)]
    if not runs:
        raise RunError(f"there are no runs in {', '.join(map(str, folders))}")
    for run in runs:
        if (setup.header_of(run).recipe, run.recipe) != (runs[0].header["recipe"], runs[0].recipe):
            raise RunError(
                f"a page shows one recipe, but {run.path} and {runs[0].path} are runs of different "
                "recipes, or of one recipe with different values; give those of one"
            )
    return runs


def _certificate(folder: Path) -> dict[str, Any] | None:
    path = folder / CERTIFICATE
    return files.read_json(path) if path.is_file() else None


def _commands(folder: Path, runs: Sequence[RunFolder]) -> list[str]:
    path = folder / PLAN
    if path.is_file():
        return [str(files.read_json(path).get("command", ""))]
    given = [word for run in runs for word in (run.header, *run.moves)]
    return list(dict.fromkeys(str(how["command"]) for how in given if how.get("command")))


def _run(run: RunFolder) -> dict[str, Any]:
    columns = metrics.read(run.metrics)
    return {
        "backend": run.trained_by,
        "seed": run.header["seed"],
        "folder": run.path.name,
        "metric": run.header.get("metric"),
        "metrics": {name: values.tolist() for name, values in columns.items()},
    }


def _evaluations(runs: Sequence[RunFolder], recipe: Recipe) -> list[dict[str, Any]]:
    """What ``evaluate`` kept with the runs; random play that several of them keep, once."""
    rows = [row | {"folder": run.path.name} for run in runs for row in kept(run, recipe)]
    trained = [row for row in rows if row["step"] is not None]
    random = [row | {"folder": None} for row in rows if row["step"] is None]
    return trained + [row for k, row in enumerate(random) if row not in random[:k]]


def _looks(runs: Sequence[RunFolder], show: bool) -> list[dict[str, Any]]:
    """The first run of each backend, or chain of them: its replay and its native definition."""
    first: dict[str, RunFolder] = {}
    for run in runs:
        first.setdefault(run.trained_by, run)
    jobs = [Job(f"{name} replay", look, (str(run.path),)) for name, run in first.items()]
    return run_all(jobs, show)


def look(path: str, tell: Tell) -> dict[str, Any]:
    """Play a few greedy episodes of a run and take its definition; runs in its own process."""
    from triptych.backends import registry

    folder = RunFolder.open(path)
    backend, recipe = setup.header_of(folder).backend, setup.recipe_of(folder)
    replay = _replay(path, folder, recipe) if "environment" in recipe.task else None
    tell(1, 2, "step")
    source = registry.get(backend).source(recipe.network, recipe.name)
    tell(2, 2, "step")
    return {"backend": backend, "replay": replay, "source": source}


def _replay(path: str, folder: RunFolder, recipe: Recipe) -> dict[str, Any]:
    short = recipe.outcome.episodes is None
    episodes = play_run(path, 6 if short else 1, seed=0, most=_MOST_FRAMES)
    frames = np.stack([frame for episode in episodes for frame in episode.frames])
    returns = ", ".join(f"{episode.total:g}" for episode in episodes)
    return {
        "backend": folder.trained_by,
        "data": media.animated_webp(frames, frame_rate(recipe)),
        "mime": "image/webp",
        "caption": f"greedy episodes, returns {returns}" if short else f"return {returns}",
    }
