"""Networks as plain data: every layer there and back, and every mistake named."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from triptych.errors import NetworkError
from triptych.spec.layers import LAYERS
from triptych.spec.notation import parse
from triptych.spec.plain import from_plain, to_plain
from triptych.testing.cases import NETWORKS
from triptych.testing.recurrent_cases import RECURRENT, STEPS

CASES = {case.name: case.network for case in (*NETWORKS, *RECURRENT, *STEPS)}
SMALL = parse({"input": "6x5x2", "a": "conv 2 3x3 pad 1,0,0,2", "b": "shares a", "c": "leaky_relu"})


@pytest.mark.parametrize("name", CASES)
def test_a_network_comes_back(name):
    network = CASES[name]
    again = from_plain(json.loads(json.dumps(to_plain(network))))
    assert again == network
    assert hash(again) == hash(network), "lists came back as tuples"


def test_every_layer_and_every_option_is_written_in_some_case():
    nodes = [node for network in CASES.values() for node in to_plain(network)["nodes"]]
    assert {node["kind"] for node in nodes} == set(LAYERS)
    for node in nodes:
        assert set(node["options"]) == {field.name for field in fields(LAYERS[node["kind"]])}
    assert any(node["shares"] for node in nodes)


def test_the_written_form():
    assert to_plain(parse("3 -> dense 2 no bias -> elu alpha 0.5")) == {
        "nodes": [
            {
                "name": "input",
                "kind": "input",
                "options": {"size": [3], "values": "real"},
                "inputs": [],
                "shares": None,
            },
            {
                "name": "dense1",
                "kind": "dense",
                "options": {"units": 2, "bias": False},
                "inputs": ["input"],
                "shares": None,
            },
            {
                "name": "elu1",
                "kind": "elu",
                "options": {"alpha": 0.5},
                "inputs": ["dense1"],
                "shares": None,
            },
        ]
    }


def changed(place, value):
    """The plain form of SMALL with one value changed, or removed where it is ``...``."""
    data = to_plain(SMALL)
    *way, last = place
    at = data
    for key in way:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return data


MISTAKES = [
    ((("nodes",), ...), "the network: 'nodes' is missing"),
    ((("nodes",), {}), "nodes: expected a list of nodes but found {}"),
    ((("nodes",), []), "a network begins with an input"),
    ((("version",), 2), "the network: 'version' is unknown; known are nodes"),
    ((("nodes", 1), 3), r"nodes\[1\]: expected a mapping of name, kind, options, inputs, shares"),
    ((("nodes", 1, "shares"), ...), r"nodes\[1\]: 'shares' is missing"),
    ((("nodes", 1, "extra"), 1), r"nodes\[1\]: 'extra' is unknown"),
    ((("nodes", 1, "name"), 1), r"nodes\[1\].name: expected a word but found 1"),
    ((("nodes", 1, "name"), "a/b"), "node name 'a/b' must be a plain word"),
    ((("nodes", 1, "kind"), []), r"nodes\[1\].kind: expected a word but found \[\]"),
    ((("nodes", 1, "kind"), "cnv"), r"nodes\[1\].kind: 'cnv' is no layer \(did you mean 'conv'"),
    ((("nodes", 1, "inputs"), "input"), r"nodes\[1\].inputs: expected a list of names"),
    ((("nodes", 1, "inputs"), [1]), r"nodes\[1\].inputs: expected a list of names"),
    ((("nodes", 1, "inputs"), ["c"]), "node 'a' takes 'c', which is no node before it"),
    ((("nodes", 2, "shares"), 1), r"nodes\[2\].shares: expected a name or null but found 1"),
    ((("nodes", 2, "shares"), "c"), "node 'b' shares the params of 'c', which must be an earlier"),
    ((("nodes", 1, "options"), []), r"nodes\[1\].options: expected a mapping of filters, kernel"),
    ((("nodes", 1, "options", "groups"), ...), "'groups' is missing; write every option out"),
    ((("nodes", 1, "options", "gruops"), 1), r"'gruops' is unknown \(did you mean 'groups'"),
    ((("nodes", 1, "options", "filters"), 2.0), "filters: expected a whole number but found 2.0"),
    ((("nodes", 1, "options", "filters"), True), "filters: expected a whole number but found Tr"),
    ((("nodes", 1, "options", "filters"), 10**30), "filters: expected a whole number but found 1"),
    ((("nodes", 1, "options", "filters"), -2), "filters"),
    ((("nodes", 1, "options", "bias"), 1), "bias: expected true or false but found 1"),
    ((("nodes", 1, "options", "kernel"), 3), "kernel: expected a list but found 3"),
    ((("nodes", 1, "options", "kernel"), [3]), r"kernel: expected a list of 2 but found \[3\]"),
    ((("nodes", 1, "options", "padding"), "full"), "padding: 'full' is none of valid, same; or "),
    ((("nodes", 1, "options", "padding"), [[1, 0], 2]), "padding: .*; or expected a list but"),
    ((("nodes", 0, "options", "size"), [6, "5", 2]), "size: expected a whole number but found '5'"),
    ((("nodes", 0, "options", "values"), "complex"), "values: 'complex' is none of real, index"),
    ((("nodes", 3, "options", "slope"), "0.1"), "slope: expected a number but found '0.1'"),
    ((("nodes", 3, "options", "slope"), float("nan")), "slope: expected a finite number"),
]


@pytest.mark.parametrize(("change", "says"), MISTAKES, ids=[str(change) for change, _ in MISTAKES])
def test_mistakes(change, says):
    with pytest.raises(NetworkError, match=says):
        from_plain(changed(*change))


@pytest.mark.parametrize("data", [None, [], "nodes", 3])
def test_no_mapping(data):
    with pytest.raises(NetworkError, match="the network: expected a mapping of nodes but found"):
        from_plain(data)
