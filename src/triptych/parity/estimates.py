"""Point estimates over runs, with intervals: mean, median, IQM, shares, improvement, profiles.

Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice": with
few runs a bare mean misleads, so every number here carries its interval. Intervals of statistics
are percentile bootstraps that resample the runs within each sample (the strata); those of shares
are binomial, since a bootstrap of a share of 0 or 1 has no width. Whether two samples are
equivalent is judged in ``equivalence.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
DRAWS = 5000
"""Resamplings of a bootstrap: the ends of a 95% interval then move by about a hundredth of it."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float
    low: float
    high: float


Statistic = Callable[..., np.ndarray]
"""Takes one array (B, N) per sample, B resamplings of N scores, and returns B numbers, (B,)."""


def mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean along the last axis: (B, N) to (B,)."""
    return np.mean(scores, axis=-1)


def median(scores: np.ndarray) -> np.ndarray:
    """Return the median along the last axis: (B, N) to (B,)."""
    return np.median(scores, axis=-1)


def iqm(scores: np.ndarray) -> np.ndarray:
    """Return the interquartile mean along the last axis: (B, N) to (B,).

    The mean without the lowest and the highest quarter, each rounded down to whole scores: of
    fewer than four scores it is the mean.
    """
    cut = scores.shape[-1] // 4
    ordered = np.sort(scores, axis=-1)
    return np.mean(ordered[..., cut : scores.shape[-1] - cut], axis=-1)


def improvement(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the probability that a left score is above a right one: (B, N), (B, M) to (B,).

    Ties count half: it is Mann and Whitney's U divided by N M.
    """
    one, other = left[..., :, None], right[..., None, :]
    return np.mean((one > other) + 0.5 * (one == other), axis=(-2, -1))


def bootstrap(
    samples: Sequence[np.ndarray],
    statistic: Statistic,
    stream: np.random.Generator,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
) -> Estimate:
    """Return a statistic of samples with its percentile bootstrap interval.

    Args:
        samples: arrays of shape (N,), one per stratum; each is resampled within itself.
        statistic: takes the resampled arrays, one after the other.
        stream: where the resampling comes from.
        confidence: the interval's.
        draws: how many resamplings.
    """
    picked = [sample[stream.integers(len(sample), size=(draws, len(sample)))] for sample in samples]
    tail = (1 - confidence) / 2
    low, high = np.quantile(statistic(*picked), [tail, 1 - tail])
    value = statistic(*(sample[None] for sample in samples))[0]
    return Estimate(float(value), float(low), float(high))


def share(count: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Return ``count / n`` with Wilson's (1927) score interval; n >= 1."""
    z = float(stats.norm.ppf((1 + confidence) / 2))
    p, weight = count / n, z * z / n
    middle = (p + weight / 2) / (1 + weight)
    reach = z * math.sqrt(p * (1 - p) / n + weight / (4 * n)) / (1 + weight)
    low = 0.0 if count == 0 else middle - reach
    high = 1.0 if count == n else middle + reach
    return Estimate(p, low, high)


def share_difference(
    left: tuple[int, int], right: tuple[int, int], confidence: float = CONFIDENCE
) -> Estimate:
    """Return the difference of two shares, each (count, n), with Newcombe's (1998) interval.

    It puts Wilson's intervals together (method 10), and stays honest at shares of 0 and 1.
    """
    a, b = share(*left, confidence), share(*right, confidence)
    difference = a.value - b.value
    down = math.hypot(a.value - a.low, b.high - b.value)
    up = math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(difference, difference - down, difference + up)


def profile(scores: np.ndarray, levels: np.ndarray) -> list[Estimate]:
    """Return the share of runs above each level, with pointwise Wilson intervals.

    Args:
        scores: (N,).
        levels: (T,), the values of tau.
    """
    return [share(int(np.sum(scores > level)), len(scores)) for level in levels]
