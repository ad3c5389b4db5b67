"""The conformance kit on every installed backend, and on the oracle itself."""

from __future__ import annotations

import pytest

from triptych.backends import registry
from triptych.testing.conformance import Check, checks, judge

WAIVERS: dict[str, dict[str, str]] = {
    "numpy": {
        "check_forward_float32": "the oracle judges rounding and computes in float64 only",
        "check_params": "the same: it has no float32",
        "check_bytes": "the same: it has no float32",
        "check_corners": "a central difference on a corner gives the mean of both slopes",
    },
    "torch": {},
    "jax": {},
    "keras": {},
}
RUNS = [(name, check) for name in (*registry.installed(), "numpy") for check in checks()]


@pytest.mark.parametrize(
    ("name", "check"), RUNS, ids=[f"{name}-{check.id}" for name, check in RUNS]
)
def test_conformance(name: str, check: Check) -> None:
    judge(registry.get(name), check, WAIVERS[name])
