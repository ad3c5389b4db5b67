"""``triptych audit``: every factor of two setups beside each other, and how to align them."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

from triptych.cli.options import print_json

if TYPE_CHECKING:
    from triptych.parity.audit import Audit, Row

HELP = "find every factor on which two setups differ, since when it matters, and the fix"

_SIDE = "a recipe, a run's folder, or path/to/file.py:function of your own native code"
_WIDTH = 28
"""Letters of a value that a table shows."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the two sides."""
    parser.add_argument("left", metavar="A", help=_SIDE)
    parser.add_argument("right", metavar="B", help="what to compare with it, the same kinds")
    parser.add_argument("--all", action="store_true", help="show the factors that are equal too")


def run(args: argparse.Namespace) -> int:
    """Audit; exit code 0 when every factor is equal, 1 when one differs."""
    from triptych.parity import sides
    from triptych.parity.audit import audit

    found = audit(sides.parse(args.left), sides.parse(args.right))
    if args.json:
        print_json(found.as_dict())
    else:
        print(text_of(found, args.all))
    return 1 if found.different else 0


def text_of(found: Audit, everything: bool = False) -> str:
    """Return the audit as text: a table, what each difference does, and how to align it."""
    rows = found.rows if everything else found.different
    lines = [f"left   {found.left}", f"right  {found.right}", ""]
    lines += _table(rows) if rows else []
    for page in dict.fromkeys(row.page for row in found.different):
        lines += ["", *_advice([row for row in found.different if row.page == page])]
    lines += ["", *(f"note: {note}" for note in found.notes)] if found.notes else []
    return "\n".join([*lines, "", sentence(found)])


def sentence(found: Audit) -> str:
    """Return the result in one sentence."""
    count = len(found.different)
    if not count:
        return f"Equal: all {len(found.rows)} factors"
    names = list(dict.fromkeys(row.page or row.factor for row in found.different))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"Different: {count} of {len(found.rows)} factors: {', '.join(names[:5])}{more}"


def _table(rows: tuple[Row, ...]) -> list[str]:
    wide = max(len(row.factor) for row in rows)
    cells = [(row, _short(row.left), _short(row.right)) for row in rows]
    first = max(len(left) for _, left, _ in cells)
    second = max(len(right) for _, _, right in cells)
    return [
        f"{' ' if row.equal else '≠'} {row.factor:<{wide}}  {left:<{first}}  {right:<{second}}"
        f"  {'' if row.equal else row.matters.partition(';')[0]}".rstrip()
        for row, left, right in cells
    ]


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = "-" if value is None else text
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _advice(rows: list[Row]) -> list[str]:
    """Return the lines on differences of one page: what they do, what to change, where to read."""
    first = rows[0]
    width = max(60, min(100, shutil.get_terminal_size().columns))
    names = ", ".join(row.factor for row in rows)
    values = f": {first.left} and {first.right}" if len(rows) == 1 else ""
    more = f"more: triptych explain {first.page}" if first.page else ""
    said = [f"{names}{values}", first.matters, first.fix, more]
    return [
        line
        for number, text in enumerate(said)
        if text
        for line in textwrap.wrap(
            text,
            width,
            initial_indent="  " * bool(number),
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]
