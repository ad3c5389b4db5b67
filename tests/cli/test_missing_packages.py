"""What is said where a package is not installed: the command that installs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = """
import importlib.machinery, os, sys
blocked = set(os.environ["BLOCKED"].split(","))
find = importlib.machinery.PathFinder.find_spec.__func__
def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in blocked else find(cls, name, path, target)
importlib.machinery.PathFinder.find_spec = classmethod(find_spec)
"""

ASK = """
import contextlib, io, json, sys
from triptych.cli import main
answers = []
for words in json.loads(sys.argv[1]):
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(words)
        except SystemExit as stop:
            code = stop.code
    answers.append((code, err.getvalue()))
print(json.dumps(answers))
"""


def ask(folder: Path, blocked: str, *commands: str) -> list[tuple[int, str]]:
    """Run commands in a new process whose imports cannot find some packages."""
    (folder / "sitecustomize.py").write_text(BLOCK)
    words = json.dumps([command.split() for command in commands])
    environ = {**os.environ, "PYTHONPATH": str(folder), "BLOCKED": blocked}
    found = subprocess.run(
        [sys.executable, "-c", ASK, words],
        cwd=folder, env=environ, capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    return [(code, err) for code, err in json.loads(found.stdout)]


@pytest.mark.parametrize(
    ("backend", "package"), [("torch", "torch"), ("jax", "flax"), ("keras", "tensorflow")]
)
def test_backend(backend: str, package: str, tmp_path: Path) -> None:
    other = "jax" if backend != "jax" else "torch"
    answers = ask(
        tmp_path,
        package,
        f"train fruit --backend {backend} --out run",
        f"show fruit --backend {backend}",
        f"verify fruit --backends {other},{backend}",
        f"compare fruit --backends {other},{backend} --out both",
    )
    for code, err in answers:
        assert code == 2
        assert err == (
            f"triptych: backend {backend!r} needs the package {package!r}, which is not "
            f"installed; install it with: pip install 'triptych[{backend}]'\n"
        )
    assert not (tmp_path / "run").exists() and not (tmp_path / "both").exists()


def test_atari_and_pictures(tmp_path: Path) -> None:
    fruit = "--set task.grid=5 --set budgets.published.episodes=3 --backend torch --out run"
    atari, breakout, small, shown, training, watch = ask(
        tmp_path,
        "ale_py,minatar,PIL,tensorboard",
        "train space-invaders --backend torch --out atari",
        "train space-invaders --backend torch --out atari --set task.environment=ALE/Breakout-v5",
        "train minatar-space-invaders --backend torch --out atari",
        "show space-invaders --set task.environment=ALE/Breakout-v5",
        f"train fruit {fruit}",
        "watch run",
    )
    for answer, package, extra in (
        (atari, "ale_py", "atari"),
        (breakout, "ale_py", "atari"),
        (small, "minatar", "minatar"),
    ):
        assert answer[0] == 2
        assert f"needs the package {package!r}, which is not installed" in answer[1]
        assert f"pip install 'triptych[{extra}]'" in answer[1] and answer[1].count("\n") == 1
    assert shown == (0, "")  # a network's size needs no emulator
    assert not (tmp_path / "atari").exists()
    assert training == (0, "")
    note = json.loads((tmp_path / "run" / "run.json").read_text())["events"]
    assert "pip install 'triptych[report]'" in note
    assert watch[0] == 2
    assert "pip install 'triptych[report]'" in watch[1]
    assert watch[1].count("\n") == 1
