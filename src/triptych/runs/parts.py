"""Parts of a state that never change again, each written once and shared by checkpoints.

::

    checkpoints/parts/000000512-1f3a09c25b7e8d64.safetensors    <last key>-<start of its SHA-256>

A part is a function that returns named arrays, always the same ones. Its file is named by its
content, and only the process that wrote or verified a file goes on using it: the *ledger* lists
what it knows. So nothing is taken for the present state that another, abandoned future left under
the same key. When a checkpoint is written, and which are kept, is in ``checkpoints``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from triptych.errors import CheckpointError
from triptych.runs import arrays as array_files
from triptych.runs import files

FOLDER = "parts"

Part = Callable[[], Mapping[str, np.ndarray]]
Entry = dict[str, Any]
"""A part's ``file``, ``size`` in bytes and ``sha256``, as manifests list it."""
Ledger = dict[str, Entry]
"""Entries by the part's flat name in the state."""


@contextmanager
def written(
    folder: Path, parts: Mapping[str, Part], ledger: Mapping[str, Entry]
) -> Iterator[Ledger]:
    """Write the parts that the ledger lacks; yield the entries of all, for a manifest to list.

    Where the block fails, the files that were new are removed again.

    Args:
        folder: of the parts; made where it is missing and there are any.
        parts: by flat name.
        ledger: what is known to be on the disk.

    Raises:
        StorageError: the disk is full; CheckpointError: an array cannot be stored.
    """
    fresh: list[Path] = []
    try:
        with files.storage(folder):
            entries = {
                name: _known(folder, ledger.get(name)) or _write(folder, name, part, fresh)
                for name, part in parts.items()
            }
            if fresh:
                files.sync_folder(folder)
        yield entries
    except BaseException:
        for path in fresh:
            with suppress(OSError):
                path.unlink()
        raise


def _known(folder: Path, entry: Entry | None) -> Entry | None:
    """Return the entry where its file is still there, as long as it was."""
    if entry is None:
        return None
    with suppress(OSError):
        if (folder / entry["file"]).stat().st_size == entry["size"]:
            return entry
    return None


def _write(folder: Path, name: str, part: Part, fresh: list[Path]) -> Entry:
    key = name.rpartition("|")[2]
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{key}.tmp"
    try:
        with files.synced_file(temporary) as handle:
            hashing = files.Hashing(handle)
            array_files.write(hashing, part())
        entry = hashing.fingerprint
        path = folder / f"{key}-{entry['sha256'][:16]}.safetensors"
        # A file of this name has the same content, and an earlier checkpoint may list it.
        if not path.exists():
            fresh.append(path)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return {"file": path.name, **entry}


def check(folder: Path, listed: Any, where: Path) -> Ledger:
    """Return a manifest's list of parts after comparing each file with its size and SHA-256.

    Raises:
        CheckpointError: the list is no list of parts, or a file is missing, truncated or changed.
    """
    if not isinstance(listed, dict):
        raise CheckpointError(f"{where} is damaged: it must list parts")
    for name, entry in listed.items():
        file = entry.get("file") if isinstance(entry, dict) else None
        if not isinstance(file, str) or Path(file).name != file:
            raise CheckpointError(f"{where} is damaged: it must name the file of {name!r}")
        files.verify(folder / file, {key: entry[key] for key in entry if key != "file"})
    return listed


def readers(folder: Path, ledger: Ledger) -> dict[str, Part]:
    """Return the parts themselves: functions that read a file's arrays when they are called."""

    def reader(path: Path) -> Part:
        return lambda: array_files.read(path)

    return {name: reader(folder / entry["file"]) for name, entry in ledger.items()}


def rotate(folder: Path, ledgers: Iterable[Mapping[str, Entry]]) -> None:
    """Remove every file that none of the ledgers lists."""
    if not folder.is_dir():
        return
    kept = {entry["file"] for ledger in ledgers for entry in ledger.values()}
    for path in folder.glob("*.safetensors"):
        if path.name not in kept:
            with suppress(OSError):
                path.unlink()
    files.remove_leftovers(folder)
