"""From an Optax chain to the rule of the spec that it computes, its rate's schedule included.

A chain's constants stand in closures; what is told from them is believed only after the chain and
the rule have been played side by side. The chain's state is in ``optimizers.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from triptych.backends._jax import factors, rules
from triptych.spec import schedules
from triptych.spec.randomness import generator
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule

_IDLE = ("identity", "init_empty_state")
_RATES = ("scale", "scale_by_schedule")
_PLAYED = 4
"""Updates by which a chain is compared with the rule that was read from it."""


class Unknown(Exception):
    """A chain is no rule of the spec; the text is the reason."""


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
    scale = without_rate(rate) if parts[at + 1 :] else 1.0
    _play(chain, rule)
    return rule, scale


def without_rate(rate: schedules.Schedule) -> float:
    """Return what a momentum that holds minus the rate is multiplied with to lose it."""
    if not isinstance(rate, schedules.Constant) or not rate.start:
        raise Unknown("its momentum holds a rate that changes")
    return -1.0 / rate.start


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
    return Adam(
        rate,
        beta1=float(own["b1"]),
        beta2=float(own["b2"]),
        epsilon=inside or outside,
        epsilon_inside_root=bool(inside),
    )


def _adam_hat(rate: Any, own: Mapping[str, Any]) -> Rule:
    epsilon = float(own.get("eps_hat", own.get("eps", 0.0)))
    return Adam(
        rate,
        beta1=float(own["b1"]),
        beta2=float(own["b2"]),
        epsilon=epsilon,
        epsilon_before_correction=True,
    )


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


def rounded(chain: Any, rule: Rule) -> list[str]:
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
