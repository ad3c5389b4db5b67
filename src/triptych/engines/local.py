"""Training into a run folder, in this process: rows, checkpoints, Ctrl-C, resume, moving on.

The loop itself is in ``learn/training.py``; the folder's files are in ``runs``.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from triptych.backends import registry
from triptych.backends.protocol import DType
from triptych.engines import evaluating, needs, setup
from triptych.engines.interrupts import Noticed, noticing
from triptych.engines.processes import Tell, limit_threads, thread_limit
from triptych.errors import BackendError, Interrupted, RunError, StorageError
from triptych.learn.fitting import Fitting
from triptych.learn.training import Training
from triptych.runs import checkpoints, files, metrics, trees
from triptych.runs.folder import RunFolder
from triptych.runs.metrics import MetricsLog
from triptych.runs.parts import Ledger
from triptych.runs.tensorboard import EventLog
from triptych.spec.recipe import Recipe


def start(
    recipe: Recipe,
    backend: str,
    seed: int,
    path: str | Path,
    *,
    dtype: DType = "float32",
    budget: str | None = None,
    until: int | None = None,
    command: str = "",
) -> Session:
    """Begin a run in a new folder; ``until`` as in :func:`resume`.

    Raises:
        RunError: the folder exists already.
        BackendError, RecipeError, StorageError: as their names say, a replay memory that does not
            fit among them; no folder is left behind.
    """
    chosen = recipe.budget_named(budget)
    registry.check_names([backend])
    needs.check(recipe, Path(path), chosen)
    learner = setup.make_learner(recipe, backend, seed, dtype)
    training = setup.make_training(recipe, learner, seed, chosen, needs.existing(Path(path)))
    header = {
        "recipe": recipe.name,
        "backend": backend,
        "seed": seed,
        "dtype": dtype,
        "budget": budget or next(iter(recipe.budgets)),
        "command": command,
        "versions": registry.get(backend).versions(),
        "threads": thread_limit(),
        "cores": os.cpu_count(),
    } | setup.input_constants(recipe)
    folder = _create(Path(path), recipe, header)
    try:
        session = Session(folder, recipe, training, rows=None, until=until)
        session.checkpoint()
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
    return session


def _create(path: Path, recipe: Recipe, header: dict[str, Any]) -> RunFolder:
    with files.storage(path):
        fresh = not path.exists()
    try:
        return RunFolder.create(path, recipe.data, header)
    except StorageError:
        if fresh:
            remove_if_empty(path)
        raise


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that a full disk left without content."""
    with suppress(OSError):
        folder.rmdir()


def resume(
    path: str | Path,
    backend: str | None = None,
    *,
    until: int | None = None,
    threads: int | None = None,
    command: str = "",
) -> Session:
    """Go on with a run from its newest good checkpoint, where it was or on another backend.

    Checkpoints know no framework: params, slots, target network, replay, environment and generators
    go on as they are. A run that was killed before its first checkpoint begins anew; it had made no
    step.

    Args:
        path: the run folder.
        backend: where to go on; None for where the run is.
        until: save and stop once the run is this far, in the unit of its budget, to be resumed
            later; None for the whole budget.
        threads: that the frameworks were given here; None to give them as many as the run was begun
            with, since the order of float sums depends on it.
        command: that moved it, kept in ``run.json``.

    Raises:
        RunError: the folder is no run, is finished, is as far as ``until``, or is being trained at
            this moment.
        CheckpointError: no checkpoint is good.
        BackendError: the backend is unknown, not installed here, or cannot express the recipe
            exactly; the run stays as it was.
        RecipeError, StorageError: its replay memory does not fit here.
    """
    folder = RunFolder.open(path)
    if folder.status == "finished":
        path_again = shlex.quote(str(folder.path))
        raise RunError(
            f"{folder.path} is finished already; look at it with: triptych watch {path_again}"
        )
    recipe, own = setup.recipe_of(folder), setup.header_of(folder)
    budget = recipe.budget_named(own.budget)
    name = own.backend if backend is None else backend
    registry.check_names([name])
    os.close(_lock(folder.path))  # what another process trains changes while it is read
    needs.check(recipe, folder.path, budget)
    used = _with_as_many_threads(folder, threads)
    fresh = _untouched(folder)
    checkpoint = None if fresh else checkpoints.load_latest(folder.checkpoints)
    state = checkpoint.tree() if checkpoint else {}
    learner = setup.make_learner(recipe, name, own.seed, own.dtype)
    training = setup.make_training(recipe, learner, own.seed, budget, folder.path)
    if not fresh:
        training.restore(state["training"])
    _check_until(folder, training, until)
    rows = None if fresh else int(state["rows"])
    session = Session(folder, recipe, training, rows, until, own.backend)
    session.ledger = checkpoint.ledger if checkpoint else {}
    try:
        folder.move(training.steps, name, registry.get(name).versions(), command)
        folder.update(status="running", **used)
        session.checkpoint()
    except BaseException:
        session.close()
        raise
    return session


def _with_as_many_threads(folder: RunFolder, asked: int | None) -> dict[str, int | None]:
    """Give the frameworks the threads that the run was begun with, unless others are asked for;
    warn where there are others, and return what the header shall say then."""
    if "threads" not in folder.header:  # begun by an earlier version
        return {}
    begun, cores = folder.header["threads"], folder.header.get("cores")
    if begun is not None and asked is None:
        limit_threads(begun)
        return {}
    here = {"threads": asked, "cores": os.cpu_count()}
    if asked == begun and (begun is not None or cores == here["cores"]):
        return {}
    before, now = (str(n) if n else f"all {of}" for n, of in ((begun, cores), here.values()))
    warnings.warn(
        f"{folder.path} went on with {before} threads so far and now has {now}: float sums may be "
        "ordered otherwise, so that it may not equal a run that was never stopped",
        stacklevel=3,
    )
    return here


def _untouched(folder: RunFolder) -> bool:
    """Whether the run was killed before its first checkpoint, and so before its first step."""
    if checkpoints.listed(folder.checkpoints):
        return False
    return not folder.metrics.exists() or not any(map(len, metrics.read(folder.metrics).values()))


def _check_until(folder: RunFolder, training: Training | Fitting, until: int | None) -> None:
    done, _, unit = training.progress()
    if until is not None and done >= until:
        raise RunError(f"{folder.path} is at {unit} {done} already; --until takes a later one")


class Session:
    """A training and the folder it is written to, which it keeps to itself until it ends.

    Args:
        folder: of the run.
        recipe: that is trained.
        training: at its beginning, or as the checkpoint left it.
        rows: how many rows of the tables the checkpoint has seen; None begins them anew.
        until: where to stop before the budget is spent, in its unit.
        home: the backend to go back to where this one cannot go on.

    Raises:
        RunError: another process trains into this folder, or its tables are damaged.
        StorageError: the tables cannot be written.
    """

    def __init__(
        self,
        folder: RunFolder,
        recipe: Recipe,
        training: Training | Fitting,
        rows: int | None,
        until: int | None = None,
        home: str | None = None,
    ) -> None:
        self.folder, self.recipe, self.training = folder, recipe, training
        self.until, self.home = until, home
        self.rows = rows or 0
        self.ledger: Ledger = {}
        """The parts of the state that this process has written, or loaded and verified."""
        self._saved_at: int | None = None if rows is None else training.steps
        self._lock = _lock(folder.path)
        try:
            self._open_tables(fresh=rows is None)
        except BaseException:
            os.close(self._lock)
            raise

    def _open_tables(self, fresh: bool) -> None:
        """Begin the tables, or cut them to the rows that the checkpoint has seen."""
        own, kept = self.folder, None
        if fresh:
            self.metrics = MetricsLog.create(own.metrics, self.training.columns)
            self.timing = MetricsLog.create(own.timing, (*self.training.counts, "seconds"))
        else:
            self.metrics, self.timing = MetricsLog.open(own.metrics), MetricsLog.open(own.timing)
            self.metrics.truncate(self.rows)
            self.timing.truncate(self.rows)
            kept = metrics.read(own.metrics)
        self.events = EventLog(own.events, self.training.counts[-1], kept)
        if self.events.note and "events" not in own.header:
            own.update(events=self.events.note)

    def run(self, tell: Tell | None = None) -> dict[str, Any]:
        """Train until the budget is spent, judge the result, and finish the folder.

        Args:
            tell: called after every step with how far, of how much, and the unit.

        Returns:
            The run's summary: backend, seed, folder, metric, status; ``interrupted`` where
            ``until`` came before the end.

        Raises:
            BackendError: the backend cannot do what an update takes; the run is back where it was.
            Interrupted: after Ctrl-C or SIGTERM; everything is saved.
            StorageError: the disk is full; the newest checkpoint is intact.
        """
        try:
            with noticing() as noticed:
                self._train(tell, noticed)
            if not self.training.finished:
                self.folder.set_status("interrupted")
                return summary(self.folder)
            return self._finish()
        except BackendError:
            self._go_back()
            raise
        except KeyboardInterrupt:
            self.folder.set_status("interrupted")
            raise Interrupted(
                f"interrupted, saved up to step {self._saved_at}; "
                f"go on with: {files.resume_command(self.folder.path)}"
            ) from None
        finally:
            self.close()

    def _train(self, tell: Tell | None, noticed: Noticed) -> None:
        began = time.perf_counter()
        for row in self.training.rows():
            if row is not None:
                self._write(row, time.perf_counter() - began)
            if self.training.steps % self.recipe.logging.checkpoint == 0:
                self.checkpoint()
            if tell is not None:
                tell(*self.training.progress())
            if noticed:
                self.checkpoint()
                raise KeyboardInterrupt
            if self.until is not None and self.training.progress()[0] >= self.until:
                break
        self.checkpoint()

    def _go_back(self) -> None:
        self.folder.set_status("interrupted")
        if self.home is not None and self._saved_at is not None:
            self.folder.move(self._saved_at, self.home, {})

    def checkpoint(self) -> None:
        """Save everything needed to go on exactly."""
        steps = self.training.steps
        if self._saved_at == steps:
            return
        self.metrics.sync()
        self.timing.sync()
        state = {"training": self.training.state(), "rows": self.rows}
        checkpoints.save(self.folder.checkpoints, steps, *trees.split(state), self.ledger)
        self._saved_at = steps

    def _write(self, row: dict[str, float], seconds: float) -> None:
        self.metrics.append(row)
        self.timing.append({k: row[k] for k in self.training.counts} | {"seconds": seconds})
        self.events.append(row)
        self.rows += 1

    def _finish(self) -> dict[str, Any]:
        own, learner = setup.header_of(self.folder), self.training.learner
        judged = evaluating.judge(self.recipe, learner, own.seed)
        self.folder.update(metric=judged.metric, returns=judged.returns)
        self.folder.finish(learner.params())
        return summary(self.folder)

    def close(self) -> None:
        """Close the tables and let other processes train into the folder."""
        self.metrics.close()
        self.timing.close()
        self.events.close()
        self.training.close()
        os.close(self._lock)


def summary(folder: RunFolder) -> dict[str, Any]:
    """Return what ``--json`` prints of a run: backend, seed, folder, metric, status."""
    own = folder.header
    keys = {"backend": own["backend"], "seed": own["seed"], "folder": str(folder.path)}
    return keys | {"metric": own.get("metric"), "status": folder.status}


def _lock(folder: Path) -> int:
    """Keep a folder to this process; return the descriptor to close when it is free again.

    The lock is the system's own and ends with the process, however that ends.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunError(
            f"{folder} is being trained by another process; wait until that has ended"
        ) from None
    except OSError:  # a file system without locks
        pass
    return descriptor
