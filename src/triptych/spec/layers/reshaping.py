"""Layers that move numbers without computing any: reshape, permute, pad.

Flattening is in ``core.py``; merging in ``merge.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from triptych.errors import NetworkError
from triptych.spec.layers.base import Layer, Shape, need_rank, show
from triptych.spec.layers.convolution import Amounts


@dataclass(frozen=True)
class Reshape(Layer):
    """The same numbers in the same order (the last axis fastest) under other axes."""

    kind: ClassVar[str] = "reshape"
    size: Shape

    def shape(self, *inputs: Shape) -> Shape:
        """(...) -> size, with as many numbers."""
        if not self.size or min(self.size) < 1 or prod(self.size) != prod(inputs[0]):
            raise NetworkError(
                f"reshape {show(self.size)} holds {prod(self.size)} numbers but its input "
                f"{show(inputs[0])} has {prod(inputs[0])}"
            )
        return self.size

    def factors(self, *inputs: Shape) -> dict[str, Any]:
        """The size."""
        return {"size": self.size}


@dataclass(frozen=True)
class Permute(Layer):
    """Axes in another order: ``axes[i]`` is the input's axis that is the output's axis i.

    The batch axis stays where it is and is not counted: (time, features) is turned by (1, 0).
    """

    kind: ClassVar[str] = "permute"
    axes: tuple[int, ...]

    def shape(self, *inputs: Shape) -> Shape:
        """(a, b, c) -> the same sizes in the new order."""
        if sorted(self.axes) != list(range(len(inputs[0]))):
            axes = ",".join(map(str, self.axes))
            raise NetworkError(
                f"permute {axes} must name each of the {len(inputs[0])} axes of its input "
                f"{show(inputs[0])} once, counted from 0 without the batch"
            )
        return tuple(inputs[0][axis] for axis in self.axes)

    def factors(self, *inputs: Shape) -> dict[str, Any]:
        """The axes."""
        return {"axes": self.axes}


@dataclass(frozen=True)
class Pad(Layer):
    """Zeros around (height, width): ``amounts`` are ((top, bottom), (left, right)) in pixels."""

    kind: ClassVar[str] = "pad"
    amounts: Amounts

    def shape(self, *inputs: Shape) -> Shape:
        """(height, width, channels) -> larger height and width."""
        (shape,) = inputs
        need_rank(shape, 3, "pad")
        if min(min(pair) for pair in self.amounts) < 0:
            raise NetworkError(f"pad {self.amounts}: amounts must be 0 or more")
        height, width = (shape[i] + sum(self.amounts[i]) for i in (0, 1))
        return (height, width, shape[2])

    def factors(self, *inputs: Shape) -> dict[str, Any]:
        """The amounts."""
        return {"amounts": self.amounts}
