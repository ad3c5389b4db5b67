"""Rung 8: the scores of many seeds per backend, from the power before training to the verdicts.

What is judged is one recipe's metric, one score per run; the margin, alpha and the deviation
expected stand in the recipe's ``outcome`` and are fixed before training. The tests are in
``equivalence.py``, points and intervals in ``estimates.py``; training belongs to ``engines``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from triptych.errors import RecipeError, RunError
from triptych.parity import equivalence, estimates
from triptych.parity.equivalence import DIFFERENT, EQUIVALENT, INCONCLUSIVE, Equivalence
from triptych.parity.estimates import Estimate
from triptych.parity.rungs import Verdict
from triptych.spec.randomness import generator
from triptych.spec.recipe import Outcome, Recipe

RUNG, DTYPE = 8, "float32"
POWER = 0.8
"""The power that is called enough, as is usual."""
_BOOTSTRAP_SEED = 0
_PASSED = {EQUIVALENT: True, DIFFERENT: False, INCONCLUSIVE: None}

Scores = Mapping[str, Mapping[int, float]]
"""By backend, then by seed."""


@dataclass(frozen=True)
class OutcomeVerdict(Verdict):
    """Rung 8 for one pair: ``value`` is the least margin that would do, ``bound`` the margin.

    ``passed`` is true only for *equivalent*; as data, *inconclusive* is ``null`` there.
    """

    verdict: str = INCONCLUSIVE

    def as_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return super().as_dict() | {"passed": _PASSED[self.verdict]}


@dataclass(frozen=True)
class Forecast:
    """What so many seeds can decide, told before training.

    deviation: between seeds, None where nothing tells it; source: where it is from, in words.
    power: the chance that equal backends are found equivalent. needed: seeds for a power of 80%.
    """

    seeds: int
    margin: float
    alpha: float
    deviation: float | None
    source: str
    power: float | None
    needed: int | None

    def sentence(self) -> str:
        """Return the forecast in one sentence."""
        if self.power is None or self.deviation is None:
            return f"the power of {self.seeds} seeds can't be told before training: {self.source}"
        terms = (
            f"power {percent(self.power)} at a margin of {self.margin:g} if the deviation is "
            f"{self.deviation:.2g}, {self.source}"
        )
        if self.power >= POWER:
            return f"{self.seeds} seeds are enough to decide ({terms})"
        return f"with {self.seeds} seeds this can't be decided ({terms}): {self.needed:,} would do"

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"sentence": self.sentence()}


def check(recipe: Recipe) -> None:
    """Check before training that the outcome of several seeds can be judged.

    Raises:
        RecipeError: the recipe fixes no margin.
        MissingDependency: statsmodels is not installed.
    """
    _margin(recipe)
    equivalence.weightstats()


def forecast(recipe: Recipe, seeds: int, earlier: Scores | None = None) -> Forecast:
    """Return what ``seeds`` per backend can decide.

    Args:
        recipe: with the margin; its ``outcome.deviation`` comes before any pilot.
        seeds: runs per backend, at least two.
        earlier: scores of runs that are there already: the pilot.

    Raises:
        RecipeError: no margin, or fewer than two seeds.
    """
    margin, alpha = _margin(recipe), recipe.outcome.alpha
    deviation, source = _expected(recipe.outcome, earlier or {})
    if deviation is None:
        return Forecast(seeds, margin, alpha, None, source, None, None)
    power = equivalence.power(seeds, deviation, margin, alpha)
    needed = equivalence.needed(deviation, margin, POWER, alpha)
    return Forecast(seeds, margin, alpha, deviation, source, power, needed)


def judge(
    recipe: Recipe, scores: Scores, before: Mapping[str, Any] | None = None
) -> tuple[list[OutcomeVerdict], dict[str, Any]]:
    """Judge the scores of all pairs of backends.

    Args:
        recipe: whose outcome is judged.
        scores: two or more backends with two or more seeds each.
        before: the forecast as data, kept with the result.

    Returns:
        The verdicts of rung 8, pair by pair, and all that was found as plain data: ``metric``,
        ``margin``, ``alpha``, ``verdict``, ``sentence``, ``power``, ``backends``, ``pairs``,
        ``levels``.

    Raises:
        RunError: a backend has fewer than two scores, or one that is no finite number.
        RecipeError: no margin; MissingDependency: no statsmodels.
    """
    own, margin = recipe.outcome, _margin(recipe)
    arrays = {name: _array(name, by_seed) for name, by_seed in scores.items()}
    levels = _levels(arrays, margin)
    pairs = [
        (
            f"{a}-{b}",
            a,
            b,
            equivalence.judge(arrays[a], arrays[b], margin, own.alpha, own.deviation),
        )
        for a, b in combinations(arrays, 2)
    ]
    adjusted = equivalence.holm([found.p for *_, found in pairs])
    verdicts = [_verdict(pair, found) for pair, _, _, found in pairs]
    data = {
        "metric": own.metric,
        "margin": margin,
        "alpha": own.alpha,
        "solved": own.solved,
        "verdict": overall([found.verdict for *_, found in pairs]),
        "sentence": _sentence(own, [(pair, found) for pair, *_, found in pairs], arrays),
        "power": dict(before) if before else None,
        "levels": levels.tolist(),
        "backends": {
            name: {"seeds": list(scores[name]), **_points(name, array, levels, own.solved)}
            for name, array in arrays.items()
        },
        "pairs": [
            {"pair": pair, **asdict(found), "p_holm": p, **_between(pair, scores, a, b, own)}
            for (pair, a, b, found), p in zip(pairs, adjusted, strict=True)
        ],
    }
    return verdicts, data


def overall(words: Sequence[str]) -> str:
    """Return the verdict on all pairs: one that differs, then one that is open, decides."""
    return next((word for word in (DIFFERENT, INCONCLUSIVE) if word in words), EQUIVALENT)


def percent(value: float) -> str:
    """Return a share in whole percent; never 0% or 100% unless it is."""
    if 0.995 <= value < 1:
        return "over 99%"
    return "under 1%" if 0 < value < 0.005 else f"{value:.0%}"


def _margin(recipe: Recipe) -> float:
    margin = recipe.outcome.margin
    if margin is None:
        raise RecipeError(
            f"recipe {recipe.name!r} fixes no outcome.margin, and the scores of several seeds are "
            f"judged against one fixed beforehand: write the largest difference of "
            f"{recipe.outcome.metric} that counts as equal, such as --set outcome.margin=0.05, or "
            "train one seed"
        )
    return margin


def _expected(own: Outcome, earlier: Scores) -> tuple[float | None, str]:
    """The deviation expected, and where it is from, or why there is none."""
    if own.deviation is not None:
        return own.deviation, "from the recipe"
    samples = [np.array(list(by_seed.values())) for by_seed in earlier.values() if len(by_seed) > 1]
    if not samples:
        return (
            None,
            "the recipe has no outcome.deviation, and the folder no earlier runs to show one",
        )
    seen, count = equivalence.pooled(*samples), sum(map(len, samples))
    if seen == 0:
        return None, f"the {count} earlier runs in the folder show no deviation at all"
    return seen, f"from {count} earlier runs in the folder"


def _array(name: str, by_seed: Mapping[int, Any]) -> np.ndarray:
    absent = [seed for seed, score in by_seed.items() if not isinstance(score, (int, float))]
    if absent:
        raise RunError(f"{name} seed {absent[0]} has no score; train it to its end with --resume")
    return equivalence.checked(list(by_seed.values()), name)


def _verdict(pair: str, found: Equivalence) -> OutcomeVerdict:
    bare = math.isnan(found.low)
    value = abs(found.difference) if bare and found.verdict == DIFFERENT else found.reach
    return OutcomeVerdict(
        rung=RUNG,
        pair=pair,
        dtype=DTYPE,
        passed=found.verdict == EQUIVALENT,
        value=value,
        bound=found.margin,
        detail=f"{found.verdict}: {_difference(found)}",
        verdict=found.verdict,
    )


def _difference(found: Equivalence) -> str:
    if math.isnan(found.low):
        return f"difference {found.difference:.3g}, {found.method}"
    p = found.p_different if found.verdict == DIFFERENT else found.p
    return (
        f"difference {found.difference:.3g}, {1 - 2 * found.alpha:.0%} interval "
        f"{found.low:.3g} to {found.high:.3g}, p {p:.2g}"
    )


def _sentence(
    own: Outcome, pairs: Sequence[tuple[str, Equivalence]], arrays: Mapping[str, np.ndarray]
) -> str:
    """The outcome of all pairs in one sentence, with what would decide it where nothing did."""
    word = overall([found.verdict for _, found in pairs])
    metric = own.metric.replace("_", " ")
    seeds = min(len(array) for array in arrays.values())
    if word == EQUIVALENT:
        who = f"all {len(pairs)} pairs" if len(pairs) > 1 else pairs[0][0]
        least = max(found.reach for _, found in pairs)
        return (
            f"Equivalent: the {metric} of {who} differs by less than the margin of "
            f"{pairs[0][1].margin:g} ({seeds} seeds each; a margin of {least:.3g} would have done)"
        )
    pair, found = next((pair, found) for pair, found in pairs if found.verdict == word)
    if word == DIFFERENT:
        return (
            f"Different: the {metric} of {pair} differs by more than the margin of "
            f"{found.margin:g} ({_difference(found)})"
        )
    return (
        f"Inconclusive: the seeds cannot tell whether the {metric} of {pair} differs by more than "
        f"the margin of {found.margin:g} ({_difference(found)}{_would_do(found, seeds)})"
    )


def _would_do(found: Equivalence, seeds: int) -> str:
    """How many seeds would do if the two are equal and deviate as they were seen to."""
    if found.deviation == 0:
        return ""
    count = equivalence.needed(found.deviation, found.margin, POWER, found.alpha)
    if count <= seeds:
        return ""
    seen = f"at the deviation seen, {found.deviation:.2g}"
    return f"; if they are equal, {count:,} seeds would do {seen}"


def _levels(arrays: Mapping[str, np.ndarray], margin: float) -> np.ndarray:
    """Where a profile steps, (T,): every score there is, and a level below them all."""
    every = np.unique(np.concatenate(list(arrays.values())))
    below = every[0] - max(margin, 0.05 * (every[-1] - every[0]))
    return np.concatenate([[below], every])


def _points(
    name: str, scores: np.ndarray, levels: np.ndarray, solved: float | None
) -> dict[str, Any]:
    """One backend's scores, their mean, median and IQM, its profile, and its share of successes."""
    statistics = {"mean": estimates.mean, "median": estimates.median, "iqm": estimates.iqm}
    found = {
        key: asdict(estimates.bootstrap([scores], one, _stream(f"{name}/{key}")))
        for key, one in statistics.items()
    }
    share = None if solved is None else asdict(_share(scores, solved))
    profile = [asdict(one) for one in estimates.profile(scores, levels)]
    return {"scores": scores.tolist(), **found, "solved": share, "profile": profile}


def _share(scores: np.ndarray, solved: float) -> Estimate:
    return estimates.share(int(np.sum(scores >= solved)), len(scores))


def _between(pair: str, scores: Scores, a: str, b: str, own: Outcome) -> dict[str, Any]:
    """What is shown of a pair besides the verdict: nothing here is judged.

    ``improvement`` is the probability that a run of the first scores above one of the second;
    ``solved`` the difference of their shares of successes with its (1 - 2 alpha) interval;
    ``correlation`` that of scores with the same seed, None where one side is constant.
    """
    one, other = _array(a, scores[a]), _array(b, scores[b])
    better = estimates.bootstrap(
        [one, other], estimates.improvement, _stream(f"{pair}/improvement")
    )
    solved = None
    if own.solved is not None:
        one_of, other_of = ((int(np.sum(side >= own.solved)), len(side)) for side in (one, other))
        solved = asdict(estimates.share_difference(one_of, other_of, 1 - 2 * own.alpha))
    shared = [seed for seed in scores[a] if seed in scores[b]]
    return {
        "improvement": asdict(better),
        "solved": solved,
        "correlation": _correlation(
            np.array([scores[a][seed] for seed in shared]),
            np.array([scores[b][seed] for seed in shared]),
        ),
    }


def _correlation(left: np.ndarray, right: np.ndarray) -> float | None:
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    return float(np.corrcoef(left, right)[0, 1])


def _stream(name: str) -> np.random.Generator:
    return generator(_BOOTSTRAP_SEED, f"bootstrap/{name}")
