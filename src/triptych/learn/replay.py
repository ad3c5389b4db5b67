"""The replay memory of deep Q-learning: it stores each frame once.

An observation holds ``stack`` groups of channels, the oldest first, zeros before the episode's
start (as Gymnasium's ``FrameStackObservation(padding_type="zero")``). Consecutive observations
share all groups but one, so that only the newest is stored, and stacks are put together when
transitions are read. Who draws from the memory, and when, does not belong here; nor how its state
is saved, which is in ``replay_state``.

The layout. Games played side by side are lanes: transition number k belongs to lane ``k % lanes``,
and the next one of its lane is k + lanes. Frame number k is the newest frame of the observation of
transition k; it lies in slot ``k % (capacity + stack * lanes)`` of a ring. The next observation of
transition k ends with frame k + lanes, unless the episode ended there: then its last frame is kept
aside, under k.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from triptych.errors import BatchError
from triptych.learn import replay_state
from triptych.learn.stacking import interleave
from triptych.learn.storage import disk_frames

Batch = dict[str, NDArray[Any]]


class ReplayMemory:
    """The last ``capacity`` transitions of one agent, in one environment or in several.

    Memory is taken from the system as it fills up; a million transitions of 84 x 84 bytes weigh
    7.1 GB when full.

    Args:
        capacity: how many transitions are kept, of all lanes; the oldest is forgotten first.
        observation_shape: of one observation, channels last; any shape if ``stack`` is 1.
        stack: how many groups of channels an observation holds.
        dtype: of the observations.
        lanes: how many games are played side by side; they append in turn, lane 0 first.
        n_step: how many rewards a drawn transition sums up (Sutton 1988), up to the episode's end.
        discount: of the later of these rewards.
        directory: a folder whose disk holds the frames, in a file without a name that ends with the
            process; None for the computer's memory.

    Raises:
        BatchError: a size is not positive, the channels are no multiple of the stack, or so much
            memory cannot be had.
        StorageError: the disk has no room for the frames.
    """

    def __init__(
        self,
        capacity: int,
        observation_shape: tuple[int, ...],
        stack: int = 1,
        dtype: DTypeLike = np.uint8,
        *,
        lanes: int = 1,
        n_step: int = 1,
        discount: float = 1.0,
        directory: str | Path | None = None,
    ) -> None:
        self.capacity, self.stack, self.dtype = capacity, stack, np.dtype(dtype)
        self.lanes, self.n_step, self.discount = lanes, n_step, discount
        self.observation_shape = tuple(observation_shape)
        self._check_sizes()
        self._channels = self.observation_shape[-1] // stack if self.observation_shape else 1
        shape = self.observation_shape
        self._frame = shape if stack == 1 else (*shape[:-1], self._channels)
        self._ring = capacity + stack * lanes
        self._frames = self._room_for_frames(directory)
        # How many earlier frames of its episode stand before a frame, at most stack - 1.
        self._depth = np.zeros(self._ring, dtype=np.uint8)
        self._action = np.zeros(self._ring, dtype=np.int32)
        self._reward = np.zeros(self._ring, dtype=np.float64)
        self._terminated = np.zeros(self._ring, dtype=bool)
        self._ended = np.zeros(self._ring, dtype=bool)
        self._last_frames: dict[int, NDArray[Any]] = {}
        self._next, self._length = 0, 0
        self._playing = np.zeros(lanes, dtype=bool)
        self._ages = lanes * np.arange(stack - 1, -2, -1)[:, None]
        self._powers = float(discount) ** np.arange(n_step + 1)
        self._scratch = np.empty((stack + 1, 0, *self._frame), dtype=self.dtype)

    def __len__(self) -> int:
        return self._length

    @property
    def drawable(self) -> int:
        """How many transitions can be drawn: all, but for the last ``n_step - 1`` of each lane."""
        return max(self._length - (self.n_step - 1) * self.lanes, 0)

    def begin(self, observation: NDArray[Any], lane: int = 0) -> None:
        """Take an episode's first observation; an episode that was left unfinished stays readable.

        Raises:
            BatchError: its shape or type is wrong, a group before the newest is not zero, or there
                is no such lane.
        """
        self._check(observation)
        if not 0 <= lane < self.lanes:
            raise BatchError(f"the replay memory has lanes 0 to {self.lanes - 1}, not {lane}")
        if self.stack > 1 and observation[..., : -self._channels].any():
            raise BatchError(
                "an episode's first observation must hold zeros in all groups of channels but the "
                "newest; stack frames with zero padding"
            )
        number = self._next + (lane - self._next) % self.lanes
        here, before = number % self._ring, number - self.lanes
        stored = before >= self._next - self._length
        if self._playing[lane] and stored and not self._ended[before % self._ring]:
            self._end(before, self._frames[here])
        self._frames[here], self._depth[here] = self._newest(observation), 0
        self._playing[lane] = True

    def append(
        self,
        action: int,
        reward: float,
        next_observation: NDArray[Any],
        terminated: bool,
        truncated: bool,
        lane: int = 0,
    ) -> None:
        """Store the transition from a lane's last observation to the next; may end the episode.

        Args:
            action: the action taken after the last observation.
            reward: what it earned.
            next_observation: what followed; only its newest group of channels is read.
            terminated: the episode ended in a terminal state.
            truncated: the episode was cut off.
            lane: the game it was made in.

        Raises:
            BatchError: no episode was begun, it is another lane's turn, or the observation's shape
                or type is wrong.
        """
        if lane != self._next % self.lanes:
            raise BatchError(
                f"the replay memory's lanes append in turn: lane {self._next % self.lanes} is "
                f"next, not {lane}"
            )
        if not self._playing[lane]:
            raise BatchError("no episode is running in the replay memory; call begin first")
        self._check(next_observation)
        here, after = self._next % self._ring, (self._next + self.lanes) % self._ring
        self._action[here], self._reward[here] = action, reward
        self._terminated[here], self._ended[here] = terminated, False
        self._forget(self._next - self.capacity)
        frame = self._newest(next_observation)
        if terminated or truncated:
            self._end(self._next, frame)
        else:
            self._frames[after] = frame
            self._depth[after] = min(int(self._depth[here]) + 1, self.stack - 1)
        self._playing[lane] = not (terminated or truncated)
        self._next += 1
        self._length = min(self._length + 1, self.capacity)

    def _end(self, number: int, last_frame: NDArray[Any]) -> None:
        self._last_frames[number] = np.array(last_frame)
        self._ended[number % self._ring] = True

    def _forget(self, number: int) -> None:
        """Drop what only a forgotten transition needs; later stacks may still need its frame."""
        if self._last_frames.pop(number, None) is not None:
            self._ended[number % self._ring] = False

    def sample(self, batch: int, rng: np.random.Generator) -> Batch:
        """Return transitions drawn uniformly, with replacement, from all that can be drawn.

        Their numbers (0 = the oldest) are one call, ``rng.integers(0, drawable, size=batch)``, and
        nothing else is drawn.

        Returns:
            What :meth:`transitions` returns.

        Raises:
            BatchError: there is none.
        """
        self._check_drawable()
        return self.transitions(rng.integers(0, self.drawable, size=batch))

    def transitions(self, indices: NDArray[np.integer[Any]]) -> Batch:
        """Return the transitions of some numbers, 0 being the oldest that is stored.

        Returns:
            ``observation`` and ``next_observation`` of shape (batch, *observation_shape),
            ``action`` int32, ``reward`` float64, ``terminated`` bool, each (batch,); all copies.
            With ``n_step`` n > 1 a transition spans m = n steps, or as many as its episode still
            had: ``reward`` is the sum of discount^k times the k-th reward, ``next_observation`` and
            ``terminated`` are those of the last step, and ``discount``, float64, is discount^m.

        Raises:
            BatchError: an index is not a whole number from 0 to ``drawable - 1``.
        """
        indices = np.asarray(indices)
        if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
            raise BatchError(f"transition numbers must be a list of whole numbers, got {indices!r}")
        if indices.size and not 0 <= indices.min() <= indices.max() < self.drawable:
            raise BatchError(
                f"transition numbers must be from 0 to {self.drawable - 1}, but go from "
                f"{indices.min()} to {indices.max()}"
            )
        numbers = indices.astype(np.int64) + (self._next - self._length)
        if self.n_step > 1:
            return self._long_transitions(numbers)
        slots = numbers % self._ring
        observation, next_observation = self._observations(numbers, numbers)
        return {
            "observation": observation,
            "action": self._action[slots],
            "reward": self._reward[slots],
            "next_observation": next_observation,
            "terminated": self._terminated[slots],
        }

    def _long_transitions(self, numbers: NDArray[np.int64]) -> Batch:
        """Return transitions of ``n_step`` steps, or as many as there are to an episode's end."""
        slots = numbers % self._ring
        last, reward = numbers, self._reward[slots]
        steps, going = np.ones(len(numbers), dtype=np.int64), ~self._ended[slots]
        for step in range(1, self.n_step):
            there = numbers + step * self.lanes
            slots_there = there % self._ring
            reward = reward + going * (self._powers[step] * self._reward[slots_there])
            last, steps = np.where(going, there, last), steps + going
            going = going & ~self._ended[slots_there]
        observation, next_observation = self._observations(numbers, last)
        return {
            "observation": observation,
            "action": self._action[slots],
            "reward": reward,
            "next_observation": next_observation,
            "terminated": self._terminated[last % self._ring],
            "discount": self._powers[steps],
        }

    def snapshot(self) -> dict[str, Any]:
        """Return the exact state: arrays, whole numbers, and functions that return arrays.

        The functions are of transitions that never change again; they work for as long as the
        memory holds these. See :mod:`triptych.learn.replay_state`.
        """
        return replay_state.snapshot(self)

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Put the memory into the state of a snapshot; it then goes on exactly as the saved one.

        Raises:
            CheckpointError: the snapshot is damaged, or of a memory of another size or type.
        """
        replay_state.restore(self, snapshot)

    def _newest(self, observation: NDArray[Any]) -> NDArray[Any]:
        return observation if self.stack == 1 else observation[..., -self._channels :]

    def _planes(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Return each transition's ``stack`` frames and the next: (stack + 1, batch, ...).

        The array is reused by the next call: fresh memory for every batch would cost more than
        filling it.
        """
        slots = (numbers - self._ages) % self._ring
        if self._scratch.shape[1] != len(numbers):
            self._scratch = np.empty((*slots.shape, *self._frame), dtype=self.dtype)
        planes = np.take(self._frames, slots, axis=0, out=self._scratch, mode="clip")
        newest = slots[-2]
        planes[self._ages > self.lanes * self._depth[newest].astype(np.int64)] = 0
        for row in np.flatnonzero(self._ended[newest]).tolist():
            planes[-1, row] = self._last_frames[int(numbers[row])]
        return planes

    def _observations(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[Any]:
        """Return (2, batch, *observation_shape): those before the first transitions, and those
        after the last.

        One array, since the C library gives two of them back to the system every time, and the
        system's fresh pages cost more than filling them.
        """
        both = np.empty((2, len(first), *self.observation_shape), dtype=self.dtype)
        planes = self._planes(first)
        interleave(planes[:-1], self._channels, both[0])
        planes = planes if last is first else self._planes(last)
        interleave(planes[1:], self._channels, both[1])
        return both

    def _room_for_frames(self, directory: str | Path | None) -> NDArray[Any]:
        shape = (self._ring, *self._frame)
        if directory is not None:
            return disk_frames(shape, self.dtype, Path(directory))
        try:
            return np.zeros(shape, dtype=self.dtype)
        except MemoryError:
            raise BatchError(
                f"a replay memory of {self.capacity:,} transitions cannot be had: its frames alone "
                f"take {np.prod(shape, dtype=float) * self.dtype.itemsize / 1e9:,.1f} GB; take a "
                "smaller capacity"
            ) from None

    def _check_sizes(self) -> None:
        sizes = [self.capacity, self.stack, self.lanes, self.n_step, *self.observation_shape]
        if any(type(size) is bool or int(size) != size or size < 1 for size in sizes):
            raise BatchError(
                f"a replay memory's capacity, stack, lanes, steps and observation shape must be "
                f"positive whole numbers, but are {self.capacity}, {self.stack}, {self.lanes}, "
                f"{self.n_step} and {self.observation_shape}"
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

    def _check_drawable(self) -> None:
        if not self._length:
            raise BatchError("the replay memory is empty; append a transition before sampling")
        if not self.drawable:
            raise BatchError(
                f"the replay memory holds {self._length} transitions, of which none has "
                f"{self.n_step - 1} after it in its lane yet; append more before sampling"
            )

    def _check(self, observation: NDArray[Any]) -> None:
        shape, dtype = np.shape(observation), getattr(observation, "dtype", None)
        if shape != self.observation_shape or dtype != self.dtype:
            raise BatchError(
                f"the replay memory takes observations of shape {self.observation_shape} and type "
                f"{self.dtype}, but got shape {shape} and type {dtype}"
            )
