"""What all tests share: one thread per process, so that two test processes use two cores well, and
a folder of compiled programs, so that what one process has compiled with JAX the others load."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

from triptych.engines.processes import limit_threads

CACHE = "JAX_COMPILATION_CACHE_DIR"

limit_threads(1)
if CACHE not in os.environ:  # pytest's own process makes it, its workers and commands inherit it
    os.environ[CACHE] = tempfile.mkdtemp(prefix="triptych-jax-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    atexit.register(shutil.rmtree, os.environ[CACHE], ignore_errors=True)


@pytest.fixture
def signals_work() -> Iterator[None]:
    """Shells switch some off for what runs in the background."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
