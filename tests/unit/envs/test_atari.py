"""Atari's preprocessing against ALE's own, and each option's effect."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from triptych import envs
from triptych.errors import MissingDependency, TaskError

pytest.importorskip("ale_py")
pytest.importorskip("cv2")


def task(game="SpaceInvaders", **options):
    return {"environment": f"ALE/{game}-v5", "noop_max": 0, **options}


@pytest.mark.parametrize(
    ("game", "rom", "grayscale", "steps"),
    [("SpaceInvaders", "space_invaders", True, 120), ("Breakout", "breakout", False, 250)],
)
def test_equals_the_emulators_own_preprocessing(game, rom, grayscale, steps):
    from ale_py.vector_env import AtariVectorEnv

    theirs = AtariVectorEnv(
        rom,
        num_envs=1,
        num_threads=1,
        noop_max=0,
        reward_clipping=False,
        use_fire_reset=False,
        repeat_action_probability=0.0,
        grayscale=grayscale,
        stack_num=4,
        frameskip=4,
        maxpool=True,
        img_height=84,
        img_width=84,
        max_num_frames_per_episode=108000,
    )
    ours = envs.make(task(game, grayscale=grayscale))
    observation, _ = ours.reset(seed=7)
    assert observation.shape == (84, 84, 4 if grayscale else 12)
    assert observation in ours.observation_space
    batch, _ = theirs.reset(seed=7)
    rng, rewards, ends = np.random.default_rng(0), 0.0, 0
    ended = False
    for _ in range(steps):
        expected = np.concatenate(list(batch[0].reshape(4, 84, 84, -1)), axis=-1)
        np.testing.assert_array_equal(observation, expected)
        if ended:
            (observation, _), (batch, *_) = ours.reset(), theirs.step(np.array([0]))
            ended, ends = False, ends + 1
            continue
        action = int(rng.integers(ours.action_space.n))
        observation, reward, ended, truncated, _ = ours.step(action)
        batch, other, terminated, cut, _ = theirs.step(np.array([action]))
        assert (reward, ended, truncated) == (other[0], terminated[0], cut[0])
        rewards += reward
    assert rewards > 0
    assert ends > 0 or game != "Breakout"


def test_an_episode_starts_with_zeros_and_shifts_the_oldest_out():
    env = envs.make(task())
    first, _ = env.reset(seed=0)
    assert not first[..., :3].any()
    assert first[..., 3].any()
    second, *_ = env.step(0)
    np.testing.assert_array_equal(second[..., :3], first[..., 1:])
    assert second.flags.c_contiguous
    env.step(0)
    np.testing.assert_array_equal(second[..., 2], first[..., 3])


def test_sizes_follow_the_options():
    env = envs.make(task(screen=42, stack=2, frame_skip=1, full_action_space=True))
    assert (env.observation_space.shape, env.action_space.n) == ((42, 42, 2), 18)
    assert env.reset(seed=0)[0].shape == (42, 42, 2)


def test_max_frames_counts_frames_of_the_emulator_and_truncates():
    env = envs.make(task(max_frames=100))
    env.reset(seed=0)
    for step in range(1, 26):
        _, _, terminated, truncated, info = env.step(0)
        assert not terminated
        assert truncated == (step == 25)
    assert info["episode_frame_number"] == 100


def test_noops_are_drawn_from_the_seed():
    env = envs.make(task(noop_max=30))
    frames = [env.reset(seed=seed)[1]["episode_frame_number"] for seed in (0, 0, 1, 2, 3)]
    assert frames[0] == frames[1]
    assert len(set(frames)) > 1
    assert all(1 <= frame <= 30 for frame in frames)


def play(env, steps):
    """Return the rewards and flags of random steps, resetting at each end."""
    rng, rows = np.random.default_rng(2), []
    env.reset(seed=1)
    for _ in range(steps):
        _, reward, terminated, truncated, info = env.step(int(rng.integers(env.action_space.n)))
        rows.append((reward, terminated, truncated, info["lives"], info["episode_frame_number"]))
        if terminated or truncated:
            _, info = env.reset()
            rows[-1] += (info["lives"], info["episode_frame_number"])
    return rows


def test_sticky_actions_change_the_game():
    plain, sticky = envs.make(task()), envs.make(task(sticky_actions=0.25))
    play(plain, 100)
    play(sticky, 100)
    assert not np.array_equal(plain.step(0)[0], sticky.step(0)[0])


def test_rewards_become_their_signs():
    plain, clipped = envs.make(task()), envs.make(task(reward_clipping=True))
    rewards = [row[0] for row in play(plain, 150)]
    assert max(rewards) > 1
    assert [row[0] for row in play(clipped, 150)] == np.sign(rewards).tolist()


def test_a_lost_life_terminates_and_the_game_goes_on():
    rows = play(envs.make(task("Breakout", life_loss=True)), 400)
    ends = [row for row in rows if row[1]]
    lives, frames = zip(*((row[5], row[6] > 0) for row in ends), strict=True)
    assert lives[:6] == (4, 3, 2, 1, 5, 4)
    assert frames[:5] == (True, True, True, True, False)


def test_a_life_is_told_from_a_game():
    env = envs.make(task("Breakout", life_loss=True, max_frames=2000))
    rng, told = np.random.default_rng(2), []
    env.reset(seed=1)
    for _ in range(400):
        _, _, terminated, truncated, info = env.step(int(rng.integers(4)))
        over = truncated or info["lives"] == 0
        assert info["game_over"] == over
        if terminated or truncated:
            told.append((info["game_over"], env.reset()[1]["game_over"]))
    assert told.count((False, False)) >= 4 and told.count((True, False)) >= 1


@pytest.mark.parametrize("fire", [False, True])
def test_a_game_that_ends_between_two_lives_is_told_at_the_reset(fire):
    """The cap on frames is set so that the no-op after the first lost life passes it."""
    free = envs.make(task("Breakout", life_loss=True, fire_on_reset=fire))
    info, ended = free.reset(seed=1)[1], False
    while not ended:
        _, _, ended, _, info = free.step(1)
    cap = info["episode_frame_number"] + 4
    env = envs.make(task("Breakout", life_loss=True, fire_on_reset=fire, max_frames=cap))
    ended = False
    env.reset(seed=1)
    while not ended:
        _, _, ended, _, info = env.step(1)
    assert not info["game_over"]
    _, info = env.reset()
    assert (info["game_over"], info["lives"]) == (True, 5)


def test_a_seed_or_an_early_reset_starts_a_new_game_after_a_lost_life():
    env = envs.make(task("Breakout", life_loss=True))
    for restart in ({"seed": 3}, {}):
        terminated = False
        env.reset(seed=0)
        while not terminated:
            _, _, terminated, _, info = env.step(1)
        assert info["lives"] == 4
        if not restart:
            env.reset()
            env.step(0)
        assert env.reset(**restart)[1]["lives"] == 5


def test_fire_on_reset_serves_the_ball():
    waiting, served = envs.make(task("Breakout")), envs.make(task("Breakout", fire_on_reset=True))
    assert waiting.reset(seed=0)[1]["episode_frame_number"] == 0
    assert served.reset(seed=0)[1]["episode_frame_number"] == 4
    waiting.step(1)
    for _ in range(2):
        np.testing.assert_array_equal(waiting.step(0)[0][..., 3], served.step(0)[0][..., 3])
    without = envs.make(task("Freeway", fire_on_reset=True))
    assert without.reset(seed=0)[1]["episode_frame_number"] == 0


def test_an_unknown_game_is_one_sentence():
    with pytest.raises(TaskError, match="did you mean 'ALE/SpaceInvaders-v5'"):
        envs.make({"environment": "ALE/SpaceInvader-v5"})


@pytest.mark.parametrize("package", ["ale_py", "cv2"])
def test_a_missing_package_names_its_extra(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=rf"{package}.*triptych\[atari\]"):
        envs.make(task())


def test_the_table_of_actions_is_the_emulators():
    from triptych.envs import atari

    wrong = []
    for name in atari.ids():
        given = {"environment": name, "noop_max": 0}
        env = envs.make(given)
        if env.action_space.n != envs.action_count(given):
            wrong.append(name)
        env.close()
    assert wrong == [] and len(atari.ids()) > 100
    full = {"environment": "ALE/Skiing-v5", "full_action_space": True}
    assert envs.action_count(full) == envs.make(full).action_space.n > 3


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ALE/SpaceInvader-v5", "ALE/SpaceInvaders-v5"),
        ("ALE/Spaceinvaders", "ALE/SpaceInvaders-v5"),
        ("SpaceInvaders", "ALE/SpaceInvaders-v5"),
        ("breakout", "ALE/Breakout-v5"),
        ("ALE/Pong-v4", "ALE/Pong-v5"),
    ],
)
def test_an_unknown_game_is_told_with_the_nearest_name(name, nearest):
    (sentence,) = envs.problems({"environment": name})
    assert sentence.startswith(f"there is no environment {name!r} (did you mean {nearest!r}?)")


def test_a_game_without_an_idle_action_cannot_begin_with_no_ops():
    with pytest.raises(TaskError, match=r"no action that does nothing.*set noop_max: 0"):
        envs.make({"environment": "ALE/Backgammon-v5"})


@pytest.mark.parametrize("rom", [None, b"no ROM"])
def test_a_missing_or_damaged_rom_is_named(rom, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    if rom is not None:
        (tmp_path / "pong.bin").write_bytes(rom)
    state = "missing" if rom is None else "damaged"
    with pytest.raises(TaskError, match=rf"the ROM of 'ALE/Pong-v5', pong.bin, is {state} in "):
        envs.make({"environment": "ALE/Pong-v5"})
    assert capsys.readouterr().out == ""
