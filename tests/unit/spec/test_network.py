"""Networks as graphs: names, order, shapes, counts, and what is refused."""

from __future__ import annotations

import pickle

import pytest

from triptych.errors import NetworkError
from triptych.spec.layers import (
    LAYERS,
    Add,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    MaxPool,
    ReLU,
    ReLU6,
    Reshape,
)
from triptych.spec.network import Network, Node, dueling, fresh_name
from triptych.spec.notation import parse

IMAGE = Input((8, 9, 2))


def residual() -> Network:
    return Network(
        (
            Node("input", IMAGE),
            Node("first", Conv(4, (3, 3), padding="same"), ("input",)),
            Node("second", Conv(4, (3, 3), padding="same"), ("first",)),
            Node("sum", Add(), ("first", "second")),
            Node("flat", Flatten(), ("sum",)),
            Node("q", Dense(3), ("flat",)),
        )
    )


def test_sequential_names_by_kind_and_number():
    network = Network.sequential(IMAGE, Conv(4, (3, 3)), ReLU(), Conv(5, (2, 2)), ReLU())
    assert [node.name for node in network.nodes] == ["input", "conv1", "relu1", "conv2", "relu2"]
    assert [node.inputs for node in network.nodes] == [
        (),
        ("input",),
        ("conv1",),
        ("relu1",),
        ("conv2",),
    ]
    assert network.shapes == {
        "input": (8, 9, 2),
        "conv1": (6, 7, 4),
        "relu1": (6, 7, 4),
        "conv2": (5, 6, 5),
        "relu2": (5, 6, 5),
    }
    assert (network.input.name, network.output.name) == ("input", "relu2")


def test_names_of_kinds_that_end_in_digits_never_meet():
    network = Network.sequential(Input((3,)), *[ReLU()] * 61, ReLU6(), ReLU6())
    names = [node.name for node in network.nodes]
    assert len(set(names)) == len(names)
    assert "relu61" in names
    assert fresh_name(Input((3,)), ["x"]) == "input"


def test_a_graph_and_its_counts():
    network = residual()
    assert network.shapes["sum"] == (8, 9, 4)
    assert list(network.parameters) == [
        f"{node}/{local}" for node in ("first", "second", "q") for local in ("kernel", "bias")
    ]
    assert network.parameter_count == (3 * 3 * 2 * 4 + 4) + (3 * 3 * 4 * 4 + 4) + (288 * 3 + 3)
    assert network.by_name["sum"].inputs == ("first", "second")
    assert [node.name for node in network.nodes_of(Conv, Dense)] == ["first", "second", "q"]
    assert network.input_shapes(network.by_name["sum"]) == ((8, 9, 4), (8, 9, 4))


def test_running_statistics_are_params_but_not_trained():
    network = Network.sequential(Input((5,)), BatchNorm(), Dense(2, bias=False))
    assert network.trainable == ("batch_norm1/scale", "batch_norm1/offset", "dense1/kernel")
    assert network.parameter_count == 5 + 5 + 10
    assert set(network.parameters) - set(network.trainable) == {
        "batch_norm1/mean",
        "batch_norm1/variance",
    }


def test_networks_are_equal_hashable_and_pickle():
    one, other = residual(), residual()
    assert one == other
    assert hash(one) == hash(other)
    assert one != Network.sequential(IMAGE, Flatten(), Dense(3))
    _ = one.parameters, one.by_name
    copy = pickle.loads(pickle.dumps(one))
    assert copy == one
    assert copy.shapes == one.shapes
    with pytest.raises(AttributeError):
        one.nodes = ()  # type: ignore[misc]


@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_every_layer_is_frozen_equal_and_hashable(kind):
    required = {
        "conv": {"filters": 4, "kernel": (3, 3)},
        "conv_transpose": {"filters": 4, "kernel": (3, 3)},
        "dense": {"units": 4},
        "elman": {"units": 4},
        "lstm": {"units": 4},
        "gru": {"units": 4},
        "max_pool": {"size": (2, 2), "stride": (2, 2)},
        "average_pool": {"size": (2, 2), "stride": (2, 2)},
        "embedding": {"size": 5, "features": 4},
        "reshape": {"size": (2, 2)},
        "permute": {"axes": (1, 0)},
        "pad": {"amounts": ((1, 0), (0, 1))},
    }.get(kind, {})
    one, other = LAYERS[kind](**required), LAYERS[kind](**required)
    assert one == other
    assert hash(one) == hash(other)
    assert one.kind == kind
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.anything = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ((), "begins with an input"),
        ((Node("a", Dense(3)),), "begins with an input"),
        (
            (Node("input", IMAGE), Node("a", Flatten(), ("inptu",))),
            r"node 'a' takes 'inptu', which is no node before it \(did you mean 'input'",
        ),
        (
            (Node("input", IMAGE), Node("a", ReLU(), ("b",)), Node("b", ReLU(), ("a",))),
            "'a' takes 'b', which is no node before it",
        ),
        ((Node("input", IMAGE), Node("a", ReLU(), ("a",))), "takes 'a', which is no node before"),
        (
            (Node("input", IMAGE), Node("a", ReLU(), ("input",)), Node("a", ReLU(), ("a",))),
            "two nodes are called 'a'",
        ),
        ((Node("input", IMAGE), Node("a/b", ReLU(), ("input",))), "'a/b' must be a plain word"),
        ((Node("input", IMAGE), Node("class", ReLU(), ("input",))), "'class' must be a plain word"),
        ((Node("input", IMAGE), Node("_a", ReLU(), ("input",))), "'_a' must be a plain word"),
        ((Node("input", IMAGE), Node("größe", ReLU(), ("input",))), "must be a plain word"),
        ((Node("input", IMAGE), Node("b", Input((3,)))), "'b' is a second input"),
        (
            (Node("input", IMAGE), Node("a", Add(), ("input",))),
            r"node 'a' \(add\) takes two or more inputs, got 1",
        ),
        (
            (Node("input", IMAGE), Node("a", ReLU(), ("input",)), Node("b", ReLU(), ("a", "a"))),
            r"node 'b' \(relu\) takes 1 input\(s\), got 2",
        ),
        (
            (Node("input", IMAGE), Node("a", ReLU(), ("input",)), Node("b", ReLU(), ("input",))),
            "node 'a' leads nowhere",
        ),
        (
            (Node("input", IMAGE), Node("pool", MaxPool((9, 2), (1, 1)), ("input",))),
            r"node 'pool': max_pool 9x2 does not fit: height 8 \+ padding 0 = 8",
        ),
        (
            (Node("input", Input((3,), "index")), Node("a", Dense(3), ("input",))),
            r"node 'a' \(dense\) cannot take the indices",
        ),
        (
            (Node("input", Input((3,))), Node("a", Embedding(4, 2), ("input",))),
            r"node 'a' \(embedding\) takes only the indices",
        ),
    ],
)
def test_what_is_no_network(nodes, says):
    with pytest.raises(NetworkError, match=says):
        Network(nodes)


def shared(first, second, at=(), **changes) -> Network:
    """``first`` on the input, ``at`` behind it, and at last ``second``, which shares ``one``."""
    nodes = [Node("input", changes.pop("input", Input((6,)))), Node("one", first, ("input",))]
    for number, layer in enumerate(at):
        nodes.append(Node(f"at{number}", layer, (nodes[-1].name,)))
    return Network((*nodes, Node("two", second, (nodes[-1].name,), changes.pop("shares", "one"))))


def test_a_shared_layer_has_its_params_once():
    network = shared(Dense(6), Dense(6), [ReLU()])
    assert list(network.parameters) == ["one/kernel", "one/bias"]
    assert network.parameter_count == 42
    assert [node.owner for node in network.nodes] == ["input", "one", "at0", "one"]
    assert network != shared(Dense(6), Dense(6), [ReLU()], shares=None)
    same = Conv(2, (3, 3), padding="same")
    assert shared(same, same, [ReLU(), MaxPool((2, 2), (2, 2))], input=IMAGE).parameter_count == 38


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: shared(Dense(6), Dense(6), shares="no"),
            "node 'two' shares the params of 'no', which must be an earlier node",
        ),
        (lambda: shared(Dense(6), Dense(6), shares="two"), "which must be an earlier node"),
        (lambda: shared(Dense(6), Dense(5)), "an earlier node with an equal layer"),
        (lambda: shared(Dense(6), Dense(6, bias=False)), "with an equal layer"),
        (
            lambda: shared(ReLU(), ReLU()),
            "node 'two' shares 'one', but a layer 'relu' has no params; leave 'shares' out",
        ),
        (
            lambda: shared(Dense(4), Dense(4)),
            "node 'two' shares the params of 'one', but takes 4 where that takes 6",
        ),
        (
            lambda: shared(BatchNorm(), BatchNorm(), [Reshape((1, 6))]),
            "takes 1x6 where that takes 6: one layer at two places needs as many axes",
        ),
        (
            lambda: shared(
                Conv(2, (3, 3), (2, 2), "same"),
                Conv(2, (3, 3), (2, 2), "same"),
                input=Input((10, 9, 2)),
            ),
            r"takes 5x5x2 where that takes 10x9x2.* equal padding in pixels",
        ),
    ],
)
def test_what_cannot_be_shared(make, says):
    with pytest.raises(NetworkError, match=says):
        make()


def test_who_shares_from_one_who_shares_is_sent_to_the_owner():
    nodes = shared(Dense(6), Dense(6)).nodes
    with pytest.raises(NetworkError, match=r"'two', which must be .* params of its own"):
        Network((*nodes, Node("three", Dense(6), ("two",), "two")))


def test_steps_need_all_inputs_of_a_node_over_time():
    joined = {"input": "5x3", "a": "lstm 3 sequences", "b": "shares a", "m": "multiply <- a, b"}
    assert list(parse(joined).states) == ["a/hidden", "a/cell", "b/hidden", "b/cell"]
    late = {"input": "5x3", "a": "lstm 3 sequences", "b": "lstm 3", "c": "reshape 1x3"}
    with pytest.raises(NetworkError, match=r"node 'm' \(multiply\) joins values over time with"):
        _ = parse(late | {"m": "multiply <- a, c"}).states
    with pytest.raises(NetworkError, match=r"node 'a' \(permute\) needs all steps at once"):
        _ = parse({"input": "5x3", "a": "permute 1,0"}).states


def test_indices_go_into_an_embedding():
    network = Network.sequential(Input((3,), "index"), Embedding(10, 4), Flatten(), Dropout(0.1))
    assert network.shapes["flatten1"] == (12,)


def test_dueling_splits_the_last_dense_layer():
    network = dueling(Network.sequential(Input((5,)), Dense(7), ReLU(), Dense(3, bias=False)))
    assert [node.name for node in network.nodes[-3:]] == ["value", "advantage", "dueling1"]
    assert network.shapes["dueling1"] == (3,)
    assert network.parameter_count == 5 * 7 + 7 + 7 * 1 + 7 * 3
    with pytest.raises(NetworkError, match="dense output, but 'relu1' is relu"):
        dueling(Network.sequential(Input((5,)), Dense(7), ReLU()))
