"""Games by one word, and what is said of those that are not there: one sentence, exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from triptych.cli import main

pytest.importorskip("ale_py")


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == "" and "Traceback" not in told.err
    return told.err


@pytest.mark.parametrize(
    ("game", "actions"),
    [("ALE/SpaceInvaders-v5", 6), ("ALE/Breakout-v5", 4), ("ALE/Enduro-v5", 9)],
)
def test_another_game_by_one_word(
    game: str, actions: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "space-invaders", "--set", f"task.environment={game}", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["layers"][-1]["output"] == [actions]
    assert shown["parameters"] == 1_816_998 + (actions - 6) * 257


@pytest.mark.parametrize("command", ["show", "train"])
def test_an_unknown_game(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [command, "space-invaders", "--set", "task.environment=ALE/SpaceInvader-v5"]
    out = tmp_path / "run"
    words += ["--backend", "torch", "--out", str(out)] if command == "train" else []
    said = refused(words, capsys)
    assert "there is no environment 'ALE/SpaceInvader-v5'" in said
    assert "(did you mean 'ALE/SpaceInvaders-v5'?)" in said
    assert not out.exists()


def test_a_missing_rom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    out = tmp_path / "run"
    words = ["train", "space-invaders", "--backend", "torch", "--json", "--out", str(out)]
    said = refused(words, capsys)
    assert (
        f"the ROM of 'ALE/SpaceInvaders-v5', space_invaders.bin, is missing in {tmp_path}" in said
    )
    assert "pip install" in said and not out.exists()
