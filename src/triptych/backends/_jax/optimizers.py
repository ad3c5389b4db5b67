"""Optax optimizers and their state by meaning: which rule of the spec, which slots.

A chain's constants stand in closures; what is told from them is believed only after the chain and
the rule have been played side by side. The formulas are in ``spec/rules.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from triptych.backends._jax import factors, rules
from triptych.backends.carried import Origin
from triptych.backends.protocol import Params, Slots
from triptych.errors import PortError
from triptych.spec import schedules
from triptych.spec.network import Network
from triptych.spec.randomness import generator
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule, parse_rule

FIELDS = rules.STATE_FIELDS
"""Spec slot -> field of an Optax state."""
_IDLE = ("identity", "init_empty_state")
_RATES = ("scale", "scale_by_schedule")
_PLAYED = 4
"""Updates by which a chain is compared with the rule that was read from it."""


class Unknown(Exception):
    """A chain is no rule of the spec; the text is the reason."""


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
    return replace(state, notes=(*state.notes, *_rounded(chain, rule)))


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
    return _without_rate(rule.rate)


def _without_rate(rate: schedules.Schedule) -> float:
    if not isinstance(rate, schedules.Constant) or not rate.start:
        raise Unknown("its momentum holds a rate that changes")
    return -1.0 / rate.start


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


# --- from a chain to a rule ----------------------------------------------------------------------


def rule_of(chain: Any) -> tuple[Rule, float]:
    """Return the rule that a chain computes, and what to multiply its momentum with.

    Raises:
        Unknown: it is none of the spec's, or its constants can't be told.
    """
    parts = [part for part in factors.closures(chain.init, chain.update) if part[0] not in _IDLE]
    clip, parts = _clip(parts)
    l2 = 0.0
    if parts and parts[0][0] == "add_decayed_weights":
        l2, parts = _decay(parts[0][1]), parts[1:]
    rates = [number for number, part in enumerate(parts) if part[0] in _RATES]
    if len(rates) != 1:
        raise Unknown("its chain has no rate of its own, or several")
    (at,) = rates
    rate = _rate(*parts[at])
    rule = _rule(parts[:at], parts[at + 1 :], rate)
    rule = replace(rule, l2=l2, clip=clip)
    scale = _without_rate(rate) if parts[at + 1 :] else 1.0
    _play(chain, rule)
    return rule, scale


def _clip(parts: list[Any]) -> tuple[Clip, list[Any]]:
    if not parts or parts[0][0] not in factors._CLIPS:
        return Clip(), parts
    limit, constant = factors._CLIPS[parts[0][0]]
    return Clip(**{limit: float(parts[0][1][constant])}), parts[1:]


def _decay(constants: Mapping[str, Any]) -> float:
    if constants.get("mask") is not None:
        raise Unknown("its weight decay has a mask")
    return float(constants["weight_decay"])


def _rule(before: list[Any], after: list[Any], rate: schedules.Schedule) -> Rule:
    """The rule whose parts stand before and after the rate."""
    names = tuple(name for name, _ in before), tuple(name for name, _ in after)
    make = _RULES.get(names)
    if make is None:
        words = ", ".join([*names[0], *names[1]]) or "nothing"
        raise Unknown(f"a chain of {words} is no update rule of the spec")
    constants = [constants for _, constants in (*before, *after)]
    if any(own.get("bias_correction") for own in constants):
        raise Unknown("it corrects RMSprop's bias")
    return make(rate, *constants)


def _sgd(rate: Any, trace: Mapping[str, Any] | None = None) -> Rule:
    if trace is None:
        return SGD(rate)
    return SGD(rate, momentum=float(trace["decay"]), nesterov=bool(trace["nesterov"]))


def _adam(rate: Any, own: Mapping[str, Any]) -> Adam:
    inside, outside = float(own.get("eps_root", 0.0)), float(own["eps"])
    if own.get("nesterov") or (inside and outside):
        raise Unknown("it is Adam with Nesterov's momentum or two epsilons")
    betas = {"beta1": float(own["b1"]), "beta2": float(own["b2"])}
    return Adam(rate, **betas, epsilon=inside or outside, epsilon_inside_root=bool(inside))


def _adam_hat(rate: Any, own: Mapping[str, Any]) -> Rule:
    epsilon = float(own.get("eps_hat", own.get("eps", 0.0)))
    betas = {"beta1": float(own["b1"]), "beta2": float(own["b2"])}
    return Adam(rate, **betas, epsilon=epsilon, epsilon_before_correction=True)


def _decoupled(make: Callable[..., Any]) -> Callable[..., Rule]:
    def with_decay(rate: Any, own: Mapping[str, Any], decay: Mapping[str, Any]) -> Rule:
        constants = {name: value for name, value in vars(make(rate, own)).items()}
        return AdamW(**constants, weight_decay=_decay(decay))

    return with_decay


def _rmsprop(centered: bool) -> Callable[..., Rule]:
    def make(rate: Any, own: Mapping[str, Any], trace: Mapping[str, Any] | None = None) -> Rule:
        return RMSprop(
            rate,
            decay=float(own["decay"]),
            epsilon=float(own["eps"]),
            epsilon_inside_root=bool(own["eps_in_sqrt"]),
            momentum=0.0 if trace is None else float(trace["decay"]),
            centered=centered,
        )

    return make


def _adagrad(rate: Any, own: Mapping[str, Any]) -> Rule:
    start, epsilon = float(own["initial_accumulator_value"]), float(own["eps"])
    return Adagrad(rate, epsilon=epsilon, epsilon_inside_root=True, initial=start)


def _adagrad_outside(rate: Any, own: Mapping[str, Any]) -> Rule:
    epsilon = float(own.get("eps_outside", own.get("eps", 0.0)))
    return Adagrad(rate, epsilon=epsilon, initial=float(own["initial"]))


_Names = tuple[str, ...]
_RULES: dict[tuple[_Names, _Names], Callable[..., Rule]] = {
    ((), ()): _sgd,
    (("trace",), ()): _sgd,
    (("scale_by_adam",), ()): _adam,
    (("scale_by_adam_hat",), ()): _adam_hat,
    (("scale_by_adam", "add_decayed_weights"), ()): _decoupled(_adam),
    (("scale_by_adam_hat", "add_decayed_weights"), ()): _decoupled(_adam_hat),
    (("scale_by_rss",), ()): _adagrad,
    (("scale_by_rss_outside",), ()): _adagrad_outside,
    **{
        ((name, *before), after): _rmsprop(centered)
        for name, centered in (("scale_by_rms", False), ("scale_by_stddev", True))
        for before, after in (((), ()), (("trace",), ()), ((), ("trace",)))
    },
}
"""By the names of a chain's parts before its rate, and behind it."""


# --- rates ---------------------------------------------------------------------------------------


def _rate(name: str, constants: Mapping[str, Any]) -> schedules.Schedule:
    if name == "scale":
        return schedules.Constant(-float(constants["step_size"]))
    function = constants["step_size_fn"]
    inner = _nonlocals(function).get("learning_rate")
    if not callable(inner):
        raise Unknown("its rate is a schedule that can't be read")
    own = _nonlocals(inner)
    for make in (_linear, _exponential, _cosine, _piecewise):
        try:
            schedule = make(own)
        except (KeyError, ValueError, TypeError, ZeroDivisionError):
            continue
        if _follows(inner, schedule):
            return schedule
    raise Unknown("its rate is a schedule that the spec does not have")


def _nonlocals(function: Any) -> dict[str, Any]:
    """What a function has from around it; ``inspect`` stumbles over what is not set yet."""
    names = function.__code__.co_freevars if hasattr(function, "__code__") else ()
    found = {}
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    return found


def _linear(own: Mapping[str, Any]) -> schedules.Schedule:
    ends = float(own["init_value"]), float(own["end_value"])
    return schedules.Linear(*ends, int(own["transition_steps"]))


def _exponential(own: Mapping[str, Any]) -> schedules.Schedule:
    start, factor = float(own["init_value"]), float(own["decay_rate"])
    return schedules.Exponential(
        start, factor, int(own["transition_steps"]), bool(own["staircase"])
    )


def _cosine(own: Mapping[str, Any]) -> schedules.Schedule:
    start = float(own["init_value"])
    return schedules.Cosine(start, start * float(own["alpha"]), int(own["decay_steps"]))


def _piecewise(own: Mapping[str, Any]) -> schedules.Schedule:
    scales = own["boundaries_and_scales"]
    places = sorted(scales)
    values = float(own["init_value"]) * np.cumprod([1.0, *(scales[place] for place in places)])
    return schedules.Piecewise(tuple(map(int, places)), tuple(values.tolist()))


def _rounded(chain: Any, rule: Rule) -> list[str]:
    """A note where Optax takes the rate in float32, which is no difference of meaning."""
    for name, constants in factors.closures(chain.init, chain.update):
        if name == "scale_by_schedule":
            function = _nonlocals(constants["step_size_fn"])["learning_rate"]
            if _apart(function, rule.rate, range(1, 8)) > 1e-12:
                return ["Optax rounds this schedule's rate to float32; from now on it is exact"]
    return []


def _follows(function: Callable[[Any], Any], schedule: schedules.Schedule) -> bool:
    steps = getattr(schedule, "steps", 0)
    turns = {steps // 2, steps - 1, steps, steps + 1, *getattr(schedule, "boundaries", ())}
    counts = sorted({*range(5), *schedules.COUNTS, *(count for count in turns if count >= 0)})
    return _apart(function, schedule, counts) <= 1e-6


def _apart(
    function: Callable[[Any], Any], schedule: schedules.Schedule, counts: Iterable[int]
) -> float:
    """The largest difference of two schedules, as a share of the rate."""
    gaps = []
    for count in counts:
        own, expected = float(function(jnp.asarray(count, jnp.int32))), schedule.value(count)
        gaps.append(abs(own - expected) / max(abs(expected), 1e-300) if own != expected else 0.0)
    return max(gaps)


def _play(chain: Any, rule: Rule) -> None:
    """Raise Unknown unless the chain moves params as the rule does, over a few updates."""
    stream = generator(0, "port/optimizer")
    params = {"a": jnp.asarray(stream.normal(size=5)), "b": jnp.asarray(stream.normal(size=(2, 3)))}
    own = rules.build(rule)
    left, right = (params, chain.init(params)), (params, own.init(params))
    for count in range(_PLAYED):
        grads = jax.tree.map(lambda p: jnp.asarray(stream.normal(size=p.shape)), params)
        steps, state = chain.update(grads, left[1], left[0])
        left = (optax.apply_updates(left[0], steps), state)
        steps, state = own.update(grads, right[1], right[0])
        rate = rule.rate.value(count)
        right = (jax.tree.map(lambda p, s, r=rate: p - r * s, right[0], steps), state)
        if not all(np.allclose(left[0][k], right[0][k], rtol=1e-6, atol=1e-9) for k in params):
            raise Unknown("it moves params otherwise than the rule that its parts bear the name of")
