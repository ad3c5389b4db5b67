"""The printed table: counts known from elsewhere, receptive fields against a numeric probe."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.engines.setup import load_recipe
from triptych.spec import table
from triptych.spec.layers import AveragePool, Conv, Input, MaxPool, ReLU
from triptych.spec.network import Network
from triptych.spec.notation import parse


@pytest.mark.parametrize(
    ("recipe", "overrides", "count"),
    [
        ("space-invaders", [], 1_816_998),
        ("fruit", [], 196_483),
        ("fruit", ["task.grid=10"], 60_483),
    ],
)
def test_published_parameter_counts(recipe, overrides, count):
    network = load_recipe(recipe, overrides).network
    assert network.parameter_count == count
    assert sum(row["parameters"] for row in table.rows(network)) == count


SIDE = 90
windows = st.tuples(st.integers(1, 3), st.integers(1, 3))
strides = st.tuples(st.integers(1, 2), st.integers(1, 2))
layers = st.one_of(
    st.builds(Conv, st.just(1), windows, strides, st.sampled_from(["valid", "same"]), windows),
    st.builds(MaxPool, windows, strides, st.sampled_from(["valid", "same"])),
    st.builds(AveragePool, windows, strides, st.sampled_from(["valid", "same"])),
    st.just(ReLU()),
)


def spread(layer, shape, x):
    """A layer that passes on, to every unit, whatever is in its window."""
    if isinstance(layer, ReLU):
        return x
    (top, bottom), (left, right) = layer.pixels(shape)
    x = F.pad(x, [left, right, top, bottom])
    if isinstance(layer, Conv):
        ones = torch.ones(1, 1, *layer.kernel)
        return F.conv2d(x, ones, stride=layer.stride, dilation=layer.dilation)
    return F.avg_pool2d(x, layer.size, layer.stride)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(layers, min_size=1, max_size=4))
def test_receptive_fields_are_what_a_unit_in_the_middle_sees(stack):
    network = Network.sequential(Input((SIDE, SIDE, 1)), *stack)
    pixels = torch.zeros(1, 1, SIDE, SIDE, requires_grad=True)
    x, found = pixels, table.receptive_fields(network)
    for node in network.nodes[1:]:
        x = spread(node.layer, network.input_shapes(node)[0], x)
        assert tuple(x.shape[2:]) == network.shapes[node.name][:2]
        middle = x[0, 0, x.shape[2] // 2, x.shape[3] // 2]
        seen = torch.autograd.grad(middle, pixels, retain_graph=True)[0][0, 0].nonzero()
        box = seen.max(dim=0).values - seen.min(dim=0).values + 1
        assert tuple(box.tolist()) == found[node.name]


def test_dilation_doubles_the_receptive_field():
    network = Network.sequential(
        Input((64, 64, 1)), *[Conv(1, (3, 3), dilation=(2**n, 2**n)) for n in range(4)]
    )
    sizes = [seen[0] for seen in table.receptive_fields(network).values() if seen]
    assert sizes == [1, *(2 ** (n + 1) - 1 for n in range(1, 5))]


def test_receptive_fields_of_what_is_no_window():
    seen = table.receptive_fields(
        parse("12x10x2 -> conv 4 3x3 -> dense 5 -> layer_norm -> flatten relu -> dense 6 relu")
    )
    assert seen["conv1"] == seen["dense1"] == seen["layer_norm1"] == seen["flatten1"] == (3, 3)
    assert seen["relu1"] == (3, 3)
    assert seen["dense2"] == seen["relu2"] == (12, 10)
    up = table.receptive_fields(parse("6x6x1 -> conv_transpose 2 2x2 relu -> flatten -> dense 2"))
    assert list(up.values()) == [(1, 1), None, None, None, (6, 6)]
    assert set(table.receptive_fields(parse("5 -> dense 3")).values()) == {None}


def test_branches_show_the_larger_field():
    seen = table.receptive_fields(
        parse(
            {
                "input": "9x9x1",
                "a": "conv 2 3x3 pad same",
                "b": "conv 2 5x1 pad same <- input",
                "both": "concatenate <- a, b",
                "after": "conv 1 3x3",
            }
        )
    )
    assert seen["both"] == (5, 3)
    assert seen["after"] == (7, 5)


def test_a_shared_layer_counts_once_and_moved_axes_are_no_window():
    graph = {"input": "6x6x2", "a": "conv 2 3x3 pad same", "b": "shares a", "c": "pad 1"}
    network = parse(graph | {"d": "permute 1,0,2", "e": "reshape 128", "f": "dense 2"})
    rows = {row["name"]: row for row in table.rows(network)}
    assert [rows[name]["parameters"] for name in "abf"] == [38, 0, 258]
    assert sum(row["parameters"] for row in rows.values()) == network.parameter_count
    seen = [rows[name]["receptive_field"] for name in "abcdef"]
    assert seen == [[3, 3], [5, 5], [5, 5], None, None, [6, 6]]


def test_rows():
    rows = table.rows(parse("9x8x2 -> conv 4 3x2/2 relu -> flatten -> batch_norm -> dense 5"))
    assert [row["name"] for row in rows] == [
        *("input", "conv1", "relu1", "flatten1", "batch_norm1", "dense1")
    ]
    assert rows[1] == {
        "name": "conv1",
        "kind": "conv",
        "inputs": ["input"],
        "output": [4, 4, 4],
        "parameters": 3 * 2 * 2 * 4 + 4,
        "multiply_adds": 4 * 4 * 3 * 2 * 2 * 4,
        "receptive_field": [3, 2],
    }
    assert rows[4]["parameters"] == 2 * 64, "running statistics are not trained"
    assert rows[5]["multiply_adds"] == 64 * 5


def test_text():
    assert table.text(parse("9x8x2 -> conv 40 3x2/2 relu -> flatten -> dense 5")).splitlines() == [
        "node      layer    output  parameters  multiply-adds  sees",
        "--------  -------  ------  ----------  -------------  ----",
        "input     input    9x8x2            0              0  1x1",
        "conv1     conv     4x4x40         520          7,680  3x2",
        "relu1     relu     4x4x40           0              0  3x2",
        "flatten1  flatten  640              0              0  3x2",
        "dense1    dense    5            3,205          3,200  9x8",
        "total                           3,725         10,880",
    ]
