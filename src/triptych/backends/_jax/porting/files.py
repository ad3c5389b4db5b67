"""Files of Flax' arrays, read and written: safetensors, msgpack and Orbax folders.

Nothing in a file is executed or believed: sizes are checked against the file's own before anything
is made of them. Which array belongs where is in ``matching.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
from flax.serialization import msgpack_serialize
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from triptych.errors import PortError, in_one_line

Place = tuple[str, ...]
_SMALL = {"bfloat16": ml_dtypes.bfloat16, "float8_e4m3fn": ml_dtypes.float8_e4m3fn}
_DEEPEST = 100
"""Levels of a tree: no model has so many, and a recursion stays far from its limit."""


@dataclass(frozen=True)
class Stored:
    """What a file holds.

    Attributes:
        arrays: by the words of their paths.
        metadata: texts beside them.
        notes: what was turned on the way.
    """

    arrays: Mapping[Place, np.ndarray]
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read(path: Path) -> Stored:
    """Return the arrays in a file or folder, as they are in it.

    Raises:
        PortError: it is broken or hostile; the message says where.
    """
    if path.is_dir():
        stored = _orbax(path)
    elif path.suffix == ".safetensors":
        stored = _safetensors(path)
    elif path.suffix == ".msgpack":
        stored = _msgpack(path)
    else:
        raise PortError(
            f"{path.name} is no file of Flax'; give a .safetensors or .msgpack file, or the folder "
            "of an Orbax checkpoint"
        )
    if not stored.arrays:
        raise PortError(f"{path.name}: holds no arrays")
    return _checked(stored, path.name)


def words(name: str) -> Place:
    """``params/Conv_0/kernel`` or ``params.Conv_0.kernel`` -> their words."""
    return tuple(name.split("/") if "/" in name else name.split("."))


def _checked(stored: Stored, name: str) -> Stored:
    """Numbers only, no NaN or infinity; small floats are widened, which changes none of them."""
    arrays, widened = {}, False
    for place, array in stored.arrays.items():
        where = "/".join(place)
        if array.dtype.name in (*_SMALL, "float16"):
            array, widened = array.astype(np.float32), True
        if array.dtype.kind not in "fiub":
            raise PortError(f"{name}: {where} has type {array.dtype}, expected numbers")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise PortError(f"{name}: {where} holds NaN or infinity; port a network that is sound")
        arrays[place] = array
    note = ("arrays in 16 bits were widened to float32, which changes no number",) * widened
    return Stored(arrays, stored.metadata, (*stored.notes, *note))


# --- safetensors ---------------------------------------------------------------------------------


def _safetensors(path: Path) -> Stored:
    # The library checks the header against the file's size before it believes it.
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {words(name): _tensor(file, name, path) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise PortError(
            f"{path.name}: is no whole safetensors file: {in_one_line(error)}"
        ) from None
    return Stored(arrays, metadata)


def _tensor(file: Any, name: str, path: Path) -> np.ndarray:
    try:
        return np.asarray(file.get_tensor(name))
    except (TypeError, AttributeError, KeyError):
        kind = file.get_slice(name).get_dtype()
        raise PortError(
            f"{path.name}: {name} has type {kind}, which NumPy does not know; save it as F32"
        ) from None


def write_safetensors(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write arrays by name, and texts beside them."""
    save_file({name: np.asarray(a, order="C") for name, a in arrays.items()}, path, dict(metadata))


# --- msgpack -------------------------------------------------------------------------------------

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
"""Flax' own types in msgpack."""


def _msgpack(path: Path) -> Stored:
    """Flax' serialization, decoded here: Flax' own decoder believes every shape it is told."""
    data = path.read_bytes()
    with _refusing(path.name, "is no whole msgpack file of Flax'"):
        tree = msgpack.unpackb(data, ext_hook=_extension, raw=False, strict_map_key=False)
        return Stored(dict(_leaves(tree, (), path.name)))


def _extension(kind: int, data: bytes) -> Any:
    if kind not in (_ARRAY, _SCALAR):
        raise PortError(f"holds an object of type {kind}, expected arrays")
    shape, name, raw = msgpack.unpackb(data, raw=True, strict_map_key=False)
    name = name.decode("ascii")
    dtype = np.dtype(_SMALL.get(name) or name)
    if dtype.hasobject or (dtype.kind == "V" and name not in _SMALL):
        raise PortError(f"holds an array of type {name!r}, expected numbers")
    shape = tuple(shape)
    if any(not isinstance(size, int) or size < 0 for size in shape):
        raise PortError(f"holds an array of shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise PortError(
            f"holds an array of {shape} {name} in {len(raw):,} bytes, expected "
            f"{math.prod(shape) * dtype.itemsize:,}"
        )
    array = np.frombuffer(raw, dtype).reshape(shape)
    return array if kind == _ARRAY else array[()]


def _leaves(tree: Any, place: Place, name: str) -> Iterator[tuple[Place, np.ndarray]]:
    """The arrays of a tree by path; arrays that Flax cut into pieces are put together."""
    if len(place) > _DEEPEST:
        raise PortError(f"{name}: is nested deeper than {_DEEPEST} levels")
    if isinstance(tree, Mapping) and "__msgpack_chunked_array__" in tree:
        yield place, _whole(tree, place, name)
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, (*place, str(key)), name)
    elif isinstance(tree, (np.ndarray, np.generic, int, float)):
        yield place, np.asarray(tree)
    elif tree is not None and not isinstance(tree, str):
        where = "/".join(place)
        raise PortError(f"{name}: {where} is a {type(tree).__name__}, expected an array")


def _whole(tree: Mapping[Any, Any], place: Place, name: str) -> np.ndarray:
    shape = tuple(int(tree["shape"][str(axis)]) for axis in range(len(tree["shape"])))
    pieces = [np.asarray(tree["chunks"][str(part)]) for part in range(len(tree["chunks"]))]
    if math.prod(shape) != sum(piece.size for piece in pieces):
        where = "/".join(place)
        raise PortError(f"{name}: {where} is announced as {shape}, but its pieces hold other sizes")
    return np.concatenate(pieces).reshape(shape)


def _write_msgpack(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *outer, last = name.split(".")
        inner = tree
        for word in outer:
            inner = inner.setdefault(word, {})
        inner[last] = array
    path.write_bytes(msgpack_serialize(tree))


@contextmanager
def _refusing(name: str, what: str) -> Iterator[None]:
    """Say in one sentence what a decoder says in its own words."""
    try:
        yield
    except PortError as error:
        text = str(error)
        raise PortError(text if text.startswith(name) else f"{name}: {text}") from None
    except (Exception, RecursionError) as error:
        raise PortError(f"{name}: {what}: {in_one_line(error)}") from None


WRITERS: dict[str, Callable[..., None]] = {
    ".safetensors": write_safetensors,
    ".msgpack": _write_msgpack,
}
"""By a main file's ending."""


# --- Orbax ---------------------------------------------------------------------------------------

_ITEMS = ("default", "params", "state", "model", "model_params", "items")
"""Names under which a checkpoint's tree stands in the folder of a step."""
_MOST = 1000
"""How many times more bytes arrays may announce than their folder has: zeros pack well."""


def _orbax(path: Path) -> Stored:
    """The tree of an Orbax checkpoint, as NumPy arrays, without any topology of devices."""
    import orbax.checkpoint as ocp  # takes a second, and few need it

    folder = _tree_folder(path)
    _check_links(folder)
    with _refusing(path.name, "is no whole Orbax checkpoint"):
        handler = ocp.PyTreeCheckpointHandler()
        metadata = handler.metadata(folder)
        tree = getattr(metadata, "tree", metadata)
        _check_sizes(tree, folder, path.name)
        args = _map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        restored = handler.restore(folder, args=ocp.args.PyTreeRestore(restore_args=args))
        return Stored(dict(_leaves(_as_maps(restored), (), path.name)))


def _tree_folder(path: Path) -> Path:
    """The folder that holds the tree itself: this, one of its items, or its latest step."""
    if (path / "_METADATA").is_file():
        return path
    for item in _ITEMS:
        if (path / item / "_METADATA").is_file():
            return path / item
    steps = [folder for folder in path.iterdir() if folder.name.isdigit() and folder.is_dir()]
    if steps:
        return _tree_folder(max(steps, key=lambda folder: int(folder.name)))
    raise PortError(f"{path.name}: is a folder without the _METADATA of an Orbax checkpoint")


def _check_links(folder: Path) -> None:
    for inner in folder.rglob("*"):
        if inner.is_symlink():
            raise PortError(
                f"{folder.name}: {inner.name} is a link to another place; copy the file"
            )


def _check_sizes(tree: Any, folder: Path, name: str) -> None:
    there = sum(inner.stat().st_size for inner in folder.rglob("*") if inner.is_file())
    announced = 0
    for leaf in _flat(tree):
        shape, dtype = getattr(leaf, "shape", None) or (), getattr(leaf, "dtype", None)
        announced += math.prod(shape) * np.dtype(dtype or np.float64).itemsize
    if announced > _MOST * there:
        raise PortError(
            f"{name}: its arrays announce {announced:,} bytes, but the folder has {there:,}"
        )


def _as_maps(tree: Any) -> Any:
    """Lists and tuples in a tree as maps by number."""
    if isinstance(tree, (list, tuple)):
        tree = {str(place): value for place, value in enumerate(tree)}
    if isinstance(tree, Mapping):
        return {key: _as_maps(value) for key, value in tree.items()}
    return tree


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _map(function, value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_map(function, value) for value in tree)
    return function(tree)


def _flat(tree: Any) -> Iterator[Any]:
    inner = tree.values() if isinstance(tree, Mapping) else tree
    if isinstance(tree, (Mapping, list, tuple)):
        for value in inner:
            yield from _flat(value)
    else:
        yield tree
