"""From what a user names to its reader, and from a target to its writer.

A file is told by its ending and, where several frameworks share one, by what is in it. Adding a
format: its ending here, and a ``PORTER``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from triptych.backends import registry
from triptych.backends.carried import Given, Porter, Source
from triptych.errors import PortError, did_you_mean
from triptych.runs.files import RUN_FILE

SUFFIXES: dict[str, tuple[str, ...]] = {
    "torch": (".safetensors", ".pt", ".pth"),
    "jax": (".safetensors", ".msgpack"),
    "keras": (".keras", ".h5"),
    "onnx": (".onnx",),
    "matlab": (".mat",),
}
"""What a target's main file can end in; the first is written where a folder is asked for."""
TARGETS = tuple(SUFFIXES)
_FILES = {
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".pt": "torch",
    ".pth": "torch",
    ".bin": "torch",
    ".pt2": "torch",
    ".msgpack": "jax",
    ".onnx": "onnx",
    ".mat": "matlab",
}
_ORBAX = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt", "checkpoint")
_MOST = 100_000_000
"""Bytes of a safetensors header, as its own library allows."""


def porter(kind: str) -> Porter:
    """Return the reader and writer of a kind.

    Raises:
        PortError: there is none of that name.
        MissingDependency: a package is not installed.
    """
    _endings(kind)
    if kind in registry.FRAMEWORKS:
        return registry.porter(kind)
    found: Porter = import_module(f"triptych.port.{kind}").PORTER
    return found


def checker(to: str) -> str:
    """Return the backend that gives gradients and single layers for a target."""
    return to if to in registry.FRAMEWORKS else "numpy"


def suffix(to: str, out: Path) -> str:
    """Return the main file's ending: that of ``out`` where it is one, else the target's first.

    Raises:
        PortError: it is the ending of another target's file.
    """
    endings = _endings(to)
    if out.suffix in endings:
        return out.suffix
    if out.suffix in {*_FILES, ".safetensors"}:
        raise PortError(
            f"{out} can't be written for {to}, whose files end in {', '.join(endings)}; "
            "give such a name, or a folder, with --out"
        )
    return endings[0]


def _endings(kind: str) -> tuple[str, ...]:
    if kind not in SUFFIXES:
        hint = did_you_mean(kind, TARGETS)
        raise PortError(f"nothing can be ported to {kind!r}{hint}; there are {', '.join(TARGETS)}")
    return SUFFIXES[kind]


def read(path: Path, given: Given) -> Source:
    """Return the source in a file or folder, told by its ending and content.

    Raises:
        PortError: there is nothing there, it is of no known kind, or it can't be read.
    """
    return porter(kind_of(path, given)).read(path, given)


def kind_of(path: Path, given: Given) -> str:
    """Return whose file or folder this is; raises ``PortError``."""
    if not path.exists():
        raise PortError(f"there is no file {path}{_nearby(path)}")
    if path.is_dir():
        steps = [one for one in path.iterdir() if one.name.isdecimal() and one.is_dir()]
        if any((folder / name).exists() for folder in (path, *steps) for name in _ORBAX):
            return "jax"
        raise PortError(
            f"{path} is a folder, but neither a run ({RUN_FILE}) nor an Orbax checkpoint; "
            "give a file in it"
        )
    if path.suffix in _FILES:
        return _FILES[path.suffix]
    if path.suffix == ".safetensors":
        return _of_names(path, _names(path))
    known = ", ".join([*_FILES, ".safetensors"])
    raise PortError(f"{path} is of no kind that can be read; files end in {known}")


def _names(path: Path) -> list[str]:
    """The names of a safetensors file's arrays, from its header alone."""
    try:
        with open(path, "rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            size = path.stat().st_size
            if length > min(size - 8, _MOST):
                raise PortError(
                    f"{path} is not a whole safetensors file: its header announces {length:,} "
                    f"bytes and the file has {size:,}"
                )
            header = json.loads(handle.read(length))
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
            return [name for name in header if name != "__metadata__"]
    except (struct.error, ValueError, RecursionError) as error:
        raise PortError(f"{path} is not a readable safetensors file: {error}") from None


_SIGNS: dict[str, Callable[[str], bool]] = {
    "torch": lambda name: name.endswith((".weight", ".bias", "running_mean", "weight_ih_l0")),
    "jax": lambda name: name.replace("/", ".").endswith((".kernel", ".embedding", ".scale")),
}


def _of_names(path: Path, names: list[str]) -> str:
    """Whose arrays these are: Flax says ``kernel`` where PyTorch says ``weight``."""
    for kind in ("jax", "torch"):
        if any(_SIGNS[kind](name) for name in names):
            return kind
    some = ", ".join(names[:3]) or "none"
    raise PortError(
        f"{path} holds neither PyTorch's nor Flax' arrays: expected names such as fc1.weight or "
        f"fc1.kernel, found {some}"
    )


def _nearby(path: Path) -> str:
    try:
        return did_you_mean(path.name, [one.name for one in path.absolute().parent.iterdir()])
    except OSError:
        return ""
