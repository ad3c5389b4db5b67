from __future__ import annotations

import html as escapes
import re

import pytest

from triptych.errors import RunError
from triptych.report import ladder


def entry(rung=4, pair="torch-jax", passed=True, value=1e-14, bound=1e-11, culprit=None, **more):
    found = {"rung": rung, "pair": pair, "dtype": "float64", "passed": passed, "value": value}
    return found | {"bound": bound, "culprit": culprit} | more


def cells(html: str) -> list[tuple[str, str]]:
    """Return (state, text) of each cell, row by row."""
    found = re.findall(r'<td class="(\w+)" role="cell">(.*?)</td>', html)
    return [
        (state, escapes.unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", text))))
        for state, text in found
    ]


def test_all_green_is_proven_equal_and_says_what_was_not_run(ladder_entries):
    verdict = ladder.verdict(ladder_entries)
    assert verdict.state == "passed"
    assert verdict.headline == "Proven equal: all 39 comparisons on 3 pairs are green"
    assert verdict.detail == "Not run: 8 outcome."


def test_a_rung_missing_on_one_pair_is_said(ladder_entries):
    kept = [e for e in ladder_entries if not (e["rung"] == 7 and e["pair"] == "jax-keras")]
    assert "Not run on every pair: 7 free run." in ladder.verdict(kept).detail


def test_the_lowest_red_rung_is_the_headline():
    entries = [
        entry(5, passed=False, culprit="dense/bias"),
        entry(4, "torch-keras", passed=False, culprit="conv2/kernel"),
        entry(2),
    ]
    verdict = ladder.verdict(entries)
    assert verdict.state == "failed"
    assert verdict.headline == (
        "Different: rung 4 gradients, torch-keras in float64, first at conv2/kernel"
    )
    assert verdict.detail == "2 of 3 comparisons failed."


def test_inconclusive_is_neither_equal_nor_different():
    verdict = ladder.verdict([entry(2), entry(8, passed=None)])
    assert verdict.state == "open"
    assert verdict.headline.startswith("Undecided: rung 8 outcome")
    assert ladder.verdict([entry(8, passed=None), entry(2, passed=False)]).state == "failed"


def test_nothing_compared_is_not_equal():
    assert ladder.verdict([]).state == "none"


def test_one_comparison_is_singular():
    assert ladder.verdict([entry()]).headline == (
        "Proven equal: the one comparison on torch-jax is green"
    )


def test_table_has_a_row_per_rung_and_a_cell_per_pair(ladder_entries):
    html = ladder.table(ladder_entries)
    assert html.count("<tr") == 1 + len(ladder.RUNGS)
    found = cells(html)
    assert len(found) == 3 * len(ladder.RUNGS)
    assert [state for state, _ in found] == ["passed"] * 24 + ["none"] * 3
    assert "not run" in found[-1][1]


def test_one_red_dtype_makes_the_cell_red_and_names_the_culprit():
    red = entry(passed=False, value=3.4e-3, culprit="conv2/kernel")
    green = entry(value=1e-6, bound=1e-4) | {"dtype": "float32"}
    state, text = cells(ladder.table([red, green]))[4]
    assert state == "failed"
    assert "float64 0.0034 > 1e-11 first at conv2/kernel" in text
    assert "float32 1e-6 ≤ 1e-4" in text


def test_culprit_of_a_green_cell_is_not_shown():
    assert "first at" not in ladder.table([entry(culprit="conv1")])


@pytest.mark.parametrize(
    ("value", "bound", "passed", "text"),
    [
        (4.04e-14, 1e-9, True, "4e-14 ≤ 1e-9"),
        (1.004e-12, 1e-12, False, "1.004e-12 > 1e-12"),  # not "1e-12 > 1e-12"
        (0, 0, True, "exactly equal"),
        (3, 0, False, "3 > 0"),
        (1.31, 3, True, "1.3 ≤ 3"),
        (0.98, 0.95, True, "0.98, bound 0.95"),  # where larger is better
        (None, 1e-12, False, "not a number"),
        (float("nan"), 1e-12, False, "not a number"),
        (float("inf"), 1e-12, False, "infinite > 1e-12"),
        (None, None, True, ""),
        ("padding", None, False, "padding"),
    ],
)
def test_comparison_reads_as_it_is(value, bound, passed, text):
    assert ladder.comparison(entry(value=value, bound=bound, passed=passed)) == text


def test_hostile_names_stay_text():
    bad = "<img src=x onerror=alert(1)>"
    html = ladder.table([entry(pair=bad, passed=False, culprit=bad, detail=bad, dtype=bad)])
    assert "<img" not in html
    assert html.count("&lt;img") == 1 + 9 + 3  # the header, nine labels, one line of three parts


def test_bad_entries_are_refused_in_a_sentence():
    broken = entry()
    del broken["bound"], broken["culprit"]
    with pytest.raises(RunError, match="entry 1 of the ladder lacks bound, culprit"):
        ladder.check([entry(), broken])
    with pytest.raises(RunError, match="rung 9; expected 0 to 8"):
        ladder.check([entry(rung=9)])
