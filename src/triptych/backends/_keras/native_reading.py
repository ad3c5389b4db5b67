"""Constants of a user's Keras optimizer and loss, read back from the live objects.

In the words of the spec; what a class does beyond its constants is for probing to find out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import losses, optimizers

from triptych.spec.schedules import COUNTS

_CLIPS = {"clipnorm": "norm", "clipvalue": "value", "global_clipnorm": "global_norm"}


def optimizer_factors(optimizer: Any) -> dict[str, Any]:
    """Return the optimizer's constants, its clipping and its rate, by audit key.

    Of a class of the user's own clipping and rate alone: the rest is not known.
    """
    reader = _RULES.get(type(optimizer))
    rule = reader(optimizer) if reader else {}
    rule |= {"l2": 0.0, "weight_decay": float(optimizer.weight_decay or 0.0)} if reader else {}
    for attribute, name in _CLIPS.items():
        limit = getattr(optimizer, attribute, None)
        if limit is not None:
            rule[f"clip.{name}"] = float(limit)
    found = {f"optimizer.{key}": value for key, value in (rule | _rates(optimizer)).items()}
    return found | ({"optimizer.amsgrad": True} if getattr(optimizer, "amsgrad", False) else {})


def _rates(optimizer: Any) -> dict[str, Any]:
    rate = optimizer._learning_rate
    if isinstance(rate, optimizers.schedules.LearningRateSchedule):
        return {f"rate at update {count}": float(rate(count)) for count in COUNTS}
    return {"rate at update 0": float(optimizer.learning_rate)}


def _adam(optimizer: Any) -> dict[str, Any]:
    decoupled = bool(optimizer.weight_decay)
    return {
        "rule": "adamw" if decoupled else "adam",
        "beta1": float(optimizer.beta_1),
        "beta2": float(optimizer.beta_2),
        "epsilon": float(optimizer.epsilon),
        "epsilon_inside_root": False,
        "epsilon_before_correction": True,
    }


_RULES: dict[type, Callable[[Any], dict[str, Any]]] = {
    optimizers.SGD: lambda o: {
        "rule": "sgd",
        "momentum": float(o.momentum),
        "dampening": 0.0,
        "nesterov": bool(o.nesterov),
        "rate_in_buffer": bool(o.momentum),
    },
    optimizers.Adam: _adam,
    optimizers.AdamW: _adam,
    optimizers.RMSprop: lambda o: {
        "rule": "rmsprop",
        "decay": float(o.rho),
        "epsilon": float(o.epsilon),
        "epsilon_inside_root": True,
        "momentum": float(o.momentum),
        "centered": bool(o.centered),
    },
    optimizers.Adagrad: lambda o: {
        "rule": "adagrad",
        "epsilon": float(o.epsilon),
        "epsilon_inside_root": True,
        "initial": float(o.initial_accumulator_value),
    },
}


def loss_factors(loss: Any) -> dict[str, Any]:
    """Return the constants of a loss that Keras brings along; nothing for the user's own."""
    functions = {
        losses.mean_squared_error: losses.MeanSquaredError(),
        losses.mean_absolute_error: losses.MeanAbsoluteError(),
        losses.huber: losses.Huber(),
    }
    own = loss if isinstance(loss, keras.Loss) else functions.get(loss)
    reader = _LOSSES.get(type(own))
    if own is None or reader is None:
        return {}
    reduction = {"sum_over_batch_size": "mean", None: "none"}.get(own.reduction, own.reduction)
    found = reader(own.get_config()) | {"reduction": reduction}
    return {f"loss.{key}": value for key, value in found.items()}


_LOSSES: dict[type, Callable[[dict[str, Any]], dict[str, Any]]] = {
    losses.MeanSquaredError: lambda c: {"kind": "squared", "factor": 1.0},
    losses.MeanAbsoluteError: lambda c: {"kind": "absolute", "factor": 1.0},
    losses.Huber: lambda c: {"kind": "huber", "delta": float(c["delta"]), "factor": 1.0},
    losses.CategoricalCrossentropy: lambda c: _cross("cross_entropy", c),
    losses.SparseCategoricalCrossentropy: lambda c: _cross("cross_entropy", c),
    losses.BinaryCrossentropy: lambda c: _cross("binary_cross_entropy", c),
}


def _cross(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "from_logits": bool(config["from_logits"])}
