"""Optax optimizers and their state by meaning: which rule of the spec, which slots.

Which rule a chain computes is found out in ``chains.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import jax
import numpy as np
from flax import nnx

from triptych.backends._jax import rules
from triptych.backends._jax.porting.chains import Unknown, rounded, rule_of, without_rate
from triptych.backends.carried import Origin
from triptych.backends.protocol import Params, Slots
from triptych.errors import PortError
from triptych.spec.network import Network
from triptych.spec.rules import RMSprop, Rule, parse_rule

FIELDS = rules.STATE_FIELDS
"""Spec slot -> field of an Optax state."""


@dataclass(frozen=True)
class State:
    """An optimizer as it was found.

    Attributes:
        rule: which rule it is; None where that is not known.
        fields: the arrays of each field of its state, by the native names of the params.
        updates: how many were made.
        scale: what the arrays of ``trace`` are multiplied with to have the spec's meaning: Optax'
            RMSprop has minus the rate inside.
        notes: what was left behind, and why.
    """

    rule: Rule | None
    fields: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    updates: int = 0
    scale: float = 1.0
    notes: tuple[str, ...] = ()

    def slots(
        self, network: Network, origins: Mapping[str, Origin], params: Params
    ) -> Slots | None:
        """Return the state by meaning, canonical layout; None without a rule."""
        if self.rule is None:
            return None
        values: dict[str, Params] = {}
        for slot in self.rule.slots:
            arrays = self.fields.get(FIELDS.get(slot, ""), {})
            scale = self.scale if slot == "momentum" else 1.0
            start = getattr(self.rule, "initial", 0.0)
            values[slot] = {
                name: self._slot(slot, arrays, origins[name], params[name], start) * scale
                for name in network.trainable
            }
        return Slots(self.updates, values)

    def _slot(
        self, slot: str, arrays: Mapping[str, Any], origin: Origin, param: np.ndarray, start: float
    ) -> np.ndarray:
        if not origin.key:
            return np.full(param.shape, start, param.dtype)
        if origin.key not in arrays:
            raise PortError(
                f"the optimizer's state has no {FIELDS.get(slot, slot)!r} for {origin.key}; leave "
                "the optimizer out, or give the state that belongs to these params"
            )
        found = origin.turn(np.asarray(arrays[origin.key]))
        if found.shape != param.shape:
            raise PortError(
                f"the optimizer's {FIELDS[slot]!r} for {origin.key} is {found.shape}, expected "
                f"{param.shape} as the array itself"
            )
        return found


# --- from live objects and files -----------------------------------------------------------------


def read_live(optimizer: Any, given: Rule | None) -> State:
    """Return an ``nnx.Optimizer``'s state, or that of a pair (transformation, its state)."""
    if isinstance(optimizer, nnx.Optimizer):
        chain = optimizer.tx
        found = {place: v[...] for place, v in nnx.to_flat_state(nnx.state(optimizer))}
    elif isinstance(optimizer, tuple) and len(optimizer) == 2 and hasattr(optimizer[0], "update"):
        chain = optimizer[0]
        found = {_words(p): v for p, v in jax.tree_util.tree_flatten_with_path(optimizer[1])[0]}
    else:
        raise PortError(
            f"the optimizer is a {type(optimizer).__name__}, expected an nnx.Optimizer or a pair "
            "(optax transformation, its state)"
        )
    arrays = {place: np.asarray(array) for place, array in found.items()}
    if given is not None:
        return by_meaning(arrays, given)
    try:
        rule, scale = rule_of(chain)
    except Unknown as reason:
        return State(None, notes=(f"the optimizer was left behind: {reason}",))
    state = by_meaning(arrays, rule, scale)
    return replace(state, notes=(*state.notes, *rounded(chain, rule)))


def _words(path: Iterable[Any]) -> tuple[Any, ...]:
    """A path in a tree as plain words and numbers."""
    return tuple(
        next(getattr(key, name) for name in ("key", "name", "idx") if hasattr(key, name))
        for key in path
    )


def by_meaning(
    found: Mapping[tuple[Any, ...], np.ndarray], rule: Rule | None, scale: float | None = None
) -> State:
    """Return a state from its arrays by path, wherever in a chain the fields stand.

    Without ``scale`` it is told by the places of RMSprop's parts: Optax has the rate between.
    """
    fields: dict[str, dict[str, np.ndarray]] = {}
    homes: dict[str, set[tuple[Any, ...]]] = {}
    counts: dict[tuple[Any, ...], int] = {}
    for place, array in found.items():
        words = tuple(str(part) for part in place if str(part) not in ("value", "raw_value"))
        if words[-1] in ("count", "step") and np.ndim(array) == 0:
            counts[words] = int(array)
            continue
        at = next((n for n, word in enumerate(words) if word in FIELDS.values()), None)
        if at is not None:
            fields.setdefault(words[at], {})[".".join(words[at + 1 :])] = array
            homes.setdefault(words[at], set()).add(words[:at])
    if rule is None:
        note = "the optimizer's state was left behind: the file does not hold its constants"
        return State(None, notes=(note,) if fields or counts else ())
    twice = next((name for name, own in homes.items() if len(own) > 1), None)
    if twice:
        return State(None, notes=(f"the optimizer was left behind: it has several {twice!r}",))
    if scale is None:
        try:
            scale = _inside(rule, homes)
        except Unknown as reason:
            return State(None, notes=(f"the optimizer was left behind: {reason}",))
    return State(rule, fields, max(counts.values(), default=0), scale)


def _inside(rule: Rule, homes: Mapping[str, set[tuple[Any, ...]]]) -> float:
    """What to multiply momentum with, by the places of a chain's states: (0, ..), (1, ..)."""
    if not isinstance(rule, RMSprop) or not rule.momentum or not {"nu", "trace"} <= set(homes):
        return 1.0
    squares, trace = (next(iter(homes[name])) for name in ("nu", "trace"))
    if not (squares[-1:] + trace[-1:])[0].isdigit() or int(trace[-1]) - int(squares[-1]) == 1:
        return 1.0
    return without_rate(rule.rate)


# --- rules as text -------------------------------------------------------------------------------


def rule_text(rule: Rule) -> str:
    """Return a rule as JSON."""
    rate = asdict(rule.rate) | {"schedule": rule.rate.name}
    return json.dumps(asdict(rule) | {"name": rule.name, "rate": rate})


def rule_from(text: str, where: str) -> Rule:
    """Return a rule from JSON; raises ``PortError``."""
    mistakes: list[str] = []
    try:
        rule = parse_rule(json.loads(text), f"{where}: rule", mistakes)
    except (ValueError, RecursionError, TypeError) as error:
        raise PortError(f"{where}: the rule in it can't be read: {error}") from None
    if rule is None or mistakes:
        raise PortError(f"{where}: the rule in it can't be read: {'; '.join(mistakes)}")
    return rule
