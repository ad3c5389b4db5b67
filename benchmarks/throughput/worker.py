"""The process of one system: it answers requests, one JSON line each, and waits between them.

    python -m throughput.worker SYSTEM

Requests: ``{"do": "prepare"}``, ``{"do": "run", "steps": N}``, ``{"do": "components"}``, and
``{"do": "compare", "steps": N}`` of a system that holds two loops.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from throughput import settings
from triptych.backends.registry import load_one_only
from triptych.engines.processes import limit_threads

PACKAGES = (
    *("numpy", "torch", "jax", "flax", "optax", "keras", "tensorflow-cpu", "gymnasium", "ale-py"),
    *("opencv-python-headless", "stable-baselines3", "sbx-rl"),
)
CALLS = {"update": 40, "update (fruit)": 40, "target sync": 10, "matrix multiply": 5}
"""How often a component is called in a round, 200 times if not said here."""


class Answers:
    """What a system answers; the names of the requests are those of the methods."""

    def __init__(self, system: Any) -> None:
        self.system = system
        self.calls: dict[str, Callable[[], object]] = {}

    def prepare(self) -> dict[str, Any]:
        """Warm everything up; say with which packages.

        Raises:
            RuntimeError: the network is another than S4's, so that nothing could be compared.
        """
        found, expected = self.system.parameters, settings.recipe().network.parameter_count
        if found not in (expected, None):
            raise RuntimeError(f"the network learns {found} numbers, but S4's learns {expected}")
        self.system.prepare()
        self.calls = self.system.components()
        for call in self.calls.values():
            for _ in range(10):
                call()
        return {"versions": versions()}

    def run(self, steps: int) -> dict[str, float]:
        """Make training steps; answer how many there were in a second.

        Raises:
            RuntimeError: there were not as many updates as so many steps ask for.
        """
        before, began = self.system.updates, time.perf_counter()
        self.system.run(steps)
        taken = time.perf_counter() - began
        made, due = self.system.updates - before, steps / settings.algorithm().update_every
        if abs(made - due) > 1:
            raise RuntimeError(f"{made} updates in {steps} steps, where {due:g} are due")
        return {"steps/s": steps / taken}

    def compare(self, steps: int) -> dict[str, float]:
        """Let two loops take turns; answer the speed of the one in that of the other."""
        return {"of by hand": self.system.compare(steps)}

    def components(self) -> dict[str, float]:
        """Answer the median seconds of a call of each component."""
        return {what: seconds(call, CALLS.get(what, 200)) for what, call in self.calls.items()}


def seconds(call: Callable[[], object], count: int) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return median(times)


def versions() -> dict[str, str]:
    """Return the versions of the packages that are installed here."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Make the system named on the command line and answer until the pipe is closed."""
    # What libraries print must not be taken for answers.
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    limit_threads(len(os.sched_getaffinity(0)))
    load_one_only()
    module, name, *arguments = sys.argv[1].split(":")
    answers = Answers(getattr(import_module(f"throughput.{module}"), name)(*arguments))
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(answers, request.pop("do"))(**request)
        print(json.dumps(answer), file=pipe, flush=True)


if __name__ == "__main__":
    main()
