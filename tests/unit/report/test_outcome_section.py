"""The page's section on the outcome of many seeds."""

from __future__ import annotations

import json
import re
from html import unescape

import numpy as np
import pytest

from triptych.errors import RunError
from triptych.report import outcome, plots
from triptych.report.page import Page, render
from triptych.report.plots import Scale
from triptych.report.sections import colour_slots

SLOTS = colour_slots(["torch", "jax", "keras"])


def text_of(html: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", html)))


@pytest.mark.parametrize(
    ("keras", "state", "word"),
    [(0.9, "passed", "Equivalent"), (0.95, "open", "Inconclusive"), (0.7, "failed", "Different")],
)
def test_the_verdict_stands_in_words_with_the_power(
    judged, keras: float, state: str, word: str
) -> None:
    found = judged(keras)
    html = outcome.section(found, SLOTS)
    assert re.findall(r'class="verdict (\w+)"', html) == [state]
    text = text_of(html)
    assert f" {word} " in text
    assert found["sentence"].partition(": ")[2][1:] in text
    assert f"Told before training: {found['power']['sentence']}." in text
    for pair in found["pairs"]:
        assert f"{pair['pair']} {pair['verdict']} {plots.short(pair['difference'])}" in text


def test_every_run_is_a_dot_where_its_score_is(judged) -> None:
    found = judged()
    html = outcome.section(found, SLOTS)
    for name, slot in (("torch", 0), ("jax", 1), ("keras", 2)):
        dots = re.findall(rf'<path d="M([\d.]+) ([\d.]+)h0" class="run colour-{slot}">', html)
        scores = sorted(found["backends"][name]["scores"])
        assert len(dots) == len(scores) == 20
        places = sorted(float(x) for x, _ in dots)
        assert np.corrcoef(places, scores)[0, 1] == pytest.approx(1, abs=1e-6)
        rows = [float(y) for _, y in dots]
        assert 100 * slot / 3 < min(rows) and max(rows) < 100 * (slot + 1) / 3


def test_intervals_of_pairs_lie_where_the_margin_says(judged) -> None:
    html = outcome.section(judged(0.7), SLOTS)
    left, width = map(float, re.findall(r'<rect x="([\d.]+)" y="0" width="([\d.]+)"', html)[0])
    bars = re.findall(
        r'<line x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)" y2="[\d.]+" class="bar (\w+)"', html
    )
    pairs = [bar for bar in bars if bar[2] in ("passed", "failed", "open")]
    assert [state for *_, state in pairs] == ["passed", "failed", "failed"]
    for low, high, state in pairs:
        inside = left <= float(low) and float(high) <= left + width
        outside = float(high) < left or float(low) > left + width
        assert inside if state == "passed" else outside


def test_profiles_fall_from_the_top_to_the_bottom(judged) -> None:
    html = outcome.section(judged(), SLOTS)
    lines = re.findall(r'<path d="(M[^"h]+)" class="step colour-\d"', html)
    assert len(lines) == 3
    for line in lines:
        places = [tuple(map(float, p.split())) for p in re.split("[ML]", line)[1:]]
        xs, ys = zip(*places, strict=True)
        assert list(xs) == sorted(xs) and list(ys) == sorted(ys)
        assert (ys[0], ys[-1]) == (0, 100)
    assert len(re.findall(r'class="band colour-\d"', html)) == 3


def test_scores_without_deviation_are_drawn_and_explained(judged) -> None:
    found = judged(deviation=0)
    text = text_of(outcome.section(found, SLOTS))
    assert "judged with the recipe's deviation of 0.05" in text
    assert "nan" not in text.lower()
    bare = judged(0.9, "outcome.deviation=null", deviation=0)
    text = text_of(outcome.section(bare, SLOTS))
    assert "fix outcome.deviation" in text and "nan" not in text.lower()


def test_without_a_threshold_there_are_no_shares_of_solving_runs(judged) -> None:
    assert "Runs that reach 0.99" in outcome.section(judged(), SLOTS)
    assert "Runs that reach" not in outcome.section(judged(0.9, "outcome.solved=null"), SLOTS)


def test_the_page_takes_the_outcome_from_its_certificate(judged, build_page) -> None:
    page = build_page(certificate=json.dumps({"passed": True, "outcome": judged()}))
    html = render(page)
    assert '<section id="outcome">' in html and 'href="#outcome">Outcome</a>' in html
    assert 'id="outcome"' not in render(build_page())


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"outcome": null}'])
def test_a_certificate_without_an_outcome_has_no_section(text: str) -> None:
    assert outcome.of_certificate(text) == {}
    assert outcome.section({}, SLOTS) == ""


def test_an_outcome_that_lacks_something_is_one_sentence() -> None:
    with pytest.raises(RunError, match="outcome lacks metric, margin"):
        render(Page(title="x", certificate='{"outcome": {"verdict": "equivalent"}}'))


def test_hostile_names_stay_text(judged, hostile) -> None:
    found = judged()
    found["metric"] = found["sentence"] = found["pairs"][0]["pair"] = hostile
    found["backends"][hostile] = found["backends"].pop("jax")
    html = outcome.section(found, SLOTS | {hostile: 4})
    assert "<script" not in html and text_of(html).count("</script>") >= 4


def test_many_runs_are_folded_away(build_page) -> None:
    assert "<summary>All 60 runs</summary>" in render(build_page(20))
    assert "<summary>All" not in render(build_page(1))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.944, 1.006, [0.96, 0.98, 1.0]),
        (-50, 210, [0, 100, 200]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert plots.ticks(Scale(low, high)) == pytest.approx(expected)


def test_steps_hold_their_value_until_the_next() -> None:
    html = plots.steps([0, 30, 80], [0, 50, 100], 100, "x")
    assert 'd="M0 0L30 0L30 50L80 50L80 100L100 100"' in html
    band = plots.step_band([0, 30], [10, 60], [0, 40], 100, "x")
    assert 'd="M0 0L30 0L30 40L100 40L100 60L30 60L30 10L0 10Z"' in band
