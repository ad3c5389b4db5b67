"""Atari games through the Arcade Learning Environment, with every step of preprocessing pinned.

The chain, from the emulator outwards (source: Mnih et al. 2015, as restated by Machado et al.
2018, "Revisiting the Arcade Learning Environment"):

1. the emulator without frame skip, ``sticky_actions`` the probability of repeating an action;
2. 1 to ``noop_max`` no-ops at a game's start (none if 0), each action held for ``frame_skip``
   frames, the pixelwise maximum of the last two, grey, resized by area to ``screen`` x ``screen``;
3. ``life_loss``: a lost life terminates an episode, the game goes on in the next;
   ``info["game_over"]`` tells the two ends apart;
4. ``fire_on_reset``: an episode starts with one action FIRE, where the game has it;
5. ``reward_clipping``: a reward becomes its sign, what the game gave is ``info["score"]``;
6. the last ``stack`` screens as channels, the oldest first, zeros before an episode's start.

ale_py and cv2 are imported only when a game is made. Which environments exist is in
:mod:`triptych.envs.registry`.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

from triptych.envs.options import Option
from triptych.errors import CheckpointError, TaskError, did_you_mean, missing

OPTIONS: dict[str, Option] = {
    "frame_skip": Option(default=4, low=1),
    "screen": Option(default=84, low=1),
    "grayscale": Option(default=True),
    "stack": Option(default=4, low=1, high=255),
    "noop_max": Option(default=30, low=0),
    "sticky_actions": Option(default=0.0, low=0.0, high=1.0),
    "life_loss": Option(default=False),
    "fire_on_reset": Option(default=False),
    "reward_clipping": Option(default=False),
    "max_frames": Option(default=108000, low=1),
    "full_action_space": Option(default=False),
}

EVALUATION: dict[str, bool] = {"life_loss": False, "reward_clipping": False}
"""What makes a game a whole one with the scores that people compare."""

_ID = re.compile(r"ALE/(\w+)-v5")


@cache
def games() -> dict[str, int]:
    """Return how many actions do something in each game, by its name, such as ``SpaceInvaders``.

    So that recipes can be read where the emulator is not installed; those of ale_py 0.12.
    """
    text = (files("triptych.envs") / "atari_games.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["game"]: int(row["actions"]) for row in rows}


def ids() -> list[str]:
    """Return the ids of all games that are known without the emulator."""
    return [f"ALE/{game}-v5" for game in games()]


def problem(environment: str) -> str | None:
    """Return a sentence where there is no such game, neither here nor in a newer emulator."""
    if environment in ids() or _in_emulator(environment):
        return None
    return (
        f"there is no environment {environment!r}{did_you_mean(environment, ids())}; "
        f"Atari games are named like 'ALE/SpaceInvaders-v5'"
    )


def _in_emulator(environment: str) -> bool:
    try:
        import_module("ale_py")
    except ImportError:
        return False
    return environment in gymnasium.registry


def action_count(environment: str, options: Mapping[str, Any]) -> int | None:
    """Return the number of a game's actions; None where only the emulator knows."""
    game = _ID.fullmatch(environment)
    return games().get(game[1]) if game and not options["full_action_space"] else None


Step = tuple[np.ndarray, Any, bool, bool, dict[str, Any]]


def build(
    environment: str, options: Mapping[str, Any], render_mode: str | None
) -> gymnasium.Env[Any, Any]:
    """Return a game with observations uint8 (screen, screen, channels x stack), channels last.

    Args:
        environment: the id, such as ``ALE/SpaceInvaders-v5``.
        options: a value for each name of :data:`OPTIONS`.
        render_mode: Gymnasium's, such as ``rgb_array``, or None.

    Raises:
        MissingDependency: ale_py or cv2 is not installed.
        TaskError: there is no such game.
    """
    env = _emulator(environment, options, render_mode)
    if options["noop_max"] and env.unwrapped.get_action_meanings()[0] != "NOOP":  # type: ignore[attr-defined]
        raise TaskError(
            f"{environment} has no action that does nothing, to begin with; set noop_max: 0, or "
            "full_action_space: true"
        )
    env = AtariPreprocessing(
        env,
        noop_max=options["noop_max"],
        frame_skip=options["frame_skip"],
        screen_size=options["screen"],
        terminal_on_life_loss=False,
        grayscale_obs=options["grayscale"],
        grayscale_newaxis=True,
        scale_obs=False,
    )
    if options["life_loss"]:
        env = LifeLoss(env)
    if options["fire_on_reset"]:
        env = FireOnReset(env)
    if options["reward_clipping"]:
        env = ClipReward(env)
    env = FrameStackObservation(env, stack_size=options["stack"], padding_type="zero")
    return ChannelsLast(env)


def _emulator(
    environment: str, options: Mapping[str, Any], render_mode: str | None
) -> gymnasium.Env[Any, Any]:
    _need("cv2", environment)
    ale = _need("ale_py", environment)
    if environment not in gymnasium.registry:
        raise TaskError(
            f"there is no environment {environment!r} in ale_py "
            f"{ale.__version__}{did_you_mean(environment, ids())}"
        )
    # Otherwise the emulator prints its version to the terminal of every process.
    ale.ALEInterface.setLoggerMode(ale.LoggerMode.Error)
    try:
        # Where it looks for ROMs is printed too, which is no part of a command's answer.
        with redirect_stdout(sys.stderr):
            return _made(environment, options, render_mode)
    except OSError as error:
        raise _no_rom(environment, Path(ale.__file__).parent / "roms", error) from error


def _no_rom(environment: str, own: Path, error: OSError) -> TaskError:
    name = f"{gymnasium.registry[environment].kwargs['game']}.bin"
    folder = os.environ.get("ALE_ROMS_DIR") or own
    state = "damaged" if "hash" in str(error) else "missing"
    return TaskError(
        f"the ROM of {environment!r}, {name}, is {state} in {folder}; set ALE_ROMS_DIR to a folder "
        "that holds it, or bring it back with: pip install --force-reinstall --no-deps ale-py"
    )


def _made(
    environment: str, options: Mapping[str, Any], render_mode: str | None
) -> gymnasium.Env[Any, Any]:
    return gymnasium.make(
        environment,
        max_episode_steps=None,
        disable_env_checker=True,
        mode=None,
        difficulty=None,
        obs_type="grayscale" if options["grayscale"] else "rgb",
        frameskip=1,
        repeat_action_probability=float(options["sticky_actions"]),
        full_action_space=options["full_action_space"],
        continuous=False,
        continuous_action_threshold=0.5,
        max_num_frames_per_episode=options["max_frames"],
        render_mode=render_mode,
        sound_obs=False,
    )


def _need(package: str, environment: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise missing(package, "atari", f"environment {environment!r}") from error


class LifeLoss(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """A lost life terminates the episode; the next episode goes on in the same game.

    ``reset`` starts a new game only if the game is over, the last episode did not end by a lost
    life, or a seed is given; otherwise it plays one no-op, whose reward nobody receives.

    ``info["game_over"]`` says after a step whether the whole game ended, and after a reset whether
    the no-op ended the game that was to go on.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self.lives = 0
        self.goes_on = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode: the next life of a game, or a new game."""
        fresh, over = seed is not None or not self.goes_on, False
        if not fresh:
            observation, _, terminated, truncated, info = self.env.step(0)
            over = terminated or truncated
        if fresh or over:
            observation, info = self.env.reset(seed=seed, options=options)
        self.lives, self.goes_on = info["lives"], False
        return observation, info | {"game_over": over}

    def step(self, action: Any) -> Step:
        """Step, and call a lost life ``terminated``."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        lost, over = info["lives"] < self.lives, terminated or truncated
        self.goes_on, self.lives = lost and not over, info["lives"]
        told = info | {"game_over": over}
        return observation, float(reward), terminated or lost, truncated, told


class FireOnReset(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """An episode starts with one action FIRE, whose reward nobody receives, if the game has it."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        meanings = env.unwrapped.get_action_meanings()  # type: ignore[attr-defined]
        self.fire = meanings.index("FIRE") if "FIRE" in meanings else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode and fire; start again if firing ended it."""
        observation, info = self.env.reset(seed=seed, options=options)
        if self.fire is None:
            return observation, info
        over = info.get("game_over", False)
        observation, _, terminated, truncated, info = self.env.step(self.fire)
        over = over or info.get("game_over", False)
        if terminated or truncated:
            observation, info = self.env.reset(seed=None, options=options)
            over = over or info.get("game_over", False)
        return observation, info | {"game_over": over}


class ClipReward(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """A reward becomes its sign: -1, 0 or +1; ``info["score"]`` is what the game gave."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)

    def step(self, action: Any) -> Step:
        """Step, and return the sign of the reward."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        clipped = float(np.sign(float(reward)))
        return observation, clipped, terminated, truncated, info | {"score": float(reward)}


class ChannelsLast(gymnasium.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Stacked screens (stack, height, width, c) become channels: (height, width, stack x c)."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        count, height, width, channels = env.observation_space.shape  # type: ignore[misc]
        shape = (height, width, count * channels)
        self.observation_space = spaces.Box(low=0, high=255, shape=shape, dtype=np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Return the screens as one array, the oldest first in its channels."""
        count, height, width, channels = observation.shape
        moved = observation.transpose(1, 2, 0, 3)
        return np.ascontiguousarray(moved).reshape(height, width, count * channels)


def save_emulator(env: Any) -> np.ndarray:
    """Return an emulator's whole state, its generator included, as bytes (about 14,000 uint8)."""
    return np.frombuffer(env.clone_state(include_rng=True).serialize(), dtype=np.uint8).copy()


def load_emulator(env: Any, state: np.ndarray) -> None:
    """Put back a state from :func:`save_emulator`; the screen follows with the next frame.

    Raises:
        CheckpointError: the bytes are not an emulator's state.
    """
    ale = _need("ale_py", "ALE")
    try:
        env.restore_state(ale.ALEState(np.asarray(state, dtype=np.uint8).tobytes()))
    except Exception as error:  # the emulator's own errors have no common base
        raise CheckpointError("the saved state of the Atari emulator cannot be read") from error
