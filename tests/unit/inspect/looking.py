"""Networks with params to be looked into, and their outputs by the oracle."""

from __future__ import annotations

import numpy as np

from triptych.backends import registry
from triptych.backends.protocol import Params
from triptych.spec.network import Network
from triptych.spec.notation import parse
from triptych.testing.cases import NetworkCase


def network_of(notation: str | dict[str, str]) -> tuple[Network, Params]:
    """Return a network with params in which nothing is zero and running statistics have moved."""
    network = parse(notation)
    return network, NetworkCase("looked into", network).params()


def outputs(
    network: Network, params: Params, backend: str = "numpy", stream: str = "inputs"
) -> np.ndarray:
    """Return the outputs for a batch that depends on the input's shape alone, float64."""
    case = NetworkCase("looked into", network)
    learner = registry.get(backend).learner(network, params, dtype="float64")
    return learner.outputs(case.observations(stream))


def check_close(got: np.ndarray, expected: np.ndarray, bound: float = 1e-12) -> None:
    """Compare relative to the largest expected number."""
    assert got.shape == expected.shape
    assert np.abs(expected).max() > 1e-3
    assert np.abs(got - expected).max() <= bound * np.abs(expected).max()


def check_bits(got: Params, expected: Params) -> None:
    """Compare bit by bit, names and types too."""
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype and got[name].shape == array.shape, name
        assert got[name].tobytes() == array.tobytes(), name
