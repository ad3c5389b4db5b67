"""MinAtar: five Atari games in small, 10 x 10 cells (Young and Tian 2019, arXiv:1903.03176).

The games are the package's own; here is what a Gymnasium environment adds: seeds, spaces, a
picture, and an exact state. An id says which actions there are:
``MinAtar/SpaceInvaders-v1`` has those that act in this game, ``-v0`` all six, as the package has
registered them. minatar is imported only when a game is made.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from triptych.envs.options import Option
from triptych.errors import TaskError, did_you_mean, missing

OPTIONS: dict[str, Option] = {
    "sticky_actions": Option(default=0.1, low=0.0, high=1.0),
    "difficulty_ramping": Option(default=True),
}
GAMES = {"asterix": 5, "breakout": 3, "freeway": 3, "seaquest": 6, "space_invaders": 4}
"""How many of the six actions do something in each game."""

_PIXELS = 16
_GROUND = (24, 26, 34)
_COLOURS = np.array(
    [
        (72, 149, 239), (247, 148, 41), (239, 71, 111), (6, 214, 160), (255, 209, 102),
        (180, 130, 255), (120, 200, 255), (255, 150, 200), (160, 220, 120), (230, 230, 230),
    ],
    dtype=np.uint8,
)  # fmt: skip


def ids() -> list[str]:
    """Return the ids of all games."""
    names = ["".join(word.title() for word in game.split("_")) for game in GAMES]
    return [f"MinAtar/{name}-v{version}" for name in names for version in (1, 0)]


def problem(environment: str) -> str | None:
    """Return a sentence where there is no such game."""
    if environment in ids():
        return None
    return (
        f"there is no environment {environment!r}{did_you_mean(environment, ids())}; "
        f"MinAtar's games are {', '.join(ids()[::2])}"
    )


def action_count(environment: str, options: Mapping[str, Any]) -> int | None:
    """Return the number of a game's actions."""
    game, minimal = _game(environment)
    return GAMES[game] if minimal else 6


def _game(environment: str) -> tuple[str, bool]:
    """Return the package's name of a game, and whether only actions that act are given."""
    name, version = environment.removeprefix("MinAtar/").split("-v")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower(), version == "1"


def build(
    environment: str, options: Mapping[str, Any], render_mode: str | None
) -> gymnasium.Env[Any, Any]:
    """Return a game.

    Args:
        environment: one of :func:`ids`.
        options: a value for each name of :data:`OPTIONS`.
        render_mode: ``rgb_array`` or None.

    Raises:
        MissingDependency: minatar is not installed.
        TaskError: there is no such game.
    """
    wrong = problem(environment)
    if wrong is not None:
        raise TaskError(wrong)
    try:
        return MinAtarEnv(*_game(environment), render_mode=render_mode, **options)
    except ImportError as error:
        raise missing("minatar", "minatar", f"environment {environment!r}") from error


class MinAtarEnv(gymnasium.Env[np.ndarray, Any]):
    """One MinAtar game; observation uint8 (10, 10, channels), 1 where a thing of a kind is.

    Args:
        game: one of :data:`GAMES`.
        minimal: only the actions that act in this game, else all six.
        sticky_actions: the probability that the last action is repeated instead.
        difficulty_ramping: whether the game gets harder as one plays well.
        render_mode: ``rgb_array`` or None.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        game: str,
        minimal: bool,
        sticky_actions: float,
        difficulty_ramping: bool,
        render_mode: str | None = None,
    ) -> None:
        self.made = (game, minimal, sticky_actions, difficulty_ramping)
        self.render_mode = render_mode
        self._game = _package()(game, sticky_actions, difficulty_ramping)
        six = range(self._game.num_actions())
        self._actions = self._game.minimal_action_set() if minimal else list(six)
        shape = tuple(self._game.state_shape())
        self.observation_space = spaces.Box(low=0, high=1, shape=shape, dtype=np.uint8)
        self.action_space = spaces.Discrete(len(self._actions))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a game; its draws go on in the stream of the last seed."""
        if seed is not None or self._np_random is None:
            super().reset(seed=seed)
            # The games draw from NumPy's old generator, which takes 32 bits.
            self._game.seed(int(self.np_random.integers(2**32)))
        self._game.reset()
        self._game.last_action = 0
        return self._look(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take an action; the game is never truncated."""
        reward, terminated = self._game.act(self._actions[int(action)])
        return self._look(), float(reward), bool(terminated), False, {}

    def _look(self) -> np.ndarray:
        return np.asarray(self._game.state(), dtype=np.uint8)

    def render(self) -> np.ndarray:
        """Return the cells as uint8 (160, 160, 3), a colour for each kind of thing."""
        seen = self._look()
        picture = np.full((*seen.shape[:2], 3), _GROUND, dtype=np.uint8)
        for kind in range(seen.shape[2]):
            picture[seen[..., kind] == 1] = _COLOURS[kind]
        return picture.repeat(_PIXELS, axis=0).repeat(_PIXELS, axis=1)

    def save(self) -> dict[str, Any]:
        """Return the game's exact state, its generator included: plain data and arrays."""
        inner = {name: value for name, value in vars(self._game.env).items() if name != "random"}
        stream = self._game.random.get_state(legacy=False)
        return {"game": inner, "last_action": self._game.last_action, "stream": stream}

    def load(self, state: Mapping[str, Any]) -> None:
        """Put a state from :meth:`save` back."""
        vars(self._game.env).update(state["game"])
        self._game.last_action = state["last_action"]
        self._game.random.set_state(state["stream"])
        self._game.env.random = self._game.random


def _package() -> Any:
    """Return the package's class of games.

    It warns where packages for drawing are missing, which nothing here needs.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        from minatar import Environment
    finally:
        logging.disable(before)
    return Environment
