"""What the checks of the conformance kit share: learners kept for reuse, and comparisons.

A comparison raises AssertionError with one sentence: what is off, by how much, what was allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from triptych.backends import registry
from triptych.backends.protocol import Backend, DType, Learner, Params
from triptych.spec.rules import SGD, Clip, constant
from triptych.testing.cases import Bootstrapped, NetworkCase

EXACT, SINGLE, DIFFERENCES = 1e-12, 1e-5, 1e-6
"""Bounds relative to the scale: float64, float32, and gradients against finite differences."""
_RULE = SGD(constant(0.05), momentum=0.9, clip=Clip(global_norm=2.0))


_Kept = tuple[Backend, NetworkCase, DType, Learner, dict[str, Any]]
_kept: list[_Kept] = []


def learner_of(backend: Backend, case: NetworkCase, dtype: DType = "float64") -> Learner:
    """Return a learner of a case in its first state; building is slow, so four are kept."""
    for owner, of, kind, learner, first in _kept:
        if owner is backend and of is case and kind == dtype:
            learner.restore(first)
            return learner
    learner = _build(backend, case, dtype)
    _kept[:] = [*_kept[-3:], (backend, case, dtype, learner, copy_of(learner.state()))]
    return learner


def _build(backend: Backend, case: NetworkCase, dtype: DType) -> Learner:
    learner = backend.learner(
        case.network,
        case.params(),
        objective=Bootstrapped(),
        rule=_RULE,
        dtype=dtype,
        seed=7,
        target=True,
    )
    learner.load_params({n: 0.5 + 0.5 * p for n, p in case.params().items()}, "target")
    return learner


def oracle_of(case: NetworkCase) -> Learner:
    """The oracle's learner of a case, in its first state."""
    return learner_of(registry.get("numpy"), case)


@cache
def judged_update(case: NetworkCase) -> tuple[float, Params, Params, Params]:
    """Loss, gradients, params after one update, and what was reported in it, by the oracle."""
    oracle, batch = oracle_of(case), case.batch()
    grads = oracle.gradients(batch)
    return float(oracle.update(batch)), grads, oracle.params(), dict(oracle.reported)


def close(got: Any, expected: Any, bound: float, what: str, scale: float | None = None) -> None:
    """Compare arrays relative to the largest expected value, or to ``scale`` if given."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what} has shape {got.shape}, expected {expected.shape}"
    assert np.isfinite(got).all(), f"{what} is not finite"
    size = float(np.abs(expected).max(initial=0.0)) if scale is None else scale
    error = float(np.abs(got.astype("float64") - expected).max(initial=0.0))
    assert error <= bound * max(size, 1e-300), (
        f"{what} is off by {error:.3g} where the scale is {size:.3g}; "
        f"allowed is {bound:.0e} of the scale"
    )


def all_close(got: Params, expected: Params, bound: float, what: str) -> None:
    """Compare arrays by name, each relative to its own largest expected value."""
    assert set(got) == set(expected), f"{what}: names {sorted(got)}, expected {sorted(expected)}"
    for name in expected:
        close(got[name], expected[name], bound, f"{what} of {name!r}")


def same_bits(got: Any, expected: Any, what: str) -> None:
    """Compare nested dicts of arrays and plain values bit for bit."""
    if isinstance(expected, Mapping):
        assert set(got) == set(expected), f"{what}: keys {sorted(got)}, not {sorted(expected)}"
        for key in expected:
            same_bits(got[key], expected[key], f"{what}/{key}")
        return
    if isinstance(expected, (str, int)):
        assert got == expected, f"{what} is {got!r}, expected {expected!r}"
        return
    one, two = np.asarray(got), np.asarray(expected)
    assert one.dtype == two.dtype, f"{what} has type {one.dtype}, expected {two.dtype}"
    assert one.shape == two.shape and one.tobytes() == two.tobytes(), f"{what} is not bit-identical"


def copy_of(state: Any) -> Any:
    """Return nested dicts of arrays and plain values with every array copied."""
    if isinstance(state, Mapping):
        return {key: copy_of(value) for key, value in state.items()}
    return state.copy() if isinstance(state, np.ndarray) else state


def same_factors(found: Mapping[str, Any], expected: Mapping[str, Any], place: str) -> None:
    """Compare the factors of one node or of the optimizer, found by ``place.name``."""
    for key, value in expected.items():
        name = f"{place}.{key}"
        assert name in found, f"factor {name} is not read back; expected {value!r}"
        assert found[name] == value, f"factor {name} is {found[name]!r}, expected {value!r}"
