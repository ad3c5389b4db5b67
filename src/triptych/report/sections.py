"""The page's parts below the ladder, each from plain data to HTML.

Every function returns a whole ``section``, or nothing where there is nothing to show. Where the
data come from, and the page around the sections, do not belong here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triptych.errors import RunError, did_you_mean
from triptych.report.markup import Html, data_uri, element, highlight, join, script_json, void

# The order and the colour slot of the known backends, the same all over the page; others follow.
KNOWN_BACKENDS = ("torch", "jax", "keras", "numpy")
COLOURS = 6
MANY_RUNS = 12  # more are folded away
IMAGE_TYPES = ("image/webp", "image/gif", "image/png")

Rows = Sequence[Mapping[str, Any]]
_NOTHING = Html("")
_EVALUATION = {
    "step": ("Step", "{:,}"),
    "exploration": ("Exploration", "{:g}"),
    "seed": ("Seed of starts", "{}"),
    "episodes": ("Games", "{:,}"),
    "mean": ("Mean", "{:.4g}"),
    "median": ("Median", "{:.4g}"),
    "min": ("Least", "{:.4g}"),
    "max": ("Most", "{:.4g}"),
    "human_normalised": ("Human-normalised", "{:.1f}%"),
    "above_random": ("Above random play", "{:.1f} s.e."),
}
_NETWORK = {
    "name": "Layer",
    "kind": "Kind",
    "output": "Output",
    "parameters": "Parameters",
    "multiply_adds": "Multiply-adds",
    "receptive_field": "Receptive field",
}


def backend_order(names: Sequence[str]) -> list[str]:
    """Return backend names without repeats: the known ones first and in their order."""
    unique = list(dict.fromkeys(names))
    return [name for name in KNOWN_BACKENDS if name in unique] + [
        name for name in unique if name not in KNOWN_BACKENDS
    ]


def colour_slots(names: Sequence[str]) -> dict[str, int]:
    """Return each backend's colour slot, 0 to ``COLOURS - 1``; known backends keep theirs."""
    others = [name for name in backend_order(names) if name not in KNOWN_BACKENDS]
    known = {name: slot for slot, name in enumerate(KNOWN_BACKENDS)}
    spare = COLOURS - len(KNOWN_BACKENDS)
    return known | {n: len(KNOWN_BACKENDS) + k % spare for k, n in enumerate(others)}


def section(identifier: str, title: str, *children: object, lead: str = "") -> Html:
    """Return a titled section; ``lead`` is one sentence under the title."""
    head = element("h2", title)
    words = element("p", lead, class_="lead") if lead else None
    return element("section", head, words, *children, id=identifier)


def curves(runs: Rows, charts: Mapping[str, Any], slots: Mapping[str, int]) -> Html:
    """Return the learning curves (drawn by the page's script) and the table of runs."""
    if not runs:
        return _NOTHING
    table = _runs_table(runs, slots)
    if not charts:
        return section("curves", "Learning curves", table, lead="The runs hold no numbers to draw.")
    shown = backend_order([str(run["backend"]) for run in runs])
    data = {**charts, "backends": [{"name": name, "slot": slots[name]} for name in shown]}
    figure = element(
        "div",
        element("div", class_="controls", id="x-choice"),
        element("div", class_="legend", id="legend"),
        element("div", class_="chart", id="chart"),
        element("p", class_="note", id="note"),
        element("div", class_="thumbs", id="thumbs"),
        element("noscript", element("p", "The curves need JavaScript; the rest does not.")),
        class_="figure",
    )
    block = element("script", script_json(data), type="application/json", id="curve-data")
    return section("curves", "Learning curves", figure, block, table)


def evaluations(rows: Rows, slots: Mapping[str, int]) -> Html:
    """Return the games played apart from training as a table, trained runs before random play."""
    if not rows:
        return _NOTHING
    columns = [key for key in _EVALUATION if any(row.get(key) is not None for row in rows)]
    heads = [element("th", _EVALUATION[key][0], scope="col", class_="right") for key in columns]
    body = [
        element(
            "tr",
            element("td", _badge(row["trained_by"], slots) if row["trained_by"] else "random play"),
            element("td", element("code", row["folder"]) if row["folder"] else "—", class_="path"),
            *(element("td", _figure(row, key), class_="right") for key in columns),
        )
        for row in rows
    ]
    first = [element("th", head, scope="col") for head in ("Player", "Folder")]
    table = _table([*first, *heads], body)
    lead = (
        "Whole games in their own points, apart from training, from starts that no training draws; "
        "after ± one standard error of the mean."
    )
    return section("evaluations", "Evaluations", _scrolling(table), lead=lead)


def replays(items: Rows, slots: Mapping[str, int]) -> Html:
    """Return replays side by side, as images within the page."""
    if not items:
        return _NOTHING
    figures = [_replay(item, slots) for item in items]
    return section("replays", "Replays", element("div", *figures, class_="panels replays"))


def network(rows: Rows) -> Html:
    """Return the network as a table with totals."""
    if not rows:
        return _NOTHING
    columns = [name for name in _NETWORK if any(row.get(name) is not None for row in rows)]
    heads = [element("th", _NETWORK[name], scope="col", class_=_side(name)) for name in columns]
    body = [
        element("tr", *(element("td", _cell(row.get(c)), class_=_side(c)) for c in columns))
        for row in rows
    ]
    totals = [element("td", _total(rows, name), class_=_side(name)) for name in columns]
    table = _table(heads, body, element("tfoot", element("tr", *totals)))
    return section("network", "The network", _scrolling(table))


def definitions(sources: Mapping[str, str], slots: Mapping[str, int]) -> Html:
    """Return the native model definitions side by side."""
    if not sources:
        return _NOTHING
    panels = [_definition(name, sources[name], slots) for name in backend_order(list(sources))]
    lead = "The same network in each framework's own terms."
    title = "The same model, natively" if len(panels) > 1 else "The model, natively"
    return section("definitions", title, element("div", *panels, class_="panels code"), lead=lead)


def factors(values: Mapping[str, Mapping[str, Any]], slots: Mapping[str, int]) -> Html:
    """Return factors as a table: one row per factor, one column per backend, differences marked."""
    if not values:
        return _NOTHING
    backends = backend_order(list(values))
    names = list(dict.fromkeys(name for backend in backends for name in values[backend]))
    heads = [element("th", _badge(name, slots), scope="col") for name in backends]
    rows = [_factor(name, [values[backend].get(name) for backend in backends]) for name in names]
    table = _table([element("th", "Factor", scope="col"), *heads], rows, class_="data factors")
    lead = "Read back from the live native objects; a marked row differs."
    return section("factors", "Factors", _scrolling(table), lead=lead)


def making(
    recipe: str, commands: Sequence[str], versions: Mapping[str, str], certificate: str
) -> Html:
    """Return recipe, commands, versions and the certificate: all one needs to do it again."""
    parts: list[Html] = []
    if commands:
        lines = Html("\n").join(element("span", line, class_="command") for line in commands)
        parts.append(_block("Commands", element("pre", Html(lines), class_="terminal")))
    if recipe:
        parts.append(_block("Recipe", element("pre", element("code", recipe))))
    if versions:
        terms = [
            element("div", element("dt", name), element("dd", version), class_="version")
            for name, version in versions.items()
        ]
        parts.append(_block("Versions", element("dl", *terms, class_="versions")))
    if certificate:
        parts.append(_certificate(certificate))
    if not parts:
        return _NOTHING
    return section("making", "How it was made", element("div", *parts, class_="making"))


def _certificate(text: str) -> Html:
    address = data_uri(text.encode("utf-8", errors="replace"), "application/json")
    link = element(
        "a", "Download certificate.json", href=address, download="certificate.json", class_="button"
    )
    shown = element("details", element("summary", "Read it here"), element("pre", text))
    return _block("Certificate", element("p", link), shown)


def _block(title: str, *children: object) -> Html:
    return element("div", element("h3", title), *children, class_="block")


def _runs_table(runs: Rows, slots: Mapping[str, int]) -> Html:
    heads = ("Backend", "Seed", "Result", "Folder")
    body = [
        element(
            "tr",
            element("td", _badge(str(run["backend"]), slots)),
            element("td", run.get("seed", "—")),
            element("td", *_result(run)),
            element("td", element("code", run.get("folder", "—")), class_="path"),
        )
        for run in runs
    ]
    table = _table([element("th", head, scope="col") for head in heads], body, class_="data runs")
    if len(runs) <= MANY_RUNS:
        return _scrolling(table)
    summary = element("summary", f"All {len(runs)} runs")
    return element("details", summary, _scrolling(table), class_="runs")


def _result(run: Mapping[str, Any]) -> tuple[object, ...]:
    """Return a run's outcome: the number itself, or the last value of the column it names."""
    metric = run.get("metric")
    if isinstance(metric, (int, float)):
        return (f"{metric:.4g}",)
    values = [v for v in run.get("metrics", {}).get(metric, []) if v is not None and v == v]
    if not values:
        return ("—",)
    return (f"{float(values[-1]):.4g}", " ", element("small", metric))


def _figure(row: Mapping[str, Any], key: str) -> str:
    """Return an evaluation's figure as text, the mean with its error where there is one."""
    if row.get(key) is None:
        return "—"
    text = _EVALUATION[key][1].format(row[key])
    error = row.get("standard_error")
    known = key == "mean" and error is not None and error == error
    return f"{text} ± {error:.2g}" if known else text


def _replay(item: Mapping[str, Any], slots: Mapping[str, int]) -> Html:
    mime, backend = item["mime"], str(item["backend"])
    if mime not in IMAGE_TYPES:
        hint = did_you_mean(mime, IMAGE_TYPES)
        raise RunError(
            f"the replay of {backend} has type {mime!r}{hint}; expected {', '.join(IMAGE_TYPES)}"
        )
    caption = str(item.get("caption", ""))
    image = void("img", src=data_uri(item["data"], mime), alt=f"Replay, {backend}. {caption}")
    words = element("figcaption", _badge(backend, slots), " ", element("span", caption))
    return element("figure", image, words, class_=f"panel colour-{slots[backend]}")


def _definition(name: str, source: str, slots: Mapping[str, int]) -> Html:
    code = element("pre", element("code", highlight(source)), tabindex="0")
    return element(
        "div", element("h3", _badge(name, slots)), code, class_=f"panel colour-{slots[name]}"
    )


def _factor(name: str, values: Sequence[Any]) -> Html:
    texts = [_cell(value) for value in values]
    cells = [element("td", text) for text in texts]
    differs = "differs" if len(set(texts)) > 1 else None
    return element("tr", element("th", name, scope="row"), *cells, class_=differs)


def _badge(backend: str, slots: Mapping[str, int]) -> Html:
    return element("span", backend, class_=f"badge colour-{slots[backend]}")


def _table(heads: Sequence[Html], rows: Sequence[Html], *foot: Html, class_: str = "data") -> Html:
    head = element("thead", element("tr", *heads))
    return element("table", head, element("tbody", *rows), *foot, class_=class_)


def _scrolling(table: Html) -> Html:
    return element("div", table, class_="scroll", tabindex="0")


def _side(name: str) -> str | None:
    return None if name in ("name", "kind") else "right"


def _cell(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, (list, tuple)):
        return " × ".join(_cell(item) for item in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _total(rows: Rows, name: str) -> Html:
    if name == "name":
        return element("b", "Total")
    numbers = [row[name] for row in rows if isinstance(row.get(name), int)]
    wanted = name in ("parameters", "multiply_adds") and numbers
    return element("b", _cell(sum(numbers))) if wanted else join()
