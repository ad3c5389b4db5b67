"""``triptych defaults``: what each framework does when nothing is said."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from triptych.cli.options import command_line, interactive, print_json

HELP = "probe what each installed framework does when nothing is said, factor by factor"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the frameworks."""
    parser.add_argument(
        "frameworks",
        metavar="FRAMEWORK",
        nargs="*",
        help="torch, keras, jax (all that are installed)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from triptych.parity import defaults
    from triptych.parity.certificate import installed_versions

    rows = defaults.table(args.frameworks or None, show=interactive(args))
    versions = installed_versions()
    if args.json:
        print_json({"command": command_line(args), "versions": versions, "rows": rows})
        return 0
    columns = [name for name in rows[0] if name not in ("factor", "key")]
    print(text(rows, columns))
    used = {"torch": "torch", "keras": "keras", "jax": "flax"}
    names = [f"{used[name]} {versions[used[name]]}" for name in columns if name in used]
    if "jax" in columns:
        names.append(f"optax {versions['optax']}")
    print(f"\nProbed from new objects of {', '.join(names)}; 'triptych explain FACTOR' says more.")
    return 0


def text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return the rows as a table; ``*`` marks those on which the frameworks part."""
    names = ["factor", "key", *columns]
    lines = [["", *names]] + [[_mark(row, columns), *(say(row[n]) for n in names)] for row in rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _mark(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """A star where two frameworks answer differently; our own column doesn't count."""
    found = [row[name] for name in columns if name != "triptych" and row[name] is not None]
    return "*" if any(value != found[0] for value in found) else ""


def say(value: Any) -> str:
    """Return a value in words; a dash where there is no such thing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "-" if value is None else str(value)
