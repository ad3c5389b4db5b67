"""Snapshots: after a restore, everything that follows is identical."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import deque
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from triptych import envs
from triptych.envs.fruit_vector import FruitVectorEnv
from triptych.errors import CheckpointError, TaskError

FRUIT = {"environment": "triptych/Fruit-v0", "grid": 7}
CARTPOLE = {"environment": "CartPole-v1", "max_episode_steps": 12}
INVADERS = {"environment": "ALE/SpaceInvaders-v5", "max_frames": 500, "sticky_actions": 0.25}
BREAKOUT = {
    "environment": "ALE/Breakout-v5",
    "life_loss": True,
    "fire_on_reset": True,
    "reward_clipping": True,
    "sticky_actions": 0.25,
    "stack": 3,
    "grayscale": False,
}


def split(data, arrays, path=""):
    """Return plain data with the arrays moved to ``arrays``, as a run folder stores them."""
    if isinstance(data, dict):
        return {name: split(item, arrays, f"{path}/{name}") for name, item in data.items()}
    if isinstance(data, np.ndarray):
        arrays[path] = data
        return {"array": path}
    return data


def join(data, arrays):
    if not isinstance(data, dict):
        return data
    if set(data) == {"array"}:
        return arrays[data["array"]]
    return {name: join(item, arrays) for name, item in data.items()}


def through_files(snapshot, folder):
    """Write a snapshot as JSON and arrays (no pickle) and read it back."""
    arrays = {}
    (folder / "state.json").write_text(json.dumps(split(snapshot, arrays)))
    names = {f"a{i}": name for i, name in enumerate(arrays)}
    np.savez(folder / "state.npz", **{short: arrays[name] for short, name in names.items()})
    (folder / "names.json").write_text(json.dumps(names))
    return read(folder)


def read(folder):
    names = json.loads((folder / "names.json").read_text())
    with np.load(folder / "state.npz", allow_pickle=False) as stored:
        arrays = {names[short]: stored[short] for short in stored.files}
    return join(json.loads((folder / "state.json").read_text()), arrays)


def digest(env, steps, seed=0):
    """Return a digest of random steps and the number of episodes that ended."""
    rng, seen, ends = np.random.default_rng(seed), hashlib.sha256(), 0
    for _ in range(steps):
        action = int(rng.integers(env.action_space.n))
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.update(observation.tobytes() + repr((float(reward), terminated, truncated)).encode())
        if terminated or truncated:
            ends += 1
            seen.update(env.reset()[0].tobytes())
    return seen.hexdigest(), ends


@pytest.mark.parametrize(
    "task", [FRUIT, CARTPOLE, INVADERS, BREAKOUT], ids=lambda t: t["environment"]
)
def test_a_restored_environment_goes_on_identically(task, tmp_path):
    if task["environment"].startswith("ALE/"):
        pytest.importorskip("ale_py")
        pytest.importorskip("cv2")
    env = envs.make(task)
    env.reset(seed=11)
    digest(env, 47, seed=1)
    saved = through_files(envs.snapshot(env), tmp_path)
    expected, ends = digest(env, 300)
    assert ends >= 2
    fresh, used = envs.make(task), envs.make(task)
    used.reset(seed=5)
    digest(used, 20, seed=2)
    for other in (fresh, used):
        envs.restore(other, saved)
        assert digest(other, 300)[0] == expected
    used.reset(seed=6)
    assert digest(used, 300)[0] != expected


@pytest.mark.parametrize("task", [INVADERS, BREAKOUT], ids=lambda t: t["environment"])
def test_an_atari_game_goes_on_in_another_process(task, tmp_path):
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    env = envs.make(task)
    env.reset(seed=11)
    digest(env, 30, seed=1)
    through_files(envs.snapshot(env), tmp_path)
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import test_state as t; "
        "env = t.envs.make(t.json.loads(sys.argv[3])); "
        "t.envs.restore(env, t.read(pathlib.Path(sys.argv[2]))); print(t.digest(env, 300)[0])"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, here, str(tmp_path), json.dumps(task)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == digest(env, 300)[0]


def test_a_snapshot_at_the_end_of_an_episode():
    env = envs.make(FRUIT)
    env.reset(seed=1)
    terminated = False
    while not terminated:
        _, _, terminated, _, _ = env.step(1)
    other = envs.make(FRUIT)
    envs.restore(other, envs.snapshot(env))
    np.testing.assert_array_equal(env.reset()[0], other.reset()[0])


def test_a_snapshot_before_the_first_reset():
    used = envs.make(FRUIT)
    used.reset(seed=1)
    envs.restore(used, envs.snapshot(envs.make(FRUIT)))
    with pytest.raises(gymnasium.error.ResetNeeded):
        used.step(0)
    assert "_np_random" not in vars(used.unwrapped)


def test_saving_changes_nothing_and_the_snapshot_stays_as_it_is():
    env, twin = envs.make(FRUIT), envs.make(FRUIT)
    env.reset(seed=3)
    twin.reset(seed=3)
    saved = envs.snapshot(env)
    before = json.dumps(saved)
    assert digest(env, 40) == digest(twin, 40)
    assert json.dumps(saved) == before


def test_many_games_at_once():
    def play(env):
        rng = np.random.default_rng(0)
        return [env.step(rng.integers(0, 3, 4))[:4] for _ in range(30)]

    env, other = FruitVectorEnv(4, 6), FruitVectorEnv(4, 6)
    env.reset(seed=1)
    env.step(np.array([0, 1, 2, 0]))
    saved = envs.snapshot(env)
    expected = play(env)
    for _ in range(2):
        envs.restore(other, saved)
        for ours, theirs in zip(play(other), expected, strict=True):
            for x, y in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(x, y)


class Odd(gymnasium.Env):
    """An environment that holds one thing of every kind that is kept, and one that is given."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, thing=None):
        self.kept = [
            1,
            2.5,
            "x",
            None,
            True,
            (np.float32(0.1), np.arange(3)),
            {"a": [deque([1], 2)]},
        ]
        self.noise = np.random.Generator(np.random.Philox(4))
        self.thing = thing


def test_every_kind_of_attribute_comes_back_as_it_was(tmp_path):
    env, other = Odd(), Odd()
    saved = through_files(envs.snapshot(env), tmp_path)
    other.kept, alias = None, other.noise
    alias.random(7)
    envs.restore(other, saved)
    assert repr(other.kept) == repr(env.kept)
    assert other.noise is alias
    assert other.noise.random() == env.noise.random()


@pytest.mark.parametrize(
    "thing",
    [object(), {1: 2}, np.array([None]), {3}],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_kept_exactly_is_refused(thing):
    with pytest.raises(TaskError, match=r"cannot be saved exactly.*'thing'"):
        envs.snapshot(Odd(thing))


def test_a_snapshot_of_another_environment_is_refused():
    env = envs.make(FRUIT)
    env.reset(seed=0)
    saved = envs.snapshot(env)
    for task in ({**FRUIT, "grid": 8}, CARTPOLE):
        with pytest.raises(CheckpointError, match="other options"):
            envs.restore(envs.make(task), saved)
    envs.restore(envs.make(FRUIT, render_mode="rgb_array"), saved)


def test_a_damaged_snapshot_is_refused():
    env = envs.make(FRUIT)
    env.reset(seed=0)
    saved = envs.snapshot(env)
    generator = saved["layers"]["1"]["state"]["_np_random"]["generator"]
    for damage in ("PCG65", "Generator"):
        generator["bit_generator"] = damage
        with pytest.raises(CheckpointError, match="damaged"):
            envs.restore(env, saved)
    for wrong in ({}, {"layers": {"0": {}}}, {"layers": {"1": {}}}, {"layers": []}):
        with pytest.raises(CheckpointError):
            envs.restore(env, wrong)


def test_a_damaged_emulator_state_is_refused():
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    env = envs.make(INVADERS)
    env.reset(seed=0)
    saved = envs.snapshot(env)
    last = str(len(saved["layers"]) - 1)
    saved["layers"][last]["state"]["emulator"] = np.arange(50, dtype=np.uint8)
    with pytest.raises(CheckpointError, match="emulator"):
        envs.restore(env, saved)
