"""The command line: one file per command, and here what they share.

Exit code 0 means good, 1 means the answer is "no" (a rung failed), 2 means the request was wrong or
was interrupted: one clear sentence on standard error, no traceback. Every command has ``--json``.
A command's file has ``HELP``, ``add(parser)`` and ``run(args) -> int``.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, TextIO

from triptych.errors import TriptychError, did_you_mean

COMMANDS = (
    "recipes",
    "show",
    "train",
    "verify",
    "compare",
    "evaluate",
    "plot",
    "watch",
    "report",
    "port",
    "eject",
    "audit",
    "explain",
    "defaults",
    "inspect",
)


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Print the sentence and leave with exit code 2."""
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except TriptychError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted; nothing is half made, give the command again")
    except BrokenPipeError:  # the reader of our output has seen enough
        _silence(sys.stdout)
        return 0
    except MemoryError as error:
        return _fail(f"this needs more memory than there is: {error or 'allocation failed'}")
    except OSError as error:
        _silence(sys.stdout)
        place = f" {error.filename}" if error.filename else ""
        return _fail(f"the system refused a file{place}: {error.strerror or error}")


def _run(words: Sequence[str]) -> int:
    from triptych.engines.processes import speak_plainly

    speak_plainly()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _check_command(words)
    try:
        args = _parser().parse_args(words)
        args.words = words
        code: int = import_module(f"triptych.cli.{args.command}").run(args)
        return code
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    from triptych import __version__

    parser = _Parser(
        prog="triptych",
        allow_abbrev=False,
        description="Describe an agent once, train it natively in Keras, PyTorch and JAX, "
        "and prove that the three are the same.",
        epilog="Exit code: 0 good, 1 the answer is no (a rung failed), 2 the request was wrong or "
        "was interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"triptych {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f"triptych.cli.{name}")
        own = commands.add_parser(
            name, help=module.HELP, description=module.HELP, allow_abbrev=False
        )
        own.add_argument("--json", action="store_true", help="print JSON for machines")
        module.add(own)
    return parser


def _check_command(words: Sequence[str]) -> None:
    """Answer an unknown command with the nearest known one."""
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        hint = did_you_mean(words[0], COMMANDS)
        raise TriptychError(f"unknown command {words[0]!r}{hint}; there are {known}")


def _fail(sentence: str) -> int:
    print(f"triptych: {sentence}", file=sys.stderr)
    return 2


def _silence(stream: TextIO | None) -> None:
    """Let what a stream still holds go nowhere, so that the end of Python does not fail on it."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
