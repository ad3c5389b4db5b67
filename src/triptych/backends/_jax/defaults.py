"""Fresh Flax NNX layers and Optax rules with nothing said but sizes, for ``triptych defaults``.

Each maker is what a user would write first. What the objects then do is found out elsewhere. Optax
rules have no rate of their own, so one is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from triptych.backends.making import (
    CHANNELS,
    FEATURES,
    FILTERS,
    INPUTS,
    KERNEL,
    STATE,
    STEPS,
    TABLE,
    UNITS,
    WIDTH,
    Arrays,
    Function,
    Layer,
    Play,
    Rule,
)

RATE = 0.01


def _values(function: Callable[[Any], Any]) -> Function:
    return lambda x: np.asarray(function(jnp.asarray(x)))


def _layer(function: Callable[[Any], Any]) -> Layer:
    return Layer(call=lambda x, _: np.asarray(function(jnp.asarray(x))))


def _loss(function: Callable[..., Any]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    compiled = jax.jit(function)
    return lambda output, target: np.asarray(compiled(output, target))


def _named(module: Any, **names: str) -> Arrays:
    return {own: np.asarray(getattr(module, there)[...]) for own, there in names.items()}


def _dense() -> Layer:
    module = nnx.Linear(FEATURES, UNITS, rngs=nnx.Rngs(0))
    return Layer(_named(module, kernel="kernel", bias="bias"))


def _conv() -> Layer:
    module = nnx.Conv(CHANNELS, FILTERS, KERNEL, rngs=nnx.Rngs(0))
    small = nnx.Conv(1, 2, (3, 3), rngs=nnx.Rngs(0))
    call = _layer(lambda x: small(x)).call
    return Layer(_named(module, kernel="kernel", bias="bias"), call)


def _batch_norm() -> Layer:
    def fresh() -> Any:
        return nnx.BatchNorm(WIDTH, rngs=nnx.Rngs(0))

    def call(x: np.ndarray, training: bool) -> np.ndarray:
        values = jnp.asarray(x, jnp.float32)
        return np.asarray(fresh()(values, use_running_average=not training))

    def moved(x: np.ndarray) -> Arrays:
        module = fresh()
        module(jnp.asarray(x, jnp.float32), use_running_average=False)
        return _named(module, mean="mean", variance="var")

    arrays = _named(fresh(), scale="scale", offset="bias", mean="mean", variance="var")
    return Layer(arrays, call, moved)


def _layer_norm() -> Layer:
    module = nnx.LayerNorm(WIDTH, rngs=nnx.Rngs(0), param_dtype=jnp.float64)
    return _layer(lambda x: module(x))


def _dropout() -> Layer:
    module = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    return Layer(
        call=lambda x, training: np.asarray(module(jnp.asarray(x), deterministic=not training))
    )


def _lstm() -> Layer:
    cell = nnx.LSTMCell(INPUTS, STATE, rngs=nnx.Rngs(0))
    arrays = _sides([cell.ii, cell.if_, cell.ig, cell.io], [cell.hi, cell.hf, cell.hg, cell.ho])
    forgets = [_bias(side) for side in (cell.if_, cell.hf)]
    return Layer(arrays | {"forget": sum(bias for bias in forgets if bias is not None)})


def _gru() -> Layer:
    cell = nnx.GRUCell(INPUTS, STATE, rngs=nnx.Rngs(0))
    if hasattr(cell, "dense_i"):
        return Layer(_sides([cell.dense_i], [cell.dense_h]), whole=True)
    return Layer(_sides([cell.ir, cell.iz, cell.in_], [cell.hr, cell.hz, cell.hn]))


def _bias(side: Any) -> np.ndarray | None:
    return None if side.bias is None else np.asarray(side.bias[...])


def _sides(inputs: list[Any], states: list[Any]) -> dict[str, Any]:
    """The kernels and the biases there are, gate by gate."""
    arrays: dict[str, Any] = {
        "kernel": [np.asarray(side.kernel[...]) for side in inputs],
        "recurrent_kernel": [np.asarray(side.kernel[...]) for side in states],
    }
    for name, sides in (("bias", inputs), ("recurrent_bias", states)):
        found = [bias for bias in map(_bias, sides) if bias is not None]
        if found:
            arrays[name] = found
    return arrays


def _play(transform: Any) -> Play:
    """Apply gradients by one compiled update; those before ``first`` are made with zeros."""

    @jax.jit
    def update(params: Any, state: Any, gradient: Any) -> Any:
        moves, state = transform.update(gradient, state, params)
        return optax.apply_updates(params, moves), state

    def play(gradients: Any, start: Arrays, first: int) -> list[Arrays]:
        params: Any = {name: jnp.asarray(value) for name, value in start.items()}
        zeros = {name: jnp.zeros_like(value) for name, value in params.items()}
        state, after = transform.init(zeros), []
        for _ in range(first):
            _, state = update(zeros, state, zeros)
        for given in gradients:
            params, state = update(params, state, {name: given[name] for name in start})
            after.append({name: np.asarray(value) for name, value in params.items()})
        return after

    return play


def _rule(make: Callable[..., Any]) -> Rule:
    """Make a rule with its own rate, or with one where it has none."""
    try:
        return Rule(_play(make()))
    except TypeError:
        return Rule(_play(make(RATE)), RATE)


def _falling() -> Rule:
    rates = optax.piecewise_constant_schedule(0.1, {STEPS: 0.1})
    return Rule(_play(optax.sgd(rates, momentum=0.9)), 0.1)


DEFAULTS: dict[str, Callable[[], Any]] = {
    "dense": _dense,
    "conv": _conv,
    "embedding": lambda: Layer(_named(nnx.Embed(*TABLE, rngs=nnx.Rngs(0)), kernel="embedding")),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "dropout": _dropout,
    "max_pool": lambda: _layer(lambda x: nnx.max_pool(x, (3, 3))),
    "average_pool": lambda: _layer(lambda x: nnx.avg_pool(x, (3, 3), padding="SAME")),
    "lstm": _lstm,
    "gru": _gru,
    "leaky_relu function": lambda: _values(nnx.leaky_relu),
    "elu function": lambda: _values(nnx.elu),
    "gelu function": lambda: _values(nnx.gelu),
    "hard_sigmoid function": lambda: _values(nnx.hard_sigmoid),
    "softplus function": lambda: _values(nnx.softplus),
    "squared": lambda: _loss(optax.squared_error),
    "half squared": lambda: _loss(optax.l2_loss),
    "huber": lambda: _loss(optax.huber_loss),
    "cross_entropy": lambda: _loss(optax.softmax_cross_entropy_with_integer_labels),
    "binary_cross_entropy": lambda: _loss(optax.sigmoid_binary_cross_entropy),
    "sgd": lambda: _rule(optax.sgd),
    "momentum": _falling,
    "adam": lambda: _rule(optax.adam),
    "adamw": lambda: _rule(optax.adamw),
    "rmsprop": lambda: _rule(optax.rmsprop),
    "adagrad": lambda: _rule(optax.adagrad),
    "clip by norm": lambda: Rule(
        _play(optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))), 1.0
    ),
}
"""A maker by subject; the subjects are those of ``parity/defaults.py``."""
