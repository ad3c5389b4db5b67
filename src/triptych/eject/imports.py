"""The imports of a script: gathered from its sections, those that are used, in ruff's order."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable

LATE = ("keras", "tensorflow")
"""Packages that read the environment when they are imported, so that they come after it is set."""


def split(text: str) -> tuple[list[ast.stmt], str]:
    """Return the imports at the top of a text, and the rest without empty lines around it."""
    nodes = ast.parse(text).body
    imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    last = max((node.end_lineno or 0 for node in imports), default=0)
    return list(imports), "\n".join(text.splitlines()[last:]).strip("\n")


def write(imports: Iterable[ast.stmt], body: str, between: str) -> str:
    """Return the lines that import what the body uses.

    Args:
        imports: from all sections.
        body: the script after its imports.
        between: the statements that stand before the late packages' imports; may be empty.
    """
    text = f"{between}\n{body}"
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    modules: set[tuple[str, str]] = set()
    names: dict[str, set[str]] = {}
    for node in imports:
        if isinstance(node, ast.Import):
            found = [item for item in node.names if (item.asname or item.name) in used]
            modules |= {(item.name, item.asname or "") for item in found}
        elif isinstance(node, ast.ImportFrom):
            own = {item.name for item in node.names} & used
            if own:
                names.setdefault(node.module or "", set()).update(own)
    groups: list[list[str]] = [[], [], []]
    for name, other in sorted(modules):
        groups[_group(name)].append(f"import {name}" + (f" as {other}" if other else ""))
    for name in sorted(names):
        groups[_group(name)].append(
            f"from {name} import {', '.join(sorted(names[name], key=_key))}"
        )
    texts = ["\n".join(group) for group in groups]
    return "\n\n".join(part for part in (*texts[:2], between, texts[2]) if part)


def _group(module: str) -> int:
    """0 for Python's own modules, 1 for packages, 2 for the late ones."""
    root = module.split(".")[0]
    return 0 if root in sys.stdlib_module_names else 2 if root in LATE else 1


def _key(name: str) -> tuple[int, str]:
    """Constants before classes before functions."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    return kind, name.lower()
