"""Signals as something to look at between two steps, rather than something that tears work apart.

Ctrl-C, a polite kill and a closed terminal all ask for the same: stop at the next good moment. What
stopping means belongs to those who look.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 3
"""At this many signals waiting is over: KeyboardInterrupt is raised where the program stands."""


@dataclass
class Noticed:
    """How many signals have arrived."""

    count: int = 0

    def __bool__(self) -> bool:
        return self.count > 0


@contextmanager
def noticing() -> Iterator[Noticed]:
    """Count the signals that ask to stop while the block runs.

    A signal that the process ignores (``nohup``) stays ignored. Outside the main thread, where
    Python handles no signals, nothing is counted.

    Raises:
        KeyboardInterrupt: at the third signal.
    """
    noticed = Noticed()

    def notice(number: int, frame: Any) -> None:
        noticed.count += 1
        if noticed.count >= PATIENCE:
            raise KeyboardInterrupt

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, notice) for number in heard}
    try:
        yield noticed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
