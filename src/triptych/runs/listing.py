"""Finding runs below a folder, for reports and for choosing. Nothing is read but ``run.json``."""

from __future__ import annotations

import os
from pathlib import Path

from triptych.runs.files import RUN_FILE
from triptych.runs.folder import RunFolder


def find(root: str | Path) -> list[RunFolder]:
    """Return every run at or below ``root``, by path; hidden folders are passed over.

    Raises:
        RunError: a run's ``run.json`` is damaged.
    """
    found = []
    for folder, below, names in os.walk(root):
        if RUN_FILE in names:
            found.append(RunFolder.open(folder))
            below.clear()
        below[:] = [name for name in below if not name.startswith(".")]
    return sorted(found, key=lambda run: run.path)
