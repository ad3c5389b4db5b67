"""Commands in processes of their own whose imports are made already.

An import of a framework takes longer than a small training. One server per test process imports
them, has no thread and has computed nothing, and forks for each command; everything else is as if
the command had been given in a shell. A test of imports themselves has no business here.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

from triptych.backends import registry
from triptych.engines import processes

IMPORTS = [f"triptych.backends._{name}.learner" for name in registry.installed()]
"""PyTorch before TensorFlow, as they bear it."""
LATE = ["torch._dynamo", "tensorboard.summary.writer.record_writer"]
"""What a first optimizer and a first event file would import."""


class Process:
    """A command that runs, with what the tests use of ``subprocess.Popen``."""

    def __init__(
        self,
        main: Callable[[Sequence[str]], int],
        words: Sequence[str],
        folder: Path,
        file_limit: int | None,
        environ: Mapping[str, str],
    ) -> None:
        self._place = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, self._place, ignore_errors=True)
        context = get_context("forkserver")
        context.set_forkserver_preload([*IMPORTS, *LATE])
        os.environ["KERAS_BACKEND"] = "tensorflow"  # the server inherits it; see backends/registry
        self._process = context.Process(
            target=_run, args=(main, words, str(folder), self._place, file_limit, dict(environ))
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of the signal that killed it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same, for those who ask again and again."""
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the end."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for the end and return what was printed on each stream."""
        self.wait(timeout)
        out, err = (Path(self._place, name).read_text() for name in ("out", "err"))
        return out, err

    def kill(self) -> None:
        """Kill this one process."""
        self._process.kill()


def _run(
    main: Callable[[Sequence[str]], int],
    words: Sequence[str],
    folder: str,
    place: str,
    file_limit: int | None,
    environ: Mapping[str, str],
) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((1, "out"), (2, "err")):
        with open(f"{place}/{name}", "w") as file:
            os.dup2(file.fileno(), number)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    os.environ.update(environ)
    os.chdir(folder)
    sys.argv = ["triptych", *words]
    # What it starts itself is forked from it: it has imported all, and computed nothing.
    processes.get_context = lambda _: get_context("fork")  # type: ignore[attr-defined]
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    sys.exit(main(words))
