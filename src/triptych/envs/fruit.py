"""Catching fruit from pixels: the rules, one game at a time, and its picture.

A grid of G x G cells. The fruit starts in column 0..G-1 of the top row; the basket, three cells
wide, stands on the bottom row with its centre in column 1..G-2. A move shifts the basket by one
cell or not at all, then the fruit falls by one row. The game ends when the fruit reaches the row
above the basket: reward +1 if it is over the basket, else -1, and 0 before. So a game has G-2
moves and G-1 screens. Many games at once are in :mod:`triptych.envs.fruit_vector`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from triptych.envs.options import Option, wrong_values
from triptych.errors import TaskError, did_you_mean

OPTIONS: dict[str, Option] = {"grid": Option(default=15, low=5)}

_PIXELS = 16
_GROUND = (24, 26, 34)
_LINES = (33, 36, 46)
_FRUIT = (247, 148, 41)
_BASKET = (72, 149, 239)


class FruitEnv(gymnasium.Env[np.ndarray, Any]):
    """One game of catching fruit; observation uint8 (grid, grid, 1), 1 where something is.

    Actions: 0 moves the basket left, 1 leaves it, 2 moves it right. A game's start is drawn from
    ``np_random``, first the fruit's column, then the basket's; ``reset(options={"fruit": x,
    "basket": c})`` sets either or both instead, and draws only what is not set.

    Attributes:
        fruit: the fruit's column.
        row: the fruit's row, 0 at the top.
        basket: the column of the basket's centre.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012

    def __init__(self, grid: int = 15, render_mode: str | None = None) -> None:
        check_grid(grid)
        self.grid = grid
        self.render_mode = render_mode
        self.observation_space = spaces.Box(low=0, high=1, shape=(grid, grid, 1), dtype=np.uint8)
        self.action_space = spaces.Discrete(3)
        self.fruit, self.basket, self.row = 0, 1, 0
        self._started = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a game.

        Raises:
            TaskError: an option is unknown, or its column is not on the grid.
        """
        super().reset(seed=seed)
        start = check_start(options, self.grid, shape=())
        self.fruit = int(start.get("fruit", self._draw(0, self.grid, "fruit" in start)))
        self.basket = int(start.get("basket", self._draw(1, self.grid - 1, "basket" in start)))
        self.row = 0
        self._started = True
        return self._observation(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move the basket, let the fruit fall by one row.

        A step after the end warns, as Gymnasium's own environments do, and changes nothing.

        Raises:
            ResetNeeded: no game was started.
            TaskError: the action is not 0, 1 or 2.
        """
        if not self._started:
            raise ResetNeeded("call reset() before the first step() of triptych/Fruit-v0")
        if action not in (0, 1, 2):
            raise TaskError(f"an action of triptych/Fruit-v0 is 0, 1 or 2, but got {action!r}")
        if self.row >= self.grid - 2:
            gymnasium.logger.warn("this game of triptych/Fruit-v0 has ended: call reset() to go on")
            return self._observation(), 0.0, True, False, {}
        self.basket = min(max(self.basket + int(action) - 1, 1), self.grid - 2)
        self.row += 1
        terminated = self.row == self.grid - 2
        caught = abs(self.fruit - self.basket) <= 1
        reward = (1.0 if caught else -1.0) if terminated else 0.0
        return self._observation(), reward, terminated, False, {}

    def render(self) -> np.ndarray | None:
        """Return the picture, uint8 (16 grid, 16 grid, 3), if ``render_mode`` is "rgb_array"."""
        if self.render_mode != "rgb_array":
            return None
        return picture(self.grid, self.fruit, self.row, self.basket)

    def _draw(self, low: int, high: int, is_set: bool) -> int:
        return low if is_set else int(self.np_random.integers(low, high))

    def _observation(self) -> np.ndarray:
        screen = np.zeros((self.grid, self.grid, 1), dtype=np.uint8)
        screen[self.row, self.fruit] = 1
        screen[-1, self.basket - 1 : self.basket + 2] = 1
        return screen


def start_states(grid: int = 15) -> list[dict[str, int]]:
    """Return all grid x (grid - 2) starts as options for ``reset``, the fruit's column outermost.

    Raises:
        TaskError: the grid is not a whole number, at least 5.
    """
    check_grid(grid)
    return [{"fruit": x, "basket": c} for x in range(grid) for c in range(1, grid - 1)]


def picture(grid: int, fruit: int, row: int, basket: int) -> np.ndarray:
    """Return a game's picture: uint8 (16 grid, 16 grid, 3), an orange fruit, a blue basket."""
    image = np.empty((grid * _PIXELS, grid * _PIXELS, 3), dtype=np.uint8)
    image[:] = _GROUND
    image[::_PIXELS] = _LINES
    image[:, ::_PIXELS] = _LINES
    offset = np.arange(_PIXELS) - (_PIXELS - 1) / 2
    disc = offset[:, None] ** 2 + offset[None, :] ** 2 <= (0.45 * _PIXELS) ** 2
    top, left = row * _PIXELS, fruit * _PIXELS
    image[top : top + _PIXELS, left : left + _PIXELS][disc] = _FRUIT
    bottom, start, end = grid * _PIXELS, (basket - 1) * _PIXELS, (basket + 2) * _PIXELS
    rim = _PIXELS // 4
    image[bottom - _PIXELS + 1 : bottom, start + 1 : start + rim] = _BASKET
    image[bottom - _PIXELS + 1 : bottom, end - rim + 1 : end] = _BASKET
    image[bottom - _PIXELS // 2 : bottom, start + 1 : end] = _BASKET
    return image


def check_grid(grid: int) -> None:
    """Raise a TaskError if the grid is not a whole number, at least 5."""
    mistakes = wrong_values("triptych/Fruit-v0", {"grid": grid}, OPTIONS)
    if mistakes:
        raise TaskError(mistakes[0])


def check_start(
    options: Mapping[str, Any] | None, grid: int, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return the start columns that ``reset`` was given, as whole-number arrays of a shape.

    Raises:
        TaskError: an option is unknown, of another shape or type, or not on the grid.
    """
    limits = {"fruit": (0, grid - 1), "basket": (1, grid - 2)}
    start = {}
    for name, value in (options or {}).items():
        if name not in limits:
            raise TaskError(
                f"reset of triptych/Fruit-v0 has no option {name!r}"
                f"{did_you_mean(name, limits)}; it has fruit, basket"
            )
        low, high = limits[name]
        columns = np.asarray(value)
        whole = columns.dtype.kind in "iu" and columns.shape == shape
        if not whole or columns.min() < low or columns.max() > high:
            what = f"whole numbers of shape {shape}" if shape else "a whole number"
            raise TaskError(
                f"reset option {name!r} of triptych/Fruit-v0 with a grid of {grid} must be {what} "
                f"from {low} to {high}, but is {value!r}"
            )
        start[name] = columns
    return start
