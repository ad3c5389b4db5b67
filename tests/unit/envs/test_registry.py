"""Tasks by id: options, mistakes, and what is imported when."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from triptych import envs
from triptych.errors import TaskError


def test_options_need_no_emulator():
    code = (
        "import sys; from triptych import envs; "
        "assert envs.options('ALE/SpaceInvaders-v5')['stack'] == 4; "
        "assert envs.problems({'environment': 'ALE/Pong-v5', 'stak': 1}); "
        "envs.make({'environment': 'triptych/Fruit-v0'}); "
        "print([m for m in ('ale_py', 'cv2', 'torch', 'jax', 'tensorflow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_options_of_each_kind_of_environment():
    assert envs.options("triptych/Fruit-v0") == {"grid": 15}
    assert envs.options("CartPole-v1") == {"sutton_barto_reward": False, "max_episode_steps": 500}
    assert envs.options("ALE/Pong-v5") == {
        "frame_skip": 4,
        "screen": 84,
        "grayscale": True,
        "stack": 4,
        "noop_max": 30,
        "sticky_actions": 0.0,
        "life_loss": False,
        "fire_on_reset": False,
        "reward_clipping": False,
        "max_frames": 108000,
        "full_action_space": False,
    }


def test_all_mistakes_at_once():
    mistakes = envs.problems(
        {
            "environment": "ALE/Pong-v5",
            "stak": 2,
            "screen": 0,
            "sticky_actions": 1.5,
            "grayscale": 1,
            "noop_max": True,
        }
    )
    assert len(mistakes) == 5
    text = "; ".join(mistakes)
    for part in ("did you mean 'stack'", "'screen'", "0.0 to 1.0", "true or false", "'noop_max'"):
        assert part in text
    with pytest.raises(TaskError, match=r"stak.*grayscale"):
        envs.make({"environment": "ALE/Pong-v5", "stak": 2, "grayscale": 1})


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({}, "needs 'environment'"),
        ({"environment": 3}, "needs 'environment'"),
        ({"environment": "triptych/Fruit"}, "did you mean 'triptych/Fruit-v0'"),
        ({"environment": "CartPole-v1", "sutton": True}, "no option 'sutton'"),
        ({"environment": "triptych/Fruit-v0", "grid": 4}, "at least 5, but is 4"),
    ],
)
def test_mistakes_are_sentences(task, says):
    assert says in "; ".join(envs.problems(task))
    with pytest.raises(TaskError, match=says):
        envs.make(task)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"environment": "Pendulum-v1"}, "Discrete"),
        ({"environment": "FrozenLake-v1"}, "a Box"),
        ({"environment": "CartPole-v1", "max_episode_steps": "x"}, "cannot be made with"),
    ],
)
def test_what_is_seen_only_when_it_is_made(task, says):
    assert envs.problems(task) == []
    with pytest.raises(TaskError, match=says):
        envs.make(task)


def test_right_tasks():
    assert envs.problems({"environment": "ALE/Pong-v5", "sticky_actions": 0}) == []
    task = {"environment": "triptych/Fruit-v0", "grid": 10}
    assert envs.make(task).unwrapped.grid == 10
    assert envs.complete({"environment": "triptych/Fruit-v0"})["grid"] == 15
    assert (envs.observation_shape(task), envs.action_count(task)) == ((10, 10, 1), 3)
    assert envs.stack(task) == 1
    assert envs.stack({"environment": "ALE/Pong-v5", "stack": 3}) == 3
    assert envs.make(task, render_mode="rgb_array").render_mode == "rgb_array"


def test_any_environment_of_gymnasium():
    env = envs.make({"environment": "CartPole-v1", "max_episode_steps": 3})
    env.reset(seed=0)
    ends = [env.step(0)[3] for _ in range(3)]
    assert ends == [False, False, True]
    many = envs.make_vector({"environment": "CartPole-v1"}, 2)
    assert isinstance(many, SyncVectorEnv)
    assert many.reset(seed=0)[0].shape == (2, 4)


class Counted(gymnasium.Env):
    """An environment whose constructor takes anything and whose actions count from 1."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)

    def __init__(self, start=0, render_mode=None, **anything):
        self.action_space = gymnasium.spaces.Discrete(2, start=start)
        self.anything = anything


def test_an_environment_of_ones_own(monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec("Counted-v0", entry_point=Counted)
    monkeypatch.setitem(gymnasium.registry, "Counted-v0", spec)
    env = envs.make({"environment": "Counted-v0", "colour": 3})
    assert env.unwrapped.anything == {"colour": 3}
    with pytest.raises(TaskError, match="counted from 0"):
        envs.make({"environment": "Counted-v0", "start": 1})
