"""Equivalence of two samples of scores: two one-sided tests against a margin fixed beforehand.

A test that finds "no significant difference" has shown nothing: few seeds never differ. Here the
burden is turned round (Schuirmann 1987): two samples are *equivalent* where both "the left mean is
lower by the margin or more" and "it is higher by the margin or more" are rejected, *different*
where the interval of the difference lies wholly outside the margin, else *inconclusive*.

Several pairs: "all of them are equivalent" is one claim, for which every test has to reject, so
that each may be made at the full alpha (intersection-union; Berger 1982). A pair's own verdict
holds at alpha for that pair; :func:`holm` adjusts p-values for whoever picks one of several.

Point estimates and their intervals are in ``estimates.py``; scores of runs in ``outcome.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from triptych.errors import RecipeError, RunError, missing

EQUIVALENT, DIFFERENT, INCONCLUSIVE = "equivalent", "different", "inconclusive"
LEAST = 2
"""Scores in a sample below which nothing can be judged: one score has no deviation."""
_NODES = 4000
"""Midpoints over which the power is averaged; its error is then below 1e-3."""


@dataclass(frozen=True)
class Equivalence:
    """The verdict on two samples, left minus right.

    difference: of the means. low, high: its (1 - 2 alpha) interval, NaN where none can be given.
    p: of equivalence, the larger of the two one-sided. p_different: of lying outside the margin.
    deviation: pooled, as seen. method: how it was judged, in words.
    """

    verdict: str
    difference: float
    low: float
    high: float
    margin: float
    alpha: float
    p: float
    p_different: float
    deviation: float
    method: str

    @property
    def reach(self) -> float:
        """The end of the interval that is farther from zero: the least margin that would do."""
        return max(abs(self.low), abs(self.high))


def judge(
    left: Sequence[float] | np.ndarray,
    right: Sequence[float] | np.ndarray,
    margin: float,
    alpha: float = 0.05,
    deviation: float | None = None,
) -> Equivalence:
    """Judge two samples of scores against a margin.

    By Welch's t, which assumes neither equal deviations nor equal sizes. Scores that share their
    seeds are treated as independent: where they rise and fall together the test is conservative.

    Where no score deviates from the others of its sample, t is not defined, and calling the
    deviation zero would turn two seeds into a proof. Then ``deviation``, fixed beforehand, takes
    its place (a normal test); without it nothing is called equivalent, and *different* only where
    a complete separation beyond the margin is improbable under equal shapes: 1 / C(n + m, n).

    Args:
        left, right: (N,) and (M,) finite scores, at least two each.
        margin: the largest difference of means that counts as equal, > 0, in the scores' units.
        alpha: of each one-sided test, > 0 and < 0.5.
        deviation: the standard deviation assumed where the scores show none, > 0.

    Raises:
        RunError: a sample has fewer than two scores, or one that is not finite.
        RecipeError: margin, alpha or deviation is out of range.
        MissingDependency: statsmodels is not installed.
    """
    first, second = checked(left, "left"), checked(right, "right")
    _check_values(margin, alpha, deviation)
    if np.ptp(first) > 0 or np.ptp(second) > 0:
        return _by_t(first, second, margin, alpha)
    if deviation is not None:
        return _by_deviation(first, second, margin, alpha, deviation)
    return _by_separation(first, second, margin, alpha)


def checked(scores: Sequence[float] | np.ndarray, whose: str) -> np.ndarray:
    """Return scores as float64 of shape (N,); raise RunError where they cannot be judged."""
    found = np.asarray(scores, dtype=np.float64).reshape(-1)
    if len(found) < LEAST:
        raise RunError(
            f"{whose} has {len(found)} score{'s' if len(found) != 1 else ''}, and a test of "
            f"equivalence needs {LEAST} or more; train more seeds with --seeds"
        )
    if not np.isfinite(found).all():
        bad = found[~np.isfinite(found)][0]
        raise RunError(
            f"{whose} has the score {bad}, and only finite scores can be judged; look at that run"
        )
    return found


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several, in their order (Holm 1979)."""
    adjusted, largest = [0.0] * len(values), 0.0
    for done, place in enumerate(sorted(range(len(values)), key=lambda k: values[k])):
        largest = max(largest, min(1.0, (len(values) - done) * values[place]))
        adjusted[place] = largest
    return adjusted


def power(
    n: int, deviation: float, margin: float, alpha: float = 0.05, difference: float = 0.0
) -> float:
    """Return the probability that two samples of n scores are judged equivalent.

    Exact for normal scores and the pooled t: the chance that the mean difference falls within the
    margin less t standard errors, averaged over the deviation that the samples may show.

    Args:
        n: scores in each sample, at least two.
        deviation: true standard deviation of both, > 0.
        margin, alpha: as in :func:`judge`.
        difference: of the true means.

    Raises:
        RecipeError: a value is out of range.
    """
    if n < LEAST:
        raise RecipeError(f"the power of {n} seeds is not defined; a test needs {LEAST} or more")
    _check_values(margin, alpha, deviation)
    freedom, per_seed = 2 * n - 2, math.sqrt(2 / n)
    middles = (np.arange(_NODES) + 0.5) / _NODES
    seen = deviation * np.sqrt(stats.chi2.ppf(middles, freedom) / freedom)
    room = np.maximum(margin - stats.t.ppf(1 - alpha, freedom) * seen * per_seed, 0.0)
    error = deviation * per_seed
    upper, lower = (room - difference) / error, (-room - difference) / error
    return float(np.mean(stats.norm.cdf(upper) - stats.norm.cdf(lower)))


def needed(deviation: float, margin: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return how many scores each of two equal samples needs to reach a power.

    Found by halving, since the power rises with n; below a tenth it need not, and nobody asks.

    Raises:
        RecipeError: a value is out of range.
    """
    if not 0 < power < 1:
        raise RecipeError(f"a power must be above 0 and below 1 but is {power}")
    low, high = LEAST - 1, LEAST
    while _power(high, deviation, margin, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = _power(middle, deviation, margin, alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


_power = power


def pooled(*samples: np.ndarray) -> float:
    """Return the pooled standard deviation of samples of shape (N,), at least two scores each."""
    freedom = sum(len(sample) - 1 for sample in samples)
    return math.sqrt(sum(float(np.var(s, ddof=1)) * (len(s) - 1) for s in samples) / freedom)


def weightstats() -> Any:
    """Return statsmodels' module of the test; raises MissingDependency where it is not there."""
    try:
        from statsmodels.stats import weightstats as module
    except ImportError as error:
        raise missing("statsmodels", "outcome", "rung 8, the outcome of several seeds,") from error
    return module


def _by_t(left: np.ndarray, right: np.ndarray, margin: float, alpha: float) -> Equivalence:
    module = weightstats()
    p = module.ttost_ind(left, right, -margin, margin, usevar="unequal")[0]
    means = module.CompareMeans.from_data(left, right)
    low, high = means.tconfint_diff(alpha=2 * alpha, usevar="unequal")
    outside = _outside(means, margin)
    return _verdict(left, right, (low, high), margin, alpha, (p, outside), "Welch's t")


def _outside(means: Any, margin: float) -> float:
    """The p-value of a difference beyond the margin, on the side where it is."""
    above = means.ttest_ind(alternative="larger", usevar="unequal", value=margin)[1]
    below = means.ttest_ind(alternative="smaller", usevar="unequal", value=-margin)[1]
    return min(above, below)


def _by_deviation(
    left: np.ndarray, right: np.ndarray, margin: float, alpha: float, deviation: float
) -> Equivalence:
    error = deviation * math.sqrt(1 / len(left) + 1 / len(right))
    gap = abs(float(left[0] - right[0]))
    p, outside = stats.norm.sf((margin - gap) / error), stats.norm.sf((gap - margin) / error)
    difference, reach = float(left[0] - right[0]), stats.norm.ppf(1 - alpha) * error
    interval = (difference - reach, difference + reach)
    words = f"no score deviates; judged with the recipe's deviation of {deviation:g}"
    return _verdict(left, right, interval, margin, alpha, (p, outside), words)


def _by_separation(left: np.ndarray, right: np.ndarray, margin: float, alpha: float) -> Equivalence:
    if abs(float(left[0] - right[0])) > margin:
        outside = 1 / math.comb(len(left) + len(right), len(left))
        words = f"no score deviates; so clean a separation by chance has p {outside:.2g}"
    else:
        outside = 1.0
        words = "no score deviates, and nothing tells how far they might: fix outcome.deviation"
    interval = (math.nan, math.nan)
    return _verdict(left, right, interval, margin, alpha, (1.0, outside), words)


def _verdict(
    left: np.ndarray,
    right: np.ndarray,
    interval: tuple[float, float],
    margin: float,
    alpha: float,
    p: tuple[float, float],
    method: str,
) -> Equivalence:
    """The verdict from the p-values of lying within and of lying outside the margin."""
    word = EQUIVALENT if p[0] <= alpha else DIFFERENT if p[1] <= alpha else INCONCLUSIVE
    return Equivalence(
        verdict=word,
        difference=float(np.mean(left) - np.mean(right)),
        low=float(interval[0]),
        high=float(interval[1]),
        margin=margin,
        alpha=alpha,
        p=float(p[0]),
        p_different=float(p[1]),
        deviation=pooled(left, right),
        method=method,
    )


def _check_values(margin: float, alpha: float, deviation: float | None) -> None:
    if not (margin > 0 and math.isfinite(margin)):
        raise RecipeError(f"outcome.margin must be a finite number above 0 but is {margin}")
    if not 0 < alpha < 0.5:
        raise RecipeError(f"outcome.alpha must be above 0 and below 0.5 but is {alpha}")
    if deviation is not None and not (deviation > 0 and math.isfinite(deviation)):
        raise RecipeError(f"outcome.deviation must be a finite number above 0 but is {deviation}")
