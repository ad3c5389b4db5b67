"""What was identified, in the words of the audit: rule, constants by key, one line for people.

How it is found does not belong here (:mod:`rules`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triptych.parity.probing.fitting import Fit


@dataclass(frozen=True)
class Identified:
    """What probing found.

    Attributes:
        rule: the rule's name, or ``"unknown"``.
        constants: its constants by audit key without the prefix ``optimizer.``, neutral ones too.
        rates: the rate at each update looked at, counted from 0.
        changes_at: the first update whose rate is another than update 0's, or None.
        residual: the largest relative error of a move on the held-out sequence.
        runner_up: the best other rule and its residual.
        notes: what the probing could not see, and why.
    """

    rule: str
    constants: dict[str, Any]
    rates: dict[int, float]
    residual: float
    runner_up: tuple[str, float]
    changes_at: int | None = None
    notes: tuple[str, ...] = field(default=())


def family_of(fit: Fit) -> str:
    """Return the name of a fit's family."""
    return fit.model.family.rule


def rule_of(fit: Fit) -> str:
    """Return the rule's name: the family's, but ``adamw`` for an Adam with decoupled decay."""
    decayed = fit.model.decay in ("decoupled", "fixed") and fit.constants["weight_decay"] != 0
    return "adamw" if family_of(fit) == "adam" and decayed else family_of(fit)


_OF_MOMENTUM = {"momentum": 0.0, "nesterov": False, "rate_in_buffer": False}
_OF_ALL = {
    "l2": 0.0,
    "weight_decay": 0.0,
    "clip.global_norm": None,
    "clip.norm": None,
    "clip.value": None,
}
NEUTRAL: dict[str, Any] = {
    "maximize": False,
    "weight_decay_without_rate": False,
    "clip.guard": 0.0,
    "clip.after_l2": False,
}
"""Keys that are named only where they are not neutral: no framework's own rule has them all."""


def constants_of(fit: Fit, climbs: bool, change: int | None) -> dict[str, Any]:
    """Return a fit's constants by audit key, without ``optimizer.`` and without the rates."""
    model = fit.model
    momentum = _OF_MOMENTUM if model.family.wrapped else {}
    dampening = {"dampening": 0.0} if family_of(fit) == "sgd" else {}
    found = {**model.family.fixed, **momentum, **dampening, **_OF_ALL}
    found |= {name: value for name, value in fit.constants.items() if name != "clip"}
    if found.get("epsilon") == 0:  # no epsilon has no place
        found |= {key: False for key in found if key.startswith("epsilon_") and found[key] is True}
    if found.get("momentum"):
        inside = model.momentum == "inside" and change is not None
        found |= {"nesterov": model.nesterov, "rate_in_buffer": inside}
    rare = {
        "maximize": climbs,
        "weight_decay_without_rate": model.decay == "fixed" and found["weight_decay"] != 0,
        "clip.guard": model.guard,
        "clip.after_l2": model.clip_after_l2 and found["l2"] != 0,
    }
    if model.clip:
        found[f"clip.{model.clip}"] = fit.constants["clip"]
    return found | {name: value for name, value in rare.items() if value != NEUTRAL[name]}


CLEAN = 1e-9
"""A residual that float64 arithmetic on float64 constants stays below."""


def notes_on(fit: Fit, dtype: str, residual: float, change: int | None) -> tuple[str, ...]:
    """Return what the probing could not see."""
    notes = []
    if fit.constants.get("momentum") and change is None:
        notes.append("rate_in_buffer cannot be seen at a constant rate")
    if fit.constants.get("momentum") and _is_exponential(fit):
        notes.append("in the buffer an exponential rate is another momentum outside of it")
    if fit.constants.get("weight_decay") and change is None:
        notes.append("whether the decay follows the rate cannot be seen at a constant rate")
    if "epsilon" in fit.pinned:
        notes.append("epsilon is too small to be seen, and so is its place")
    if fit.constants.get("initial") and fit.constants.get("epsilon") == 0:
        notes.append("an epsilon inside the root cannot be told from a larger initial")
    if fit.constants.get("l2") and not fit.constants.get("momentum") and family_of(fit) == "sgd":
        notes.append("l2 and weight_decay are one in gradient descent without momentum")
    if dtype == "float64" and residual > CLEAN:
        notes.append("more than float64 rounding is left: a constant may pass through float32")
    if dtype == "float32":
        notes.append("float32 limits the constants to about three digits")
    return tuple(notes)


def _is_exponential(fit: Fit) -> bool:
    """Whether each rate is the same share of the one before."""
    if not fit.varying or np.any(fit.rates <= 0):
        return False
    return bool(np.ptp(fit.rates[1:] / fit.rates[:-1]) < 1e-5)


def describe(found: Identified) -> str:
    """Return one line: the rule, its constants away from neutral, the rates, how sure it is."""
    if found.rule == "unknown":
        return f"unknown ({'; '.join(found.notes)}; relative error {found.residual:.1e})"
    said = [f"{key} {_said(value)}" for key, value in found.constants.items() if value]
    rates = sorted(found.rates.items())
    shown = [rates[0], *(pair for pair in rates[1:] if pair[1] != rates[0][1])]
    if found.changes_at is None:
        shown = rates[:1]
    said += [
        f"rate {rate:.6g}" + f" at update {count}" * bool(found.changes_at) for count, rate in shown
    ]
    return f"{found.rule}: {', '.join(said)} (relative error {found.residual:.1e})"


def _said(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) and np.isfinite(value) else str(value)


def factors(found: Identified) -> dict[str, Any]:
    """Return the audit's keys: ``optimizer.rule``, every constant of the rule, the rates seen.

    Keys in :data:`NEUTRAL` are there only where they differ from it.
    """
    rates = {f"rate at update {count}": rate for count, rate in found.rates.items()}
    named = {"rule": found.rule} | rates | found.constants
    return {f"optimizer.{key}": value for key, value in named.items()}
