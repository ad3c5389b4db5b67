"""A small picture classifier in PyTorch, as one would write it by hand.

Its twin is ``right_keras.py``. ``setup`` is what Triptych calls; run the file to train.
"""

from __future__ import annotations

import torch
from shapes import pictures
from torch import nn

RATE = 1e-3


class Net(nn.Module):
    """conv 8 3x3 relu -> conv 16 3x3 relu -> flatten -> dense 32 relu -> dense 3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.hidden = nn.Linear(16 * 4 * 4, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, 8, 8) -> (batch, 3), logits."""
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        x = x.flatten(1)
        x = torch.relu(self.hidden(x))
        return self.head(x)


def data(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (count, 1, 8, 8) and labels."""
    images, labels = pictures(count, seed)
    return torch.from_numpy(images[:, None]), torch.from_numpy(labels)


def setup() -> dict:
    """What this training consists of."""
    model = Net()
    return {
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters(), lr=RATE),
        "loss": nn.CrossEntropyLoss(),
        "batch": data(32),
    }


def main() -> None:
    """Train for 300 updates and test."""
    own = setup()
    model, optimizer, loss = own["model"], own["optimizer"], own["loss"]
    for step in range(300):
        images, labels = data(32, seed=step)
        optimizer.zero_grad()
        value = loss(model(images), labels)
        value.backward()
        optimizer.step()
    images, labels = data(1000, seed=10_000)
    with torch.no_grad():
        right = (model(images).argmax(1) == labels).float().mean()
    print(f"loss {value:.3f}, {right:.1%} of 1,000 new pictures right")


if __name__ == "__main__":
    main()
