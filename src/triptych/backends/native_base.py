"""What users' setups on all frameworks share: the call, the trace of the model, names, layouts.

Everything here is NumPy on the host. A backend's ``native.py`` fills in the methods that begin with
an underscore. Names of layers and activations are in ``native_parts.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from triptych.backends.native import NativeNode, Setup
from triptych.backends.native_checks import call_setup, check_arrays, sentence
from triptych.backends.native_parts import (
    GRID,
    RECURRENT,
    Leaf,
    Place,
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
from triptych.backends.protocol import Batch, DType, Params
from triptych.errors import SetupError
from triptych.spec.randomness import generator

Handler = Callable[[str, Any, Callable[[], Any]], Any]
"""Called for every main layer: its path, its input, and what computes its output; returns the
output to go on with. Arrays are the framework's own."""

_CHUNK = 40
"""Examples pushed through a model at once while it is probed: those of an edge's one pass."""


class BaseNative(ABC):
    """Host side of a user's setup; see :class:`triptych.backends.native.Native`."""

    framework = ""
    images_first = False
    """Whether this framework's images are (batch, channels, height, width)."""

    def __init__(self, setup: Setup, where: str, dtype: DType) -> None:
        self.setup, self.where, self.dtype = setup, where, dtype
        self.updates = 0
        self.masks_seed = 0
        self.leaves: dict[str, Leaf] = {}
        self.objects = call_setup(setup, where)
        self._begin()
        self._own_input, self._own_target = (
            self._as_type(self._numpy(part)) for part in self.objects["batch"]
        )
        self._trace()
        self._drawn = self.params()

    # --- filled in by each backend -----------------------------------------------------------

    @abstractmethod
    def _begin(self) -> None:
        """Make the model, the optimizer and ``leaves`` ready, in this type."""

    @abstractmethod
    def _run(self, inputs: np.ndarray, training: bool, handler: Handler) -> np.ndarray:
        """Run the model on native inputs; arrays and running statistics stay as they are."""

    @abstractmethod
    def _layer(self, path: str, inputs: np.ndarray, training: bool) -> np.ndarray:
        """Return one main layer's raw output for a native input."""

    @abstractmethod
    def _tensor(self, array: np.ndarray) -> Any:
        """An array as the framework's own."""

    @abstractmethod
    def _numpy(self, tensor: Any) -> np.ndarray:
        """The way back; arrays stay as they are."""

    @abstractmethod
    def _get(self, handle: Any) -> np.ndarray:
        """Return a native array by its handle."""

    @abstractmethod
    def _set(self, handle: Any, array: np.ndarray) -> None:
        """Replace a native array."""

    @abstractmethod
    def _optimizer_factors(self) -> dict[str, Any]:
        """The optimizer's constants that can be read, keys as ``optimizer.epsilon``."""

    def _loss_factors(self) -> dict[str, Any]:
        """The loss' constants that can be read, keys as ``loss.kind``."""
        return {}

    @abstractmethod
    def _loss_of(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The user's loss on native outputs and targets."""

    @abstractmethod
    def _restart(self) -> None:
        """Put the optimizer back to its beginning."""

    # --- the forward pass, once ---------------------------------------------------------------

    def _trace(self) -> None:
        """Find out which main layers run, in which order, and what lies between them."""
        self._calls: dict[str, tuple[np.ndarray, np.ndarray]] = {}

        def note(path: str, x: Any, call: Callable[[], Any]) -> Any:
            y = call()
            if path not in self._calls:
                self._calls[path] = (self._numpy(x), self._numpy(_one(y)))
            return y

        try:
            self._out = self._run(self._own_input, False, note)
        except Exception as error:
            raise SetupError(
                f"{self.where}: the model can't take the batch's input of shape "
                f"{self._own_input.shape} and type {self._own_input.dtype}: {sentence(error)}"
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

    # --- the protocol ---------------------------------------------------------------------------

    @property
    def trainable(self) -> tuple[str, ...]:
        """The names of the arrays that learn, in order."""
        return tuple(f"{node.name}/{local}" for node in self.nodes for local in node.trainable)

    def read(self) -> dict[str, Any]:
        """Return the factors that the live objects show without probing, by audit key."""
        found: dict[str, Any] = {}
        for node in self.nodes:
            own = {"kind": node.kind, **node.options}
            if node.kind not in (*RECURRENT, "flatten"):
                own["activation"] = node.activation
            found |= {f"{node.name}.{key}": value for key, value in own.items()}
        found |= self._loss_factors() | self._optimizer_factors() | self._batch_factors()
        return found | {"dtype": self.own_dtype}

    @property
    def own_dtype(self) -> str:
        """The type of the user's own arrays, before they were cast."""
        raise NotImplementedError

    def _batch_factors(self) -> dict[str, Any]:
        inputs = self._numpy(self.objects["batch"][0])
        return {
            "batch.size": len(inputs),
            "batch.dtype": str(inputs.dtype),
            "batch.low": float(np.min(inputs)),
            "batch.high": float(np.max(inputs)),
        }

    def params(self) -> Params:
        """Return all arrays, running statistics included."""
        return {
            name: place.to_canonical(self._get(place.handle))
            for name, place in self._places.items()
        }

    def load_params(self, params: Params) -> None:
        """Replace all arrays; names and shapes must be the model's."""
        check_arrays(params, {name: a.shape for name, a in self.params().items()}, self.where)
        for name, array in params.items():
            self._put(self._places[name], array)

    def _put(self, place: Place, array: np.ndarray) -> None:
        whole = self._get(place.handle)
        self._set(place.handle, place.to_native(np.asarray(array, whole.dtype), whole))

    def restart(self, params: Params) -> None:
        """Begin again from these params: no update made, the optimizer's state as at first."""
        self._restart()
        self.updates = 0
        self.load_params(params)

    def layer_outputs(self, observations: np.ndarray, training: bool = False) -> Params:
        """Return every node's output before its activation, and the model's as ``output``."""
        seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        masks = self._masks(len(observations)) if training else {}

        def note(path: str, x: Any, call: Callable[[], Any]) -> Any:
            y = self._masked(path, x, masks) if path in masks else call()
            seen.setdefault(path, (self._numpy(x), self._numpy(_one(y))))
            return y

        output = self._run(self._native_input(observations), training, note)
        found: Params = {}
        for node in self.nodes:
            if node.name in self._flat_of:
                found[node.name] = seen[self._flat_of[node.name]][0]
            elif self.names[node.name] in seen:
                path = self.names[node.name]
                found[node.name] = self._canonical_output(path, seen[path][1])
        return found | {"output": last(output) if self._images_out() else output}

    def layer(self, name: str, inputs: np.ndarray, training: bool = False) -> np.ndarray:
        """Return one node's output, before its activation, for a chosen input of any batch size."""
        if name in self._flat_of:
            order = self._flats[self._flat_of[name]]
            return np.stack([flatten(one, order) for one in inputs])
        path = self.names[name]
        native = self._as_type(self.leaves[path].native(np.asarray(inputs)))
        return self._canonical_output(path, self._layer(path, native, training))

    def activation(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return what follows node ``name`` elementwise, applied to chosen values (n,)."""
        path = self.names.get(name)
        values = np.asarray(values, np.float64)
        return values if path is None else self._follow(path, values).astype(np.float64)

    def loss_of(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the user's loss for chosen outputs and targets; a scalar, or unreduced."""
        images = self._images_out() and outputs.ndim == 4
        native = self._as_type(first(outputs) if images else np.asarray(outputs))
        return self._loss_of(native, self._native_target(np.asarray(targets)))

    def redraw(self) -> Params | None:
        """Return the params of a second call of the user's function; None if they are the same."""
        after = self._drawn_again(call_setup(self.setup, self.where))
        before = self._drawn
        same = all(np.array_equal(before[name], after[name]) for name in before)
        return None if same else after

    def _drawn_again(self, objects: dict[str, Any]) -> Params:
        """Return the params of another call's objects."""
        return type(self)(lambda: objects, self.where, self.dtype)._drawn

    # --- dropout --------------------------------------------------------------------------------

    def _masks(self, rows: int) -> dict[str, np.ndarray]:
        """Masks of all dropout layers at this update, native layout, already divided by 1 - rate.

        Drawn here and not by the framework, so that two frameworks drop the same numbers.
        """
        found = {}
        stream = generator(self.masks_seed, f"dropout/{self.updates}")
        for node in self.nodes:
            if node.kind == "dropout" and node.options.get("rate"):
                path, rate = self.names[node.name], float(node.options["rate"])
                leaf = self.leaves[path]
                shape = leaf.canonical(self._calls[path][1]).shape[1:]
                kept = stream.random((rows, *shape)) >= rate
                found[path] = leaf.native(kept / (1.0 - rate)).astype(self.dtype)
        return found

    def _masked(self, path: str, x: Any, masks: Mapping[str, Any]) -> Any:
        mask = masks[path]
        return x * (self._tensor(mask) if isinstance(mask, np.ndarray) else mask)


def _one(value: Any) -> Any:
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
