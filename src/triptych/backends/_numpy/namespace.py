"""The array functions that objectives are written in, by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from triptych.backends._numpy.activations import log_softmax

Array = np.ndarray


class NumpyNamespace:
    """See :class:`triptych.backends.protocol.Namespace`."""

    def sum(self, x: Array, axis: int | None = None) -> Any:
        """Sum over one axis or all."""
        return np.sum(x, axis=axis)

    def mean(self, x: Array, axis: int | None = None) -> Any:
        """Mean over one axis or all."""
        return np.mean(x, axis=axis)

    def max(self, x: Array, axis: int) -> Any:
        """Largest over an axis."""
        return np.max(x, axis=axis)

    def argmax(self, x: Array, axis: int) -> Any:
        """Index of the first largest over an axis."""
        return np.argmax(x, axis=axis)

    def abs(self, x: Array) -> Any:
        """Absolute value."""
        return np.abs(x)

    def square(self, x: Array) -> Any:
        """x * x."""
        return np.square(x)

    def log(self, x: Array) -> Any:
        """Natural logarithm."""
        return np.log(x)

    def where(self, condition: Array, x: Any, y: Any) -> Any:
        """x where the condition holds, else y."""
        return np.where(condition, x, y)

    def log_softmax(self, x: Array, axis: int) -> Any:
        """x - log sum exp(x)."""
        return log_softmax(x, axis)

    def one_hot(self, x: Array, size: int, like: Array) -> Any:
        """1 where the last axis equals x, else 0."""
        return (np.asarray(x)[..., None] == np.arange(size)).astype(like.dtype)

    def take_along_axis(self, x: Array, indices: Array, axis: int) -> Any:
        """x at the given indices of an axis."""
        return np.take_along_axis(x, np.asarray(indices).astype(np.int64), axis=axis)

    def stop_gradient(self, x: Array) -> Any:
        """x as a constant; see :class:`Replay` for what that means to a difference."""
        return x

    def expand_dims(self, x: Array, axis: int) -> Any:
        """A new axis of size 1."""
        return np.expand_dims(x, axis)

    def squeeze(self, x: Array, axis: int) -> Any:
        """Without an axis of size 1."""
        return np.squeeze(x, axis=axis)

    def astype(self, x: Array, like: Array) -> Any:
        """x in the type of ``like``."""
        return np.asarray(x).astype(like.dtype)


class Replay(NumpyNamespace):
    """A namespace whose ``stop_gradient`` gives the same values at every perturbed point.

    The first run of the objective, at the unperturbed params, records what each call was given;
    after :meth:`rewind` the calls of the next run get those values back in the same order. An
    objective is pure, so it makes the same calls in the same order.
    """

    def __init__(self) -> None:
        self._values: list[Array] = []
        self._next: int | None = None

    def rewind(self) -> None:
        """Begin a perturbed run."""
        self._next = 0

    def stop_gradient(self, x: Array) -> Any:
        """The value of this call at the unperturbed params."""
        if self._next is None:
            self._values.append(np.array(x))
            return x
        self._next += 1
        return self._values[self._next - 1]
