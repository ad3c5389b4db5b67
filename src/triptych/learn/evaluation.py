"""Judging a trained network: episodes apart from training, and what is said of their returns.

The one place where episodes are played to be counted or looked at. Each begins from a seed of its
own, which decides the environment's draws and the random actions, so that any of them can be played
again alone. Making environments and keeping results do not belong here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from triptych.backends.protocol import Learner
from triptych.spec.randomness import generator, integer_seed

Env = gymnasium.Env[Any, Any]

Act = Callable[[np.ndarray, Sequence[int | None]], Sequence[int]]
"""From the observations of all games, (games, ...), and the number of the episode that each plays
(None: no more), to an action for each."""


@dataclass(frozen=True)
class Start:
    """How an episode begins: a seed, and options of the environment's ``reset``."""

    seed: int
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Episode:
    """An episode that was played: how it began, its return, the actions taken."""

    start: Start
    total: float
    actions: list[int]


def held_out(seed: int, episodes: int) -> list[Start]:
    """Return starts from the streams ``evaluation/0``, ``evaluation/1``, ... of a seed, which no
    training draws from."""
    return [Start(integer_seed(seed, f"evaluation/{k}")) for k in range(episodes)]


class EpsilonGreedy:
    """Takes the best action by a network, or with probability ``exploration`` a random one.

    Args:
        learner: whose online network acts; None where all actions are random.
        actions: how many there are.
        exploration: 0 is greedy, 1 uniformly random.
        starts: of the episodes; each draws from the stream ``evaluation/explore`` of its own seed.
    """

    def __init__(
        self, learner: Learner | None, actions: int, exploration: float, starts: Sequence[Start]
    ) -> None:
        self.learner, self.actions, self.exploration = learner, actions, exploration
        self._streams = [generator(start.seed, "evaluation/explore") for start in starts]

    def __call__(self, observations: np.ndarray, numbers: Sequence[int | None]) -> list[int]:
        """Return an action for each game; those that are over get one that nobody takes."""
        drawn = [0 if number is None else self._draw(number) for number in numbers]
        if self.learner is None or None not in drawn:
            return [action or 0 for action in drawn]
        best = np.argmax(self.learner.outputs(observations), axis=1)
        pairs = zip(drawn, best, strict=True)
        return [int(greedy) if action is None else action for action, greedy in pairs]

    def _draw(self, number: int) -> int | None:
        """Return a random action where one is due: one uniform number is drawn at every step."""
        stream = self._streams[number]
        random = self.exploration > 0.0 and stream.random() < self.exploration
        return int(stream.integers(self.actions)) if random else None


def again(episode: Episode) -> Act:
    """Return what takes an episode's actions once more, in one game; action 0 where it goes on."""
    actions = iter(episode.actions)
    return lambda observations, numbers: [next(actions, 0)]


class _Seat:
    """A game and the episode that is played in it."""

    def __init__(self, game: Env, see: Callable[[Env], None] | None) -> None:
        self.game, self._see = game, see
        self.number: int | None = None

    def begin(self, number: int, start: Start) -> np.ndarray:
        self.number, self.start, self.over = number, start, False
        self.total, self.actions = 0.0, list[int]()
        options = None if start.options is None else dict(start.options)
        observation, _ = self.game.reset(seed=start.seed, options=options)
        return self._seen(observation)

    def step(self, action: int) -> np.ndarray:
        observation, reward, terminated, truncated, _ = self.game.step(action)
        self.total += float(reward)
        self.actions.append(action)
        self.over = bool(terminated or truncated)
        return self._seen(observation)

    def _seen(self, observation: Any) -> np.ndarray:
        if self._see is not None:
            self._see(self.game)
        return np.asarray(observation)


def play(
    act: Act,
    games: Sequence[Env],
    starts: Sequence[Start],
    *,
    see: Callable[[Env], None] | None = None,
    tell: Callable[[int, int, str], None] | None = None,
) -> list[Episode]:
    """Play an episode from each start, several at a time, and return them in the starts' order.

    All games' observations go to ``act`` together, also of games that are over, so that a network
    sees batches of one size. An episode doesn't depend on what is played beside it, but for the
    rounding of a batch in float32.

    Args:
        act: chooses the actions.
        games: environments of one task, with Discrete actions; at least one.
        starts: one for each episode.
        see: is called with the environment after every reset and step, to take a picture.
        tell: is called after every episode with how many there were, of how many, and the unit.
    """
    waiting = iter(enumerate(starts))
    seats = [_Seat(game, see) for game in games[: len(starts)]]
    observations = np.stack([seat.begin(*next(waiting)) for seat in seats])
    played: dict[int, Episode] = {}
    while len(played) < len(starts):
        actions = act(observations, [seat.number for seat in seats])
        for place, seat in enumerate(seats):
            if seat.number is not None:
                observations[place] = seat.step(int(actions[place]))
                if seat.over:
                    played[seat.number] = Episode(seat.start, seat.total, seat.actions)
                    if tell is not None:
                        tell(len(played), len(starts), "episode")
                    _go_on(seat, waiting, observations[place])
    return [played[number] for number in range(len(starts))]


def _go_on(seat: _Seat, waiting: Iterator[tuple[int, Start]], observation: np.ndarray) -> None:
    """Begin the next episode in a game, if one waits, and write its first observation."""
    following = next(waiting, None)
    if following is None:
        seat.number = None
    else:
        observation[...] = seat.begin(*following)


def metric(name: str, returns: Sequence[float]) -> float:
    """``greedy_return``: the mean return; ``success_rate``: the share of positive returns."""
    values = np.asarray(returns)
    return float(values.mean() if name == "greedy_return" else (values > 0).mean())


def summary(returns: Sequence[float]) -> dict[str, float]:
    """Return mean, standard error of the mean (NaN for one), median, least and most of returns."""
    values = np.asarray(returns, dtype=np.float64)
    many = len(values) > 1
    return {
        "mean": float(values.mean()),
        "standard_error": float(values.std(ddof=1) / math.sqrt(len(values))) if many else math.nan,
        "median": float(np.median(values)),
        "min": float(values.min()),
        "max": float(values.max()),
    }


def standard_errors_apart(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Return the difference of two summaries' means in standard errors of it; None if that is 0."""
    error = math.hypot(one["standard_error"], other["standard_error"])
    return (one["mean"] - other["mean"]) / error if error > 0 else None
