"""The array functions that objectives are written in, by JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


class JaxNamespace:
    """See :class:`triptych.backends.protocol.Namespace`."""

    def sum(self, x: Array, axis: int | None = None) -> Array:
        """Sum over one axis or all."""
        return jnp.sum(x, axis=axis)

    def mean(self, x: Array, axis: int | None = None) -> Array:
        """Mean over one axis or all."""
        return jnp.mean(x, axis=axis)

    def max(self, x: Array, axis: int) -> Array:
        """Largest over an axis."""
        return jnp.max(x, axis=axis)

    def argmax(self, x: Array, axis: int) -> Array:
        """Index of the first largest over an axis."""
        return jnp.argmax(x, axis=axis)

    def abs(self, x: Array) -> Array:
        """Absolute value."""
        return jnp.abs(x)

    def square(self, x: Array) -> Array:
        """x * x."""
        return jnp.square(x)

    def log(self, x: Array) -> Array:
        """Natural logarithm."""
        return jnp.log(x)

    def where(self, condition: Array, x: Any, y: Any) -> Array:
        """x where the condition holds, else y."""
        return jnp.where(condition, x, y)

    def log_softmax(self, x: Array, axis: int) -> Array:
        """x - log sum exp(x)."""
        return jax.nn.log_softmax(x, axis=axis)

    def one_hot(self, x: Array, size: int, like: Array) -> Array:
        """1 where the last axis equals x, else 0."""
        return jax.nn.one_hot(x, size, dtype=like.dtype)

    def take_along_axis(self, x: Array, indices: Array, axis: int) -> Array:
        """x at the given indices of an axis."""
        return jnp.take_along_axis(x, indices, axis=axis)

    def stop_gradient(self, x: Array) -> Array:
        """x as a constant."""
        return jax.lax.stop_gradient(x)

    def expand_dims(self, x: Array, axis: int) -> Array:
        """A new axis of size 1."""
        return jnp.expand_dims(x, axis)

    def squeeze(self, x: Array, axis: int) -> Array:
        """Without an axis of size 1."""
        return jnp.squeeze(x, axis)

    def astype(self, x: Array, like: Array) -> Array:
        """x in the type of ``like``."""
        return x.astype(like.dtype)
