"""Layouts followed and arrays traced home by the graph builder that all readers share."""

from __future__ import annotations

import numpy as np
import pytest

from triptych.backends import registry
from triptych.backends.carried import Origin
from triptych.backends.graph import FIRST, GraphBuilder, Value
from triptych.spec.layers import LogSoftmax, Permute


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_a_layer_over_the_last_axis_goes_along_any(axis: int) -> None:
    builder = GraphBuilder("net")
    image = builder.input((2, 3, 4), channels_first=True)
    assert image.axes == FIRST
    value = builder.along(LogSoftmax(), image, axis, "softmax")
    network = builder.finish(value)
    # Along the channels nothing has to be turned.
    assert bool(network.nodes_of(Permute)) == (axis != 0)
    x = np.random.default_rng(0).normal(size=(5, 2, 3, 4))
    learner = registry.get("numpy").learner(network, {}, dtype="float64")
    found = value.to_source(learner.outputs(image.to_canonical(x)))
    over = axis % 3 + 1
    assert np.allclose(found, x - np.log(np.exp(x).sum(axis=over, keepdims=True)), atol=1e-14)


def test_a_flattened_images_rows_are_reordered_once_for_both_its_places() -> None:
    builder = GraphBuilder("net")
    flat = builder.flatten(builder.input((2, 3, 4), channels_first=True), "flatten")
    one = builder.dense(flat, 5, "fc", Origin("fc.weight"), shared="fc")
    two = builder.dense(flat, 5, "fc", Origin("fc.weight"), shared="fc")
    kernel = np.arange(120.0).reshape(24, 5)
    turned = builder.origins[f"{one.node}/kernel"].turn(kernel)
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 4))
    assert np.allclose(x.transpose(0, 2, 3, 1).ravel() @ turned, x.ravel() @ kernel)
    assert f"{two.node}/kernel" not in builder.origins


def test_one_array_under_two_orders_is_not_shared() -> None:
    builder = GraphBuilder("net")
    image = builder.input((2, 3, 4), channels_first=True)
    first = builder.flatten(image, "flatten")
    last = builder.flatten(builder.permute(image, (1, 2, 0), "permute"), "flatten")
    values = [builder.dense(v, 5, "fc", Origin("w"), shared="fc") for v in (first, last)]
    owners = {value.node for value in values if f"{value.node}/kernel" in builder.origins}
    assert len(owners) == 2
    assert isinstance(values[0], Value)
