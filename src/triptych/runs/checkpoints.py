"""Checkpoints: all that an exact resume needs, verified when it is read.

::

    checkpoints/000012345/
        arrays.safetensors   named arrays: params, slots, replay
        state.json           counters, generators' states
        manifest.json        the step, and each file's size in bytes and SHA-256

A checkpoint appears whole or not at all, and the two newest are kept. What the arrays and the state
mean belongs to the one who trains; nested state is taken apart by :mod:`triptych.runs.trees`.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triptych.errors import CheckpointError, RunError
from triptych.runs import arrays as array_files
from triptych.runs import files, trees

FORMAT = 1
ARRAYS, STATE, MANIFEST = "arrays.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """What one checkpoint holds; ``arrays`` are writable and keep the order they were given in."""

    path: Path
    step: int
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


def save(
    folder: Path, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]
) -> Path:
    """Write a checkpoint, then drop all but this one and the newest before it.

    A checkpoint of a later step is dropped too: the run went back behind it and never got there.

    Args:
        folder: the folder of the run's checkpoints; made where it is missing.
        step: how far the run is; counts whatever the run counts, 0 or more.
        arrays: arrays by name, of any shape.
        state: JSON values; NaN and infinities are kept, NumPy scalars become Python's.

    Raises:
        CheckpointError: something cannot be stored without loss, or the step is negative.
        StorageError: the disk is full or cannot be written; the earlier checkpoints are intact.
    """
    if step < 0:
        raise CheckpointError(f"a checkpoint's step must be 0 or more, but is {step}")
    path = folder / f"{step:09d}"
    content = files.json_bytes(trees.plain(state, "state"))
    with files.atomic_folder(path) as temporary:
        with files.synced_file(temporary / ARRAYS) as handle:
            array_files.write(handle, arrays)
        with files.synced_file(temporary / STATE) as handle:
            handle.write(content)
        manifest = _manifest(temporary, step)
        with files.synced_file(temporary / MANIFEST) as handle:
            handle.write(files.json_bytes(manifest))
    _rotate(folder, path)
    return path


def _manifest(folder: Path, step: int) -> dict[str, Any]:
    listed = {name: files.fingerprint(folder / name) for name in (ARRAYS, STATE)}
    return {"format": FORMAT, "step": step, "files": listed}


def _rotate(folder: Path, newest: Path) -> None:
    earlier = [path for path in listed(folder) if int(path.name) < int(newest.name)]
    keep = {newest, *earlier[-1:]}
    for path in listed(folder):
        if path not in keep:
            shutil.rmtree(path, ignore_errors=True)
    files.remove_leftovers(folder)


def listed(folder: Path) -> list[Path]:
    """Return the paths of the checkpoints in ``folder``, good or not, by rising step."""
    if not os.path.isdir(folder):
        return []
    numbered = [name for name in os.listdir(folder) if name.isascii() and name.isdecimal()]
    return [folder / name for name in sorted(numbered, key=int)]


def load_latest(folder: Path) -> Checkpoint:
    """Return the newest good checkpoint; warn of each newer one that had to be passed over.

    Raises:
        CheckpointError: there is none, or none is good; the message names the file and its fault.
    """
    faults: list[str] = []
    for path in reversed(listed(folder)):
        try:
            checkpoint = load(path)
        except CheckpointError as error:
            faults.append(str(error))
            continue
        for fault in faults:
            warnings.warn(f"{fault}; going back to step {checkpoint.step}", stacklevel=2)
        return checkpoint
    if not faults:
        raise CheckpointError(f"{folder} holds no checkpoint yet; start the run in a new folder")
    raise CheckpointError(f"no checkpoint can be used: {'; '.join(faults)}; start a new run")


def load(path: Path) -> Checkpoint:
    """Return one checkpoint after checking every file against the manifest.

    Raises:
        CheckpointError: a file is missing, truncated or changed; the message names it.
    """
    try:
        manifest = files.read_json(path / MANIFEST)
        step = _check(path, manifest)
        state = files.read_json(path / STATE)
    except CheckpointError:
        raise
    except RunError as error:
        raise CheckpointError(f"checkpoint {path.name} is damaged: {error}") from error
    return Checkpoint(path, step, array_files.read(path / ARRAYS), state)


def _check(path: Path, manifest: dict[str, Any]) -> int:
    where = path / MANIFEST
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{where} is of format {manifest.get('format')!r}, and this version reads {FORMAT}"
        )
    listed_files, step = manifest.get("files"), manifest.get("step")
    if not isinstance(listed_files, dict) or set(listed_files) != {ARRAYS, STATE}:
        raise CheckpointError(f"{where} is damaged: it must list {ARRAYS} and {STATE}")
    if str(step).zfill(9) != path.name:
        raise CheckpointError(f"{where} is of step {step!r}, but stands in folder {path.name}")
    for name, expected in listed_files.items():
        files.verify(path / name, expected)
    return int(path.name)
