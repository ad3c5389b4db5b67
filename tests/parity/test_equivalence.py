"""The statistics of rung 8: anchors, calibration by simulation, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from triptych.errors import MissingDependency, RecipeError, RunError
from triptych.parity import equivalence, estimates
from triptych.parity.equivalence import DIFFERENT, EQUIVALENT, INCONCLUSIVE
from triptych.spec.randomness import generator

DRAWS = 2000


def verdicts(stream: str, n: int, shift: float, margin: float, spread: float = 1.0) -> list[str]:
    """Verdicts on DRAWS pairs of normal samples whose true means are ``shift`` apart."""
    draw = generator(3, stream)
    return [
        equivalence.judge(draw.normal(shift, spread, n), draw.normal(0.0, 1.0, n), margin).verdict
        for _ in range(DRAWS)
    ]


def above(rate: float) -> float:
    """What a share of DRAWS with this true rate stays below but for one time in ten thousand."""
    return stats.binom.ppf(0.9999, DRAWS, rate) / DRAWS


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_at_the_margins_edge_neither_verdict_is_given_more_often_than_alpha(spread: float) -> None:
    found = verdicts(f"edge {spread}", 20, shift=2.5, margin=2.5, spread=spread)
    assert found.count(EQUIVALENT) / DRAWS < above(0.05)
    assert found.count(DIFFERENT) / DRAWS < above(0.05)
    # Neither test is asleep: at the edge each errs as often as it may.
    assert found.count(EQUIVALENT) / DRAWS > 0.03
    assert found.count(DIFFERENT) / DRAWS > 0.03


def test_the_power_formula_is_what_simulation_finds() -> None:
    for n, margin in ((20, 1.0), (8, 1.2), (8, 2.0)):
        found = verdicts(f"power {n} {margin}", n, shift=0.0, margin=margin)
        told = equivalence.power(n, 1.0, margin)
        error = math.sqrt(told * (1 - told) / DRAWS)
        assert abs(found.count(EQUIVALENT) / DRAWS - told) < 4 * error + 0.01


def test_anchors_of_power() -> None:
    assert equivalence.power(20, 1.0, 1.0) == pytest.approx(0.855, abs=0.005)
    assert equivalence.power(30, 1.0, 1.0) == pytest.approx(0.97, abs=0.005)
    assert equivalence.needed(1.0, 1.0, power=0.85) == 20
    assert equivalence.needed(1.0, 1.0, power=0.97) == 30
    # A thousand scores leave t next to normal: 2 Phi(m / e - z) - 1.
    told = equivalence.power(1000, 1.0, 0.1)
    z = stats.norm.ppf(0.95)
    assert told == pytest.approx(2 * stats.norm.cdf(0.1 / math.sqrt(2 / 1000) - z) - 1, abs=2e-3)


@given(n=st.integers(2, 60), deviation=st.floats(0.01, 10), margin=st.floats(0.01, 10))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_power_is_a_probability_that_grows(n: int, deviation: float, margin: float) -> None:
    told = equivalence.power(n, deviation, margin)
    assert 0 <= told <= 1
    # Below, two scores that happen to agree pass more often than three.
    assert told < 0.1 or equivalence.power(n + 1, deviation, margin) >= told
    assert equivalence.power(n, deviation, 1.1 * margin) >= told
    assert equivalence.power(n, deviation, margin, difference=margin) <= 0.05 + 1e-3
    least = equivalence.needed(deviation, margin)
    assert equivalence.power(least, deviation, margin) >= 0.8
    assert least == 2 or equivalence.power(least - 1, deviation, margin) < 0.8


scores = st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=12)


@given(left=scores, right=scores, margin=st.floats(0.01, 50), shift=st.floats(-50, 50))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_what_holds_for_every_pair(
    left: list[float], right: list[float], margin: float, shift: float
) -> None:
    found = equivalence.judge(left, right, margin)
    other = equivalence.judge(right, left, margin)
    assert other.verdict == found.verdict
    assert other.difference == pytest.approx(-found.difference, abs=1e-9)
    if math.isnan(found.low):
        assert found.verdict != EQUIVALENT
        return
    assert found.low <= found.difference <= found.high
    # The interval and the p-values say the same, but for rounding at the very edge.
    if abs(found.p - found.alpha) > 1e-6:
        assert (found.verdict == EQUIVALENT) == (found.reach < margin)
    if abs(found.p_different - found.alpha) > 1e-6:
        outside = found.low > margin or found.high < -margin
        assert (found.verdict == DIFFERENT) == outside
    wider = equivalence.judge(left, right, 2 * margin).verdict
    assert found.verdict != EQUIVALENT or wider == EQUIVALENT


def test_few_seeds_without_a_difference_prove_nothing() -> None:
    left, right = [0.9, 0.8, 1.0], [0.88, 0.82, 1.0]
    assert stats.ttest_ind(left, right).pvalue > 0.9
    assert equivalence.judge(left, right, 0.05).verdict == INCONCLUSIVE


def test_welch_agrees_with_scipy() -> None:
    draw = generator(0, "welch")
    left, right = draw.normal(0, 1, 9), draw.normal(0.4, 3, 14)
    found = equivalence.judge(left, right, 2.0)
    ends = stats.ttest_ind(left, right, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx(tuple(ends))
    lower = stats.ttest_ind(left + 2, right, equal_var=False, alternative="greater").pvalue
    upper = stats.ttest_ind(left - 2, right, equal_var=False, alternative="less").pvalue
    assert found.p == pytest.approx(max(lower, upper))
    beyond = equivalence.judge(left, right, 0.1)
    above = stats.ttest_ind(left - 0.1, right, equal_var=False, alternative="greater").pvalue
    below = stats.ttest_ind(left + 0.1, right, equal_var=False, alternative="less").pvalue
    assert beyond.p_different == pytest.approx(min(above, below))


def test_scores_that_never_deviate_are_no_proof_by_themselves() -> None:
    same = equivalence.judge([1.0] * 20, [1.0] * 20, 0.05)
    assert same.verdict == INCONCLUSIVE and math.isnan(same.low)
    assert "outcome.deviation" in same.method
    wide = equivalence.judge([1.0] * 5, [1.0] * 5, 0.05, deviation=0.05)
    assert wide.verdict == INCONCLUSIVE
    many = equivalence.judge([1.0] * 20, [1.0] * 20, 0.05, deviation=0.05)
    assert many.verdict == EQUIVALENT
    assert many.reach == pytest.approx(stats.norm.ppf(0.95) * 0.05 * math.sqrt(2 / 20))
    assert equivalence.judge([1.0] * 20, [0.5] * 20, 0.05, deviation=0.05).verdict == DIFFERENT


def test_a_clean_separation_is_different_once_chance_cannot_make_it() -> None:
    assert equivalence.judge([1.0] * 2, [0.0] * 2, 0.05).verdict == INCONCLUSIVE  # 1 in 6
    assert equivalence.judge([1.0] * 3, [0.0] * 3, 0.05).verdict == DIFFERENT  # 1 in 20


def test_one_side_without_deviation_is_judged_by_the_other() -> None:
    found = equivalence.judge([1.0] * 6, [0.99, 1.0, 0.98, 1.0, 1.0, 0.99], 0.05)
    assert found.verdict == EQUIVALENT and found.method == "Welch's t"


def test_a_copy_of_a_float_is_no_deviation() -> None:
    third = [1 / 3 + 0.1] * 7  # np.var of these is not exactly zero
    assert equivalence.judge(third, third, 0.05).verdict == INCONCLUSIVE


def test_holm_is_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    for values in ([0.01, 0.04, 0.03], [0.5], [0.2, 0.2, 0.9, 0.001]):
        assert equivalence.holm(values) == pytest.approx(multipletests(values, method="holm")[1])


@pytest.mark.parametrize(
    ("left", "margin", "alpha", "error", "words"),
    [
        ([1.0], 0.05, 0.05, RunError, "left has 1 score, and a test of equivalence needs 2"),
        ([], 0.05, 0.05, RunError, "left has 0 scores"),
        ([1.0, math.nan], 0.05, 0.05, RunError, "left has the score nan"),
        ([1.0, math.inf], 0.05, 0.05, RunError, "left has the score inf"),
        ([1.0, 0.9], 0.0, 0.05, RecipeError, "outcome.margin must be a finite number above 0"),
        ([1.0, 0.9], 0.05, 0.5, RecipeError, "outcome.alpha must be above 0 and below 0.5"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_sentence(
    left: list[float], margin: float, alpha: float, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        equivalence.judge(left, [1.0, 0.9], margin, alpha)


def test_plans_that_make_no_sense_are_refused() -> None:
    with pytest.raises(RecipeError, match="power of 1 seeds"):
        equivalence.power(1, 1.0, 1.0)
    with pytest.raises(RecipeError, match=r"outcome\.deviation must be a finite number above 0"):
        equivalence.power(5, 0.0, 1.0)
    with pytest.raises(RecipeError, match="above 0 and below 1"):
        equivalence.needed(1.0, 1.0, power=1.0)


def test_without_statsmodels_the_sentence_tells_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "statsmodels.stats", None)
    with pytest.raises(MissingDependency, match=r"pip install 'triptych\[outcome\]'"):
        equivalence.judge([1.0, 0.9], [1.0, 0.8], 0.05)


# Points and intervals.


@pytest.mark.parametrize("n", [2, 3, 4, 7, 20])
def test_iqm_is_the_trimmed_mean(n: int) -> None:
    sample = generator(n, "iqm").normal(size=n)
    assert estimates.iqm(sample) == pytest.approx(stats.trim_mean(sample, 0.25))


def test_improvement_is_mann_and_whitney() -> None:
    draw = generator(0, "improvement")
    left, right = draw.integers(0, 5, 11).astype(float), draw.integers(0, 6, 8).astype(float)
    u = stats.mannwhitneyu(left, right).statistic
    assert estimates.improvement(left, right) == pytest.approx(u / 88)
    assert estimates.improvement(left, right) + estimates.improvement(right, left) == 1


def test_bootstrap_is_scipys() -> None:
    sample = generator(0, "sample").exponential(size=25)
    mine = estimates.bootstrap([sample], estimates.mean, generator(0, "bootstrap"))
    theirs = stats.bootstrap(
        (sample,), np.mean, method="percentile", n_resamples=5000, rng=np.random.default_rng(0)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert mine.value == pytest.approx(sample.mean())
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.05 * width)
    again = estimates.bootstrap([sample], estimates.mean, generator(0, "bootstrap"))
    assert again == mine


def test_bootstrap_intervals_cover() -> None:
    """At 20 runs a percentile interval of the IQM is a little narrow, as is known, not more."""
    draw, held = generator(0, "coverage"), 0
    for _ in range(400):
        found = estimates.bootstrap([draw.normal(size=20)], estimates.iqm, draw, draws=500)
        held += found.low <= 0 <= found.high
    assert 0.87 < held / 400 < 0.98


def test_strata_are_resampled_within_themselves() -> None:
    low, high = np.zeros(6), np.ones(9)
    found = estimates.bootstrap([low, high], estimates.improvement, generator(0, "strata"))
    assert (found.value, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize(("count", "n"), [(0, 5), (5, 5), (3, 20), (20, 20)])
def test_shares_are_wilsons_and_newcombes(count: int, n: int) -> None:
    from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

    mine = estimates.share(count, n)
    theirs = proportion_confint(count, n, method="wilson")
    assert (mine.low, mine.high) == pytest.approx(theirs, abs=1e-12)
    between = estimates.share_difference((count, n), (7, 10), 0.9)
    ends = confint_proportions_2indep(count, n, 7, 10, method="newcomb", alpha=0.1)
    assert (between.low, between.high) == pytest.approx(ends, abs=1e-9)


def test_a_profile_falls_from_one_to_zero() -> None:
    sample = np.array([0.2, 0.5, 0.5, 0.9])
    found = estimates.profile(sample, np.array([0.0, 0.2, 0.5, 0.9]))
    assert [one.value for one in found] == [1.0, 0.75, 0.25, 0.0]
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found)
