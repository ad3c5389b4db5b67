"""The rules of catching fruit, one game and many, and what chance and skill score."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from triptych import envs
from triptych.envs.fruit import FruitEnv, start_states
from triptych.envs.fruit_vector import FruitVectorEnv
from triptych.errors import TaskError


def play(env, start, policy):
    """Return the rewards and screens of one game."""
    observation, _ = env.reset(options=start)
    rewards, screens, terminated = [], [observation], False
    while not terminated:
        observation, reward, terminated, truncated, _ = env.step(policy(env))
        assert not truncated
        rewards.append(reward)
        screens.append(observation)
    return rewards, screens


def follow(env):
    return 1 + int(np.sign(env.fruit - env.basket))


def score(grid, policy):
    env = FruitEnv(grid)
    return np.mean([play(env, start, policy)[0][-1] == 1 for start in start_states(grid)])


def chance_of_random_play(grid):
    """Return the share of games that uniformly random moves win, by dynamic programming."""
    baskets = np.arange(1, grid - 1)
    value = (np.abs(np.arange(grid)[:, None] - baskets) <= 1).astype(float)
    for _ in range(grid - 2):
        moved = [np.clip(baskets + move, 1, grid - 2) - 1 for move in (-1, 0, 1)]
        value = np.mean([value[:, columns] for columns in moved], axis=0)
    return value.mean()


@pytest.mark.parametrize("grid", [5, 10, 15])
def test_gymnasium_finds_nothing_to_say(grid):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("triptych/Fruit-v0", grid=grid).unwrapped)


@pytest.mark.parametrize(("grid", "count"), [(15, 195), (10, 80)])
def test_all_start_states(grid, count):
    starts = start_states(grid)
    assert len({tuple(start.items()) for start in starts}) == len(starts) == count
    env = FruitEnv(grid)
    for start in starts:
        env.reset(options=start)
        assert (env.fruit, env.basket, env.row) == (start["fruit"], start["basket"], 0)


@pytest.mark.parametrize(("grid", "expected"), [(15, 0.2), (10, 0.3)])
def test_scores_of_staying_chance_and_skill(grid, expected):
    assert score(grid, lambda env: 1) == pytest.approx(expected, abs=1e-12)
    assert chance_of_random_play(grid) == pytest.approx(expected, abs=1e-12)
    assert score(grid, follow) == 1.0


def test_random_play_of_the_environment_agrees_with_the_computed_chance():
    rng = np.random.default_rng(0)
    env = FruitVectorEnv(num_envs=5000, grid=10)
    env.reset(seed=3)
    for _ in range(8):
        _, rewards, terminated, _, _ = env.step(rng.integers(0, 3, size=5000))
    assert terminated.all()
    # Four standard errors of a share of 0.3 in 5,000 games.
    assert np.mean(rewards == 1) == pytest.approx(0.3, abs=0.026)


def test_a_game_screen_by_screen():
    rewards, screens = play(FruitEnv(6), {"fruit": 0, "basket": 4}, lambda env: 0)
    assert rewards == [0, 0, 0, 1]
    assert len(screens) == 5
    for row, screen in enumerate(screens):
        centre = max(4 - row, 1)
        expected = np.zeros((6, 6, 1), dtype=np.uint8)
        expected[row, 0] = 1
        expected[5, centre - 1 : centre + 2] = 1
        np.testing.assert_array_equal(screen, expected)
    assert play(FruitEnv(6), {"fruit": 0, "basket": 3}, lambda env: 2)[0] == [0, 0, 0, -1]


@pytest.mark.parametrize(("fruit", "reward"), [(1, -1), (2, 1), (3, 1), (4, 1), (5, -1)])
def test_the_basket_is_three_cells_wide(fruit, reward):
    assert play(FruitEnv(7), {"fruit": fruit, "basket": 3}, lambda env: 1)[0][-1] == reward


def test_starts_come_from_the_seed_fruit_first():
    env = FruitEnv(15)
    env.reset(seed=5)
    twin, _ = gymnasium.utils.seeding.np_random(5)
    assert (env.fruit, env.basket) == (twin.integers(0, 15), twin.integers(1, 14))
    env.reset(options={"fruit": 3})
    assert (env.fruit, env.basket) == (3, twin.integers(1, 14))
    seen = set()
    for _ in range(3000):
        env.reset()
        seen.add((env.fruit, env.basket))
    assert len(seen) == 195


def test_steps_before_the_start_and_after_the_end():
    env = FruitEnv(5)
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset(options={"fruit": 0, "basket": 1})
    for _ in range(3):
        last, *_ = env.step(1)
    with pytest.warns(UserWarning, match="has ended"):
        observation, reward, terminated, _, _ = env.step(2)
    assert (reward, terminated) == (0.0, True)
    np.testing.assert_array_equal(observation, last)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fruit": 15}, "from 0 to 14, but is 15"),
        ({"basket": 0}, "from 1 to 13"),
        ({"basket": 1.0}, "a whole number"),
        ({"fruits": 1}, "did you mean 'fruit'"),
        ({"fruit": [1]}, "a whole number"),
    ],
)
def test_a_wrong_start_is_one_sentence(options, says):
    with pytest.raises(TaskError, match=says):
        FruitEnv(15).reset(options=options)


@pytest.mark.parametrize("grid", [4, 15.0, "15", True])
def test_a_wrong_grid_is_one_sentence(grid):
    for make in (FruitEnv, start_states, lambda g: FruitVectorEnv(2, g)):
        with pytest.raises(TaskError, match="grid"):
            make(grid)


def test_wrong_actions_are_one_sentence():
    env, many = FruitEnv(5), FruitVectorEnv(2, 5)
    env.reset()
    many.reset()
    for action in (3, -1, 0.5):
        with pytest.raises(TaskError, match="0, 1 or 2"):
            env.step(action)
    for actions in ([0, 3], [0], [0.0, 1.0], 1):
        with pytest.raises(TaskError, match="from 0 to 2"):
            many.step(np.array(actions))


def test_the_picture_shows_fruit_and_basket_where_they_are():
    env = FruitEnv(10, render_mode="rgb_array")
    env.reset(options={"fruit": 7, "basket": 2})
    env.step(1)
    image = env.render()
    assert (image.shape, image.dtype) == ((160, 160, 3), np.uint8)
    cells = image.reshape(10, 16, 10, 16, 3)
    orange = (cells[..., 0].astype(int) > cells[..., 2].astype(int) + 100).any(axis=(1, 3))
    blue = (cells[..., 2].astype(int) > cells[..., 0].astype(int) + 100).any(axis=(1, 3))
    assert np.argwhere(orange).tolist() == [[1, 7]]
    assert np.argwhere(blue).tolist() == [[9, 1], [9, 2], [9, 3]]
    assert FruitEnv(10).render() is None


@pytest.mark.parametrize("grid", [5, 10])
def test_many_games_equal_single_games_step_for_step(grid):
    count, rng = 7, np.random.default_rng(1)
    fruit, basket = rng.integers(0, grid, count), rng.integers(1, grid - 1, count)
    many, singles = FruitVectorEnv(count, grid), [FruitEnv(grid) for _ in range(count)]
    observations, _ = many.reset(seed=0, options={"fruit": fruit, "basket": basket})
    starts = [{"fruit": int(x), "basket": int(c)} for x, c in zip(fruit, basket, strict=True)]
    for i, single in enumerate(singles):
        np.testing.assert_array_equal(observations[i], single.reset(options=starts[i])[0])
    ended = np.zeros(count, dtype=bool)
    for _ in range(4 * grid):
        actions = rng.integers(0, 3, count)
        observations, rewards, terminated, truncated, _ = many.step(actions)
        for i, single in enumerate(singles):
            if ended[i]:
                start = {"fruit": int(many.fruit[i]), "basket": int(many.basket[i])}
                expected = (single.reset(options=start)[0], 0.0, False, False)
            else:
                expected = single.step(int(actions[i]))[:4]
            np.testing.assert_array_equal(observations[i], expected[0])
            assert (rewards[i], terminated[i], truncated[i]) == expected[1:]
        ended = terminated
    assert rewards.dtype == np.float64


def test_many_games_through_gymnasium():
    many = gymnasium.make_vec("triptych/Fruit-v0", num_envs=3, grid=10)
    assert isinstance(many, FruitVectorEnv)
    assert many.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    observations, _ = many.reset(seed=0)
    assert observations in many.observation_space
    assert observations.shape == (3, 10, 10, 1)
    assert many.single_observation_space == FruitEnv(10).observation_space
    again, _ = envs.make_vector({"environment": "triptych/Fruit-v0", "grid": 10}, 3).reset(seed=0)
    np.testing.assert_array_equal(observations, again)
    with pytest.raises(ResetNeeded):
        FruitVectorEnv(2).step(np.array([0, 0]))
    with pytest.raises(TaskError, match=r"shape \(3,\)"):
        many.reset(options={"fruit": np.array([1, 2])})
