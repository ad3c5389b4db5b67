"""The systems take turns: each lives in a process of its own, alone and anew in every round.

Where a process finds its memory decides up to a third of its speed for as long as it lives, so that
one process per system would compare luck.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[1]
PEERS = BENCHMARKS.parent / ".venv-peers"


@dataclass(frozen=True)
class System:
    """Who is measured.

    Attributes:
        label: in the table.
        where: ``module:class:argument`` below ``throughput``.
        peer: whether it lives in the peers' virtual environment, or in this one.
        asked: the requests of a turn, see ``worker.py``.
    """

    label: str
    where: str
    peer: bool = False
    asked: tuple[str, ...] = ("run", "components")

    @property
    def python(self) -> Path:
        """The interpreter that has its packages."""
        return PEERS / "bin" / "python" if self.peer else Path(sys.executable)


# Neighbours in the list are neighbours in time: a backend stands beside the loop by hand.
SYSTEMS = (
    System("Stable-Baselines3", "peers:StableBaselines3", peer=True),
    System("triptych torch", "library:Library:torch"),
    System("by hand torch", "native:Native:torch"),
    System("triptych jax", "library:Library:jax"),
    System("by hand jax", "native:Native:jax"),
    System("triptych keras", "library:Library:keras"),
    System("by hand keras", "native:Native:keras"),
    System("SBX", "peers:SBX", peer=True),
    System("CleanRL-style loop (ours)", "cleanrl_style:CleanRLStyle", peer=True),
    System("Stable-Baselines3, fused Adam", "peers:StableBaselines3:fused", peer=True),
    System("torch, both loops", "beside:Beside:torch", asked=("compare",)),
    System("jax, both loops", "beside:Beside:jax", asked=("compare",)),
    System("keras, both loops", "beside:Beside:keras", asked=("compare",)),
    System("triptych", "parts:Parts", asked=("components",)),
    System("ALE vector, 1 game", "parts:VectorEmulator", asked=("components",)),
    System("PyTorch's kernels alone", "kernels:Kernels", asked=("components",)),
)

Values = dict[tuple[str, str], list[float]]
"""(what, system) -> one number per round: ``steps/s``, or the seconds of a component."""


class WorkerError(RuntimeError):
    """A system's process ended; the message holds the end of what it printed."""


class Worker:
    """The process of a system; see ``worker.py`` for the requests it answers."""

    def __init__(self, system: System) -> None:
        self.system = system
        # Open for as long as the process lives; closed with it.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [system.python, "-m", "throughput.worker", system.where],
            cwd=BENCHMARKS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, which would otherwise wait for requests."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """Return the answer to a request; raise WorkerError if the process ends instead."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do} | details) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._log.seek(0)
            end = self._log.read()[-3000:]
            raise WorkerError(f"{self.system.label} ended while asked to {do}:\n{end}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass
class Measured:
    """What was measured: numbers by round, and with which versions of the packages."""

    values: Values
    versions: dict[str, str]


def measure(
    systems: Sequence[System],
    rounds: int,
    steps: int,
    components: bool,
    tell: Callable[[str], None],
) -> Measured:
    """Let the systems take turns and return what was measured.

    Args:
        systems: who.
        rounds: how many turns each has; the order is reversed every other time, so that a drift of
            the machine favours nobody.
        steps: training steps in a turn.
        components: whether the components are timed as well, or training alone.
        tell: is told what is going on.
    """
    found = Measured({}, {})
    for number in range(rounds):
        for system in systems[:: -1 if number % 2 else 1]:
            tell(f"round {number + 1} of {rounds}: {system.label}")
            with Worker(system) as worker:
                found.versions |= worker.ask("prepare")["versions"]
                _turn(worker, steps, components, found.values)
    return found


def _turn(worker: Worker, steps: int, components: bool, values: Values) -> None:
    answer = {}
    for request in worker.system.asked:
        if request != "components":
            answer |= worker.ask(request, steps=steps)
        elif components:
            answer |= worker.ask(request)
    for what, value in answer.items():
        values.setdefault((what, worker.system.label), []).append(value)
