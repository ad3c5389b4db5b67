"""A run that is stopped, interrupted and moved between the frameworks, as a person does it."""

from __future__ import annotations

import csv
import math
import signal
from pathlib import Path

import pytest
from terminal import FRUIT, Command, header, rows, triptych

TRAIN = ["train", *FRUIT, "--dtype", "float64", "--threads", "1", "--set", "logging.episodes=1"]
WHOLE = ("episode", "frame", "running_reward", "max_reward", "epsilon")
"""Columns that the actions alone decide."""

for package in ("torch", "jax", "keras"):
    pytest.importorskip(package)


def table(run: Path) -> list[dict[str, str]]:
    with open(run / "metrics.csv", newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_run_goes_on_elsewhere(tmp_path: Path) -> None:
    answer = triptych(*TRAIN, "--backend", "torch", "--out", "home", "--json", folder=tmp_path)
    assert answer.json["status"] == "finished"

    first = [*TRAIN, "--backend", "keras", "--until", "60", "--out", "moved"]
    answer = triptych(*first, folder=tmp_path)
    command = "triptych train --resume moved"
    assert answer.out == f"moved: stopped at episode 60 of 150; go on with: {command}\n"
    assert answer.code == 0 and header(tmp_path / "moved")["status"] == "interrupted"

    on_jax = ["train", "--resume", "moved", "--backend", "jax", "--threads", "1"]
    second = Command(on_jax, tmp_path)
    second.wait_until(lambda: rows(tmp_path / "moved") >= 70)
    second.signal_group(signal.SIGINT)
    assert "go on with: triptych train --resume moved" in second.answer().check_refused()
    there = rows(tmp_path / "moved")

    last = ["train", "--resume", "moved", "--backend", "torch", "--json"]
    found = triptych(*last, folder=tmp_path).json
    assert (found["backend"], found["status"]) == ("torch", "finished")
    moves = header(tmp_path / "moved")["moves"]
    assert [move["backend"] for move in moves] == ["keras", "jax", "torch"]
    assert moves[1]["step"] == 180 and moves[2]["step"] >= 3 * there
    assert moves[1]["command"] == f"triptych {' '.join(on_jax)}"
    check_same(table(tmp_path / "moved"), table(tmp_path / "home"))

    page = triptych("report", "home", "moved", "--out", "page.html", folder=tmp_path)
    assert page.code == 0, page.err
    text = (tmp_path / "page.html").read_text()
    assert "keras, then jax, then torch" in text and moves[1]["command"] in text


def check_same(moved: list[dict[str, str]], home: list[dict[str, str]]) -> None:
    assert len(moved) == len(home) == 150
    for own, other in zip(moved, home, strict=True):
        assert [own[column] for column in WHOLE] == [other[column] for column in WHOLE]
        learnt = float(own["loss"]), float(other["loss"])
        assert math.isclose(*learnt, rel_tol=1e-9) or all(map(math.isnan, learnt))
