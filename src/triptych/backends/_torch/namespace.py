"""The array functions that objectives are written in, by PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class TorchNamespace:
    """See :class:`triptych.backends.protocol.Namespace`."""

    def sum(self, x: Tensor, axis: int | None = None) -> Tensor:
        """Sum over one axis or all."""
        return x.sum() if axis is None else x.sum(dim=axis)

    def mean(self, x: Tensor, axis: int | None = None) -> Tensor:
        """Mean over one axis or all."""
        return x.mean() if axis is None else x.mean(dim=axis)

    def max(self, x: Tensor, axis: int) -> Tensor:
        """Largest over an axis."""
        return x.amax(dim=axis)

    def argmax(self, x: Tensor, axis: int) -> Tensor:
        """Index of the first largest over an axis."""
        return x.argmax(dim=axis)

    def abs(self, x: Tensor) -> Tensor:
        """Absolute value."""
        return x.abs()

    def square(self, x: Tensor) -> Tensor:
        """x * x."""
        return x.square()

    def log(self, x: Tensor) -> Tensor:
        """Natural logarithm."""
        return x.log()

    def where(self, condition: Tensor, x: Any, y: Any) -> Tensor:
        """x where the condition holds, else y."""
        return torch.where(condition, x, y)

    def log_softmax(self, x: Tensor, axis: int) -> Tensor:
        """x - log sum exp(x)."""
        return torch.log_softmax(x, dim=axis)

    def one_hot(self, x: Tensor, size: int, like: Tensor) -> Tensor:
        """1 where the last axis equals x, else 0."""
        return torch.nn.functional.one_hot(x.long(), size).to(like.dtype)

    def take_along_axis(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        """x at the given indices of an axis."""
        return torch.take_along_dim(x, indices.long(), dim=axis)

    def stop_gradient(self, x: Tensor) -> Tensor:
        """x as a constant."""
        return x.detach()

    def expand_dims(self, x: Tensor, axis: int) -> Tensor:
        """A new axis of size 1."""
        return x.unsqueeze(axis)

    def squeeze(self, x: Tensor, axis: int) -> Tensor:
        """Without an axis of size 1."""
        return x.squeeze(axis)

    def astype(self, x: Tensor, like: Tensor) -> Tensor:
        """x in the type of ``like``."""
        return x.to(like.dtype)
