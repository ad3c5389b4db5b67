"""MinAtar's games: seeds, spaces, exact states, and what the package itself does."""

from __future__ import annotations

import numpy as np
import pytest

from triptych import envs
from triptych.envs import minatar
from triptych.errors import TaskError

pytest.importorskip("minatar")
IDS = minatar.ids()


def play(env, steps, stream):
    seen = []
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(
            int(stream.integers(env.action_space.n))
        )
        seen.append((observation.tobytes(), reward, terminated, truncated, info))
        if terminated:
            seen.append(env.reset()[0].tobytes())
    return seen


def test_ids_are_those_that_the_package_registers():
    import gymnasium
    from minatar.gym import register_envs

    register_envs()
    assert set(IDS) == {name for name in gymnasium.registry if name.startswith("MinAtar/")}


@pytest.mark.parametrize("name", IDS)
def test_a_game_has_the_packages_observations_and_actions(name):
    import gymnasium

    theirs = gymnasium.make(name, disable_env_checker=True).unwrapped
    env = envs.make({"environment": name})
    assert env.action_space == theirs.action_space
    assert envs.action_count({"environment": name}) == env.action_space.n
    assert env.observation_space.shape == theirs.observation_space.shape
    observation, _ = env.reset(seed=1)
    assert observation in env.observation_space and observation.dtype == np.uint8
    theirs.seed(int(np.random.default_rng(1).integers(2**32)))
    theirs.game.reset()
    stream, ends = np.random.default_rng(0), 0
    for _ in range(400):
        action = int(stream.integers(env.action_space.n))
        ours, expected = env.step(action), theirs.step(action)
        assert np.array_equal(ours[0], expected[0]) and ours[1:4] == expected[1:4]
        if ours[2]:
            ends += 1
            theirs.game.reset()
            theirs.game.last_action = 0
            env.reset()
    assert ends > 0 or "Freeway" in name


@pytest.mark.parametrize("name", IDS[::2])
@pytest.mark.parametrize("steps", [0, 7, 150])
def test_a_restored_game_goes_on_exactly(name, steps):
    task = {"environment": name}
    env = envs.make(task)
    env.reset(seed=3)
    play(env, steps, np.random.default_rng(1))
    saved = envs.snapshot(env)
    expected = play(env, 300, np.random.default_rng(2))
    for other in (envs.make(task), env):
        other.reset(seed=9)
        play(other, 20, np.random.default_rng(5))
        envs.restore(other, saved)
        assert play(other, 300, np.random.default_rng(2)) == expected


def test_a_state_is_for_a_game_made_alike():
    from triptych.errors import CheckpointError

    env = envs.make({"environment": IDS[0]})
    env.reset(seed=0)
    other = envs.make({"environment": IDS[0], "sticky_actions": 0.0})
    with pytest.raises(CheckpointError, match="made with other options"):
        envs.restore(other, envs.snapshot(env))


def test_options_change_the_game():
    def rows(**options):
        env = envs.make({"environment": "MinAtar/SpaceInvaders-v1", **options})
        env.reset(seed=4)
        return play(env, 300, np.random.default_rng(4)), env

    assert rows()[0] == rows()[0]
    assert rows(sticky_actions=0.5)[0] != rows()[0]
    assert rows(difficulty_ramping=False)[1]._game.env.ramping is False


def test_a_picture_shows_what_is_there():
    env = envs.make({"environment": "MinAtar/SpaceInvaders-v1"}, render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (160, 160, 3) and picture.dtype == np.uint8
    empty = ~observation.any(axis=2)
    cells = picture[8::16, 8::16]
    assert (cells[empty] == cells[5, 0]).all() and (cells[~empty] != cells[5, 0]).any(axis=1).all()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("MinAtar/Spaceinvaders-v1", "did you mean 'MinAtar/SpaceInvaders-v1'"),
        ("MinAtar/Pong-v1", "MinAtar's games are MinAtar/Asterix-v1"),
    ],
)
def test_an_unknown_game_is_named(name, says):
    (sentence,) = envs.problems({"environment": name})
    assert says in sentence
    with pytest.raises(TaskError, match="no environment"):
        minatar.build(name, {}, None)
