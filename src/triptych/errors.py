"""Every error a user can meet.

::

    TriptychError
    ├── RecipeError            a recipe is unknown, unreadable or holds mistakes
    ├── NetworkError           sizes do not fit, a node is unknown, a notation cannot be parsed
    ├── TaskError              an environment is unknown or its options are wrong
    ├── BackendError           a backend is unknown, or cannot do what is asked
    │   ├── MissingDependency  a package is not installed (the message holds its install command)
    │   └── Unsupported        the backend cannot express this exactly, and says so
    ├── SetupError             a user's own setup raises, lacks something or holds what does not fit
    ├── PortError              a file can't be ported: broken, hostile, or with an unknown op
    ├── BatchError             a batch, params or slots have the wrong names, shapes or types
    ├── RunError               a run folder exists already, is missing, or is not ours
    │   ├── CheckpointError    a checkpoint is corrupt, truncated or of another recipe
    │   └── StorageError       the disk is full or a folder cannot be written
    └── Interrupted            Ctrl-C: the run is saved and the message says how to go on

A message is one sentence or two: what is wrong, where, what was expected, what to do. The command
line prints it and leaves with exit code 2. Control flow and logging do not belong here.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TriptychError(Exception):
    """Base of every error that a user can meet; its text is fit to print as it is."""


class RecipeError(TriptychError):
    """A recipe is unknown, unreadable or holds mistakes."""


class NetworkError(TriptychError):
    """A network's sizes do not fit, a node is unknown, or a notation cannot be parsed."""


class TaskError(TriptychError):
    """An environment is unknown or its options are wrong."""


class BackendError(TriptychError):
    """A backend is unknown, or cannot do what is asked."""


class MissingDependency(BackendError):
    """A package is not installed; the message holds the command that installs it."""


class Unsupported(BackendError):
    """The backend cannot express this exactly, and says so rather than doing something close."""


class SetupError(TriptychError):
    """A user's own ``file.py:function`` raises, lacks a key or returns what does not fit."""


class PortError(TriptychError):
    """A file can't be ported: it is broken or hostile, or holds what has no canonical form."""


class BatchError(TriptychError):
    """A batch, params or slots have the wrong names, shapes or types."""


class RunError(TriptychError):
    """A run folder exists already, is missing, or is not one of ours."""


class CheckpointError(RunError):
    """A checkpoint is corrupt, truncated or belongs to another recipe."""


class StorageError(RunError):
    """The disk is full or a folder cannot be written."""


class Interrupted(TriptychError):
    """The user pressed Ctrl-C; the run is saved and the message says how to go on."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest known word, or an empty string."""
    close = get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def missing(package: str, extra: str, purpose: str) -> MissingDependency:
    """Return the error for a package that is not installed.

    Args:
        package: the importable package, such as ``torch``.
        extra: Triptych's extra that brings it, such as ``torch``.
        purpose: what needs it, as the sentence's subject, such as ``backend 'torch'``.
    """
    return MissingDependency(
        f"{purpose} needs the package {package!r}, which is not installed; "
        f"install it with: pip install 'triptych[{extra}]'"
    )


def in_one_line(error: BaseException) -> str:
    """Return an error's kind and the first line of its text; of TensorFlow's trace the last."""
    text = str(error).strip().splitlines()
    if text and text[0].startswith("in user code"):
        return text[-1].strip()
    return f"{type(error).__name__}: {text[0].strip()}" if text else type(error).__name__
