"""Rung 8 from scores to verdicts, and the power that is told before training."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from triptych.engines.setup import load_recipe
from triptych.errors import RecipeError, RunError
from triptych.parity import equivalence, outcome
from triptych.parity.certificate import with_outcome
from triptych.spec.randomness import generator
from triptych.spec.recipe import Recipe


def recipe(**changes: object) -> Recipe:
    return load_recipe("fruit", [f"outcome.{key}={value}" for key, value in changes.items()])


def some(mean: float, deviation: float, n: int = 20, name: str = "a") -> dict[int, float]:
    return {seed: float(x) for seed, x in enumerate(generator(5, name).normal(mean, deviation, n))}


def three(keras: float) -> dict[str, dict[int, float]]:
    return {
        "torch": some(0.9, 0.03, name="t"),
        "jax": some(0.9, 0.03, name="j"),
        "keras": some(keras, 0.03, name="k"),
    }


def test_all_pairs_are_judged_and_the_numbers_fit_together() -> None:
    verdicts, data = outcome.judge(recipe(), three(0.9))
    assert [verdict.pair for verdict in verdicts] == ["torch-jax", "torch-keras", "jax-keras"]
    for verdict, pair in zip(verdicts, data["pairs"], strict=True):
        assert (verdict.rung, verdict.name, verdict.dtype) == (8, "outcome", "float32")
        assert verdict.passed and verdict.as_dict()["passed"] is True
        assert verdict.verdict == pair["verdict"] == verdict.as_dict()["verdict"] == "equivalent"
        assert verdict.value == max(abs(pair["low"]), abs(pair["high"])) <= verdict.bound == 0.05
        assert pair["p"] <= pair["p_holm"] <= 3 * pair["p"]
    assert data["verdict"] == "equivalent" and data["sentence"].startswith("Equivalent: ")
    for name, points in data["backends"].items():
        assert points["scores"] == list(three(0.9)[name].values())
        for key in ("mean", "median", "iqm"):
            assert points[key]["low"] <= points[key]["value"] <= points[key]["high"]
        assert points["mean"]["value"] == pytest.approx(np.mean(points["scores"]))
        assert [step["value"] for step in points["profile"]][:: len(data["levels"]) - 1] == [1, 0]
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_a_shift_beyond_the_margin_is_different_and_named() -> None:
    verdicts, data = outcome.judge(recipe(), three(0.7))
    assert [verdict.verdict for verdict in verdicts] == ["equivalent", "different", "different"]
    assert [verdict.as_dict()["passed"] for verdict in verdicts] == [True, False, False]
    assert data["verdict"] == "different"
    assert data["sentence"].startswith("Different: the success rate of torch-keras differs")
    assert data["pairs"][1]["improvement"]["value"] > 0.99
    assert verdicts[1].value > verdicts[1].bound


def test_seeds_that_cannot_tell_are_inconclusive_and_say_how_many_would_do() -> None:
    scores = {"torch": some(0.8, 0.1, 5, "few"), "jax": some(0.8, 0.1, 5, "fewer")}
    verdicts, data = outcome.judge(recipe(), scores)
    assert not verdicts[0].passed and verdicts[0].as_dict()["passed"] is None
    assert data["verdict"] == "inconclusive"
    count = equivalence.needed(data["pairs"][0]["deviation"], 0.05)
    assert f"if they are equal, {count} seeds would do" in data["sentence"]


def test_one_that_differs_outweighs_those_that_are_open() -> None:
    words = [["equivalent"] * 3, ["inconclusive", "equivalent"], ["inconclusive", "different"]]
    assert [outcome.overall(each) for each in words] == ["equivalent", "inconclusive", "different"]


def test_a_wider_margin_or_a_larger_alpha_changes_the_verdict() -> None:
    scores = {"torch": some(0.8, 0.1, 8, "few"), "jax": some(0.8, 0.1, 8, "fewer")}
    words = [
        outcome.judge(recipe(**changes), scores)[1]["verdict"]
        for changes in ({}, {"margin": 0.3}, {"margin": 0.1, "alpha": 0.3})
    ]
    assert words == ["inconclusive", "equivalent", "equivalent"]


def test_scores_that_are_all_one_need_a_deviation_fixed_beforehand() -> None:
    ones = {name: dict.fromkeys(range(20), 1.0) for name in ("torch", "jax", "keras")}
    verdicts, data = outcome.judge(recipe(), ones)
    assert all(verdict.passed for verdict in verdicts) and "recipe's" in data["pairs"][0]["method"]
    assert data["pairs"][0]["correlation"] is None
    share = data["backends"]["torch"]["solved"]
    assert share["value"] == share["high"] == 1 and 0.8 < share["low"] < 0.9
    verdicts, data = outcome.judge(recipe(deviation="null"), ones)
    assert not any(verdict.passed for verdict in verdicts)
    assert math.isnan(verdicts[0].value) and verdicts[0].as_dict()["value"] is None
    assert "fix outcome.deviation" in data["sentence"]


def test_solving_runs_are_counted_but_not_judged() -> None:
    scores = {"torch": some(1, 0.01), "jax": some(1, 0.01, name="b")}
    _, plain = outcome.judge(recipe(solved="null"), scores)
    _, counted = outcome.judge(recipe(solved=1.0), scores)
    assert plain["backends"]["torch"]["solved"] is plain["pairs"][0]["solved"] is None
    for name, by_seed in scores.items():
        true = sum(score >= 1 for score in by_seed.values()) / 20
        assert counted["backends"][name]["solved"]["value"] == true
    assert counted["verdict"] == plain["verdict"]


def test_the_same_scores_give_the_same_data() -> None:
    assert outcome.judge(recipe(), three(0.9)) == outcome.judge(recipe(), three(0.9))


def test_runs_that_share_seeds_and_luck_correlate() -> None:
    scores = three(0.9)
    scores["jax"] = dict(scores["torch"])
    assert outcome.judge(recipe(), scores)[1]["pairs"][0]["correlation"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({"torch": {0: 1.0}, "jax": {0: 1.0, 1: 0.9}}, "torch has 1 score,"),
        ({"torch": {0: 1.0, 1: None}, "jax": {0: 1.0, 1: 0.9}}, "torch seed 1 has no score"),
        ({"torch": {0: 1.0, 1: 0.9}, "jax": {0: 1.0, 1: math.nan}}, "jax has the score nan"),
    ],
)
def test_scores_that_cannot_be_judged(scores: dict[str, Any], words: str) -> None:
    with pytest.raises(RunError, match=words):
        outcome.judge(recipe(), scores)


def test_a_threshold_of_a_rate_is_a_rate() -> None:
    with pytest.raises(RecipeError, match="solved 99 is no success_rate, which is 0 to 1"):
        recipe(solved=99)
    assert recipe(solved=99, metric="greedy_return", episodes=3).outcome.solved == 99


def test_a_margin_is_never_made_up() -> None:
    for asked in (outcome.check, lambda r: outcome.forecast(r, 5)):
        with pytest.raises(RecipeError, match=r"'fruit' fixes no outcome\.margin"):
            asked(recipe(margin="null"))


# The power, told before training.


def test_the_forecast_is_the_power_of_the_recipes_deviation() -> None:
    told = outcome.forecast(recipe(deviation=0.04), 5, {"torch": some(0.5, 3.0)})
    assert told.power == equivalence.power(5, 0.04, 0.05)
    assert told.needed == equivalence.needed(0.04, 0.05)
    assert told.sentence() == (
        f"with 5 seeds this can't be decided (power {outcome.percent(told.power)} at a margin of "
        f"0.05 if the deviation is 0.04, from the recipe): {told.needed} would do"
    )
    assert outcome.forecast(recipe(deviation=0.04), 20).sentence().startswith("20 seeds are enough")


def test_without_one_the_earlier_runs_are_the_pilot() -> None:
    mine = recipe(deviation="null")
    pilot = {"torch": {0: 0.9, 1: 1.0}, "jax": {0: 0.8, 1: 1.0}, "keras": {}}
    told = outcome.forecast(mine, 10, pilot)
    assert told.deviation == pytest.approx(math.sqrt((0.005 + 0.02) / 2))
    assert "from 4 earlier runs in the folder" in told.sentence()


@pytest.mark.parametrize(
    ("earlier", "words"),
    [({}, "no earlier runs"), ({"torch": {0: 1.0, 1: 1.0}}, "show no deviation at all")],
)
def test_what_nothing_tells_is_not_told(earlier: outcome.Scores, words: str) -> None:
    told = outcome.forecast(recipe(deviation="null"), 10, earlier)
    assert told.power is None and words in told.sentence()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0%"), (0.001, "under 1%"), (0.12, "12%"), (0.999, "over 99%"), (1, "100%")],
)
def test_percent_never_rounds_to_certainty(value: float, text: str) -> None:
    assert outcome.percent(value) == text


# The certificate.


def rung(number: int, passed: bool) -> dict[str, Any]:
    return {
        "rung": number, "name": "loss", "pair": "torch-jax", "dtype": "float64", "passed": passed,
        "value": 0.0, "bound": 1.0, "culprit": None, "detail": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("below", "keras", "passed", "sentence"),
    [
        (True, 0.9, True, "Proven equal: all 4 comparisons on 3 pairs passed"),
        (True, 0.7, False, "Different: rung 8 (outcome) fails for torch-keras in float32 ("),
        (True, 0.95, False, "Undecided: rung 8 (outcome) is open for "),
        (False, 0.9, False, "Different: rung 3 (loss) fails for torch-jax"),
    ],
)
def test_a_certificate_holds_rung_8_once(
    below: bool, keras: float, passed: bool, sentence: str
) -> None:
    judged: Callable[[float], Any] = lambda mean: outcome.judge(recipe(), three(mean))  # noqa: E731
    first = with_outcome({"rungs": [rung(3, below)], "seed": 0}, *judged(0.2))
    data = with_outcome(first, *judged(keras))
    assert [r["rung"] for r in data["rungs"]] == [3, 8, 8, 8]
    assert data["passed"] is passed and data["seed"] == 0
    assert data["sentence"].startswith(sentence)
    assert data["outcome"] == judged(keras)[1]
