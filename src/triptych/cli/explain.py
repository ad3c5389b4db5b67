"""``triptych explain``: a factor's page on the terminal, as JSON or as HTML; or the list of all."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from dataclasses import asdict

from triptych.cli.options import check_file, place, print_json
from triptych.errors import TriptychError
from triptych.spec.catalogue import FRAMEWORKS, GROUPS, Factor, factor, factors

HELP = (
    "explain a factor on which two trainings can differ: what it is, what it does, how to align it"
)

_SIDES = {"any": "all", "torch": "PyTorch", "keras": "Keras", "jax": "JAX", "triptych": "recipe"}
_WIDEST = 100


def add(parser: argparse.ArgumentParser) -> None:
    """Add the factor and the file."""
    parser.add_argument(
        "factor",
        nargs="?",
        metavar="FACTOR",
        help="a factor such as epsilon-place, or an audit key such as optimizer.epsilon; "
        "without one, all factors are listed",
    )
    parser.add_argument(
        "--out", type=place, metavar="FILE", help="write the page with its picture as HTML"
    )


def run(args: argparse.Namespace) -> int:
    """Print the page or the list, or write the page."""
    if args.factor is None:
        if args.out is not None:
            raise TriptychError(
                "--out needs a factor, such as: triptych explain epsilon --out FILE"
            )
        _list(args.json)
        return 0
    page = factor(args.factor)
    if args.out is not None:
        _write(args, page)
    elif args.json:
        print_json(asdict(page))
    else:
        print(text(page, min(shutil.get_terminal_size().columns, _WIDEST)))
    return 0


def _write(args: argparse.Namespace, page: Factor) -> None:
    from triptych.report.factor_page import write_factor

    path = write_factor(check_file(args.out), page)
    if args.json:
        print_json({"factor": page.name, "page": str(path)})
    else:
        print(f"the page is {path}")


def _list(json: bool) -> None:
    if json:
        rows = [{"name": p.name, "title": p.title, "group": p.group} for p in factors()]
        print_json({"factors": rows})
        return
    width = max(len(page.name) for page in factors())
    for group in GROUPS:
        print(f"\n{group}")
        for page in (page for page in factors() if page.group == group):
            print(f"  {page.name.ljust(width)}  {page.title}")


def text(page: Factor, width: int) -> str:
    """Return a page as plain text, wrapped to ``width`` columns; code is left in one line."""
    parts = [page.title, "=" * len(page.title), f"{page.name} · {page.group}", ""]
    parts += [_wrapped(page.what, width), ""]
    parts += _formulas(page, width)
    for title, words in (("What one sees", page.effect), ("When it matters", page.matters)):
        parts += [title, _wrapped(words, width, "  "), ""]
    parts += ["How to align"]
    for side in (side for side in FRAMEWORKS if side in page.fix):
        parts.append(_line(side, page.fix[side], width, wrap=not page.advises_code(side)))
    parts += ["", "Sources", *(_wrapped(line, width, "  ", "    ") for line in page.source)]
    if page.plot:
        out = f"triptych explain {page.name} --out {page.name}.html"
        parts += ["", f"With a picture: {out}"]
    return "\n".join(parts)


def _formulas(page: Factor, width: int) -> list[str]:
    if not page.formulas:
        return []
    parts = ["What is computed"]
    for side in (side for side in FRAMEWORKS if side in page.formulas):
        formula = page.formulas[side]
        lines = [line for line in (formula.math, formula.code) if line]
        parts.append(_line(side, lines[0], width, wrap=lines[0] == formula.math))
        parts += [f"{' ' * 11}{line}" for line in lines[1:]]
    return [*parts, ""]


def _line(side: str, words: str, width: int, wrap: bool) -> str:
    """A line that begins with the framework's name; the rest is indented under it."""
    head = f"  {_SIDES[side]:<9}"
    return _wrapped(words, width, head, " " * 11) if wrap else f"{head}{words}"


def _wrapped(words: str, width: int, first: str = "", rest: str | None = None) -> str:
    return textwrap.fill(
        words,
        max(width, 40),
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
