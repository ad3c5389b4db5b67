from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest

from triptych.errors import RunError, StorageError
from triptych.report.page import Page, render, write_page


class Tags(HTMLParser):
    """Collects start tags with attributes, text, and tags closed out of order."""

    VOID = frozenset({"meta", "link", "img", "wbr"})

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.text, self.wrong, self.stack = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if self.stack.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.text.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_has_every_part_in_order_and_is_well_formed(page):
    made = Tags(render(page))
    assert made.wrong == [] and made.stack == []
    parts = [section["id"] for section in made.named("section")]
    first, last = ["ladder", "curves", "evaluations"], ["definitions", "factors", "making"]
    assert parts == [*first, "replays", "network", *last]
    links = [link["href"] for link in made.named("a") if link["href"].startswith("#")]
    assert links == [f"#{part}" for part in parts]
    text = " ".join(made.text)
    assert "Proven equal: all 39 comparisons on 3 pairs are green" in text
    assert "196,483" in text and "497,020" in text
    assert "31 January 2026, 12:00 UTC" in text


def cells(html: str, part: str) -> list[list[str]]:
    """The rows of a section's table as texts."""
    section = re.search(rf'<section id="{part}">.*?</section>', html, re.DOTALL)[0]
    rows = re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)
    found = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]+>", "", cell) for cell in row] for row in found]


def test_evaluations_are_listed_beside_random_play(page, build_page):
    head, torch, _, _, random = cells(render(page), "evaluations")
    own = dict(zip(head, torch, strict=True))
    assert (own["Player"], own["Folder"], own["Step"]) == ("torch", "torch-seed0", "250,000")
    assert (own["Games"], own["Mean"], own["Median"]) == ("1,000", "300.5 ± 6", "270")
    assert (own["Human-normalised"], own["Above random play"]) == ("10.5%", "17.8 s.e.")
    assert random == ["random play", "—", "—", "1", "7", "1,000", "150.2", *random[7:10], "—", "—"]
    # Where nobody published a human's score and nobody played at random, there are no columns.
    bare = page.evaluations[0] | {"human_normalised": None, "above_random": None}
    assert cells(render(build_page(evaluations=[bare])), "evaluations")[0] == head[:-2]


def test_the_page_loads_nothing_from_anywhere(page):
    html = render(page)
    assert "http:" not in html and "https:" not in html
    made = Tags(html)
    addresses = [
        attributes[name]
        for _, attributes in made.tags
        for name in ("href", "src", "srcset", "action", "poster", "data")
        if name in attributes
    ]
    assert len(addresses) > 10
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    policy = made.named("meta")[1]["content"]
    assert policy.startswith("default-src 'none'")


def test_the_page_is_small(page, tmp_path):
    assert write_page(tmp_path / "page.html", page).stat().st_size < 3_000_000


def test_hostile_strings_stay_text(hostile_page, hostile):
    made = Tags(render(hostile_page))
    assert made.wrong == [] and made.stack == []
    assert len(made.named("script")) == 3  # data, uPlot, the page's own
    assert len(made.named("img")) == 1
    assert all("onerror" not in attributes for _, attributes in made.tags)
    assert "".join(made.text).count(hostile) >= 20


def test_an_empty_page_is_still_a_page():
    made = Tags(render(Page(title="nothing")))
    assert made.wrong == [] and made.named("section") == []
    assert "Nothing compared yet" in "".join(made.text)


@pytest.mark.parametrize(
    "field", ["ladder", "runs", "replays", "definitions", "network", "factors", "certificate"]
)
def test_any_part_may_be_left_out(page, field):
    default = "" if field == "certificate" else ()
    default = {} if field in ("definitions", "factors") else default
    made = Tags(render(dataclasses.replace(page, **{field: default})))
    assert made.wrong == []
    assert field not in [section["id"] for section in made.named("section")]


def test_the_certificate_downloads_as_it_is(page):
    link = next(a for a in Tags(render(page)).named("a") if "download" in a)
    assert link["download"] == "certificate.json"
    data = link["href"].removeprefix("data:application/json;base64,")
    assert base64.b64decode(data).decode() == page.certificate


def test_replays_are_inside(page):
    images = Tags(render(page)).named("img")
    assert len(images) == 3
    for image, replay in zip(images, page.replays, strict=True):
        data = image["src"].removeprefix("data:image/webp;base64,")
        assert base64.b64decode(data) == replay["data"]
        assert replay["backend"] in image["alt"]


def test_factors_that_differ_are_marked(build_page):
    factors = {
        "torch": {"a": 1, "b": 2},
        "keras": {"a": 1, "b": 3},
        "jax": {"a": 1, "b": 2, "c": 0},
    }
    rows = re.findall(
        r'<tr( class="differs")?><th scope="row">(\w)', render(build_page(factors=factors))
    )
    assert rows == [("", "a"), (' class="differs"', "b"), (' class="differs"', "c")]


def test_backends_come_in_one_order_with_one_colour(build_page):
    html = render(build_page(definitions={"keras": "k", "mine": "m", "torch": "t"}))
    body = html.partition('id="definitions"')[2].partition("</section>")[0]
    panels = re.findall(r'class="badge colour-(\d)">(\w+)<', body)
    assert panels == [("0", "torch"), ("2", "keras"), ("4", "mine")]


def test_results_are_the_outcome_or_the_last_value(build_page, build_runs):
    runs = build_runs()
    runs[0]["metric"], runs[2]["metric"] = 0.98765, None
    runs[1]["metrics"]["greedy_return"][-1] = float("nan")
    runs[1]["metrics"]["greedy_return"][-2] = 0.25
    table = render(build_page(runs=runs)).partition('class="data runs"')[2].partition("</table>")[0]
    results = re.findall(r"<tr>(?:<td>.*?</td>){2}<td>(.*?)</td>", table)
    assert results == ["0.9877", "0.25 <small>greedy_return</small>", "—"]


def test_numpy_columns_are_welcome(build_page, build_runs):
    runs = build_runs()
    lists = render(build_page(runs=runs))
    for run in runs:
        run["metrics"] = {name: np.asarray(v, float) for name, v in run["metrics"].items()}
    assert render(build_page(runs=runs)) == lists


def test_mistakes_are_one_sentence(build_page, page, tmp_path):
    replay = dict(page.replays[0]) | {"mime": "image/wepb"}
    with pytest.raises(RunError, match="did you mean 'image/webp'"):
        render(build_page(replays=[replay]))
    with pytest.raises(RunError, match="run 0 of the page lacks metrics"):
        render(build_page(runs=[{"backend": "torch"}]))
    with pytest.raises(RunError, match="entry 0 of the ladder lacks"):
        render(build_page(ladder=[{}]))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        write_page(tmp_path / "file" / "page.html", page)


def test_a_lone_surrogate_in_a_path_does_not_stop_the_page(build_page, build_runs, tmp_path):
    runs = [run | {"folder": "runs/\udce9"} for run in build_runs()]
    assert write_page(tmp_path / "page.html", build_page(runs=runs)).exists()


# Colours, read from the style sheet, in both themes.


def _themes(html: str) -> list[dict[str, np.ndarray]]:
    blocks = re.findall(r":root \{(.*?)\}", html, re.DOTALL)[:2]
    return [
        {name: _rgb(value) for name, value in re.findall(r"--([\w-]+): #([0-9a-f]{6})", block)}
        for block in blocks
    ]


def _rgb(text: str) -> np.ndarray:
    return np.array([int(text[k : k + 2], 16) / 255 for k in (0, 2, 4)])


def _linear(colour: np.ndarray) -> np.ndarray:
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def _contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Contrast ratio of WCAG 2."""
    low, high = sorted(float(_linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out_from_the_paper():
    themes = _themes(render(Page(title="colours")))
    assert len(themes) == 2
    for theme in themes:
        for name in ("c0", "c1", "c2", "c3", "c4", "c5", "pass", "fail"):
            assert _contrast(theme[name], theme["paper"]) >= 3, name
        for tint in ("paper", "surface", "pass-tint", "fail-tint"):
            assert _contrast(theme["muted"], theme[tint]) >= 4.5, tint


# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
PROTANOPIA = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
DEUTERANOPIA = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def _lab(linear: np.ndarray) -> np.ndarray:
    scaled = np.clip(np.array(TO_XYZ) @ linear, 0, None) / [0.9505, 1.0, 1.089]
    f = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", [np.eye(3), PROTANOPIA, DEUTERANOPIA])
def test_the_three_backends_differ_for_colour_blind_eyes(sight):
    for theme in _themes(render(Page(title="colours"))):
        seen = [_lab(np.array(sight) @ _linear(theme[name])) for name in ("c0", "c1", "c2")]
        for one, other in combinations(seen, 2):
            assert np.linalg.norm(one - other) > 20  # CIE 1976; about 2 is just noticeable
