"""Evaluating a run: the same whatever is played beside it, kept with it, and shown again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from triptych.engines import evaluating, local, replay, setup
from triptych.errors import RecipeError, RunError, TaskError
from triptych.learn import evaluation
from triptych.learn.evaluation import held_out
from triptych.runs import evaluations
from triptych.runs.folder import RunFolder

VALUES = ("task.grid=6", "budgets.published.episodes=60", "algorithm.learning_starts=16",
          "algorithm.batch=16")  # fmt: skip


def silent(done: int, total: int, unit: str) -> None:
    """Tell nobody."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in float64."""
    recipe = setup.load_recipe("fruit", VALUES)
    path = tmp_path_factory.mktemp("evaluating") / "run"
    local.start(recipe, "torch", 0, path, dtype="float64").run()
    return path


@pytest.mark.parametrize("exploration", [0.0, 0.2])
def test_side_by_side_is_the_same_in_float64(run: Path, exploration: float) -> None:
    own = evaluating.trained(run)
    starts = held_out(0, 20)
    one = evaluating.play(own.recipe, own.learner, starts, exploration, games=1)
    several = evaluating.play(own.recipe, own.learner, starts, exploration, games=7)
    assert several == one
    assert len({episode.total for episode in one}) == 2


def test_an_evaluation_can_be_repeated_and_is_kept_once(run: Path) -> None:
    first = evaluating.evaluate_run(str(run), 12, 0.05, 3, silent)
    again = evaluating.evaluate_run(str(run), 12, 0.05, 3, silent)
    assert again == first
    greedy = evaluating.evaluate_run(str(run), 12, None, 3, silent)
    assert greedy.exploration == 0.0
    kept = evaluations.read(RunFolder.open(run))
    assert kept == [first.entry(), greedy.entry()]
    assert kept[0]["step"] == 60 * 4 and kept[0]["trained_by"] == "torch"
    assert kept[0]["lengths"] == [4] * 12
    more = evaluating.evaluate_run(str(run), 15, 0.05, 3, silent)
    assert more.returns[:12] == first.returns


def test_what_was_kept_is_told_beside_random_play(tmp_path: Path) -> None:
    recipe = setup.load_recipe("space-invaders")
    folder = RunFolder.create(tmp_path / "run", {"about": "x"}, {"backend": "torch"})
    assert evaluating.kept(folder, recipe) == []
    own = {"trained_by": "jax", "step": 10, "exploration": 0.05, "seed": 3, "episodes": 2}
    random = own | {"trained_by": None, "step": None, "exploration": 1.0, "returns": [100, 160]}
    other = own | {"seed": 4, "returns": [5.0]}
    evaluations.add(folder, [own | {"returns": [200.0, 300.0]}, random, other])
    first, beside, elsewhere = evaluating.kept(folder, recipe)
    assert first.items() >= own.items()
    assert (first["mean"], first["standard_error"]) == (250.0, pytest.approx(50.0))
    assert first["human_normalised"] == pytest.approx(100 * (250 - 148.0) / (1668.7 - 148.0))
    assert first["above_random"] == pytest.approx(120 / np.hypot(50.0, 30.0))
    # Random play from other starts is no measure, and random play is none of itself.
    assert beside["above_random"] is None and elsewhere["above_random"] is None


@pytest.mark.parametrize(
    "change",
    [{"returns": []}, {"returns": ["x"]}, {"returns": 5}, {"step": "soon"}, {"seed": None}],
)
def test_a_damaged_entry_is_one_sentence(tmp_path: Path, change: dict) -> None:
    folder = RunFolder.create(tmp_path / "run", {"about": "x"}, {"backend": "torch"})
    entry = {"trained_by": "jax", "step": 1, "exploration": 0, "seed": 3, "episodes": 1}
    evaluations.add(folder, [entry | {"returns": [1.0]} | change])
    with pytest.raises(RunError, match=r"evaluation\.json is damaged: an entry lacks who played"):
        evaluating.kept(folder, setup.load_recipe("fruit"))


def test_random_play_has_the_same_starts(run: Path) -> None:
    recipe = evaluating.trained(run).recipe
    found = evaluating.evaluate_random("run", recipe, 200, 3, silent)
    assert [episode.start for episode in found.played] == held_out(3, 200)
    assert found.summary()["mean"] < 0.3
    assert found.step is None and found.summary()["human_normalised"] is None


def test_a_run_that_goes_on_is_evaluated_at_its_newest_checkpoint(tmp_path: Path) -> None:
    recipe = setup.load_recipe("fruit", VALUES)
    local.start(recipe, "torch", 0, tmp_path / "part", until=20).run()
    own = evaluating.trained(tmp_path / "part")
    assert own.step == 20 * 4
    begun = recipe.initial.draw(recipe.network, 0)
    trained = own.learner.params()
    assert any(not np.array_equal(trained[name], begun[name]) for name in begun)


def test_whole_games_with_their_own_scores() -> None:
    pytest.importorskip("ale_py")
    values = ["task.life_loss=true", "task.reward_clipping=true", "task.noop_max=5"]
    recipe = setup.load_recipe("space-invaders", values)
    (episode,) = evaluating.play(recipe, None, held_out(0, 1), 1.0)
    # The least an invader gives is 5 points, and three lives take longer than one.
    assert episode.total >= 50 and episode.total % 5 == 0
    assert len(episode.actions) > 300
    shown = replay.pictures(recipe, episode, most=50)
    assert len(shown.frames) == 50 and shown.frames[0].shape == (210, 160, 3)


def test_pictures_are_of_the_episodes_that_were_counted(run: Path) -> None:
    counted = evaluating.evaluate_run(str(run), 3, None, 0, silent)
    shown = replay.play_run(run, 3, seed=0)
    assert [each.total for each in shown] == counted.returns
    assert [len(each.frames) for each in shown] == [5] * 3
    cut = replay.pictures(evaluating.trained(run).recipe, counted.played[0], most=2)
    assert len(cut.frames) == 2


def test_what_does_not_repeat_itself_is_not_shown(run: Path) -> None:
    counted = evaluating.evaluate_run(str(run), 1, None, 0, silent)
    played = counted.played[0]
    other = evaluation.Episode(played.start, -played.total, played.actions)
    with pytest.raises(TaskError, match="does not repeat itself"):
        replay.pictures(evaluating.trained(run).recipe, other)


def test_nobody_plays_on_a_dataset() -> None:
    recipe = setup.load_recipe("sparse-autoencoder")
    with pytest.raises(RecipeError, match="nobody acts or plays"):
        evaluating.play(recipe, None, held_out(0, 1), 1.0)


def test_different_games_are_counted() -> None:
    start = held_out(0, 1)[0]
    same = evaluation.Episode(start, 1.0, [0, 1])
    other = evaluation.Episode(start, 1.0, [1, 1])
    found = evaluating.Evaluation("x", "y", 0.0, 0, [same, other, same])
    assert (found.different, found.returns) == (2, [1.0] * 3)
