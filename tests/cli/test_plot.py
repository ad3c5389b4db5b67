"""``plot``, as a person meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminal import triptych

HEAD = "episode,frame,running_reward,max_reward,epsilon,loss\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in (0, 1):
        rows = "".join(f"{n},{10 * n},{n + seed}.0,{n}.5,1.0,\n" for n in range(1, 30))
        (tmp_path / f"jax-seed{seed}.csv").write_text(HEAD + rows)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "torn.csv").write_text(f"{HEAD}1,10,1.0,1.0,1.0,\n2,20\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "none").mkdir()
    return tmp_path


def test_a_picture_and_its_numbers(folder: Path) -> None:
    shown = triptych("plot", "jax-seed0.csv", "jax-seed1.csv", "--json", folder=folder).json
    assert shown["plot"] == "plot.png"
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    lines = {(line["x"], line["y"]): line for line in shown["lines"]}
    assert set(lines) == {
        (x, y) for x in ("episode", "frame") for y in ("running_reward", "max_reward")
    }
    assert lines["frame", "running_reward"]["mean"][0] == 1.5
    assert lines["frame", "running_reward"]["label"] == "jax"
    words = ["plot", "jax-seed1.csv", "jax-seed0.csv", "--join", "--epsilon", "--side-by-side"]
    answer = triptych(*words, "--out", "one.svg", folder=folder)
    assert (answer.code, answer.out) == (0, "2 logs drawn to one.svg\n")
    assert "best so far" in (folder / "one.svg").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("other.csv",), "other.csv is no log of an agent's training: plot needs the columns"),
        (("empty.csv",), "empty.csv is empty"),
        (("torn.csv",), "torn.csv is damaged: line 3 has 2 cells, expected 6"),
        (("none",), "there are no runs in none"),
        (("nowhere",), "there is no file or folder nowhere"),
        (("jax-seed0.csv", "--loss"), "there is no loss to draw in jax-seed0.csv"),
        (("jax-seed0.csv", "--out", "x.pdf"), "must end in .png or .svg"),
        (("jax-seed0.csv", "--out", "gone/x.png"), "there is no folder gone"),
    ],
)
def test_wrong_requests_are_one_sentence(folder: Path, words: tuple[str, ...], sentence: str):
    assert sentence in triptych("plot", *words, folder=folder).check_refused()
    assert not (folder / "plot.png").exists()
