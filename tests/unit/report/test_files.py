from __future__ import annotations

import errno
import os

import pytest

from triptych.errors import StorageError
from triptych.report.files import write_bytes


def test_writes_into_new_folders_and_returns_the_path(tmp_path):
    path = write_bytes(tmp_path / "a" / "b.bin", b"abc")
    assert path.read_bytes() == b"abc"
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = write_bytes(tmp_path / "page.html", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]
