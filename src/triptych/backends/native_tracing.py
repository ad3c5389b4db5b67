"""One pass through a user's model: which main layers run, in which order, and what lies between.

Layers are found by watching calls, activations and flattenings by putting chosen numbers in the
place of a layer's output and looking at what the next layer sees; so a model may be written in any
way. Names and formulas are in ``native_parts.py``; learning is in ``native_base.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from triptych.backends.native import NativeNode
from triptych.backends.native_parts import (
    GRID,
    RECURRENT,
    Leaf,
    activation_name,
    alike,
    first,
    flatten,
    flatten_order,
    last,
    orders,
    ramp,
    softmax_name,
)
from triptych.backends.protocol import Batch, DType
from triptych.errors import SetupError, in_one_line
from triptych.spec.randomness import generator

Handler = Callable[[str, Any, Callable[[], Any]], Any]
"""Called for every main layer: its path, its input, and what computes its output; returns the
output to go on with. Arrays are the framework's own."""

_CHUNK = 40
"""Examples pushed through a model at once while it is probed: those of an edge's one pass."""


class Traced(ABC):
    """A user's model whose structure is read from a forward pass on the user's batch."""

    images_first = False
    """Whether this framework's images are (batch, channels, height, width)."""
    where: str
    dtype: DType
    leaves: dict[str, Leaf]
    _own_input: np.ndarray
    _own_target: np.ndarray

    @abstractmethod
    def _run(self, inputs: np.ndarray, training: bool, handler: Handler) -> np.ndarray:
        """Run the model on native inputs; arrays and running statistics stay as they are."""

    @abstractmethod
    def _tensor(self, array: np.ndarray) -> Any:
        """An array as the framework's own."""

    @abstractmethod
    def _numpy(self, tensor: Any) -> np.ndarray:
        """The way back; arrays stay as they are."""

    @abstractmethod
    def _get(self, handle: Any) -> np.ndarray:
        """Return a native array by its handle."""

    # --- the forward pass, once ---------------------------------------------------------------

    def _trace(self) -> None:
        """Find out which main layers run, in which order, and what lies between them."""
        self._calls: dict[str, tuple[np.ndarray, np.ndarray]] = {}

        def note(path: str, x: Any, call: Callable[[], Any]) -> Any:
            y = call()
            if path not in self._calls:
                self._calls[path] = (self._numpy(x), self._numpy(one(y)))
            return y

        try:
            self._out = self._run(self._own_input, False, note)
        except Exception as error:
            raise SetupError(
                f"{self.where}: the model can't take the batch's input of shape "
                f"{self._own_input.shape} and type {self._own_input.dtype}: {in_one_line(error)}"
            ) from error
        self._input_first = self._find_input_layout()
        self._ends = self._find_ends()
        self._find_edges()
        self._name_nodes()

    def _find_input_layout(self) -> bool:
        """Whether the user's batch is (batch, channels, ...)."""
        x = self._own_input
        if x.ndim != 4 or not self.images_first:
            return False
        for path, (seen, _) in self._calls.items():
            if self.leaves[path].channels_first and seen.ndim == x.ndim:
                as_it_is = alike(seen, x) if seen.shape == x.shape else 0.0
                turned = first(x)
                return as_it_is >= (alike(seen, turned) if seen.shape == turned.shape else 0.0)
        return not x.shape[-1] <= 4 < x.shape[1]

    def _find_ends(self) -> set[str]:
        """Recurrent layers of whose states only the last is used, by what comes next."""
        paths = list(self._calls)
        nexts = [*(self._calls[path][0] for path in paths[1:]), self._out]
        return {
            path
            for path, after in zip(paths, nexts, strict=True)
            if self.leaves[path].kind in RECURRENT and after.ndim == 2
        }

    def _canonical_output(self, path: str, output: np.ndarray) -> np.ndarray:
        found = self.leaves[path].canonical(output)
        return found[:, -1] if path in self._ends and found.ndim == 3 else found

    def _find_edges(self) -> None:
        """Find what follows each main layer: its activation, its consumer and a flattening."""
        self._consumers: dict[str, int] = {}
        self._activations: dict[str, str] = {}
        self._flats: dict[str, str] = {}
        for path in self._calls:
            if self.leaves[path].kind not in RECURRENT:
                self._find_edge(path)
        self._find_flat_input()

    def _find_edge(self, path: str) -> None:
        """Look with one pass at random examples, at a ramp and at the grid of an activation.

        One pass, and the same number of examples always: some frameworks compile for every shape.
        """
        leaf, shape = self.leaves[path], self._calls[path][1].shape[1:]
        random = generator(0, f"edge/{path}").normal(0.0, 1.0, (3, *shape))
        image = ramp(leaf.canonical(np.zeros((1, *shape))).shape[1:])
        grid = _filled(GRID, shape)
        seen = self._after(path, np.concatenate([random, leaf.native(image[None]), grid]))
        place = next((n for n, (_, x) in enumerate(seen) if _varies(x)), None)
        if place is None:
            self._activations[path] = "unknown"
            return
        self._consumers[path] = place
        consumer, rows = seen[place]
        softmax = softmax_name(random, rows[:3])
        self._activations[path] = softmax or activation_name(_middle(rows[4:]))
        order = flatten_order(image, rows[3])
        if order is not None and consumer is not None:
            self._flats.setdefault(consumer, order)

    def _find_flat_input(self) -> None:
        """Name the order where the first main layer sees the images as rows."""
        path, (seen, _) = next(iter(self._calls.items()), ("", (np.zeros(0), None)))
        image = self._canonical_input(self._own_input)
        if seen.ndim == 2 and image.ndim > 2 and seen[0].size == image[0].size:
            candidates = orders(image.ndim - 1)
            rows = [np.stack([flatten(one, order) for one in image]) for order in candidates]
            likeness = [alike(row, seen) for row in rows]
            self._flats[path] = candidates[int(np.argmax(likeness))]

    def _after(self, path: str, rows: np.ndarray) -> list[tuple[str | None, np.ndarray]]:
        """Return what later layers and the output see when a layer's raw output is ``rows``.

        Earlier and later main layers give zeros, so that little is computed. A path of None is the
        model's output.
        """
        seen: list[tuple[str | None, np.ndarray]] = []
        begun = False
        inputs = np.resize(self._own_input, (len(rows), *self._own_input.shape[1:]))

        def put(other: str, x: Any, call: Callable[[], Any]) -> Any:
            nonlocal begun
            if begun:
                seen.append((other, self._numpy(x)))
            if other == path and not begun:
                begun = True
                return self._tensor(self._as_type(rows))
            if self.leaves[other].kind in RECURRENT:
                return call()
            shape = (len(rows), *self._calls[other][1].shape[1:])
            return self._tensor(self._as_type(np.zeros(shape)))

        output = self._run(inputs, False, put)
        return [*seen, (None, output)]

    def _follow(self, path: str, values: np.ndarray) -> np.ndarray:
        """Return what a layer's consumer sees for chosen raw outputs, each a whole example."""
        if path not in self._consumers:
            return values
        shape, found = self._calls[path][1].shape[1:], []
        for start in range(0, len(values), _CHUNK):
            part = np.resize(values[start : start + _CHUNK], _CHUNK)
            seen = self._after(path, _filled(part, shape))
            found.append(_middle(seen[self._consumers[path]][1]))
        return np.concatenate(found)[: len(values)] if found else values

    def _name_nodes(self) -> None:
        """Name main layers and flattenings in order of execution, and what never ran."""
        self.names: dict[str, str] = {}
        self._flat_of: dict[str, str] = {}
        counts: dict[str, int] = {}
        nodes: list[NativeNode] = []

        def name(kind: str) -> str:
            counts[kind] = counts.get(kind, 0) + 1
            return f"{kind}{counts[kind]}"

        for path in self._calls:
            if path in self._flats:
                flat = name("flatten")
                self._flat_of[flat] = path
                order = {"order": self._flats[path]}
                nodes.append(NativeNode(flat, "flatten", path, order))
            own = name(self.leaves[path].kind)
            self.names[own] = path
            nodes.append(self._node(own, path))
        for path, leaf in self.leaves.items():
            if path not in self._calls and leaf.places:
                own = name("unknown")
                self.names[own] = path
                nodes.append(self._node(own, path))
        self.nodes = tuple(nodes)
        self._places = {
            f"{name}/{local}": place
            for name, path in self.names.items()
            for local, place in self.leaves[path].places.items()
        }
        self.batch: Batch = {
            "input": self._canonical_input(self._own_input),
            "target": self._canonical_target(self._own_target),
        }

    def _node(self, name: str, path: str) -> NativeNode:
        leaf = self.leaves[path]
        options: dict[str, Any] = {}
        if path in self._calls:
            before, after = (leaf.canonical(x).shape[1:] for x in self._calls[path])
            options = dict(leaf.options(before, after))
            if leaf.kind in RECURRENT:
                options["sequences"] = path not in self._ends
        shapes = {
            local: place.to_canonical(self._get(place.handle)).shape
            for local, place in leaf.places.items()
        }
        follows = self._activations.get(path, "linear")
        return NativeNode(name, leaf.kind, leaf.path, options, shapes, leaf.trainable, follows)

    # --- layouts --------------------------------------------------------------------------------

    def _as_type(self, array: np.ndarray) -> np.ndarray:
        """Real numbers in this setup's type; whole numbers as they are."""
        return array.astype(self.dtype) if np.issubdtype(array.dtype, np.floating) else array

    def _canonical_input(self, array: np.ndarray) -> np.ndarray:
        return last(array) if self._input_first else array

    def _native_input(self, array: np.ndarray) -> np.ndarray:
        return self._as_type(first(array) if self._input_first else array)

    def _canonical_target(self, array: np.ndarray) -> np.ndarray:
        return last(array) if self._images_out() and array.ndim == 4 else array

    def _native_target(self, array: np.ndarray) -> np.ndarray:
        return self._as_type(first(array) if self._images_out() and array.ndim == 4 else array)

    def _images_out(self) -> bool:
        """Whether the model's output is (batch, channels, height, width)."""
        return self.images_first and self._out.ndim == 4

    def _native_batch(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        return self._native_input(batch["input"]), self._native_target(batch["target"])


def one(value: Any) -> Any:
    """The first of several outputs: of a recurrent layer the sequence."""
    return value[0] if isinstance(value, (tuple, list)) else value


def _filled(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(n,) -> (n, *shape), every example full of one value."""
    return np.broadcast_to(values.reshape(-1, *[1] * len(shape)), (len(values), *shape))


def _middle(rows: np.ndarray) -> np.ndarray:
    """(n, ...) -> (n,), an entry far from the edges, where padding might show."""
    flat = rows.reshape(len(rows), -1)
    return flat[:, flat.shape[1] // 2]


def _varies(array: np.ndarray) -> bool:
    """Whether the examples of a batch differ."""
    return bool(array.ndim and len(array) > 1 and not np.array_equal(array[0], array[1]))
