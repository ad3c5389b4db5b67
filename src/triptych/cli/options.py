"""Options that several commands share, checks of them, and how results are printed."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triptych.errors import BackendError, RecipeError, RunError, StorageError

ALL_BACKENDS = "torch,jax,keras"


def add_recipe(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """Add RECIPE and ``--set``."""
    parser.add_argument(
        "recipe",
        metavar="RECIPE",
        nargs="?" if optional else None,
        help="a shipped recipe's name, or the path of a .yaml file",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PART.OPTION=VALUE",
        help="change one value of the recipe, such as task.grid=10; may be repeated",
    )


def add_backends(parser: argparse.ArgumentParser) -> None:
    """Add ``--backends``."""
    parser.add_argument(
        "--backends",
        metavar="A,B,..",
        help="two or more of torch, jax and keras, separated by commas (all three)",
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add ``--seed``, None where it is not given."""
    parser.add_argument("--seed", type=whole, metavar="N", help="the seed (0)")


def whole(text: str, least: int = 0) -> int:
    """Read a whole number of ``least`` or more."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of {least} or more, got {brief(text)}"
        )
    return value


def positive(text: str) -> int:
    """Read a whole number of 1 or more."""
    return whole(text, least=1)


def threads(text: str) -> int:
    """Read a number of threads, of which there can be as many as cores."""
    value, most = positive(text), os.cpu_count() or 1
    if value > most:
        raise argparse.ArgumentTypeError(f"expected 1 to {most}, the cores here, got {brief(text)}")
    return value


def place(text: str) -> Path:
    """Read the path of a file or folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, got an empty text")
    return Path(text)


def brief(text: str) -> str:
    """Return a text in quotes, cut where it is long."""
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def names(text: str | None, oracle: bool = False) -> list[str]:
    """Split a list of backends at its commas and check that they can be compared.

    Args:
        text: such as ``torch,jax``; None for all three frameworks.
        oracle: whether ``numpy``, which knows float64 only, may be among them.

    Raises:
        BackendError: fewer than two, one twice, one unknown, or one not installed.
    """
    from triptych.backends import registry

    found = [part.strip() for part in (ALL_BACKENDS if text is None else text).split(",")]
    found = [part for part in found if part]
    registry.check_names(found)
    if len(found) < 2 or len(set(found)) < len(found):
        raise BackendError(
            f"--backends {text!r}: a comparison needs two or more different backends, "
            f"such as {ALL_BACKENDS}"
        )
    if "numpy" in found and not oracle:
        raise BackendError(
            "backend 'numpy' is the float64 oracle: it takes part in 'triptych verify "
            "--dtype float64' only; leave it out"
        )
    return found


def refuse_beside_resume(args: argparse.Namespace, others: tuple[str, ...]) -> None:
    """Raise RecipeError for options that a resumed run or comparison takes from its folder."""
    values = {name: getattr(args, name) for name in others}
    # Seed 0 is given too, and equals False.
    given = [n for n, v in values.items() if v is not None and v is not False and v != []]
    if given:
        words = ["RECIPE" if n == "recipe" else f"--{n.replace('_', '-')}" for n in given]
        raise RecipeError(f"--resume goes on as it was begun: leave out {', '.join(words)}")


def check_file(path: Path) -> Path:
    """Return the path of a file to be written, checked before long work begins.

    Raises:
        RunError: a folder stands there; StorageError: its folder is missing or not writable.
    """
    if path.is_dir():
        raise RunError(f"{path} is a folder; give the name of a file with --out")
    if not path.parent.is_dir():
        raise StorageError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"cannot write {path}: the folder {path.parent} is not yours to write")
    return path


def print_json(data: Any) -> None:
    """Print strict JSON: what is not finite becomes null."""
    print(json.dumps(strict(data), indent=2, default=str, allow_nan=False))


def strict(value: Any) -> Any:
    """Return plain data with ``None`` for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def command_line(args: argparse.Namespace) -> str:
    """Return the command as it was given, fit to paste into a shell."""
    return shlex.join(["triptych", *args.words])


def interactive(args: argparse.Namespace) -> bool:
    """Whether to draw progress bars: for people at a terminal."""
    return not args.json and sys.stderr is not None and sys.stderr.isatty()
