"""Naming an elementwise function, with its constants, from its values.

The names and constants are those of ``spec/layers/activation.py``, with a few functions more that
frameworks have. Layers with windows or statistics are in the files beside this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import special

from triptych.parity.probing.rounding import near

Function = Callable[[np.ndarray], np.ndarray]
TOLERANCE = 2e-6
"""Residual a formula may have, relative to the value or to 1: float32 computes within this."""
_VALUES = np.concatenate([np.linspace(-12.0, 12.0, 97) + 0.013, [-40.0, -1e-3, 0.0, 1e-3, 40.0]])


@dataclass(frozen=True)
class FoundActivation:
    """A function's name and constants; ``residual`` is the largest error of its formula."""

    name: str
    constants: Mapping[str, Any] = field(default_factory=dict)
    residual: float = math.inf

    @property
    def text(self) -> str:
        """As the audit writes it: ``relu``, ``leaky_relu slope 0.2``, ``gelu tanh``, ..."""
        if self.name == "gelu":
            return "gelu tanh" if self.constants["approximate"] else "gelu exact"
        shown = [f"{key} {value:.4g}" for key, value in self.constants.items() if value is not None]
        return " ".join([self.name, *shown])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return special.expit(x)


def _exponential(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _tanh_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


_FIXED: dict[str, Function] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "selu": lambda x: 1.0507009873554805 * _exponential(x, 1.6732632423543772),
    "silu": lambda x: x * _sigmoid(x),
    "hard_silu": lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "sigmoid": _sigmoid,
    "log_sigmoid": lambda x: -np.logaddexp(-x, 0.0),
    "tanh": np.tanh,
    "hard_tanh": lambda x: np.clip(x, -1.0, 1.0),
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0.0)),
    "exponential": np.exp,
    "softmax": lambda x: special.softmax(x, axis=-1),
    "log_softmax": lambda x: special.log_softmax(x, axis=-1),
}
"""Functions without a constant; the two softmaxes are over the last axis of what is given."""

Fit = Callable[[Function], tuple[dict[str, Any], Function]]


def _leaky(f: Function) -> tuple[dict[str, Any], Function]:
    slope = near(-float(f(np.array([-1.0]))[0]), 1e-6)
    return {"slope": slope}, lambda x: np.where(x > 0, x, slope * x)


def _elu(f: Function) -> tuple[dict[str, Any], Function]:
    alpha = near(-float(f(np.array([-40.0]))[0]), 1e-6)
    return {"alpha": alpha}, lambda x: _exponential(x, alpha)


def _celu(f: Function) -> tuple[dict[str, Any], Function]:
    """max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0) (Barron 2017)."""
    alpha = near(-float(f(np.array([-1e3]))[0]), 1e-6)
    low = alpha if alpha > 0.0 else math.inf
    return {"alpha": alpha}, lambda x: np.where(x > 0, x, low * np.expm1(np.minimum(x, 0) / low))


def _hard_sigmoid(f: Function) -> tuple[dict[str, Any], Function]:
    slope = float(f(np.array([1.0]))[0]) - 0.5
    slope = 1.0 / 6.0 if math.isclose(slope, 1.0 / 6.0, rel_tol=1e-6) else near(slope, 1e-6)
    return {"slope": slope}, lambda x: np.clip(slope * x + 0.5, 0.0, 1.0)


def _gelu(f: Function) -> tuple[dict[str, Any], Function]:
    at = np.array([-1.5])
    exact, rough = at * special.ndtr(at), _tanh_gelu(at)
    approximate = bool(abs(f(at) - rough)[0] < abs(f(at) - exact)[0])
    return {
        "approximate": approximate
    }, _tanh_gelu if approximate else lambda x: x * special.ndtr(x)


def _softplus(f: Function) -> tuple[dict[str, Any], Function]:
    """log(1 + exp(beta x)) / beta, x itself where beta x is above a threshold."""
    beta = near(math.log(2.0) / max(float(f(np.array([0.0]))[0]), 1e-9), 1e-6)
    constants = {} if beta == 1.0 else {"beta": beta}
    return constants | {
        "threshold": _threshold(f, beta)
    }, lambda x: np.logaddexp(beta * x, 0) / beta


def _threshold(f: Function, beta: float) -> float | None:
    """Return where softplus becomes x itself; None where float64 shows no such place.

    exp(-x) is far above float64's rounding of x up to x = 30.
    """

    def cut(x: float) -> bool:
        return bool(f(np.array([x / beta]))[0] == x / beta)

    if not cut(30.0) or np.asarray(f(np.array([1.0]))).dtype != np.float64:
        return None
    low, high = 0.0, 30.0
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (low, middle) if cut(middle) else (middle, high)
    return near(high, 1e-9)


_FITTED: dict[str, Fit] = {
    "leaky_relu": _leaky,
    "elu": _elu,
    "gelu": _gelu,
    "hard_sigmoid": _hard_sigmoid,
    "softplus": _softplus,
    "celu": _celu,
}


def identify(function: Function) -> FoundActivation:
    """Name a function of an array (n,), in float64 where it can compute in it.

    Softmaxes are over the last axis. The first formula that reproduces every value is named; where
    none does, the name is ``unknown`` and the residual that of the nearest.
    """
    values = _VALUES.copy()
    answers = np.asarray(function(values), np.float64)
    nearest = math.inf
    for name, constants, formula in _candidates(function):
        with np.errstate(over="ignore", invalid="ignore"):
            wanted = formula(values)
        error = np.abs(answers - wanted) / np.maximum(np.abs(wanted), 1.0)
        residual = float(error.max()) if answers.shape == values.shape else math.inf
        if residual <= TOLERANCE:
            return FoundActivation(name, constants, residual)
        nearest = min(nearest, residual)
    return FoundActivation("unknown", {}, nearest)


def _candidates(function: Function) -> list[tuple[str, dict[str, Any], Function]]:
    def asked(x: np.ndarray) -> np.ndarray:
        return np.asarray(function(x))

    fixed = [(name, dict[str, Any](), formula) for name, formula in _FIXED.items()]
    fitted = [(name, *fit(asked)) for name, fit in _FITTED.items()]
    return fixed + fitted
