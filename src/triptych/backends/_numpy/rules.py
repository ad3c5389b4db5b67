"""Update rules and clipping from the spec's formulas, as pure functions over named arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from triptych.backends import searching
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule

Arrays = dict[str, np.ndarray]
Slots = dict[str, Arrays]


def start(rule: Rule, params: Mapping[str, np.ndarray]) -> Slots:
    """Return the slots before the first update: zeros, or Adagrad's ``initial``."""
    first = getattr(rule, "initial", 0.0)
    return {
        slot: {name: np.full(np.shape(p), first) for name, p in params.items()}
        for slot in rule.slots
    }


def apply(
    rule: Rule,
    count: int,
    rate: float,
    params: Mapping[str, np.ndarray],
    grads: Mapping[str, np.ndarray],
    slots: Mapping[str, Mapping[str, np.ndarray]],
) -> tuple[Arrays, Slots]:
    """Return params and slots after one update; nothing given is changed.

    Args:
        rule: its constants; its own schedule is not looked at.
        count: the updates made before this one, so that t = count + 1.
        rate: the rate of this update.
        params: trainable arrays by name.
        grads: their gradients, before clipping and l2.
        slots: for every slot an array per parameter.
    """
    clipped = clip(grads, rule.clip)
    new_params: Arrays = {}
    new_slots: Slots = {slot: {} for slot in rule.slots}
    for name, param in params.items():
        grad = clipped[name] + rule.l2 * param
        own = {slot: slots[slot][name] for slot in rule.slots}
        step, own = _STEPS[type(rule)](rule, count + 1, grad, own)
        kept = rate * getattr(rule, "weight_decay", 0.0) * param
        new_params[name] = param - kept - rate * step
        for slot, array in own.items():
            new_slots[slot][name] = array
    return new_params, new_slots


def clip(grads: Mapping[str, np.ndarray], limits: Clip) -> Arrays:
    """Return the clipped gradients; see :class:`triptych.spec.rules.Clip` for the formulas."""
    if limits.value is not None:
        return {n: np.clip(g, -limits.value, limits.value) for n, g in grads.items()}
    if limits.norm is not None:
        return {n: g * _shrink(_norm(g), limits.norm) for n, g in grads.items()}
    if limits.global_norm is not None:
        norm = math.sqrt(sum(_norm(g) ** 2 for g in grads.values()))
        return {n: g * _shrink(norm, limits.global_norm) for n, g in grads.items()}
    return dict(grads)


def _norm(grad: np.ndarray) -> float:
    return math.sqrt(float(np.square(grad).sum()))


def _shrink(norm: float, limit: float) -> float:
    """min(1, limit / norm)."""
    return 1.0 if norm <= limit else limit / norm


def _divide(rule: Any, grad: np.ndarray, square: np.ndarray) -> np.ndarray:
    """grad / (sqrt(square) + epsilon), or grad / sqrt(square + epsilon)."""
    if rule.epsilon_inside_root:
        return grad / np.sqrt(square + rule.epsilon)
    return grad / (np.sqrt(square) + rule.epsilon)


def _sgd(rule: Any, t: int, g: np.ndarray, slots: Arrays) -> tuple[np.ndarray, Arrays]:
    """m = momentum m + g; the step is m, or g + momentum m with Nesterov."""
    if not rule.momentum:
        return g, {}
    m = rule.momentum * slots["momentum"] + g
    return (g + rule.momentum * m if rule.nesterov else m), {"momentum": m}


def _adam(rule: Any, t: int, g: np.ndarray, slots: Arrays) -> tuple[np.ndarray, Arrays]:
    """The three formulas of :class:`triptych.spec.rules.Adam`."""
    m = rule.beta1 * slots["first_moment"] + (1.0 - rule.beta1) * g
    v = rule.beta2 * slots["second_moment"] + (1.0 - rule.beta2) * g * g
    short1, short2 = 1.0 - rule.beta1**t, 1.0 - rule.beta2**t
    if rule.epsilon_before_correction:
        step = math.sqrt(short2) / short1 * m / (np.sqrt(v) + rule.epsilon)
    else:
        step = _divide(rule, m / short1, v / short2)
    return step, {"first_moment": m, "second_moment": v}


def _rmsprop(rule: Any, t: int, g: np.ndarray, slots: Arrays) -> tuple[np.ndarray, Arrays]:
    """v = decay v + (1 - decay) g^2, minus the squared mean if centred; momentum over steps."""
    v = rule.decay * slots["second_moment"] + (1.0 - rule.decay) * g * g
    new = {"second_moment": v}
    if rule.centered:
        a = rule.decay * slots["first_moment"] + (1.0 - rule.decay) * g
        new["first_moment"] = a
        v = v - a * a
    step = _divide(rule, g, v)
    if rule.momentum:
        step = new["momentum"] = rule.momentum * slots["momentum"] + step
    return step, new


def _adagrad(rule: Any, t: int, g: np.ndarray, slots: Arrays) -> tuple[np.ndarray, Arrays]:
    """s = s + g^2; g over the root of s."""
    s = slots["accumulator"] + g * g
    return _divide(rule, g, s), {"accumulator": s}


_Step = Callable[[Any, int, np.ndarray, Arrays], tuple[np.ndarray, Arrays]]
_STEPS: dict[type[Rule], _Step] = {
    SGD: _sgd,
    Adam: _adam,
    AdamW: _adam,
    RMSprop: _rmsprop,
    Adagrad: _adagrad,
}


class Search(searching.Search):
    """Scaled conjugate gradient once more, in the steps of Møller 1993, over arrays by name.

    The state is kept as in the class above; the formulas owe it nothing.
    """

    def update(
        self, params: Mapping[str, np.ndarray], count: int, at: searching.At
    ) -> tuple[float, Arrays]:
        """Make one update; see the class above."""
        w, own = {n: np.array(a) for n, a in params.items()}, self.numbers
        p, r = self.split(self.direction), self.split(self.residual)
        if not _inner(p, p):
            own["loss"], gradient = at(w)
            r = {n: -gradient[n] for n in w}
            p = dict(r)
        loss, mu, size = own["loss"], _inner(p, r), _inner(p, p)
        if mu:
            if own["stepped"]:
                sigma = self.rule.sigma / math.sqrt(size)
                gradient = at({n: w[n] + sigma * p[n] for n in w})[1]
                own["curvature"] = _inner(p, {n: (gradient[n] + r[n]) / sigma for n in w})
            w, p, r = self._step_along(w, p, r, (mu, size), count, at)
        self.direction, self.residual = self.join(p), self.join(r)
        return loss, w

    def _step_along(
        self, w: Arrays, p: Arrays, r: Arrays, sizes: tuple[float, float], count: int, at: Any
    ) -> tuple[Arrays, Arrays, Arrays]:
        """Steps 3 to 8 of the paper: return point, direction and residual."""
        own, (mu, size) = self.numbers, sizes
        delta, damping = own["curvature"] + (own["damping"] - own["raised"]) * size, own["damping"]
        if delta <= 0.0:
            own["raised"] = 2.0 * (damping - delta / size)
            delta, damping = damping * size - delta, own["raised"]
        there = {n: w[n] + mu / delta * p[n] for n in w}
        loss, gradient = at(there)
        comparison = 2.0 * delta * (own["loss"] - loss) / (mu * mu)
        good = comparison >= 0.0
        if good:
            fresh = {n: -gradient[n] for n in w}
            beta = (_inner(fresh, fresh) - _inner(fresh, r)) / mu
            turn = (count + 1) % sum(array.size for array in w.values()) == 0
            p = {n: fresh[n] + (0.0 if turn else beta) * p[n] for n in w}
            w, r = there, fresh
        own |= {"loss": loss if good else own["loss"], "raised": 0.0 if good else damping}
        damping = damping / 4.0 if comparison >= 0.75 else damping
        damping += delta * (1.0 - comparison) / size if comparison < 0.25 else 0.0
        own |= {"curvature": delta, "damping": damping, "stepped": float(good)}
        return w, p, r


def _inner(left: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> float:
    return float(sum(np.sum(left[name] * right[name]) for name in left))
