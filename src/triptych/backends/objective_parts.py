"""What an objective may have beyond what every objective must: read here, with what stands for it
where it is missing.

The contract is :class:`triptych.backends.protocol.Objective`; objectives themselves are in
``learn``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triptych.backends.protocol import Namespace, Objective


def factors(objective: Objective | None) -> dict[str, Any]:
    """Return every constant that the loss depends on, by name."""
    found: dict[str, Any] = getattr(objective, "factors", dict)()
    return found


def reads(objective: Objective | None) -> tuple[str, ...]:
    """Return the names of the arrays that the objective reads itself."""
    return getattr(objective, "reads", ())


def reports(
    objective: Objective | None, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the objective reports of each example beside the loss, (batch,) by name."""
    method = getattr(objective, "reports", None)
    return {} if method is None else method(xp, outputs, batch)
