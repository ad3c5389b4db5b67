"""Wrong requests: one clear sentence, exit code 2, and nothing made."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from terminal import Answer

from triptych.cli import COMMANDS, main

TRAIN = ("train", "fruit", "--backend", "torch", "--out", "run")
FITS = "--set", "network=15x15x1 -> flatten -> dense 3"

WRONG: list[tuple[tuple[str, ...], str]] = [
    # commands and words
    ((), "arguments are required: COMMAND"),
    (("",), "unknown command ''; there are recipes, show"),
    (("tran",), "unknown command 'tran' (did you mean 'train'?)"),
    (("train", "--jso"), "unrecognized arguments: --jso"),
    (("show", "fruit", "extra"), "unrecognized arguments: extra"),
    # recipes
    (("show", "frut"), "unknown recipe 'frut' (did you mean 'fruit'?)"),
    (("show", ""), "unknown recipe ''"),
    (("show", "frühstück"), "unknown recipe 'frühstück'"),
    (("show", "../fruit"), "unknown recipe '../fruit'"),
    (("show", "my fruit.yaml"), "'my fruit.yaml' cannot be read: No such file"),
    (("show", "folder.yaml"), "'folder.yaml' cannot be read: Is a directory"),
    (("show", "binary.yaml"), "'binary.yaml' cannot be read: it is no UTF-8 text"),
    (("show", "broken.yaml"), "recipe 'broken': line 1 cannot be read"),
    # overrides
    (("show", "fruit", "--set", ""), "--set '': expected part.option=value"),
    (("show", "fruit", "--set", "=1"), "--set '=1': expected part.option=value"),
    (("show", "fruit", "--set", "task.grid"), "--set 'task.grid': expected part.option=value"),
    (("show", "fruit", "--set", "task.grid=[1"), "--set 'task.grid=[1': line 1 cannot be read"),
    (("show", "fruit", "--set", "about.x=1"), "'about' holds a value, not options"),
    (("show", "fruit", "--set", "task.gird=5"), "did you mean 'grid'?"),
    (("show", "fruit", "--set", "task.grid=4"), "must be a whole number, at least 5, but is 4"),
    (("show", "fruit", "--set", "algorithm.batch=1e9"), "algorithm.batch: expected a whole number"),
    (("show", "fruit", "--set", "about=\udcff"), "it holds characters that YAML forbids"),
    # networks
    (
        ("show", "fruit", "--set", "network=15x15x1 -> conv 4 9x9/2 -> conv 4 9x9 -> dense 3"),
        "node 'conv2': conv 4 9x9 does not fit: height 4 + padding 0 = 4 is smaller than the "
        "window of 9, so (4 - 9) / 1 + 1 is below 1",
    ),
    (
        (*TRAIN, "--set", "network=7x7x1 -> flatten -> dense 3"),
        "the network takes 7x7x1 but triptych/Fruit-v0 gives 15x15x1",
    ),
    (
        (*TRAIN, "--set", "network=15x15x1 -> flatten -> dense 5"),
        "the network gives 5 outputs but triptych/Fruit-v0 has 3 actions",
    ),
    (
        (*TRAIN, "--set", "network=15x15x1 -> flatten -> dense 99999999999 -> dense 3"),
        "this needs more memory than there is",
    ),
    (
        (*TRAIN, *FITS, "--set", "algorithm.replay=1000000000000000"),
        "needs 240,000,000.0 GB of memory",
    ),
    # backends
    (("train", "fruit"), "give the backend to train on: --backend torch, jax or keras"),
    (("train", "fruit", "--backend", "toch"), "unknown backend 'toch' (did you mean 'torch'?)"),
    (("train", "fruit", "--backend", ""), "unknown backend ''"),
    (("train", "fruit", "--backend", "numpy"), "backend 'numpy' computes in float64 only"),
    (("show", "fruit", "--backend", "kears"), "unknown backend 'kears' (did you mean 'keras'?)"),
    (("verify", "fruit", "--backends", "torch"), "needs two or more different backends"),
    (("verify", "fruit", "--backends", ",,"), "needs two or more different backends"),
    (("verify", "fruit", "--backends", "torch,numpy"), "'numpy' is the float64 oracle"),
    (("compare", "fruit", "--backends", "jax,jax"), "needs two or more different backends"),
    (("compare", "fruit", "--backends", "torch;jax"), "unknown backend 'torch;jax'"),
    # numbers and choices
    ((*TRAIN, "--seed", "-1"), "expected a whole number of 0 or more, got '-1'"),
    ((*TRAIN, "--seed", ""), "expected a whole number of 0 or more, got ''"),
    ((*TRAIN, "--seed", "9" * 5000), "expected a whole number of 0 or more, got '9999"),
    ((*TRAIN, "--threads", "0"), "expected a whole number of 1 or more, got '0'"),
    ((*TRAIN, "--threads", "1000000"), "the cores here, got '1000000'"),
    ((*TRAIN, "--dtype", "float16"), "invalid choice: 'float16'"),
    ((*TRAIN, "--budget", "longg"), "has no budget 'longg'; it has published, long (did you mean"),
    (("compare", "fruit", "--seeds", "0"), "expected a whole number of 1 or more, got '0'"),
    (("compare", "fruit", "--budget", ""), "recipe 'fruit' has no budget ''"),
    (("verify", "fruit", "--highest", "8"), "invalid choice: 8"),
    (("watch", "empty", "--episodes", "0"), "expected a whole number of 1 or more, got '0'"),
    # outcomes that cannot be judged
    (
        (*TRAIN, "--set", "task={environment: CartPole-v1}", "--set", "network=4 -> dense 2"),
        "outcome.episodes: null plays every start state, and only triptych/Fruit-v0 lists them",
    ),
    # places
    (("train", "fruit", "--backend", "torch", "--out", ""), "expected a path, got an empty text"),
    ((*TRAIN[:-1], "full", *FITS), "full exists and is not empty; choose another folder"),
    ((*TRAIN[:-1], "file", *FITS), "file is a file, not a folder"),
    ((*TRAIN[:-1], "file/run", *FITS), "cannot write file/run: Not a directory"),
    ((*TRAIN[:-1], "locked/a/b", *FITS), "cannot write locked/a/b: "),
    ((*TRAIN[:-1], "n" * 300, *FITS), "File name too long"),
    (("compare", "fruit", "--out", "full"), "full exists and is not empty; choose another folder"),
    (("compare", "fruit", "--out", "file"), "file is a file, not a folder"),
    (("compare", "fruit", "--out", "locked/c"), "cannot write locked/c: "),
    (("verify", "fruit", "--out", "empty"), "empty is a folder; give the name of a file"),
    (("verify", "fruit", "--out", "nowhere/c.json"), "there is no folder nowhere"),
    (("report", "empty", "--out", "empty"), "empty is a folder; give the name of a file"),
    # what is resumed, watched, reported
    (("train",), "give a recipe to train, such as 'fruit', or --resume FOLDER"),
    (("compare",), "give a recipe to compare, such as 'fruit', or --resume FOLDER"),
    (("train", "--resume", ""), "expected a path, got an empty text"),
    (("train", "--resume", "emty"), "there is no run folder emty (did you mean 'empty'?)"),
    (("train", "--resume", "empty"), "empty is not a run folder: it has no run.json"),
    (("train", "--resume", "damaged"), "damaged/run.json is not readable JSON"),
    (("train", "--resume", "edited"), "edited/run.json is damaged: 'backend' is None"),
    (("train", "fruit", "--resume", "full"), "as it was begun: leave out RECIPE"),
    (("train", "--resume", "full", "--seed", "0"), "as it was begun: leave out --seed"),
    (("compare", "--resume", "empty"), "empty is not a comparison: it has no compare.json"),
    (("compare", "--resume", "nowhere"), "there is no folder nowhere"),
    (("compare", "--resume", "edited"), "is a single run; go on with: triptych train --resume"),
    (("compare", "--resume", "plan"), "plan/compare.json is not a comparison's plan"),
    (("compare", "--resume", "full", "--seeds", "2"), "as it was begun: leave out --seeds"),
    (("watch", "nowhere"), "there is no run folder nowhere"),
    (("watch", "empty"), "empty is not a run folder: it has no run.json"),
    (("watch", "edited"), "edited/run.json is damaged: 'backend' is None"),
    (("report", "nowhere"), "there is no folder nowhere"),
    (("report", "empty"), "there are no runs in empty"),
    (("report", "edited"), "edited/run.json is damaged: 'backend' is None"),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with everything that can stand in the way."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    for folder in ("empty", "full", "folder.yaml", "damaged", "edited", "plan"):
        Path(folder).mkdir()
    Path("full/thesis.txt").write_text("years of work")
    Path("file").touch()
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    Path("broken.yaml").write_text("task: [1")
    Path("damaged/run.json").write_text('{"format": 1,')
    Path("edited/run.json").write_text('{"format": 1, "status": "running", "recipe": "fruit"}')
    Path("plan/compare.json").write_text("{}")
    # The system's own folder refuses even its administrator, whom no mode stops.
    Path("locked").symlink_to("/proc")
    return tmp_path


def ask(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> Answer:
    try:
        code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return Answer(code, out, err)


def tree(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("words", "expected"), WRONG, ids=[ascii(" ".join(words))[:60] for words, _ in WRONG]
)
def test_one_sentence_and_nothing_made(
    words: tuple[str, ...], expected: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(place)
    answer = ask(words, capsys)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("triptych")
    assert expected in answer.err
    assert "Traceback" not in answer.err
    if "mistake" not in answer.err:
        assert answer.err.count("\n") == 1
    assert tree(place) == before


def test_all_mistakes_of_a_recipe_are_listed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.yaml").write_text(
        "tsk: {}\n"
        "task: {environment: triptych/Fruit-v0, grid: 3}\n"
        "network: 15x15x1 -> conv 8 3x3 -> flaten -> dense 3\n"
        "algorithm: {name: dqn, discount: 2, batch: 8, replay: 4, exploration: 0.1}\n"
        "objective: {name: td_squard}\n"
        "optimizer: {name: adam, rate: -1}\n"
        "budgets: {short: {}}\n"
    )
    answer = ask(("show", "mine.yaml"), capsys)
    assert answer.code == 2
    first, *mistakes = answer.err.splitlines()
    assert first == f"triptych: recipe 'mine' has {len(mistakes)} mistakes:"
    for part in ("tsk", "task", "network", "algorithm.discount", "objective", "optimizer.rate"):
        assert any(line.startswith(f"  {part}") for line in mistakes), part
    assert any(line.startswith("  budgets.short: give episodes, steps") for line in mistakes)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_it_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask((command, "--help"), capsys)
    assert answer.code == 0
    assert answer.err == ""
    assert f"usage: triptych {command}" in answer.out
    assert "--json" in answer.out


def test_show_and_recipes_print_their_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fruit = ask(("show", "fruit", "--json"), capsys).json
    assert fruit["parameters"] == 196_483
    assert sum(layer["parameters"] for layer in fruit["layers"]) == 196_483
    kinds = [layer["kind"] for layer in fruit["layers"]]
    assert kinds == [
        "input", "conv", "relu", "conv", "relu", "flatten", "dense", "relu", "dense",
    ]  # fmt: skip
    invaders = ask(("show", "space-invaders", "--json"), capsys).json
    assert invaders["parameters"] == 1_816_998
    assert (
        ask(("show", "fruit", "--set", "task.grid=10", "--json"), capsys).json["parameters"]
        == 60_483
    )
    found = ask(("recipes", "--json"), capsys).json["recipes"]
    assert {item["name"]: item["parameters"] for item in found} == {
        "fruit": 196_483,
        "minatar-space-invaders": 132_596,
        "space-invaders": 1_816_998,
        "space-invaders-nature": 1_687_206,
        "space-invaders-short": 677_686,
        "sparse-autoencoder": 1_354,
    }
    assert os.listdir(".") and not Path("runs").exists()


def test_the_table_is_text(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(("show", "fruit"), capsys)
    assert answer.code == 0
    assert "196,483" in answer.out
    assert ask(("show", "fruit", "--set", "about=Äpfel 🍎"), capsys).out.startswith(
        "fruit: Äpfel 🍎"
    )
