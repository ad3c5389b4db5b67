"""Whether a replay memory fits the computer and its disk: asked before a run begins or goes on.

How many bytes a memory takes is in ``learn/storage.py``; what to do when a disk gets full all the
same is in ``runs``.
"""

from __future__ import annotations

import os
import shutil
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from triptych import envs
from triptych.engines import setup
from triptych.errors import RecipeError, StorageError
from triptych.learn import storage
from triptych.spec.algorithms import DQN
from triptych.spec.recipe import Budget, Recipe

_MEMINFO = Path("/proc/meminfo")
_CGROUPS = Path("/sys/fs/cgroup")
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Replay:
    """What a recipe's replay memory takes.

    transitions: of a full memory. kept: of them by the end of the budget. frame: the shape of one.
    item: bytes of one number of a frame. on_disk: whether frames are kept on the disk.
    interval: steps between checkpoints.
    """

    transitions: int
    kept: int
    frame: tuple[int, ...]
    item: int
    on_disk: bool
    interval: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of a transition's frame."""
        return int(np.prod(self.frame, dtype=np.int64)) * self.item

    @property
    def memory(self) -> int:
        """Bytes of the computer's memory when it is full."""
        return self.transitions * (storage.REST + (0 if self.on_disk else self.frame_bytes))

    @property
    def disk(self) -> int:
        """Bytes of the disk: of what two checkpoints list, and of frames that are kept there."""
        saved = (self.kept + self.interval) * (storage.REST + self.frame_bytes)
        return saved + (self.transitions * self.frame_bytes if self.on_disk else 0)

    def arithmetic(self, transitions: int) -> str:
        """How the bytes of transitions come about."""
        sizes = " x ".join(map(str, (*self.frame, self.item)))
        return f"{transitions:,} x ({sizes} + {storage.REST}) bytes"


def check(recipe: Recipe, folder: Path, budget: Budget, at_once: int = 1, in_all: int = 1) -> None:
    """Refuse a recipe whose replay memory does not fit; one that fits a dataset needs none.

    Args:
        recipe: to be trained.
        folder: where its run is, or will be; what its checkpoints take already is not counted.
        budget: how long it is trained.
        at_once: how many such runs are trained side by side, each with a memory of its own.
        in_all: how many such runs the folder is to hold.

    Raises:
        RecipeError: the computer has less memory than that; the sentence has the arithmetic.
        StorageError: the disk has less room than that.
    """
    if not isinstance(recipe.algorithm, DQN):
        return
    replay = _replay(recipe, recipe.algorithm, budget)
    _check_memory(replay, at_once)
    _check_disk(replay, folder, in_all)


def _replay(recipe: Recipe, algorithm: DQN, budget: Budget) -> Replay:
    with closing(setup.make_env(recipe)) as env:
        shape, dtype = env.observation_space.shape, np.dtype(env.observation_space.dtype)
    stack = envs.stack(recipe.task)
    return Replay(
        transitions=algorithm.replay,
        kept=min(algorithm.replay, budget.steps or algorithm.replay),
        frame=shape if stack == 1 else (*shape[:-1], shape[-1] // stack),
        item=dtype.itemsize,
        on_disk=algorithm.replay_storage == "disk",
        interval=recipe.logging.checkpoint,
    )


def _check_memory(replay: Replay, at_once: int) -> None:
    free = available_memory()
    if free is None or replay.memory * at_once <= free:
        return
    times = f"{at_once} runs at once x " if at_once > 1 else ""
    rest = f"{replay.transitions:,} x {storage.REST} bytes beside the frames"
    how = rest if replay.on_disk else replay.arithmetic(replay.transitions)
    disk = (
        "" if replay.on_disk else ", or keep the frames on the disk: algorithm.replay_storage=disk"
    )
    raise RecipeError(
        f"the replay of {replay.transitions:,} transitions needs "
        f"{readable(replay.memory * at_once)} of memory ({times}{how}), but {readable(free)} are "
        f"free; lower algorithm.replay{disk}"
    )


def _check_disk(replay: Replay, folder: Path, in_all: int) -> None:
    place = existing(folder)
    usage = shutil.disk_usage(place)
    if usage.total == 0:  # no disk, such as /proc: writing there says what is wrong
        return
    held = _held(folder) if place == folder else 0
    needed = max(replay.disk * in_all - held, 0)
    if needed <= usage.free:
        return
    times = f"{in_all} runs x " if in_all > 1 else ""
    how = f"{times}{replay.arithmetic(replay.kept + replay.interval)} in checkpoints"
    if replay.on_disk:
        how += f" and {readable(replay.transitions * replay.frame_bytes)} of frames"
    raise StorageError(
        f"the replay of {replay.transitions:,} transitions needs {readable(needed)} of the disk "
        f"that holds {place} ({how}), but {readable(usage.free)} are free; lower "
        "algorithm.replay, free some space, or choose another disk with --out"
    )


def _held(folder: Path) -> int:
    """Bytes of all checkpoints in a folder, which the next ones take the place of."""
    total = 0
    for path in folder.rglob("checkpoints/**/*"):
        with suppress(OSError):  # another process may just be removing it
            total += path.stat().st_size if path.is_file() else 0
    return total


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there already."""
    # A name that is too long is no folder; pathlib would raise.
    return next(path for path in (folder, *folder.absolute().parents) if os.path.isdir(path))


def available_memory() -> int | None:
    """Return how many bytes of memory can be had: what is free or can be freed, or this process'
    limit where that is lower; None where the system does not say."""
    try:
        lines = _MEMINFO.read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line[:12] == "MemAvailable")
    except (OSError, StopIteration, ValueError):
        return None
    return min([free, *_limits()])


def _limits() -> list[int]:
    """The limits on the memory of the control group that this process is in."""
    found = []
    for name in _LIMITS:
        with suppress(OSError, ValueError):  # "max" is no limit
            found.append(int((_CGROUPS / name).read_text()))
    return found


def readable(size: int) -> str:
    """Return a size in bytes as people write it."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
