"""Constants of a user's Optax chain, read from the closures of its transformations.

Only where every one of them is Optax' own and known here: one unknown part may change all others,
and is for probing to find out. Losses are plain functions, of which nothing can be read.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import optax

from triptych.backends._jax import factors
from triptych.spec.schedules import COUNTS

_KNOWN = (
    *("clip", "clip_by_global_norm", "add_decayed_weights", "trace"),
    *("scale_by_adam", "scale_by_rms", "scale_by_stddev", "scale_by_rss"),
)
_IDLE = ("identity", "init_empty_state")
_DEFAULTS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.0, "dampening": 0.0, "nesterov": False, "rate_in_buffer": False},
    "adam": {"weight_decay": 0.0},
}
"""What a rule's other constants are where the chain has no part for them."""


def optimizer_factors(chain: optax.GradientTransformation) -> dict[str, Any]:
    """Return the constants of a chain by audit key; nothing where a part is not known."""
    parts = [part for part in factors.closures(chain.init, chain.update) if part[0] not in _IDLE]
    rates = [part for part in parts if part[0] in ("scale", "scale_by_schedule")]
    others = [part for part in parts if part not in rates]
    # Anything after the rate would see other numbers than the rules of the spec do.
    if len(rates) != 1 or parts[-1] is not rates[0] or not all(map(_plain, others)):
        return {}
    found = factors._optimizer(chain)
    clip = {f"clip.{name}": limit for name, limit in found.pop("clip").items() if limit is not None}
    rule = _DEFAULTS.get(found["rule"], {}) | found | clip | _rates(*rates[0])
    return {f"optimizer.{key}": value for key, value in rule.items()}


def _plain(part: tuple[str, dict[str, Any]]) -> bool:
    """Whether a transformation is Optax' own, known, and without variants."""
    name, constants = part
    variants = ("nesterov", "bias_correction") if name.startswith("scale_by") else ("mask",)
    return name in _KNOWN and not any(constants.get(variant) for variant in variants)


def _rates(name: str, constants: dict[str, Any]) -> dict[str, Any]:
    if name == "scale":
        return {"rate at update 0": -float(constants["step_size"])}
    return dict(_scheduled(constants["step_size_fn"]))


def _scheduled(function: Any) -> Iterator[tuple[str, float]]:
    # The rate itself, before Optax turns its sign: through the closure, or else through the sign.
    inner = inspect.getclosurevars(function).nonlocals.get("learning_rate", None)
    for count in COUNTS:
        value = float(inner(count)) if callable(inner) else -float(function(count))
        yield f"rate at update {count}", value
