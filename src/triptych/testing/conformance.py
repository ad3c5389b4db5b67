"""The public conformance kit: what every backend must do, one small function per promise.

Run it on a backend of your own with pytest::

    @pytest.mark.parametrize("check", checks(), ids=lambda check: check.id)
    def test_conformance(check):
        judge(my_backend, check, waivers={})

Every ``check_*`` takes a backend and a case and raises AssertionError with a sentence that says
what differs, by how much, and what was allowed. The NumPy oracle is the measure. The checks are in
``on_networks.py`` and ``on_rules.py``, the cases in ``cases.py`` and ``recurrent_cases.py``;
backends broken on purpose, which the kit must catch, in ``broken.py``, ``recurrent_broken.py`` and
``shared_broken.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from triptych.backends.protocol import Backend
from triptych.errors import TriptychError
from triptych.testing import on_networks, on_rules, on_searches
from triptych.testing.cases import CORNERS, FUNCTIONS, NAMES, NETWORKS, RULES
from triptych.testing.recurrent_cases import GATED, RECURRENT, STEPS

_ON_NETWORKS = (
    on_networks.check_forward,
    on_networks.check_forward_float32,
    on_networks.check_training_outputs,
    on_networks.check_loss,
    on_networks.check_gradients,
    on_networks.check_update,
    on_networks.check_looking,
    on_networks.check_params,
    on_networks.check_target,
    on_networks.check_factors,
)
_ON_SOME = (
    (on_networks.check_bytes, ("image",)),
    (on_networks.check_restore, ("dropout",)),
    (on_networks.check_repeat, ("dropout", "pooling")),
    (on_networks.check_mistakes, ("graph",)),
)
# Training changes nothing inside a recurrent layer, and the others are proven on other networks.
_ON_RECURRENT = (
    on_networks.check_forward,
    on_networks.check_gradients,
    on_networks.check_params,
    on_networks.check_factors,
)
_ON_SEARCHES = (
    on_searches.check_sparse,
    on_searches.check_search,
    on_searches.check_search_state,
)
_ON_RULES = (on_rules.check_rule, on_rules.check_slots, on_rules.check_rule_factors)


@dataclass(frozen=True)
class Check:
    """One promise on one case; ``check(backend)`` raises AssertionError where it is broken."""

    function: Callable[[Backend, Any], None]
    case: Any

    @property
    def name(self) -> str:
        """The function's name, such as ``check_forward``."""
        return self.function.__name__

    @property
    def id(self) -> str:
        """Name and case, such as ``check_forward-conv_stride2_same``."""
        return f"{self.name}-{self.case.name}"

    def __call__(self, backend: Backend) -> None:
        """Run it."""
        self.function(backend, self.case)


def checks() -> list[Check]:
    """Return every check with every case it applies to, those of one case side by side."""
    networks = {case.name: case for case in NETWORKS}
    found = [Check(check, case) for case in NETWORKS for check in _ON_NETWORKS]
    found += [Check(check, case) for case in RECURRENT for check in _ON_RECURRENT]
    some = (on_networks.check_forward_float32, on_networks.check_update)
    found += [Check(check, RECURRENT[0]) for check in some]
    found += [Check(on_networks.check_steps, case) for case in STEPS]
    found += [Check(check, networks[name]) for check, names in _ON_SOME for name in names]
    found += [Check(check, case) for case in (*RULES, *GATED) for check in _ON_RULES]
    found += [Check(check, case) for case in on_searches.SEARCHES for check in _ON_SEARCHES]
    found += [Check(on_rules.check_function, case) for case in FUNCTIONS]
    found += [Check(on_rules.check_corners, case) for case in CORNERS]
    return found + [Check(on_rules.check_node_name, case) for case in NAMES]


def judge(backend: Backend, check: Check, waivers: Mapping[str, str]) -> None:
    """Run a check that may be waived; a waiver that is no longer needed fails as well.

    Args:
        backend: the backend to judge.
        check: one of :func:`checks`.
        waivers: reasons by the name or id of a check that this backend is known to fail.
    """
    reason = waivers.get(check.id, waivers.get(check.name))
    if reason is None:
        return check(backend)
    try:
        check(backend)
    except (AssertionError, TriptychError):
        return None
    raise AssertionError(f"{backend.name} passes {check.id}: remove its waiver ({reason!r})")
