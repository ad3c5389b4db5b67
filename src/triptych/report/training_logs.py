"""Training logs to be drawn: where they are, what is wrong with them, one after the other.

A log is a run's ``metrics.csv``, in its folder or alone. What is drawn of it is decided in
:mod:`triptych.report.training_plot`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from triptych.errors import RunError
from triptych.runs import files, metrics
from triptych.runs.folder import RunFolder
from triptych.runs.listing import find

EXPECTED = ("episode", "frame", "running_reward", "max_reward")
"""The columns that a log must have; ``epsilon`` and ``loss`` are drawn where they are."""
COUNTS = EXPECTED[:2]

_NAMED = re.compile(r"(.+)-seed(\d+)")


@dataclass(frozen=True)
class TrainingLog:
    """One training's rows.

    Attributes:
        path: of the table.
        label: who trained: the backends, or what the file is named after.
        seed: None where nobody says.
        columns: ``{name: (rows,)}``, at least one row.
        kind: equal for logs that differ by their seed alone.
        recipe: its name, empty where nobody says.
        window: how many episodes the running reward is the mean of; None where nobody says.
        joints: rows at which another log was joined.
    """

    path: Path
    label: str
    seed: int | None
    columns: dict[str, np.ndarray]
    kind: Hashable = None
    recipe: str = ""
    window: int | None = None
    joints: tuple[int, ...] = ()


def read_logs(paths: Sequence[str | Path]) -> list[TrainingLog]:
    """Return the logs of run folders, of folders of runs, and of tables; each file once.

    Raises:
        RunError: there is no such file, no run in a folder, no row in a table, or a table is
            damaged or none of ours; the message says which columns were expected and found.
    """
    if not paths:
        raise RunError("there is nothing to plot; give a run folder, a metrics.csv or a folder")
    logs = [log for path in paths for log in _logs_at(Path(path))]
    return list({log.path.resolve(): log for log in logs}.values())


def _logs_at(path: Path) -> list[TrainingLog]:
    if path.is_file():
        beside = path.name == "metrics.csv" and (path.parent / files.RUN_FILE).is_file()
        return [_of_run(RunFolder.open(path.parent)) if beside else _of_table(path)]
    if not path.is_dir():
        raise RunError(f"there is no file or folder {path}; give a run folder or a metrics.csv")
    runs = find(path)
    if not runs:
        raise RunError(
            f"there are no runs in {path}; give a run folder, a folder of runs, or a metrics.csv"
        )
    return [_of_run(run) for run in runs]


def _of_run(run: RunFolder) -> TrainingLog:
    recipe, header = run.recipe, run.header
    logging: Any = recipe.get("logging")
    window = logging.get("window") if isinstance(logging, dict) else None
    return TrainingLog(
        path=run.metrics,
        label=run.trained_by,
        seed=header.get("seed"),
        columns=_read(run.metrics),
        kind=(json.dumps(recipe, default=str), run.trained_by),
        recipe=str(header.get("recipe", "")),
        window=window if isinstance(window, int) else None,
    )


def _of_table(path: Path) -> TrainingLog:
    """Return a table without its run: it is named after its file, as in ``torch-seed0.csv``."""
    name = path.parent.resolve().name if path.stem == "metrics" else path.stem
    named = _NAMED.fullmatch(name)
    label, seed = (named[1], int(named[2])) if named else (name, None)
    kind = (str(path.parent.resolve()), label) if named else str(path.resolve())
    return TrainingLog(path, label, seed, _read(path), kind)


def _read(path: Path) -> dict[str, np.ndarray]:
    head = files.read_bytes(path)[:10_000].decode(errors="replace").partition("\n")[0].strip()
    if not head:
        raise RunError(f"{path} is empty; plot needs the columns {', '.join(EXPECTED)}")
    found = [cell.strip() for cell in head.split(",")]
    if not set(EXPECTED) <= set(found):
        shown = head if len(head) <= 100 else f"{head[:97]}..."
        raise RunError(
            f"{path} is no log of an agent's training: plot needs the columns "
            f"{', '.join(EXPECTED)}, and the first line is {shown!r}"
        )
    columns = metrics.read(path)
    if not len(columns["frame"]):
        raise RunError(f"{path} has no rows yet; plot it when the first have been written")
    for name in COUNTS:
        _check_counts(path, name, columns[name])
    return columns


def _check_counts(path: Path, name: str, counts: np.ndarray) -> None:
    wrong = ~np.isfinite(counts) | (np.diff(counts, prepend=-np.inf) < 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise RunError(
            f"{path} is damaged: line {row + 2} has {counts[row]:g} as its {name}, which must not "
            "fall"
        )


def join(logs: Sequence[TrainingLog]) -> TrainingLog:
    """Return logs as one training: each goes on counting where the one before it ended.

    Columns that not all have are left out.
    """
    first = logs[0]
    shared = [name for name in first.columns if all(name in log.columns for log in logs)]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in shared}
    for log in logs:
        for name in shared:
            before = parts[name][-1][-1] if name in COUNTS and parts[name] else 0
            parts[name].append(log.columns[name] + before)
    columns = {name: np.concatenate(values) for name, values in parts.items()}
    columns["max_reward"] = np.fmax.accumulate(columns["max_reward"])
    ends = np.cumsum([len(log.columns["frame"]) for log in logs])
    labels, recipes = (dict.fromkeys(names) for names in zip(*map(_names, logs), strict=True))
    return replace(
        first,
        label=", then ".join(labels),
        recipe=", then ".join(name for name in recipes if name),
        columns=columns,
        joints=tuple(int(end) for end in ends[:-1]),
        kind="joined",
    )


def _names(log: TrainingLog) -> tuple[str, str]:
    return log.label, log.recipe
