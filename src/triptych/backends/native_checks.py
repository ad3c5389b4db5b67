"""Calling a user's function and saying in one sentence what is wrong with what it returns."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from triptych.backends.native import Setup
from triptych.backends.protocol import Params
from triptych.errors import BatchError, SetupError, did_you_mean, in_one_line

NEEDED = ("model", "optimizer", "loss", "batch")
OPTIONAL = ("scheduler", "clip", "name")


def call_setup(setup: Setup, where: str) -> dict[str, Any]:
    """Call a user's function and return its dict, checked as far as no framework is needed.

    Raises:
        SetupError: it raises, returns no dict, lacks a key, has an unknown one, or a loss or batch
            that can't be one.
    """
    try:
        found = setup()
    except Exception as error:
        raise SetupError(f"{where} raises {in_one_line(error)}{_line(error, where)}") from error
    if not isinstance(found, Mapping):
        raise SetupError(
            f"{where} returns {type(found).__name__}, expected a dict with the keys "
            f"{', '.join(NEEDED)}"
        )
    _check_keys(found, where)
    if not callable(found["loss"]):
        raise SetupError(
            f"{where}: 'loss' is {found['loss']!r}, expected a function of the output and the "
            "target (Keras: of the target and the output) or a loss object"
        )
    _check_batch(found["batch"], where)
    return dict(found)


def _check_keys(found: Mapping[str, Any], where: str) -> None:
    for key in found:
        if key not in (*NEEDED, *OPTIONAL):
            known = (*NEEDED, *OPTIONAL)
            raise SetupError(
                f"{where}: unknown key {key!r}{did_you_mean(str(key), known)}; "
                f"there are {', '.join(known)}"
            )
    for key in NEEDED:
        if found.get(key) is None:
            raise SetupError(
                f"{where}: the dict it returns lacks {key!r}; it needs {', '.join(NEEDED)}"
            )


def _check_batch(batch: Any, where: str) -> None:
    expected = "expected (input, target), two arrays with as many examples each"
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        number = f" of {len(batch)}" if isinstance(batch, (tuple, list, dict)) else ""
        raise SetupError(f"{where}: 'batch' is a {type(batch).__name__}{number}, {expected}")
    for name, part in zip(("input", "target"), batch, strict=True):
        if not hasattr(part, "shape") or not len(part.shape):
            what = type(part).__name__
            raise SetupError(f"{where}: 'batch' has a {what} as its {name}, {expected}")
    sizes = [int(part.shape[0]) for part in batch]
    if sizes[0] != sizes[1] or not sizes[0]:
        raise SetupError(
            f"{where}: 'batch' has {sizes[0]} inputs and {sizes[1]} targets, {expected}"
        )


def check_arrays(params: Params, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raise BatchError where params have other names or shapes than a model."""
    for name in dict.fromkeys([*shapes, *params]):
        given = params[name].shape if name in params else "missing"
        own = shapes.get(name, "unknown")
        if given != own:
            raise BatchError(f"{where}: params have {name} as {given}, the model as {own}")


def unfit(where: str, key: str, found: Any, expected: str) -> SetupError:
    """Return the error for a key whose object is of the wrong kind."""
    kind = type(found)
    return SetupError(
        f"{where}: {key!r} is a {kind.__module__}.{kind.__qualname__}, expected {expected}"
    )


def _line(error: BaseException, where: str) -> str:
    """`` (line 12)``: the last line of the user's own file that was running."""
    path = where.rsplit(":", 1)[0]
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.endswith(path.rsplit("/", 1)[-1])
    ]
    return f" (line {lines[-1]})" if lines else ""
