"""Published scores of Atari games, by which a score is put in relation to a human's.

The numbers and their source are in ``atari_scores.csv``. Playing, and what a score is taken from,
do not belong here.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Scores(NamedTuple):
    """Mean scores of one game: of uniformly random actions, and of a human."""

    random: float
    human: float


@cache
def table() -> dict[str, Scores]:
    """Return the scores of 57 games by their name, such as ``SpaceInvaders``."""
    text = (files("triptych.envs") / "atari_scores.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["game"]: Scores(float(row["random"]), float(row["human"])) for row in rows}


def human_normalised(environment: str, score: float) -> float | None:
    """Return 100 x (score - random) / (human - random): 0 as random, 100 as a human.

    Args:
        environment: its id, such as ``ALE/SpaceInvaders-v5``.
        score: a mean return in the game's own points.

    Returns:
        Percent, or None where nobody published the game's scores.
    """
    game = re.fullmatch(r"ALE/(\w+)-v\d+", environment)
    known = table().get(game[1]) if game else None
    return None if known is None else 100 * (score - known.random) / (known.human - known.random)
