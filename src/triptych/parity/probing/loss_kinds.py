"""Losses as formulas: what one element or one example costs, and how costs become one number.

Formulas are in float64 NumPy and take outputs, targets and the constants. Which of them a live loss
follows is found in ``losses.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray
Constants = Mapping[str, Any]
Formula = Callable[[Array, Array, Constants], Array]


def _squared(outputs: Array, targets: Array, constants: Constants) -> Array:
    return np.square(outputs - targets)


def _absolute(outputs: Array, targets: Array, constants: Constants) -> Array:
    return np.abs(outputs - targets)


def _huber(outputs: Array, targets: Array, constants: Constants) -> Array:
    """e^2 / 2 within delta, delta * (|e| - delta / 2) outside (Huber 1964)."""
    delta = constants["delta"]
    away = np.abs(outputs - targets)
    return np.where(away <= delta, away**2 / 2.0, delta * (away - delta / 2.0))


def _log_cosh(outputs: Array, targets: Array, constants: Constants) -> Array:
    away = np.abs(outputs - targets)
    return away + np.log1p(np.exp(-2.0 * away)) - math.log(2.0)


def _poisson(outputs: Array, targets: Array, constants: Constants) -> Array:
    """rate - count * log(rate), the output the rate."""
    return outputs - targets * np.log(outputs)


def log_softmax(x: Array) -> Array:
    """x - log sum exp(x) on the last axis."""
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _cross_entropy(outputs: Array, targets: Array, constants: Constants) -> Array:
    """-sum t log p over the last axis; ``smoothing`` s: t (1 - s) + s / classes."""
    smoothing = constants["smoothing"]
    wanted = targets * (1.0 - smoothing) + smoothing / outputs.shape[-1]
    return -(wanted * log_probabilities(outputs, constants)).sum(axis=-1)


def log_probabilities(outputs: Array, constants: Constants) -> Array:
    """Return log p of outputs that are logits, probabilities or log probabilities already."""
    if constants["from_logits"] == "log probabilities":
        return outputs
    if constants["from_logits"]:
        return log_softmax(outputs)
    return cut_log(outputs, constants["clip"])


def cut_log(p: Array, clip: Any) -> Array:
    """Return log p as it is kept from minus infinity.

    Args:
        p: probabilities.
        clip: None; a number c, p held within [c, 1 - c]; ``log at -100``, the log's lower bound; or
            ``added c``, log(p + c).
    """
    words = str(clip).split()
    with np.errstate(divide="ignore"):
        if words[0] == "log":
            return np.maximum(np.log(p), float(words[2]))
        if words[0] == "added":
            return np.log(p + float(words[1]))
        return np.log(p if clip is None else np.clip(p, clip, 1.0 - clip))


def _binary_cross_entropy(outputs: Array, targets: Array, constants: Constants) -> Array:
    """-t log p - (1 - t) log(1 - p); ``smoothing`` s: t (1 - s) + s / 2."""
    wanted = targets * (1.0 - constants["smoothing"]) + constants["smoothing"] / 2.0
    if constants["from_logits"]:
        return np.logaddexp(outputs, 0.0) - wanted * outputs
    clip = constants["clip"]
    return -wanted * cut_log(outputs, clip) - (1.0 - wanted) * cut_log(1.0 - outputs, clip)


FORMULAS: dict[str, Formula] = {
    "squared": _squared,
    "absolute": _absolute,
    "huber": _huber,
    "log_cosh": _log_cosh,
    "poisson": _poisson,
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
}
"""Kind: costs from outputs (batch, n), targets in the same form and constants.

Of the cross entropy with classes, (batch,) costs; of all others, one for every element.
"""


def _over_outputs(costs: Array, join: Callable[..., Any]) -> Array:
    return join(costs.reshape(len(costs), -1), axis=-1)


REDUCTIONS: dict[str, Callable[[Array], Array]] = {
    "mean": lambda costs: costs.mean(),
    "sum": lambda costs: costs.sum(),
    "mean over batch, sum over outputs": lambda costs: _over_outputs(costs, np.sum).mean(),
    "sum over batch, mean over outputs": lambda costs: _over_outputs(costs, np.mean).sum(),
    "none": lambda costs: costs,
    "none over batch, mean over outputs": lambda costs: _over_outputs(costs, np.mean),
    "none over batch, sum over outputs": lambda costs: _over_outputs(costs, np.sum),
}
"""How costs (batch, n) or (batch,) become the loss; where two mean the same, the first counts."""
