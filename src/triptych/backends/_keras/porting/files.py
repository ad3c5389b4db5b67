"""Keras' files, read with nothing in them believed: ``.keras``, whole ``.h5``, ``.weights.h5``.

Archive, configuration and arrays are looked through before Keras is let near them: nothing but
Keras' own classes, of which this project knows what they compute; no links, no array larger than
what is stored. So no code from a file runs, and no memory is taken that the file does not fill.
What is done with a model is in ``porting.py``.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from triptych.backends._keras.porting import calls, layers
from triptych.errors import PortError, in_one_line

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_STRUCTURE = "triptych_network"
_MOST_TEXT = 64_000_000
"""Bytes of a configuration."""
_MOST_TIMES = 100
"""How many times its stored size a packed array may have; trained numbers hardly shrink."""
_DEEPEST = 60
_MODULES = {
    None, "keras", "keras.layers", "keras.models", "keras.initializers", "keras.optimizers",
    "keras.optimizers.schedules", "keras.regularizers", "keras.constraints", "keras.activations",
    "keras.dtype_policies", "builtins", "keras.src.models.functional",
    "keras.src.models.sequential", "keras.src.engine.functional", "keras.src.engine.sequential",
}  # fmt: skip
_PLAIN = {"__keras_tensor__", "__tuple__", "__slice__", "__tensor__", "__numpy__", "__ellipsis__"}
_MODELS = {"Functional", "Model", "Sequential", "InputLayer"}
_FAMILIES = (
    keras.initializers, keras.regularizers, keras.constraints, keras.optimizers,
    keras.optimizers.schedules, keras.dtype_policies,
)  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """What a file holds.

    Attributes:
        config: of the model; None where the file holds arrays alone.
        optimizer: the optimizer's config, None where there is none.
        arrays: by their path in the file, such as ``layers/dense/vars/0``.
        names: by a group's path the name that Keras gives it: a layer's.
        orders: by a group's path the names of its arrays in Keras' order, in files of the old kind.
        structure: the network as plain data, which :func:`add_structure` left in the file.
    """

    config: dict[str, Any] | None
    optimizer: Any
    arrays: dict[str, np.ndarray]
    names: dict[str, str]
    orders: dict[str, list[str]]
    structure: Any = None

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return sum(array.size for array in self.arrays.values())

    @property
    def state(self) -> list[np.ndarray]:
        """The optimizer's arrays in Keras' order."""
        names = self.orders.get("optimizer_weights/weight_names")
        if names is not None:
            return [self.arrays[f"optimizer_weights/{name}"] for name in names]
        start = "optimizer/vars/"
        places = [place for place in self.arrays if place.startswith(start)]
        return [self.arrays[place] for place in sorted(places, key=lambda p: int(p[len(start) :]))]


def opened(path: Path) -> Opened:
    """Return what a file of Keras' holds, looked through.

    Raises:
        PortError: it is none, is not whole, or holds what could do harm.
    """
    try:
        if path.suffix == ".keras":
            return _archive(path)
        with h5py.File(path, "r") as file:
            return _old(file, path)
    except (zipfile.BadZipFile, OSError, RuntimeError, EOFError, NotImplementedError) as error:
        what = "a zip archive" if path.suffix == ".keras" else "an HDF5 file"
        raise PortError(f"{path} is not {what} that can be read: {in_one_line(error)}") from None
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise PortError(f"{path} is not a whole file of Keras': {in_one_line(error)}") from None


# --- archives ------------------------------------------------------------------------------------


def _archive(path: Path) -> Opened:
    with zipfile.ZipFile(path) as archive:
        _check_members(archive, path)
        config = _json(archive.read(CONFIG), path, CONFIG)
        metadata = _json(archive.read(METADATA), path, METADATA)
        weights = archive.read(WEIGHTS)
    with h5py.File(io.BytesIO(weights), "r") as file:
        arrays, names, orders = _contents(file, f"{path}: {WEIGHTS}")
    compiled = config.get("compile_config") or {}
    structure = metadata.get(_STRUCTURE)
    return Opened(config, compiled.get("optimizer"), arrays, names, orders, structure)


def add_structure(path: Path, network: Mapping[str, Any]) -> None:
    """Leave the network in a file's metadata, for classes and operations that are not read back.

    Keras reads a version and a date there and lets the rest be.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members[METADATA]) | {_STRUCTURE: network}
    members[METADATA] = json.dumps(metadata).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    names = archive.namelist()
    odd = [name for name in names if name not in (CONFIG, METADATA, WEIGHTS)]
    lacking = {CONFIG, METADATA, WEIGHTS} - set(names)
    if odd or len(set(names)) < len(names):
        what = repr(odd[0]) if odd else "one name twice"
        raise PortError(
            f"{path} holds {what}, but a model that can be ported is {CONFIG}, {METADATA} and "
            f"{WEIGHTS}; save it again with model.save"
        )
    if lacking:
        raise PortError(f"{path} lacks {min(lacking)}; save it again with model.save")
    limits = {CONFIG: _MOST_TEXT, METADATA: _MOST_TEXT}
    for info in archive.infolist():
        most = limits.get(info.filename, _MOST_TIMES * info.compress_size + _MOST_TEXT)
        if info.file_size > most:
            raise PortError(
                f"{path}: {info.filename} announces {info.file_size:,} bytes out of "
                f"{info.compress_size:,} stored, more than trained numbers can be"
            )


def _json(text: bytes | str, path: Path, what: str) -> dict[str, Any]:
    if len(text) > _MOST_TEXT:
        raise PortError(f"{path}: {what} has {len(text):,} bytes, at most {_MOST_TEXT:,} are read")
    config = json.loads(text)
    if not isinstance(config, dict):
        raise PortError(f"{path}: {what} is no model's configuration")
    return config


def _old(file: h5py.File, path: Path) -> Opened:
    arrays, names, orders = _contents(file, str(path))
    if "model_config" not in file.attrs:
        return Opened(None, None, arrays, names, orders)
    config = _json(file.attrs["model_config"], path, "model_config")
    training = file.attrs.get("training_config")
    said = {} if training is None else _json(training, path, "training_config")
    version = str(_text(file["model_weights"].attrs.get("keras_version", "1")))
    # Keras 2 orders an optimizer's arrays otherwise.
    optimizer = said.get("optimizer_config") if version.startswith("3") else None
    return Opened(config, optimizer, arrays, names, orders)


# --- arrays --------------------------------------------------------------------------------------


def _contents(
    file: h5py.File, where: str
) -> tuple[dict[str, np.ndarray], dict[str, str], dict[str, list[str]]]:
    """Arrays, names and orders of an HDF5 file, without following a link."""
    arrays: dict[str, np.ndarray] = {}
    names: dict[str, str] = {}
    orders: dict[str, list[str]] = {}
    for place, item in _walk(file, "", where, 0):
        if isinstance(item, h5py.Dataset):
            _check_array(item, f"{where}: {place}")
            arrays[place] = _finite(np.asarray(item), f"{where}: {place}")
            continue
        if "name" in item.attrs:
            names[place] = _text(item.attrs["name"])
        for key in ("weight_names", "layer_names"):
            found = _listed(item, key)
            if found:
                orders[f"{place}/{key}"] = found
    return arrays, names, orders


def _walk(group: h5py.Group, path: str, where: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _DEEPEST:
        raise PortError(f"{where}: {path[:80]} is nested deeper than any model")
    yield path, group
    for name in group:
        place = f"{path}/{name}".lstrip("/")
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise PortError(
                f"{where}: {place} is a link to another place ({type(link).__name__}), which is "
                "not followed; save the model again with model.save"
            )
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _walk(item, place, where, depth + 1)
        elif isinstance(item, h5py.Dataset):
            yield place, item
        else:
            raise PortError(f"{where}: {place} is neither a group nor an array")


def _check_array(item: h5py.Dataset, place: str) -> None:
    if item.external or item.is_virtual:
        raise PortError(f"{place} lies in another file, which is not read")
    if item.dtype.kind not in "fiub":
        raise PortError(f"{place} holds {item.dtype}, but arrays of numbers were expected")
    if item.shape is None:
        raise PortError(f"{place} is empty, but an array of numbers was expected")
    announced, stored = prod(item.shape) * item.dtype.itemsize, item.id.get_storage_size()
    packed = item.id.get_create_plist().get_nfilters() > 0
    if announced > (stored * _MOST_TIMES if packed else stored):
        raise PortError(
            f"{place} announces {announced:,} bytes of shape {item.shape}, but {stored:,} are "
            "stored"
        )


def _finite(array: np.ndarray, place: str) -> np.ndarray:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise PortError(
            f"{place} holds NaN or infinity, so that no port of it can be verified; port a network "
            "that has not diverged"
        )
    return array


def _listed(group: h5py.Group, key: str) -> list[str]:
    """A list of names that Keras keeps as an attribute, in pieces where it is long."""
    keys = [key] if key in group.attrs else []
    while not (keys and keys[0] == key) and f"{key}{len(keys)}" in group.attrs:
        keys.append(f"{key}{len(keys)}")
    return [_text(name) for one in keys for name in np.atleast_1d(group.attrs[one])]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# --- configurations ------------------------------------------------------------------------------


def check_config(config: Any, path: Path, known: Callable[[str], bool] | None = None) -> None:
    """Raise PortError for a class that is not Keras' own, or that has no canonical form.

    Args:
        config: a model's, or an optimizer's.
        path: of the file, for messages.
        known: says of a class of Keras' whether it may stand here; by default what is read.
    """
    allowed = known or _is_read
    for item in _objects(config, 0, path):
        name, module = item.get("class_name"), item.get("module")
        place = item.get("name") or (item.get("config") or {}) if known is None else ""
        place = place.get("name", "") if isinstance(place, dict) else place
        where = f"{path}: {place or name}"
        if not isinstance(name, str) or not isinstance(module, str | None):
            raise PortError(f"{path}: a class_name or module in it is no text")
        if name in ("function", "__lambda__") or name == "Lambda":
            _check_function(item, where)
        elif not _is_keras(name, module, item.get("registered_name")):
            raise PortError(
                f"{where} is a {name} of {module or 'its author'}, which is none of Keras' own and "
                "could only be run from the file, which is never done; give the model as your own "
                "file.py:function"
            )
        elif name not in _PLAIN and not allowed(name):
            raise PortError(f"{where} ({name}) has no canonical form")


def _objects(config: Any, depth: int, path: Path) -> Iterator[dict[str, Any]]:
    """Every dict in a configuration that stands for an object."""
    if depth > _DEEPEST:
        raise PortError(f"{path}: its configuration is nested deeper than any model's")
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from _objects(value, depth + 1, path)
    elif isinstance(config, list):
        for value in config:
            yield from _objects(value, depth + 1, path)


def _check_function(item: Mapping[str, Any], where: str) -> None:
    """An activation by its name is all that a function may be."""
    name, module = item.get("config"), item.get("module")
    fits = isinstance(name, str) and hasattr(keras.activations, name)
    if item["class_name"] != "function" or not fits or module not in _MODULES:
        raise PortError(
            f"{where} holds code of its own ({item['class_name']}), and no code from a file is "
            "run; use Keras' layers in its place, or give the model as your own file.py:function"
        )


def _is_keras(name: str, module: str | None, registered: Any) -> bool:
    own = registered in (None, "", name)
    ops = module is not None and module.startswith("keras.src.ops.")
    if ops:
        return own and f"{str(module)[len('keras.src.ops.') :]}.{name}" in calls.OPS
    return own and module in _MODULES and (name in _PLAIN or _of_keras(name))


def _of_keras(name: str) -> bool:
    return name in _MODELS | _operations() or _is_class(name, keras.layers, *_FAMILIES)


def _operations() -> set[str]:
    return {op.split(".")[1] for op in calls.OPS}


def _is_class(name: str, *places: Any) -> bool:
    return any(isinstance(getattr(place, name, None), type) for place in places)


def _is_read(name: str) -> bool:
    """Whether a class of Keras' is one that the graph's reader knows, or a constant's."""
    read = {kind.__name__ for kind in layers.LAYERS} | {op.split(".")[1] for op in calls.OPS}
    return name in read | _MODELS or _is_class(name, *_FAMILIES)


# --- loading -------------------------------------------------------------------------------------


@contextmanager
def no_more_than(count: int, path: Path) -> Iterator[None]:
    """Let layers make no more numbers than a file holds, before memory is taken for them."""
    made, before = 0, keras.layers.Layer.add_weight

    def counted(layer: Any, shape: Any = None, *rest: Any, **options: Any) -> Any:
        nonlocal made
        made += prod(int(size) for size in (shape or ()))
        if made > count:
            raise PortError(
                f"{path}: {layer.name} takes an array of {tuple(shape)}, with which the layers "
                f"need more than the {count:,} numbers in the file"
            )
        return before(layer, shape, *rest, **options)

    keras.layers.Layer.add_weight = counted
    try:
        yield
    finally:
        keras.layers.Layer.add_weight = before


def model_of(path: Path, found: Opened) -> Any:
    """Return the model of a whole file, loaded by Keras without its optimizer.

    Raises:
        PortError: it holds classes that are not Keras' own, or arrays that do not fit.
    """
    check_config(found.config, path)
    return _loaded(
        path, found.size, lambda: keras.saving.load_model(path, compile=False, safe_mode=True)
    )


def fill(model: Any, path: Path, found: Opened) -> None:
    """Load a file's arrays into a model of the user's own, by Keras."""
    _loaded(path, found.size, lambda: model.load_weights(path))


def _loaded(path: Path, count: int, load: Callable[[], Any]) -> Any:
    try:
        with no_more_than(count, path):
            return load()
    except PortError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise PortError(f"{path} can't be loaded by Keras: {text[:300]}") from None
