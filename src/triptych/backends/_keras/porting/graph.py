"""From a live Keras model to a spec network: its graph of operations is walked node by node.

``walk`` goes through functional and sequential models, nested ones, and models and layers of a
user's own whose ``call`` is made of layers and ``keras.ops``, which Keras traces. Which operation
is what in the spec is in ``layers.py`` and ``calls.py``; files in ``files.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import keras
import numpy as np
from keras import layers, tree

from triptych.backends._keras.layouts import HOMES
from triptych.backends._keras.porting.calls import OPS
from triptych.backends._keras.porting.layers import LAYERS
from triptych.backends._keras.porting.moves import Masked
from triptych.backends.carried import Given, Origin, Turn
from triptych.backends.graph import GraphBuilder, Value
from triptych.errors import PortError, in_one_line
from triptych.spec.network import Network

Visit = Callable[[Any, Sequence[Any], Mapping[str, Any], str], Any]
"""What is done at an operation: it, the arguments of the call, and the call's own name."""
_RECURRENT = (layers.SimpleRNN, layers.LSTM, layers.GRU, layers.Bidirectional)


@dataclass
class Reading:
    """What is gathered while a model is read.

    Attributes:
        build: collects the nodes.
        variables: Keras' variables by the key of their origin.
        constants: arrays that the source has none of, by key.
        notes: what was left out, in order, each once.
        calls: by the name of a layer's call, the value that stands for what it gave.
        mask: what the recurrent layer that is being read was called with.
    """

    build: GraphBuilder
    variables: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    calls: dict[str, Value] = field(default_factory=dict)
    mask: Any = None

    def origin(self, variable: Any, turn: Turn = lambda array: array) -> Origin:
        """Return the origin of a variable, by a key of its own."""
        key = variable.path
        while self.variables.setdefault(key, variable) is not variable:
            key += "+"
        return Origin(key, turn)

    def constant(self, array: np.ndarray, place: str, local: str) -> Origin:
        """Return the origin of an array that the source has as a constant."""
        self.constants[place] = array
        self.leave(
            f"{place} is a constant {array.flat[0]:g} in the source; the port has a {local} that "
            "can learn"
        )
        return Origin(place)

    def arrays(
        self, op: Any, kind: str, names: Sequence[str] | Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the origins of a layer's arrays by our own layouts, which are Keras'."""

        def turn(home: Any) -> Turn:
            return lambda array: home.to_canonical(home.piece(array))

        homes = {local: HOMES[kind][local] for local in names}
        return {
            local: self.origin(attrgetter(home.attribute)(op), turn(home))
            for local, home in homes.items()
        }

    def leave(self, note: str) -> None:
        """Note what is left behind or turned."""
        self.notes[f"{self.build.source}: {note}"] = None

    # --- visiting ----------------------------------------------------------------------------

    def visit(self, op: Any, args: Sequence[Any], options: Mapping[str, Any], call: str) -> Any:
        """Add an operation to the network."""
        if not isinstance(op, layers.Layer):
            return self._operation(op, args, options, call)
        values = [item for item in tree.flatten(list(args)) if isinstance(item, Value)]
        values += [options[key] for key in ("inputs", "sequences") if key in options]
        self.mask = options.get("mask") if type(op) in _RECURRENT else None
        said = dict(options) | ({"mask": None} if self.mask is not None else {})
        self._check_call(args, said, values, call)
        self.calls[call] = self.layer(op, values, call)
        return self.calls[call]

    def layer(self, op: Any, values: Sequence[Value], place: str) -> Value:
        """Add a layer of Keras'."""
        make = LAYERS.get(type(op))
        if make is None:
            raise self.build.refuse(f"{place} ({type(op).__name__})", "has no canonical form")
        if getattr(op, "lora_enabled", False) or getattr(op, "quantization_mode", None):
            raise self.build.refuse(place, "is quantised or has LoRA arrays: merge them first")
        return make(self, op, values, place)

    def _check_call(
        self, args: Sequence[Any], options: Mapping[str, Any], values: Sequence[Value], place: str
    ) -> None:
        """Layers take values and nothing else."""
        said = {name for name, value in options.items() if value is not None}
        odd = sorted(said - {"training", "inputs", "sequences"})
        if odd or any(arg is not None for arg in tree.flatten(list(args[1:]))):
            what = ", ".join(odd) or "more than its input"
            raise self.build.refuse(place, f"is called with {what}, which has no canonical form")
        if any(isinstance(value, Masked) for value in values) and self.mask is None:
            raise self.build.refuse(
                place, "takes what a Masking layer set to 0, which has no canonical form"
            )

    def _operation(
        self, op: Any, args: Sequence[Any], options: Mapping[str, Any], place: str
    ) -> Any:
        name = f"{type(op).__module__.rsplit('.', 1)[-1]}.{type(op).__name__}"
        make = OPS.get(name) if _is_keras(op) else None
        named = [options[key] for key in ("x", "x1", "x2", "xs", "inputs") if key in options]
        if make is None or not tree.flatten([*args, *named]):
            raise self.build.refuse(f"{place} (keras.ops, {name})", "has no canonical form")
        given = [*args, *named]
        if any(isinstance(item, Masked) for item in tree.flatten(given)):
            raise self.build.refuse(place, "takes what a Masking layer set to 0")
        return make(self, op, given, options, place)


@dataclass(frozen=True)
class Read:
    """A model as a network, and the way back to it."""

    network: Network
    reading: Reading
    output: Value


def read(model: Any, source: str, given: Given) -> tuple[Read, Any]:
    """Return a live model as a network, and the function that was walked.

    Args:
        model: a ``keras.Model`` of any kind.
        source: what it is called in messages.

    Raises:
        PortError: it is open in its input's shape, or holds what has no canonical form.
    """
    function = _function(model, source, given)
    if len(function.inputs) != 1 or len(function.outputs) != 1:
        raise PortError(
            f"{source} has {len(function.inputs)} inputs and {len(function.outputs)} outputs, but "
            "a network has one of each: cut out the part to carry with keras.Model(input, output)"
        )
    reading = Reading(GraphBuilder(source))
    start = _start(function, source, given)
    value = reading.build.input(start, given.index or _is_index(function))
    (output,) = tree.flatten(walk(function, [value], reading.visit, source))
    if not isinstance(output, Value):
        raise PortError(f"{source} gives a mask, which is no output of a network")
    return Read(reading.build.finish(output), reading, output), function


def _start(function: Any, source: str, given: Given) -> tuple[int, ...]:
    """The shape of one input; what the model leaves open is as given."""
    own = tuple(function.inputs[0].shape[1:])
    shape = given.shape if given.shape is not None else own
    fits = len(shape) == len(own) and all(a in (None, b) for a, b in zip(own, shape, strict=True))
    if None in shape or not fits:
        said = "x".join("?" if size is None else str(size) for size in own)
        raise PortError(
            f"{source} takes inputs of {said}"
            + (f", not {'x'.join(map(str, shape))}" if not fits else "")
            + "; say one input's shape, channels last: --input 32x32x3 (or --input '20 index')"
        )
    return shape


def _is_index(function: Any) -> bool:
    """Whether an embedding takes the input, directly or in a model inside."""
    start = function.inputs[0]
    for node in (node for nodes in function._nodes_by_depth.values() for node in nodes):
        if any(tensor is start for tensor in node.input_tensors):
            inner = _inner(node.operation)
            if isinstance(node.operation, layers.Embedding) or (inner and _is_index(inner)):
                return True
    return False


# --- walking -------------------------------------------------------------------------------------


def walk(function: Any, inputs: Sequence[Any], visit: Visit, source: str, path: str = "") -> Any:
    """Go through a function's nodes in the order of execution and return its outputs.

    Args:
        function: a functional model.
        inputs: values in place of its inputs, of any type.
        visit: returns a call's output; what it is handed is in these values.
        source: what the model is called in messages.
        path: of a model inside another.
    """
    values: dict[int, Any] = {id(t): v for t, v in zip(function.inputs, inputs, strict=True)}
    seen: dict[str, int] = {}
    depths = sorted(function._nodes_by_depth, reverse=True)
    for node in (node for depth in depths for node in function._nodes_by_depth[depth]):
        if node.is_input or any(id(tensor) not in values for tensor in node.input_tensors):
            continue
        op = node.operation
        seen[op.name] = seen.get(op.name, 0) + 1
        call = f"{path}{op.name}" + (f":{seen[op.name]}" if seen[op.name] > 1 else "")
        args, options = node.arguments.fill_in(values)
        inner = _inner(op) or _traced(op, node, source, call)
        if inner is None:
            outputs = visit(op, args, options, call)
        else:
            if options.get("mask") is not None:
                raise PortError(f"{source}: {call}: a mask goes into a model, which can't be read")
            taken = [values[id(tensor)] for tensor in node.input_tensors]
            outputs = walk(inner, taken, visit, source, f"{call}/")
        found = tree.flatten(outputs)
        values |= {id(t): v for t, v in zip(node.outputs, found, strict=True)}
    return [values[id(tensor)] for tensor in function.outputs]


def _inner(op: Any) -> Any:
    """The graph of a model, None for anything else."""
    if isinstance(op, keras.Sequential):
        return op._functional
    return op if isinstance(op, keras.Model) and hasattr(op, "_nodes_by_depth") else None


def _is_keras(op: Any) -> bool:
    return type(op).__module__.split(".")[0] == "keras"


def _traced(op: Any, node: Any, source: str, place: str) -> Any:
    """The graph of a layer of the user's own; None where it is Keras' own."""
    if _is_keras(op):
        return None
    args, options = node.arguments.convert(_fresh)
    starts = [item for item in tree.flatten((args, options)) if _is_tensor(item)]
    return _trace(op, starts, args, options, f"{source}: {place}")


def _fresh(item: Any) -> Any:
    return keras.Input(batch_shape=item.shape, dtype=item.dtype) if _is_tensor(item) else item


def _is_tensor(item: Any) -> bool:
    return isinstance(item, keras.KerasTensor)


def _trace(op: Any, starts: list[Any], args: Any, options: Any, place: str) -> Any:
    """The graph of what a ``call`` does with symbolic inputs."""
    try:
        return keras.Model(starts, op.call(*args, **options))
    except Exception as error:
        raise PortError(
            f"{place}: the call of {type(op).__name__} can't be followed, because it is made of "
            f"more than Keras' layers and keras.ops: {in_one_line(error)}"
        ) from None


def _function(model: Any, source: str, given: Given) -> Any:
    """A model as one that has a graph; built or traced where it has none yet."""
    if isinstance(model, keras.Sequential) and not model.built and given.shape is not None:
        model.build((None, *given.shape))
    inner = _inner(model)
    if inner is not None:
        return inner
    shape = given.shape
    built = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if shape is None and isinstance(built, (list, tuple)) and None not in built[1:]:
        shape = tuple(built[1:])
    if shape is None:
        raise PortError(
            f"{source}: {type(model).__name__} is not built, so that the shape of its input is not "
            "known; say it: --input 32x32x3 (or --input '20 index')"
        )
    start = keras.Input(tuple(shape), dtype="int32" if given.index else None)
    if not model.built:
        model(start)
    return _trace(model, [start], [start], {}, source)
