"""Fitting to a dataset: which examples each update sees, rows, early ends, exact resume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from triptych.engines import setup
from triptych.errors import RecipeError
from triptych.learn.fitting import Fitting, Order

SMALL = ["task.size=3", "task.examples=23", "task.validation=9"]
SMALL += ["network=9 -> dense 3 sigmoid -> dense 9 sigmoid"]
PARTS = ["algorithm.batch=5", "objective={name: squared_error}", "logging.epochs=2"]
PARTS += ["optimizer={name: adam, rate: 0.02}"]


def fitting(*more: str, seed: int = 0) -> Fitting:
    recipe = setup.load_recipe("sparse-autoencoder", [*SMALL, "budgets.published.epochs=7", *more])
    learner = setup.make_learner(recipe, "torch", seed, "float64")
    made = setup.make_training(recipe, learner, seed)
    assert isinstance(made, Fitting)
    return made


def rows(made: Fitting) -> list[dict[str, float]]:
    return [row for row in made.rows() if row is not None]


def test_an_epoch_shows_every_example_once() -> None:
    order = Order(23, 5, seed=0)
    epochs = [[order.next() for _ in range(5)] for _ in range(2)]
    assert order.epoch_ended
    for batches in epochs:
        assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
        assert sorted(np.concatenate(batches)) == list(range(23))
    assert not np.array_equal(epochs[0][0], epochs[1][0])
    assert not np.array_equal(epochs[0][0], Order(23, 5, seed=1).next())


def test_all_examples_at_once_keep_their_order() -> None:
    order = Order(4, None, seed=0)
    assert [list(order.next()) for _ in range(2)] == [[0, 1, 2, 3]] * 2
    assert sorted(Order(4, 9, seed=0).next()) == [0, 1, 2, 3]


def test_rows_of_the_whole_batch() -> None:
    made = fitting()
    found = rows(made)
    assert [row["epoch"] for row in found] == [row["update"] for row in found] == list(range(1, 8))
    assert all(tuple(row) == made.columns for row in found)
    own, last = made.objective.objective, found[-1]  # type: ignore[attr-defined]
    total = last["error"] + own.l2 * last["weights"] + own.sparsity * last["sparsity"]
    assert last["loss"] == pytest.approx(total, rel=1e-13)
    assert last["validation_error"] == made.validation_error()
    assert made.progress() == (7, 7, "epoch") and made.finished
    assert found[-1]["loss"] < found[0]["loss"]


def test_rows_of_parts_and_the_columns_without_terms() -> None:
    made = fitting(*PARTS)
    found = rows(made)
    assert [(row["epoch"], row["update"]) for row in found] == [(2, 10), (4, 20), (6, 30), (7, 35)]
    assert made.columns == ("epoch", "update", "loss", "gradient", "validation_error")
    gradients = made.learner.gradients(made.train).values()
    length = np.sqrt(sum(np.square(g).sum() for g in gradients))
    assert found[-1]["gradient"] == pytest.approx(length, rel=1e-12)


def test_it_ends_where_there_is_nothing_left_to_learn() -> None:
    made = fitting("algorithm.min_gradient=0.5", "logging.epochs=100")
    (row,) = rows(made)
    assert row["gradient"] <= 0.5 and row["epoch"] == made.epochs < 7


@pytest.mark.parametrize("more", [(), PARTS])
def test_stopped_anywhere_it_goes_on_to_the_same_bits(more: list[str]) -> None:
    whole, torn = fitting(*more), fitting(*more)
    expected = rows(whole)
    steps = torn.rows()
    before = [next(steps) for _ in range(3)]
    again = fitting(*more, seed=5)
    again.restore(torn.state())
    assert [row for row in before if row] + rows(again) == expected
    for name, array in whole.learner.params().items():
        assert array.tobytes() == again.learner.params()[name].tobytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("network=8 -> dense 9 sigmoid -> dense 9", "the network takes 8 but an example of"),
        ("network=9 -> dense 3 sigmoid -> dense 8", "the network gives 8 but an example of"),
    ],
)
def test_a_network_that_does_not_fit_the_examples(change: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        fitting(change)


def test_nobody_plays_in_a_dataset() -> None:
    recipe: Any = setup.load_recipe("sparse-autoencoder")
    with pytest.raises(RecipeError, match="in which nobody acts or plays"):
        setup.make_env(recipe)
