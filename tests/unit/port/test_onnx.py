"""ONNX files: every layer there and back, exporters' idioms, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from triptych.backends import registry
from triptych.backends.carried import Given, Trained
from triptych.errors import PortError, Unsupported
from triptych.port.onnx import PORTER
from triptych.port.proof import apart_by_example, inputs_of
from triptych.spec.network import Network
from triptych.testing.cases import NETWORKS
from triptych.testing.recurrent_cases import RECURRENT, STEPS

CASES = {case.name: case for case in (*NETWORKS, *RECURRENT, *STEPS)}
MASKED = ("masked", "masked_steps")


def oracle(network: Network, params: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    return registry.get("numpy").learner(network, params, dtype="float64").outputs(inputs)


def trained(name: str) -> Trained:
    params = {key: array.astype("float32") for key, array in CASES[name].params().items()}
    return Trained(CASES[name].network, params)


@pytest.mark.parametrize("name", [name for name in CASES if name not in MASKED])
def test_every_layer_is_written_and_read(name: str, tmp_path: Path) -> None:
    own = trained(name)
    path = tmp_path / "net.onnx"
    assert PORTER.write(own, path, name) == [path]
    written = PORTER.load(own, path, name)
    inputs = inputs_of(own.network, seed=1)
    meant = oracle(own.network, own.params, inputs)
    for dtype in written.dtypes:
        bar = {"float32": 1e-5, "float64": 1e-12}[dtype]
        assert apart_by_example(meant, written.outputs(inputs, dtype)) <= bar
    for key, array in written.params().items():
        np.testing.assert_array_equal(array, own.params[key])

    back = PORTER.read(path, Given(shape=own.network.shapes["input"]))
    again = oracle(back.trained.network, back.trained.params, inputs)
    for dtype in back.dtypes:
        bar = {"float32": 1e-5, "float64": 1e-12}[dtype]
        assert apart_by_example(back.outputs(inputs, dtype), again) <= bar
    assert back.gradients(inputs, meant, "float32") is None


@pytest.mark.parametrize("name", MASKED)
def test_masking_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no masking by value"):
        PORTER.write(trained(name), tmp_path / "net.onnx", name)


def test_a_layer_that_is_wrong_shows(tmp_path: Path) -> None:
    own = trained("pooling")
    path = tmp_path / "net.onnx"
    PORTER.write(own, path, "pooling")
    model = onnx.load(path)
    pool = next(node for node in model.graph.node if node.op_type == "AveragePool")
    counted = next(a for a in pool.attribute if a.name == "count_include_pad")
    counted.i = 1 - counted.i
    onnx.save(model, path)
    inputs = inputs_of(own.network, seed=1)
    found = PORTER.load(own, path, "pooling").outputs(inputs, "float64")
    assert apart_by_example(oracle(own.network, own.params, inputs), found) > 1e-3


def test_layer_outputs_are_those_of_the_nodes(tmp_path: Path) -> None:
    own = trained("image")
    path = tmp_path / "net.onnx"
    PORTER.write(own, path, "image")
    source = PORTER.read(path, Given())
    inputs = inputs_of(own.network, seed=1)
    learner = registry.get("numpy").learner(
        source.trained.network, source.trained.params, dtype="float64"
    )
    meant, found = learner.layer_outputs(inputs), source.layer_outputs(inputs, "float64")
    assert len(found) >= 5
    for name, array in found.items():
        assert apart_by_example(meant[name], array) <= 1e-12


# --- what exporters write ---------------------------------------------------------------------


def model(nodes: list, arrays: dict[str, np.ndarray], size: list, out: list, opset: int = 17):
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(made, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    path = tmp_path / "net.onnx"
    onnx.save(made, path)
    return path


def agrees(path: Path, given: Given | None = None) -> Network:
    """Read a file, compare with the evaluator, and return the network."""
    source = PORTER.read(path, given or Given())
    inputs = inputs_of(source.trained.network, seed=2)
    found = oracle(source.trained.network, source.trained.params, inputs)
    dtype = source.dtypes[-1]
    bar = {"float32": 1e-5, "float64": 1e-12}[dtype]
    assert apart_by_example(source.outputs(inputs, dtype), found) <= bar
    return source.trained.network


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def test_an_image_flattened_channels_first_reorders_the_dense_rows(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[0, 1, 1, 0], strides=[2, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "k", "d"], ["y"], transB=1),
    ]
    arrays = {"w": draw(4, 3, 3, 2), "b": draw(4), "k": draw(5, 4 * 3 * 5), "d": draw(5)}
    network = agrees(saved(model(nodes, arrays, ["n", 3, 6, 5], ["n", 5]), tmp_path))
    assert [node.layer.kind for node in network.nodes] == [
        "input", "conv", "relu", "flatten", "dense",
    ]  # fmt: skip
    assert network.shapes["input"] == (6, 5, 3)


def test_a_dynamic_reshape_and_a_residual_block(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], auto_pad="SAME_UPPER"),
        helper.make_node("Add", ["c", "x"], ["s"]),
        helper.make_node("HardSwish", ["s"], ["h"]),
        helper.make_node("GlobalAveragePool", ["h"], ["g"]),
        helper.make_node("Shape", ["g"], ["size"]),
        helper.make_node("Gather", ["size", "zero"], ["batch"], axis=0),
        helper.make_node("Concat", ["batch", "minus"], ["to"], axis=0),
        helper.make_node("Reshape", ["g", "to"], ["f"]),
        helper.make_node("MatMul", ["f", "k"], ["m"]),
        helper.make_node("Add", ["d", "m"], ["y"]),
    ]
    arrays = {
        "w": draw(3, 3, 3, 3),
        "k": draw(3, 4),
        "d": draw(4),
        "zero": np.array([0]),
        "minus": np.array([-1]),
    }
    network = agrees(saved(model(nodes, arrays, ["n", 3, 4, 5], ["n", 4]), tmp_path))
    assert {"add", "multiply", "average_pool"} <= {node.layer.kind for node in network.nodes}


def test_one_array_at_two_places_is_a_shared_layer(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "k", "d"], ["a"]),
        helper.make_node("Tanh", ["a"], ["t"]),
        helper.make_node("Gemm", ["t", "k", "d"], ["y"]),
    ]
    arrays = {"k": draw(4, 4), "d": draw(4)}
    network = agrees(saved(model(nodes, arrays, ["n", 4], ["n", 4]), tmp_path))
    assert network.output.shares == "dense1"
    assert network.parameter_count == 20


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_both_directions_of_a_recurrent_layer(kind: str, tmp_path: Path) -> None:
    gates, units, size = {"LSTM": 4, "GRU": 3}[kind], 3, 2
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    nodes = [
        helper.make_node("Transpose", ["x"], ["s"], perm=[1, 0, 2]),
        helper.make_node(
            kind, ["s", "w", "r", "b"], ["states"],
            hidden_size=units, direction="bidirectional", **more,
        ),
        helper.make_node("Transpose", ["states"], ["turned"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["turned", "to"], ["joined"]),
        helper.make_node("Transpose", ["joined"], ["y"], perm=[1, 0, 2]),
    ]  # fmt: skip
    arrays = {
        "w": draw(2, gates * units, size),
        "r": draw(2, gates * units, units),
        "b": draw(2, 2 * gates * units),
        "to": np.array([0, 0, -1]),
    }
    network = agrees(saved(model(nodes, arrays, ["n", 5, size], ["n", 5, 2 * units]), tmp_path))
    assert [node.layer.kind for node in network.nodes[1:]] == [kind.lower()] * 2 + ["concatenate"]


# --- what is refused --------------------------------------------------------------------------


def relu(size: list | None = None) -> onnx.ModelProto:
    return model([helper.make_node("Relu", ["x"], ["y"])], {}, size or ["n", 3], ["n", 3])


def refused(path: Path, *words: str) -> None:
    with pytest.raises(PortError) as caught:
        PORTER.read(path, Given())
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text


def test_an_unknown_operator_is_named_with_its_place(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sinh", ["x"], ["y"], name="block/odd")]
    refused(saved(model(nodes, {}, ["n", 3], ["n", 3]), tmp_path), "block/odd (Sinh)", "net.onnx")


def test_an_open_size_asks_for_input(tmp_path: Path) -> None:
    refused(saved(relu(["n", "m"]), tmp_path), "--input")
    assert agrees(tmp_path / "net.onnx", Given(shape=(3,))).shapes["input"] == (3,)


def test_data_in_other_files_is_not_followed(tmp_path: Path) -> None:
    made = model([helper.make_node("Add", ["x", "c"], ["y"])], {"c": draw(1)}, ["n", 3], ["n", 3])
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"
    path = tmp_path / "net.onnx"
    path.write_bytes(made.SerializeToString())
    refused(path, "kept in another file")


def test_broken_files(tmp_path: Path) -> None:
    path = saved(relu(), tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    refused(path, "not a readable ONNX model")
    path.write_bytes(b"\x80\x04cposix\nsystem\n")
    refused(path, "not a readable ONNX model")
