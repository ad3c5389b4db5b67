"""Update rules and clipping as Optax transformations.

A rule is a chain: clip, add l2, scale. The rate is multiplied in last, by the compiled step, since
it comes from the host. Where Optax has the spec's formula it is used as it is; the others (epsilon
before Adam's correction, Adagrad's epsilon outside the root, clipping by parameter) are written
out here with the same state fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule

# spec slot -> field of an Optax state
STATE_FIELDS = {
    "momentum": "trace",
    "first_moment": "mu",
    "second_moment": "nu",
    "accumulator": "sum_of_squares",
}


class AdamHatState(NamedTuple):
    """The fields of ``optax.ScaleByAdamState``."""

    count: Any
    mu: Any
    nu: Any


def scale_by_adam_hat(b1: float, b2: float, eps_hat: float) -> optax.GradientTransformation:
    """Adam with epsilon before the bias correction (section 2 of Kingma and Ba 2015)."""

    def init(params: Any) -> AdamHatState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamHatState(jnp.zeros([], jnp.int32), zeros, jax.tree.map(jnp.zeros_like, params))

    def update(grads: Any, state: AdamHatState, params: Any = None) -> tuple[Any, AdamHatState]:
        count = state.count + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, grads)
        scale = jnp.sqrt(1 - b2**count) / (1 - b1**count)
        steps = jax.tree.map(
            lambda m, v: m / (jnp.sqrt(v) + eps_hat) * scale.astype(m.dtype), mu, nu
        )
        return steps, AdamHatState(count, mu, nu)

    return optax.GradientTransformation(init, update)


class RssOutsideState(NamedTuple):
    """The field of ``optax.ScaleByRssState``."""

    sum_of_squares: Any


def scale_by_rss_outside(initial: float, eps_outside: float) -> optax.GradientTransformation:
    """Adagrad with epsilon outside the root."""

    def init(params: Any) -> RssOutsideState:
        return RssOutsideState(jax.tree.map(lambda p: jnp.full_like(p, initial), params))

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, RssOutsideState]:
        total = jax.tree.map(lambda s, g: s + g * g, state.sum_of_squares, grads)
        steps = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps_outside), grads, total)
        return steps, RssOutsideState(total)

    return optax.GradientTransformation(init, update)


def clip_by_parameter_norm(max_parameter_norm: float) -> optax.GradientTransformation:
    """Each gradient scaled down to a norm of its own."""

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        def clip_one(grad: Any) -> Any:
            norm = jnp.linalg.norm(grad.ravel())
            return grad * (max_parameter_norm / jnp.maximum(norm, max_parameter_norm))

        return jax.tree.map(clip_one, grads), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def build(rule: Rule) -> optax.GradientTransformation:
    """Return the native transformation of a rule, all but the rate."""
    steps = [optax.identity(), *_clip(rule.clip)]
    if rule.l2:
        steps.append(optax.add_decayed_weights(rule.l2))
    return optax.chain(*steps, *_SCALES[type(rule)](rule))


def _clip(limits: Clip) -> list[optax.GradientTransformation]:
    if limits.value is not None:
        return [optax.clip(limits.value)]
    if limits.norm is not None:
        return [clip_by_parameter_norm(limits.norm)]
    if limits.global_norm is not None:
        return [optax.clip_by_global_norm(limits.global_norm)]
    return []


def _sgd(rule: Any) -> list[optax.GradientTransformation]:
    return [optax.trace(rule.momentum, nesterov=rule.nesterov)] if rule.momentum else []


def _adam(rule: Any) -> list[optax.GradientTransformation]:
    if rule.epsilon_before_correction:
        return [scale_by_adam_hat(rule.beta1, rule.beta2, rule.epsilon)]
    inside = rule.epsilon if rule.epsilon_inside_root else 0.0
    outside = 0.0 if rule.epsilon_inside_root else rule.epsilon
    return [optax.scale_by_adam(rule.beta1, rule.beta2, eps=outside, eps_root=inside)]


def _adamw(rule: Any) -> list[optax.GradientTransformation]:
    return [*_adam(rule), optax.add_decayed_weights(rule.weight_decay)]


def _rmsprop(rule: Any) -> list[optax.GradientTransformation]:
    scale = optax.scale_by_stddev if rule.centered else optax.scale_by_rms
    first = scale(
        rule.decay,
        eps=rule.epsilon,
        initial_scale=0.0,
        eps_in_sqrt=rule.epsilon_inside_root,
        bias_correction=False,
    )
    return [first, *([optax.trace(rule.momentum, nesterov=False)] if rule.momentum else [])]


def _adagrad(rule: Any) -> list[optax.GradientTransformation]:
    if rule.epsilon_inside_root:
        return [optax.scale_by_rss(rule.initial, eps=rule.epsilon)]
    return [scale_by_rss_outside(rule.initial, rule.epsilon)]


_SCALES: dict[type[Rule], Callable[[Any], list[optax.GradientTransformation]]] = {
    SGD: _sgd,
    Adam: _adam,
    AdamW: _adamw,
    RMSprop: _rmsprop,
    Adagrad: _adagrad,
}


def find(state: Any, field: str) -> Any:
    """Return the field of the first state in a chain that has it."""
    for part in state:
        if field in getattr(part, "_fields", ()):
            return getattr(part, field)
    raise KeyError(field)


def replace(state: Any, fields: dict[str, Any]) -> Any:
    """Return a chain's state with fields replaced where they are found."""
    return tuple(
        part._replace(**{k: v for k, v in fields.items() if k in part._fields})
        if hasattr(part, "_fields")
        else part
        for part in state
    )
