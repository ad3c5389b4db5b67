"""Batch normalisation folded away: the same outputs, and what stays is named."""

from __future__ import annotations

import numpy as np
import pytest
from looking import check_close, network_of, outputs

from triptych.inspect.fold import fold
from triptych.spec.layers import BatchNorm, Conv
from triptych.spec.network import Network, Node
from triptych.testing.cases import NetworkCase

BEFORE = {
    "dense": "5 -> dense 4 -> batch_norm relu -> dense 3 no bias -> batch_norm",
    "pixels": "3x4x2 -> dense 3 -> batch_norm tanh -> flatten -> dense 2",
    "conv": "5x4x2 -> conv 3 2x2 pad same no bias -> batch_norm epsilon 0.1 relu -> conv 2 2x2",
    "grouped": "5x4x4 -> conv 6 2x2 groups 2 -> batch_norm -> max_pool 2x2",
    "transposed": "2x3x2 -> conv_transpose 3 3x3/2 pad same -> batch_norm -> relu",
    "twice": "5 -> dense 4 -> batch_norm -> batch_norm epsilon 0.5 -> dense 2",
}
AFTER = {
    "input": "5x4x3 -> batch_norm -> conv 2 2x2/2 no bias",
    "grouped": "5x4x4 -> relu -> batch_norm -> conv 6 2x3 groups 2",
    "relu": "5 -> dense 4 relu -> batch_norm -> dense 3",
    "flatten": "4x5x3 -> conv 3 2x2 relu -> batch_norm -> flatten -> dense 4 no bias",
    "on the last axis": "3x4x2 -> relu -> batch_norm -> dense 3",
}


@pytest.mark.parametrize("notation", [*BEFORE.values(), *AFTER.values()], ids=[*BEFORE, *AFTER])
def test_the_outputs_are_the_same(notation: str) -> None:
    network, params = network_of(notation)
    found = fold(network, params)
    assert not found.network.nodes_of(BatchNorm) and not found.left
    assert list(found.into) == [node.name for node in network.nodes_of(BatchNorm)]
    assert list(found.params) == list(found.network.parameters)
    check_close(outputs(found.network, found.params), outputs(network, params))


def test_a_framework_agrees() -> None:
    pytest.importorskip("torch")
    network, params = network_of(BEFORE["conv"])
    found = fold(network, params)
    check_close(outputs(found.network, found.params, "torch"), outputs(network, params, "torch"))
    assert found.into == {"batch_norm1": "conv1"}


def test_types_are_kept() -> None:
    network, params = network_of(AFTER["flatten"])
    single = {name: array.astype(np.float32) for name, array in params.items()}
    found = fold(network, single)
    assert {array.dtype for array in found.params.values()} == {np.dtype("float32")}
    check_close(outputs(found.network, found.params), outputs(network, params), 1e-5)


BRANCH = {
    "input": "5",
    "a": "dense 4",
    "n": "batch_norm <- a",
    "sum": "add <- a, n",
    "b": "dense 3",
}
STAYS = {
    "relu on both sides": (
        "5 -> dense 4 relu -> batch_norm -> relu -> dense 2",
        "batch_norm1",
        "relu1 before it is relu, and relu2 after it is relu",
    ),
    "padding": (
        "5x4x3 -> relu -> batch_norm -> conv 2 3x3 pad same",
        "batch_norm1",
        "relu1 before it is relu, and conv1 after it pads with zeros that have not been normalised",
    ),
    "end": (
        "5 -> dense 3 tanh -> batch_norm",
        "batch_norm1",
        "tanh1 before it is tanh, and no single layer follows",
    ),
    "branch": (BRANCH, "n", "a before it is taken by others too, and sum after it is add"),
}


@pytest.mark.parametrize(("notation", "name", "reason"), STAYS.values(), ids=list(STAYS))
def test_what_stays_is_named(notation: str | dict[str, str], name: str, reason: str) -> None:
    network, params = network_of(notation)
    found = fold(network, params)
    assert found.left == {name: reason} and not found.into
    assert found.network == network and found.params == params


def test_shared_params_stay() -> None:
    conv = Conv(2, (1, 1))
    nodes = network_of("3x3x2 -> conv 2 1x1 -> batch_norm")[0].nodes
    again = Node("again", conv, ("batch_norm1",), shares="conv1")
    network = Network((*nodes, again, Node("end", BatchNorm(), ("again",), shares="batch_norm1")))
    params = NetworkCase("shared", network).params()
    found = fold(network, params)
    assert set(found.left) == {"batch_norm1", "end"}
    assert found.left["end"] == "it shares its params with another"
    assert found.network == network
