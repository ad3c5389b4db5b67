"""Playing a trained run once more to look at it: the pictures of greedy episodes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triptych.backends import registry
from triptych.backends.protocol import Learner
from triptych.engines import setup
from triptych.learn.dqn import greedy
from triptych.runs.folder import RunFolder
from triptych.spec.randomness import generator, integer_seed
from triptych.spec.recipe import Recipe

_STRIP = 16


@dataclass(frozen=True)
class Episode:
    """One greedy episode: its pictures, uint8 (height, width, 3) each, and its return."""

    frames: list[np.ndarray]
    total: float

    def strip(self) -> np.ndarray:
        """Return up to 16 pictures side by side, evenly chosen, (height, n * width, 3)."""
        count = min(len(self.frames), _STRIP)
        chosen = np.linspace(0, len(self.frames) - 1, count).round().astype(int)
        return np.concatenate([self.frames[place] for place in chosen], axis=1)


def frame_rate(recipe: Recipe) -> int:
    """Return pictures a second: slow where an episode is a few moves, else about a game's pace."""
    return 8 if recipe.outcome.episodes is None else 30


def trained_learner(path: str | Path) -> tuple[Recipe, Learner]:
    """Return a run's recipe and its learner as trained so far.

    Raises:
        RunError: the folder is no run; CheckpointError: what it holds is damaged.
    """
    folder = RunFolder.open(path)
    recipe, own = setup.recipe_of(folder), setup.header_of(folder)
    registry.check_names([own.backend])
    params = setup.trained_params(folder)
    return recipe, setup.make_learner(recipe, own.backend, own.seed, own.dtype, params)


def play_run(path: str | Path, episodes: int, seed: int, most: int = 2000) -> list[Episode]:
    """Play greedy episodes of a run with pictures.

    Args:
        path: the run folder.
        episodes: how many.
        seed: of the environment's stream ``watch``, and of exploration where the outcome has it.
        most: pictures kept of one episode; play goes on to its end.
    """
    recipe, learner = trained_learner(path)
    explore = generator(seed, "watch/explore")
    played = []
    with closing(setup.make_env(recipe, render_mode="rgb_array", judged=True)) as env:
        for number in range(episodes):
            first = integer_seed(seed, "watch") if number == 0 else None
            played.append(_episode(recipe, learner, env, explore, first, most))
    return played


def _episode(
    recipe: Recipe,
    learner: Learner,
    env: Any,
    explore: np.random.Generator,
    seed: int | None,
    most: int,
) -> Episode:
    observation, _ = env.reset(seed=seed)
    frames, total, over = [np.asarray(env.render())], 0.0, False
    while not over:
        random = explore.random() < recipe.outcome.exploration
        action = (
            int(explore.integers(env.action_space.n)) if random else greedy(learner, observation)
        )
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        over = bool(terminated or truncated)
        if len(frames) < most:
            frames.append(np.asarray(env.render()))
    return Episode(frames, total)
