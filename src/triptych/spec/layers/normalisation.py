"""Batch and layer normalisation over the last axis (channels)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from triptych.errors import NetworkError
from triptych.spec.layers.base import Layer, Parameter, Shape


@dataclass(frozen=True)
class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + epsilon) * scale + offset, per channel (Ioffe, Szegedy 2015).

    Training uses the batch's mean and biased variance and moves the running statistics:
    running = keep * running + (1 - keep) * batch, with the biased variance, or with the unbiased
    one (n / (n - 1)) where ``unbiased`` is set, as PyTorch does. Inference uses the running ones.
    """

    kind: ClassVar[str] = "batch_norm"
    epsilon: float = 1e-3
    keep: float = 0.99
    unbiased: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_epsilon(self.kind, self.epsilon)
        if not 0.0 <= self.keep <= 1.0:
            raise NetworkError(f"batch_norm: keep must be from 0 to 1 but is {self.keep}")

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """``scale``, ``offset`` and the running ``mean``, ``variance``, each (channels,)."""
        shape = (inputs[0][-1],)
        still = Parameter(shape, trainable=False)
        learnt = Parameter(shape)
        return {"scale": learnt, "offset": learnt, "mean": still, "variance": still}


@dataclass(frozen=True)
class LayerNorm(Layer):
    """(x - mean) / sqrt(variance + epsilon) * scale + offset over the last axis (Ba et al. 2016).

    The variance is biased.
    """

    kind: ClassVar[str] = "layer_norm"
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_epsilon(self.kind, self.epsilon)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """``scale`` and ``offset``, each (channels,)."""
        learnt = Parameter((inputs[0][-1],))
        return {"scale": learnt, "offset": learnt}


def _check_epsilon(kind: str, epsilon: float) -> None:
    """A constant channel has no variance, so that without epsilon zero is divided by zero."""
    if epsilon <= 0.0:
        raise NetworkError(f"{kind}: epsilon must be above 0 but is {epsilon}")
