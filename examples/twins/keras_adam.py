"""Adam as Keras computes it, in PyTorch: for who wants two trainings to agree.

Keras adds epsilon to the root of the second moment before the bias correction, PyTorch after it:

    Keras      rate * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)
    PyTorch    rate * mh / (sqrt(vh) + epsilon),  mh = m / (1 - b1^t),  vh = v / (1 - b2^t)

No constant makes them equal, but one that changes does: Keras' is PyTorch's with the epsilon
epsilon / sqrt(1 - b2^t) at update t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch


class KerasAdam(torch.optim.Adam):
    """``torch.optim.Adam`` with epsilon before the bias correction, 1e-7 unless given."""

    def __init__(
        self, params: Iterable[torch.nn.Parameter], lr: float = 1e-3, eps: float = 1e-7
    ) -> None:
        super().__init__(params, lr=lr, eps=eps)
        self.epsilon = eps

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Make one update; t is counted by the state of the first parameter."""
        for group in self.param_groups:
            state = self.state.get(group["params"][0], {})
            t = float(state.get("step", 0)) + 1.0
            group["eps"] = self.epsilon / math.sqrt(1.0 - group["betas"][1] ** t)
        return super().step(closure)
