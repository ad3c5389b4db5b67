"""The page: one self-contained HTML file that shows what was proven, from plain data.

The file works offline: style, script, images and downloads are inside, and its content security
policy forbids everything else. Gathering the data belongs to ``triptych.cli``; drawing the parts to
:mod:`triptych.report.ladder` and :mod:`triptych.report.sections`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from triptych.errors import RunError
from triptych.report import ladder, outcome, sections
from triptych.report.curves import charts
from triptych.report.files import write_bytes
from triptych.report.markup import Html, element, join

_RUN_KEYS = ("backend", "metrics")
_REPLAY_KEYS = ("backend", "data", "mime")


@dataclass(frozen=True)
class Page:
    """Everything the page shows, as plain data; what is empty is left out.

    Attributes:
        title: the recipe's name.
        about: the recipe's ``about``.
        recipe_text: the recipe as YAML.
        commands: the command lines that made this, one string each.
        versions: ``{package: version}``.
        created: ISO time.
        ladder: ``rungs`` of ``verify --json``: mappings with ``rung`` (0 to 8), ``pair``,
            ``dtype``, ``passed`` (None: inconclusive), ``value``, ``bound``, ``culprit`` and
            optionally ``detail``.
        runs: mappings with ``backend``, ``seed``, ``folder``, ``metric`` (the outcome, or the name
            of its column) and ``metrics`` (``{column: numbers}``, equal lengths within a run).
        evaluations: rows of ``engines.evaluating.kept``, each with the ``folder`` of its run (None
            for random play).
        replays: mappings with ``backend``, ``data`` (bytes), ``mime`` (image/webp, image/gif or
            image/png) and ``caption``.
        definitions: ``{backend: source}`` of the native models.
        network: rows with ``name``, ``kind``, ``output``, ``parameters``, ``multiply_adds``,
            ``receptive_field``.
        factors: ``{backend: {factor: value}}``.
        certificate: the certificate's JSON text; what it holds as ``outcome`` is a section.
    """

    title: str
    about: str = ""
    recipe_text: str = ""
    commands: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    ladder: Sequence[Mapping[str, Any]] = ()
    runs: Sequence[Mapping[str, Any]] = ()
    evaluations: Sequence[Mapping[str, Any]] = ()
    replays: Sequence[Mapping[str, Any]] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    network: Sequence[Mapping[str, Any]] = ()
    factors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    certificate: str = ""


def write_page(path: str | Path, page: Page) -> Path:
    """Write the page to ``path`` atomically and return the path.

    Raises:
        RunError: an entry of the ladder, a run or a replay lacks something or has a wrong type.
        StorageError: the file cannot be written.
    """
    # Paths of other systems may hold lone surrogates, which UTF-8 cannot say.
    return write_bytes(path, render(page).encode("utf-8", errors="replace"))


def render(page: Page) -> str:
    """Return the page as HTML text; errors as in :func:`write_page`."""
    _check(page)
    scripts = [_file("vendor", "uPlot.iife.min.js"), _file("templates", "page.js")]
    scripts[0] = _licensed(scripts[0])
    body = _sections(page)
    return Template(_file("templates", "page.html")).substitute(
        policy=_policy(scripts),
        title=element("title", f"{page.title} · Triptych"),
        style=_file("vendor", "uPlot.min.css") + _file("templates", "page.css"),
        header=_header(page),
        navigation=_navigation(body),
        verdict=_verdict(page),
        body=join(*(part for _, part in body)),
        scripts=join(*(element("script", Html(script)) for script in scripts)),
    )


def _sections(page: Page) -> list[tuple[str, Html]]:
    """Return what the page shows, as (link text, section), without the empty ones."""
    slots = sections.colour_slots(_backends(page))
    proof = sections.section("ladder", "The ladder", ladder.table(page.ladder))
    parts = [
        ("Ladder", proof if page.ladder else Html("")),
        ("Outcome", outcome.section(outcome.of_certificate(page.certificate), slots)),
        ("Curves", sections.curves(page.runs, charts(page.runs), slots)),
        ("Evaluations", sections.evaluations(page.evaluations, slots)),
        ("Replays", sections.replays(page.replays, slots)),
        ("Network", sections.network(page.network)),
        ("Definitions", sections.definitions(page.definitions, slots)),
        ("Factors", sections.factors(page.factors, slots)),
        (
            "Making",
            sections.making(page.recipe_text, page.commands, page.versions, page.certificate),
        ),
    ]
    return [(name, part) for name, part in parts if part]


def _backends(page: Page) -> list[str]:
    items = [str(item["backend"]) for item in (*page.runs, *page.replays)]
    items += [str(row["trained_by"]) for row in page.evaluations if row["trained_by"]]
    return [*items, *page.definitions, *page.factors]


def _header(page: Page) -> Html:
    about = element("p", page.about, class_="about") if page.about else None
    time = element("time", _readable(page.created), datetime=page.created)
    created = element("p", time, class_="created") if page.created else None
    return join(element("h1", page.title), about, created)


def _readable(iso: str) -> str:
    """Return an ISO time as one reads it, or the text itself where it is none."""
    try:
        time = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{time.day} {time:%B %Y, %H:%M} {time.tzname() or ''}".rstrip()


def _navigation(body: Sequence[tuple[str, Html]]) -> Html:
    return join(*(element("a", name, href=f"#{name.lower()}") for name, _ in body))


def _verdict(page: Page) -> Html:
    result = ladder.verdict(page.ladder)
    mark = ladder.mark(result.state)
    words = element("div", element("strong", result.headline), element("span", result.detail))
    return element("div", mark, words, class_=f"verdict {result.state}", role="status")


def _policy(scripts: Sequence[str]) -> str:
    """Return the content security policy: these scripts, inline style, data images; no network."""
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _licensed(script: str) -> str:
    """Return uPlot with its licence in place of its banner, which holds an address."""
    _, _, code = script.partition("*/")
    return f"/*! uPlot\n{_file('vendor', 'uPlot.LICENSE').strip()}\n*/{code}"


def _file(folder: str, name: str) -> str:
    return files("triptych.report").joinpath(folder, name).read_text(encoding="utf-8")


def _check(page: Page) -> None:
    ladder.check(page.ladder)
    for what, items, keys in (
        ("run", page.runs, _RUN_KEYS),
        ("replay", page.replays, _REPLAY_KEYS),
    ):
        for number, item in enumerate(items):
            absent = [key for key in keys if key not in item]
            if absent:
                raise RunError(f"{what} {number} of the page lacks {', '.join(absent)}")
