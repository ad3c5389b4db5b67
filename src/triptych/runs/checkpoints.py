"""Checkpoints: all that an exact resume needs, verified when it is read.

::

    checkpoints/000012345/
        arrays.safetensors   named arrays: params, slots, the newest of the replay
        state.json           counters, generators' states
        manifest.json        the step, and each file's size in bytes and SHA-256
    checkpoints/parts/       what never changes again, written once: see :mod:`triptych.runs.parts`

A checkpoint appears whole or not at all, and the two newest are kept, with the parts that they
list. What the arrays and the state mean belongs to the one who trains; nested state is taken apart
by :mod:`triptych.runs.trees`.
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
from triptych.runs import parts as part_files
from triptych.runs.parts import Ledger, Part

FORMAT = 2
ARRAYS, STATE, MANIFEST = "arrays.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """What one checkpoint holds; ``arrays`` are writable and keep the order they were given in.

    ``parts`` read their file when they are called; ``ledger`` is for :func:`save`.
    """

    path: Path
    step: int
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]
    parts: dict[str, Part]
    ledger: Ledger

    def tree(self) -> dict[str, Any]:
        """Return the state as it was before it was taken apart; its parts are functions."""
        return trees.join(self.arrays, self.state, self.parts)


def save(
    folder: Path,
    step: int,
    arrays: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
    parts: Mapping[str, Part] | None = None,
    ledger: Ledger | None = None,
) -> Path:
    """Write a checkpoint, then drop all but this one and the newest before it.

    A checkpoint of a later step is dropped too: the run went back behind it and never got there.

    Args:
        folder: the folder of the run's checkpoints; made where it is missing.
        step: how far the run is; counts whatever the run counts, 0 or more.
        arrays: arrays by name, of any shape.
        state: JSON values; NaN and infinities are kept, NumPy scalars become Python's.
        parts: functions that return arrays, by flat name; each is written once.
        ledger: the parts that this process has written, or loaded, so far; brought up to date.

    Raises:
        CheckpointError: something cannot be stored without loss, or the step is negative.
        StorageError: the disk is full or cannot be written; the earlier checkpoints are intact.
    """
    if step < 0:
        raise CheckpointError(f"a checkpoint's step must be 0 or more, but is {step}")
    path = folder / f"{step:09d}"
    content = files.json_bytes(trees.plain(state, "state"))
    known: Ledger = {} if ledger is None else ledger
    with part_files.written(folder / part_files.FOLDER, parts or {}, known) as entries:
        _write(path, step, arrays, content, entries)
    known.clear()
    known.update(entries)
    _rotate(folder, path)
    return path


def _write(
    path: Path, step: int, arrays: Mapping[str, np.ndarray], content: bytes, entries: Ledger
) -> None:
    manifest: dict[str, Any] = {"format": FORMAT, "step": step, "files": {}, "parts": entries}
    with files.atomic_folder(path) as temporary:
        with files.synced_file(temporary / ARRAYS) as handle:
            hashing = files.Hashing(handle)
            array_files.write(hashing, arrays)
        manifest["files"][ARRAYS] = hashing.fingerprint
        with files.synced_file(temporary / STATE) as handle:
            hashing = files.Hashing(handle)
            hashing.write(content)
        manifest["files"][STATE] = hashing.fingerprint
        with files.synced_file(temporary / MANIFEST) as handle:
            handle.write(files.json_bytes(manifest))


def _rotate(folder: Path, newest: Path) -> None:
    earlier = [path for path in listed(folder) if int(path.name) < int(newest.name)]
    keep = [newest, *earlier[-1:]]
    for path in listed(folder):
        if path not in keep:
            shutil.rmtree(path, ignore_errors=True)
    files.remove_leftovers(folder)
    part_files.rotate(folder / part_files.FOLDER, map(_ledger, keep))


def _ledger(path: Path) -> Ledger:
    """Return the parts that a checkpoint lists; none where it is too damaged to be used."""
    try:
        manifest = files.read_json(path / MANIFEST)
    except RunError:
        return {}
    found = manifest.get("parts")
    entries = found.items() if isinstance(found, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, dict) and "file" in entry}


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
        folder = path.parent / part_files.FOLDER
        ledger = part_files.check(folder, manifest.get("parts"), path / MANIFEST)
    except CheckpointError:
        raise
    except RunError as error:
        raise CheckpointError(f"checkpoint {path.name} is damaged: {error}") from error
    readers = part_files.readers(folder, ledger)
    trees.join({}, state, readers)  # refuses a part that has no place in the state
    return Checkpoint(path, step, array_files.read(path / ARRAYS), state, readers, ledger)


def _check(path: Path, manifest: dict[str, Any]) -> int:
    where = path / MANIFEST
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{where} is of format {manifest.get('format')!r}, and this version reads {FORMAT}; "
            "go on with the version that wrote it"
        )
    listed_files, step = manifest.get("files"), manifest.get("step")
    if not isinstance(listed_files, dict) or set(listed_files) != {ARRAYS, STATE}:
        raise CheckpointError(f"{where} is damaged: it must list {ARRAYS} and {STATE}")
    if str(step).zfill(9) != path.name:
        raise CheckpointError(f"{where} is of step {step!r}, but stands in folder {path.name}")
    for name, expected in listed_files.items():
        files.verify(path / name, expected)
    return int(path.name)
