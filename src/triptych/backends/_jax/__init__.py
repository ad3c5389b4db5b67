"""The JAX panel: Flax NNX networks and Optax update rules.

Importing it turns on JAX's 64-bit types, without which JAX silently computes float64 in float32.
"""

import jax

jax.config.update("jax_enable_x64", True)

from triptych.backends._jax.learner import BACKEND  # noqa: E402

__all__ = ["BACKEND"]
