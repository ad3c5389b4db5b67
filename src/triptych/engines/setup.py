"""From a recipe to its living parts: environment, learner, memory, agent, training.

The only place that knows both environments and backends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triptych import data, envs
from triptych.backends import registry
from triptych.backends.protocol import DType, Learner, Objective, Params
from triptych.errors import RecipeError, RunError
from triptych.learn import objectives
from triptych.learn.dqn import DQNAgent
from triptych.learn.fitting import Fitting
from triptych.learn.game import Game
from triptych.learn.prioritised import PrioritisedMemory
from triptych.learn.replay import ReplayMemory
from triptych.learn.training import Training
from triptych.runs import checkpoints, trees
from triptych.runs.files import RUN_FILE
from triptych.runs.folder import RunFolder
from triptych.spec import shelf
from triptych.spec.algorithms import DQN
from triptych.spec.layers.base import show
from triptych.spec.randomness import integer_seed
from triptych.spec.recipe import Budget, Recipe, parse_recipe

_LISTED = "triptych/Fruit-v0"
"""The environment whose start states are listed."""


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """Return a recipe by name or path, its task checked against the known environments.

    Raises:
        RecipeError: it is unknown, unreadable, or holds mistakes; all are named.
    """
    return _judgeable(shelf.load_recipe(name, overrides, task_problems, count_actions))


def reparse(name: str, data: Mapping[str, Any]) -> Recipe:
    """Return the recipe of plain data, such as a run folder keeps; raises ``RecipeError``."""
    return _judgeable(parse_recipe(name, data, task_problems, count_actions))


def task_problems(task: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each mistake in a task, on an environment or a dataset."""
    return data.problems(task) if "dataset" in task else envs.problems(task)


def count_actions(task: Mapping[str, Any]) -> int | None:
    """Return how many actions a task has, which a recipe's network says as ``{task.actions}``;
    None where the task is wrong, which :func:`task_problems` tells."""
    if "dataset" in task:
        raise RecipeError("a dataset has no actions: write the number of outputs into the network")
    return None if task_problems(task) else envs.action_count(task)


def full_task(recipe: Recipe) -> Mapping[str, Any]:
    """Return a recipe's task with a value for every option of its environment."""
    return recipe.task if "dataset" in recipe.task else envs.complete(recipe.task)


def _judgeable(recipe: Recipe) -> Recipe:
    if recipe.outcome.episodes is None and recipe.task.get("environment") != _LISTED:
        raise RecipeError(
            f"recipe {recipe.name!r}: outcome.episodes: null plays every start state, and only "
            f"{_LISTED} lists them; write how many episodes to play"
        )
    return recipe


@dataclass(frozen=True)
class Header:
    """What ``run.json`` says of how a run was begun."""

    recipe: str
    backend: str
    seed: int
    dtype: DType
    budget: str


def header_of(folder: RunFolder) -> Header:
    """Return the header of a run; raises ``RunError`` where the file lacks a part."""
    kinds = {"recipe": str, "backend": str, "seed": int, "dtype": str, "budget": str}
    for key, kind in kinds.items():
        if not isinstance(folder.header.get(key), kind):
            raise RunError(
                f"{folder.path / RUN_FILE} is damaged: {key!r} is {folder.header.get(key)!r}; "
                "start a new run"
            )
    return Header(**{key: folder.header[key] for key in kinds})


def recipe_of(folder: RunFolder) -> Recipe:
    """Return the recipe of a run; raises ``RunError`` or ``RecipeError`` where it is damaged."""
    return reparse(header_of(folder).recipe, folder.recipe)


def trained_params(folder: RunFolder) -> Params:
    """Return the params of a run by canonical name, as trained so far; needs no framework.

    Raises:
        CheckpointError: what the folder holds is damaged.
    """
    return trained_so_far(folder)[0]


def trained_so_far(folder: RunFolder) -> tuple[Params, int | None]:
    """Return :func:`trained_params`, and the step they are of; None at the end of the run.

    Raises:
        CheckpointError: what the folder holds is damaged.
    """
    if folder.status == "finished":
        return folder.params(), None
    newest = checkpoints.load_latest(folder.checkpoints)
    state = trees.join(newest.arrays, newest.state)
    found: Params = state["training"]["agent"]["learner"]["params"]
    return found, newest.step


def make_env(recipe: Recipe, render_mode: str | None = None, judged: bool = False) -> Any:
    """Return the task's environment after checking that the network fits it.

    Args:
        recipe: whose task it is.
        render_mode: Gymnasium's.
        judged: whether an agent is judged in it, in whole games with their own scores.

    Raises:
        RecipeError: the task is a dataset, in which nobody acts; or the network's input or output
            does not fit, and the message says both sizes.
    """
    if "environment" not in recipe.task:
        raise RecipeError(
            f"recipe {recipe.name!r} learns from the dataset {recipe.task['dataset']}, in which "
            "nobody acts or plays; use a recipe with an environment"
        )
    env: Any = envs.make(envs.evaluation_task(recipe.task) if judged else recipe.task, render_mode)
    seen, given = tuple(env.observation_space.shape), recipe.network.shapes["input"]
    if seen != given:
        raise RecipeError(
            f"recipe {recipe.name!r}: the network takes {show(given)} but "
            f"{recipe.task['environment']} gives {show(seen)}; begin the network with {show(seen)}"
        )
    actions, outputs = int(env.action_space.n), recipe.network.shapes[recipe.network.output.name]
    if outputs != (actions,):
        raise RecipeError(
            f"recipe {recipe.name!r}: the network gives {show(outputs)} outputs but "
            f"{recipe.task['environment']} has {actions} actions; end it with dense {actions}"
        )
    return env


def make_data(recipe: Recipe) -> data.Dataset:
    """Return the task's dataset after checking that the network fits it.

    Raises:
        RecipeError: the network's input or output does not fit; the message says both sizes.
    """
    made, network = data.make(recipe.task), recipe.network
    ends = (("takes", network.input.name, "observation"), ("gives", network.output.name, "target"))
    for verb, node, key in ends:
        own, wanted = network.shapes[node], made.train[key].shape[1:]
        if own != wanted:
            raise RecipeError(
                f"recipe {recipe.name!r}: the network {verb} {show(own)} but an example of "
                f"{recipe.task['dataset']} has {show(wanted)} as its {key}; make them the same"
            )
    return made


def check_fits(recipe: Recipe) -> None:
    """Raise RecipeError where the network does not fit the task's environment or dataset."""
    if "dataset" in recipe.task:
        make_data(recipe)
    else:
        make_env(recipe).close()


def input_constants(recipe: Recipe) -> dict[str, Any]:
    """Return the constants of a dataset's input map, without which what was trained on it can't be
    run on raw inputs; nothing for an environment."""
    return {"input_map": make_data(recipe).map.constants()} if "dataset" in recipe.task else {}


def make_objective(recipe: Recipe) -> Objective:
    """Return the function of the recipe's objective."""
    return objectives.build(recipe.objective, recipe.algorithm, recipe.network)


def make_learner(
    recipe: Recipe,
    backend: str,
    seed: int,
    dtype: DType = "float32",
    params: Params | None = None,
) -> Learner:
    """Return a learner of a recipe, from its seed's initial params unless others are given."""
    drawn = recipe.initial.draw(recipe.network, seed) if params is None else params
    return registry.get(backend).learner(
        recipe.network,
        drawn,
        objective=make_objective(recipe),
        rule=recipe.optimizer,
        dtype=dtype,
        seed=seed,
        target=recipe.has_target,
    )


def make_memory(recipe: Recipe, env: Any, scratch: Path | None = None) -> ReplayMemory:
    """Return an empty replay memory that fits the environment's observations.

    Frames that the recipe keeps on the disk lie in the folder ``scratch``, or the system's
    temporary one.
    """
    own, space = recipe.algorithm, env.observation_space
    assert isinstance(own, DQN)
    options: dict[str, Any] = {
        "capacity": own.replay,
        "observation_shape": space.shape,
        "stack": envs.stack(recipe.task),
        "dtype": np.dtype(space.dtype),
        "lanes": own.games,
        "n_step": own.n_step,
        "discount": own.discount,
        "directory": (scratch or tempfile.gettempdir()) if own.replay_storage == "disk" else None,
    }
    if own.prioritised is None:
        return ReplayMemory(**options)
    chance = own.prioritised
    return PrioritisedMemory(**options, alpha=chance.alpha, epsilon=chance.epsilon)


def make_training(
    recipe: Recipe,
    learner: Learner,
    seed: int,
    budget: Budget | None = None,
    scratch: Path | None = None,
) -> Training | Fitting:
    """Return a training at its beginning; ``scratch`` as in :func:`make_memory`."""
    if not isinstance(recipe.algorithm, DQN):
        return make_fitting(recipe, learner, seed, budget)
    games = make_games(recipe, seed)
    env = games[0].env
    memory = make_memory(recipe, env, scratch)
    agent = DQNAgent(recipe.algorithm, learner, memory, int(env.action_space.n), seed)  # type: ignore[attr-defined]
    chosen = budget or recipe.budget
    return Training(agent, games, chosen, recipe.logging, envs.snapshot, envs.restore)


def make_games(recipe: Recipe, seed: int) -> list[Game]:
    """Return the games that are played side by side, each with a stream of its own:
    ``environment``, ``environment/1``, ``environment/2``, ..."""
    assert isinstance(recipe.algorithm, DQN)
    streams = ["environment", *(f"environment/{k}" for k in range(1, recipe.algorithm.games))]
    return [Game(make_env(recipe), integer_seed(seed, stream)) for stream in streams]


def make_fitting(
    recipe: Recipe, learner: Learner, seed: int, budget: Budget | None = None
) -> Fitting:
    """Return a training on a dataset at its beginning."""
    assert not isinstance(recipe.algorithm, DQN)
    made = make_data(recipe)
    return Fitting(
        recipe.algorithm,
        learner,
        make_objective(recipe),
        made.train,
        made.validation,
        budget or recipe.budget,
        recipe.logging,
        seed,
    )
