"""Comparing two backends from end to end, torn apart in the middle."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from terminal import FRUIT, Command, header, once, results, rows, triptych

pytestmark = pytest.mark.xdist_group("compare")
BACKENDS = ("torch", "jax")
COMPARE = ["compare", *FRUIT, "--backends", "torch,jax", "--out", "two ways"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "compare", compare)


@pytest.fixture(scope="module")
def compared(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "printed.json").read_text())


def compare(folder: Path) -> None:
    """Keep what ``compare --json`` printed after Ctrl-C and a kill of the first process alone."""
    runs = [folder / "two ways" / "runs" / f"{name}-seed0" for name in BACKENDS]
    first = Command([*COMPARE, "--json"], folder)
    first.wait_until(lambda: max(map(rows, runs)) >= 3)
    first.signal_group(signal.SIGINT)
    sentence = first.answer().check_refused()
    assert "triptych compare --resume 'two ways'" in sentence
    assert "interrupted" in [header(run)["status"] for run in runs if run.exists()]

    before = sum(map(rows, runs))
    resume = ["compare", "--resume", "two ways", "--json"]
    second = Command(resume, folder)
    second.wait_until(lambda: sum(map(rows, runs)) > before)
    second.process.kill()
    second.wait_for_orphans()
    assert sum(map(rows, runs)) < 60

    answer = triptych(*resume, folder=folder)
    assert answer.code == 0, answer.err
    assert answer.err == ""
    (folder / "printed.json").write_text(answer.out)


def test_json_has_its_shape(compared: dict[str, Any], folder: Path) -> None:
    assert compared["recipe"] == "fruit"
    assert compared["backends"] == list(BACKENDS)
    assert compared["passed"] is True
    rungs = {(rung["rung"], rung["pair"], rung["dtype"]) for rung in compared["rungs"]}
    climbed = {(n, "torch-jax", d) for n in range(7) for d in ("float64", "float32")}
    assert climbed | {(7, "torch-jax", "float64")} <= rungs
    for rung in compared["rungs"]:
        assert {"rung", "pair", "dtype", "passed", "value", "bound", "culprit"} <= set(rung)
        assert rung["passed"] and rung["value"] <= rung["bound"]
    assert [(run["backend"], run["seed"]) for run in compared["runs"]] == [("torch", 0), ("jax", 0)]
    for run in compared["runs"]:
        assert -1.0 <= run["metric"] <= 1.0
        assert header(folder / run["folder"])["metric"] == run["metric"]
    certificate = json.loads((folder / compared["certificate"]).read_text())
    assert certificate["rungs"] == compared["rungs"]
    assert certificate["sentence"].startswith("Proven equal")


def test_page_shows_both(compared: dict[str, Any], folder: Path) -> None:
    text = (folder / compared["report"]).read_text()
    assert text.count("data:image/webp") == 2
    assert "triptych compare fruit" in text
    for name in BACKENDS:
        assert name in text


@pytest.mark.parametrize("backend", BACKENDS)
def test_runs_are_those_of_train(compared: dict[str, Any], folder: Path, backend: str) -> None:
    alone = ["train", *FRUIT, "--backend", backend, "--threads", "1", "--out", f"alone-{backend}"]
    assert triptych(*alone, folder=folder).code == 0
    run = folder / "two ways" / "runs" / f"{backend}-seed0"
    assert results(run) == results(folder / f"alone-{backend}")


def test_a_red_rung_is_exit_code_1(compared: dict[str, Any], folder: Path) -> None:
    other = folder / "red"
    shutil.copytree(folder / "two ways", other, ignore=shutil.ignore_patterns("checkpoints"))
    certificate = json.loads((other / "certificate.json").read_text())
    (other / "certificate.json").write_text(json.dumps(certificate | {"passed": False}))
    answer = triptych("compare", "--resume", "red", folder=folder)
    assert answer.code == 1
    assert "the page is red/report.html" in answer.out


def test_verify_prints_its_json(folder: Path) -> None:
    words = ["verify", *FRUIT, "--backends", "torch,jax", "--highest", "4", "--dtype", "float64"]
    answer = triptych(*words, "--json", "--out", "proof.json", folder=folder)
    assert answer.code == 0
    shown = answer.json
    assert (shown["recipe"], shown["backends"], shown["passed"]) == (
        "fruit",
        ["torch", "jax"],
        True,
    )
    assert {rung["rung"] for rung in shown["rungs"]} == set(range(5))
    assert json.loads((folder / "proof.json").read_text()) == shown
