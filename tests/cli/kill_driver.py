"""Runs a command of Triptych that is killed at a point chosen beforehand, as by ``kill -9``.

    python kill_driver.py STEP moment SECONDS train ...   so long after that step
    python kill_driver.py STEP write NUMBER train ...     before the n-th next change on the disk

The whole process group dies, with whatever threads the frameworks have.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from triptych.cli import main
from triptych.learn.training import Training

CHANGES = ("fsync", "replace", "unlink", "rmdir", "mkdir")
"""What checkpoints are made of and rotated by, besides writing, which comes before an fsync."""


def kill() -> None:
    os.killpg(os.getpid(), signal.SIGKILL)


def kill_at_change(number: int) -> None:
    left = number

    def counting(change: Any) -> Any:
        def counted(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                kill()
            return change(*args, **more)

        return counted

    for name in CHANGES:
        setattr(os, name, counting(getattr(os, name)))


def arm(step: int, kind: str, amount: str) -> None:
    """Wait for the step in which the training is that far."""
    make_step, armed = Training._step, False

    def stepping(training: Training) -> Any:
        nonlocal armed
        if training.steps >= step and not armed:
            armed = True
            if kind == "moment":
                threading.Timer(float(amount), kill).start()
            else:
                kill_at_change(int(amount))
        return make_step(training)

    Training._step = stepping  # type: ignore[method-assign]


if __name__ == "__main__":
    arm(int(sys.argv[1]), *sys.argv[2:4])
    sys.exit(main(sys.argv[4:]))
