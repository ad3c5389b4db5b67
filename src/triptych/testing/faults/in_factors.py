"""Differences that only factors show: what the sides say of themselves, read from real objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from triptych.spec.initial import Initial
from triptych.spec.notation import parse
from triptych.spec.recipe import DQN, Budget
from triptych.spec.schedules import Constant, Linear
from triptych.testing.faults.fault import Fault
from triptych.testing.faults.problems import PLAIN

_TASK = {"environment": "ALE/SpaceInvaders-v5", "sticky": 0.25, "life_loss": False}
_FRAMES = {"frame_skip": 4, "max_frames": 108_000, "clip_rewards": True, "grayscale": True}


def initial(**kinds: Any) -> dict[str, Any]:
    """Return the initialiser of every array of the plain network, by audit key."""
    chosen = Initial(**kinds)
    return {
        f"{name}.initial": getattr(chosen, name.rsplit("/", 1)[1])
        for name in parse(PLAIN).parameters
    }


def algorithm(**options: Any) -> dict[str, Any]:
    """Return the fields of an algorithm, by audit key."""
    given: dict[str, Any] = {"discount": 0.99, "batch": 32, "replay": 10_000}
    chosen = DQN(**(given | {"exploration": Linear(1.0, 0.1, 1000)} | options))
    return {f"algorithm.{key}": value for key, value in asdict(chosen).items()}


def task(**options: Any) -> dict[str, Any]:
    """Return the options of a task, by audit key."""
    return {f"task.{key}": value for key, value in (_TASK | _FRAMES | options).items()}


def budget(**options: Any) -> dict[str, Any]:
    """Return how long a training lasts, by audit key."""
    return {f"budget.{key}": value for key, value in asdict(Budget(**options)).items()}


def _stated(
    name: str, factor: str, healthy: Mapping[str, Any], sick: Mapping[str, Any], backends: str
) -> Fault:
    left, right = backends.split()
    return Fault(name, factor, 0, "target", right, left, stated=(healthy, sick))


FAULTS = (
    _stated(
        "PyTorch's initial kernels", "initialiser",
        initial(), initial(kernel="fan_in_uniform"), "keras torch",
    ),
    _stated(
        "Flax's initial kernels", "initialiser",
        initial(), initial(kernel="lecun_normal"), "torch jax",
    ),
    _stated(
        "PyTorch's initial biases", "bias-initialiser",
        initial(), initial(bias="fan_in_uniform"), "jax torch",
    ),
    _stated(
        "final exploration 0.01 for 0.1", "exploration",
        algorithm(), algorithm(exploration=Linear(1.0, 0.01, 1000)), "torch jax",
    ),
    _stated(
        "exploration constant", "exploration",
        algorithm(), algorithm(exploration=Constant(0.1)), "torch keras",
    ),
    _stated(
        "a larger memory", "replay-size", algorithm(), algorithm(replay=100_000), "jax torch"
    ),
    _stated(
        "learning starts later", "learning-starts",
        algorithm(), algorithm(learning_starts=500), "torch jax",
    ),
    _stated(
        "an update every fourth step", "train-frequency",
        algorithm(), algorithm(update_every=4), "jax torch",
    ),
    _stated("no sticky actions", "sticky-actions", task(), task(sticky=0.0), "torch jax"),
    _stated("a lost life ends", "life-loss", task(), task(life_loss=True), "jax torch"),
    _stated("frames skipped by 5", "frame-skip", task(), task(frame_skip=5), "torch jax"),
    _stated("another cap of frames", "frame-cap", task(), task(max_frames=18_000), "jax torch"),
    _stated("colours kept", "preprocessing", task(), task(grayscale=False), "torch jax"),
    _stated(
        "twice the episodes", "training-length",
        budget(episodes=500), budget(episodes=1000), "torch keras",
    ),
)  # fmt: skip
