"""The command line: one file per command, and here what they share.

Exit code 0 means good, 1 means the answer is "no" (a rung failed), 2 means the request was wrong or
was interrupted: one clear sentence on standard error, no traceback. Every command has ``--json``.
A command's file has ``HELP``, ``add(parser)`` and ``run(args) -> int``.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from triptych.errors import TriptychError, did_you_mean

COMMANDS = ("recipes", "show", "train", "verify", "compare", "watch", "report")


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and leave with exit code 2."""
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _check_command(words)
    warnings.showwarning = _show_warning
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args = _parser().parse_args(words)
    try:
        code: int = import_module(f"triptych.cli.{args.command}").run(args)
        sys.stdout.flush()
        return code
    except TriptychError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted before anything was begun; nothing was changed")
    except BrokenPipeError:
        # The reader of a pipe has gone: what it wanted it has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        return _fail(f"the system refused a file{place}: {error.strerror or error}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="triptych",
        description="Describe an agent once, train it natively in Keras, PyTorch and JAX, "
        "and prove that the three are the same.",
    )
    from triptych import __version__

    parser.add_argument("--version", action="version", version=f"triptych {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"triptych.cli.{name}")
        own = commands.add_parser(name, help=module.HELP, description=module.HELP)
        own.add_argument("--json", action="store_true", help="print JSON for machines")
        module.add(own)
    return parser


def _check_command(words: Sequence[str]) -> None:
    """Answer an unknown command with the nearest known one."""
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        hint = did_you_mean(words[0], COMMANDS)
        raise SystemExit(_fail(f"unknown command {words[0]!r}{hint}; there are {known}"))


def _fail(sentence: str) -> int:
    print(f"triptych: {sentence}", file=sys.stderr)
    return 2


def _show_warning(message: Any, category: Any, *rest: Any, **more: Any) -> None:
    """Our own warnings as sentences; those of libraries are for developers and stay hidden."""
    if category is UserWarning and rest and "triptych" in str(rest[0]):
        print(f"triptych: warning: {message}", file=sys.stderr)
