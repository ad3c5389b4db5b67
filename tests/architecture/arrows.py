"""The import arrows of the house, as data, and the code that finds what breaks them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import triptych

SOURCE = Path(triptych.__file__).parent
FRAMEWORKS = {"torch", "jax", "flax", "optax", "keras", "tensorflow", "jaxlib", "haiku"}

_BASE = ("errors",)
_SPEC = (*_BASE, "spec")
_RUNS = (*_SPEC, "runs")
_PORT = (
    *_RUNS, "port",
    "backends.registry", "backends.protocol", "backends.carried", "backends.graph",
    "backends.graph_value", "backends.layout",
)  # fmt: skip
_EJECT = (
    *_SPEC, "envs", "eject",
    "backends.registry", "backends.protocol", "backends.layout", "backends.sourcing",
    "backends.templating",
)  # fmt: skip
_ENGINES = (
    *_RUNS, "learn", "envs", "data", "engines",
    "backends.registry", "backends.protocol", "backends.base",
)  # fmt: skip
_PARITY = (
    *_RUNS, "learn", "engines", "parity",
    "backends.registry", "backends.protocol", "backends.native",
)  # fmt: skip

ARROWS: dict[str, tuple[str, ...]] = {
    "errors": _BASE,
    "spec": _SPEC,
    "backends": (*_SPEC, "backends"),
    "learn": (*_SPEC, "learn", "backends.protocol"),
    "envs": (*_SPEC, "envs"),
    "eject": _EJECT,
    "data": (*_SPEC, "data"),
    "port": _PORT,
    "inspect": (*_SPEC, "inspect", "backends.protocol"),
    "runs": _RUNS,
    "engines": _ENGINES,
    "parity": _PARITY,
    "report": (*_RUNS, "report"),
    "testing": (*_SPEC, "testing", "parity", "learn", "backends"),
}
"""Part of the house: what it may import from the house. ``cli`` may import anything."""


def problems(module: str, source: str) -> list[str]:
    """Return a sentence for each import of a module's source that breaks an arrow.

    Args:
        module: its name below ``triptych``, such as ``learn.dqn``; a package ends in
            ``.__init__``.
        source: its text.
    """
    found = []
    for name in imports(module, source):
        top = name.split(".")[0]
        if top in FRAMEWORKS and not module.startswith("backends._"):
            found.append(f"{module} imports {name}: frameworks are for the backends' folders")
        if top == "triptych" and not _allowed(module, name.removeprefix("triptych").lstrip(".")):
            found.append(f"{module} imports {name}: against the arrows")
    return found


def _allowed(module: str, name: str) -> bool:
    part = module.split(".")[0]
    if part in ("cli", "__main__") or not name:
        return True
    if part == "__init__":
        return name == "errors"
    if module.startswith("backends._"):
        return _below(name, _SPEC) or _shared_or_own(module.split(".")[1], name)
    return _below(name, ARROWS[part])


def _shared_or_own(folder: str, name: str) -> bool:
    """Whether a backend's folder imports from itself or what all backends share."""
    package, _, rest = name.partition(".")
    there = rest.split(".")[0]
    if package != "backends" or not there or there == "registry":
        return False
    return there == folder or not there.startswith("_")


def _below(name: str, roots: tuple[str, ...]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def imports(module: str, source: str) -> Iterator[str]:
    """Yield the full name of everything a module imports, wherever in it."""
    tree = ast.parse(source)
    if module == "__init__":  # the public names' types, which are not imported when it runs
        tree.body = [node for node in tree.body if not _for_types_only(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _origin(module, node)
            # ``from triptych import spec`` and ``from triptych.spec import rules`` alike.
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            yield from (str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def _for_types_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"


def _called(node: ast.Call) -> str:
    return getattr(node.func, "id", "") or getattr(node.func, "attr", "")


def _origin(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = ["triptych", *module.split(".")][: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def sources() -> dict[str, str]:
    """Return the text of every module of the house by its name below ``triptych``."""
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in sorted(SOURCE.rglob("*.py"))
    }
