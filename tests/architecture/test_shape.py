"""Sizes, names and docstrings: what keeps the code readable in one sitting."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from arrows import SOURCE, sources

MODULES = sources()
LINES, FUNCTION = 400, 60
LONG: dict[str, str] = {}
"""File or ``file:function`` that is longer than allowed, and why."""


def functions(source: str) -> list[tuple[str, int]]:
    """Name and length of every function, its decorators and docstring left out."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
            assert node.end_lineno is not None
            found.append((node.name, node.end_lineno - body[0].lineno + 2))
    return found


def too_long(module: str, source: str) -> list[str]:
    found = [module] if source.count("\n") > LINES else []
    found += [f"{module}:{name}" for name, length in functions(source) if length > FUNCTION]
    return [name for name in found if name not in LONG]


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_short(module: str) -> None:
    assert too_long(module, MODULES[module]) == []


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_holds(module: str) -> None:
    text = ast.get_docstring(ast.parse(MODULES[module]))
    assert text is not None and len(text.split()) >= 4


def test_long_code_is_found() -> None:
    assert too_long("x", "a = 1\n" * (LINES + 1)) == ["x"]
    body = "    a = 1\n" * FUNCTION
    assert too_long("x", f"def f():\n{body}") == ["x:f"]
    assert too_long("x", f'def f():\n    """{body}"""\n    a = 1\n') == []


def test_test_files_have_names_of_their_own() -> None:
    """Pytest imports them by their bare names, and refuses the second of a name."""
    counts = Counter(path.name for path in Path(__file__).parents[1].rglob("test_*.py"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_waivers_are_needed() -> None:
    for name in LONG:
        module, _, function = name.partition(":")
        lengths = dict(functions(MODULES[module]))
        assert lengths[function] > FUNCTION if function else MODULES[module].count("\n") > LINES


def test_backends_have_the_same_files() -> None:
    folders = sorted(
        path for path in (SOURCE / "backends").glob("_*") if (path / "model.py").exists()
    )
    assert [path.name for path in folders] == ["_jax", "_keras", "_numpy", "_torch"]
    files = {path.name: {file.name for file in path.glob("*.py")} for path in folders}
    extra = {name: own - files["_torch"] for name, own in files.items()}
    # The oracle's own mathematics: what frameworks bring along.
    assert extra == {
        "_torch": set(), "_jax": set(), "_keras": set(),
        "_numpy": {"activations.py", "differences.py"},
    }  # fmt: skip
    # Nobody writes a training or keeps a file for the oracle, so that it reads and writes neither.
    own = ("native", "rule_source.py")
    native = {name for name in files["_torch"] if name.startswith(own)}
    assert native >= {"native.py", "native_layers.py", "native_reading.py"}
    assert all(files["_torch"] <= own for name, own in files.items() if name != "_numpy")
    assert files["_torch"] - files["_numpy"] == native


def test_what_carries_files_over_begins_alike() -> None:
    """The frameworks' graphs don't fit one split; where to begin reading is the same."""
    begin = {
        "__init__.py", "porter.py", "graph.py", "files.py", "optimizers.py", "matching.py",
        "writing.py", "calls.py", "moves.py",
    }  # fmt: skip
    for name in ("_torch", "_jax", "_keras"):
        files = {path.name for path in (SOURCE / "backends" / name / "porting").glob("*.py")}
        assert begin <= files
