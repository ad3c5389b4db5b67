"""Triptych as a person meets it: in a process of its own, with signals and limits."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import warm

from triptych import cli

FRUIT = [
    "fruit", "--set", "task.grid=5", "--set", "budgets.published.episodes=150",
    "--set", "logging.episodes=5", "--set", "logging.checkpoint=60",
    "--set", "verify.lockstep=20", "--set", "verify.free_episodes=60",
]  # fmt: skip
"""A training of 450 steps and 323 updates, checkpoints every 60 steps."""

TENSORFLOW = ("WARNING: All log messages before absl", "I0000 ")
"""How lines begin that TensorFlow's import writes whatever the log level."""
PATIENCE = 240.0
WARM = ("train", "evaluate", "watch", "compare", "verify", "audit", "defaults")
"""Commands that import a framework, in their own process or in others."""


@dataclass(frozen=True)
class Answer:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code in (0, 1), self.err
        return json.loads(self.out)

    def check_refused(self) -> str:
        """Assert exit code 2 and one sentence, and return it."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert "Traceback" not in self.err, self.err
        sentences = [line for line in self.err.splitlines() if line.startswith("triptych")]
        assert self.err.splitlines() == sentences, self.err
        assert len(sentences) == 1, self.err
        return sentences[0]


class Command:
    """A command that runs; a warm one takes a limit on its files, and a ``main`` of its own."""

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        file_limit: int | None = None,
        main: Callable[[Sequence[str]], int] = cli.main,
        **environ: str,
    ) -> None:
        self.process: subprocess.Popen[str] | warm.Process
        if words[0] in WARM:
            self.process = warm.Process(main, words, folder, file_limit, environ)
        else:
            self.process = self._cold(words, folder, environ)

    @staticmethod
    def _cold(
        words: Sequence[str], folder: Path, environ: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "triptych", *words],
            cwd=folder,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A test may be run in the background, where shells switch Ctrl-C off.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def answer(self) -> Answer:
        """Wait for the end."""
        out, err = self.process.communicate(timeout=PATIENCE)
        ours = [line for line in err.splitlines(True) if not line.startswith(TENSORFLOW)]
        return Answer(self.process.returncode, out, "".join(ours))

    def signal_group(self, number: int) -> None:
        """Send a signal to all its processes, as a terminal does."""
        os.killpg(self.process.pid, number)

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true while the command runs."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert self.process.poll() is None, self.answer()
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.002)

    def wait_for_orphans(self) -> None:
        """Wait until its processes have ended by themselves, now that it is dead."""
        self.process.wait(timeout=PATIENCE)
        end = time.monotonic() + PATIENCE
        while self._alive():
            assert time.monotonic() < end, "an orphan goes on"
            time.sleep(0.02)

    def _alive(self) -> bool:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state != "Z":
                    return True
        return False


def triptych(*words: str, folder: Path, file_limit: int | None = None, **environ: str) -> Answer:
    """Run a command to its end."""
    return Command(words, folder, file_limit, **environ).answer()


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder that ``make`` has filled, once for all processes that run the tests."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / name
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "ready").touch()
    return folder


def rows(run: Path) -> int:
    """How many rows of metrics a run has."""
    try:
        return (run / "metrics.csv").read_text().count("\n") - 1
    except FileNotFoundError:
        return 0


def results(run: Path) -> tuple[bytes, bytes]:
    """The files of a run that one seed decides."""
    return (run / "params.safetensors").read_bytes(), (run / "metrics.csv").read_bytes()


def header(run: Path) -> dict[str, Any]:
    """What ``run.json`` says."""
    return json.loads((run / "run.json").read_text())
