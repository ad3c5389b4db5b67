"""The spec's elementwise functions and softmaxes from their formulas: (layer, x) -> y."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _exponential(x: Array, alpha: float) -> Array:
    """x where x > 0, else alpha * (exp(x) - 1)."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _gelu(layer: Any, x: Array) -> Array:
    """x * Phi(x), or its approximation by tanh (Hendrycks, Gimpel 2016, section 2)."""
    if layer.approximate:
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0)))


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), with no exponential of a large number."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def log_softmax(x: Array, axis: int = -1) -> Array:
    """x - log sum exp(x), shifted by the largest value."""
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


ACTIVATIONS: dict[str, Callable[[Any, Array], Array]] = {
    "relu": lambda layer, x: np.maximum(x, 0.0),
    "relu6": lambda layer, x: np.minimum(np.maximum(x, 0.0), 6.0),
    "leaky_relu": lambda layer, x: np.where(x > 0, x, layer.slope * x),
    "elu": lambda layer, x: _exponential(x, layer.alpha),
    "selu": lambda layer, x: layer.scale * _exponential(x, layer.alpha),
    "gelu": _gelu,
    "silu": lambda layer, x: x * _sigmoid(x),
    "sigmoid": lambda layer, x: _sigmoid(x),
    "hard_sigmoid": lambda layer, x: np.minimum(np.maximum(layer.slope * x + 0.5, 0.0), 1.0),
    "tanh": lambda layer, x: np.tanh(x),
    "softplus": lambda layer, x: np.logaddexp(x, 0.0),
    "softmax": lambda layer, x: np.exp(log_softmax(x)),
    "log_softmax": lambda layer, x: log_softmax(x),
}
