"""The table of published scores."""

from __future__ import annotations

import gymnasium
import pytest

from triptych.envs import scores


def test_a_human_is_100_and_random_play_0() -> None:
    game = "ALE/SpaceInvaders-v5"
    assert scores.human_normalised(game, 148.0) == 0.0
    assert scores.human_normalised(game, 1668.7) == pytest.approx(100.0)
    assert scores.human_normalised(game, 416.0) == pytest.approx(17.62, abs=0.01)
    # Games that are lost by less count too: random play is worse than a human everywhere.
    assert scores.human_normalised("ALE/Skiing-v5", -4336.9) == pytest.approx(100.0)


def test_57_games_each_an_environment() -> None:
    pytest.importorskip("ale_py")
    assert len(scores.table()) == 57
    assert all(f"ALE/{game}-v5" in gymnasium.registry for game in scores.table())
    assert all(own.human > own.random for own in scores.table().values())


def test_other_games_have_none() -> None:
    assert scores.human_normalised("triptych/Fruit-v0", 1.0) is None
    assert scores.human_normalised("ALE/Tetris-v5", 1.0) is None
    assert scores.human_normalised("SpaceInvaders", 1.0) is None
