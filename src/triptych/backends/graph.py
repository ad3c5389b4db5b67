"""From a source's graph of operations to a network: layouts are followed, arrays are traced home.

A reader (``graph.py`` of a backend, or ``port/onnx``) walks its own operations in order and calls
a :class:`GraphBuilder`, which keeps the network channels last whatever the source has: permutations
of axes are followed and become a layer only where nothing else helps, and an image flattened with
its channels first reorders the rows of the dense layer behind it. No framework is known here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from triptych.backends.carried import Origin
from triptych.backends.graph_value import FIRST, Value, leading_to, rows_of
from triptych.errors import NetworkError, PortError
from triptych.spec.layers import (
    Activation,
    AveragePool,
    BatchNorm,
    Concatenate,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    LogSoftmax,
    Pad,
    Permute,
    Rescale,
    Reshape,
    Shape,
    Softmax,
)
from triptych.spec.network import Network, Node, fresh_name

__all__ = ["FIRST", "GraphBuilder", "Value"]

_LAST = (Softmax, LogSoftmax)
"""Activations over the last axis."""


class GraphBuilder:
    """Collects nodes and the origins of their arrays, in the order of execution.

    Args:
        source: what is read, for messages, such as ``net.onnx``.

    Every method that adds takes ``place``, where in the source it stands, for messages.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.nodes: list[Node] = []
        self.origins: dict[str, Origin] = {}
        self.places: dict[str, str] = {}
        self._shapes: dict[str, Shape] = {}
        self._owners: dict[Hashable, str] = {}

    # --- what readers ask ----------------------------------------------------------------------

    def shape(self, value: Value) -> Shape:
        """Return a value's shape as the source has it, without the batch."""
        return tuple(self._shapes[value.node][axis] for axis in value.axes)

    def refuse(self, place: str, what: str) -> PortError:
        """Return the error for something at a place that has no canonical form."""
        return PortError(f"{self.source}: {place}: {what}")

    # --- what readers add ------------------------------------------------------------------------

    def input(self, shape: Shape, index: bool = False, channels_first: bool = False) -> Value:
        """Begin with an input of the source's shape, without the batch."""
        axes = FIRST if channels_first and len(shape) == 3 else tuple(range(len(shape)))
        size = tuple(shape[axes.index(axis)] for axis in range(len(shape)))
        layer = Input(size, "index" if index else "real")
        return self._append(layer, (), "the input", {}, axes)

    def add(
        self,
        layer: Layer,
        values: Sequence[Value],
        place: str,
        arrays: Mapping[str, Origin] | None = None,
        shared: Hashable | None = None,
    ) -> Value:
        """Add a layer that takes canonical inputs; its output is canonical.

        Elementwise layers keep the source's view, and merging ones too where all inputs have the
        same.

        Args:
            arrays: local name to origin, canonical layout.
            shared: what tells one layer used twice from two layers, such as its path or id.
        """
        if isinstance(layer, (Activation, Dropout, Rescale)) and not isinstance(layer, _LAST):
            (value,) = values
            return self._append(layer, values, place, arrays or {}, value.axes, value.order)
        if layer.arity is None and not isinstance(layer, Concatenate):
            first = values[0]
            if all((v.axes, v.order) == (first.axes, first.order) for v in values):
                return self._append(layer, values, place, {}, first.axes, first.order)
        plain = [self.settle(value, place) for value in values]
        return self._append(layer, plain, place, arrays or {}, shared=shared)

    def windowed(
        self,
        layer: Layer,
        value: Value,
        place: str,
        arrays: Mapping[str, Origin] | None = None,
        channels_first: bool = False,
        shared: Hashable | None = None,
    ) -> Value:
        """Add a layer over (height, width, channels), which the source may have channels first."""
        image = self.image(value, place, channels_first)
        axes = FIRST if channels_first else (0, 1, 2)
        return self._append(layer, [image], place, arrays or {}, axes, shared=shared)

    def image(self, value: Value, place: str, channels_first: bool) -> Value:
        """Return a value whose node gives (height, width, channels), permuted where it must be."""
        if len(value.axes) != 3:
            raise self.refuse(place, f"takes images, but gets {self.shape(value)}")
        order = (1, 2, 0) if channels_first else (0, 1, 2)
        axes = tuple(value.axes[axis] for axis in order)
        if axes == (0, 1, 2):
            return replace(value, axes=axes)
        return self._append(Permute(axes), [value], f"{place} (its input)", {})

    def dense(
        self,
        value: Value,
        units: int,
        place: str,
        kernel: Origin,
        bias: Origin | None = None,
        shared: Hashable | None = None,
    ) -> Value:
        """Add a dense layer over the source's last axis; ``kernel`` turns to (in, out)."""
        if value.order is not None:
            kernel = kernel.then(rows_of(value.order))
            # Rows in another order are another array.
            shared = shared and (shared, value.order)
            value = replace(value, order=None)
        value = self._with_last(value, place)
        arrays = {"kernel": kernel} | ({} if bias is None else {"bias": bias})
        layer = Dense(units, bias is not None)
        return self._append(layer, [value], place, arrays, value.axes, shared=shared)

    def batch_norm(
        self,
        layer: BatchNorm,
        value: Value,
        place: str,
        arrays: Mapping[str, Origin],
        axis: int,
        shared: Hashable | None = None,
    ) -> Value:
        """Add batch normalisation over the channels on an axis of the source's."""
        if value.order is not None:
            found = {name: origin.then(rows_of(value.order)) for name, origin in arrays.items()}
            shared = shared and (shared, value.order)
            return self._append(layer, [value], place, found, value.axes, value.order, shared)
        value = self._with_last(value, place, axis)
        return self._append(layer, [value], place, arrays, value.axes, shared=shared)

    def along(
        self,
        layer: Layer,
        value: Value,
        axis: int,
        place: str,
        arrays: Mapping[str, Origin] | None = None,
        shared: Hashable | None = None,
    ) -> Value:
        """Add a layer over the last axis, such as a softmax, along an axis of the source's."""
        if value.order is not None:
            value = self.settle(value, place)
        value = self._with_last(value, place, axis)
        return self._append(layer, [value], place, arrays or {}, value.axes, shared=shared)

    def concatenate(self, values: Sequence[Value], axis: int, place: str) -> Value:
        """Add a concatenation along an axis of the source's, counted without the batch."""
        axis %= len(values[0].axes)
        if any(value.order is not None for value in values):
            return self._concatenate_flat(values, place)
        if len({value.axes for value in values}) > 1:
            values = [self.settle(value, place) for value in values]
        values = [self._with_last(value, place, axis) for value in values]
        return self._append(Concatenate(), values, place, {}, values[0].axes)

    def _concatenate_flat(self, values: Sequence[Value], place: str) -> Value:
        order: list[int] = []
        for value in values:
            (size,) = self._shapes[value.node]
            order += [len(order) + at for at in (value.order or tuple(range(size)))]
        return self._append(Concatenate(), values, place, {}, order=tuple(order))

    def permute(self, value: Value, axes: Sequence[int], place: str) -> Value:
        """Follow a permutation: ``axes[i]`` is the axis of before that is the axis i of after."""
        if value.order is not None:
            return value
        return replace(value, axes=tuple(value.axes[axis] for axis in axes))

    def flatten(self, value: Value, place: str) -> Value:
        """Add a flattening of all axes, in the source's order."""
        if len(value.axes) == 1:
            return value
        sizes = self._shapes[value.node]
        places = np.arange(prod(sizes)).reshape(sizes).transpose(value.axes).ravel()
        order = None if _rises(places) else tuple(places.tolist())
        return self._append(Flatten(), [replace(value, order=None)], place, {}, order=order)

    def reshape(self, value: Value, shape: Shape, place: str) -> Value:
        """Add a reshape to the source's new shape, without the batch."""
        before = self.shape(value)
        if prod(shape) != prod(before):
            raise self.refuse(
                place, f"reshapes {before} to {shape}, which mixes the batch with other axes"
            )
        if shape == before:
            return value
        if len(shape) == 1:
            return self.flatten(value, place)
        if value.axes == FIRST and len(shape) == 2 and shape[0] == before[0]:
            # (channels, height, width) -> (channels, positions): canonical (positions, channels)
            size = (shape[1], shape[0])
            return self._append(Reshape(size), [value], place, {}, (1, 0))
        kept = [size for size in before if size != 1]
        if kept == [size for size in shape if size != 1] and value.order is None:
            return self._squeezed(value, shape, place)
        return self._append(Reshape(shape), [self.settle(value, place)], place, {})

    def _squeezed(self, value: Value, shape: Shape, place: str) -> Value:
        """Axes of size 1 come or go; the others keep their places in the canonical order."""
        real = [axis for axis in value.axes if self._shapes[value.node][axis] != 1]
        ones = [place for place, size in enumerate(shape) if size == 1]
        rank = {axis: place for place, axis in enumerate(sorted(real))}
        rest = iter(rank[axis] for axis in real)
        axes = [-1 if place in ones else next(rest) for place in range(len(shape))]
        spare = iter(range(len(real), len(shape)))
        axes = [next(spare) if axis < 0 else axis for axis in axes]
        size = tuple(shape[axes.index(axis)] for axis in range(len(shape)))
        if size == self._shapes[value.node]:
            return replace(value, axes=tuple(axes))
        layer = Flatten() if len(size) == 1 else Reshape(size)
        return self._append(layer, [value], place, {}, tuple(axes))

    def pad(
        self,
        value: Value,
        amounts: Sequence[tuple[int, int]],
        place: str,
        channels_first: bool = False,
    ) -> Value:
        """Add zeros around an image: (before, after) for every axis of the source's.

        ``channels_first`` says what the axes are where the value itself does not: an image that is
        neither known as (channels, height, width) nor as (height, width, channels).
        """
        if not any(map(sum, amounts)):
            return value
        if len(amounts) != 3 or value.order is not None:
            raise self.refuse(place, "pads something else than an image")
        if value.axes not in (FIRST, (0, 1, 2)):
            value = self.image(value, place, channels_first)
            value = replace(value, axes=FIRST if channels_first else (0, 1, 2))
        ends = {
            axis: (early, late) for axis, (early, late) in zip(value.axes, amounts, strict=True)
        }
        if any(ends[2]):
            raise self.refuse(place, "pads the channels")
        return self._append(Pad((ends[0], ends[1])), [value], place, {}, value.axes)

    def mean(self, value: Value, axes: Sequence[int], keep: bool, place: str) -> Value:
        """Add the mean over all axes of an image or sequence but the channels."""
        over = sorted(value.axes[axis] for axis in axes)
        sizes = self._shapes[value.node]
        if value.order is not None or over != list(range(len(sizes) - 1)):
            raise self.refuse(place, f"takes the mean over axes {tuple(axes)} of {sizes}")
        window = (sizes[0], sizes[1] if len(sizes) == 3 else 1)
        image = value
        if len(sizes) == 2:
            image = self._append(Reshape((sizes[0], 1, sizes[1])), [value], place, {})
        pooled = self._append(AveragePool(window, window), [image], place, {})
        if keep and len(sizes) == 3:
            return replace(pooled, axes=value.axes)
        flat = self._append(Flatten(), [pooled], place, {})
        return self.reshape(flat, (1, sizes[-1]), place) if keep else flat

    def settle(self, value: Value, place: str) -> Value:
        """Return a value whose canonical layout is the source's own."""
        if value.is_plain:
            return value
        if value.order is not None:
            raise self.refuse(
                place, "reads an image flattened with its channels first in another way than a "
                "dense layer does, which has no canonical form",
            )  # fmt: skip
        return self._append(Permute(value.axes), [value], f"{place} (its input)", {})

    def finish(self, output: Value) -> Network:
        """Return the network; the output's ``axes`` are for the reader to undo.

        Raises:
            PortError: the output is flat in another order, or nodes lead nowhere.
        """
        if output.order is not None:
            raise self.refuse("the output", "is an image flattened with its channels first")
        used = leading_to(output.node, self.nodes)
        kept = [node for node in self.nodes if node.name in used]
        for name in [name for name in self.origins if name.rsplit("/", 1)[0] not in used]:
            del self.origins[name]
        self.places = {name: place for name, place in self.places.items() if name in used}
        last = next(node for node in kept if node.name == output.node)
        kept = [node for node in kept if node is not last] + [last]
        try:
            return Network(tuple(kept))
        except NetworkError as error:
            raise PortError(f"{self.source}: {error}") from None

    # --- inside ------------------------------------------------------------------------------

    def _with_last(self, value: Value, place: str, axis: int = -1) -> Value:
        """Return the value with one axis of the source's as the canonical last one."""
        wanted = value.axes[axis]
        last = len(value.axes) - 1
        if wanted == last:
            return value
        turn = (*(other for other in range(last + 1) if other != wanted), wanted)
        turned = self._append(Permute(turn), [value], f"{place} (its input)", {})
        return replace(turned, axes=tuple(turn.index(axis) for axis in value.axes))

    def _append(
        self,
        layer: Layer,
        values: Sequence[Value],
        place: str,
        arrays: Mapping[str, Origin],
        axes: tuple[int, ...] | None = None,
        order: tuple[int, ...] | None = None,
        shared: Hashable | None = None,
    ) -> Value:
        name = fresh_name(layer, self._shapes)
        try:
            shape = layer.shape(*(self._shapes[value.node] for value in values))
        except NetworkError as error:
            raise self.refuse(place, str(error)) from None
        owner = self._owners.setdefault((shared, layer), name) if shared is not None else name
        sharing = owner if owner != name and arrays else None
        inputs = tuple(value.node for value in values)
        self.nodes.append(Node(name, layer, inputs, sharing))
        self._shapes[name], self.places[name] = shape, place
        if sharing is None:
            self.origins |= {f"{name}/{local}": origin for local, origin in arrays.items()}
        return Value(name, tuple(range(len(shape))) if axes is None else axes, order)


def _rises(places: np.ndarray) -> bool:
    return bool(np.array_equal(places, np.arange(places.size)))
