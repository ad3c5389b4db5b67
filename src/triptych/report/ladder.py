"""The ladder of proof as a table one can read from across the room, and its verdict in a line.

Input is the list ``rungs`` of ``verify --json``. Climbing the ladder belongs to
``triptych.parity``; here it is only drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triptych.errors import RunError
from triptych.report.markup import Html, element, join
from triptych.spec.ladder import RUNGS

Entry = Mapping[str, Any]
_KEYS = ("rung", "pair", "dtype", "passed", "value", "bound", "culprit")
_WORDS = {"passed": "passed", "failed": "failed", "open": "inconclusive", "none": "not run"}
_MARKS = {"passed": "tick", "failed": "cross", "open": "open", "none": "dash"}


@dataclass(frozen=True)
class Verdict:
    """The ladder in one line: ``state`` (passed, failed, open, none), headline and small print."""

    state: str
    headline: str
    detail: str


def check(entries: Sequence[Entry]) -> None:
    """Raise RunError where an entry lacks a key or names an unknown rung."""
    for number, entry in enumerate(entries):
        absent = [key for key in _KEYS if key not in entry]
        if absent:
            raise RunError(f"entry {number} of the ladder lacks {', '.join(absent)}")
        if entry["rung"] not in range(len(RUNGS)):
            last = len(RUNGS) - 1
            raise RunError(
                f"entry {number} of the ladder has rung {entry['rung']!r}; expected 0 to {last}"
            )


def verdict(entries: Sequence[Entry]) -> Verdict:
    """Return the verdict on all entries: different, undecided, proven equal or nothing compared."""
    if not entries:
        return Verdict("none", "Nothing compared yet", "No rung of the ladder was climbed.")
    failed = [entry for entry in entries if _state([entry]) == "failed"]
    if failed:
        headline = f"Different: {_where(min(failed, key=lambda entry: entry['rung']))}"
        return Verdict("failed", headline, f"{len(failed)} of {_count(entries)} failed.")
    unsure = [entry for entry in entries if _state([entry]) == "open"]
    if unsure:
        headline = f"Undecided: {_where(unsure[0])}"
        return Verdict("open", headline, f"{len(unsure)} of {_count(entries)} inconclusive.")
    pairs = _pairs(entries)
    where = f"{len(pairs)} pairs" if len(pairs) > 1 else pairs[0]
    what = f"all {_count(entries)} on {where} are green"
    what = f"the one comparison on {where} is green" if len(entries) == 1 else what
    return Verdict("passed", f"Proven equal: {what}", _not_run(entries))


def table(entries: Sequence[Entry]) -> Html:
    """Return the ladder as an HTML table: one row per rung, one column per pair."""
    pairs = _pairs(entries)
    corner = element("th", "Rung", scope="col", role="columnheader")
    heads = [element("th", _pair_name(pair), scope="col", role="columnheader") for pair in pairs]
    rows = [_row(number, entries, pairs) for number in range(len(RUNGS))]
    return element(
        "table",
        element("thead", element("tr", corner, *heads, role="row"), role="rowgroup"),
        element("tbody", *rows, role="rowgroup"),
        class_="ladder",
        role="table",
    )


def mark(state: str) -> Html:
    """Return the tick, cross, question or dash of a state; the symbols are in ``page.html``."""
    return element(
        "svg", element("use", href=f"#{_MARKS[state]}"), class_="mark", aria_hidden="true"
    )


def comparison(entry: Entry) -> str:
    """Return the value against the bound, with as many digits as the comparison needs.

    A value that JSON could not hold (NaN) reads "not a number"; zero within zero reads "exactly
    equal"; where larger is better (the rung passed above its bound) both are shown unordered.
    """
    value, bound = _number(entry["value"]), _number(entry["bound"])
    if value is None or bound is None:
        return (
            ""
            if entry["value"] is None and entry["passed"] is not False
            else _short(entry["value"], 2)
        )
    if (value <= bound) != bool(entry["passed"]):
        return f"{_short(value, 2)}, bound {_short(bound, 2)}"
    if value == bound == 0:
        return "exactly equal"
    digits = 2
    while (float(f"{value:.{digits}g}") <= bound) != (value <= bound) and digits < 17:
        digits += 1
    return f"{_short(value, digits)} {'≤' if value <= bound else '>'} {_short(bound, 3)}"


def _row(number: int, entries: Sequence[Entry], pairs: Sequence[str]) -> Html:
    name, sentence = RUNGS[number]
    here = [entry for entry in entries if entry["rung"] == number]
    head = element(
        "th",
        element("span", number, class_="number"),
        element("span", element("b", name), element("small", sentence), class_="what"),
        scope="row",
        role="rowheader",
    )
    cells = [_cell(pair, [e for e in here if e["pair"] == pair]) for pair in pairs]
    return element("tr", head, *cells, role="row", class_=_state(here))


def _cell(pair: str, entries: Sequence[Entry]) -> Html:
    state = _state(entries)
    word = element("span", _WORDS[state], class_="word" if state in ("none", "open") else "hidden")
    lines = [_line(entry) for entry in entries]
    label = element("span", _pair_name(pair), class_="pair")
    inside = element("div", label, mark(state), word, *lines, class_="cell")
    return element("td", inside, class_=state, role="cell")


def _line(entry: Entry) -> Html:
    parts: list[object] = []
    if entry["dtype"]:
        parts.append(element("span", entry["dtype"], class_="dtype"))
    parts.append(element("span", comparison(entry), class_="value"))
    if entry["culprit"] and not entry["passed"]:
        parts.append(element("span", "first at ", element("b", entry["culprit"]), class_="culprit"))
    if entry.get("detail"):
        parts.append(element("span", entry["detail"], class_="detail"))
    spaced = [piece for part in parts for piece in (part, " ")]
    return element("div", *spaced, class_=f"line {_state([entry])}")


def _state(entries: Sequence[Entry]) -> str:
    if not entries:
        return "none"
    if any(entry["passed"] is not None and not entry["passed"] for entry in entries):
        return "failed"
    return "open" if any(entry["passed"] is None for entry in entries) else "passed"


def _pairs(entries: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(str(entry["pair"]) for entry in entries))


def _pair_name(pair: str) -> Html:
    """Return a pair's name that may break after the hyphen."""
    first, hyphen, rest = pair.partition("-")
    return join(first, hyphen, Html("<wbr>"), rest)


def _where(entry: Entry) -> str:
    dtype = f" in {entry['dtype']}" if entry["dtype"] else ""
    culprit = f", first at {entry['culprit']}" if entry["culprit"] else ""
    return f"rung {entry['rung']} {RUNGS[entry['rung']][0]}, {entry['pair']}{dtype}{culprit}"


def _count(entries: Sequence[Entry]) -> str:
    return f"{len(entries)} comparison{'s' if len(entries) != 1 else ''}"


def _not_run(entries: Sequence[Entry]) -> str:
    """Return which rungs were not run, or not on every pair: a proof says what it leaves out."""
    pairs = _pairs(entries)
    absent: list[str] = []
    partly: list[str] = []
    for number, (name, _) in enumerate(RUNGS):
        there = len({entry["pair"] for entry in entries if entry["rung"] == number})
        if there < len(pairs):
            (partly if there else absent).append(f"{number} {name}")
    notes = []
    if absent:
        notes.append(f"Not run: {', '.join(absent)}.")
    if partly:
        notes.append(f"Not run on every pair: {', '.join(partly)}.")
    return " ".join(notes) or "Every rung was climbed."


def _number(value: Any) -> float | None:
    """Return a value that can be compared, else None (JSON has no NaN or infinity)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return None
    return float(value)


def _short(value: Any, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "not a number"
    if not isinstance(value, (int, float)):
        return str(value)
    if math.isinf(value):
        return "infinite"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    text = f"{value:.{digits}g}" if abs(value) >= 1e-3 else f"{value:.{digits - 1}e}"
    number, exponent, power = text.partition("e")
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return f"{number}e{int(power)}" if exponent else number
