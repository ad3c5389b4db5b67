"""Running functions in processes of their own, with progress, one framework in each.

Each process is new (spawned), sets its number of threads before any framework is imported, and
reports how far it is through a queue. What the functions do is their own business.
"""

from __future__ import annotations

import os
import queue as queues
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from tqdm import tqdm

Tell = Callable[[int, int, str], None]
"""How far, of how much, and the unit."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_THREAD_VARIABLES += ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")

_reports: Any = None


@dataclass(frozen=True)
class Job:
    """A function to run elsewhere: it is called with its arguments and a :data:`Tell`.

    Function and arguments are pickled; the label names it in progress bars and errors.
    """

    label: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


def limit_threads(threads: int) -> None:
    """Give the frameworks that are imported from now on so many threads each.

    NPROC is what JAX's CPU client reads; the others are OpenMP's (torch) and TensorFlow's own.
    """
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)


def run_all(jobs: Sequence[Job], show: bool = True, workers: int | None = None) -> list[Any]:
    """Run all jobs, as many at a time as there are cores, and return their results in order.

    Args:
        jobs: what to run.
        show: whether to draw a progress bar per job on standard error.
        workers: how many at a time; the cores are divided among them.

    Raises:
        Exception: the first error of a job, after all jobs have ended.
    """
    cores = len(os.sched_getaffinity(0))
    workers = min(workers or cores, len(jobs)) or 1
    context = get_context("spawn")
    reports = context.Queue()
    with ProcessPoolExecutor(
        workers, context, _begin, (reports, max(1, cores // workers)), max_tasks_per_child=1
    ) as pool:
        futures = [pool.submit(_call, job) for job in jobs]
        _follow(futures, jobs, reports, show)
    return [future.result() for future in futures]


def _begin(reports: Any, threads: int) -> None:
    global _reports
    _reports = reports
    limit_threads(threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    threading.Thread(target=_follow_parent, args=(os.getppid(),), daemon=True).start()


def _follow_parent(parent: int) -> None:
    """Interrupt this process, which then saves its work, when the one that began it has died."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGINT)


def _call(job: Job) -> Any:
    told = 0.0

    def tell(done: int, total: int, unit: str) -> None:
        nonlocal told
        share = done / max(total, 1)
        if share - told >= 0.005 or done >= total:
            told = share
            _reports.put((job.label, done, total, unit))

    return job.function(*job.arguments, tell)


def _follow(futures: list[Future[Any]], jobs: Sequence[Job], reports: Any, show: bool) -> None:
    """Draw the bars until every job has ended; an interrupt is left to the jobs to notice."""
    width = max(len(job.label) for job in jobs)
    bars = {
        job.label: tqdm(desc=job.label.ljust(width), total=1, position=place, disable=_hidden(show))
        for place, job in enumerate(jobs)
    }
    try:
        while not wait(futures, timeout=0.2).not_done == set():
            _drain(reports, bars)
        _drain(reports, bars)
    except KeyboardInterrupt:
        wait(futures)
    finally:
        for bar in bars.values():
            bar.close()


def _hidden(show: bool) -> bool | None:
    """What tqdm takes: never, or unless standard error is a terminal (None)."""
    return None if show else True


def _drain(reports: Any, bars: dict[str, Any]) -> None:
    while True:
        try:
            label, done, total, unit = reports.get_nowait()
        except queues.Empty:
            return
        bar = bars[label]
        bar.total, bar.unit = total, unit
        bar.n = done
        bar.refresh()
