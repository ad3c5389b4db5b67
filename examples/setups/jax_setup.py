"""A Flax NNX training as Triptych takes it: one function that returns its parts.

    triptych verify --left jax_setup.py:setup --right torch_setup.py:setup

``optimizer`` is an Optax transformation (or an ``nnx.Optimizer``), clipping and schedule in it;
``loss`` is called with (output, target) and returns one number.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx


class Net(nnx.Module):
    """dense 12 tanh -> dense 2."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(6, 12, rngs=rngs)
        self.head = nnx.Linear(12, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(batch, 6) -> (batch, 2)."""
        return self.head(nnx.tanh(self.hidden(x)))


def setup() -> dict:
    """Return a regression from 6 numbers to 2, freshly made at each call."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(16, 6)), rng.normal(size=(16, 2))
    return {
        "model": Net(nnx.Rngs(0)),
        "optimizer": optax.chain(optax.clip(0.5), optax.sgd(0.05, momentum=0.9)),
        "loss": lambda output, target: jnp.mean((output - target) ** 2),
        "batch": (inputs.astype(np.float32), targets.astype(np.float32)),
    }
