"""A network as an ONNX model of opset 20; what each layer becomes is in ``layers.py``.

The model's input and output are channels last, as everywhere here; what slides over images gets
them channels first, with a Transpose only where the layout changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from triptych.backends.carried import Trained
from triptych.backends.layout import Home, join
from triptych.errors import Unsupported
from triptych.port.onnx import runtime
from triptych.port.onnx.layouts import HOMES
from triptych.spec.layers import SELU, Input, Recurrent
from triptych.spec.network import Network, Node

_OPSET, _IR = 20, 9
_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def model_of(trained: Trained, title: str) -> Any:
    """Return the model; raises ``Unsupported`` for a layer that ONNX has no words for."""
    return Writer(trained, title).model()


def exact(network: Network) -> bool:
    """Whether every constant is a float32, which is all that ONNX' attributes hold."""
    return all(
        not isinstance(node.layer, SELU) and float(np.float32(value)) == value
        for node in network.nodes
        for value in (getattr(node.layer, field.name) for field in fields(node.layer))
        if isinstance(value, float)
    )


def arrays_of(model: Any, network: Network) -> dict[str, np.ndarray]:
    """Return the canonical arrays of a model that was written here, by the names it was given."""
    _, helper = runtime.packages()
    held = {tensor.name: helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {}
    for name in network.parameters:
        node, local = name.rsplit("/", 1)
        layer = network.by_name[node].layer
        home = HOMES[layer.kind][local]
        native = held[f"{node}/{home.attribute}"]
        native = native[0] if isinstance(layer, Recurrent) else native
        found[name] = home.to_canonical(home.piece(native))
    return found


class Writer:
    """Collects operators and arrays; layers ask it for their inputs in either layout."""

    def __init__(self, trained: Trained, title: str) -> None:
        self.onnx, self.numpy = runtime.packages()
        self.trained, self.network, self.title = trained, trained.network, title
        kinds = {array.dtype for array in trained.params.values()} or {np.dtype("float32")}
        self.dtype = np.dtype("float64") if np.dtype("float64") in kinds else np.dtype("float32")
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.layouts: dict[str, set[str]] = {}

    def model(self) -> Any:
        """Return the checked model."""
        from triptych.port.onnx import layers

        helper, network = self.onnx.helper, self.network
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        start, end = network.input, network.output
        index = isinstance(start.layer, Input) and start.layer.values == "index"
        self.layouts[start.name] = {"last"}
        for node in network.nodes[1:]:
            write = layers.LAYERS.get(node.layer.kind)
            if write is None:
                raise Unsupported(f"ONNX has no words for a layer {node.layer.kind!r}")
            write(self, node)
        output = f"{end.name}/output" if end is start else self.last(end.name)
        inputs = helper.make_tensor_value_info(
            start.name,
            self.onnx.TensorProto.INT64 if index else kind,
            ["batch", *network.shapes[start.name]],
        )
        outputs = helper.make_tensor_value_info(output, kind, ["batch", *network.shapes[end.name]])
        tensors = [self.numpy.from_array(array, name) for name, array in self.arrays.items()]
        graph = helper.make_graph(self.nodes, self.title, [inputs], [outputs], tensors)
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=_IR)
        model.producer_name = "triptych"
        self.onnx.checker.check_model(model)
        return model

    # --- what layers ask ---------------------------------------------------------------------

    def last(self, name: str) -> str:
        """Return the tensor of a node's value, channels last."""
        if "last" not in self.layouts[name]:
            self.op("Transpose", [f"{name}/first"], name, perm=_LAST)
            self.layouts[name].add("last")
        return name

    def first(self, name: str) -> str:
        """Return the tensor of an image, channels first."""
        if "first" not in self.layouts[name]:
            self.op("Transpose", [name], f"{name}/first", perm=_FIRST)
            self.layouts[name].add("first")
        return f"{name}/first"

    def give(self, node: Node, layout: str) -> str:
        """Return the tensor that a node's value is to be written to."""
        self.layouts[node.name] = {layout}
        return node.name if layout == "last" else f"{node.name}/first"

    def alike(self, node: Node) -> tuple[list[str], str]:
        """Return a node's inputs in one layout, and which: that which needs no Transpose."""
        layout = "first" if all("first" in self.layouts[n] for n in node.inputs) else "last"
        turn = self.first if layout == "first" else self.last
        return [turn(name) for name in node.inputs], layout

    def op(self, kind: str, inputs: Sequence[str], output: str, **options: Any) -> str:
        """Add an operator and return its output."""
        name = f"{output}:{kind}"
        self.nodes.append(
            self.onnx.helper.make_node(kind, list(inputs), [output], name=name, **options)
        )
        return output

    def number(self, name: str, value: Any) -> str:
        """Return a constant in the model's type."""
        self.arrays[name] = np.asarray(value, self.dtype)
        return name

    def whole(self, name: str, values: Any) -> str:
        """Return a constant of whole numbers."""
        self.arrays[name] = np.asarray(values, np.int64)
        return name

    def array(self, node: Node, attribute: str) -> str:
        """Return a native array of a node, joined from the canonical ones that live in it."""
        name = f"{node.owner}/{attribute}"
        if name in self.arrays:
            return name
        homes = HOMES[node.layer.kind]
        pieces = [
            (homes[local], homes[local].to_native(self.trained.params[f"{node.owner}/{local}"]))
            for local in node.layer.parameters(*self.network.input_shapes(node))
            if homes[local].attribute == attribute
        ]
        if len(pieces) == 1 and pieces[0][0].is_whole:
            self.arrays[name] = np.array(pieces[0][1], self.dtype, order="C")
        elif isinstance(node.layer, Recurrent):
            self.arrays[name] = _joined(pieces, self.dtype)[None]
        return name


def _joined(pieces: Sequence[tuple[Home, np.ndarray]], dtype: np.dtype) -> np.ndarray:
    count = pieces[0][0].part
    rows = pieces[0][1].shape[0] * (count[1] if count else 1)
    return join((rows, *pieces[0][1].shape[1:]), dtype, pieces)
