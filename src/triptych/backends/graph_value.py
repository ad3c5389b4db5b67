"""A value of a source's graph: which node gives it, and how the source sees its axes.

What is done with values is in ``graph.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from triptych.backends.carried import Turn
from triptych.spec.network import Node

FIRST = (2, 0, 1)
"""The axes of an image (channels, height, width), as canonical axes."""


@dataclass(frozen=True)
class Value:
    """A value of the source: a node's output, seen through the source's order of axes.

    Attributes:
        node: the node that gives it.
        axes: ``axes[i]`` is the canonical axis that is the source's axis i, the batch not counted.
        order: for a flat value the canonical place of each of the source's entries; None where
            they are the same.
    """

    node: str
    axes: tuple[int, ...]
    order: tuple[int, ...] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the source sees it as it is."""
        return self.axes == tuple(range(len(self.axes))) and self.order is None

    def to_canonical(self, array: np.ndarray) -> np.ndarray:
        """(batch, ...) in the source's order -> (batch, ...) as the node gives it."""
        if self.order is not None:
            return array[:, np.argsort(np.asarray(self.order))]
        axes = (self.axes.index(axis) + 1 for axis in range(len(self.axes)))
        return np.transpose(array, (0, *axes))

    def to_source(self, array: np.ndarray) -> np.ndarray:
        """The way back."""
        if self.order is not None:
            return array[:, np.asarray(self.order)]
        return np.transpose(array, (0, *(axis + 1 for axis in self.axes)))


def rows_of(order: tuple[int, ...]) -> Turn:
    """A turn that puts the source's rows where the canonical order has them."""
    places = np.argsort(np.asarray(order))
    return lambda array: array[places]


def leading_to(name: str, nodes: Sequence[Node]) -> set[str]:
    """The nodes that a node's value depends on, and itself."""
    inputs = {node.name: (*node.inputs, *filter(None, [node.shares])) for node in nodes}
    found, waiting = set(), [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += inputs[one]
    return found
