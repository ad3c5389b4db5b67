"""What is compared, as people name it: a recipe, a run's folder, or ``path/to/file.py:function``.

Reading a user's file and calling its function is here; what the objects are is in
``backends/_*/native.py``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Literal

from triptych.backends import registry
from triptych.backends.native import Native, Setup
from triptych.backends.protocol import DType
from triptych.errors import SetupError, TriptychError, did_you_mean, in_one_line

_PREPARED = {"torch": "torch", "keras": "keras", "tensorflow": "keras", "jax": "jax", "flax": "jax"}
"""Packages that a backend prepares before anything else imports them (types, threads, silence)."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        kind: ``recipe``, ``run`` (a folder) or ``code`` (a Python file and a function).
        text: as it was given.
        path: the file or folder; a recipe's name where it is a shipped one.
        function: of the file; empty for the others.
    """

    kind: Literal["recipe", "run", "code"]
    text: str
    path: str
    function: str = ""

    @property
    def name(self) -> str:
        """A short name for tables: the file without its folder and ending."""
        return Path(self.path).stem if self.kind == "code" else self.text


def parse(text: str) -> Side:
    """Return the side that a text names; nothing is read yet.

    Raises:
        SetupError: it is a Python file without a function.
    """
    path, _, function = text.rpartition(":")
    if path.endswith(".py") and function:
        return Side("code", text, path, function)
    if text.rstrip(":").endswith(".py"):
        raise SetupError(
            f"{text} names no function; write {text.rstrip(':')}:setup for its function setup"
        )
    folder = Path(text).is_dir()
    return Side("run" if folder else "recipe", text, text)


def build(side: Side, dtype: DType) -> Native:
    """Return a user's setup alive on its framework, in one type.

    Raises:
        SetupError: the file or the function is missing, it raises, or returns what does not fit.
    """
    setup = load(side)
    with _folder(side):
        return registry.build_native(setup, side.text, dtype)


@contextmanager
def asking(where: str, what: str) -> Iterator[None]:
    """Turn what a user's own code raises while it is asked into a sentence.

    Raises:
        SetupError: with the place, what was asked, and the error.
    """
    try:
        yield
    except TriptychError:
        raise
    except Exception as error:
        raise SetupError(f"{where}: {what} raises {in_one_line(error)}") from error


def load(side: Side) -> Setup:
    """Import a user's file and return the function; its folder is on ``sys.path`` meanwhile.

    Raises:
        SetupError: the file is missing or raises while it is imported, or has no such function.
    """
    path = Path(side.path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no file"
        raise SetupError(f"{side.text}: there is {what} {path}, expected a Python file")
    _prepare(path, side)
    module = _module(path, side)
    function = getattr(module, side.function, None)
    if not callable(function):
        own = [name for name, value in vars(module).items() if _is_own(value, module)]
        hint = did_you_mean(side.function, own)
        has = f"; it has {', '.join(own)}" if own else "; it has none"
        raise SetupError(f"{path} has no function {side.function!r}{hint}{has}")
    found: Setup = function
    return found


def _is_own(value: Any, module: Any) -> bool:
    return callable(value) and getattr(value, "__module__", "") == module.__name__


def _prepare(path: Path, side: Side) -> None:
    """Import the backends of the frameworks that a file names, before the file does."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise SetupError(f"{side.text}: {path} is no Python file{line}: {error}") from error
    named = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    for package in ("torch", "jax", "flax", "keras", "tensorflow"):
        if package in named:
            registry.get(_PREPARED[package])


def _module(path: Path, side: Side) -> Any:
    """The file as a module of a private name, by its path and text: an edited file is another."""
    key = str(path.resolve()).encode() + path.read_bytes()
    name = f"triptych_setup_{sha256(key).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _folder(side):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        text = "".join(str(error).splitlines()[:1])
        raise SetupError(
            f"{path} raises {type(error).__name__} when it is imported{_line(error, path)}: {text}"
        ) from error
    return module


def _line(error: BaseException, path: Path) -> str:
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""


@contextmanager
def _folder(side: Side) -> Iterator[None]:
    """Let a file import its neighbours, as it can when it is run."""
    folder = str(Path(side.path).resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
