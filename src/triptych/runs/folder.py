"""The run folder: one training of one recipe on one backend with one seed.

::

    <folder>/
        recipe.yaml          the recipe as resolved, overrides included
        run.json             format, recipe, backend, seed, dtype, command, versions, status, and
                             where it was moved to another backend: moves
        metrics.csv          one row for each logging interval, the same for the same seed
        timing.csv           the wall time of those rows
        events/              the same rows for TensorBoard
        checkpoints/         what an exact resume needs
        params.safetensors   the final params, once finished
        evaluation.json      what ``evaluate`` found, see evaluations.py

This module makes, opens and describes the folder. What is in the tables and the checkpoints belongs
to their own modules.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from triptych.errors import RunError, did_you_mean
from triptych.runs import arrays, files, trees

FORMAT = 1
STATUSES = ("running", "interrupted", "finished")
"""A run whose process was killed stays ``running``; it resumes like an interrupted one."""

_RECIPE = "recipe.yaml"


class RunFolder:
    """A run's folder on disk; make one with :meth:`create` or :meth:`open`.

    Attributes:
        path: the folder.
        header: a copy of ``run.json``; change it with :meth:`update`.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self.header = header

    @classmethod
    def create(
        cls, path: str | Path, recipe: Mapping[str, Any], header: Mapping[str, Any]
    ) -> RunFolder:
        """Make the folder of a new run; its status is ``running``.

        Args:
            path: where; parents are made. An empty folder may stand there.
            recipe: the resolved recipe as plain data.
            header: what ``run.json`` shall say: recipe, backend, seed, dtype, command, versions.

        Raises:
            RunError: something stands there already; the message says how to resume.
            StorageError: the disk is full or the parent cannot be written.
        """
        path = Path(path)
        full = {"format": FORMAT, **trees.plain(header, "header"), "status": "running"}
        text = files.yaml_bytes(trees.plain(recipe, "recipe"))
        with files.storage(path):
            _refuse_existing(path)
            path.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path / _RECIPE, text)
        try:
            # Last, because this file is what makes the folder a run.
            files.write_bytes(path / files.RUN_FILE, files.json_bytes(full))
        except BaseException:
            (path / _RECIPE).unlink(missing_ok=True)
            raise
        return cls(path, full)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open the folder of a run.

        Raises:
            RunError: it is missing, is not a run, or was written by a newer version.
        """
        path = Path(path)
        if not os.path.isdir(path):
            raise RunError(f"there is no run folder {path}{_suggestion(path)}")
        if not os.path.isfile(path / files.RUN_FILE):
            raise RunError(f"{path} is not a run folder: it has no {files.RUN_FILE}")
        header = files.read_json(path / files.RUN_FILE)
        if header.get("format") != FORMAT or header.get("status") not in STATUSES:
            raise RunError(
                f"{path / files.RUN_FILE} has format {header.get('format')!r} and status "
                f"{header.get('status')!r}; expected format {FORMAT} and one of "
                f"{', '.join(STATUSES)}"
            )
        return cls(path, header)

    @property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe; raises ``RunError`` where the file is damaged."""
        path = self.path / _RECIPE
        try:
            recipe = yaml.safe_load(files.read_bytes(path))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from None
        if not isinstance(recipe, dict):
            raise RunError(f"{path} must hold a recipe, but holds {type(recipe).__name__}")
        return recipe

    @property
    def status(self) -> str:
        """``running``, ``interrupted`` or ``finished``."""
        return self.header["status"]

    @property
    def metrics(self) -> Path:
        """The table that is the same for the same seed."""
        return self.path / "metrics.csv"

    @property
    def timing(self) -> Path:
        """The table of wall times."""
        return self.path / "timing.csv"

    @property
    def events(self) -> Path:
        """The folder of TensorBoard's events."""
        return self.path / "events"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def set_status(self, status: str) -> None:
        """Write the status; raises ``RunError`` for an unknown one, or ``StorageError``."""
        if status not in STATUSES:
            raise RunError(f"a run's status is one of {', '.join(STATUSES)}, not {status!r}")
        self.update(status=status)

    @property
    def moves(self) -> list[dict[str, Any]]:
        """The backends that trained it, each with the step that it began at, 0 the first.

        Raises:
            RunError: ``run.json`` is damaged here.
        """
        found = self.header.get("moves", [{"step": 0, "backend": self.header.get("backend")}])
        sound = isinstance(found, list) and all(
            isinstance(move, dict)
            and isinstance(move.get("step"), int)
            and isinstance(move.get("backend"), str)
            for move in found
        )
        if not sound or not found:
            raise RunError(
                f"{self.path / files.RUN_FILE} is damaged: 'moves' must list steps and backends, "
                f"but is {found!r}"
            )
        return found

    @property
    def trained_by(self) -> str:
        """The backends that trained it in their order, such as ``keras, then jax``."""
        return ", then ".join(move["backend"] for move in self.moves)

    def move(self, step: int, backend: str, versions: Mapping[str, str], command: str = "") -> None:
        """Write that the run goes on from ``step`` on a backend, most often the one where it is.

        What a later step was trained on is forgotten: the run went back behind it, and makes these
        steps anew.

        Raises:
            RunError: what ``run.json`` says of earlier moves is damaged.
            StorageError: it cannot be written.
        """
        kept = [
            move
            for move in self.moves
            if move["step"] < step or (move["step"], move["backend"]) == (step, backend)
        ]
        if not kept or kept[-1]["backend"] != backend:
            how = {"command": command} if command and kept else {}
            kept.append({"step": step, "backend": backend, **how})
        if (self.moves, self.header["backend"]) == (kept, backend):
            return
        before = self.header.get("versions")
        packages = {**(before if isinstance(before, dict) else {}), **versions}
        self.update(backend=backend, moves=kept, versions=packages)

    def update(self, **fields: Any) -> None:
        """Set fields of ``run.json``; raises ``StorageError`` where it cannot be written."""
        header = {**self.header, **trees.plain(fields, "header")}
        files.write_bytes(self.path / files.RUN_FILE, files.json_bytes(header))
        self.header = header

    def finish(self, params: Mapping[str, np.ndarray]) -> None:
        """Write the final params (by canonical name), their SHA-256, and the status ``finished``.

        Raises:
            StorageError: the disk is full; the status stays as it was.
        """
        with files.atomic_file(self._params) as handle:
            arrays.write(handle, params)
        self.update(status="finished", params=files.fingerprint(self._params))

    def params(self) -> dict[str, np.ndarray]:
        """Return the final params by canonical name.

        Raises:
            RunError: the run is not finished, or the file is damaged.
        """
        if self.status != "finished":
            raise RunError(
                f"the run {self.path} is not finished and has no final params yet; "
                f"go on with: {files.resume_command(self.path)}"
            )
        files.verify(self._params, self.header.get("params"))
        return arrays.read(self._params)

    @property
    def _params(self) -> Path:
        return self.path / "params.safetensors"


def _refuse_existing(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise RunError(f"{path} is a file, not a folder; choose a folder with --out")
    if not any(path.iterdir()):
        return
    if not (path / files.RUN_FILE).is_file():
        raise RunError(f"{path} exists and is not empty; choose another folder with --out")
    if RunFolder.open(path).status == "finished":
        raise RunError(f"{path} holds a finished run; choose another folder with --out")
    raise RunError(
        f"{path} holds a run already; go on with: {files.resume_command(path)}, "
        "or choose another folder with --out"
    )


def _suggestion(path: Path) -> str:
    try:
        return did_you_mean(path.name, os.listdir(path.parent))
    except OSError:
        return ""
