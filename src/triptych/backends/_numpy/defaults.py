"""The spec's own defaults, as the oracle computes them, for ``triptych defaults``.

What is drawn, and how a layer or rule behaves when a recipe names it and says no more. Objectives
are not here (their functions are in ``learn``), nor what a recipe must always say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from typing import Any

import numpy as np

from triptych.backends._numpy import layers, rules
from triptych.backends._numpy.activations import ACTIVATIONS
from triptych.backends.making import (
    CHANNELS,
    FEATURES,
    FILTERS,
    INPUTS,
    KERNEL,
    STATE,
    STEPS,
    TABLE,
    UNITS,
    WIDTH,
    Arrays,
    Function,
    Layer,
    Play,
    Rule,
)
from triptych.spec import layers as spec
from triptych.spec.initial import Initial
from triptych.spec.network import Network
from triptych.spec.notation import parse
from triptych.spec.rules import RULES, SGD
from triptych.spec.rules import Rule as SpecRule
from triptych.spec.schedules import Constant

RATE = 0.01


def _drawn(network: Network) -> Arrays:
    """The arrays of a network's only layer with arrays, by local name."""
    values = Initial().draw(network, 0)
    return {name.rsplit("/", 1)[1]: value for name, value in values.items()}


def _call(layer: spec.Layer, arrays: Arrays) -> Callable[[np.ndarray, bool], np.ndarray]:
    return lambda x, _: layers.FORWARD[layer.kind](layer, arrays, [x])


def _conv() -> Layer:
    wide = parse(f"8x8x{CHANNELS} -> conv {FILTERS} {KERNEL[0]}x{KERNEL[1]}")
    small = spec.Conv(2, (3, 3))
    arrays = {
        name: np.ones(item.shape) + np.arange(item.size).reshape(item.shape)
        for name, item in small.parameters((8, 8, 1)).items()
    }
    return Layer(_drawn(wide), _call(small, arrays))


def _batch_norm() -> Layer:
    layer = spec.BatchNorm()
    arrays = _drawn(parse(f"4x4x{WIDTH} -> batch_norm"))

    def call(x: np.ndarray, training: bool) -> np.ndarray:
        if not training:
            return layers.batch_norm(layer, arrays, [x])
        return layers.training_batch_norm(layer, arrays, x)[0]

    return Layer(arrays, call, lambda x: layers.training_batch_norm(layer, arrays, x)[1])


def _recurrent(kind: str) -> Layer:
    """The arrays gate by gate, under the name of what they belong to."""
    drawn = _drawn(parse(f"5x{INPUTS} -> {kind} {STATE}"))
    arrays: dict[str, Any] = {}
    for what in ("recurrent_kernel", "kernel", "recurrent_bias", "bias"):
        found = [drawn.pop(name) for name in list(drawn) if name.startswith(f"{what}_")
                 and not name.endswith("_forget")]  # fmt: skip
        if found:
            arrays[what] = found
    forget = [value for name, value in drawn.items() if name.endswith("bias_forget")]
    return Layer(arrays | ({"forget": sum(forget)} if forget else {}))


def _values(layer: spec.Layer) -> Function:
    return lambda x: ACTIVATIONS[layer.kind](layer, x)


def _play(rule: SpecRule, falls: bool = False) -> Play:
    """Apply gradients by the formulas; updates before ``first`` only move the counter."""

    def play(gradients: Any, start: Arrays, first: int) -> list[Arrays]:
        params, slots, after = dict(start), rules.start(rule, start), []
        for count, given in enumerate(gradients, first):
            rate = rule.rate.value(count) * (0.1 if falls and count >= STEPS else 1.0)
            params, slots = rules.apply(rule, count, rate, params, given, slots)
            after.append(params)
        return after

    return play


def _rule(name: str) -> Rule:
    """Make a rule of the spec with its own rate, or with one where it has none."""
    kind = RULES[name]
    needed = next(item for item in fields(kind) if item.name == "rate")
    given = needed.default is MISSING and needed.default_factory is MISSING
    return Rule(_play(kind(rate=Constant(RATE))), RATE if given else None)


DEFAULTS: dict[str, Callable[[], Any]] = {
    "dense": lambda: Layer(_drawn(parse(f"{FEATURES} -> dense {UNITS}"))),
    "conv": _conv,
    "embedding": lambda: Layer(_drawn(_embedding())),
    "batch_norm": _batch_norm,
    "layer_norm": lambda: Layer(
        call=_call(spec.LayerNorm(), {"scale": np.ones(WIDTH), "offset": np.zeros(WIDTH)})
    ),
    "lstm": lambda: _recurrent("lstm"),
    "gru": lambda: _recurrent("gru"),
    "leaky_relu layer": lambda: _values(spec.LeakyReLU()),
    "elu function": lambda: _values(spec.ELU()),
    "gelu layer": lambda: _values(spec.GELU()),
    "hard_sigmoid function": lambda: _values(spec.HardSigmoid()),
    "softplus function": lambda: _values(spec.Softplus()),
    **{name: partial(_rule, name) for name in RULES},
    "momentum": lambda: Rule(_play(SGD(Constant(0.1), momentum=0.9), falls=True), 0.1),
}
"""A maker by subject; the subjects are those of ``parity/defaults.py``."""


def _embedding() -> Network:
    rows, features = TABLE
    return parse(f"4 index -> embedding {rows} {features}")
