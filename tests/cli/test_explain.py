"""``triptych explain``: pages, the list, JSON, HTML, and wrong requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_missing_packages import ask

from triptych.cli import main
from triptych.spec.catalogue import GROUPS, factors


def test_the_list_holds_every_factor_by_group(capsys) -> None:
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in GROUPS] == list(GROUPS)
    assert sum(line.startswith("  ") for line in lines) == len(factors())


@pytest.mark.parametrize("columns", ["40", "72", "200"])
def test_a_page_fits_the_terminal(columns: str, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["explain", "optimizer.epsilon"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Epsilon of an update rule\n===") and "How to align" in out
    prose = out.partition("What one sees")[2].partition("How to align")[0].splitlines()
    assert max(map(len, prose)) <= min(int(columns), 100)


def test_json_is_the_whole_page(capsys) -> None:
    assert main(["explain", "flatten-order", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["name"] == "flatten-order" and page["formulas"]["torch"]["code"]
    assert main(["explain", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["factors"]) == len(factors())


def test_the_html_page_is_written(tmp_path: Path, capsys) -> None:
    out = tmp_path / "page.html"
    assert main(["explain", "momentum", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"factor": "momentum", "page": str(out)}
    assert out.read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["explain", "momentun"], "unknown factor 'momentun' (did you mean 'momentum'?)"),
        (["explain", ""], "unknown factor ''"),
        (["explain", "--out", "x.html"], "--out needs a factor"),
        (["explain", "l2", "--out", "no/such/page.html"], "there is no folder no/such"),
        (["explain", "l2", "--out", "."], ". is a folder"),
    ],
)
def test_wrong_requests(words: list[str], sentence: str, capsys) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert sentence in err and len(err.splitlines()) == 1


def test_without_matplotlib_only_the_picture_is_missing(tmp_path: Path) -> None:
    plain, whole, bare = ask(
        tmp_path,
        "matplotlib",
        "explain epsilon",
        "explain epsilon --out page.html",
        "explain frame-cap --out bare.html",
    )
    assert plain[0] == 0 and bare[0] == 0
    assert whole[0] == 2 and "pip install 'triptych[report]'" in whole[1]
    assert not (tmp_path / "page.html").exists()
