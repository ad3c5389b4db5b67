"""Update rules that no rule of the spec can say, by hand in NumPy, for :class:`wraps.OwnRule`."""

from __future__ import annotations

import math

import numpy as np

from triptych.backends.protocol import Params
from triptych.testing.faults.wraps import OwnStep

Slots = dict[str, Params]


def uncorrected_adam(beta1: float, beta2: float, epsilon: float) -> OwnStep:
    """Adam without its bias correction."""

    def step(count: int, rate: float, grads: Params, params: Params, slots: Slots) -> Params:
        m, v = slots["first_moment"], slots["second_moment"]
        for name, g in grads.items():
            m[name] = beta1 * m[name] + (1.0 - beta1) * g
            v[name] = beta2 * v[name] + (1.0 - beta2) * g * g
        return {n: p - rate * m[n] / (np.sqrt(v[n]) + epsilon) for n, p in params.items()}

    return step


def eager_decay(beta1: float, beta2: float, epsilon: float, decay: float) -> OwnStep:
    """AdamW whose decay is not multiplied by the rate."""

    def step(count: int, rate: float, grads: Params, params: Params, slots: Slots) -> Params:
        m, v, t = slots["first_moment"], slots["second_moment"], count + 1
        moved = {}
        for name, g in grads.items():
            m[name] = beta1 * m[name] + (1.0 - beta1) * g
            v[name] = beta2 * v[name] + (1.0 - beta2) * g * g
            root = np.sqrt(v[name] / (1.0 - beta2**t)) + epsilon
            way = m[name] / (1.0 - beta1**t) / root
            moved[name] = params[name] * (1.0 - decay) - rate * way
        return moved

    return step


def rate_in_buffer(momentum: float) -> OwnStep:
    """velocity = momentum velocity - rate g; p += velocity, as Keras' SGD; the slot over -rate."""
    velocity: Params = {}

    def step(count: int, rate: float, grads: Params, params: Params, slots: Slots) -> Params:
        for name, g in grads.items():
            before = velocity.get(name) if count else None
            velocity[name] = (0.0 if before is None else momentum * before) - rate * g
            slots["momentum"][name] = -velocity[name] / rate
        return {name: params[name] + velocity[name] for name in params}

    return step


def dampened(momentum: float, dampening: float) -> OwnStep:
    """m = momentum m + (1 - dampening) g from the second update on, as PyTorch's SGD."""

    def step(count: int, rate: float, grads: Params, params: Params, slots: Slots) -> Params:
        m = slots["momentum"]
        for name, g in grads.items():
            m[name] = momentum * m[name] + (1.0 - dampening if count else 1.0) * g
        return {name: p - rate * m[name] for name, p in params.items()}

    return step


def softly_clipped_adam(beta1: float, beta2: float, epsilon: float, limit: float) -> OwnStep:
    """Adam behind clipping by limit / (norm + 1e-6), as PyTorch's clip_grad_norm_."""

    def step(count: int, rate: float, grads: Params, params: Params, slots: Slots) -> Params:
        norm = math.sqrt(sum(float(np.sum(g * g)) for g in grads.values()))
        share = min(1.0, limit / (norm + 1e-6))
        m, v, t, moved = slots["first_moment"], slots["second_moment"], count + 1, {}
        for name, g in grads.items():
            m[name] = beta1 * m[name] + (1.0 - beta1) * share * g
            v[name] = beta2 * v[name] + (1.0 - beta2) * (share * g) ** 2
            root = np.sqrt(v[name] / (1.0 - beta2**t)) + epsilon
            moved[name] = params[name] - rate * m[name] / (1.0 - beta1**t) / root
        return moved

    return step


def plain_rmsprop(decay: float, epsilon: float) -> OwnStep:
    """RMSprop in the place of a rule with two moments; the first stays zero."""

    def step(count: int, rate: float, grads: Params, params: Params, slots: Slots) -> Params:
        v = slots["second_moment"]
        for name, g in grads.items():
            v[name] = decay * v[name] + (1.0 - decay) * g * g
        return {n: p - rate * grads[n] / (np.sqrt(v[n]) + epsilon) for n, p in params.items()}

    return step


def signs() -> OwnStep:
    """p -= rate * sign(g)."""

    def step(count: int, rate: float, grads: Params, params: Params, slots: Slots) -> Params:
        return {name: p - rate * np.sign(grads[name]) for name, p in params.items()}

    return step
