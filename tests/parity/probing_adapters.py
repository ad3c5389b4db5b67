"""Live optimizers as :data:`triptych.parity.probing.tapes.Play`: what the tests stand on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def torch_play(make: Callable, clip: Callable | None = None, schedule: Callable | None = None):
    """A ``torch.optim`` optimizer; updates before ``first`` are really made, with zeros."""
    import torch

    def play(gradients, start, first):
        params = {
            k: torch.nn.Parameter(torch.tensor(v, dtype=torch.float64)) for k, v in start.items()
        }
        optimizer = make(list(params.values()))
        scheduler = schedule(optimizer) if schedule else None
        after = []
        with torch.no_grad():
            for update in range(-first, len(gradients)):
                for name, param in params.items():
                    if update <= 0:
                        param.copy_(torch.tensor(start[name]) * (update == 0))
                    given = np.asarray(gradients[max(update, 0)][name]) * (update >= 0)
                    param.grad = torch.tensor(given, dtype=torch.float64)
                if clip:
                    clip(list(params.values()))
                optimizer.step()
                if scheduler:
                    scheduler.step()
                if update >= 0:
                    after.append({k: p.detach().numpy().copy() for k, p in params.items()})
        return after

    return play


def optax_play(transform: Any):
    """An Optax transformation; updates before ``first`` are really made, in one compiled loop."""
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)

    @jax.jit
    def updates(gradients, start, first):
        zeros = jax.tree.map(jnp.zeros_like, start)

        def idle(_, state):
            return transform.update(zeros, state, zeros)[1]

        state = jax.lax.fori_loop(0, first, idle, transform.init(zeros))

        def update(carried, gradient):
            params, state = carried
            moves, state = transform.update(gradient, state, params)
            params = optax.apply_updates(params, moves)
            return (params, state), params

        return jax.lax.scan(update, (start, state), gradients)[1]

    def play(gradients, start, first):
        stacked = {k: jnp.asarray(np.stack([g[k] for g in gradients])) for k in start}
        after = updates(stacked, {k: jnp.asarray(v) for k, v in start.items()}, first)
        return [{k: np.asarray(v[i]) for k, v in after.items()} for i in range(len(gradients))]

    return play


def keras_play(make: Callable[[], Any], dtype: str = "float64"):
    """A Keras optimizer; its ``iterations`` are set to ``first`` (and Nadam's product replayed)."""
    import keras

    def play(gradients, start, first):
        before = keras.config.floatx()
        keras.config.set_floatx(dtype)
        try:
            return _keras_updates(make(), gradients, start, first, dtype)
        finally:
            keras.config.set_floatx(before)

    return play


def _keras_updates(optimizer, gradients, start, first, dtype):
    import keras

    variables = {
        k: keras.Variable(np.asarray(v, dtype=dtype), dtype=dtype, name=k) for k, v in start.items()
    }
    optimizer.build(list(variables.values()))
    optimizer.iterations.assign(first)
    if hasattr(optimizer, "_u_product"):
        counts = np.arange(1, first + 1)
        optimizer._u_product.assign(np.prod(optimizer.beta_1 * (1 - 0.5 * 0.96**counts)))
    after = []
    for gradient in gradients:
        given = [
            keras.ops.convert_to_tensor(np.asarray(gradient[k], dtype=dtype)) for k in variables
        ]
        optimizer.apply(given)
        after.append({k: np.asarray(v.value) for k, v in variables.items()})
    return after
