"""Input, rescaling, dense, flatten, dropout and embedding.

Layers with a sliding window are in ``convolution.py`` and ``pooling.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal

from triptych.errors import NetworkError
from triptych.spec.layers.base import Layer, Parameter, Shape, show


@dataclass(frozen=True)
class Input(Layer):
    """The network's input: ``real`` numbers, cast to the compute type, or integer ``index``es."""

    kind: ClassVar[str] = "input"
    arity: ClassVar[int | None] = 0
    size: Shape = ()
    values: Literal["real", "index"] = "real"

    def shape(self, *inputs: Shape) -> Shape:
        """The declared size."""
        if not self.size or min(self.size) < 1:
            raise NetworkError(f"input sizes must be 1 or more, got {show(self.size)}")
        return self.size


@dataclass(frozen=True)
class Rescale(Layer):
    """x * scale + offset, inside the compiled step: uint8 pixels go in, real numbers come out."""

    kind: ClassVar[str] = "rescale"
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Dense(Layer):
    """x @ kernel + bias on the last axis; kernel (in, out)."""

    kind: ClassVar[str] = "dense"
    units: int
    bias: bool = True

    def shape(self, *inputs: Shape) -> Shape:
        """(..., in) -> (..., units)."""
        if self.units < 1:
            raise NetworkError(f"dense {self.units}: units must be 1 or more")
        return (*inputs[0][:-1], self.units)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """``kernel`` (in, out) and ``bias`` (out,)."""
        fans = (inputs[0][-1], self.units)
        bias = {"bias": Parameter((self.units,), *fans)} if self.bias else {}
        return {"kernel": Parameter(fans, *fans)} | bias

    def multiply_adds(self, *inputs: Shape) -> int:
        """in * out, for every position of the leading axes."""
        return prod(inputs[0]) * self.units


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes into one, in the canonical order: height, width, channels, the last fastest."""

    kind: ClassVar[str] = "flatten"

    def shape(self, *inputs: Shape) -> Shape:
        """(a, b, ...) -> (a * b * ...,)."""
        return (prod(inputs[0]),)

    def factors(self, *inputs: Shape) -> dict[str, Any]:
        """The order of the axes, which PyTorch users know as C, H, W."""
        return {"order": "height, width, channels"}


@dataclass(frozen=True)
class Dropout(Layer):
    """Training only: x * mask / (1 - rate), the mask drawn in NumPy and handed in as data."""

    kind: ClassVar[str] = "dropout"
    rate: float = 0.5

    def shape(self, *inputs: Shape) -> Shape:
        """Unchanged."""
        if not 0.0 <= self.rate < 1.0:
            raise NetworkError(f"dropout rate must be in [0, 1), got {self.rate}")
        return inputs[0]


@dataclass(frozen=True)
class Embedding(Layer):
    """A row of ``kernel`` (size, features) for each integer index."""

    kind: ClassVar[str] = "embedding"
    size: int
    features: int

    def shape(self, *inputs: Shape) -> Shape:
        """(...) -> (..., features)."""
        if min(self.size, self.features) < 1:
            raise NetworkError(
                f"embedding {self.size} {self.features}: size and features must be 1 or more"
            )
        return (*inputs[0], self.features)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """``kernel`` (size, features)."""
        return {"kernel": Parameter((self.size, self.features), self.size, self.features)}
