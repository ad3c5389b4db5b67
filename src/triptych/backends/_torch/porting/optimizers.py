"""PyTorch's optimizers and their state by meaning: from ``state_dict`` to rule and slots, and back.

What ``torch.optim`` computes is in the formulas of ``spec/rules.py``; text of optimizers is written
in ``rule_source.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triptych.backends._torch.rules import STATE_KEYS, Pinned
from triptych.backends.carried import Origin
from triptych.backends.protocol import Slots
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, RMSprop, Rule, parse_rule
from triptych.spec.schedules import Constant

# torch.optim.RMSprop's own names
_RENAMED = {"first_moment": "grad_avg", "second_moment": "square_avg"}
_IGNORED = {
    "lr",
    "params",
    "param_names",
    "foreach",
    "fused",
    "capturable",
    "differentiable",
    "initial_lr",
}


# of torch.optim, with constants by the names of other rules'
_OTHERS = (
    "NAdam",
    "RAdam",
    "Adamax",
    "SparseAdam",
    "Adafactor",
    "Muon",
    "Rprop",
    "ASGD",
    "Adadelta",
)


class Left(Exception):
    """Why an optimizer can't be carried: what follows ``the optimizer was left behind:``."""


@dataclass(frozen=True)
class Learnt:
    """A rule and its state, or the reason why neither could be carried."""

    rule: Rule | None = None
    slots: Slots | None = None
    notes: tuple[str, ...] = ()


def read(
    state: Mapping[str, Any],
    keys: Sequence[Sequence[str]],
    origins: Mapping[str, Origin],
    shapes: Mapping[str, tuple[int, ...]],
    trainable: Sequence[str],
    given: Rule | None = None,
    updates: int | None = None,
) -> Learnt:
    """Return what an optimizer's ``state_dict`` says.

    Args:
        state: of the optimizer.
        keys: the model's arrays in the order in which the optimizer may number them: all, or those
            alone that learn.
        origins: canonical name to origin.
        shapes: canonical name to shape.
        trainable: canonical names of the arrays that learn.
        given: the rule that the user names; it adds the clipping and the schedule, which PyTorch's
            optimizers don't know.
        updates: how many were made, where the file says so; SGD keeps no count itself.
    """
    try:
        rule = _rule(state["param_groups"], given)
        parts = _by_key(state, keys)
        slots, notes = _slots(rule, parts, origins, shapes, trainable, updates)
    except Left as left:
        return Learnt(notes=(f"the optimizer was left behind: {left}",))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = f"its state can't be read ({type(error).__name__}: {error})"
        return Learnt(notes=(f"the optimizer was left behind: {reason}",))
    return Learnt(rule, slots, notes)


def live(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Any]:
    """Return a live optimizer's ``state_dict`` with the names of its arrays.

    Args:
        optimizer: of a class of ``torch.optim``, whose formula is known.
        names: the ``id`` of a parameter to its name in the model.

    Raises:
        Left: its class is another, or it holds what is no parameter of the model.
    """
    kind = type(optimizer)
    if not kind.__module__.startswith("torch.optim.") and not isinstance(optimizer, Pinned):
        raise Left(f"{kind.__module__}.{kind.__qualname__} is not one of torch.optim's")
    if kind.__name__ in _OTHERS:
        raise Left(f"no rule is {kind.__name__}")
    state = optimizer.state_dict()
    for group, own in zip(state["param_groups"], optimizer.param_groups, strict=True):
        if any(id(param) not in names for param in own["params"]):
            raise Left("it holds arrays that are none of the model's")
        group["param_names"] = [names[id(param)] for param in own["params"]]
    return state


# --- the rule ------------------------------------------------------------------------------------


def _rule(groups: Sequence[Mapping[str, Any]], given: Rule | None) -> Rule:
    if not groups:
        raise Left("it has no parameters")
    first = _constants(groups[0])
    for number, group in enumerate(groups[1:], start=2):
        other = _constants(group)
        odd = next((k for k in first | other if first.get(k) != other.get(k)), None)
        if odd is not None:
            raise Left(
                f"its group {number} has {odd} {other.get(odd)!r} where the first has "
                f"{first.get(odd)!r}, and Triptych has one rule for all arrays"
            )
    rule = _own(first, given) if "epsilon" in first else _native(first)
    return _with_given(rule, given)


def _constants(group: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: _plain(value) for key, value in group.items() if key not in _IGNORED}
    return kept | {"lr": _plain(group["lr"])}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.item()
    return tuple(_plain(one) for one in value) if isinstance(value, (list, tuple)) else value


def _native(group: Mapping[str, Any]) -> Rule:
    """The rule that a group of ``torch.optim`` has the constants of, told by their names."""
    if group.get("maximize"):
        raise Left("it maximises")
    names = set(group)
    rate, l2 = Constant(float(group["lr"])), float(group.get("weight_decay", 0.0))
    if {"dampening", "nesterov"} <= names:
        return _sgd(group, rate, l2)
    if {"betas", "amsgrad"} <= names and "momentum_decay" not in names:
        return _adam(group, rate, l2)
    if {"alpha", "centered", "momentum"} <= names:
        return RMSprop(
            rate, l2=l2, decay=group["alpha"], epsilon=group["eps"],
            momentum=group["momentum"], centered=bool(group["centered"]),
        )  # fmt: skip
    if {"lr_decay", "initial_accumulator_value"} <= names:
        if group["lr_decay"]:
            raise Left(f"lr_decay is {group['lr_decay']}, expected 0")
        initial = float(group["initial_accumulator_value"])
        return Adagrad(rate, l2=l2, epsilon=float(group["eps"]), initial=initial)
    raise Left(f"no rule has the constants {', '.join(sorted(names - {'lr'}))}")


def _sgd(group: Mapping[str, Any], rate: Constant, l2: float) -> Rule:
    if group["dampening"] and group["momentum"]:
        raise Left(f"dampening is {group['dampening']}, expected 0")
    return SGD(rate, l2=l2, momentum=float(group["momentum"]), nesterov=bool(group["nesterov"]))


def _adam(group: Mapping[str, Any], rate: Constant, decay: float) -> Rule:
    if group["amsgrad"]:
        raise Left("amsgrad is set, which no rule has")
    beta1, beta2 = (float(beta) for beta in group["betas"])
    options: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "epsilon": float(group["eps"])}
    if decay and "decoupled_weight_decay" not in group:
        raise Left("its file does not say whether its weight_decay is Adam's or AdamW's")
    if group.get("decoupled_weight_decay") and decay:
        return AdamW(rate, weight_decay=decay, **options)
    return Adam(rate, l2=decay, **options)


def _own(group: Mapping[str, Any], given: Rule | None) -> Rule:
    """The rule of an optimizer that ``rule_source.py`` or ``rules.py`` wrote: the given one."""
    if given is None:
        raise Left(
            "its class is not one of torch.optim's, so that its constants mean nothing alone"
        )
    known = given.factors()
    for name, value in group.items():
        if name in known and known[name] != value:
            raise Left(f"its {name} is {value!r}, but the rule given has {known[name]!r}")
    return replace(given, rate=Constant(float(group["lr"])))


def _with_given(rule: Rule, given: Rule | None) -> Rule:
    """Add clipping and schedule from a given rule with the same constants."""
    if given is None or type(given) is not type(rule) or given.factors() != rule.factors():
        return rule
    return given


# --- slots ---------------------------------------------------------------------------------------


def _by_key(state: Mapping[str, Any], keys: Sequence[Sequence[str]]) -> dict[str, dict[str, Any]]:
    """The state of every array that the optimizer holds, by its name in the model."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    named = [name for group in state["param_groups"] for name in group.get("param_names") or []]
    if len(named) == len(numbers):
        names = dict(zip(numbers, named, strict=True))
    else:
        fitting = next((order for order in keys if len(order) == len(numbers)), None)
        if fitting is None:
            raise Left(f"it holds {len(numbers)} arrays, but the model has {len(keys[0])}")
        names = dict(zip(sorted(numbers), fitting, strict=True))
    return {names[number]: dict(state["state"].get(number, {})) for number in numbers}


def _slots(
    rule: Rule,
    parts: Mapping[str, Mapping[str, Any]],
    origins: Mapping[str, Origin],
    shapes: Mapping[str, tuple[int, ...]],
    trainable: Sequence[str],
    updates: int | None,
) -> tuple[Slots, tuple[str, ...]]:
    missing = next((name for name in trainable if origins[name].key not in parts), None)
    if missing is not None:
        raise Left(
            f"it does not train {origins[missing].key}, and Triptych has one rule for all arrays"
        )
    used = {origins[name].key for name in trainable}
    steps = {int(part["step"]) for key, part in parts.items() if key in used and "step" in part}
    if len(steps) > 1:
        raise Left(f"its arrays were updated {min(steps)} to {max(steps)} times, not equally often")
    held = any(parts[key] for key in used)
    notes: tuple[str, ...] = ()
    if steps:
        updates = steps.pop()
    elif updates is None:
        updates = 1 if held else 0
        if held:
            notes = ("the optimizer keeps no count of its updates, which begin at 1 here",)
    values = {
        slot: {name: _slot(rule, slot, parts, origins[name], shapes[name]) for name in trainable}
        for slot in rule.slots
    }
    return Slots(updates, values), notes


def _slot(
    rule: Rule,
    slot: str,
    parts: Mapping[str, Mapping[str, Any]],
    origin: Origin,
    shape: tuple[int, ...],
) -> np.ndarray:
    held = parts[origin.key].get(key_of(rule, slot, parts[origin.key]))
    if held is None:
        # An array without a gradient so far, whose state begins at its first.
        dtype = next(
            (v.numpy().dtype for p in parts.values() for v in p.values() if _is_array(v)),
            np.float32,
        )
        return np.full(shape, getattr(rule, "initial", 0.0), dtype)
    if not bool(torch.isfinite(held).all()):
        raise Left(f"its state of {origin.key} holds NaN or infinity")
    turned = origin.turn(held.detach().cpu().numpy())
    if turned.shape != shape:
        raise Left(f"its state of {origin.key} is {turned.shape}, but the array is {shape}")
    return np.array(turned, order="C")


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def key_of(rule: Rule, slot: str, state: Mapping[str, Any] | None = None) -> str:
    """Return under which name PyTorch keeps a slot; ours for rules of its own are Adam's."""
    key = _RENAMED.get(slot, "") if isinstance(rule, RMSprop) else ""
    if key and (state is None or key in state):
        return key
    return STATE_KEYS[slot]


# --- writing -------------------------------------------------------------------------------------


def fill(
    optimizer: torch.optim.Optimizer,
    rule: Rule,
    updates: int,
    slots: Mapping[str, Mapping[str, Tensor]],
    params: Mapping[str, Tensor],
) -> None:
    """Put a state into a live optimizer.

    Args:
        optimizer: made from all of ``params``.
        slots: slot to native arrays by the names of ``params``.
        params: those that learn, by name.
    """
    native = type(optimizer).__module__.startswith("torch.optim")
    counts = not isinstance(rule, SGD) and (native or isinstance(rule, Adam))
    for name, param in params.items():
        state = optimizer.state[param]
        state.clear()
        if updates > 0 and counts:
            state["step"] = torch.tensor(float(updates)) if native else updates
        for slot, arrays in slots.items() if updates > 0 else ():
            state[key_of(rule, slot)] = arrays[name]


def to_text(rule: Rule) -> dict[str, Any]:
    """Return a rule as plain data, which :func:`from_text` reads strictly."""
    found = {field.name: getattr(rule, field.name) for field in fields(rule)}
    limits = {key: value for key, value in asdict(rule.clip).items() if value is not None}
    rate = {"schedule": rule.rate.name} | json.loads(json.dumps(asdict(rule.rate)))
    return {"name": rule.name} | found | {"rate": rate, "clip": limits}


def from_text(data: Any) -> Rule | None:
    """Return the rule that :func:`to_text` wrote; None for anything else."""
    return parse_rule(data, "the rule", [])
