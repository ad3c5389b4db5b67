"""Layers with several inputs: add, multiply, concatenate, and the dueling head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from triptych.errors import NetworkError
from triptych.spec.layers.base import Layer, Shape, show


@dataclass(frozen=True)
class Add(Layer):
    """The sum of two or more inputs of one shape."""

    kind: ClassVar[str] = "add"
    arity: ClassVar[int | None] = None

    def shape(self, *inputs: Shape) -> Shape:
        """All inputs alike."""
        if len(set(inputs)) > 1:
            raise NetworkError(f"add takes equal shapes but got {', '.join(map(show, inputs))}")
        return inputs[0]


@dataclass(frozen=True)
class Multiply(Layer):
    """The product of two or more inputs; an axis of size 1 is repeated, as a gate's is.

    Source: squeeze and excitation, Hu et al. 2018: (height, width, channels) by (1, 1, channels).
    """

    kind: ClassVar[str] = "multiply"
    arity: ClassVar[int | None] = None

    def shape(self, *inputs: Shape) -> Shape:
        """As many axes each; along every axis equal sizes, or 1."""
        sizes = [set(axis) - {1} for axis in zip(*inputs, strict=False)]
        if len({len(shape) for shape in inputs}) > 1 or any(len(axis) > 1 for axis in sizes):
            raise NetworkError(
                "multiply takes shapes that are equal or 1 along every axis but got "
                + ", ".join(map(show, inputs))
            )
        return tuple(max(axis) for axis in zip(*inputs, strict=True))


@dataclass(frozen=True)
class Concatenate(Layer):
    """Inputs joined along the last axis."""

    kind: ClassVar[str] = "concatenate"
    arity: ClassVar[int | None] = None

    def shape(self, *inputs: Shape) -> Shape:
        """All axes but the last alike; the last axes are summed."""
        if len({shape[:-1] for shape in inputs}) > 1:
            raise NetworkError(
                "concatenate takes shapes that differ in the last axis only but got "
                + ", ".join(map(show, inputs))
            )
        return (*inputs[0][:-1], sum(shape[-1] for shape in inputs))


@dataclass(frozen=True)
class Dueling(Layer):
    """value + advantage - mean(advantage): inputs value (1,) and advantage (actions,).

    Source: Wang et al. 2016, equation 9.
    """

    kind: ClassVar[str] = "dueling"
    arity: ClassVar[int | None] = 2

    def shape(self, *inputs: Shape) -> Shape:
        """((1,), (actions,)) -> (actions,)."""
        value, advantage = inputs
        if value != (1,) or len(advantage) != 1:
            raise NetworkError(
                f"dueling takes value 1 and advantage (actions) but got {show(value)} "
                f"and {show(advantage)}"
            )
        return advantage
