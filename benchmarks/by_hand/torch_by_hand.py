"""Deep Q-learning in plain PyTorch."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from by_hand import Hands


class Fruit(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3)
        self.conv2 = nn.Conv2d(16, 16, 3)
        self.dense1 = nn.Linear(11 * 11 * 16, 100)
        self.dense2 = nn.Linear(100, 3)

    def forward(self, x):
        x = x.permute(0, 3, 1, 2).float()
        x = F.relu(self.conv1(x), inplace=True)
        x = F.relu(self.conv2(x), inplace=True)
        x = x.permute(0, 2, 3, 1).flatten(1)
        return self.dense2(F.relu(self.dense1(x), inplace=True))


class Invaders(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 32, 8, stride=4)
        self.conv2 = nn.Conv2d(32, 64, 4, stride=2)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.dense1 = nn.Linear(7 * 7 * 64, 512)
        self.dense2 = nn.Linear(512, 256)
        self.dense3 = nn.Linear(256, 6)

    def forward(self, x):
        x = x.permute(0, 3, 1, 2).float() * (1 / 255)
        x = F.relu(self.conv1(x), inplace=True)
        x = F.relu(self.conv2(x), inplace=True)
        x = F.relu(self.conv3(x), inplace=True)
        x = x.permute(0, 2, 3, 1).flatten(1)
        x = F.relu(self.dense1(x), inplace=True)
        x = F.relu(self.dense2(x), inplace=True)
        return self.dense3(x)


def make(name):
    fruit = name == "fruit"
    model = (Fruit() if fruit else Invaders()).to(memory_format=torch.channels_last)
    target = model if fruit else copy.deepcopy(model)
    if fruit:
        optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=2.5e-4, fused=True)
    discount = 0.8 if fruit else 0.99

    def act(observation):
        with torch.inference_mode():
            return int(model(torch.from_numpy(observation[None])).argmax())

    def update(batch):
        data = {key: torch.from_numpy(value) for key, value in batch.items()}
        reward = data["reward"].float()
        with torch.no_grad():
            later = target(data["next_observation"]).amax(dim=1)
            goal = reward + discount * (1.0 - data["terminated"].float()) * later
        q = model(data["observation"])
        chosen = q.gather(1, data["action"].long()[:, None])[:, 0]
        loss = F.mse_loss(chosen, goal) if fruit else F.huber_loss(chosen, goal)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if not fruit:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    def sync_target():
        target.load_state_dict(model.state_dict())

    return Hands(act, update, sync_target, sum(p.numel() for p in model.parameters()))


def matrix_multiply(size):
    left, right = torch.randn(size, size), torch.randn(size, size)
    return lambda: left @ right
