"""A replay memory's exact state, and back: what is new at every checkpoint, and what never changes.

A transition is final once the next of its lane is stored. Final ones are cut by their numbers into
chunks of 512; each is a function that returns arrays, so that whoever keeps checkpoints can write
it once. All else (what is older or newer than whole chunks) is the rest, arrays at the top. Which
chunks there are follows from the memory's state alone. Files do not belong here.

The functions here are friends of :class:`~triptych.learn.replay.ReplayMemory`: they alone reach
into its ring.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from triptych.errors import CheckpointError

if TYPE_CHECKING:
    from triptych.learn.replay import ReplayMemory

CHUNK = 512
_FIELDS = ("frames", "depth", "action", "reward", "terminated", "ended")
Arrays = dict[str, NDArray[Any]]


def snapshot(memory: ReplayMemory) -> dict[str, Any]:
    """Return the state: whole numbers, arrays, and ``chunks``, functions by their first number.

    ``frames``, ``depth``, ``action``, ``reward``, ``terminated`` and ``ended`` have a row for each
    transition of the rest, ``last_frames`` one for each that ended an episode; ``pending_frames``
    and ``pending_depth`` belong to the lanes' next transitions, and are zero where no episode runs.
    """
    rest, chunks = _cut(memory, memory._next, memory._length)
    pending = np.arange(memory._next, memory._next + memory.lanes)
    runs = memory._playing[pending % memory.lanes]
    frames, depth = (array[pending % memory._ring] for array in (memory._frames, memory._depth))
    frames[~runs], depth[~runs] = 0, 0
    return {
        "capacity": memory.capacity,
        "stack": memory.stack,
        "lanes": memory.lanes,
        "observation_shape": np.array(memory.observation_shape, dtype=np.int64),
        "next": memory._next,
        "length": memory._length,
        "playing": memory._playing.copy(),
        "pending_frames": np.asarray(frames),
        "pending_depth": depth,
        **_block(memory, rest),
        "chunks": {f"{start:09d}": partial(_chunk, memory, start) for start in chunks},
    }


def restore(memory: ReplayMemory, snapshot: Mapping[str, Any]) -> None:
    """Put the memory into the state of a snapshot, chunk by chunk.

    Raises:
        CheckpointError: the snapshot is of another memory, or damaged; only where a chunk is
            damaged has the memory changed.
    """
    _check(memory, snapshot)
    memory._next, memory._length = int(snapshot["next"]), int(snapshot["length"])
    memory._playing = snapshot["playing"].copy()
    memory._last_frames, memory._ended[:] = {}, False
    pending = np.arange(memory._next, memory._next + memory.lanes) % memory._ring
    memory._frames[pending] = snapshot["pending_frames"]
    memory._depth[pending] = snapshot["pending_depth"]
    for numbers, block in _blocks(memory, snapshot):
        _place(memory, numbers, block)


def _cut(memory: ReplayMemory, following: int, length: int) -> tuple[NDArray[np.int64], range]:
    """Return the numbers of the rest, with the frames that stacks still need; and the chunks'
    first numbers, where ``following`` is the number of the next transition."""
    oldest, final = following - length, following - memory.lanes
    first = max(oldest - (memory.stack - 1) * memory.lanes, 0)
    start = -(-oldest // CHUNK) * CHUNK
    chunks = range(start, max(start, final - CHUNK + 1), CHUNK)
    if not chunks:
        return np.arange(first, following), chunks
    end = chunks[-1] + CHUNK
    return np.concatenate([np.arange(first, start), np.arange(end, following)]), chunks


def _chunk(memory: ReplayMemory, start: int) -> Arrays:
    if start < memory._next - memory._length:
        raise CheckpointError(
            f"the replay memory has forgotten transition {start} since its snapshot was taken"
        )
    return _block(memory, np.arange(start, start + CHUNK))


def _block(memory: ReplayMemory, numbers: NDArray[np.int64]) -> Arrays:
    slots = numbers % memory._ring
    block = {name: np.asarray(getattr(memory, f"_{name}")[slots]) for name in _FIELDS}
    last = [memory._last_frames[number] for number in numbers[block["ended"]].tolist()]
    shape = (-1, *memory._frame)
    return {**block, "last_frames": np.array(last, dtype=memory.dtype).reshape(shape)}


def _blocks(
    memory: ReplayMemory, snapshot: Mapping[str, Any]
) -> Iterator[tuple[NDArray[np.int64], Mapping[str, Any]]]:
    rest, chunks = _cut(memory, int(snapshot["next"]), int(snapshot["length"]))
    yield rest, snapshot
    for start in chunks:
        chunk = snapshot["chunks"][f"{start:09d}"]
        block = chunk() if callable(chunk) else chunk
        numbers = np.arange(start, start + CHUNK)
        try:
            sound = _fits(memory, block, numbers, oldest=0)
        except (KeyError, AttributeError):
            sound = False
        if not sound:
            raise CheckpointError(f"the saved replay memory is damaged: chunk {start} does not fit")
        yield numbers, block


def _place(memory: ReplayMemory, numbers: NDArray[np.int64], block: Mapping[str, Any]) -> None:
    slots = numbers % memory._ring
    for name in _FIELDS:
        getattr(memory, f"_{name}")[slots] = block[name]
    ended = numbers[block["ended"]].tolist()
    last = zip(ended, block["last_frames"], strict=True)
    memory._last_frames.update({number: frame.copy() for number, frame in last})


def _check(memory: ReplayMemory, snapshot: Mapping[str, Any]) -> None:
    try:
        shape = tuple(int(size) for size in snapshot["observation_shape"])
        sizes = [int(snapshot[name]) for name in ("capacity", "stack", "lanes")]
        theirs = (*sizes, shape, str(snapshot["frames"].dtype))
        ours = (memory.capacity, memory.stack, memory.lanes, memory.observation_shape)
        other, sound = theirs != (*ours, str(memory.dtype)), _is_sound(memory, snapshot)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(f"the saved replay memory is damaged: {error!r}") from error
    if other:
        raise CheckpointError(
            f"the saved replay memory has capacity, stack, lanes, observation shape and type "
            f"{theirs}, but {(*ours, str(memory.dtype))} are wanted; it belongs to another recipe"
        )
    if not sound:
        raise CheckpointError("the saved replay memory is damaged: its parts do not fit")


def _is_sound(memory: ReplayMemory, snapshot: Mapping[str, Any]) -> bool:
    """Whether the arrays of a snapshot have the shapes and types that its numbers ask for."""
    following, length = int(snapshot["next"]), int(snapshot["length"])
    if not 0 <= length <= min(memory.capacity, following):
        return False
    rest, chunks = _cut(memory, following, length)
    playing, depth, frames = (
        snapshot[name] for name in ("playing", "pending_depth", "pending_frames")
    )
    return (
        set(snapshot["chunks"]) == {f"{start:09d}" for start in chunks}
        and _fits(memory, snapshot, rest, following - length)
        and (playing.shape, playing.dtype) == ((memory.lanes,), bool)
        and (depth.shape, depth.dtype) == ((memory.lanes,), np.uint8)
        and (frames.shape, frames.dtype) == ((memory.lanes, *memory._frame), memory.dtype)
    )


def _fits(
    memory: ReplayMemory, block: Mapping[str, Any], numbers: NDArray[np.int64], oldest: int
) -> bool:
    """Whether a block has a row for each number, and a last frame for each end since ``oldest``."""
    like = {name: (len(numbers), getattr(memory, f"_{name}")) for name in _FIELDS}
    if not all(
        block[name].shape == (count, *array.shape[1:]) and block[name].dtype == array.dtype
        for name, (count, array) in like.items()
    ):
        return False
    last, ended = block["last_frames"], numbers[block["ended"]]
    return (
        last.shape == (len(ended), *memory._frame)
        and last.dtype == memory.dtype
        and bool(np.all(ended >= oldest))
    )
