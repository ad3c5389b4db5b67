"""Flax models read and written: see ``backends/carried.py: Porter``.

A source runs the user's own module, whose arrays are handed in as a tree. Which operation is which
layer is in ``graph.py``, formats of files in ``files.py``, optimizers in ``optimizers.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from triptych.backends._jax.model import Model
from triptych.backends._jax.porting import calls, files, graph, matching, optimizers, writing
from triptych.backends._jax.porting.formulas import Seen
from triptych.backends.carried import Given, Origin, Trained
from triptych.backends.graph import Value
from triptych.backends.protocol import DType, Params, Slots
from triptych.backends.sourcing import is_index
from triptych.errors import PortError, in_one_line
from triptych.spec.rules import Rule

RUNTIME = f"flax {flax.__version__} on jax {jax.__version__}"
DTYPES: tuple[DType, ...] = ("float32", "float64")
Arrays = dict[str, np.ndarray]
_CASTS = "the model itself rounds to float32, so that it was compared in float32 alone"


class Module:
    """An NNX module as a function of its arrays, in either type.

    Args:
        model: the module.
        place: what it is called in messages.
        make: makes it for a type; by default a copy whose modules compute in that type.

    Attributes:
        arrays: the module's real arrays by their paths, with dots.
    """

    def __init__(
        self, model: nnx.Module, place: str, make: Callable[[DType], nnx.Module] | None = None
    ) -> None:
        self.model, self.place = model, place
        self.arrays: Arrays = {key: np.asarray(a) for key, a in real_leaves(model).items()}
        self.own_dtype = np.result_type(np.float32, *self.arrays.values())
        self.modes = calls.modes(model)
        twin = make or partial(calls.twin, model)
        self._twins = {dtype: _parts(twin(dtype), dtype) for dtype in DTYPES}

    def run(
        self, trained: Any, rest: Any, x: Any, dtype: DType, training: bool, marked: bool
    ) -> tuple[Any, list[calls.Call]]:
        """Return the module's output, and the calls of its main layers; no dropout takes place."""
        model = nnx.merge(self.twin(dtype)[0], trained, rest)
        model.train() if training else model.eval()
        options = {name: training != opposite for name, opposite in self.modes.items()}
        leaves = calls.known(model)
        with calls.watched(model, leaves, marked, drop=not training) as seen:
            return model(x, **options), seen

    def given(self, x: Any, dtype: DType, marked: bool = False) -> Any:
        """Return what :meth:`run` returns for the module's own arrays in inference mode."""
        _, trained, rest = self.twin(dtype)
        return self.run(trained, rest, x, dtype, False, marked)

    def twin(self, dtype: DType) -> tuple[Any, Any, Any]:
        """Return the structure that computes in a type, the arrays that learn, and the rest."""
        return self._twins[dtype]


class JaxSource:
    """A Flax model; see :class:`triptych.backends.carried.Source`.

    Args:
        module: the model.
        read: which network it is.
        notes: what was left behind so far.
        rule: the update rule it was trained with, if known.
        slots: the optimizer's state, if any.
    """

    kind = "jax"
    runtime = RUNTIME

    def __init__(
        self,
        module: Module,
        read: graph.Graph,
        notes: Sequence[str] = (),
        rule: Rule | None = None,
        slots: Slots | None = None,
    ) -> None:
        self.module, self.graph = module, read
        self.dtypes: tuple[DType, ...] = DTYPES[:1] if read.casts else DTYPES
        self._compiled: dict[Any, Callable[..., Any]] = {}
        params = params_of(module, read.origins)
        notes = (*notes, *(_CASTS,) * read.casts, *_constants(read.origins))
        self.trained = Trained(read.network, params, rule, slots, read.places, notes)

    # --- what it computes ------------------------------------------------------------------------

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return the model's own output in inference mode, canonical layout."""
        output, _ = self._forward(observations, dtype)
        return canonical(np.asarray(output, dtype), self.graph.output)

    def layer_outputs(self, observations: np.ndarray, dtype: DType) -> Params:
        """Return what the model's main layers give, by node."""
        _, given = self._forward(observations, dtype)
        found = {}
        for number, (seen, at) in self.graph.nodes.items():
            array = np.asarray(given[number][at])
            # A recurrent layer's last state may have been cut out behind it.
            if array.ndim == len(seen.value.axes) + 1:
                found[seen.value.node] = canonical(array, seen)
        return found

    def _forward(self, observations: np.ndarray, dtype: DType) -> Any:
        """The output, and what every call of a main layer gave."""

        def run(x: Any) -> Any:
            output, calls = self.module.given(x, dtype)
            return output, [call.outputs for call in calls]

        return self._once(("forward", dtype), run)(self._input(observations, dtype))

    def gradients(self, observations: np.ndarray, weights: np.ndarray, dtype: DType) -> Params:
        """Return the gradient of ``sum(output * weights)`` by the arrays that learn."""
        _, trained, rest = self.module.twin(dtype)

        def total(learnt: Any, x: Any, by: Any) -> Any:
            return jnp.sum(self.module.run(learnt, rest, x, dtype, True, False)[0] * by)

        by = native(np.asarray(weights, dtype), self.graph.output)
        run = self._once(("gradients", dtype), jax.grad(total))
        grads = flat(run(trained, self._input(observations, dtype), by))
        origins = self.graph.origins
        return {
            name: origins[name].turn(np.asarray(grads[origins[name].key]))
            for name in self.graph.network.trainable
            if origins[name].key in grads
        }

    def _once(self, key: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        """The compiled function of the first call with this key."""
        return self._compiled.setdefault(key, jax.jit(function))

    def _input(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        return np.asarray(observations, np.int32 if is_index(self.graph.network) else dtype)


def params_of(module: Module, origins: Mapping[str, Origin]) -> Params:
    """Return a module's arrays by canonical name."""
    found = {}
    for name, origin in origins.items():
        if origin.key and origin.key not in module.arrays:
            raise PortError(
                f"{module.place}: {origin.key} is another module's array too, which has no "
                "canonical form; give each module its own"
            )
        # The empty key is for constants, which the turn fills in.
        array = module.arrays[origin.key] if origin.key else np.zeros(0, module.own_dtype)
        found[name] = np.array(origin.turn(array), order="C")
    return found


def _constants(origins: Mapping[str, Origin]) -> list[str]:
    """What learns in the network and was not there in the model."""
    return [
        f"{name} is a constant in the model and would learn from now on"
        for name, origin in origins.items()
        if not origin.key
    ]


# --- arrays --------------------------------------------------------------------------------------


def real_leaves(model: nnx.Module) -> dict[str, Any]:
    """Return the real arrays of a module by their paths; of an abstract one only their shapes."""
    every = flat(nnx.to_pure_dict(nnx.state(model)))
    return {key: a for key, a in every.items() if jnp.issubdtype(a.dtype, jnp.floating)}


def flat(tree: Any, path: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Return a tree's arrays by their paths, with dots."""
    if not isinstance(tree, Mapping):
        return {calls.key_of(path): tree}
    parts = [flat(value, (*path, key)) for key, value in tree.items()]
    return {key: array for part in parts for key, array in part.items()}


def trace(module: Module, given: Given) -> graph.Graph:
    """Return the network that a module computes; raises ``PortError``."""
    place = module.place
    if given.shape is None:
        raise PortError(
            f"{place}: a Flax model does not hold the shape of its inputs; say it, as in "
            "--input 32x32x3 for images or --input '20 index' for indices"
        )
    made: list[calls.Call] = []

    def run(x: Any) -> Any:
        output, found = module.given(x, "float64", marked=True)
        made.extend(found)
        return output

    try:
        return graph.read(run, made, given.shape, given.index, place)
    except PortError:
        raise
    except Exception as error:
        raise PortError(
            f"{place}: fails on an input of shape {given.shape}: {in_one_line(error)}; is the "
            "shape given with --input right?"
        ) from error


def _parts(model: nnx.Module, dtype: DType) -> tuple[Any, Any, Any]:
    graph, *states = nnx.split(model, nnx.Param, ...)
    trees = (nnx.to_pure_dict(state) for state in states)
    trained, rest = (jax.tree.map(partial(_cast, dtype=dtype), tree) for tree in trees)
    return graph, trained, rest


def _cast(array: Any, dtype: DType) -> Any:
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    return jax.device_put(np.asarray(array).astype(dtype))  # compiles nothing, unlike jnp.asarray


def canonical(array: np.ndarray, seen: Seen) -> np.ndarray:
    """Turn a value as the program has it to (batch, ...) in the canonical layout."""
    array, axes = np.moveaxis(array, seen.batch, 0), seen.value.axes
    return np.transpose(array, (0, *(axes.index(axis) + 1 for axis in range(len(axes)))))


def native(array: np.ndarray, seen: Seen) -> np.ndarray:
    """The way back."""
    array = np.transpose(array, (0, *(axis + 1 for axis in seen.value.axes)))
    return np.moveaxis(array, 0, seen.batch)


def _checked(model: Any, given: Given) -> nnx.Module:
    if isinstance(model, nnx.Module):
        return model
    what = f"{given.where or 'the model'} is a {type(model).__name__}, expected a flax.nnx.Module"
    if isinstance(model, linen.Module):
        what += "; of Linen, arrays alone are read: save them and say their network with --network"
    raise PortError(what)


def _of_module(path: Path, stored: files.Stored, given: Given) -> JaxSource:
    """A file's arrays in the user's own module."""
    assert given.make is not None
    model = _checked(given.make(), given)
    wanted = {key: tuple(array.shape) for key, array in real_leaves(model).items()}
    held = matching.contents(stored, wanted)
    arrays = matching.by_name(held.model, wanted, path.name)
    module = Module(filled(model, arrays), path.name)
    read = trace(module, given)
    state = _state(path, stored, held, given)
    slots = state.slots(read.network, read.origins, params_of(module, read.origins))
    return JaxSource(module, read, (*stored.notes, *state.notes), state.rule, slots)


def _of_network(path: Path, stored: files.Stored, given: Given) -> JaxSource:
    """A file's arrays in the module that Triptych makes of a given network."""
    network = given.network
    assert network is not None
    native = matching.named(network)
    held = matching.contents(stored, [origin.key for origin in native.values()])
    origins, notes = matching.of_network(held.model, network, path.name)
    params = {name: origin.turn(held.model[origin.key]) for name, origin in origins.items()}
    arrays = writing.native_arrays(network, params)

    def make(dtype: Any) -> nnx.Module:
        return filled(nnx.eval_shape(lambda: Model(network, dtype)), arrays)

    module = Module(make(np.result_type(np.float32, *params.values())), path.name, make)
    output = Value(network.output.name, tuple(range(len(network.shapes[network.output.name]))))
    places = {name.rsplit("/", 1)[0]: origin.key for name, origin in origins.items()}
    read = graph.Graph(network, native, places, Seen(output), {}, False)
    state = _state(path, stored, held, given)
    slots = state.slots(network, origins, params)
    notes = (*stored.notes, *notes, *state.notes)
    return JaxSource(module, read, notes, state.rule, slots)


def _state(
    path: Path, stored: files.Stored, held: matching.Contents, given: Given
) -> optimizers.State:
    """The optimizer's state in the file, or in the file beside it that Triptych wrote."""
    beside, found = writing.optimizer_path(path), held.optimizer
    metadata = stored.metadata
    if not found and beside.is_file():
        other = files.read(beside)
        found, metadata = other.arrays, other.metadata
    rule = given.rule
    if rule is None and "rule" in metadata:
        rule = optimizers.rule_from(metadata["rule"], beside.name)
    return optimizers.by_meaning(found, rule) if found else optimizers.State(None)


def filled(model: nnx.Module, arrays: Mapping[str, np.ndarray]) -> nnx.Module:
    """Return a module with its real arrays replaced."""
    for place, variable in nnx.to_flat_state(nnx.state(model)):
        key = calls.key_of(place)
        if key in arrays:
            variable.set_value(jax.device_put(np.asarray(arrays[key])))
    return model


class _Porter:
    """See :class:`triptych.backends.carried.Porter`."""

    def read(self, path: Path, given: Given) -> JaxSource:
        """Return the source in a file of arrays, run by the module that they belong to."""
        stored = files.read(path)
        if given.make is not None:
            return _of_module(path, stored, given)
        if given.network is not None:
            return _of_network(path, stored, given)
        raise PortError(
            f"{path.name}: holds arrays alone; say whose they are: --network FILE.py:FUNCTION that "
            "returns your module, or a recipe or network.json"
        )

    def read_object(self, model: Any, given: Given, optimizer: Any = None) -> JaxSource:
        """Return the source that a live ``nnx.Module`` is."""
        module = Module(_checked(model, given), given.where or type(model).__name__)
        read = trace(module, given)
        if optimizer is None:
            return JaxSource(module, read)
        state = optimizers.read_live(optimizer, given.rule)
        slots = state.slots(read.network, read.origins, params_of(module, read.origins))
        return JaxSource(module, read, state.notes, state.rule, slots)

    def write(self, trained: Trained, path: Path, title: str) -> list[Path]:
        """Write the arrays, the module's text, and the optimizer's state."""
        return writing.write(trained, path, title)

    def load(self, trained: Trained, path: Path, title: str) -> writing.JaxWritten:
        """Return what was written, loaded by its own text."""
        return writing.JaxWritten(trained, path, RUNTIME)


PORTER = _Porter()
