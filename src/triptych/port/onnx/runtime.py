"""Loading and running ONNX models: what is safe to load, and which evaluator runs what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from triptych.backends.protocol import DType
from triptych.errors import PortError, in_one_line, missing

_MOST = 4_000_000_000
"""Bytes of a file that is read whole."""
_REAL = {1: np.float32, 10: np.float16, 11: np.float64, 16: np.float32}
"""ONNX' numbers of the real types; bfloat16 is read as float32."""


def packages() -> tuple[Any, Any]:
    """Return ``onnx`` and ``onnx.numpy_helper``; raises ``MissingDependency``."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise missing("onnx", "port", "reading and writing ONNX files") from None
    return onnx, numpy_helper


def load(path: Path) -> Any:
    """Return a file's model, checked, with shapes.

    Data in other files is not followed: such a path can lead anywhere.

    Raises:
        PortError: it is no ONNX model, is broken, or keeps its data elsewhere.
    """
    onnx, _ = packages()
    if path.stat().st_size > _MOST:
        raise PortError(f"{path} has {path.stat().st_size:,} bytes; at most {_MOST:,} are read")
    try:
        model = onnx.load_model(path, load_external_data=False)
        found = [t.name for t in model.graph.initializer if t.data_location == 1]
        if found:
            raise PortError(
                f"{path}: {found[0]} is kept in another file; save the model in one file "
                "(save_as_external_data=False)"
            )
        onnx.checker.check_model(model)
    except PortError:
        raise
    except Exception as error:
        raise PortError(f"{path} is not a readable ONNX model: {in_one_line(error)}") from None
    return model


def typed(model: Any, dtype: DType) -> Any:
    """Return a copy of a model whose real numbers are of one type."""
    onnx, helper = packages()
    kind = getattr(onnx.TensorProto, "FLOAT" if dtype == "float32" else "DOUBLE")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.data_type in _REAL and tensor.data_type != kind:
            array = helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(helper.from_array(array, tensor.name))
    for node in copy.graph.node:
        _retype(node, kind, dtype, helper)
    for value in (*copy.graph.input, *copy.graph.output, *copy.graph.value_info):
        if value.type.tensor_type.elem_type in _REAL:
            value.type.tensor_type.elem_type = kind
    return copy


def _retype(node: Any, kind: int, dtype: DType, helper: Any) -> None:
    """Constants and casts inside a graph to a real type."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in _REAL:
            attribute.i = kind
        constant = node.op_type == "Constant" and attribute.name == "value"
        if constant and attribute.t.data_type in _REAL:
            array = helper.to_array(attribute.t).astype(dtype)
            attribute.t.CopyFrom(helper.from_array(array, attribute.t.name))


def with_all_outputs(model: Any) -> Any:
    """Return a copy that gives every tensor, in the order of the nodes."""
    onnx, _ = packages()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inferred = onnx.shape_inference.infer_shapes(copy).graph
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    del copy.graph.output[:]
    names = [name for node in copy.graph.node for name in node.output if name]
    every = (known.get(n, onnx.ValueInfoProto(name=n)) for n in dict.fromkeys(names))
    copy.graph.output.extend(every)
    return copy


class Runner:
    """A model in one type: run by onnxruntime in float32, else by the reference evaluator."""

    def __init__(self, model: Any, dtype: DType) -> None:
        self.dtype = dtype
        self.model = typed(model, dtype)
        self.name = self.model.graph.input[0].name
        self.outputs = [value.name for value in self.model.graph.output]
        self._session = self._fast() if dtype == "float32" else None

    def _fast(self) -> Any:
        """A session of onnxruntime, None where it is not installed or lacks an operator."""
        try:
            import onnxruntime
        except ImportError:
            return None
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        try:
            return onnxruntime.InferenceSession(
                self.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception:
            return None

    def run(self, inputs: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for native inputs."""
        feed = {self.name: self._cast(inputs)}
        if self._session is not None:
            return [np.asarray(found) for found in self._session.run(None, feed)]
        return reference(self.model, feed)

    def _cast(self, inputs: np.ndarray) -> np.ndarray:
        kind = self.model.graph.input[0].type.tensor_type.elem_type
        onnx, _ = packages()
        return inputs.astype(onnx.helper.tensor_dtype_to_np_dtype(kind))


class Runners:
    """A model's runners by type, each made once."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._made: dict[DType, Runner] = {}

    def run(self, inputs: np.ndarray, dtype: DType) -> np.ndarray:
        """Return the model's one output for native inputs, in a type."""
        if dtype not in self._made:
            self._made[dtype] = Runner(self.model, dtype)
        return self._made[dtype].run(inputs)[0]


def reference(model: Any, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run a model with ONNX' own evaluator in NumPy, slow and of any type."""
    packages()
    from onnx.reference import ReferenceEvaluator

    return [np.asarray(found) for found in ReferenceEvaluator(model).run(None, feed)]


_APPROXIMATE = ("Gelu", "Selu", "Erf", "HardSwish")
"""Operators whose constants are float32 in every type."""
_USUAL: tuple[list[str], ...] = ([], ["Tanh"], ["Sigmoid", "Tanh"], ["Sigmoid", "Tanh", "Tanh"])
"""Activations that the reference evaluator's recurrent operators know."""


def types(model: Any) -> tuple[DType, ...]:
    """Return the types in which a model can be run as it is meant."""
    onnx, _ = packages()
    for node in model.graph.node:
        named = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        bends = [name.decode() for name in named.get("activations", [])]
        half = bends[: len(bends) // 2] if named.get("direction") == b"bidirectional" else bends
        if node.op_type in _APPROXIMATE or half not in _USUAL:
            return ("float32",)
    return ("float32", "float64")


def versions() -> str:
    """Return what computes, for people."""
    onnx, _ = packages()
    try:
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__} and onnx {onnx.__version__}'s evaluator"
    except ImportError:
        return f"onnx {onnx.__version__}'s reference evaluator"
