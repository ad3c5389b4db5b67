"""Runs a command of Triptych that is killed at a point chosen beforehand, as by ``kill -9``.

A point is a step and what is awaited from there on: ``moment`` and seconds, or ``write`` and the
number of changes on the disk. The whole process group dies, with whatever threads the frameworks
have.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
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


def run(step: str, kind: str, amount: str, words: Sequence[str]) -> int:
    """Run a command, and kill it there."""
    arm(int(step), kind, amount)
    return main(words)


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
