"""Maximum and average pooling over (height, width). Global pooling is a window of the whole map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from triptych.errors import NetworkError
from triptych.spec.layers.base import Layer, Shape, need_rank, show
from triptych.spec.layers.convolution import Amounts, Padding, Pair, amounts, check_window, slide


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest value under a window; padded pixels never win (minus infinity)."""

    kind: ClassVar[str] = "max_pool"
    size: Pair
    stride: Pair
    padding: Padding = "valid"

    def pixels(self, shape: Shape) -> Amounts:
        """Return the padding in explicit pixels for this input shape."""
        return amounts(self.padding, (shape[0], shape[1]), self.size, self.stride)

    def shape(self, *inputs: Shape) -> Shape:
        """(height, width, channels) -> (height', width', channels)."""
        (shape,) = inputs
        what = f"{self.kind} {show(self.size)}"
        need_rank(shape, 3, what)
        check_window(self.size, self.stride, (1, 1), self.padding, what)
        self._check_padding(what)
        size = slide((shape[0], shape[1]), self.size, self.stride, self.pixels(shape), what)
        return (*size, shape[2])

    def _check_padding(self, what: str) -> None:
        """A window wholly inside the padding has no largest value and no mean."""
        if not isinstance(self.padding, tuple):
            return
        for axis, name in enumerate(("height", "width")):
            if max(self.padding[axis]) >= self.size[axis]:
                raise NetworkError(
                    f"{what}: padding {max(self.padding[axis])} must be smaller than the window's "
                    f"{name} of {self.size[axis]}"
                )

    def window(self) -> tuple[Pair, Pair]:
        """The window and the stride."""
        return self.size, self.stride

    def factors(self, *inputs: Shape) -> dict[str, Any]:
        """The fields, with the padding in explicit pixels."""
        return super().factors() | {"padding": self.pixels(inputs[0])}


@dataclass(frozen=True)
class AveragePool(MaxPool):
    """The mean under a window; ``count_padding`` says whether padded pixels count as zeros."""

    kind: ClassVar[str] = "average_pool"
    count_padding: bool = False
