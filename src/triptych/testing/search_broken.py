"""Backends mistaken on purpose in searches and in reports, as ``broken.py`` has for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from triptych.testing.broken import Answers, Fault


class _ForgottenSearch(Answers):
    def restore(self, state: Mapping[str, Any]) -> None:
        self.inner.restore(state)
        self.inner.load_params(state["params"])


class _StaleReports(Answers):
    def update(self, batch: Any) -> Any:
        self.reported: Mapping[str, Any] = dict(self.inner.reported)
        return self.inner.update(batch)


SEARCH_FAULTS = (
    Fault("reports of the update before", "check_update-graph", answers=_StaleReports),
    Fault(
        "natural for common logarithm",
        "check_function-log",
        functions=lambda xp: {"log": lambda x: xp.log(x) / 2.302585092994046},
    ),
    Fault(
        "sum of activations",
        "check_sparse-all_kernels",
        functions=lambda xp: {
            "mean": lambda x, axis=None: (
                xp.mean(x, axis=axis) if axis is None else xp.sum(x, axis=axis)
            )
        },
    ),
    Fault(
        "damped too much", "check_search-all_kernels", rule=lambda rule: replace(rule, damping=0.1)
    ),
    Fault(
        "curvature from afar", "check_search-one_kernel", rule=lambda rule: replace(rule, sigma=0.1)
    ),
    Fault("search begun anew", "check_search_state-all_kernels", answers=_ForgottenSearch),
)
"""Every fault, with the check that must fail."""
