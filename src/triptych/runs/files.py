"""Files that are either the old one or the new one, never half of each.

A file is written beside its place, synced and renamed; so is a folder. Every failure of the disk
becomes a :class:`~triptych.errors.StorageError` that says what to do. What is inside the files does
not belong here.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from triptych.errors import CheckpointError, RunError, StorageError

RUN_FILE = "run.json"
"""The file that makes a folder a run."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` while ``path`` is written into a ``StorageError`` naming it."""
    try:
        yield
    except OSError as error:
        raise _storage_error(path, error) from error


def _storage_error(path: Path, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return StorageError(
            f"the disk is full while writing {path}: {reason}; "
            f"free some space and {_next_step(path)}"
        )
    return StorageError(
        f"cannot write {path}: {reason}; "
        "give yourself the right to write there, or choose another folder with --out"
    )


def _next_step(path: Path) -> str:
    runs = [parent for parent in path.parents if os.path.isfile(parent / RUN_FILE)]
    return f"resume with: {resume_command(runs[0])}" if runs else "start again"


def resume_command(run: Path) -> str:
    """Return the command that goes on with a run, fit to paste into a shell."""
    return f"triptych train --resume {shlex.quote(str(run))}"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary handle whose content takes the place of ``path`` once it is all on the disk.

    After a failure ``path`` is as it was and nothing is left beside it.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    temporary = _temporary(path)
    with storage(path):
        try:
            with synced_file(temporary) as handle:
                yield handle
            os.replace(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes the place of ``path``, all of it, when filled.

    A folder that stands at ``path`` is replaced. After a failure it stands there still, and nothing
    is left beside it. Files inside must be synced by the caller (:func:`synced_file`).

    Raises:
        StorageError: the disk is full or the parent folder cannot be written.
    """
    temporary = _temporary(path)
    with storage(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            yield temporary
            sync_folder(temporary)
            _replace_folder(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _replace_folder(new: Path, path: Path) -> None:
    if not path.exists():
        os.replace(new, path)
        return
    # A rename cannot replace a folder that holds files, so the old one steps aside for a moment.
    old = path.with_name(f".{path.name}.old.tmp")
    shutil.rmtree(old, ignore_errors=True)
    os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def synced_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a new binary file that is on the disk, not in a cache, when the block ends."""
    with open(path, "wb") as handle:
        yield handle
        handle.flush()
        os.fsync(handle.fileno())


class Hashing:
    """Writes to a handle and hashes on the way, which spares reading the file again."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle, self._digest, self._size = handle, hashlib.sha256(), 0

    def write(self, data: bytes | memoryview) -> int:
        """Write all of the data; raises ``OSError`` as the handle does."""
        self._digest.update(data)
        self._size += len(data)
        return self._handle.write(data)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Of what was written: as :func:`fingerprint` of a file."""
        return {"size": self._size, "sha256": self._digest.hexdigest()}


def sync_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk, without which a rename may not survive a crash."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half written in ``folder``."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _temporary(path: Path) -> Path:
    # Always the same name, so that the next write clears what a killed process left.
    return path.with_name(f".{path.name}.tmp")


def open_append(path: Path) -> BinaryIO:
    """Open a file for :func:`append_bytes`; raises ``StorageError``."""
    with storage(path):
        return open(path, "ab", buffering=0)


def append_bytes(handle: BinaryIO, data: bytes) -> None:
    """Append all of ``data``, or nothing; it is in the system's hands on return.

    Raises:
        StorageError: the disk is full.
    """
    rest, before = memoryview(data), os.fstat(handle.fileno()).st_size
    with storage(Path(handle.name)):
        try:
            while rest:
                rest = rest[os.write(handle.fileno(), rest) :]
        except OSError:
            os.ftruncate(handle.fileno(), before)
            raise


def json_bytes(value: Any) -> bytes:
    """Return JSON with the keys in their order; NaN and infinities as Python writes them."""
    return (json.dumps(value, indent=2) + "\n").encode()


def yaml_bytes(value: Any) -> bytes:
    """Return YAML with the keys in their order."""
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None)
    return text.encode()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file atomically; raises ``StorageError``."""
    with atomic_file(path) as handle:
        handle.write(data)


def read_bytes(path: Path) -> bytes:
    """Return a file's content; raises ``RunError`` where it is missing or unreadable."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return a file's JSON object; raises ``RunError`` where it is missing or holds none."""
    try:
        value = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} must hold a JSON object, but holds {type(value).__name__}")
    return value


def fingerprint(path: Path) -> dict[str, Any]:
    """Return a file's ``size`` in bytes and its ``sha256`` in hexadecimal; raises ``OSError``."""
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def verify(path: Path, expected: Any) -> None:
    """Check a file against the :func:`fingerprint` that was noted when it was written.

    Raises:
        CheckpointError: it is missing, truncated or changed.
    """
    try:
        found = fingerprint(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    size = expected.get("size") if isinstance(expected, dict) else None
    if found["size"] != size:
        raise CheckpointError(f"{path} has {found['size']} bytes, but was written with {size}")
    if found != expected:
        raise CheckpointError(f"{path} is corrupt: its SHA-256 is not the one it was written with")
