"""Functions for processes of their own: they must be importable there."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from triptych.engines.processes import Tell
from triptych.errors import RecipeError


def double(x: int, tell: Tell) -> int:
    for step in range(5):
        tell(step + 1, 5, "step")
    time.sleep(0.05 * (x == 1))
    return 2 * x


def surroundings(tell: Tell) -> dict[str, Any]:
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC")
    return {name: os.environ.get(name) for name in names} | {"pid": os.getpid()}


def refuse(tell: Tell) -> None:
    raise RecipeError("a sentence")


def fail(tell: Tell) -> None:
    raise ZeroDivisionError("a fault")


class Awkward(Exception):
    """Cannot be unpickled: it is made from two arguments but remembers one."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} and {right}")


def fail_awkwardly(tell: Tell) -> None:
    raise Awkward(1, 2)


def die(tell: Tell) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave_at_once(tell: Tell) -> None:
    os._exit(7)


def touch_slowly(path: str, seconds: float, tell: Tell) -> None:
    """Say that it has begun, wait for SIGTERM, and some seconds later say that it has saved."""
    from triptych.engines.interrupts import noticing

    with noticing() as noticed:
        Path(f"{path}.begun").touch()
        while not noticed:
            time.sleep(0.01)
        time.sleep(seconds)
        Path(f"{path}.saved").touch()
    raise KeyboardInterrupt


def fill_the_disk_at_the_end(path: str, tell: Tell) -> None:
    """As if saving had failed."""
    from triptych.errors import StorageError

    try:
        touch_slowly(path, 0.0, tell)
    except KeyboardInterrupt:
        raise StorageError("the disk is full") from None


def warn(tell: Tell) -> None:
    """A library's warning, and one of ours, told apart by the file that they name."""
    import triptych.runs.checkpoints as ours

    warnings.warn_explicit("of a library", UserWarning, "/lib/x.py", 1)
    warnings.warn_explicit("going back", UserWarning, ours.__file__, 1)
    sys.stderr.flush()


def unpicklable(tell: Tell) -> Any:
    return lambda: None
