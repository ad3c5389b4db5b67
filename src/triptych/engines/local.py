"""Training into a run folder, in this process: rows, checkpoints, Ctrl-C, resume.

The loop itself is in ``learn/training.py``; the folder's files are in ``runs``.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from triptych.backends import registry
from triptych.backends.protocol import DType
from triptych.engines import setup
from triptych.errors import Interrupted
from triptych.learn.training import COLUMNS, Training
from triptych.runs import checkpoints, metrics, trees
from triptych.runs.folder import RunFolder
from triptych.runs.metrics import MetricsLog
from triptych.runs.tensorboard import EventLog
from triptych.spec.recipe import Recipe

Tell = Callable[[int, int, str], None]
"""Called after every step with how far, of how much, and the unit."""

TIMING = ("episode", "frame", "seconds")


def start(
    recipe: Recipe,
    backend: str,
    seed: int,
    path: str | Path,
    *,
    dtype: DType = "float32",
    budget: str | None = None,
    command: str = "",
) -> Session:
    """Begin a run in a new folder.

    Raises:
        RunError: the folder exists already.
        BackendError, RecipeError, StorageError: as their names say; no folder is left behind.
    """
    chosen = recipe.budget_named(budget)
    learner = setup.make_learner(recipe, backend, seed, dtype)
    training = setup.make_training(recipe, learner, seed, chosen)
    header = {
        "recipe": recipe.name,
        "backend": backend,
        "seed": seed,
        "dtype": dtype,
        "budget": budget or next(iter(recipe.budgets)),
        "command": command,
        "versions": registry.get(backend).versions(),
    }
    folder = RunFolder.create(path, recipe.data, header)
    session = Session(folder, recipe, training, rows=None)
    session.checkpoint()
    return session


def resume(path: str | Path) -> Session:
    """Go on with a run from its newest good checkpoint.

    Raises:
        RunError, CheckpointError: the folder is no run, is finished, or cannot be resumed.
    """
    folder = RunFolder.open(path)
    recipe = setup.reparse(folder.header["recipe"], folder.recipe)
    backend, seed, dtype = (folder.header[key] for key in ("backend", "seed", "dtype"))
    registry.check_names([backend])
    checkpoint = checkpoints.load_latest(folder.checkpoints)
    learner = setup.make_learner(recipe, backend, seed, dtype)
    budget = recipe.budget_named(folder.header["budget"])
    training = setup.make_training(recipe, learner, seed, budget)
    state = trees.join(checkpoint.arrays, checkpoint.state)
    training.restore(state["training"])
    folder.set_status("running")
    return Session(folder, recipe, training, rows=int(state["rows"]))


class Session:
    """A training and the folder it is written to."""

    def __init__(
        self, folder: RunFolder, recipe: Recipe, training: Training, rows: int | None
    ) -> None:
        self.folder, self.recipe, self.training = folder, recipe, training
        kept = None
        if rows is None:
            self.metrics = MetricsLog.create(folder.metrics, COLUMNS)
            self.timing = MetricsLog.create(folder.timing, TIMING)
        else:
            self.metrics = MetricsLog.open(folder.metrics)
            self.timing = MetricsLog.open(folder.timing)
            self.metrics.truncate(rows)
            self.timing.truncate(rows)
            kept = metrics.read(folder.metrics)
        self.rows = rows or 0
        self.events = EventLog(folder.events, "frame", kept)
        if self.events.note and "events" not in folder.header:
            folder.update(events=self.events.note)
        self._saved_at: int | None = None if rows is None else training.agent.steps

    def run(self, tell: Tell | None = None) -> dict[str, Any]:
        """Train until the budget is spent, judge the result, and finish the folder.

        Returns:
            The run's summary: backend, seed, folder, metric.

        Raises:
            Interrupted: after Ctrl-C; everything is saved.
            StorageError: the disk is full; the newest checkpoint is intact.
        """
        began = time.perf_counter()
        with _noticing_interrupts() as interrupted:
            for row in self.training.rows():
                if row is not None:
                    self._write(row, time.perf_counter() - began)
                if self.training.agent.steps % self.recipe.logging.checkpoint == 0:
                    self.checkpoint()
                if tell is not None:
                    tell(*self.training.progress())
                if interrupted.is_set():
                    self._stop()
        return self._finish()

    def checkpoint(self) -> None:
        """Save everything needed to go on exactly."""
        steps = self.training.agent.steps
        if self._saved_at == steps:
            return
        self.metrics.sync()
        state = {"training": self.training.state(), "rows": self.rows}
        arrays, plain = trees.split(state)
        checkpoints.save(self.folder.checkpoints, steps, arrays, plain)
        self._saved_at = steps

    def _write(self, row: dict[str, float], seconds: float) -> None:
        self.metrics.append(row)
        self.timing.append({k: row[k] for k in ("episode", "frame")} | {"seconds": seconds})
        self.events.append(row)
        self.rows += 1

    def _stop(self) -> None:
        self.checkpoint()
        self._close()
        self.folder.set_status("interrupted")
        raise Interrupted(
            f"interrupted at step {self.training.agent.steps}, everything is saved; "
            f"go on with: triptych train --resume {self.folder.path}"
        )

    def _finish(self) -> dict[str, Any]:
        self.checkpoint()
        self._close()
        learner, seed = self.training.agent.learner, self.folder.header["seed"]
        judged = setup.judge(self.recipe, learner, seed)
        self.folder.update(metric=judged.metric, returns=judged.returns)
        self.folder.finish(learner.params())
        return summary(self.folder)

    def _close(self) -> None:
        self.metrics.close()
        self.timing.close()
        self.events.close()


def summary(folder: RunFolder) -> dict[str, Any]:
    """Return what ``--json`` prints of a run: backend, seed, folder, metric."""
    own = folder.header
    keys = {"backend": own["backend"], "seed": own["seed"], "folder": str(folder.path)}
    return keys | {"metric": own.get("metric"), "status": folder.status}


@contextmanager
def _noticing_interrupts() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag that is looked at between two steps."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def notice(signum: int, frame: Any) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    before = signal.signal(signal.SIGINT, notice)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)
