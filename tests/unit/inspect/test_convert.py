"""Dense layers and convolutions in each other's form: the same numbers, outputs and training."""

from __future__ import annotations

import numpy as np
import pytest
from looking import check_bits, check_close, network_of, outputs

from triptych.backends import registry
from triptych.errors import NetworkError
from triptych.inspect.convert import (
    all_to_conv,
    conv_matrix,
    conv_to_dense,
    dense_to_conv,
    unroll,
)
from triptych.spec.layers import Conv, ConvTranspose, Dense, Flatten, Reshape
from triptych.spec.network import Network, Node
from triptych.spec.rules import Adam
from triptych.spec.schedules import Linear
from triptych.testing.cases import Bootstrapped, NetworkCase

IMAGE = (
    "7x6x2 -> conv 4 3x2/2 pad same relu -> flatten -> dense 5 tanh -> batch_norm -> dropout 0.3 "
    "-> dense 4 no bias -> softmax -> dense 3"
)
PIXELS = "5x4x3 -> dense 6 relu -> layer_norm -> conv 4 2x3 -> dense 3 no bias"


def kinds(network: Network) -> list[str]:
    return [node.layer.kind for node in network.nodes]


def test_a_whole_network_becomes_convolutions() -> None:
    network, params = network_of(IMAGE)
    found = all_to_conv(network)
    assert not found.network.nodes_of(Dense)
    assert found.network.output.layer == Flatten()
    convs = {node.name: node.layer for node in found.network.nodes_of(Conv)}
    assert convs["dense1"] == Conv(5, (4, 3)) and convs["dense2"] == Conv(4, (1, 1), bias=False)
    carried = found.arrays(params)
    assert carried["dense1/kernel"].shape == (4, 3, 4, 5)
    for backend in ("numpy", "torch"):
        if backend == "torch":
            pytest.importorskip("torch")
        check_close(outputs(found.network, carried, backend), outputs(network, params))


@pytest.mark.parametrize("notation", [IMAGE, PIXELS])
def test_there_and_back_is_the_same_network(notation: str) -> None:
    network, params = network_of(notation)
    found = all_to_conv(network)
    for node in reversed(network.nodes_of(Dense)):
        found = found.then(conv_to_dense(found.network, node.name))
    assert found.network == network
    check_bits(found.arrays(params), params)


def test_a_dense_layer_on_pixels_is_a_convolution_of_one() -> None:
    network, params = network_of(PIXELS)
    found = dense_to_conv(network, "dense1")
    assert found.network.by_name["dense1"].layer == Conv(6, (1, 1))
    assert kinds(found.network)[2:] == kinds(network)[2:]
    check_close(outputs(found.network, found.arrays(params)), outputs(network, params))


def test_training_goes_on_as_it_would_have() -> None:
    pytest.importorskip("torch")
    network, params = network_of(IMAGE)
    case = NetworkCase("moved", network)
    rule = Adam(Linear(0.05, 0.001, 20))
    how = {"objective": Bootstrapped(), "rule": rule, "dtype": "float64", "target": True}
    home = registry.get("torch").learner(network, params, **how)
    for _ in range(3):
        home.update(case.batch())
    found = all_to_conv(network)
    moved = registry.get("torch").learner(found.network, found.arrays(home.params()), **how)
    moved.load_params(found.arrays(home.params("target")), "target")
    moved.load_slots(found.slots(home.slots()))
    # The masks of dropout go on from the same place.
    for _ in range(3):
        moved._draw_masks(5)
    for _ in range(5):
        assert float(moved.update(case.batch())) == pytest.approx(
            float(home.update(case.batch())), rel=1e-11
        )
    for name, array in found.arrays(home.params()).items():
        check_close(moved.params()[name], array, 1e-10)


def test_a_flatten_that_others_take_stays() -> None:
    graph = {
        "input": "3x4x2",
        "flat": "flatten",
        "a": "dense 3",
        "b": "dense 3 <- flat",
        "sum": "add <- a, b",
    }
    network, params = network_of(graph)
    found = dense_to_conv(network, "a")
    assert found.network.by_name["flat"] == network.by_name["flat"]
    assert found.network.by_name["a"].inputs == ("input",)
    check_close(outputs(found.network, found.arrays(params)), outputs(network, params))


def test_a_convolution_over_the_whole_map_becomes_dense_without_a_flatten() -> None:
    network, params = network_of("3x4x2 -> conv 5 3x4/2 -> conv_transpose 2 2x2")
    found = conv_to_dense(network, "conv1")
    assert kinds(found.network) == ["input", "flatten", "dense", "reshape", "conv_transpose"]
    check_close(outputs(found.network, found.arrays(params)), outputs(network, params))


ODD = [
    ("5x6x2", Conv(3, (2, 3), (2, 1), "same")),
    ("6x5x4", Conv(6, (2, 2), (1, 2), ((1, 0), (0, 2)), (2, 1), groups=2, bias=False)),
    ("4x4x3", Conv(3, (3, 3), padding="same", groups=3)),
    ("3x2x2", ConvTranspose(3, (3, 4), (2, 2), "same")),
    ("2x3x2", ConvTranspose(2, (2, 1), (3, 2), ((0, 1), (1, 0)), (2, 1), bias=False)),
    ("2x2x1", ConvTranspose(2, (1, 2), (3, 1), "same")),
]


@pytest.mark.parametrize(("size", "layer"), ODD)
def test_any_convolution_is_a_matrix(size: str, layer: Conv | ConvTranspose) -> None:
    start, _ = network_of(f"{size} -> relu")
    network = Network((*start.nodes, Node("c", layer, ("relu1",)), Node("end", Flatten(), ("c",))))
    params = NetworkCase("odd", network).params()
    x = np.maximum(NetworkCase("looked into", network).observations("inputs"), 0.0)
    matrix = conv_matrix(layer, network.shapes["relu1"], params["c/kernel"])
    bias = np.tile(params.get("c/bias", np.zeros(layer.filters)), matrix.shape[1] // layer.filters)
    expected = outputs(network, params)
    check_close(x.reshape(len(x), -1) @ matrix + bias, expected)

    new, unrolled = unroll(network, params, "c")
    assert kinds(new) == ["input", "relu", "flatten", "dense", "reshape", "flatten"]
    check_close(outputs(new, unrolled), expected)


GRAPH = {"input": "4x3", "a": "dense 2", "flat": "flatten", "b": "dense 2"}
WRONG = [
    (dense_to_conv, IMAGE, "conv1", r"node 'conv1' \(conv\) is no dense layer"),
    (dense_to_conv, IMAGE, "dense9", r"there is no node 'dense9' \(did you mean 'dense"),
    (dense_to_conv, IMAGE, "dense2", "'dense2' is no convolution in another form: it takes 5 "),
    (dense_to_conv, GRAPH, "a", "'a' is no convolution in another form: it takes 4x3 "),
    (dense_to_conv, GRAPH, "b", "'b' is no convolution in another form: it takes 8 "),
    (conv_to_dense, IMAGE, "dense1", r"node 'dense1' \(dense\) is no convolution"),
    (conv_to_dense, IMAGE, "conv1", "'conv1' is no dense layer .*: it has groups or padding"),
    (conv_to_dense, PIXELS, "conv1", "its kernel 2x3 is neither 1x1 at stride 1 nor the map's 5x4"),
]


@pytest.mark.parametrize(("turn", "notation", "name", "sentence"), WRONG)
def test_what_has_no_other_form_is_named(
    turn: object, notation: str | dict[str, str], name: str, sentence: str
) -> None:
    network, _ = network_of(notation)
    with pytest.raises(NetworkError, match=sentence):
        turn(network, name)  # type: ignore[operator]


def test_shared_params_and_giants_are_refused() -> None:
    shared = Network(
        (
            *network_of("3x3x2 -> conv 2 1x1")[0].nodes,
            Node("again", Conv(2, (1, 1)), ("conv1",), shares="conv1"),
        )
    )
    with pytest.raises(NetworkError, match="'conv1' shares its params with another"):
        conv_to_dense(shared, "conv1")
    network, params = network_of("224x224x3 -> conv 64 7x7/2")
    with pytest.raises(NetworkError, match="a dense layer of 150,528 x 760,384 numbers"):
        unroll(network, params, "conv1")


def test_the_reshape_brings_the_map_back() -> None:
    network, params = network_of("4x4x1 -> conv 2 3x3")
    new, _ = unroll(network, params, "conv1")
    assert new.output.layer == Reshape((2, 2, 2))
