"""Catching fruit, N games at once in NumPy, equal move for move to N single games.

The rules and the picture are in :mod:`triptych.envs.fruit`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from triptych.envs.fruit import check_grid, check_start
from triptych.errors import TaskError


class FruitVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """N games of catching fruit; observations uint8 (N, grid, grid, 1), actions 0, 1, 2 of (N,).

    A game that ended starts anew at the next step, whose action for it is ignored and whose reward
    is 0 (Gymnasium's autoreset mode NEXT_STEP). Starts are drawn from ``np_random``: the fruits'
    columns of all games that start, then the baskets'. ``reset(options={"fruit": array, "basket":
    array})`` sets either or both, shape (N,).

    Attributes:
        fruit: the fruits' columns, (N,).
        row: the fruits' rows, (N,), 0 at the top.
        basket: the columns of the baskets' centres, (N,).
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int = 1, grid: int = 15) -> None:
        check_grid(grid)
        if type(num_envs) is not int or num_envs < 1:
            raise TaskError(f"num_envs must be a whole number, at least 1, but is {num_envs!r}")
        self.num_envs, self.grid = num_envs, grid
        shape = (grid, grid, 1)
        self.single_observation_space = spaces.Box(low=0, high=1, shape=shape, dtype=np.uint8)
        self.single_action_space = spaces.Discrete(3)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.fruit = np.zeros(num_envs, dtype=np.int64)
        self.basket = np.ones(num_envs, dtype=np.int64)
        self.row = np.zeros(num_envs, dtype=np.int64)
        self._started = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start all games.

        Raises:
            TaskError: an option is unknown, of another shape, or not on the grid.
        """
        super().reset(seed=seed)
        start = check_start(options, self.grid, shape=(self.num_envs,))
        everything = np.ones(self.num_envs, dtype=bool)
        self._start(everything, start.get("fruit"), start.get("basket"))
        self._started = True
        return self._observations(), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Make one move in every running game, start anew those that ended at the last step.

        Returns:
            Observations, rewards float64 (N,), terminated bool (N,), truncated bool (N,), info.

        Raises:
            ResetNeeded: no game was started.
            TaskError: the actions are not (N,) whole numbers from 0 to 2.
        """
        if not self._started:
            raise ResetNeeded("call reset() before the first step() of triptych/Fruit-v0")
        moves = self._moves(actions)
        ended = self.row == self.grid - 2
        self.basket = np.clip(self.basket + moves, 1, self.grid - 2)
        self.row = self.row + 1
        if ended.any():
            self._start(ended, None, None)
        terminated = self.row == self.grid - 2
        caught = np.abs(self.fruit - self.basket) <= 1
        rewards = np.where(terminated, np.where(caught, 1.0, -1.0), 0.0)
        return self._observations(), rewards, terminated, np.zeros(self.num_envs, dtype=bool), {}

    def _moves(self, actions: np.ndarray) -> np.ndarray:
        actions = np.asarray(actions)
        whole = actions.dtype.kind in "iu" and actions.shape == (self.num_envs,)
        if not whole or actions.min() < 0 or actions.max() > 2:
            raise TaskError(
                f"actions of {self.num_envs} games of triptych/Fruit-v0 must be whole numbers from "
                f"0 to 2 of shape ({self.num_envs},), but got {actions!r}"
            )
        return actions.astype(np.int64) - 1

    def _start(
        self, games: np.ndarray, fruit: np.ndarray | None, basket: np.ndarray | None
    ) -> None:
        count = int(games.sum())
        if fruit is None:
            fruit = self.np_random.integers(0, self.grid, size=count)
        if basket is None:
            basket = self.np_random.integers(1, self.grid - 1, size=count)
        self.fruit[games], self.basket[games], self.row[games] = fruit, basket, 0

    def _observations(self) -> np.ndarray:
        screens = np.zeros((self.num_envs, self.grid, self.grid, 1), dtype=np.uint8)
        games = np.arange(self.num_envs)
        screens[games, self.row, self.fruit] = 1
        for offset in (-1, 0, 1):
            screens[games, -1, self.basket + offset] = 1
        return screens
