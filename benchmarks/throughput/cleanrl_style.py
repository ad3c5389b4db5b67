"""A deep Q-learning loop of our own in CleanRL's style: one file, plain PyTorch, SB3's buffer.

CleanRL itself cannot be measured: its newest release on PyPI, 0.4.8, needs the old ``gym`` and is a
script of 2021 with a buffer of Python tuples. This follows its later ``dqn_atari.py`` (channels
first, ``ReplayBuffer(optimize_memory_usage=True)``), with S4's network, Huber loss and clipping.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from torch import nn, optim

from throughput import settings


class QNetwork(nn.Module):
    def __init__(self, actions: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(4, 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(3136, 512),
            nn.ReLU(),
            nn.Linear(512, 256),
            nn.ReLU(),
            nn.Linear(256, actions),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x / 255.0)


class ChannelsFirst(gymnasium.ObservationWrapper):
    """The same pixels with the stack in front, as PyTorch users keep them."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        height, width, stack = env.observation_space.shape
        self.observation_space = spaces.Box(0, 255, (stack, height, width), np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(observation.transpose(2, 0, 1))


class CleanRLStyle:
    """The script as a class, so that it can be stopped between two steps."""

    def __init__(self) -> None:
        self.own, self.env = settings.algorithm(), ChannelsFirst(settings.make_env())
        self.q_network = QNetwork(int(self.env.action_space.n))
        self.target_network = copy.deepcopy(self.q_network)
        self.optimizer = optim.Adam(self.q_network.parameters(), lr=settings.RATE)
        self.buffer = ReplayBuffer(
            self.own.replay,
            self.env.observation_space,
            self.env.action_space,
            optimize_memory_usage=True,
            handle_timeout_termination=False,
        )
        self.parameters = sum(p.numel() for p in self.q_network.parameters())
        self.updates = 0
        self._steps = self._loop()

    def prepare(self) -> None:
        self.run(settings.WARM_UP)

    def run(self, steps: int) -> None:
        for _ in islice(self._steps, steps):
            pass

    def components(self) -> dict[str, Callable[[], object]]:
        observation, _ = self.env.reset()
        batch = self.buffer.sample(self.own.batch)
        # The loop goes on with a new episode, as the game was used for timing.
        self._steps = self._loop(random_steps=0)
        return {
            "emulation": self._emulate,
            "selection": lambda: self._act(observation),
            "append": lambda: self._remember(observation, observation, 0, 0.0, False),
            "sampling": lambda: self.buffer.sample(self.own.batch),
            "update": lambda: self._update(batch),
            "target sync": self._sync,
        }

    def _emulate(self) -> None:
        _, _, terminated, truncated, _ = self.env.step(0)
        if terminated or truncated:
            self.env.reset()

    def _loop(self, random_steps: int = settings.RANDOM_STEPS) -> Iterator[None]:
        obs, _ = self.env.reset(seed=0)
        global_step = 0
        while True:
            if global_step < random_steps or random.random() < settings.EPSILON:
                action = int(self.env.action_space.sample())
            else:
                action = self._act(obs)
            next_obs, reward, terminated, truncated, _ = self.env.step(action)
            self._remember(obs, next_obs, action, reward, terminated)
            obs = next_obs
            global_step += 1
            if global_step >= random_steps and global_step % self.own.update_every == 0:
                self._update(self.buffer.sample(self.own.batch))
                self.updates += 1
            if global_step % self.own.target_sync == 0:
                self._sync()
            if terminated or truncated:
                obs, _ = self.env.reset()
            yield

    def _act(self, obs: np.ndarray) -> int:
        with torch.no_grad():
            q_values = self.q_network(torch.from_numpy(obs[None]))
        return int(torch.argmax(q_values, dim=1))

    def _remember(
        self, obs: np.ndarray, next_obs: np.ndarray, action: int, reward: Any, over: bool
    ) -> None:
        given = obs[None], next_obs[None], np.array([action])
        self.buffer.add(*given, np.array([reward]), np.array([over]), [{}])

    def _update(self, data: Any) -> None:
        with torch.no_grad():
            target_max, _ = self.target_network(data.next_observations).max(dim=1)
            td_target = data.rewards.flatten() + self.own.discount * target_max * (
                1 - data.dones.flatten()
            )
        old_val = self.q_network(data.observations).gather(1, data.actions).squeeze()
        loss = F.huber_loss(old_val, td_target)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.q_network.parameters(), settings.MAX_NORM)
        self.optimizer.step()

    def _sync(self) -> None:
        self.target_network.load_state_dict(self.q_network.state_dict())
