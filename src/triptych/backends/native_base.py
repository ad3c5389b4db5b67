"""What users' setups on all frameworks share beside the trace: params, outputs, factors, masks.

Everything here is NumPy on the host. A backend's ``native.py`` fills in the methods that begin with
an underscore. How a model's layers are found is in ``native_tracing.py``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from triptych.backends.native import Setup
from triptych.backends.native_checks import call_setup, check_arrays
from triptych.backends.native_parts import RECURRENT, Leaf, Place, first, flatten, last
from triptych.backends.native_tracing import Handler, Traced, one
from triptych.backends.protocol import DType, Params
from triptych.spec.randomness import generator

__all__ = ["BaseNative", "Handler"]


class BaseNative(Traced):
    """Host side of a user's setup; see :class:`triptych.backends.native.Native`."""

    framework = ""

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
    def _layer(self, path: str, inputs: np.ndarray, training: bool) -> np.ndarray:
        """Return one main layer's raw output for a native input."""

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
            seen.setdefault(path, (self._numpy(x), self._numpy(one(y))))
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
