"""Keras' optimizers and their state <-> the spec's rules and slots, by meaning.

What a live optimizer of ours computes is in ``rules.py``; what one writes by hand in
``rule_source.py``. Here are those of Keras: its Adam adds epsilon before the correction, its
momentum has the rate in the buffer (and the sign, in SGD), its RMSprop and Adagrad add epsilon
inside the root.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keras import optimizers
from keras.optimizers import schedules

from triptych.backends._keras import rule_source
from triptych.backends._keras.native import _floatx
from triptych.backends._keras.porting import files
from triptych.backends.carried import Turn
from triptych.backends.protocol import Params, Slots
from triptych.backends.rule_sourcing import describe, is_scheduled, rate_function
from triptych.backends.sourcing import fold
from triptych.errors import in_one_line
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule
from triptych.spec.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    Piecewise,
    Schedule,
)

Homes = Mapping[str, tuple[Any, Turn]]
"""By the name of an array that learns, the variable it lives in and how it is turned."""


@dataclass(frozen=True)
class Found:
    """What was read of an optimizer; ``notes`` say what was left behind and why."""

    rule: Rule | None = None
    slots: Slots | None = None
    notes: tuple[str, ...] = ()


class _Left(Exception):
    """Something of the optimizer has no words in the spec."""


# --- reading -------------------------------------------------------------------------------------


def read(optimizer: Any, homes: Homes, constant: Sequence[str]) -> Found:
    """Return the rule and the slots of a live optimizer.

    Args:
        optimizer: any of Keras'.
        homes: where the arrays live that the model trains.
        constant: the names of arrays that the port trains and the model does not.
    """
    name = type(optimizer).__name__
    try:
        rule = _rule(optimizer)
        _check_clip(rule, homes)
    except _Left as reason:
        return Found(notes=(f"the optimizer ({name}) was left behind: {reason}",))
    if not optimizer.built:
        return Found(rule)
    try:
        return Found(rule, _slots(optimizer, rule, homes, constant))
    except _Left as reason:
        return Found(
            rule, None, (f"the state of the optimizer ({name}) was left behind: {reason}",)
        )


def _rule(optimizer: Any) -> Rule:
    make = _RULES.get(type(optimizer))
    if make is None:
        known = ", ".join(kind.__name__ for kind in _RULES)
        raise _Left(f"it is none of {known}")
    said = {
        "amsgrad": getattr(optimizer, "amsgrad", False),
        "use_ema": optimizer.use_ema,
        "gradient_accumulation_steps": optimizer.gradient_accumulation_steps,
        "loss_scale_factor": optimizer.loss_scale_factor,
    }
    odd = [key for key, value in said.items() if value]
    if odd:
        raise _Left(f"no rule of the port has {odd[0]}")
    if optimizer.weight_decay and type(optimizer) not in (optimizers.Adam, optimizers.AdamW):
        raise _Left("decoupled weight_decay goes with Adam only")
    if getattr(optimizer, "_exclude_from_weight_decay", None):
        raise _Left("some arrays are left out of its weight_decay")
    return make(optimizer, {"rate": _rate(optimizer), "clip": _clip(optimizer)})


def _clip(optimizer: Any) -> Clip:
    limits = (optimizer.global_clipnorm, optimizer.clipnorm, optimizer.clipvalue)
    return Clip(*(None if limit is None else float(limit) for limit in limits))


def _check_clip(rule: Rule, homes: Homes) -> None:
    """Keras' ``clipnorm`` takes the norm of a variable, which may hold all gates of a layer."""
    held = [id(variable) for variable, _ in homes.values()]
    if rule.clip.norm is not None and len(set(held)) < len(held):
        raise _Left("its clipnorm takes the norm of all gates of a recurrent layer together")


def _rate(optimizer: Any) -> Schedule:
    rate = optimizer._learning_rate
    if isinstance(rate, schedules.LearningRateSchedule):
        make = _SCHEDULES.get(type(rate))
        if make is None:
            raise _Left(f"its rate follows {type(rate).__name__}")
        return make(rate)
    return Constant(_shortest(np.asarray(optimizer.learning_rate)))


def _shortest(value: np.ndarray) -> float:
    """The number that was meant: 0.001 where float32 has 0.0010000000474974513."""
    return float(np.format_float_positional(value.reshape(1)[0], unique=True))


def _cosine(rate: Any) -> Schedule:
    if rate.warmup_target is not None or rate.warmup_steps:
        raise _Left("its rate warms up")
    start = float(rate.initial_learning_rate)
    return Cosine(start, float(rate.alpha) * start, int(rate.decay_steps))


def _polynomial(rate: Any) -> Schedule:
    if rate.power != 1.0 or rate.cycle:
        raise _Left(f"its rate falls with the power {rate.power}, or in cycles")
    start, end = float(rate.initial_learning_rate), float(rate.end_learning_rate)
    return Linear(start, end, int(rate.decay_steps))


_SCHEDULES: dict[type, Callable[[Any], Schedule]] = {
    schedules.ExponentialDecay: lambda rate: Exponential(
        float(rate.initial_learning_rate), float(rate.decay_rate), int(rate.decay_steps),
        bool(rate.staircase),
    ),
    schedules.CosineDecay: _cosine,
    schedules.PolynomialDecay: _polynomial,
    # Keras still has the earlier value at a boundary itself.
    schedules.PiecewiseConstantDecay: lambda rate: Piecewise(
        tuple(int(at) + 1 for at in rate.boundaries), tuple(map(float, rate.values))
    ),
}  # fmt: skip


def _adam(optimizer: Any, common: dict[str, Any]) -> Rule:
    own: dict[str, Any] = {
        "beta1": float(optimizer.beta_1),
        "beta2": float(optimizer.beta_2),
        "epsilon": float(optimizer.epsilon),
        "epsilon_before_correction": True,
    }
    if optimizer.weight_decay:
        return AdamW(**common, **own, weight_decay=float(optimizer.weight_decay))
    return Adam(**common, **own)


def _sgd(optimizer: Any, common: dict[str, Any]) -> Rule:
    momentum = float(optimizer.momentum)
    nesterov = bool(optimizer.nesterov) and momentum > 0.0
    _check_momentum(momentum, common)
    return SGD(**common, momentum=momentum, nesterov=nesterov)


def _rmsprop(optimizer: Any, common: dict[str, Any]) -> Rule:
    momentum = float(optimizer.momentum)
    _check_momentum(momentum, common)
    return RMSprop(
        **common,
        decay=float(optimizer.rho),
        epsilon=float(optimizer.epsilon),
        epsilon_inside_root=True,
        momentum=momentum,
        centered=bool(optimizer.centered),
    )


def _check_momentum(momentum: float, common: Mapping[str, Any]) -> None:
    """At a constant rate it is all one where the rate is; else the rules differ."""
    if momentum and not isinstance(common["rate"], Constant):
        raise _Left("its momentum has a changing rate in the buffer; the port's has it outside")
    if momentum and not common["rate"].start:
        raise _Left("its momentum has a rate of 0 in the buffer")


def _adagrad(optimizer: Any, common: dict[str, Any]) -> Rule:
    return Adagrad(
        **common,
        epsilon=float(optimizer.epsilon),
        epsilon_inside_root=True,
        initial=float(optimizer.initial_accumulator_value),
    )


_RULES: dict[type, Callable[[Any, dict[str, Any]], Rule]] = {
    optimizers.SGD: _sgd,
    optimizers.Adam: _adam,
    optimizers.AdamW: _adam,
    optimizers.RMSprop: _rmsprop,
    optimizers.Adagrad: _adagrad,
}


# --- slots ---------------------------------------------------------------------------------------

_ADAM = {"first_moment": "_momentums", "second_moment": "_velocities"}
_ATTRIBUTES: dict[type, dict[str, str]] = {
    optimizers.SGD: {"momentum": "momentums"},
    optimizers.Adam: _ADAM,
    optimizers.AdamW: _ADAM,
    optimizers.RMSprop: {
        "second_moment": "_velocities",
        "first_moment": "_average_gradients",
        "momentum": "_momentums",
    },
    optimizers.Adagrad: {"accumulator": "_accumulators"},
}
"""Where Keras' own keep what the spec's slots mean."""


def _factor(optimizer: Any, slot: str, rule: Rule) -> float:
    """What a native buffer has to be divided by: the rate in it, and in SGD the sign."""
    if slot != "momentum" or type(optimizer) not in (optimizers.SGD, optimizers.RMSprop):
        return 1.0
    rate = rule.rate.value(0)
    return -rate if isinstance(rule, SGD) else rate


def _buffers(optimizer: Any, slot: str) -> Sequence[Any]:
    """The variables of a slot, in the order of the model's; in a class of ours by its name."""
    names = _ATTRIBUTES.get(type(optimizer), {})
    found: Sequence[Any] = getattr(optimizer, names.get(slot, f"{slot}s"))
    return found


def _slots(optimizer: Any, rule: Rule, homes: Homes, constant: Sequence[str]) -> Slots:
    if constant and rule.slots:
        raise _Left(f"{constant[0]} is constant in the source and has none")
    values: dict[str, Params] = {}
    for slot in rule.slots:
        buffers, factor = _buffers(optimizer, slot), _factor(optimizer, slot, rule)
        values[slot] = {}
        for name, (variable, turn) in homes.items():
            native = np.array(buffers[_index(optimizer, variable, name)])
            if factor != 1.0:
                native = (native.astype(np.float64) / factor).astype(native.dtype)
            if not np.isfinite(native).all():
                raise _Left(f"the {slot} of {name} holds NaN or infinity")
            values[slot][name] = np.array(turn(native))
    return Slots(int(np.asarray(optimizer.iterations)), values)


def _index(optimizer: Any, variable: Any, name: str) -> int:
    try:
        return int(optimizer._get_variable_index(variable))
    except KeyError:
        raise _Left(f"it does not train {name}") from None


def read_ours(optimizer: Any, rule: Rule, homes: Homes) -> Slots | None:
    """Return the slots of an optimizer that :func:`build` made; None where they don't fit."""
    try:
        return _slots(optimizer, rule, homes, ())
    except _Left:
        return None


# --- of files ------------------------------------------------------------------------------------


def of_file(model: Any, path: Path, found: files.Opened) -> tuple[Any, str]:
    """Return the optimizer that a file holds, with its state, or None and a note why not."""
    if not found.optimizer:
        return None, ""
    try:
        files.check_config(found.optimizer, path, lambda name: True)
        optimizer = optimizers.get(found.optimizer)
        if len(found.state) == len(optimizer.variables):
            return optimizer, ""  # it had not learned yet
        optimizer.build(model.trainable_variables)
    except Exception as error:
        return None, f"the optimizer was left behind: {in_one_line(error)}"
    if not take_state(optimizer, found):
        return None, "the optimizer was left behind: its arrays are not those of the layers"
    return optimizer, ""


def take_state(optimizer: Any, found: files.Opened) -> bool:
    """Put an optimizer's arrays into one that is built, where they fit."""
    arrays, own = found.state, optimizer.variables
    fits = [array.shape for array in arrays] == [tuple(variable.shape) for variable in own]
    for variable, array in zip(own, arrays, strict=True) if fits else ():
        variable.assign(array.astype(variable.dtype))
    return fits


# --- writing -------------------------------------------------------------------------------------


def native_text(rule: Rule) -> str | None:
    """Return the call of Keras' own optimizer with a rule's formula; None where there is none.

    Momentum is Keras' own at a constant rate only, and its buffer no longer holds the same digits,
    so that it stays a class of its own.
    """
    if isinstance(rule, Adam) and rule.epsilon_before_correction and not rule.l2:
        decay = getattr(rule, "weight_decay", 0.0) or None
        kind = "AdamW" if decay else "Adam"
        own = (
            f"beta_1={rule.beta1!r}, beta_2={rule.beta2!r}, epsilon={rule.epsilon!r}, amsgrad=False"
        )
        limits = {"clipnorm": rule.clip.norm, "clipvalue": rule.clip.value}
        limits["global_clipnorm"] = rule.clip.global_norm
        said = "".join(f", {key}={value!r}" for key, value in limits.items() if value is not None)
        return (
            f"keras.optimizers.{kind}(learning_rate={rule.rate.value(0)!r}, {own}, "
            f"weight_decay={decay!r}{said})"
        )
    return None


def text(rule: Rule) -> str:
    """Return the text that defines ``make_optimizer(model)``, imports first."""
    written = rule_source.write_rule(rule)
    call = native_text(rule)
    if call is None:
        return written
    parts = ["import keras\n\n"]
    if is_scheduled(rule):
        parts = ["import math\n\n" + parts[0], rate_function(rule) + "\n\n"]
    lines = [
        "def make_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:",
        f'    """{describe(rule)}"""',
        *fold(f"    optimizer = {call}"),
        "    optimizer.build(model.trainable_variables)",
        "    return optimizer",
    ]
    return "\n".join([*parts, *lines]) + "\n"


def build(rule: Rule, model: Any, dtype: str) -> Any:
    """Return the optimizer that the written text makes for a model, in its type."""
    names: dict[str, Any] = {"__name__": "written"}
    with _floatx(dtype):
        exec(compile(text(rule), "<the written optimizer>", "exec"), names)
        return names["make_optimizer"](model)


def load(optimizer: Any, rule: Rule, updates: int, values: Mapping[str, Sequence[Any]]) -> None:
    """Put a state into an optimizer that :func:`build` made.

    Args:
        values: by slot, an array for each of the model's trainable variables, in their order.
    """
    optimizer.iterations.assign(updates)
    optimizer.learning_rate = rule.rate.value(updates)
    for slot, arrays in values.items():
        for buffer, array in zip(_buffers(optimizer, slot), arrays, strict=True):
            buffer.assign(array)
