"""A factor's page as Markdown, and the command that writes all of them with their pictures.

``python -m triptych.report.factor_docs docs/factors`` writes ``README.md``, ``<slug>.md`` and
``<slug>.svg`` and removes pages of factors that are no more. The texts are in ``triptych/factors``;
the page for a browser is in ``factor_page.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from triptych.errors import StorageError, TriptychError
from triptych.report import effects
from triptych.report.files import write_bytes
from triptych.spec.catalogue import FRAMEWORKS, GROUPS, Factor, factors

SIDES = {
    "any": "all",
    "torch": "PyTorch",
    "keras": "Keras",
    "jax": "JAX (Flax, Optax)",
    "triptych": "a recipe",
}
"""How a page calls those whose formula or advice it gives."""

COMMAND = "python -m triptych.report.factor_docs docs/factors"


def texts() -> dict[str, str]:
    """Return every Markdown file of the catalogue, by file name."""
    pages = {f"{factor.name}.md": markdown(factor) for factor in factors()}
    return {"README.md": index()} | pages


def pictures() -> dict[str, str]:
    """Return every SVG picture of the catalogue, by file name."""
    drawn = {name: effects.draw(name) for name in {f.plot for f in factors()} if name}
    return {f"{factor.name}.svg": drawn[factor.plot] for factor in factors() if factor.plot}


def index() -> str:
    """Return the list of all factors by group, as Markdown."""
    lines = [
        "# Factors: what two trainings can differ on",
        "",
        f"{len(factors())} pages, also as `triptych explain FACTOR`. Written by `{COMMAND}` from "
        "`src/triptych/factors`; don't edit them here.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group[0].upper()}{group[1:]}", ""]
        own = [factor for factor in factors() if factor.group == group]
        lines += [f"- [{factor.title}]({factor.name}.md) (`{factor.name}`)" for factor in own]
    return "\n".join(lines) + "\n"


def markdown(factor: Factor) -> str:
    """Return a factor's page as Markdown."""
    parts = [f"# {factor.title}", f"`{factor.name}` · [{factor.group}](README.md)", factor.what]
    if factor.plot:
        words = effects.caption(factor.plot)
        parts += [f"![{words}]({factor.name}.svg)", f"*{words}*"]
    if factor.formulas:
        parts += ["## What is computed", _table(_formulas(factor), ("", "formula", "code"))]
    parts += ["## What one sees", factor.effect, "## When it matters", factor.matters]
    parts += ["## How to align", "\n".join(_advice(factor))]
    if factor.keys:
        keys = ", ".join(f"`{key}`" for key in factor.keys)
        parts += ["## In an audit", f"Rows whose keys match {keys}."]
    parts += ["## Sources", "\n".join(f"- {line}" for line in factor.source)]
    return "\n\n".join(parts) + "\n"


def _formulas(factor: Factor) -> list[tuple[str, str, str]]:
    sides = [side for side in FRAMEWORKS if side in factor.formulas]
    return [
        (SIDES[side], factor.formulas[side].math, _code(factor.formulas[side].code))
        for side in sides
    ]


def _advice(factor: Factor) -> list[str]:
    lines = []
    for side in (side for side in FRAMEWORKS if side in factor.fix):
        words = factor.fix[side]
        lines.append(f"- {SIDES[side]}: {_code(words) if factor.advises_code(side) else words}")
    return lines


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...]) -> str:
    """A table; bars are escaped, since they would end a cell."""
    every = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in every)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(words: Sequence[str]) -> int:
    """Write the pages into the folder that ``words`` names and return the exit code."""
    if len(words) != 1:
        print(f"triptych: expected one folder, such as: {COMMAND}", file=sys.stderr)
        return 2
    try:
        write(Path(words[0]))
    except TriptychError as error:
        print(f"triptych: {error}", file=sys.stderr)
        return 2
    return 0


def write(folder: Path) -> None:
    """Write all pages and pictures into a folder, and remove what is no factor's any more.

    Raises:
        StorageError: the folder cannot be written.
        MissingDependency: matplotlib is not installed.
    """
    files = texts() | pictures()
    for name, text in files.items():
        write_bytes(folder / name, text.encode())
    stale = [p for p in folder.glob("*") if p.suffix in (".md", ".svg") and p.name not in files]
    for path in stale:
        try:
            path.unlink()
        except OSError as error:
            raise StorageError(f"cannot remove {path}: {error.strerror or error}") from error
    print(f"{len(files)} files in {folder}, {len(stale)} removed")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
