"""Looking at episodes: the pictures of those that a trained run plays."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from triptych.engines import evaluating, setup
from triptych.errors import TaskError
from triptych.learn import evaluation
from triptych.learn.evaluation import Env, Episode
from triptych.spec.recipe import Recipe

_STRIP = 16


@dataclass(frozen=True)
class Replay:
    """One episode: its pictures, uint8 (height, width, 3) each, and its return."""

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


def pictures(recipe: Recipe, episode: Episode, most: int = 2000) -> Replay:
    """Play an episode's actions once more, with pictures.

    Args:
        recipe: whose task it was played in.
        episode: as it was played without pictures.
        most: pictures kept; play goes on to the end.

    Raises:
        TaskError: the environment does not repeat what it did.
    """
    frames: list[np.ndarray] = []

    def see(game: Env) -> None:
        if len(frames) < most:
            frames.append(np.asarray(game.render()))

    with closing(setup.make_env(recipe, render_mode="rgb_array", judged=True)) as game:
        (same,) = evaluation.play(evaluation.again(episode), [game], [episode.start], see=see)
    if same != episode:
        raise TaskError(
            f"{recipe.task['environment']} gave {same.total:g} for the actions that gave "
            f"{episode.total:g} before: it does not repeat itself from a seed, so that an episode "
            "cannot be shown after it was played"
        )
    return Replay(frames, episode.total)


def play_run(path: str | Path, episodes: int, seed: int, most: int = 2000) -> list[Replay]:
    """Play the episodes that ``evaluate`` counts by default, with pictures.

    Args:
        path: the run folder.
        episodes: how many.
        seed: of their starts.
        most: pictures kept of one episode.
    """
    own = evaluating.trained(path)
    starts = evaluation.held_out(seed, episodes)
    played = evaluating.play(own.recipe, own.learner, starts, own.recipe.outcome.exploration)
    return [pictures(own.recipe, episode, most) for episode in played]
