"""The section on rung 8: what the scores of many seeds show, with the verdict in words.

Input is the part ``outcome`` of a certificate, plain data. Judging belongs to ``triptych.parity``;
the figures' shapes to :mod:`triptych.report.plots`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from triptych.errors import RunError
from triptych.report import ladder, plots
from triptych.report.markup import Html, element, join
from triptych.report.plots import Scale, short

_STATES = {"equivalent": "passed", "different": "failed", "inconclusive": "open"}
_NEEDED = ("metric", "margin", "alpha", "verdict", "sentence", "backends", "pairs", "levels")
_ROW = 4.5
"""Height of a figure's row, rem."""

Data = Mapping[str, Any]


def of_certificate(text: str) -> Data:
    """Return the outcome in a certificate's JSON text, or nothing where there is none.

    Raises:
        RunError: it lacks something.
    """
    try:
        certificate = json.loads(text)
    except ValueError:
        return {}
    found = certificate.get("outcome") if isinstance(certificate, dict) else None
    if not isinstance(found, dict):
        return {}
    absent = [key for key in _NEEDED if key not in found]
    if absent:
        raise RunError(
            f"the certificate's outcome lacks {', '.join(absent)}; judge the scores again with: "
            "triptych compare --resume FOLDER"
        )
    return found


def section(found: Data, slots: Mapping[str, int]) -> Html:
    """Return the whole section, or nothing where several seeds were not judged."""
    if not found:
        return Html("")
    return element(
        "section",
        element("h2", "The outcome of many seeds"),
        element("p", _lead(found), class_="lead"),
        _verdict(found),
        _block("Each run", _runs(found, slots), _note(_RUNS_NOTE)),
        _points(found, slots),
        _block(
            "Each difference against the margin", _differences(found), _note(_pairs_note(found))
        ),
        _pairs(found),
        _block("Performance profiles", _profiles(found, slots), _note(_PROFILE_NOTE)),
        id="outcome",
    )


_RUNS_NOTE = (
    "A dot is the score of one run. Large dot and bar: the interquartile mean (of the middle half "
    "of the runs) with its 95% bootstrap interval. Where no interval is given, drawing the runs "
    "anew never changes the number: they are too much alike to show how far it may be off."
)
_PROFILE_NOTE = (
    "The share of runs that score more than each value; the higher line is the better backend. "
    "Band: 95% Wilson interval at each value."
)


def _lead(found: Data) -> str:
    counts = sorted({len(points["scores"]) for points in found["backends"].values()})
    seeds = " or ".join(str(count) for count in counts)
    return (
        f"{seeds} seeds per backend, trained apart in float32; two one-sided tests against a "
        f"margin of {found['margin']:g} in {_words(found['metric'])}, fixed before training."
    )


def _verdict(found: Data) -> Html:
    state = _STATES[found["verdict"]]
    headline, _, rest = found["sentence"].partition(": ")
    power = found.get("power")
    told = element("span", f"Told before training: {power['sentence']}.") if power else None
    words = element(
        "div", element("strong", headline), element("p", f"{rest[:1].upper()}{rest[1:]}."), told
    )
    return element("div", ladder.mark(state), words, class_=f"verdict {state}")


def _runs(found: Data, slots: Mapping[str, int]) -> Html:
    """Every run as a dot, one row per backend, with the interquartile mean below."""
    scale, count = _score_scale(found), len(found["backends"])
    marks: list[Html] = []
    for row, (name, points) in enumerate(found["backends"].items()):
        iqm = points["iqm"]
        y = _within(row, count, 0.86)
        marks += [
            plots.dot(scale(x), _within(row, count, place), f"run colour-{slots[name]}")
            for x, place in _spread(points["scores"], scale)
        ]
        bar = plots.line(scale(iqm["low"]), y, scale(iqm["high"]), y, f"bar colour-{slots[name]}")
        marks += [bar, plots.dot(scale(iqm["value"]), y, f"iqm colour-{slots[name]}")]
    labels = [_badge(name, slots) for name in found["backends"]]
    return plots.figure(
        labels,
        marks,
        scale,
        plots.ticks(scale),
        axis=_words(found["metric"]),
        height=_ROW * count,
        described=f"Scores of every run by backend: {', '.join(found['backends'])}",
    )


def _spread(scores: Sequence[float], scale: Scale) -> list[tuple[float, float]]:
    """Return each score with its place in its row, 0.08 to 0.68; those that meet stand apart."""
    placed = []
    for _, near in groupby(sorted(scores), key=lambda score: round(scale(score))):
        group = list(near)
        gap = min(0.14, 0.6 / len(group))
        placed += [
            (score, 0.38 + gap * (k - (len(group) - 1) / 2)) for k, score in enumerate(group)
        ]
    return placed


def _within(row: int, rows: int, place: float) -> float:
    return round(100 * (row + place) / rows, 3)


def _score_scale(found: Data) -> Scale:
    """A scale that holds every score, and is at least as wide as two margins."""
    scores = [score for points in found["backends"].values() for score in points["scores"]]
    low, high = min(scores), max(scores)
    pad = 0.05 * (high - low)
    return Scale(low - max(pad, found["margin"]), high + max(pad, found["margin"] / 4))


def _differences(found: Data) -> Html:
    """Each pair's interval of the difference, over the band of the margin."""
    margin, pairs = found["margin"], found["pairs"]
    ends = [abs(p[key]) for p in pairs for key in ("low", "high", "difference") if _known(p[key])]
    widest = 1.15 * max(1.3 * margin, *ends)
    scale, count = Scale(-widest, widest), len(pairs)
    marks = [
        plots.area(scale(-margin), 0, scale(margin), 100, "margin"),
        plots.line(50, 0, 50, 100, "grid"),
    ]
    for row, pair in enumerate(pairs):
        y, state = _within(row, count, 0.5), _STATES[pair["verdict"]]
        if _known(pair["low"]):
            marks.append(plots.line(scale(pair["low"]), y, scale(pair["high"]), y, f"bar {state}"))
        marks.append(plots.dot(scale(pair["difference"]), y, f"iqm {state}"))
    return plots.figure(
        [element("b", pair["pair"]) for pair in pairs],
        marks,
        scale,
        [-margin, 0.0, margin],
        axis=f"difference of the mean {_words(found['metric'])}; shaded: the margin",
        height=0.6 * _ROW * count,
        described="; ".join(f"{p['pair']} {p['verdict']}" for p in pairs),
    )


def _profiles(found: Data, slots: Mapping[str, int]) -> Html:
    """Each backend's share of runs above every level."""
    levels, high = found["levels"], max(found["levels"])
    scale = Scale(levels[0], high + 0.04 * (high - levels[0]))
    xs, marks = [scale(level) for level in levels], []
    for name, points in found["backends"].items():
        down = {
            key: [round(100 * (1 - step[key]), 3) for step in points["profile"]]
            for key in ("value", "low", "high")
        }
        colour = f"colour-{slots[name]}"
        marks.append(plots.step_band(xs, down["low"], down["high"], 100.0, f"band {colour}"))
        marks.append(plots.steps(xs, down["value"], 100.0, f"step {colour}"))
    figure = plots.figure(
        ["100%", "50%", "0%"],
        marks,
        scale,
        plots.ticks(scale),
        axis=_words(found["metric"]),
        height=15,
        described="Share of runs above each score, by backend",
        rows=False,
    )
    return join(plots.legend([_badge(name, slots) for name in found["backends"]]), figure)


def _points(found: Data, slots: Mapping[str, int]) -> Html:
    """The table of backends: mean, median, IQM and the share of runs that solve the task."""
    solved = found.get("solved")
    heads = ["Backend", "Seeds", "Mean", "Median", "Interquartile mean"]
    heads += [] if solved is None else [f"Runs that reach {solved:g}"]
    body = []
    for name, points in found["backends"].items():
        cells = [_estimate(points[key]) for key in ("mean", "median", "iqm")]
        cells += [] if solved is None else [_share(points["solved"])]
        body.append([_badge(name, slots), len(points["scores"]), *cells])
    return _table(heads, body)


def _pairs(found: Data) -> Html:
    """The table of pairs: difference, verdict, and what is shown but not judged."""
    solved = found.get("solved") is not None
    heads = ["Pair", "Verdict", "Difference", "p of equivalence", "with Holm"]
    heads += ["Chance that the first is better"]
    heads += [f"Difference in runs that reach {found['solved']:g}"] if solved else []
    body = []
    for pair in found["pairs"]:
        word = element("b", pair["verdict"], class_=f"word-{_STATES[pair['verdict']]}")
        cells = [_estimate(pair | {"value": pair["difference"]}), _p(pair["p"]), _p(pair["p_holm"])]
        cells.append(_share(pair["improvement"]))
        cells += [_share(pair["solved"], signed=True)] if solved else []
        body.append([pair["pair"], word, *cells])
    return _table(heads, body)


def _pairs_note(found: Data) -> str:
    """How the pairs were judged, and what that leaves out."""
    level = found["alpha"]
    notes = [
        f"Bar: the {1 - 2 * level:.0%} interval of the difference; equivalent where it lies within "
        "the shaded margin, different where it lies outside, inconclusive where it does neither. "
        f"Every pair is tested at {level:g}; that all are equivalent is one claim that needs every "
        "test, so nothing has to be corrected for their number; Holm's p is for picking one pair."
    ]
    methods = {pair["method"] for pair in found["pairs"]} - {"Welch's t"}
    notes += [f"Where {method}." for method in sorted(methods)]
    together = [pair["correlation"] for pair in found["pairs"] if _known(pair.get("correlation"))]
    if together:
        notes.append(
            f"Runs of one seed correlate by {min(together):.2f} to {max(together):.2f} between "
            "backends; the test takes them as independent, which is on the safe side where the "
            "correlation is above zero."
        )
    return " ".join(notes)


def _estimate(found: Data) -> Html:
    if not _known(found.get("low")) or found["low"] == found["high"]:
        return join(short(found["value"]))
    interval = f"{short(found['low'])} to {short(found['high'])}"
    return join(short(found["value"]), " ", element("small", interval))


def _share(found: Data, signed: bool = False) -> Html:
    low, high = (f"{found[key]:.0%}" for key in ("low", "high"))
    value = f"{found['value']:+.0%}" if signed and found["value"] else f"{found['value']:.0%}"
    if found["low"] == found["high"]:
        return join(value)
    return join(value, " ", element("small", f"{low} to {high}"))


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"


def _table(heads: Sequence[str], body: Sequence[Sequence[object]]) -> Html:
    rows = [element("tr", *(element("td", cell) for cell in cells)) for cells in body]
    table = element(
        "table",
        element("thead", element("tr", *(element("th", head, scope="col") for head in heads))),
        element("tbody", *rows),
        class_="data",
    )
    return element("div", table, class_="scroll", tabindex="0")


def _block(title: str, *children: object) -> Html:
    return element("div", element("h3", title), *children, class_="block figure")


def _note(text: str) -> Html:
    return element("p", text, class_="note")


def _badge(backend: str, slots: Mapping[str, int]) -> Html:
    return element("span", backend, class_=f"badge colour-{slots.get(backend, 0)}")


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _known(value: Any) -> bool:
    return isinstance(value, (int, float)) and value == value
