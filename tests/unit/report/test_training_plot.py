"""Training logs: what is read, refused, joined, averaged, and drawn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from triptych.errors import RunError
from triptych.report import training_plot
from triptych.report.training_logs import join, read_logs
from triptych.report.training_plot import plot_model_stats, training_lines
from triptych.runs.folder import RunFolder
from triptych.runs.metrics import MetricsLog

COLUMNS = ("episode", "frame", "running_reward", "max_reward", "epsilon", "loss")


def write(path: Path, backend: str, seed: int, rewards, steps: int = 10, recipe: str = "game"):
    """A run whose episodes last ``steps`` and whose running reward is given."""
    header = {"recipe": recipe, "backend": backend, "seed": seed}
    run = RunFolder.create(path, {"about": recipe, "logging": {"window": 5}}, header)
    with MetricsLog.create(run.metrics, COLUMNS) as log:
        for number, reward in enumerate(rewards, start=1):
            best = max(rewards[:number])
            loss = None if number < 3 else 1.0 / number
            row = (number, number * steps, reward, best, 0.5, loss)
            log.append(dict(zip(COLUMNS, row, strict=True)))
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write(tmp_path / "runs" / "a", "torch", 0, [1.0, 2.0, 6.0, 5.0])
    write(tmp_path / "runs" / "b", "torch", 1, [3.0, 4.0, 4.0, 9.0, 7.0], steps=20)
    write(tmp_path / "runs" / "c", "jax", 0, [0.0, 1.0, 2.0])
    return tmp_path / "runs"


def line(lines, label, x, y):
    (found,) = [each for each in lines if (each.label, each.x, each.y) == (label, x, y)]
    return found


def test_one_log_is_drawn_as_it_is(runs: Path) -> None:
    lines = training_lines(read_logs([runs / "a"]), more=("loss", "epsilon"))
    assert {(each.label, each.logs) for each in lines} == {("torch", 1)}
    running = line(lines, "torch", "frame", "running_reward")
    assert running.grid.tolist() == [10, 20, 30, 40]
    assert running.mean.tolist() == [1, 2, 6, 5]
    assert np.isnan(running.low).all()
    assert line(lines, "torch", "episode", "max_reward").mean.tolist() == [1, 2, 6, 6]
    loss = line(lines, "torch", "episode", "loss")
    assert (loss.grid.tolist(), loss.mean.tolist()) == ([3, 4], [1 / 3, 1 / 4])


def test_seeds_are_averaged_where_all_are_with_a_t_interval(runs: Path) -> None:
    lines = training_lines(read_logs([runs]))
    assert list(dict.fromkeys(each.label for each in lines)) == ["torch", "jax"]
    running = line(lines, "torch", "episode", "running_reward")
    assert running.logs == 2
    assert running.grid.tolist() == [1, 2, 3, 4]
    pairs = np.array([[1, 3], [2, 4], [6, 4], [5, 9]], float)
    assert running.mean.tolist() == pairs.mean(axis=1).tolist()
    expected = [stats.t.interval(0.95, 1, loc=pair.mean(), scale=stats.sem(pair)) for pair in pairs]
    np.testing.assert_allclose(np.stack([running.low, running.high], axis=1), expected)
    # Over frames the second seed is slower: both have values from 20 to 40 only.
    frames = line(lines, "torch", "frame", "running_reward")
    assert frames.grid.tolist() == [20, 30, 40]
    assert frames.mean.tolist() == [(2 + 3) / 2, (6 + 3.5) / 2, (5 + 4) / 2]


def test_joined_logs_go_on_counting(runs: Path) -> None:
    logs = read_logs([runs / "b", runs / "a"])
    whole = join(logs)
    assert whole.columns["episode"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert whole.columns["frame"].tolist() == [20, 40, 60, 80, 100, 110, 120, 130, 140]
    assert whole.columns["max_reward"].tolist() == [3, 4, 4, 9, 9, 9, 9, 9, 9]
    lines = training_lines(logs, join_logs=True)
    assert {each.joints for each in lines} == {(5.0,), (100.0,)}
    assert line(lines, "torch", "frame", "running_reward").mean[-1] == 5


def test_a_table_without_its_run_is_named_after_its_file(runs: Path, tmp_path: Path) -> None:
    for name, run in (("torch-seed0", "a"), ("torch-seed1", "b"), ("mine", "c")):
        (tmp_path / f"{name}.csv").write_bytes((runs / run / "metrics.csv").read_bytes())
    logs = read_logs([tmp_path / f"{name}.csv" for name in ("mine", "torch-seed0", "torch-seed1")])
    assert [(log.label, log.seed) for log in logs] == [("mine", None), ("torch", 0), ("torch", 1)]
    assert {each.label: each.logs for each in training_lines(logs)} == {"torch": 2, "mine": 1}
    assert len(read_logs([runs, runs / "a", runs / "a" / "metrics.csv"])) == 3


def test_other_values_of_a_recipe_are_another_line(runs: Path) -> None:
    write(runs / "d", "torch", 2, [1.0, 1.0], recipe="other")
    labels = {each.label for each in training_lines(read_logs([runs]))}
    assert labels == {"game torch", "game jax", "other torch"}


def test_one_seed_twice_is_no_interval(runs: Path) -> None:
    write(runs / "again", "torch", 1, [1.0, 1.0])
    with pytest.raises(RunError, match=r"are the same training, seed 1.*--join"):
        training_lines(read_logs([runs]))


def test_seeds_without_a_common_step_are_refused(runs: Path) -> None:
    write(runs / "late", "jax", 1, [1.0], steps=1000)
    with pytest.raises(RunError, match="no agent steps in common: one begins at 1000"):
        training_lines(read_logs([runs]))


GOOD = "episode,frame,running_reward,max_reward,epsilon,loss\n1,10,1.0,1.0,1.0,\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; plot needs the columns episode, frame"),
        ("a,b\n1,2\n", "columns episode, frame, running_reward, max_reward, and .*'a,b'"),
        ("\x00\x01\n", "is no log of an agent's training"),
        (GOOD.splitlines()[0] + "\n", "has no rows yet"),
        (GOOD + "2,20,1.0\n", "line 3 has 3 cells, expected 6"),
        (GOOD + "2,20,x,1.0,1.0,\n", "line 3, column 'running_reward' holds no number: 'x'"),
        (GOOD + "2,5,1.0,1.0,1.0,\n", "line 3 has 5 as its frame, which must not fall"),
        (GOOD + "2,,1.0,1.0,1.0,\n", "line 3 has nan as its frame"),
    ],
)
def test_what_is_no_log_is_refused_in_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "some.csv"
    path.write_text(text)
    with pytest.raises(RunError, match=words) as caught:
        read_logs([path])
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_places_without_logs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there are no runs in"):
        read_logs([tmp_path])
    with pytest.raises(RunError, match="there is no file or folder"):
        read_logs([tmp_path / "nowhere"])
    with pytest.raises(RunError, match="there is nothing to plot"):
        read_logs([])


@pytest.mark.parametrize("ending", [".png", ".svg"])
@pytest.mark.parametrize("side_by_side", [False, True])
def test_the_picture_is_the_same_twice(runs: Path, ending: str, side_by_side: bool) -> None:
    pytest.importorskip("matplotlib")
    out = runs / f"plot{ending}"
    plot_model_stats(runs, out=out, side_by_side=side_by_side, more=("epsilon",))
    first = out.read_bytes()
    assert first.startswith(b"\x89PNG" if ending == ".png" else b"<?xml")
    plot_model_stats(runs, out=out, side_by_side=side_by_side, more=("epsilon",))
    assert out.read_bytes() == first


def test_each_panel_draws_the_lines_that_belong_there(runs: Path) -> None:
    pytest.importorskip("matplotlib")
    over = plot_model_stats(str(runs))
    drawn = [[len(part.get_ydata()) for part in panel.get_lines()] for panel in over.axes]
    assert drawn == [[4, 3], [3, 3], [4, 3], [3, 3]]
    assert [len(panel.collections) for panel in over.axes] == [1, 1, 1, 1]
    beside = plot_model_stats([runs], side_by_side=True)
    assert [panel.get_title(loc="left") for panel in beside.axes[:2]] == ["torch (2 seeds)", "jax"]
    assert [len(panel.get_lines()) for panel in beside.axes] == [2, 2, 2, 2]
    colours = {part.get_color() for panel in beside.axes for part in panel.get_lines()}
    assert colours == {"#c96a00", "#0072b2"}


def test_a_picture_has_a_known_ending(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"must end in \.png or \.svg"):
        training_plot.check_ending(tmp_path / "plot.pdf")


def test_numbers_are_json(runs: Path) -> None:
    data = training_lines(read_logs([runs / "c"]))[0].data()
    assert data["seeds"] == 1 and math.isnan(data["low"][0])
    assert data["mean"] == [0.0, 1.0, 2.0]
