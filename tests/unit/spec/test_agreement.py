"""Parts of a recipe that are right by themselves and wrong together: one sentence for each."""

from __future__ import annotations

from typing import Any

import pytest

from triptych.errors import RecipeError
from triptych.spec.algorithms import DQN, Fit
from triptych.spec.recipe import Budget
from triptych.spec.rules import SCG
from triptych.spec.shelf import load_recipe

FIT, PLAY = "sparse-autoencoder", "fruit"
ADAM = "optimizer={name: adam, rate: 0.01}"
SQUARED = "objective={name: squared_error}"


def mistakes(name: str, *changes: str) -> list[str]:
    with pytest.raises(RecipeError) as found:
        load_recipe(name, changes)
    return [line.strip() for line in str(found.value).splitlines()[1:]]


def test_the_shipped_recipe_has_matlabs_constants() -> None:
    recipe: Any = load_recipe(FIT)
    assert recipe.algorithm == Fit(batch=None, min_gradient=1e-6) and recipe.optimizer == SCG()
    own = recipe.objective
    assert (own.l2, own.sparsity, own.proportion, own.l2_on) == (0.001, 1.0, 0.05, None)
    assert (own.reduction, own.mean_over_outputs) == ("mean", False)
    assert recipe.network.shapes["sigmoid1"] == (10,) and recipe.budget == Budget(epochs=1000)
    assert not recipe.has_target and not isinstance(recipe.algorithm, DQN)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        (
            FIT,
            ["task={environment: triptych/Fruit-v0}"],
            "task: algorithm 'fit' learns from a data",
        ),
        (
            PLAY,
            ["task={dataset: triptych/bars, grid: 15}"],
            "task: algorithm 'dqn' learns from an ",
        ),
        (
            FIT,
            ["task.environment=triptych/Fruit-v0"],
            "task: has both an environment and a dataset",
        ),
        (FIT, ["task.dataset=5"], "task.dataset: is 5; write for example triptych/bars"),
        (FIT, ["budgets.short.steps=5"], "budgets.short: algorithm 'fit' counts epochs alone"),
        (FIT, ["budgets.short={steps: 5}"], "budgets.short: algorithm 'fit' counts epochs alone"),
        (PLAY, ["budgets.long={epochs: 5}"], "budgets.long: algorithm 'dqn' counts episodes or st"),
        (PLAY, ["budgets.long.epochs=5"], "budgets.long: algorithm 'dqn' counts episodes or steps"),
        (
            FIT,
            ["outcome.metric=greedy_return"],
            "outcome.metric: 'greedy_return' cannot be had fro",
        ),
        (PLAY, ["outcome.metric=validation_error"], "outcome.metric: 'validation_error' cannot be"),
        (
            FIT,
            ["objective={name: td_squared}"],
            "objective.name: 'td_squared' needs actions and re",
        ),
        (
            PLAY,
            ["objective={name: sparse_autoencoder, hidden: relu1}"],
            "objective.name: 'sparse_a",
        ),
        (FIT, ["algorithm.batch=5", ADAM], "algorithm.batch: 'sparse_autoencoder' takes the mean "),
        (FIT, ["algorithm.batch=5", SQUARED], "optimizer.name: 'scg' compares losses on one batch"),
        (PLAY, ["optimizer={name: scg}"], "optimizer.name: 'scg' compares losses on one batch"),
        (
            FIT,
            ["objective.hidden=sigmoid3"],
            "objective.hidden: 'sigmoid3' is no sigmoid node with",
        ),
        (
            FIT,
            ["objective.hidden=dense1"],
            "objective.hidden: 'dense1' is no sigmoid node with one",
        ),
        (
            FIT,
            ["objective.l2_on=[dense1/kernle]"],
            "objective.l2_on: the network has no array 'den",
        ),
        (FIT, ["objective.l2_on=5"], "objective.l2_on: expected a list of arrays such as"),
        (
            FIT,
            ["network=64 -> dense 9 sigmoid -> dropout 0.1 -> dense 64 sigmoid"],
            "optimizer.name: 'scg' compares losses, which dropout makes differ at one point",
        ),
    ],
)
def test_one_sentence_says_what_does_not_fit(name: str, changes: list[str], says: str) -> None:
    (found,) = mistakes(name, *changes)
    assert found.startswith(says)


def test_what_fits_passes() -> None:
    minibatches = load_recipe(FIT, ["algorithm.batch=50", ADAM, SQUARED])
    assert minibatches.algorithm == Fit(batch=50, min_gradient=1e-6)
    load_recipe(FIT, ["objective.l2_on=[dense2/kernel]"])
    image = "network=8x8x1 -> conv 3 3x3 pad same sigmoid"
    load_recipe(FIT, [image, SQUARED, ADAM])
