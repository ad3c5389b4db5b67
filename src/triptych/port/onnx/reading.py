"""From an ONNX graph to a network: the walk over its nodes, and what is constant in it.

The model is run once on two examples with every tensor as an output, so that shapes and whatever
does not depend on the input's values are simply known. What each operator becomes is in
``operators.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triptych.backends.carried import Given, Origin, Trained
from triptych.backends.graph import GraphBuilder, Value
from triptych.errors import PortError, in_one_line
from triptych.port.onnx import runtime

_BATCH = 2
_PASSING = ("Add", "Sub", "Mul", "Div", "Cast", "Identity", "Pad", "Relu", "Clip", "Dropout")
"""Operators that keep the axes of an image."""


@dataclass(frozen=True)
class Held:
    """A tensor that depends on the input: its value, and which of its axes is the batch."""

    value: Value
    batch: int = 0


class Reader:
    """Walks a model's graph; ``held``, ``constants`` and ``builder`` are for the operators."""

    def __init__(self, model: Any, path: Path, given: Given) -> None:
        self.model, self.path = model, path
        _, self._helper = runtime.packages()
        self.builder = GraphBuilder(path.name)
        self.held: dict[str, Held] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.consumers: dict[str, list[Any]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.skipped: set[str] = set()
        self.centred: dict[str, Value] = {}
        """Values less their mean, of which only a dueling head is known, by tensor."""
        self._begin(given)

    def _begin(self, given: Given) -> None:
        known = {tensor.name for tensor in self.model.graph.initializer}
        inputs = [value for value in self.model.graph.input if value.name not in known]
        if len(inputs) != 1 or len(self.model.graph.output) != 1:
            raise PortError(
                f"{self.path}: it has {len(inputs)} inputs and {len(self.model.graph.output)} "
                "outputs; a network has one of each"
            )
        self.input = inputs[0]
        self.index = self.input.type.tensor_type.elem_type in (6, 7)
        self.shape = self._input_shape(given)
        images = len(self.shape) == 3 and not self._is_last()
        value = self.builder.input(self.shape, self.index, channels_first=images)
        self.held[self.input.name] = Held(value)
        self.constants = self._run_once()

    def _input_shape(self, given: Given) -> tuple[int, ...]:
        """The input's own shape without the batch; what is open comes from ``--input``."""
        own = [dim.dim_value or None for dim in self.input.type.tensor_type.shape.dim][1:]
        if None not in own:
            return tuple(int(size or 0) for size in own)
        if given.shape is None or len(given.shape) != len(own):
            raise PortError(
                f"{self.path}: its input {self.input.name} leaves sizes open: {own}; say them with "
                "--input, channels last, such as --input 32x32x3"
            )
        shape = given.shape
        turned = (shape[-1], *shape[:-1])
        for candidate in (turned, shape) if len(shape) == 3 and not self._is_last() else (shape,):
            if all(mine in (None, size) for mine, size in zip(own, candidate, strict=True)):
                return candidate
        raise PortError(
            f"{self.path}: --input {'x'.join(map(str, shape))} does not fit its input {own}"
        )

    def _is_last(self) -> bool:
        """Whether the image is turned to channels first before anything slides over it."""
        waiting, turned = [self.input.name], False
        while waiting:
            for node in self.consumers.get(waiting.pop(), []):
                if node.op_type == "Transpose":
                    turned |= self.options(node).get("perm") == [0, 3, 1, 2]
                elif node.op_type in ("Conv", "ConvTranspose", "MaxPool", "AveragePool"):
                    return False
                elif node.op_type in _PASSING:
                    waiting.append(node.output[0])
        return turned

    def _run_once(self) -> dict[str, np.ndarray]:
        """Every tensor's value for two examples: shapes, and what is constant."""
        whole = (_BATCH, *self.shape)
        # A fixed batch size in the file would be at odds with ours.
        self.input.type.tensor_type.shape.dim[0].dim_param = "batch"
        inputs = np.zeros(whole, np.int64) if self.index else np.full(whole, 0.5, np.float32)
        every = runtime.with_all_outputs(runtime.typed(self.model, "float32"))
        onnx, _ = runtime.packages()
        kind = onnx.helper.tensor_dtype_to_np_dtype(every.graph.input[0].type.tensor_type.elem_type)
        try:
            found = runtime.Runner(every, "float32").run(inputs.astype(kind))
        except Exception as error:
            raise PortError(
                f"{self.path}: the model can't be run on an input of {whole}: {in_one_line(error)}"
            ) from None
        names = [value.name for value in every.graph.output]
        own = {t.name: self._helper.to_array(t) for t in self.model.graph.initializer}
        return dict(zip(names, found, strict=True)) | own | {self.input.name: inputs}

    # --- what operators ask ----------------------------------------------------------------------

    def options(self, node: Any) -> dict[str, Any]:
        """Return a node's attributes as plain values."""
        onnx, _ = runtime.packages()
        found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}

    def where(self, node: Any) -> str:
        """Return a node's place in the file, for messages."""
        return f"{node.name or node.output[0]} ({node.op_type})"

    def is_constant(self, name: str) -> bool:
        """Whether a tensor does not depend on the input's values."""
        return name not in self.held

    def constant(self, node: Any, place: int) -> np.ndarray:
        """Return a constant input of a node; raises ``PortError`` where it is computed."""
        name = node.input[place]
        if not self.is_constant(name):
            raise self.refuse(node, f"its input {name} is computed from the network's input")
        return self.constants[name]

    def given(self, node: Any, place: int) -> bool:
        """Whether a node has an optional input."""
        return len(node.input) > place and bool(node.input[place])

    def is_computed(self, node: Any, place: int) -> bool:
        """Whether a node's input depends on the input's values."""
        return node.input[place] in self.held

    def given_output(self, node: Any, place: int) -> bool:
        """Whether a node has an optional output."""
        return len(node.output) > place and bool(node.output[place])

    def array(self, node: Any, place: int) -> Origin:
        """Return the origin of a trained array, which is a constant input of a node."""
        name = node.input[place]
        array = self.constant(node, place)
        if array.dtype.kind != "f":
            raise self.refuse(node, f"its array {name} is of type {array.dtype}")
        self.arrays[name] = array
        return Origin(name)

    def value(self, node: Any, place: int = 0) -> Value:
        """Return a node's input value whose batch comes first."""
        held = self.held[node.input[place]]
        if held.batch != 0:
            raise self.refuse(node, "reads a sequence with the time before the batch")
        return held.value

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, the batch included."""
        return tuple(self.constants[name].shape)

    def refuse(self, node: Any, what: str) -> PortError:
        """Return the error for a node that has no canonical form."""
        return self.builder.refuse(self.where(node), what)

    def only_consumer(self, name: str) -> Any:
        """Return the one node that reads a tensor, or None."""
        readers = self.consumers.get(name, [])
        outputs = {value.name for value in self.model.graph.output}
        return readers[0] if len(readers) == 1 and name not in outputs else None

    # --- the whole -----------------------------------------------------------------------------

    def read(self) -> Trained:
        """Return the network with its arrays."""
        from triptych.port.onnx.operators import OPERATORS

        for node in self.model.graph.node:
            if node.output[0] in self.skipped or not any(name in self.held for name in node.input):
                continue
            operator = OPERATORS.get(node.op_type)
            if operator is None or node.domain not in ("", "ai.onnx"):
                raise self.refuse(node, "this operator has no canonical form")
            if node.op_type == "Shape":
                continue
            found = operator(self, node)
            if found is not None:
                held = found if isinstance(found, Held) else Held(found)
                self.held[node.output[0]] = held
        self.output = self.model.graph.output[0].name
        if self.output not in self.held:
            raise PortError(f"{self.path}: its output {self.output} does not depend on its input")
        if self.held[self.output].batch:
            raise PortError(f"{self.path}: its output {self.output} has not the batch first")
        network = self.builder.finish(self.held[self.output].value)
        params = {
            name: np.array(origin.turn(self.arrays[origin.key]), order="C")
            for name, origin in self.builder.origins.items()
        }
        ordered = {name: params[name] for name in network.parameters}
        return Trained(network, ordered, places=dict(self.builder.places))
