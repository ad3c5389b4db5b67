"""Options that several commands share, and how results are printed."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from typing import Any


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
        default="torch,jax,keras",
        metavar="A,B,..",
        help="two or more of torch, jax and keras, separated by commas (all three)",
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add ``--seed``."""
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="the seed (0)")


def whole(text: str) -> int:
    """Read a whole number of 0 or more."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got {text!r}")
    return value


def names(text: str) -> list[str]:
    """Split a list at its commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


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


def command_line() -> str:
    """Return the command as it was typed, as far as it is ours."""
    return " ".join(["triptych", *sys.argv[1:]])


def interactive(args: argparse.Namespace) -> bool:
    """Whether to draw progress bars."""
    return not args.json
