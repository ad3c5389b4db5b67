"""Running functions in processes of their own, with progress, one framework in each.

Each process is new (spawned), sets its number of threads before anything is imported, and reports
through a pipe. Ctrl-C is the parent's business: it asks its processes to stop by SIGTERM, which one
that has something to save may catch, and so does a process whose parent has died ask itself. What
the functions do is their own business.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

from tqdm import tqdm

from triptych.engines.interrupts import Noticed, noticing
from triptych.errors import Interrupted, RunError, TriptychError

Tell = Callable[[int, int, str], None]
"""How far, of how much, and the unit."""

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",
)
_OURS = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Job:
    """A function to run elsewhere: it is called with its arguments and a :data:`Tell`.

    Function and arguments are pickled; the label names it in progress bars and errors.
    """

    label: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class _Child:
    """A job that runs, by its place in the list."""

    place: int
    process: BaseProcess
    pipe: Connection


class _ElsewhereError(Exception):
    """The traceback of an error in another process, shown as the cause of the error here."""


class _KilledError(RunError):
    """A process ended without a word."""


def limit_threads(threads: int) -> None:
    """Give the frameworks that are imported from now on so many threads each.

    NPROC is what JAX's CPU client reads; the others are OpenMP's (torch) and TensorFlow's own.
    """
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)


def thread_limit() -> int | None:
    """Return the number of threads that the environment gives the frameworks; None for no limit."""
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdecimal() and int(value) else None


def speak_plainly() -> None:
    """Show our own warnings as sentences; those of libraries are for developers, and hidden."""
    warnings.showwarning = _show_warning
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _show_warning(message: Any, category: Any, filename: str, *rest: Any, **more: Any) -> None:
    if category is UserWarning and filename.startswith(_OURS):
        tqdm.write(f"triptych: warning: {message}", file=sys.stderr)


def run_all(jobs: Sequence[Job], show: bool = True, workers: int | None = None) -> list[Any]:
    """Run all jobs, as many at a time as there are cores, and return their results in order.

    Args:
        jobs: what to run.
        show: whether to draw a progress bar per job on standard error.
        workers: how many at a time; the cores are divided among them.

    Raises:
        Exception: the first error of a job, after all jobs have ended.
        RunError: a job's process was killed.
        KeyboardInterrupt: Ctrl-C, after every process has saved what it saves and has ended.
    """
    cores = len(os.sched_getaffinity(0))
    workers = max(1, min(workers or cores, len(jobs)))
    bars = [_bar(job, jobs, place, show) for place, job in enumerate(jobs)]
    try:
        with noticing() as noticed:
            outcomes = _run(jobs, bars, workers, max(1, cores // workers), noticed)
    finally:
        for bar in bars:
            bar.close()
    errors = [error for _, (_, error) in sorted(outcomes.items()) if error is not None]
    if noticed:
        # What an interrupt causes is no news, but a disk that is full while all is saved is.
        errors = [e for e in errors if not isinstance(e, (Interrupted, _KilledError))]
        errors = errors or [KeyboardInterrupt()]
    if errors:
        raise errors[0]
    return [outcomes[place][0] for place in range(len(jobs))]


def _bar(job: Job, jobs: Sequence[Job], place: int, show: bool) -> Any:
    width = max(len(other.label) for other in jobs)
    return tqdm(desc=job.label.ljust(width), total=1, position=place, disable=not show)


_Outcome = tuple[Any, BaseException | None]


def _run(
    jobs: Sequence[Job], bars: Sequence[Any], workers: int, threads: int, noticed: Noticed
) -> dict[int, _Outcome]:
    """Return (result, error) of each job that was begun, by its place."""
    waiting = deque(range(len(jobs)))
    running: list[_Child] = []
    outcomes: dict[int, _Outcome] = {}
    asked = False
    try:
        while running or (waiting and not noticed):
            while waiting and not noticed and len(running) < workers:
                place = waiting.popleft()
                running.append(_start(place, jobs[place], threads))
            if noticed and not asked:
                asked = True
                for child in running:
                    child.process.terminate()
            ready = wait([child.pipe for child in running], timeout=0.2)
            for child in [child for child in running if child.pipe in ready]:
                outcome = _hear(child, jobs[child.place], bars[child.place])
                if outcome is not None:
                    outcomes[child.place] = outcome
                    running.remove(child)
    finally:
        for child in running:
            child.process.kill()
    return outcomes


def _start(place: int, job: Job, threads: int) -> _Child:
    context, pickled = get_context("spawn"), pickle.dumps(job)
    ours, theirs = context.Pipe()
    process = context.Process(target=_main, args=(theirs, threads))
    # The mask is inherited: a terminal sends Ctrl-C to all processes, and only we shall hear it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    # Not among the arguments: Python would wait for ever for a process that dies before it reads.
    with suppress(ConnectionError):
        ours.send_bytes(pickled)
    return _Child(place, process, ours)


def _hear(child: _Child, job: Job, bar: Any) -> _Outcome | None:
    """Read one message of a child; return its outcome once it has one."""
    try:
        kind, news = child.pipe.recv()
    except (EOFError, ConnectionError):
        kind, news = "end", None
    if kind == "progress":
        bar.n, bar.total, bar.unit = news[0], news[1], f" {news[2]}s"
        bar.refresh()
        return None
    child.process.join()
    child.pipe.close()
    if kind == "result":
        return news, None
    if kind == "end":
        return None, _killed(job, child.process.exitcode)
    error, trace = news
    if not isinstance(error, TriptychError):
        error.__cause__ = _ElsewhereError(trace)
    return None, error


def _killed(job: Job, code: int | None) -> _KilledError:
    if code is None or code >= 0:
        return _KilledError(f"the process of {job.label} ended with exit code {code}; run it again")
    cause = signal.Signals(-code).name
    memory = ", perhaps because memory ran out" if cause == "SIGKILL" else ""
    return _KilledError(f"the process of {job.label} was ended by {cause}{memory}; run it again")


def _main(pipe: Connection, threads: int) -> None:
    """Do one job in a new process."""
    limit_threads(threads)
    speak_plainly()
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        job: Job = pickle.loads(pipe.recv_bytes())
        message = pickle.dumps(("result", job.function(*job.arguments, _teller(pipe))))
    except BaseException as error:
        message = pickle.dumps(("error", (_movable(error), f"\n{traceback.format_exc()}")))
    with suppress(ConnectionError):
        pipe.send_bytes(message)


def _movable(error: BaseException) -> BaseException:
    """Return the error, or one like it where it does not survive the way to the parent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _teller(pipe: Connection) -> Tell:
    """Return a function that reports every half percent."""
    told = 0.0

    def tell(done: int, total: int, unit: str) -> None:
        nonlocal told
        share = done / max(total, 1)
        if share - told >= 0.005 or done >= total:
            told = share
            with suppress(ConnectionError):
                pipe.send(("progress", (done, total, unit)))

    return tell


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
