"""Output into pipes, full devices and closed streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = f"{sys.executable} -m triptych show fruit --json"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=folder, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    done = shell(f"{SHOW} | head -n 1", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")
    late = shell(f"{sys.executable} -m triptych show --help | true", tmp_path)
    assert late.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device(tmp_path: Path) -> None:
    done = shell(f"{SHOW} > /dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "triptych: the system refused a file: No space left on device\n"


def test_closed_streams_and_plain_ascii(tmp_path: Path) -> None:
    assert shell(f"{SHOW} >&-", tmp_path).returncode == 0
    assert shell(f"{SHOW} >&- 2>&-", tmp_path).returncode == 0
    ascii_only = f"PYTHONIOENCODING=ascii {sys.executable} -m triptych show fruit --set about=ä"
    done = shell(ascii_only, tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("fruit: \\xe4")
