"""Normalisation, dropout and flattening found by probing a live layer.

A layer is a function of inputs (batch, ..., channels) and of whether it trains. Activations and
sliding windows are in ``activations.py`` and ``windows.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from triptych.parity.probing.rounding import near
from triptych.spec.randomness import generator

Layer = Callable[[np.ndarray, bool], np.ndarray]
"""From inputs in the canonical layout and whether it trains to outputs."""
Moved = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""From one training batch to the running ``mean`` and ``variance`` after it, always from the same
start."""


@dataclass(frozen=True)
class FoundBatchNorm:
    """What a batch normalisation computes.

    Attributes:
        epsilon: added to the variance.
        statistics: ``batch`` where training normalises by the batch's own, or ``running``.
        keep: share of the running statistics that one update keeps; None where it wasn't seen.
        unbiased: whether the running variance takes n / (n - 1) of the batch's.
        residual: relative error of the formula on a batch that wasn't used to find it.
    """

    epsilon: float
    statistics: str
    keep: float | None = None
    unbiased: bool | None = None
    residual: float = math.inf


@dataclass(frozen=True)
class FoundLayerNorm:
    """What a layer normalisation computes; ``axes`` is ``last`` or ``all`` of an example's."""

    epsilon: float
    axes: str
    unbiased: bool
    residual: float


@dataclass(frozen=True)
class FoundDropout:
    """What a dropout does: its rate with the standard error, and what makes up for it.

    ``scaling`` is ``training`` (survivors times 1 / (1 - rate)), ``inference`` (everything times
    1 - rate when it doesn't train), ``none``, or ``unknown``.
    """

    rate: float
    error: float
    scaling: str


def batch_norm(
    layer: Layer, arrays: Mapping[str, np.ndarray], moved: Moved | None = None
) -> FoundBatchNorm:
    """Find a batch normalisation's constants.

    Args:
        layer: takes (batch, channels) or more axes; its running statistics stay as they are.
        arrays: running ``mean`` and ``variance``, and ``scale`` and ``offset`` where it has them.
        moved: gives the running statistics after one training batch, to find how they move.
    """
    channels = len(arrays["mean"])
    batch = _even(8, channels, "batch_norm")
    near_one, far = layer(batch, True), layer(batch * 10.0, True)
    own = bool(np.abs(near_one - far).max() < 0.05 * np.abs(far).max())
    if own:
        epsilon = _epsilon(lambda x: layer(x, True), batch, 1.0)
    else:
        epsilon = _running_epsilon(layer, arrays, channels)
    keep, unbiased = _motion(arrays, moved) if moved is not None else (None, None)
    residual = _batch_norm_residual(layer, arrays, epsilon, own)
    return FoundBatchNorm(epsilon, "batch" if own else "running", keep, unbiased, residual)


def _even(count: int, channels: int, name: str) -> np.ndarray:
    """Return (count, channels) with mean 0 and biased variance 1 in each column."""
    values = generator(0, f"probe/{name}").normal(size=(count, channels))
    values -= values.mean(axis=0)
    return values / np.sqrt(np.square(values).mean(axis=0))


def _epsilon(normal: Callable[[np.ndarray], np.ndarray], unit: np.ndarray, share: float) -> float:
    """Return epsilon from how much smaller a batch of small variance comes out than a large one.

    y = scale * x / sqrt(share * v + epsilon): with the slopes of y against x / sqrt(v), large over
    small squared is 1 + epsilon / (share * v). v is then taken near epsilon, where it is sharpest.

    Args:
        normal: the layer, its offset taken off or constant over the columns' rows.
        unit: inputs of variance 1.
        share: of the biased variance that is taken: 1, or n / (n - 1) for an unbiased one.
    """
    slope = _slope(unit, normal(unit * 1e6))
    variance, epsilon = 1e-4, 0.0
    for _ in range(3):
        small = _slope(unit, normal(unit * math.sqrt(variance)))
        epsilon = float(np.median(share * variance * (np.square(slope / small) - 1.0)))
        variance = max(epsilon, 1e-12)
    return near(epsilon, 1e-4)


def _slope(unit: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Return the slope of each channel's answers by least squares."""
    axes = tuple(range(unit.ndim - 1))
    answers = np.asarray(answers, np.float64)
    return (unit * answers).sum(axis=axes) / np.square(unit).sum(axis=axes)


def _running_epsilon(layer: Layer, arrays: Mapping[str, np.ndarray], channels: int) -> float:
    """Return epsilon of inference: y grows by scale / sqrt(variance + epsilon) per unit of x."""
    x = np.zeros((2, channels))
    x[1] = 1.0
    dark, lit = np.asarray(layer(x, False), np.float64)
    slope = lit - dark
    scale = arrays.get("scale", np.ones(channels))
    return near(float(np.median(np.square(scale / slope) - arrays["variance"])), 1e-3)


def _motion(arrays: Mapping[str, np.ndarray], moved: Moved) -> tuple[float | None, bool | None]:
    """Return the share kept and whether the variance taken is the unbiased one.

    new = keep * old + (1 - keep) * seen, for a batch of mean 3 and of biased variance 4 from five
    rows; the mean gives keep, the variance then what was seen.
    """
    count, channels = 5, len(arrays["mean"])
    batch = _even(count, channels, "motion") * 2.0 + 3.0
    after = moved(batch)
    mean, variance = (np.asarray(arrays[name], np.float64) for name in ("mean", "variance"))
    keep = float(np.median((np.asarray(after["mean"]) - 3.0) / (mean - 3.0)))
    keep = near(keep, 1e-5, 1e-6)
    if keep >= 1.0:
        return keep, None
    seen = float(np.median((np.asarray(after["variance"]) - keep * variance) / (1.0 - keep)))
    guesses = {False: 4.0, True: 4.0 * count / (count - 1)}
    for unbiased, guess in guesses.items():
        if abs(seen / guess - 1.0) < 1e-2:
            return keep, unbiased
    return keep, None


def _batch_norm_residual(
    layer: Layer, arrays: Mapping[str, np.ndarray], epsilon: float, own: bool
) -> float:
    x = generator(0, "probe/batch_norm/held").normal(size=(6, len(arrays["mean"]))) * 0.01 + 0.5
    mean, variance = (
        (x.mean(axis=0), x.var(axis=0)) if own else (arrays["mean"], arrays["variance"])
    )
    wanted = (x - mean) / np.sqrt(variance + epsilon)
    wanted = wanted * arrays.get("scale", 1.0) + arrays.get("offset", 0.0)
    return float(np.abs(layer(x, True) - wanted).max() / np.abs(wanted).max())


def layer_norm(
    layer: Layer, shape: tuple[int, ...], arrays: Mapping[str, np.ndarray] | None = None
) -> FoundLayerNorm:
    """Find a layer normalisation's epsilon, axes and variance.

    Args:
        layer: takes (batch, *shape).
        shape: an example's axes, the last of 2 or more.
        arrays: its ``scale``, where it has one, in the shape of the last axes; none means 1.
    """
    x = generator(0, "probe/layer_norm").normal(size=(3, *shape))
    dark = np.asarray(layer(np.zeros_like(x), False), np.float64)
    scale = np.asarray((arrays or {}).get("scale", 1.0), np.float64)

    def plain(batch: np.ndarray) -> np.ndarray:
        return (np.asarray(layer(batch, False), np.float64) - dark) / scale

    # Positions of very different size come out alike only if each has its own mean and variance.
    sizes = 10.0 ** np.linspace(-1.0, 1.0, x[..., :1].size).reshape(x[..., :1].shape)
    last = x.ndim == 2 or _distance(plain(x * sizes), plain(x)) < 0.1
    axes = (-1,) if last else tuple(range(1, x.ndim))
    unit = x - x.mean(axis=axes, keepdims=True)
    unit = unit / np.sqrt(np.square(unit).mean(axis=axes, keepdims=True))
    count = math.prod(unit.shape[axis] for axis in axes)
    share = float(np.median(np.square(unit / plain(unit * 1e6))))
    unbiased = abs(share - 1.0) > 0.5 / (count - 1)
    share = count / (count - 1) if unbiased else 1.0
    epsilon = _epsilon(plain, unit, share)
    wanted = unit * 0.01 / math.sqrt(share * 1e-4 + epsilon)
    residual = _distance(plain(unit * 0.01), wanted)
    return FoundLayerNorm(epsilon, "last" if last else "all", unbiased, residual)


def _distance(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def dropout(layer: Layer, shape: tuple[int, ...] = (1000, 200)) -> FoundDropout:
    """Find a dropout's rate from how many of the ones it is given come out as zeros.

    Args:
        layer: takes inputs of ``shape``, the batch included; 200,000 values show the rate to 0.005.
        shape: of the inputs.
    """
    ones = np.ones(shape)
    trained, still = (np.asarray(layer(ones, mode), np.float64) for mode in (True, False))
    dropped = float(np.mean(trained == 0.0))
    error = math.sqrt(dropped * (1.0 - dropped) / trained.size)
    rate = near(dropped, 0.0, 4.5 * error)
    kept = trained[trained != 0.0]
    if not kept.size or not rate:
        return FoundDropout(rate, error, "none")
    # Where survivors are scaled, they show the rate exactly.
    scale = float(kept.mean())
    if abs(scale * (1.0 - dropped) - 1.0) < 6.0 * error / (1.0 - dropped) and scale > 1.0:
        return FoundDropout(near(1.0 - 1.0 / scale, 1e-5), error, "training")
    if abs(scale - 1.0) < 1e-5:
        level = float(still.mean())
        if abs(level - (1.0 - dropped)) < 6.0 * error:
            return FoundDropout(near(1.0 - level, 1e-5), error, "inference")
        return FoundDropout(rate, error, "none" if abs(level - 1.0) < 1e-5 else "unknown")
    return FoundDropout(rate, error, "unknown")


def flatten_order(inputs: np.ndarray, outputs: np.ndarray) -> str:
    """Return the order of axes in which an image was flattened, the last fastest.

    Args:
        inputs: (batch, height, width, channels), all values different.
        outputs: (batch, height * width * channels).

    Returns:
        Such as ``height, width, channels``, the canonical one; ``unknown`` if no order fits.
    """
    names = ("height", "width", "channels")
    for order in permutations(range(3)):
        flat = inputs.transpose(0, *(axis + 1 for axis in order)).reshape(len(inputs), -1)
        if flat.shape == outputs.shape and np.allclose(flat, outputs, rtol=1e-6, atol=0.0):
            return ", ".join(names[axis] for axis in order)
    return "unknown"
