"""``evaluate``, as a person meets it."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from terminal import FRUIT, Command, once, triptych


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in it."""

    def make(folder: Path) -> None:
        words = ["train", *FRUIT, "--backend", "torch", "--threads", "1", "--out", "one"]
        assert triptych(*words, folder=folder).code == 0

    return once(tmp_path_factory, "evaluate", make)


def test_runs_beside_random_play_with_videos(folder: Path) -> None:
    words = ["evaluate", "one", "fruit", "--random", "--video", "--episodes", "20"]
    answer = triptych(*words, "--seed", "4", "--json", folder=folder)
    own, fruit, beside = answer.json["evaluations"]
    assert (own["who"], own["step"], own["exploration"]) == ("one", 450, 0.0)
    assert len(own["returns"]) == len(own["lengths"]) == 20
    assert {beside["exploration"], fruit["exploration"]} == {1.0}
    assert set(beside["lengths"]) == {3} and set(fruit["lengths"]) == {13}
    gap = own["mean"] - beside["mean"]
    error = (own["standard_error"] ** 2 + beside["standard_error"] ** 2) ** 0.5
    assert own["above_random"] == pytest.approx(gap / error)
    kept = json.loads((folder / "one" / "evaluation.json").read_text())["evaluations"]
    assert [entry["exploration"] for entry in kept] == [0.0, 1.0]
    assert kept[0].items() <= own.items() and kept[1].items() <= beside.items()
    videos = [path for path in own["files"] if path.endswith(".mp4")]
    assert videos and all((folder / path).stat().st_size > 500 for path in own["files"])
    shutil.rmtree(folder / "one" / "evaluation")

    page = triptych("report", "one", "--json", folder=folder).json["report"]
    text = (folder / page).read_text().partition('id="evaluations"')[2].partition("</section>")[0]
    assert f"{own['mean']:.4g} ± {own['standard_error']:.2g}" in text and "random play" in text
    assert f"{own['above_random']:.1f} s.e." in text

    shown = triptych("evaluate", "one", "--episodes", "4", "--exploration", "0.05", folder=folder)
    assert shown.code == 0 and shown.err == ""
    head, row, *_ = shown.out.splitlines()
    assert head.split()[:3] == ["player", "episodes", "mean"]
    assert row.startswith("one at step 450")
    kept = json.loads((folder / "one" / "evaluation.json").read_text())["evaluations"]
    assert len(kept) == 3


def test_an_interrupt_leaves_the_file_as_it_was(folder: Path) -> None:
    path = folder / "one" / "evaluation.json"
    triptych("evaluate", "one", "--episodes", "2", folder=folder)
    before = path.read_bytes()
    long = Command(["evaluate", "one", "--episodes", "2000000"], folder)
    with pytest.raises(Exception, match="timed out"):
        long.process.communicate(timeout=8)
    long.signal_group(signal.SIGINT)
    assert "interrupted; nothing is half made" in long.answer().check_refused()
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.glob(".*")] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nowhere",), "there is neither a run folder nor a recipe nowhere"),
        (("fruit", "--video"), "--video writes into a run's folder"),
        (("one", "--exploration", "1.5"), "expected a number from 0 to 1, got '1.5'"),
        (("one", "--exploration", "few"), "expected a number from 0 to 1, got 'few'"),
        (("one", "--episodes", "0"), "expected a whole number of 1 or more"),
        (("sparse-autoencoder",), "in which nobody acts or plays"),
        (("empty",), "empty is not a run folder"),
    ],
)
def test_wrong_requests_are_one_sentence(folder: Path, words: tuple[str, ...], sentence: str):
    (folder / "empty").mkdir(exist_ok=True)
    assert sentence in triptych("evaluate", *words, folder=folder).check_refused()
