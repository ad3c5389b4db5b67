"""What every layer is: frozen data that infers its output shape and its parameters.

Shapes are without the batch axis and channels last. Concrete layers are in the files beside this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from triptych.errors import NetworkError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Parameter:
    """One array of a layer in the canonical layout.

    ``fan_in`` and ``fan_out`` count the connections of one output and one input unit (Glorot and
    Bengio 2010); ``trainable`` is false for running statistics; ``role`` says which distribution
    of ``initial.py`` it is drawn from, where that is not its local name.
    """

    shape: Shape
    fan_in: int = 1
    fan_out: int = 1
    trainable: bool = True
    role: str = ""

    @property
    def size(self) -> int:
        """The number of entries."""
        count = 1
        for axis in self.shape:
            count *= axis
        return count


@dataclass(frozen=True)
class Layer:
    """Base of all layers. Subclasses add fields, each a factor on which two networks can differ."""

    kind: ClassVar[str] = ""
    arity: ClassVar[int | None] = 1
    """How many inputs it takes; ``None`` for two or more."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise NetworkError(f"{self.kind}: {field.name} must be finite but is {value}")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the output shape for the input shapes; raise NetworkError where they don't fit."""
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """Return the layer's arrays by their local names, such as ``kernel``."""
        return {}

    def multiply_adds(self, *inputs: Shape) -> int:
        """Return the multiply-adds of one forward pass of one example (convolutions, dense)."""
        return 0

    def window(self) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Return (extent, stride) of a sliding window, each (height, width), or None."""
        return None

    def factors(self, *inputs: Shape) -> dict[str, Any]:
        """Return every constant of the layer that two frameworks could differ on."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Activation(Layer):
    """Base of the elementwise functions; they keep the shape and have no parameters."""


def need_rank(shape: Shape, rank: int, what: str) -> None:
    """Raise NetworkError unless ``shape`` has ``rank`` axes."""
    if len(shape) != rank:
        axes = {1: "(features)", 2: "(time, features)", 3: "(height, width, channels)"}[rank]
        hint = "; put a flatten before it" if rank == 1 else ""
        raise NetworkError(f"{what} takes {axes} but its input is {show(shape)}{hint}")


def show(shape: Shape) -> str:
    """Return a shape as people write it: ``15x15x1``."""
    return "x".join(str(size) for size in shape) or "()"
