"""A learner and an environment without a framework, small enough to predict by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from triptych.learn.dqn import DQNAgent
from triptych.learn.game import Game
from triptych.learn.prioritised import PrioritisedMemory
from triptych.learn.replay import ReplayMemory
from triptych.learn.training import Training
from triptych.spec.randomness import generator, get_state, set_state
from triptych.spec.recipe import DQN, Budget, Logging
from triptych.spec.schedules import Constant


class FakeLearner:
    """Prefers the action that the observation's first number names; counts what it is asked."""

    def __init__(self, actions: int = 3) -> None:
        self.actions, self.updates = actions, 0
        self.batches: list[Mapping[str, np.ndarray]] = []
        self.synced_at: list[int] = []
        self.reported: dict[str, np.ndarray] = {}

    def outputs(self, observations: np.ndarray, network: str = "online") -> np.ndarray:
        wanted = observations.reshape(len(observations), -1)[:, 0].astype(int) % self.actions
        return np.eye(self.actions)[wanted]

    def update(self, batch: Mapping[str, np.ndarray]) -> np.float32:
        self.updates += 1
        # Errors that tell transitions apart, as an objective's reports would.
        self.reported = {"error": np.asarray(batch["reward"]) + batch["observation"][:, 0]}
        self.batches.append({key: np.array(value) for key, value in batch.items()})
        return np.float32(1.0 / self.updates)

    def sync_target(self) -> None:
        self.synced_at.append(self.updates)

    def state(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.updates = state["updates"]


class Corridor(gymnasium.Env[np.ndarray, int]):
    """Counts its steps: ends at ``length`` or is cut off at ``limit``; rewards are drawn."""

    def __init__(self, length: int = 13, limit: int = 10_000) -> None:
        self.length, self.limit = length, limit
        self.observation_space = gymnasium.spaces.Box(0, 255, (2,), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(3)
        self.seeds: list[int | None] = []
        self.place = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.place = 0
        return self._look(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place += 1
        reward = float(self.np_random.integers(-1, 2)) + 0.25 * action
        return self._look(), reward, self.place >= self.length, self.place >= self.limit, {}

    def _look(self) -> np.ndarray:
        return np.array([self.place % 256, len(self.seeds) % 256], dtype=np.uint8)


def snapshot(env: Any) -> dict[str, Any]:
    return {
        "place": env.place, "seeds": list(env.seeds), "stream": get_state(env.np_random),
    }  # fmt: skip


def restore(env: Any, state: Mapping[str, Any]) -> None:
    env.place, env.seeds = state["place"], list(state["seeds"])
    env.np_random = generator(0, "anything")
    set_state(env.np_random, dict(state["stream"]))


def algorithm(**options: Any) -> DQN:
    given = {"discount": 0.8, "batch": 4, "replay": 100, "exploration": Constant(0.5)}
    return DQN(**{**given, **options})


def make(
    own: DQN,
    budget: Budget,
    *envs: Corridor,
    logging: Logging | None = None,
    seed: int = 0,
) -> Training:
    """A training in the given environments, one for each game; in a corridor each by default."""
    games = [
        Game(env, 7 + k) for k, env in enumerate(envs or [Corridor() for _ in range(own.games)])
    ]
    agent = DQNAgent(own, FakeLearner(), memory_of(own), 3, seed)  # type: ignore[arg-type]
    return Training(agent, games, budget, logging or Logging(), snapshot, restore)


def memory_of(own: DQN) -> ReplayMemory:
    sizes: Any = (own.replay, (2,), 1, np.uint8)
    ways: Any = {"lanes": own.games, "n_step": own.n_step, "discount": own.discount}
    if own.prioritised is None:
        return ReplayMemory(*sizes, **ways)
    one = own.prioritised
    return PrioritisedMemory(*sizes, alpha=one.alpha, epsilon=one.epsilon, **ways)
