"""A user's own Flax NNX model, Optax optimizer and loss, alive: see ``backends/native.py``.

Which module is which kind, and where its arrays live, is in ``native_layers.py``. Arrays are
kept as plain trees beside the module's structure; every forward pass merges a new module from both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from triptych.backends._jax import native_layers
from triptych.backends._jax.native_reading import optimizer_factors
from triptych.backends._jax.rules import STATE_FIELDS
from triptych.backends.native import Native, Setup
from triptych.backends.native_base import BaseNative, Handler
from triptych.backends.native_checks import unfit
from triptych.backends.protocol import Batch, DType, Params, Slots
from triptych.errors import SetupError, in_one_line

Tree = dict[Any, Any]
_MODES = {"training": False, "train": False, "deterministic": True}
"""Arguments by which models are told the mode, and whether they mean its opposite."""


class JaxNative(BaseNative):
    """See :class:`triptych.backends.native.Native`."""

    framework = "jax"

    def _begin(self) -> None:
        model = self.objects["model"]
        self.optimizer, wrt = self._find_optimizer(self.objects["optimizer"])
        self._set_types(model)
        self._structure(model, wrt)
        learnt = {path for path, _ in _paths(self.trained)}
        self.leaves = native_layers.leaves(model, learnt)
        self._modes = [
            (name, opposite)
            for name, opposite in _MODES.items()
            if name in inspect.signature(type(model).__call__).parameters
        ]
        self._restart()
        self._compiled = jax.jit(jax.value_and_grad(self._evaluate, has_aux=True))
        self._compiled_step = jax.jit(self._step)
        self._compiled_change = jax.jit(self._change)

    state: Any

    def _find_optimizer(self, given: Any) -> tuple[Any, Any]:
        """The transformation, and which variables it is for."""
        if isinstance(given, nnx.Optimizer):
            return given.tx, getattr(given, "wrt", nnx.Param)
        if isinstance(given, optax.GradientTransformation):
            return given, nnx.Param
        raise unfit(
            self.where, "optimizer", given,
            "an optax.GradientTransformation or an nnx.Optimizer, since the model is Flax'",
        )  # fmt: skip

    def _structure(self, model: Any, wrt: Any) -> None:
        """Split the model into structure and arrays, which are cast to this setup's type."""
        self.graph, trained, rest = nnx.split(model, wrt, ...)
        leaves = jax.tree.leaves(_plain(trained))
        if not leaves:
            raise SetupError(f"{self.where}: 'model' has no nnx.Param, expected some that learn")
        self._own_dtype = str(leaves[0].dtype)
        self.trained, self.rest = (jax.tree.map(self._cast, _plain(t)) for t in (trained, rest))

    def _drawn_again(self, objects: dict[str, Any]) -> Params:
        mine, kept = (self.trained, self.rest), self._own_dtype
        try:
            self._structure(objects["model"], self._find_optimizer(objects["optimizer"])[1])
            return self.params()
        finally:
            (self.trained, self.rest), self._own_dtype = mine, kept

    def _cast(self, array: Any) -> Any:
        real = jnp.issubdtype(array.dtype, jnp.floating)
        return jnp.array(array, self.dtype) if real else array

    def _set_types(self, model: Any) -> None:
        """Let modules compute in this setup's type where they name one, as recurrent cells do.

        Float32 and float64 differ in rounding alone; half types are a choice of the user's.
        """
        for path, module in nnx.iter_modules(model):
            for attribute in ("dtype", "param_dtype"):
                own = getattr(module, attribute, None)
                if own is None or not jnp.issubdtype(own, jnp.floating):
                    continue
                if jnp.dtype(own).itemsize < 4:
                    name = ".".join(map(str, path)) or "the model"
                    raise SetupError(
                        f"{self.where}: {name} has {attribute} {jnp.dtype(own).name}, expected "
                        f"float32 or none, since it is run in float64 too; leave it out"
                    )
                setattr(module, attribute, jnp.dtype(self.dtype))

    @property
    def own_dtype(self) -> str:
        """The type of the user's own arrays."""
        return self._own_dtype

    # --- forward ------------------------------------------------------------------------------

    def _model(self, trained: Tree, rest: Tree, training: bool) -> Any:
        model = nnx.merge(self.graph, trained, rest)
        model.train() if training else model.eval()
        return model

    def _call(self, model: Any, x: Any, training: bool) -> Any:
        return model(x, **{name: training != opposite for name, opposite in self._modes})

    def _run(self, inputs: np.ndarray, training: bool, handler: Handler) -> np.ndarray:
        model = self._model(self.trained, self.rest, training)
        with native_layers.watched(model, self.leaves, handler):
            return self._numpy(self._call(model, self._tensor(inputs), training))

    def _layer(self, path: str, inputs: np.ndarray, training: bool) -> np.ndarray:
        own = native_layers.modules(self._model(self.trained, self.rest, training))
        output = own.get(path, self.leaves[path].layer)(self._tensor(inputs))
        return self._numpy(output[0] if isinstance(output, tuple) else output)

    def _tensor(self, array: np.ndarray) -> Any:
        return jnp.asarray(array)

    def _numpy(self, tensor: Any) -> np.ndarray:
        return np.array(tensor)

    def _get(self, handle: tuple[Any, ...]) -> np.ndarray:
        return np.array(_at(self.trained if _has(self.trained, handle) else self.rest, handle))

    def _set(self, handle: tuple[Any, ...], array: np.ndarray) -> None:
        tree = self.trained if _has(self.trained, handle) else self.rest
        _at(tree, handle[:-1])[handle[-1]] = jnp.array(array)

    # --- loss and learning ----------------------------------------------------------------------

    def _loss_of(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return self._numpy(self.objects["loss"](self._tensor(outputs), self._tensor(targets)))

    def _evaluate(self, trained: Tree, rest: Tree, inputs: Any) -> tuple[Any, Tree]:
        """The loss in training mode, and what else the forward pass changed."""
        x, targets, masks = inputs
        model = self._model(trained, rest, True)

        def drop(path: str, value: Any, call: Callable[[], Any]) -> Any:
            return self._masked(path, value, masks) if path in masks else call()

        with native_layers.watched(model, self.leaves, drop):
            output = self._call(model, x, True)
        loss = self._one_number(output, targets)
        learnt = {path for path, _ in _paths(trained)}
        after = nnx.split(model, lambda path, value: tuple(path) in learnt, ...)[2]
        return loss, _plain(after)

    def _one_number(self, output: Any, targets: Any) -> Any:
        try:
            loss = self.objects["loss"](output, targets)
        except Exception as error:
            raise SetupError(
                f"{self.where}: 'loss' can't take the model's output {output.shape} and the "
                f"target {targets.shape} {targets.dtype}: {in_one_line(error)}"
            ) from error
        if jnp.ndim(loss):
            raise SetupError(
                f"{self.where}: 'loss' returns shape {jnp.shape(loss)}, expected one number; "
                "take the mean or the sum"
            )
        return loss

    def _change(self, trained: Tree, state: Any, grads: Tree) -> tuple[Tree, Any]:
        steps, state = self.optimizer.update(grads, state, trained)
        return optax.apply_updates(trained, steps), state

    def _step(self, trained: Tree, rest: Tree, state: Any, inputs: Any) -> Any:
        function = jax.value_and_grad(self._evaluate, has_aux=True)
        (loss, rest), grads = function(trained, rest, inputs)
        trained, state = self._change(trained, state, grads)
        return trained, rest, state, loss

    def _given(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        inputs, targets = self._native_batch(batch)
        return inputs, targets, self._masks(len(inputs))

    def _masked(self, path: str, x: Any, masks: Mapping[str, Any]) -> Any:
        return x * masks[path]

    def loss(self, batch: Batch) -> float:
        """Return the loss on a batch, in training mode, without learning from it."""
        (value, _), _ = self._compiled(self.trained, self.rest, self._given(batch))
        return float(value)

    def gradients(self, batch: Batch) -> Params:
        """Return the gradient of every trainable array."""
        _, grads = self._compiled(self.trained, self.rest, self._given(batch))
        return self._by_name(grads)

    def update(self, batch: Batch) -> Any:
        """Make one update with the user's optimizer; return the loss before it."""
        self.trained, self.rest, self.state, loss = self._compiled_step(
            self.trained, self.rest, self.state, self._given(batch)
        )
        self.updates += 1
        return loss

    def play(
        self, gradients: Sequence[Params], start: Params | None = None, first: int = 0
    ) -> list[Params]:
        """Return the trainable params after each of the given gradients."""
        kept, found = self.params(), []
        self.load_params(kept | dict(start or {}))
        trained, state = self.trained, _counted(self.optimizer.init(self.trained), first)
        for gradient in gradients:
            trained, state = self._compiled_change(trained, state, self._tree(gradient))
            found.append(self._by_name(trained))
        self.load_params(kept)
        return found

    def _tree(self, arrays: Params) -> Tree:
        """Arrays by canonical name as a tree like the trained params."""
        wholes = {path: np.zeros(a.shape, a.dtype) for path, a in _paths(self.trained)}
        for name in self.trainable:
            place = self._places[name]
            native = np.asarray(arrays[name], self.dtype)
            wholes[place.handle] = place.to_native(native, wholes[place.handle])
        tree: Tree = {}
        for path, array in wholes.items():
            inner = tree
            for key in path[:-1]:
                inner = inner.setdefault(key, {})
            inner[path[-1]] = jnp.array(array)
        return tree

    def _by_name(self, tree: Tree) -> Params:
        places = {name: self._places[name] for name in self.trainable}
        return {
            name: place.to_canonical(np.asarray(_at(tree, place.handle)))
            for name, place in places.items()
        }

    def _restart(self) -> None:
        self.state = self.optimizer.init(self.trained)

    def slots(self) -> Slots:
        """Return the optimizer's state where its meaning is known, else no values."""
        values = {}
        for slot, name in STATE_FIELDS.items():
            found = list(_fields(self.state, name))
            if len(found) == 1:
                values[slot] = self._by_name(found[0])
        return Slots(self.updates, values)

    def _optimizer_factors(self) -> dict[str, Any]:
        return optimizer_factors(self.optimizer)


def _plain(state: Any) -> Tree:
    tree: Tree = nnx.to_pure_dict(state)
    return tree


def _paths(tree: Tree, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _paths(value, (*path, key))
        else:
            yield (*path, key), value


def _at(tree: Any, path: Sequence[Any]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _has(tree: Any, path: Sequence[Any]) -> bool:
    for key in path:
        if not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True


def _fields(state: Any, name: str) -> Iterator[Any]:
    """Yield the fields of a name, wherever in a chain's nested states."""
    for field in getattr(state, "_fields", ()):
        if field == name:
            yield getattr(state, field)
        else:
            yield from _fields(getattr(state, field), name)
    if isinstance(state, (tuple, list)) and not hasattr(state, "_fields"):
        for part in state:
            yield from _fields(part, name)


def _counted(state: Any, first: int) -> Any:
    """A chain's state with every counter at ``first``."""

    def put(path: Any, value: Any) -> Any:
        counter = bool(path) and getattr(path[-1], "name", "") == "count"
        return jnp.full_like(value, first) if counter else value

    return jax.tree_util.tree_map_with_path(put, state)


class _Backend:
    expected = "a flax.nnx.Module"

    def owns(self, objects: Mapping[str, Any]) -> bool:
        """Return whether the model is an ``nnx.Module``."""
        return isinstance(objects.get("model"), nnx.Module)

    def build(self, setup: Setup, where: str, dtype: DType) -> Native:
        """Call the user's function and return the setup, in this type."""
        return JaxNative(setup, where, dtype)


NATIVE = _Backend()
