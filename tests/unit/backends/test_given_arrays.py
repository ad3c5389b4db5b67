"""What a learner is given stays as it is, also where a layer may write over its input."""

from __future__ import annotations

import numpy as np
import pytest

from triptych.backends import registry
from triptych.spec.initial import Initial
from triptych.spec.notation import parse


@pytest.mark.parametrize("dtype", ("float64", "float32"))
@pytest.mark.parametrize("backend", ("torch", "jax", "keras"))
def test_observations_are_not_written_over(backend, dtype):
    network = parse("6x5x2 -> rescale 1/4 -> conv 3 3x3 relu -> flatten -> dense 2")
    learner = registry.get(backend).learner(network, Initial().draw(network, 0), dtype=dtype)
    given = np.random.default_rng(0).normal(size=(3, 6, 5, 2)).astype(dtype)
    kept = given.copy()
    outputs = [learner.outputs(given) for _ in range(2)]
    layers = learner.layer_outputs(given)
    np.testing.assert_array_equal(given, kept)
    np.testing.assert_array_equal(*outputs)
    np.testing.assert_allclose(layers["rescale1"], kept / 4, rtol=1e-6)
    np.testing.assert_array_equal(layers[network.input.name], kept)
