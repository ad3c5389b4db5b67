"""PyTorch's files, read and written without ever running what is in them.

``torch.save`` archives are loaded with ``weights_only``; exported programs are checked first and
then loaded from a copy that holds nothing but what was checked, since ``torch.export.load`` would
unpickle and evaluate text. What the arrays mean is not known here.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.export import ExportedProgram

from triptych.errors import PortError, in_one_line

SAID = "triptych"
"""The key under which our own files say which network and rule their arrays belong to."""
_MODELS = ("model", "state_dict", "model_state_dict", "net", "network", "params")
_OPTIMIZERS = ("optimizer", "optimizer_state_dict", "optim", "optimizer_state")
_PREFIXES = ("module.", "_orig_mod.")
_LARGEST_TEXT = 100_000_000
_SPARE = 10_000_000
"""Bytes that an archive's directory and alignment may take beside what is in it."""


@dataclass(frozen=True)
class Held:
    """What a file of arrays holds.

    Attributes:
        arrays: by PyTorch's names, in the file's order; arrays with NaN or infinity are refused.
        optimizer: the optimizer's ``state_dict``, where there is one.
        said: what our own files say beside the arrays, as JSON text.
        ordered: whether the order of the arrays is that of the layers.
    """

    arrays: dict[str, Tensor]
    optimizer: Mapping[str, Any] | None = None
    said: str | None = None
    ordered: bool = True


def optimizer_path(path: Path) -> Path:
    """Return where the optimizer's state is kept beside a file that has no place for it."""
    return path.with_name(f"{path.stem}.optimizer.pt")


def is_program(path: Path) -> bool:
    """Return whether a file is an exported program, whatever its ending."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(
                name.endswith(("archive_format", "models/model.json"))
                for name in archive.namelist()
            )
    except (OSError, zipfile.BadZipFile):
        return False


# --- arrays --------------------------------------------------------------------------------------


def read(path: Path) -> Held:
    """Return the arrays of a ``.safetensors`` file, or of what ``torch.save`` wrote.

    Raises:
        PortError: it is broken or hostile, or holds no arrays by name.
    """
    if path.suffix == ".safetensors":
        return _safetensors(path)
    found = load(path)
    if not isinstance(found, Mapping):
        raise PortError(f"{path} holds a {type(found).__name__}, expected arrays by name")
    return _checkpoint(found, path)


def _safetensors(path: Path) -> Held:
    try:
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get(SAID)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, MemoryError, ValueError) as error:
        raise PortError(f"{path} is no whole safetensors file: {in_one_line(error)}") from None
    beside = optimizer_path(path)
    optimizer = load(beside) if beside.is_file() else None
    if optimizer is not None and not isinstance(optimizer, Mapping):
        raise PortError(f"{beside} holds a {type(optimizer).__name__}, expected a state_dict")
    return Held(_checked(arrays, path), optimizer, said, ordered=False)


def _checkpoint(found: Mapping[str, Any], path: Path) -> Held:
    """Tell the model's arrays from the optimizer's state and the rest."""
    arrays = next((found[key] for key in _MODELS if isinstance(found.get(key), Mapping)), None)
    optimizer = next(
        (found[key] for key in _OPTIMIZERS if isinstance(found.get(key), Mapping)), None
    )
    arrays = found if arrays is None else arrays
    tensors = {str(key): value for key, value in arrays.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(str(key) for key in list(found)[:5]) or "nothing"
        raise PortError(
            f"{path} holds no arrays by name (it has {keys}); expected a state_dict, or a dict "
            f"with one under {' or '.join(map(repr, _MODELS[:3]))}"
        )
    said = found.get(SAID)
    return Held(_checked(tensors, path), optimizer, said if isinstance(said, str) else None)


def _checked(arrays: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Refuse what is no plain finite array; take away the prefixes that wrappers add."""
    for name, array in arrays.items():
        where = f"{path}: {name}"
        if array.layout != torch.strided or array.device.type != "cpu" or array.is_complex():
            raise PortError(f"{where} is no plain array of real numbers")
        if array.numel() * array.element_size() > array.untyped_storage().nbytes():
            raise PortError(f"{where} announces more numbers than the file holds")
        if array.is_floating_point() and not bool(torch.isfinite(array).all()):
            raise PortError(f"{where} holds NaN or infinity; port a network that has not diverged")
    for prefix in _PREFIXES:
        if arrays and all(name.startswith(prefix) for name in arrays):
            arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays


def load(path: Path) -> Any:
    """Return what ``torch.save`` wrote, as far as it is arrays, numbers, text, dicts and lists."""
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's own errors are of any kind
        code = re.search(r"GLOBAL `?([\w.]+)", str(error))
        if code:
            raise PortError(
                f"{path} holds code or pickled objects ({code[1]}), which are never run; save the "
                "model's state_dict() alone: torch.save(model.state_dict(), path)"
            ) from None
        raise PortError(f"{path} can't be read: {in_one_line(error)}") from None


def _check_archive(path: Path) -> None:
    """Refuse what ``torch.save`` does not write, before any of it is loaded."""
    with _archive(path) as archive:
        for name in archive.namelist():
            if not name.endswith(".pkl"):
                continue
            if archive.getinfo(name).file_size > _LARGEST_TEXT:
                raise PortError(f"{path}: {name} is larger than any state_dict's own text")
            if b"bytearray" in archive.read(name):
                raise PortError(f"{path}: {name} asks for memory that the file does not hold")


def _archive(path: Path) -> zipfile.ZipFile:
    """Open an archive whose contents are plain: stored as they are, each once, inside."""
    try:
        archive = zipfile.ZipFile(path)
        size = path.stat().st_size
        entries = archive.infolist()
        damaged = _damaged(archive) if sum(e.file_size for e in entries) <= size + _SPARE else None
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise PortError(
            f"{path} is no whole archive as torch.save writes them ({in_one_line(error)}); files "
            "from before PyTorch 1.6 must be loaded and saved anew"
        ) from None
    names = [entry.filename.lower() for entry in entries]
    if any(name.endswith("/constants.pkl") for name in names):
        raise PortError(
            f"{path} is a TorchScript program, whose code can't be read as layers; export the "
            "model with torch.export, or save its state_dict()"
        )
    for entry in entries:
        if entry.filename.startswith(("/", "\\")) or ".." in Path(entry.filename).parts:
            raise PortError(f"{path}: the path {entry.filename!r} climbs out of the archive")
        if entry.compress_type != zipfile.ZIP_STORED or names.count(entry.filename.lower()) > 1:
            raise PortError(
                f"{path}: {entry.filename} is compressed or there twice, unlike PyTorch's"
            )
    if sum(entry.file_size for entry in entries) > size:
        raise PortError(f"{path} announces more than its {size:,} bytes")
    if damaged is not None:
        raise PortError(f"{path}: {damaged} is damaged: its checksum does not fit")
    return archive


def _damaged(archive: zipfile.ZipFile) -> str | None:
    """The first entry whose bytes are not those that were written."""
    return archive.testzip()


# --- programs ------------------------------------------------------------------------------------

_KEPT = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|models/model\.json"
    r"|data/sample_inputs/model\.pt|data/(weights|constants)/\w+(\.json)?"
)
_TARGET = re.compile(r"torch\.ops\.aten\.\w+\.\w+|_operator\.\w+|torch\.sym_\w+|math\.\w+")
_WORDS = re.compile(
    r"[su]\d+|Symbol|Integer|positive|integer|nonnegative|True|False|Add|Mul|Max|Min|FloorDiv|Mod"
)
_TREES = (None, "builtins.tuple", "builtins.list", "builtins.dict")
"""What a program's arguments and results may be packed in."""


def read_program(path: Path) -> ExportedProgram:
    """Return an exported program (``.pt2``).

    Raises:
        PortError: it is broken, or holds code, pickled objects or text to evaluate.
    """
    with _archive(path) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    parts = {name.split("/", 1)[-1]: content for name, content in parts.items()}
    for name in parts:
        if not _KEPT.fullmatch(name):
            raise PortError(f"{path}: {name} is no part of one exported program, or code: not read")
    _check_program(parts, path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as copy:
        for name, content in parts.items():
            copy.writestr(f"program/{name}", content)
    buffer.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(buffer)
    except Exception as error:
        raise PortError(f"{path} is no exported program that this PyTorch reads: "
                        f"{in_one_line(error)}") from None  # fmt: skip


def _check_program(parts: dict[str, bytes], path: Path) -> None:
    """Refuse what loading would execute: pickles, expressions, names of functions."""
    if "models/model.json" not in parts:
        raise PortError(f"{path} lacks models/model.json, the program's graph")
    for kind in ("weights", "constants"):
        config = _json(parts, f"data/{kind}/model_{kind}_config.json", path)
        for name, item in _items(config.get("config"), path):
            if not isinstance(item, dict) or item.get("use_pickle") is not False:
                raise PortError(f"{path}: {name} is a pickled object, which is never loaded")
            size = len(parts.get(f"data/{kind}/{item.get('path_name')}", b""))
            _check_extent(item.get("tensor_meta"), size, f"{path}: {name}")
    samples = parts.get("data/sample_inputs/model.pt", b"")
    if samples:
        try:
            torch.load(io.BytesIO(samples), weights_only=True)
        except Exception:
            raise PortError(f"{path}: its sample inputs hold code or pickled objects") from None
    program = _json(parts, "models/model.json", path)
    program["guards_code"] = []  # text that would be executed; our own checks take its place
    for key, value in _walk(program):
        _check_text(key, value, path)
    parts["models/model.json"] = json.dumps(program).encode()


def _check_extent(meta: Any, size: int, where: str) -> None:
    """An array must not announce more numbers than its bytes are."""
    try:
        count = 1
        for length in meta["sizes"]:
            count *= int(length["as_int"])
        if count < 0 or count > max(size, 1):
            raise PortError(f"{where} announces {count:,} numbers, but the file has {size:,} bytes")
    except (KeyError, TypeError, ValueError):
        raise PortError(f"{where} has no sizes that can be read") from None


def _check_text(key: str, value: Any, path: Path) -> None:
    """Refuse text that loading would evaluate or import by."""
    if key == "target" and not (isinstance(value, str) and _TARGET.fullmatch(value)):
        raise PortError(f"{path}: the operation {value!r} is not one of PyTorch's own")
    if key in ("expr_str", "range_constraints"):
        texts = [value] if key == "expr_str" else list(value or {})
        for text in texts:
            plain = re.fullmatch(r"[\w\s()+\-*/,='.]*", str(text))
            if not plain or any(
                not _WORDS.fullmatch(w) for w in re.findall(r"[A-Za-z_]\w*", str(text))
            ):
                raise PortError(f"{path}: the size {text!r} is more than arithmetic: not evaluated")
    if key in ("in_spec", "out_spec") and value:
        for name, kind in _walk(_parsed(str(value), path)):
            if (name == "type" and kind not in _TREES) or name == "__enum__":
                raise PortError(f"{path}: {key} packs values in {kind!r}, expected plain tuples")
        if "__enum__" in str(value) or "default_factory" in str(value):
            raise PortError(f"{path}: {key} names a module to import, which is not done")


def _items(found: Any, path: Path) -> list[tuple[str, Any]]:
    if not isinstance(found, dict):
        raise PortError(f"{path}: the list of its arrays can't be read")
    return list(found.items())


def _walk(data: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    waiting = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _json(parts: dict[str, bytes], name: str, path: Path) -> dict[str, Any]:
    text = parts.get(name, b"{}")
    if len(text) > _LARGEST_TEXT:
        raise PortError(f"{path}: {name} is larger than any program's own text")
    found = _parsed(text, path)
    if not isinstance(found, dict):
        raise PortError(f"{path}: {name} is no description of a program")
    return found


def _parsed(text: str | bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PortError(f"{path}: its description can't be read: {in_one_line(error)}") from None
