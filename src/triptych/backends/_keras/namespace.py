"""The array functions that objectives are written in, by TensorFlow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class TensorFlowNamespace:
    """See :class:`triptych.backends.protocol.Namespace`."""

    def sum(self, x: Any, axis: int | None = None) -> Any:
        """Sum over one axis or all."""
        return tf.reduce_sum(x, axis=axis)

    def mean(self, x: Any, axis: int | None = None) -> Any:
        """Mean over one axis or all."""
        return tf.reduce_mean(x, axis=axis)

    def max(self, x: Any, axis: int) -> Any:
        """Largest over an axis."""
        return tf.reduce_max(x, axis=axis)

    def argmax(self, x: Any, axis: int) -> Any:
        """Index of the first largest over an axis."""
        return tf.argmax(x, axis=axis)

    def abs(self, x: Any) -> Any:
        """Absolute value."""
        return tf.abs(x)

    def square(self, x: Any) -> Any:
        """x * x."""
        return tf.square(x)

    def log(self, x: Any) -> Any:
        """Natural logarithm."""
        return tf.math.log(x)

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """x where the condition holds, else y."""
        kind = next(item.dtype for item in (x, y) if tf.is_tensor(item))
        return tf.where(condition, tf.convert_to_tensor(x, kind), tf.convert_to_tensor(y, kind))

    def log_softmax(self, x: Any, axis: int) -> Any:
        """x - log sum exp(x)."""
        return tf.nn.log_softmax(x, axis=axis)

    def one_hot(self, x: Any, size: int, like: Any) -> Any:
        """1 where the last axis equals x, else 0."""
        return tf.one_hot(x, size, dtype=like.dtype)

    def take_along_axis(self, x: Any, indices: Any, axis: int) -> Any:
        """x at the given indices of an axis."""
        last = len(x.shape) - 1
        order = list(range(last + 1))
        order[axis], order[last] = order[last], order[axis]
        if order[last] == last:
            return tf.gather(x, indices, axis=last, batch_dims=last)
        taken = tf.gather(
            tf.transpose(x, order), tf.transpose(indices, order), axis=last, batch_dims=last
        )
        return tf.transpose(taken, order)

    def stop_gradient(self, x: Any) -> Any:
        """x as a constant."""
        return tf.stop_gradient(x)

    def expand_dims(self, x: Any, axis: int) -> Any:
        """A new axis of size 1."""
        return tf.expand_dims(x, axis)

    def squeeze(self, x: Any, axis: int) -> Any:
        """Without an axis of size 1."""
        return tf.squeeze(x, axis=axis)

    def astype(self, x: Any, like: Any) -> Any:
        """x, a tensor, in the type of ``like``. Python numbers would pass through float32."""
        return tf.cast(x, like.dtype)
