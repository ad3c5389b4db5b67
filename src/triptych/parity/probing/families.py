"""The directions of the update rules that probing can name, as pure functions.

Each family is one function ``(constants, state, gradient, count) -> direction`` where the params
move by ``-rate * direction``: ``constants`` holds floats, or columns (K, 1) when K guesses are
tried at once; ``state`` is the rule's memory, a ``defaultdict(float)``: every slot starts at zero;
``gradient`` is (n,) or (K, n); ``count`` = 1, 2, ... is the update's number. They are written
independently of the backends' rules, which are among what is probed. Momentum around a direction,
decay and clipping do not belong here (:mod:`model`), nor does the search (:mod:`fitting`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Constants = Mapping[str, Any]
State = MutableMapping[str, Any]
Direction = Callable[[Constants, State, np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Family:
    """A formula with its flags fixed and the names of its free constants.

    ``wrapped`` families may have momentum around their direction (:mod:`model`).
    """

    rule: str
    direction: Direction
    free: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    wrapped: bool = False


def sgd(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """Plain gradient descent: the direction is g."""
    return g


def _moments(c: Constants, s: State, g: np.ndarray) -> None:
    s["m"] = c["beta1"] * s["m"] + (1 - c["beta1"]) * g
    s["v"] = c["beta2"] * s["v"] + (1 - c["beta2"]) * g * g


def _over(c: Constants, m: Any, v: Any) -> np.ndarray:
    """Return m / (sqrt(v) + epsilon), or m / sqrt(v + epsilon)."""
    if c["epsilon_inside_root"]:
        return m / np.sqrt(v + c["epsilon"])
    return m / (np.sqrt(v) + c["epsilon"])


def adam(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """Adam (Kingma and Ba 2015, algorithm 1; "epsilon hat" of section 2 before the correction)."""
    _moments(c, s, g)
    first, second = 1 - c["beta1"] ** t, 1 - c["beta2"] ** t
    if not c["bias_correction"]:
        return _over(c, s["m"], s["v"])
    if c["epsilon_before_correction"]:
        return np.sqrt(second) / first * _over(c, s["m"], s["v"])
    return _over(c, s["m"] / first, s["v"] / second)


def amsgrad(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """AMSGrad (Reddi 2018, algorithm 2) with Adam's corrections, in three published forms.

    ``max_after_correction``: the largest corrected second moment is kept (Optax); otherwise the
    largest raw one, corrected afterwards, with epsilon after (PyTorch) or before it (Keras).
    """
    _moments(c, s, g)
    first, second = 1 - c["beta1"] ** t, 1 - c["beta2"] ** t
    seen = s["v"] / second if c["max_after_correction"] else s["v"]
    s["max"] = np.maximum(s["max"], seen)
    if c["max_after_correction"]:
        return _over(c, s["m"] / first, s["max"])
    if c["epsilon_before_correction"]:
        return np.sqrt(second) / first * _over(c, s["m"], s["max"])
    return _over(c, s["m"] / first, s["max"] / second)


def nadam(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """NAdam (Dozat 2016): momentum mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2).

    Without ``momentum_decay`` (None) mu_t = beta1 throughout.
    """
    _moments(c, s, g)
    if "product" not in s:  # the updates before the probe count into the product
        s["product"] = np.prod(_nadam_momentum(c, np.arange(1, t)), axis=-1, keepdims=True)
    now, later = _nadam_momentum(c, np.array([t])), _nadam_momentum(c, np.array([t + 1]))
    s["product"] = s["product"] * now
    mean = later * s["m"] / (1 - s["product"] * later) + (1 - now) * g / (1 - s["product"])
    return _over(c, mean, s["v"] / (1 - c["beta2"] ** t))


def _nadam_momentum(c: Constants, counts: np.ndarray) -> np.ndarray:
    if c["momentum_decay"] is None:
        return c["beta1"] * np.ones(counts.shape)
    return c["beta1"] * (1 - 0.5 * 0.96 ** (counts * c["momentum_decay"]))


def radam(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """RAdam (Liu 2020, algorithm 2): no adaptation while the variance of v is untrustworthy."""
    _moments(c, s, g)
    first, second = 1 - c["beta1"] ** t, 1 - c["beta2"] ** t
    longest = 2 / (1 - c["beta2"]) - 1
    length = longest - 2 * t * c["beta2"] ** t / second
    inside = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    if c["epsilon_before_correction"]:
        adaptive = np.sqrt(second) / first * _over(c, s["m"], s["v"])
    else:
        adaptive = _over(c, s["m"] / first, s["v"] / second)
    return np.where(length > 5, np.sqrt(np.abs(inside)) * adaptive, s["m"] / first)


def yogi(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """Yogi (Zaheer 2018, algorithm 2); m and v start at ``initial``, corrected as Adam's or not."""
    if not s:
        s["m"], s["v"] = c["initial"] * c["beta1"] ** (t - 1), c["initial"]
    s["m"] = c["beta1"] * s["m"] + (1 - c["beta1"]) * g
    s["v"] = s["v"] - (1 - c["beta2"]) * np.sign(s["v"] - g * g) * g * g
    if not c["bias_correction"]:
        return _over(c, s["m"], s["v"])
    return _over(c, s["m"] / (1 - c["beta1"] ** t), s["v"] / (1 - c["beta2"] ** t))


def adabelief(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """AdaBelief (Zhuang 2020, algorithm 2); ``epsilon_accumulated`` joins v at every update."""
    if not s:  # what the updates before have left in v
        s["v"] = c["epsilon_accumulated"] * (1 - c["beta2"] ** (t - 1)) / (1 - c["beta2"])
    s["m"] = c["beta1"] * s["m"] + (1 - c["beta1"]) * g
    away = (1 - c["beta2"]) * (g - s["m"]) ** 2
    s["v"] = c["beta2"] * s["v"] + away + c["epsilon_accumulated"]
    return _over(c, s["m"] / (1 - c["beta1"] ** t), s["v"] / (1 - c["beta2"] ** t))


def adamax(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """Adamax (Kingma and Ba 2015, algorithm 2).

    ``epsilon_inside_max``: u = max(beta2 u, |g| + epsilon); otherwise epsilon is added to u.
    """
    s["m"] = c["beta1"] * s["m"] + (1 - c["beta1"]) * g
    inside = c["epsilon"] if c["epsilon_inside_max"] else 0.0
    s["u"] = np.maximum(c["beta2"] * s["u"], np.abs(g) + inside)
    return s["m"] / (1 - c["beta1"] ** t) / (s["u"] + c["epsilon"] - inside)


def rmsprop(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """RMSprop (Hinton's lecture 6e), centred as in Graves 2013, equations 38 to 40."""
    if not s:
        s["v"] = c["initial"] * c["decay"] ** (t - 1)  # the updates before were of zero gradients
    s["v"] = c["decay"] * s["v"] + (1 - c["decay"]) * g * g
    if not c["centered"]:
        return _over(c, g, s["v"])
    s["a"] = c["decay"] * s["a"] + (1 - c["decay"]) * g
    return _over(c, g, np.maximum(s["v"] - s["a"] ** 2, 0))


def adagrad(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """Adagrad (Duchi 2011, figure 1, diagonal), its accumulator starting at ``initial``."""
    s["s"] = (s["s"] if s else c["initial"]) + g * g
    return _over(c, g, s["s"])


def adadelta(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """Adadelta (Zeiler 2012, algorithm 1), its step multiplied by the rate."""
    s["v"] = c["decay"] * s["v"] + (1 - c["decay"]) * g * g
    step = np.sqrt(s["d"] + c["epsilon"]) / np.sqrt(s["v"] + c["epsilon"]) * g
    s["d"] = c["decay"] * s["d"] + (1 - c["decay"]) * step * step
    return step


def lion(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """Lion (Chen 2023, algorithm 2)."""
    step = np.sign(c["beta1"] * s["m"] + (1 - c["beta1"]) * g)
    s["m"] = c["beta2"] * s["m"] + (1 - c["beta2"]) * g
    return step


def sign(c: Constants, s: State, g: np.ndarray, t: int) -> np.ndarray:
    """Sign descent (Bernstein 2018, algorithm 1)."""
    return np.sign(g)


_MOMENTS = ("beta1", "beta2", "epsilon")


def _root(inside: bool) -> dict[str, Any]:
    return {"epsilon_inside_root": inside}


def _place(inside: bool = False, before: bool = False) -> dict[str, Any]:
    return _root(inside) | {"epsilon_before_correction": before}


def _corrected() -> list[Family]:
    """Return the rules with two moments and bias correction."""
    places = ((False, False), (False, True), (True, False))
    adams = [_place(*place) | {"bias_correction": True} for place in places]
    kept = [_place(*place) | {"max_after_correction": False} for place in places[:2]]
    kept += [_root(inside) | {"max_after_correction": True} for inside in (False, True)]
    return [
        *(Family("adam", adam, _MOMENTS, fixed) for fixed in adams),
        *(Family("amsgrad", amsgrad, _MOMENTS, fixed) for fixed in kept),
        Family("nadam", nadam, _MOMENTS, _root(False) | {"momentum_decay": None}),
        Family("nadam", nadam, (*_MOMENTS, "momentum_decay"), _root(False)),
        *(Family("radam", radam, _MOMENTS, _place(before=before)) for before in (False, True)),
    ]


def _others() -> list[Family]:
    """Return the other rules."""
    memory = ("decay", "epsilon", "initial")
    stored = [_root(i) | {"centered": c} for c in (False, True) for i in (False, True)]
    adams = [_place(inside) | {"bias_correction": False} for inside in (False, True)]
    return [
        *(Family("rmsprop", rmsprop, memory, fixed, wrapped=True) for fixed in stored),
        *(Family("adagrad", adagrad, memory[1:], _root(inside)) for inside in (False, True)),
        *(Family("adam", adam, _MOMENTS, fixed) for fixed in adams),
        Family("adadelta", adadelta, memory[:2]),
        *(Family("adamax", adamax, _MOMENTS, {"epsilon_inside_max": i}) for i in (False, True)),
        *(
            Family("yogi", yogi, (*_MOMENTS, "initial"), _root(False) | {"bias_correction": k})
            for k in (True, False)
        ),
        Family("adabelief", adabelief, (*_MOMENTS, "epsilon_accumulated"), _root(False)),
        Family("sign", sign),
        Family("lion", lion, _MOMENTS[:2]),
    ]


FAMILIES: tuple[Family, ...] = (Family("sgd", sgd, wrapped=True), *_corrected(), *_others())
"""Every formula that is tried, the commoner first: of two that fit equally the earlier is named."""
