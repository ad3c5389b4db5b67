"""Proportional prioritised replay (Schaul et al. 2016, https://arxiv.org/abs/1511.05952).

A transition is drawn with a probability proportional to its priority, (|error| + epsilon)^alpha,
and weighs (drawable * probability)^-beta in the loss. The priorities lie in a tree of sums. What
the error is, and how beta grows, belong to the agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from triptych.errors import BatchError, CheckpointError
from triptych.learn.replay import Batch, ReplayMemory


class PrioritisedMemory(ReplayMemory):
    """A replay memory that draws by priority.

    Args:
        capacity, observation_shape, stack, dtype, lanes, n_step, discount, directory: as of
            :class:`~triptych.learn.replay.ReplayMemory`.
        alpha: how much priorities count; 0 draws uniformly.
        epsilon: added to the size of an error, so that every transition can be drawn again.

    Raises:
        BatchError: as for a replay memory, or alpha is negative, or epsilon not positive.
        StorageError: as for a replay memory.
    """

    def __init__(
        self,
        capacity: int,
        observation_shape: tuple[int, ...],
        stack: int = 1,
        dtype: DTypeLike = np.uint8,
        *,
        alpha: float,
        epsilon: float,
        lanes: int = 1,
        n_step: int = 1,
        discount: float = 1.0,
        directory: str | Path | None = None,
    ) -> None:
        super().__init__(
            capacity, observation_shape, stack, dtype,
            lanes=lanes, n_step=n_step, discount=discount, directory=directory,
        )  # fmt: skip
        if not (alpha >= 0 and epsilon > 0):
            raise BatchError(
                f"alpha must be 0 or more and epsilon more than 0, but are {alpha} and {epsilon}"
            )
        self.alpha, self.epsilon = float(alpha), float(epsilon)
        self._tree = SumTree(capacity)
        # The largest priority so far, which new transitions get.
        self._largest = 1.0

    def append(
        self,
        action: int,
        reward: float,
        next_observation: NDArray[Any],
        terminated: bool,
        truncated: bool,
        lane: int = 0,
    ) -> None:
        """Store a transition; the one that can now be drawn gets the largest priority so far.

        Raises:
            BatchError: as :meth:`ReplayMemory.append`.
        """
        super().append(action, reward, next_observation, terminated, truncated, lane)
        # With n steps the newest can't be drawn yet; its place was that of the one just forgotten.
        newest = self._next - 1
        drawable = newest - (self.n_step - 1) * self.lanes
        if self.n_step > 1:
            self._tree.set(np.array([newest % self.capacity]), np.zeros(1))
        if drawable >= self._next - self._length:
            self._tree.set(np.array([drawable % self.capacity]), np.array([self._largest]))

    def sample(self, batch: int, rng: np.random.Generator, beta: float = 1.0) -> Batch:
        """Return transitions drawn by priority: one from each of ``batch`` equal shares of the sum.

        The draws are one call, ``rng.random(batch)``.

        Args:
            batch: how many.
            rng: who draws.
            beta: how much the weights make up for drawing unevenly: 0 not at all, 1 fully.

        Returns:
            What :meth:`transitions` returns, and for each: ``index``, int64, the number under which
            :meth:`set_priorities` knows it; ``weight``, float64, divided by the batch's largest (as
            in the paper's algorithm; the memory's largest would need a second tree, and one rare
            transition would then set the rate of learning for all).

        Raises:
            BatchError: none can be drawn.
        """
        self._check_drawable()
        shares = (np.arange(batch) + rng.random(batch)) / batch
        oldest = self._next - self._length
        places = self._tree.find(shares * self._tree.total)
        number = oldest + (places - oldest) % self.capacity
        probability = self._tree.get(places) / self._tree.total
        weight = (self.drawable * probability) ** -beta
        drawn = self.transitions(number - oldest)
        return {**drawn, "index": number, "weight": weight / weight.max(initial=0.0)}

    def set_priorities(self, index: NDArray[np.int64], errors: NDArray[Any]) -> None:
        """Give transitions the priorities of their errors; those forgotten since are passed over.

        Args:
            index: numbers from :meth:`sample`; of a number given twice the last error counts.
            errors: their temporal-difference errors, of any sign.

        Raises:
            BatchError: the two differ in length, an error is not finite, or a number was never
                drawn.
        """
        index, errors = np.asarray(index), np.abs(np.asarray(errors, dtype=np.float64))
        if index.shape != errors.shape or index.ndim != 1 or index.dtype.kind not in "iu":
            raise BatchError(
                f"priorities need whole numbers and as many errors, but got {index.shape} of type "
                f"{index.dtype} and {errors.shape}"
            )
        oldest = self._next - self._length
        if index.size and (index.min() < 0 or index.max() >= oldest + self.drawable):
            raise BatchError(
                f"transition numbers go up to {oldest + self.drawable - 1}, but "
                f"{index.min()} to {index.max()} were given"
            )
        if not np.isfinite(errors).all():
            raise BatchError("an error is not finite, so that it has no priority; lower the rate")
        kept = index >= oldest
        priorities = (errors[kept] + self.epsilon) ** self.alpha
        self._tree.set(index[kept] % self.capacity, priorities)
        self._largest = max(self._largest, float(priorities.max(initial=0.0)))

    def snapshot(self) -> dict[str, Any]:
        """Return the exact state, with ``priorities``, from the oldest that can be drawn on."""
        priorities = self._tree.get(self._places())
        return {**super().snapshot(), "priorities": priorities, "largest": self._largest}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Put a state from :meth:`snapshot` back.

        Raises:
            CheckpointError: it is damaged, or of another memory.
        """
        try:
            priorities, largest = snapshot["priorities"], float(snapshot["largest"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the saved priorities are damaged: {error!r}") from error
        super().restore(snapshot)
        if getattr(priorities, "shape", None) != (self.drawable,):
            raise CheckpointError("the saved priorities are damaged: they do not fit the memory")
        self._tree, self._largest = SumTree(self.capacity), largest
        self._tree.set(self._places(), priorities)

    def _places(self) -> NDArray[np.int64]:
        """The places in the tree of all that can be drawn, the oldest first."""
        oldest = self._next - self._length
        return np.arange(oldest, oldest + self.drawable) % self.capacity


class SumTree:
    """Numbers whose running sum is searched in logarithmic time; all are 0 at first.

    Every sum is made of its two parts anew, so that no rounding adds up.

    Args:
        size: how many numbers.
    """

    def __init__(self, size: int) -> None:
        self._leaves = 1 << max(size - 1, 0).bit_length()
        # Node n holds the sum of nodes 2n and 2n + 1; the numbers begin at node _leaves.
        self._nodes = np.zeros(2 * self._leaves, dtype=np.float64)

    @property
    def total(self) -> float:
        """The sum of all numbers."""
        return float(self._nodes[1])

    def get(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the numbers at some places."""
        return self._nodes[self._leaves + places]

    def set(self, places: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Set numbers, 0 or more, at some places; of a place given twice the last counts."""
        nodes = self._leaves + places
        self._nodes[nodes] = values
        while len(nodes) and nodes[0] > 1:
            nodes = np.unique(nodes >> 1) if len(nodes) > 1 else nodes >> 1
            self._nodes[nodes] = self._nodes[2 * nodes] + self._nodes[2 * nodes + 1]

    def find(self, sums: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return for each sum the place whose number takes the running sum beyond it.

        A place whose number is 0 is never returned, whatever is rounded, while the total is not 0.
        """
        rest, nodes = sums.copy(), np.ones(len(sums), dtype=np.int64)
        while len(nodes) and nodes[0] < self._leaves:
            left = self._nodes[2 * nodes]
            right = (rest >= left) & (self._nodes[2 * nodes + 1] > 0)
            rest = np.where(right, rest - left, rest)
            nodes = 2 * nodes + right
        return nodes - self._leaves
