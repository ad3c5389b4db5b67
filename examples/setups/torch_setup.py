"""A PyTorch training as Triptych takes it: one function that returns its parts.

    triptych verify --left torch_setup.py:setup --right jax_setup.py:setup

``loss`` is called with (output, target). Two more keys may be there: ``scheduler``, stepped after
every update, and ``clip``, called with the parameters before every update.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def setup() -> dict:
    """Return a regression from 6 numbers to 2, freshly made at each call."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(16, 6)), rng.normal(size=(16, 2))
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return {
        "model": model,
        "optimizer": optimizer,
        "loss": nn.MSELoss(),
        "batch": (torch.tensor(inputs).float(), torch.tensor(targets).float()),
        "clip": lambda params: nn.utils.clip_grad_value_(params, 0.5),
    }
