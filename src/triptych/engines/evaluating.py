"""Judging what a run has learned, apart from training: episodes, scores, and where they are kept.

Episodes are whole games with their own scores, whatever the training made of rewards and lives.
How an episode is played is in ``learn/evaluation.py``, looking at one in ``replay.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych import envs
from triptych.backends import registry
from triptych.backends.protocol import Learner
from triptych.engines import setup
from triptych.engines.processes import Tell
from triptych.envs.scores import human_normalised
from triptych.errors import RunError
from triptych.learn import evaluation
from triptych.learn.evaluation import Episode, EpsilonGreedy, Start, held_out
from triptych.runs import evaluations, metrics
from triptych.runs.folder import RunFolder
from triptych.spec.algorithms import DQN
from triptych.spec.recipe import Recipe

GAMES = 8
"""Games played side by side, one forward pass for all."""
RANDOM = 1.0
"""The exploration at which all actions are random, and no learner is needed."""


@dataclass(frozen=True)
class Judgement:
    """The outcome of a trained network: the recipe's metric and the returns behind it, if any."""

    metric: float
    returns: list[float]


def judge(recipe: Recipe, learner: Learner, seed: int) -> Judgement:
    """Play greedy episodes as the recipe's outcome asks, apart from training; or look at the
    examples that were held back."""
    own = recipe.outcome
    if not isinstance(recipe.algorithm, DQN):
        return Judgement(setup.make_fitting(recipe, learner, seed).validation_error(), [])
    if own.episodes is None:
        listed = envs.start_states(envs.complete(recipe.task)["grid"])
        starts = [Start(seed, options) for options in listed]
        played = play(recipe, learner, starts, 0.0, games=len(starts))
    else:
        played = play(recipe, learner, held_out(seed, own.episodes), own.exploration)
    returns = [episode.total for episode in played]
    return Judgement(evaluation.metric(own.metric, returns), returns)


def play(
    recipe: Recipe,
    learner: Learner | None,
    starts: Sequence[Start],
    exploration: float,
    *,
    games: int = GAMES,
    tell: Tell | None = None,
) -> list[Episode]:
    """Play an episode of the recipe's task from each start; arguments as of ``EpsilonGreedy``.

    Raises:
        RecipeError: the task is a dataset, or the network does not fit it.
    """
    with ExitStack() as stack:
        made = [
            stack.enter_context(closing(setup.make_env(recipe, judged=True)))
            for _ in range(min(games, len(starts)))
        ]
        act = EpsilonGreedy(learner, int(made[0].action_space.n), exploration, starts)
        return evaluation.play(act, made, starts, tell=tell)


@dataclass(frozen=True)
class Trained:
    """What a run has learned so far: its recipe, its learner, and after how many steps."""

    folder: RunFolder
    recipe: Recipe
    learner: Learner
    step: int


def trained(path: str | Path) -> Trained:
    """Return what a run has learned by its end or its newest checkpoint.

    Raises:
        RunError: the folder is no run; CheckpointError: what it holds is damaged.
    """
    folder = RunFolder.open(path)
    recipe, own = setup.recipe_of(folder), setup.header_of(folder)
    registry.check_names([own.backend])
    params, step = setup.trained_so_far(folder)
    if step is None:  # the last row of a finished run is of its end
        step = int(metrics.read(folder.metrics).get("frame", [0])[-1])
    learner = setup.make_learner(recipe, own.backend, own.seed, own.dtype, params)
    return Trained(folder, recipe, learner, step)


@dataclass(frozen=True)
class Evaluation:
    """Episodes that were played in one way, and by whom.

    Attributes:
        who: the run's folder; where all actions were random, the run or recipe whose task it was.
        exploration: the probability of a random action.
        seed: of the starts, see ``held_out``.
        trained_by, step: backend and age of the params; None where all actions were random.
    """

    who: str
    environment: str
    exploration: float
    seed: int
    played: list[Episode]
    trained_by: str | None = None
    step: int | None = None

    @property
    def returns(self) -> list[float]:
        """Each episode's return."""
        return [episode.total for episode in self.played]

    @property
    def different(self) -> int:
        """How many episodes differ: a greedy player in a game without chance repeats itself."""
        return len({(episode.total, tuple(episode.actions)) for episode in self.played})

    def entry(self) -> dict[str, Any]:
        """Return what ``evaluation.json`` keeps."""
        return {
            "trained_by": self.trained_by,
            "step": self.step,
            "exploration": self.exploration,
            "seed": self.seed,
            "episodes": len(self.played),
            "returns": self.returns,
            "lengths": [len(episode.actions) for episode in self.played],
        }

    def summary(self) -> dict[str, Any]:
        """Return the figures of its returns, with a human's as measure where there is one."""
        return _figures(self.environment, self.returns) | {"different": self.different}


def evaluate_run(
    path: str, episodes: int, exploration: float | None, seed: int, tell: Tell
) -> Evaluation:
    """Play episodes with what a run has learned, and add them to its ``evaluation.json``.

    Args:
        path: the run folder.
        episodes: how many.
        exploration: the probability of a random action; None as the recipe's outcome has it.
        seed: of the starts.
        tell: as of ``learn.evaluation.play``.

    Raises:
        RecipeError: nobody plays in its task; the others as of :func:`trained`.
    """
    own = trained(path)
    chance = own.recipe.outcome.exploration if exploration is None else exploration
    played = play(own.recipe, own.learner, held_out(seed, episodes), chance, tell=tell)
    found = Evaluation(
        path, own.recipe.task["environment"], chance, seed, played, own.folder.trained_by, own.step
    )
    evaluations.add(own.folder, [found.entry()])
    return found


def evaluate_random(who: str, recipe: Recipe, episodes: int, seed: int, tell: Tell) -> Evaluation:
    """Play as many episodes from the same starts with uniformly random actions.

    Raises:
        RecipeError: nobody plays in the recipe's task.
    """
    played = play(recipe, None, held_out(seed, episodes), RANDOM, tell=tell)
    return Evaluation(who, recipe.task["environment"], RANDOM, seed, played)


def kept(folder: RunFolder, recipe: Recipe) -> list[dict[str, Any]]:
    """Return what is in a run's ``evaluation.json``, in its order, as figures.

    Returns:
        Rows with ``trained_by`` and ``step`` (None: random actions), ``exploration``, ``seed`` and
        ``episodes``; mean, standard error, median, least and most of the returns;
        ``human_normalised``; and ``above_random``, in standard errors, where random play from the
        same starts was kept too.

    Raises:
        RunError: the file is damaged.
    """
    environment = str(recipe.task.get("environment"))
    rows = [_row(folder, environment, entry) for entry in evaluations.read(folder)]
    random = {_starts(row): row for row in rows if row["step"] is None}
    for row in rows:
        beside = None if row["step"] is None else random.get(_starts(row))
        apart = evaluation.standard_errors_apart
        row["above_random"] = None if beside is None else apart(row, beside)
    return rows


def _row(folder: RunFolder, environment: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    try:
        row: dict[str, Any] = {
            "trained_by": None if entry["step"] is None else str(entry["trained_by"]),
            "step": None if entry["step"] is None else int(entry["step"]),
            "exploration": float(entry["exploration"]),
            "seed": int(entry["seed"]),
            "episodes": int(entry["episodes"]),
        }
        first, *others = [float(each) for each in entry["returns"]]
        return row | _figures(environment, [first, *others])
    except (KeyError, TypeError, ValueError):
        raise RunError(
            f"{folder.path / evaluations.FILE} is damaged: an entry lacks who played how, or its "
            "returns are no numbers; move the file away to begin anew"
        ) from None


def _figures(environment: str, returns: Sequence[float]) -> dict[str, Any]:
    """The figures of returns, with a human's as measure where there is one."""
    found = evaluation.summary(returns)
    return found | {"human_normalised": human_normalised(environment, found["mean"])}


def _starts(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row["seed"], row["episodes"]
