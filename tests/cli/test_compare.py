"""Comparing two backends from end to end, torn apart in the middle."""

from __future__ import annotations

import json
import shutil
import signal
import sys
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


# Rung 8: the scores of several seeds, on finished runs whose metrics are set by the test.


def several(folder: Path, name: str, scores: dict[str, list[float]], **changes: Any) -> Path:
    """A comparison of one run copied many times, with these metrics and outcome options."""
    made = folder / name
    for backend, metrics in scores.items():
        for seed, metric in enumerate(metrics):
            run = made / "runs" / f"{backend}-seed{seed}"
            start = folder / "two ways" / "runs" / f"{backend}-seed0"
            shutil.copytree(start, run, ignore=shutil.ignore_patterns("checkpoints"))
            told = header(run) | {"seed": seed, "metric": metric}
            (run / "run.json").write_text(json.dumps(told))
    plan = json.loads((folder / "two ways" / "compare.json").read_text())
    plan["seeds"] = list(range(len(scores["torch"])))
    plan["verify"] = False
    plan["data"]["outcome"] |= changes
    (made / "compare.json").write_text(json.dumps(plan))
    return made


CLOSE = {"torch": [0.90, 0.91, 0.92, 0.90], "jax": [0.91, 0.90, 0.91, 0.92]}
APART = {"torch": [0.90, 0.91, 0.92, 0.90], "jax": [0.70, 0.73, 0.71, 0.72]}
WIDE = {"torch": [0.90, 0.60, 0.92, 0.80], "jax": [0.91, 0.95, 0.51, 0.92]}


def test_equivalent_scores_are_exit_code_0(compared: dict[str, Any], folder: Path) -> None:
    several(folder, "close", CLOSE, deviation=0.01)
    answer = triptych("compare", "--resume", "close", folder=folder)
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0].startswith("rung 8: 4 seeds are enough to decide (power over 99% at a margin")
    assert any(line.startswith("Equivalent: the success rate of torch-jax") for line in lines)
    certificate = json.loads((folder / "close" / "certificate.json").read_text())
    rungs = [(rung["rung"], rung["verdict"], rung["passed"]) for rung in certificate["rungs"]]
    assert rungs == [(8, "equivalent", True)]
    assert certificate["outcome"]["backends"]["jax"]["scores"] == CLOSE["jax"]
    text = (folder / "close" / "report.html").read_text()
    assert "The outcome of many seeds" in text
    assert json.loads((folder / "close" / "forecast.json").read_text())["needed"] == 2


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: Any, made: Path) -> tuple[int, Any]:
    """Exit code and JSON of a resumed comparison, without the page."""
    from triptych import cli
    from triptych.cli import compare as command

    monkeypatch.setattr(command, "_draw", lambda folder, show: folder / "report.html")
    code = cli.main(["compare", "--resume", str(made), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("scores", "verdict", "passed"),
    [(APART, "different", False), (WIDE, "inconclusive", None)],
)
def test_any_other_outcome_is_exit_code_1(
    compared: dict[str, Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scores: dict[str, list[float]],
    verdict: str,
    passed: bool | None,
) -> None:
    code, shown = in_process(monkeypatch, capsys, several(folder, verdict, scores))
    assert (code, shown["passed"], shown["outcome"]["verdict"]) == (1, False, verdict)
    assert (
        shown["rungs"][-1] | {"rung": 8, "verdict": verdict, "passed": passed} == shown["rungs"][-1]
    )
    assert "would do" in shown["outcome"]["power"]["sentence"]


def test_the_forecast_stays_what_it_was_before_training(
    compared: dict[str, Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where all runs are there already, they are no pilot of themselves."""
    made = several(folder, "again", CLOSE, deviation=None)
    _, shown = in_process(monkeypatch, capsys, made)
    assert shown["outcome"]["power"]["power"] is None
    told = json.loads((made / "forecast.json").read_text()) | {"power": 0.5, "source": "a pilot"}
    (made / "forecast.json").write_text(json.dumps(told))
    _, shown = in_process(monkeypatch, capsys, made)
    assert shown["outcome"]["power"]["source"] == "a pilot"


def test_runs_that_are_there_are_the_pilot(compared: dict[str, Any], folder: Path) -> None:
    from triptych.cli.compare import _forecast
    from triptych.engines import comparison

    made = several(folder, "pilot", CLOSE, deviation=None)
    shutil.rmtree(made / "runs" / "jax-seed3")
    told = _forecast(made, comparison.read(made))
    assert told is not None and "from 7 earlier runs in the folder" in told["sentence"]


def test_one_seed_is_not_judged(compared: dict[str, Any], folder: Path) -> None:
    assert "outcome" not in compared and max(rung["rung"] for rung in compared["rungs"]) == 7
    assert not (folder / "two ways" / "forecast.json").exists()


def test_what_cannot_be_judged_is_refused_before_training(tmp_path: Path) -> None:
    words = ["compare", *FRUIT, "--backends", "torch,jax", "--seeds", "3", "--out", "x"]
    sentence = triptych(*words, "--set", "outcome.margin=null", folder=tmp_path).check_refused()
    assert (
        "recipe 'fruit' fixes no outcome.margin" in sentence and "outcome.margin=0.05" in sentence
    )
    assert not (tmp_path / "x").exists()


def test_without_statsmodels_several_seeds_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from triptych import cli

    monkeypatch.setitem(sys.modules, "statsmodels.stats", None)
    out = tmp_path / "x"
    code = cli.main(
        ["compare", *FRUIT, "--backends", "torch,jax", "--seeds", "3", "--out", str(out)]
    )
    assert code == 2 and not out.exists()
    assert "pip install 'triptych[outcome]'" in capsys.readouterr().err
