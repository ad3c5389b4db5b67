"""Deep Q-learning in plain JAX with Optax."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax

from by_hand import Hands

# XLA's default convolutions on a CPU take four times as long as Eigen's.
FAST = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
CONVS = {
    "fruit": ((3, 1, 16, 1), (3, 16, 16, 1)),
    "space-invaders": ((8, 4, 32, 4), (4, 32, 64, 2), (3, 64, 64, 1)),
}
DENSE = {"fruit": (1936, 100, 3), "space-invaders": (3136, 512, 256, 6)}


def initial(name):
    rng = np.random.default_rng(0)

    def array(*shape):
        return jnp.asarray(rng.normal(0.0, 0.05, shape), jnp.float32)

    convs = [(array(k, k, i, o), array(o)) for k, i, o, _ in CONVS[name]]
    sizes = DENSE[name]
    return convs, [(array(i, o), array(o)) for i, o in pairwise(sizes)]


def forward(name, params, x):
    convs, dense = params
    x = x.astype(jnp.float32)
    if name != "fruit":
        x = x * (1 / 255)
    for (kernel, bias), (_, _, _, stride) in zip(convs, CONVS[name], strict=True):
        x = jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + bias)
    x = x.reshape(x.shape[0], -1)
    for kernel, bias in dense[:-1]:
        x = jax.nn.relu(x @ kernel + bias)
    return x @ dense[-1][0] + dense[-1][1]


def make(name):
    fruit = name == "fruit"
    discount = 0.8 if fruit else 0.99
    if fruit:
        optimizer = optax.rmsprop(1e-3, decay=0.9, eps=1e-7)
    else:
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(2.5e-4))

    def loss_of(params, target, batch):
        q = forward(name, params, batch["observation"])
        chosen = jnp.take_along_axis(q, batch["action"][:, None], axis=1)[:, 0]
        later = forward(name, params if fruit else target, batch["next_observation"]).max(axis=1)
        goal = batch["reward"].astype(jnp.float32) + discount * (1.0 - batch["terminated"]) * later
        error = chosen - jax.lax.stop_gradient(goal)
        return jnp.mean(jnp.square(error) if fruit else optax.huber_loss(error))

    def update(params, slots, target, batch):
        loss, grads = jax.value_and_grad(loss_of)(params, target, batch)
        steps, slots = optimizer.update(grads, slots, params)
        return optax.apply_updates(params, steps), slots, loss

    compiled = jax.jit(update, donate_argnums=(0, 1), compiler_options=FAST)
    params = initial(name)
    state = {"params": params, "slots": optimizer.init(params)}
    state["target"] = jax.tree.map(jnp.copy, params)
    select = jax.jit(lambda params, x: forward(name, params, x).argmax(), compiler_options=FAST)

    def act(observation):
        return int(select(state["params"], observation[None]))

    def step(batch):
        batch = dict(batch) | {"reward": batch["reward"].astype(np.float32)}
        state["params"], state["slots"], loss = compiled(
            state["params"], state["slots"], state["target"], batch
        )
        return loss

    def sync_target():
        state["target"] = jax.block_until_ready(jax.tree.map(jnp.copy, state["params"]))

    return Hands(act, step, sync_target, sum(leaf.size for leaf in jax.tree.leaves(params)))


def matrix_multiply(size):
    left, right = jax.random.normal(jax.random.key(0), (2, size, size), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    return lambda: multiply(left, right).block_until_ready()
