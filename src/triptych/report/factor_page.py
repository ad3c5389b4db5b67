"""A factor's page for a browser: one self-contained HTML file in the look of the report.

Nothing is loaded from anywhere and nothing runs; the picture is inside as an image. The texts are
in ``triptych/factors``, Markdown pages in ``factor_docs.py``.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from triptych.report import effects
from triptych.report.factor_docs import SIDES
from triptych.report.files import write_bytes
from triptych.report.markup import Html, data_uri, element, highlight, join, void
from triptych.spec.catalogue import FRAMEWORKS, Factor

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
# Beyond the report's own style sheet: a readable line length, and paper under the picture.
_STYLE = """
main p, main li { max-width: 46rem; }
figure.effect { margin: 2rem 0 0; max-width: 46rem; }
figure.effect img { width: 100%; background: #fff; border-radius: 10px; padding: .75rem; }
figure.effect img { border: 1px solid var(--line); }
figure.effect figcaption { color: var(--muted); font-size: .92rem; margin-top: .5rem; }
section { margin-top: 2.25rem; }
section p { margin: 0; }
.data th { white-space: nowrap; }
.data th, .data td { vertical-align: top; }
.data code { overflow-wrap: anywhere; }
code .number { all: unset; color: var(--code-number); }
dl.fix { margin: 0; } dl.fix dt { color: var(--muted); font-size: .9rem; margin-top: .75rem; }
dl.fix dd { margin: .2rem 0 0; }
dl.fix pre { white-space: pre-wrap; }
"""


def write_factor(path: str | Path, factor: Factor) -> Path:
    """Write a factor's page atomically and return the path.

    Raises:
        MissingDependency: the factor has a picture and matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    return write_bytes(path, render(factor).encode())


def render(factor: Factor) -> str:
    """Return a factor's page as HTML text; errors as in :func:`write_factor`."""
    style = files("triptych.report").joinpath("templates", "page.css").read_text(encoding="utf-8")
    head = join(
        void("meta", charset="utf-8"),
        # ``element`` turns inner underscores into hyphens: http-equiv.
        void("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="color-scheme", content="light dark"),
        void("link", rel="icon", href="data:,"),
        element("title", f"{factor.title} · Triptych"),
        element("style", Html(style + _STYLE)),
    )
    body = join(_header(factor), element("main", *_parts(factor), class_="wide"), _footer())
    page = element("html", element("head", head), element("body", body), lang="en")
    return f"<!doctype html>\n{page}\n"


def _header(factor: Factor) -> Html:
    place = element("p", f"{factor.group} · {factor.name}", class_="created")
    words = (element("h1", factor.title), place, element("p", factor.what, class_="about"))
    return element("header", element("div", *words, class_="wide"))


def _footer() -> Html:
    words = "Made by Triptych. This file is complete: it loads nothing from anywhere."
    return element("footer", words, class_="wide")


def _parts(factor: Factor) -> list[Html]:
    keys = join(*(join(element("code", key), " ") for key in factor.keys))
    sources = element("ul", *(element("li", line) for line in factor.source))
    parts = [
        ("What is computed", _formulas(factor) if factor.formulas else None),
        ("What one sees", element("p", factor.effect)),
        ("When it matters", element("p", factor.matters)),
        ("How to align", _fixes(factor)),
        ("In an audit", element("p", keys) if factor.keys else None),
        ("Sources", sources),
    ]
    sections = [
        element("section", element("h2", title), body) for title, body in parts if body is not None
    ]
    return [_picture(factor.plot), *sections] if factor.plot else sections


def _picture(name: str) -> Html:
    words = effects.caption(name)
    source = data_uri(effects.draw(name).encode(), "image/svg+xml")
    image = void("img", src=source, alt=words)
    return element("figure", image, element("figcaption", words), class_="effect")


def _formulas(factor: Factor) -> Html:
    rows = [
        element(
            "tr",
            element("th", SIDES[side], scope="row"),
            element("td", factor.formulas[side].math),
            element("td", element("code", highlight(factor.formulas[side].code))),
        )
        for side in FRAMEWORKS
        if side in factor.formulas
    ]
    table = element("table", element("tbody", *rows), class_="data")
    return element("div", table, class_="scroll")


def _fixes(factor: Factor) -> Html:
    rows: list[Html] = []
    for side in (side for side in FRAMEWORKS if side in factor.fix):
        words: object = factor.fix[side]
        if factor.advises_code(side):
            words = element("pre", element("code", highlight(factor.fix[side])))
        rows += [element("dt", SIDES[side]), element("dd", words)]
    return element("dl", *rows, class_="fix")
