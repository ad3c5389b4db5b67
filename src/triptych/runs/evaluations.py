"""A run's evaluations: ``evaluation.json``, a list that only grows.

An entry is plain data: of which step the params were, how was played, and every episode's return
and length. An entry that is there already is not written twice, and none is ever replaced. Playing
does not belong here.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from triptych.errors import RunError
from triptych.runs import files, trees
from triptych.runs.folder import RunFolder

FILE = "evaluation.json"
_KEY = "evaluations"


def read(folder: RunFolder) -> list[dict[str, Any]]:
    """Return a run's evaluations, the earliest first; none where nobody has evaluated it.

    Raises:
        RunError: the file is damaged.
    """
    path = folder.path / FILE
    if not path.exists():
        return []
    found = files.read_json(path).get(_KEY)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise RunError(
            f"{path} is damaged: {_KEY!r} must list evaluations; move the file away to begin anew"
        )
    return found


def add(folder: RunFolder, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write entries behind those that are there.

    Raises:
        RunError: the file is damaged; it stays as it is.
        StorageError: it cannot be written; it stays as it is.
    """
    with _alone(folder):
        known = read(folder)
        for entry in entries:
            plain = trees.plain(entry, FILE)
            if plain not in known:
                known.append(plain)
        files.write_bytes(folder.path / FILE, files.json_bytes({_KEY: known}))


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """Keep other processes from adding meanwhile; the run may go on being trained."""
    descriptor = os.open(folder.path / "recipe.yaml", os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
