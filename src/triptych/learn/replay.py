"""The replay memory of deep Q-learning: it stores each frame once.

An observation holds ``stack`` groups of channels, the oldest first, zeros before the episode's
start (as Gymnasium's ``FrameStackObservation(padding_type="zero")``). Consecutive observations
share all groups but one, so that only the newest is stored, and stacks are put together when
transitions are read. Who draws from the memory, and when, does not belong here.

The layout. Frame number i is the newest frame of the observation of transition number i; it lies in
slot ``i % (capacity + stack)`` of a ring. The next observation of transition i ends with frame
i + 1, unless the episode ended there: then its last frame is kept aside, under i.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from triptych.errors import BatchError, CheckpointError

_WORDS: dict[int, np.dtype[Any]] = {n: np.dtype(f"<u{n}") for n in (2, 4, 8)}
# Stacks put together at a time: their scratch arrays then stay in a core's cache.
_BLOCK = 4
_RING = ("frames", "depth", "action", "reward", "terminated")


class ReplayMemory:
    """The last ``capacity`` transitions of one agent in one environment.

    Memory is taken from the system as it fills up; a million transitions of 84 x 84 bytes weigh
    7.1 GB when full.

    Args:
        capacity: how many transitions are kept; the oldest is forgotten first.
        observation_shape: of one observation, channels last; any shape if ``stack`` is 1.
        stack: how many groups of channels an observation holds.
        dtype: of the observations.

    Raises:
        BatchError: a size is not positive, or the channels are no multiple of the stack.
    """

    def __init__(
        self,
        capacity: int,
        observation_shape: tuple[int, ...],
        stack: int = 1,
        dtype: DTypeLike = np.uint8,
    ) -> None:
        self.capacity, self.stack, self.dtype = capacity, stack, np.dtype(dtype)
        self.observation_shape = tuple(observation_shape)
        self._check_sizes()
        self._channels = self.observation_shape[-1] // stack if self.observation_shape else 1
        shape = self.observation_shape
        frame = shape if stack == 1 else (*shape[:-1], self._channels)
        self._ring = capacity + stack
        self._frames = np.zeros((self._ring, *frame), dtype=self.dtype)
        # How many earlier frames of its episode stand before a frame, at most stack - 1.
        self._depth = np.zeros(self._ring, dtype=np.uint8)
        self._action = np.zeros(self._ring, dtype=np.int32)
        self._reward = np.zeros(self._ring, dtype=np.float64)
        self._terminated = np.zeros(self._ring, dtype=bool)
        self._last_frames: dict[int, NDArray[Any]] = {}
        self._next, self._length, self._playing = 0, 0, False
        self._scratch = np.empty((0, stack + 1, *frame), dtype=self.dtype)
        self._words = np.empty(
            (stack + 1, _BLOCK, int(np.prod(frame))), dtype=_WORDS.get(stack, np.uint8)
        )

    def __len__(self) -> int:
        return self._length

    def begin(self, observation: NDArray[Any]) -> None:
        """Take an episode's first observation; an episode that was left unfinished stays readable.

        Raises:
            BatchError: its shape or type is wrong, or a group before the newest is not zero.
        """
        self._check(observation)
        if self.stack > 1 and observation[..., : -self._channels].any():
            raise BatchError(
                "an episode's first observation must hold zeros in all groups of channels but the "
                "newest; stack frames with zero padding"
            )
        here = self._next % self._ring
        if self._playing and self._length and self._next - 1 not in self._last_frames:
            self._last_frames[self._next - 1] = self._frames[here].copy()
        self._frames[here], self._depth[here], self._playing = self._newest(observation), 0, True

    def append(
        self,
        action: int,
        reward: float,
        next_observation: NDArray[Any],
        terminated: bool,
        truncated: bool,
    ) -> None:
        """Store the transition from the last observation to the next; may end the episode.

        Args:
            action: the action taken after the last observation.
            reward: what it earned.
            next_observation: what followed; only its newest group of channels is read.
            terminated: the episode ended in a terminal state.
            truncated: the episode was cut off.

        Raises:
            BatchError: no episode was begun, or the observation's shape or type is wrong.
        """
        if not self._playing:
            raise BatchError("no episode is running in the replay memory; call begin first")
        self._check(next_observation)
        here, after = self._next % self._ring, (self._next + 1) % self._ring
        self._action[here], self._reward[here] = action, reward
        self._terminated[here] = terminated
        self._last_frames.pop(self._next - self.capacity, None)
        frame = self._newest(next_observation)
        if terminated or truncated:
            self._last_frames[self._next] = frame.copy()
        else:
            self._frames[after] = frame
            self._depth[after] = min(int(self._depth[here]) + 1, self.stack - 1)
        self._playing = not (terminated or truncated)
        self._next += 1
        self._length = min(self._length + 1, self.capacity)

    def sample(self, batch: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Return transitions drawn uniformly, with replacement, from all that are stored.

        Their numbers (0 = the oldest) are one call, ``rng.integers(0, len(memory), size=batch)``,
        and nothing else is drawn.

        Returns:
            What :meth:`transitions` returns.

        Raises:
            BatchError: the memory is empty.
        """
        if not self._length:
            raise BatchError("the replay memory is empty; append a transition before sampling")
        return self.transitions(rng.integers(0, self._length, size=batch))

    def transitions(self, indices: NDArray[np.integer[Any]]) -> dict[str, NDArray[Any]]:
        """Return the transitions of some numbers, 0 being the oldest that is stored.

        Returns:
            ``observation`` and ``next_observation`` of shape (batch, *observation_shape),
            ``action`` int32, ``reward`` float64, ``terminated`` bool, each (batch,); all copies.

        Raises:
            BatchError: an index is not a whole number from 0 to ``len(memory) - 1``.
        """
        indices = np.asarray(indices)
        if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
            raise BatchError(f"transition numbers must be a list of whole numbers, got {indices!r}")
        if indices.size and not 0 <= indices.min() <= indices.max() < self._length:
            raise BatchError(
                f"transition numbers must be from 0 to {self._length - 1}, but go from "
                f"{indices.min()} to {indices.max()}"
            )
        numbers = indices.astype(np.int64) + (self._next - self._length)
        slots = numbers % self._ring
        observation, next_observation = self._stacks(self._histories(numbers))
        return {
            "observation": observation,
            "action": self._action[slots],
            "reward": self._reward[slots],
            "next_observation": next_observation,
            "terminated": self._terminated[slots],
        }

    def snapshot(self) -> dict[str, NDArray[Any] | int]:
        """Return the exact state: a copy of the part in use, as arrays and whole numbers."""
        first = max(self._next - self._length - (self.stack - 1), 0)
        slots = np.arange(first, self._next + self._playing) % self._ring
        ended = sorted(self._last_frames)
        last = [self._last_frames[number] for number in ended]
        return {
            "capacity": self.capacity,
            "stack": self.stack,
            "observation_shape": np.array(self.observation_shape, dtype=np.int64),
            "length": self._length,
            "playing": int(self._playing),
            "frames": self._frames[slots],
            "depth": self._depth[slots],
            "action": self._action[slots],
            "reward": self._reward[slots],
            "terminated": self._terminated[slots],
            "ended": np.array(ended, dtype=np.int64) - first,
            "last_frames": np.array(last, dtype=self.dtype).reshape(-1, *self._frames.shape[1:]),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Put the memory into the state of a snapshot; it then goes on exactly as the saved one.

        Raises:
            CheckpointError: the snapshot is damaged, or of a memory of another size or type.
        """
        self._check_snapshot(snapshot)
        used, playing = len(snapshot["frames"]), bool(snapshot["playing"])
        for name in _RING:
            getattr(self, f"_{name}")[:used] = snapshot[name]
        last = zip(snapshot["ended"].tolist(), snapshot["last_frames"], strict=True)
        self._last_frames = {number: frame.copy() for number, frame in last}
        self._next, self._playing = used - playing, playing
        self._length = int(snapshot["length"])

    def _newest(self, observation: NDArray[Any]) -> NDArray[Any]:
        return observation if self.stack == 1 else observation[..., -self._channels :]

    def _histories(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Return each transition's ``stack`` frames and the next: (batch, stack + 1, ...).

        The array is reused by the next call: fresh memory for every batch would cost more than
        filling it.
        """
        ages = np.arange(self.stack - 1, -2, -1)
        slots = (numbers[:, None] - ages) % self._ring
        if len(self._scratch) != len(numbers):
            self._scratch = np.empty((*slots.shape, *self._frames.shape[1:]), dtype=self.dtype)
        frames = np.take(self._frames, slots, axis=0, out=self._scratch, mode="clip")
        frames[ages > self._depth[slots[:, -2], None]] = 0
        for row, number in enumerate(numbers.tolist()):
            last = self._last_frames.get(number)
            if last is not None:
                frames[row, -1] = last
        return frames

    def _stacks(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Return (2, batch, *observation_shape): the observations and the next ones."""
        if self.stack == 1:
            return np.moveaxis(frames, 1, 0).copy()
        shape = (2, len(frames), *self.observation_shape)
        if self.dtype == np.uint8 and self._channels == 1 and self.stack in _WORDS:
            return _pack(frames.reshape(*frames.shape[:2], -1), self._words).reshape(shape)
        stacks = np.empty(shape, dtype=self.dtype)
        for group in range(self.stack):
            channels = slice(group * self._channels, (group + 1) * self._channels)
            stacks[0, ..., channels] = frames[:, group]
            stacks[1, ..., channels] = frames[:, group + 1]
        return stacks

    def _check_sizes(self) -> None:
        sizes = [self.capacity, self.stack, *self.observation_shape]
        if any(type(size) is bool or int(size) != size or size < 1 for size in sizes):
            raise BatchError(
                f"a replay memory's capacity, stack and observation shape must be positive whole "
                f"numbers, but are {self.capacity}, {self.stack} and {self.observation_shape}"
            )
        if self.stack > 255:
            raise BatchError(f"a replay memory stacks at most 255 frames, not {self.stack}")
        if self.stack > 1 and (
            not self.observation_shape or self.observation_shape[-1] % self.stack
        ):
            raise BatchError(
                f"the last size of the observation shape {self.observation_shape} must be a "
                f"multiple of the stack, {self.stack}"
            )

    def _check(self, observation: NDArray[Any]) -> None:
        shape, dtype = np.shape(observation), getattr(observation, "dtype", None)
        if shape != self.observation_shape or dtype != self.dtype:
            raise BatchError(
                f"the replay memory takes observations of shape {self.observation_shape} and type "
                f"{self.dtype}, but got shape {shape} and type {dtype}"
            )

    def _check_snapshot(self, snapshot: Mapping[str, Any]) -> None:
        try:
            shape = tuple(int(size) for size in snapshot["observation_shape"])
            theirs = (int(snapshot["capacity"]), int(snapshot["stack"]), shape)
            dtype, sound = snapshot["frames"].dtype, self._is_sound(snapshot)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"the saved replay memory is damaged: {error!r}") from error
        ours = (self.capacity, self.stack, self.observation_shape)
        if (*theirs, dtype) != (*ours, self.dtype):
            raise CheckpointError(
                f"the saved replay memory has capacity, stack, observation shape and type "
                f"{(*theirs, str(dtype))}, but {(*ours, str(self.dtype))} are wanted; it belongs "
                f"to another recipe"
            )
        if not sound:
            raise CheckpointError("the saved replay memory is damaged: its parts do not fit")

    def _is_sound(self, snapshot: Mapping[str, Any]) -> bool:
        """Whether the arrays of a snapshot have the shapes and types that its numbers ask for."""
        used, ended = len(snapshot["frames"]), snapshot["ended"]
        length, playing = int(snapshot["length"]), int(snapshot["playing"])
        end = used - playing
        first = end - length
        like = {name: (used, getattr(self, f"_{name}")) for name in _RING}
        like["last_frames"] = (len(ended), self._frames)
        return (
            all(
                snapshot[name].shape == (count, *array.shape[1:])
                and snapshot[name].dtype == array.dtype
                for name, (count, array) in like.items()
            )
            and playing in (0, 1)
            and 0 <= length <= self.capacity
            and 0 <= first < self.stack
            and ended.dtype == np.int64
            and np.array_equal(ended, np.unique(ended))
            and bool(np.all((first <= ended) & (ended < end)))
        )


def _pack(frames: NDArray[np.uint8], scratch: NDArray[Any]) -> NDArray[np.uint8]:
    """Put frames side by side as bytes: (batch, stack + 1, pixels) to (2, batch, pixels, stack).

    A pixel's stack is one little-endian word, put together by shifts: three times as fast as
    writing every stack-th byte. ``scratch`` has shape (stack + 1, any, pixels).
    """
    batch, count, pixels = frames.shape
    stack = count - 1
    words = np.empty((2, batch, pixels), dtype=scratch.dtype)
    for start in range(0, batch, _BLOCK):
        block = slice(start, start + _BLOCK)
        lanes = scratch[:, : len(frames[block])]
        lanes[...] = np.moveaxis(frames[block], 1, 0)
        shared = lanes[stack - 1]
        for lane in lanes[stack - 2 : 0 : -1]:
            shared <<= 8
            shared |= lane
        lanes[stack] <<= 8 * (stack - 1)
        np.bitwise_or(shared, lanes[stack], out=words[1, block])
        shared <<= 8
        np.bitwise_or(shared, lanes[0], out=words[0, block])
    return words.view(np.uint8).reshape(2, batch, pixels, stack)
