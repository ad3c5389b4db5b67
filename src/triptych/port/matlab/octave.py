"""Running ``.m`` functions in GNU Octave, or in MATLAB where its Engine for Python is installed.

Arrays go there and back in ``.mat`` files in a folder of their own. Samples are the first axis on
this side and the last one on the other. Running a ``.m`` file runs its code, so it is only ever one
that Triptych wrote or that the user named.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from triptych.errors import MissingDependency, PortError
from triptych.port.matlab import files
from triptych.spec.layers import Shape

VARIABLE = "TRIPTYCH_OCTAVE"
"""The environment variable that names Octave's program."""
_PROGRAMS = ("octave-cli", "octave")
_OPTIONS = ("--norc", "--quiet", "--no-window-system", "--no-history")
TIMEOUT = 600.0
"""Seconds that one run may take."""


def call(path: str | Path, inputs: np.ndarray, timeout: float = TIMEOUT) -> np.ndarray:
    """Return what a ``.m`` function of one argument makes of an array.

    The function is called once with all samples, the last axis: (samples, features) goes in as
    features x samples, (samples, height, width, channels) as height x width x channels x samples.

    Args:
        path: the file of the function, which bears its name.
        inputs: (samples, ...).
        timeout: in seconds.

    Returns:
        (samples, ...), the axes before the last of what the function gave.

    Raises:
        PortError: there is no such file, it fails (with its own message), takes too long, or gives
            something else than an array with as many samples.
        MissingDependency: neither Octave nor MATLAB is there.
    """
    return calls([(path, inputs)], timeout)[0]


def calls(
    items: Iterable[tuple[str | Path, np.ndarray]], timeout: float = TIMEOUT
) -> list[np.ndarray]:
    """Return what several functions make of an array each, all in one start; as :func:`call`."""
    found = list(items)
    with workplace() as folder:
        lines = [_line(Path(path), x, folder, k) for k, (path, x) in enumerate(found)]
        run("\n".join(lines), folder, timeout)
        answers = [files.read(folder / f"out{k}.mat").get("y") for k in range(len(found))]
    return [
        samples_first(y, len(x), None, Path(path).name)
        for y, (path, x) in zip(answers, found, strict=True)
    ]


def _line(path: Path, inputs: np.ndarray, folder: Path, k: int) -> str:
    """Return the statements of one call, and lay its input ready."""
    if path.suffix != ".m" or not path.is_file():
        raise PortError(f"there is no .m file {path}")
    if not is_name(path.stem):
        raise PortError(f"{path.name} can't be called: {path.stem!r} is no name of a function")
    files.write(folder / f"in{k}.mat", {"x": samples_last(inputs)}, "5")
    return (
        f"cd({quoted(path.absolute().parent)}); clear {path.stem};\n"
        f"in = load({quoted(folder / f'in{k}.mat')}); y = {path.stem}(in.x);\n"
        f"save({quoted(folder / f'out{k}.mat')}, 'y', '-v6');"
    )


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder for the files of one run, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="triptych-octave-") as name:
        yield Path(name)


def run(script: str, folder: Path, timeout: float = TIMEOUT) -> None:
    """Run statements in Octave, or in MATLAB where there is no Octave.

    Raises:
        PortError: they fail (with the first line of their own message) or take too long.
        MissingDependency: neither is there.
    """
    program = octave()
    if program is None:
        _run_matlab(script)
        return
    file = folder / "triptych_script.m"
    file.write_text(script + "\n", encoding="utf-8")
    try:
        done = subprocess.run(
            [program, *_OPTIONS, str(file)],
            cwd=folder, capture_output=True, text=True, timeout=timeout, errors="replace",
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise PortError(f"Octave was stopped after {timeout:g} seconds") from None
    except OSError as error:
        raise PortError(f"{program} can't be run: {error.strerror}") from None
    if done.returncode:
        raise PortError(f"Octave says: {_reason(done.stderr)}")


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("error:", "parse error"))]
    words = (told or lines or ["nothing, but fails"])[0].removeprefix("error: ")
    # A parse error's own words stand on the line after.
    return words + (f" {lines[1]}" if words.startswith("parse error") and len(lines) > 1 else "")


def _run_matlab(script: str) -> None:
    """Run statements in MATLAB by its Engine. Written from its documentation, never run here."""
    if not _has_engine():
        raise MissingDependency(
            "running .m functions needs GNU Octave, which is not installed; install it (Debian, "
            f"Ubuntu: apt-get install octave), name its program in {VARIABLE}, or install MATLAB's "
            "Engine for Python (pip install matlabengine)"
        )
    import matlab.engine

    engine = matlab.engine.start_matlab()
    try:
        engine.eval(script, nargout=0)
    except matlab.engine.MatlabExecutionError as error:
        raise PortError(f"MATLAB says: {str(error).strip().splitlines()[0]}") from None
    finally:
        engine.quit()


def _has_engine() -> bool:
    try:
        return find_spec("matlab.engine") is not None
    except ModuleNotFoundError:
        return False


def octave() -> str | None:
    """Return Octave's program, or None where there is none; raises PortError for a wrong name."""
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise PortError(f"{VARIABLE} is {named!r}, which is no program that can be run")
        return found
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


def runtime() -> str:
    """Return what runs ``.m`` functions, for people: ``GNU Octave 7.3.0``."""
    program = octave()
    if program is not None:
        return _version(program)
    return "MATLAB by its Engine" if _has_engine() else "GNU Octave (not installed)"


@cache
def _version(program: str) -> str:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return "GNU Octave"
    line = next(iter(done.stdout.splitlines()), "")
    return line.replace(", version", "") or "GNU Octave"


def quoted(path: Path) -> str:
    """Return a path as text of a statement."""
    return "'" + str(path).replace("'", "''") + "'"


def is_name(word: str) -> bool:
    """Whether a word can be the name of a MATLAB function or variable."""
    return word.isascii() and word.isidentifier() and word[0] != "_" and len(word) <= 63


def samples_last(inputs: np.ndarray) -> np.ndarray:
    """Return (samples, ...) as (..., samples), real numbers kept and all others as double."""
    array = np.moveaxis(np.asarray(inputs), 0, -1)
    return array if array.dtype == np.float32 else array.astype(np.float64)


def samples_first(y: Any, count: int, shape: Shape | None, what: str) -> np.ndarray:
    """Return what came back as (samples, ...); ``shape`` is of one sample, None where not known.

    MATLAB drops last axes of size 1, so that one sample's axis has to be put back.

    Raises:
        PortError: it is no array with so many samples.
    """
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "fiub":
        raise PortError(f"{what} gives no array of numbers")
    if shape is None:
        lost = count == 1 and not (y.ndim == 2 and y.shape[1] == 1)
        y = y[..., np.newaxis] if lost else y
        shape = y.shape[:-1]
    if y.size != prod(shape) * count:
        sizes = "x".join(map(str, y.shape))
        raise PortError(
            f"{what} gives {sizes}, whose last axis is not the {count} samples it was called with"
        )
    return np.moveaxis(y.reshape((*shape, count), order="F"), -1, 0)
