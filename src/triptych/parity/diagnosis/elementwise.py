"""Hypotheses about activations and what is done to a whole output: other functions, constants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from triptych.parity.diagnosis.guess import (
    Guess,
    Unknown,
    altered,
    on_arrays,
    on_output,
    through_float32,
)
from triptych.parity.diagnosis.machine import Array, Arrays, Compute, Draws, of_layer
from triptych.spec import layers as spec
from triptych.spec.layers import Layer

CONSTANTS: dict[str, tuple[str, str, float]] = {
    "leaky_relu": ("slope", "leaky-relu-slope", 0.01),
    "elu": ("alpha", "elu-alpha", 1.0),
    "hard_sigmoid": ("slope", "hard-sigmoid-slope", 1 / 6),
}
"""Kind: (field, factor, a usual value)."""

_THRESHOLDS = (20.0, 30.0, 15.0, 10.0, 5.0, 1.0)
_STARTS = (0.01, 0.1, 0.2, 0.3, 0.5, 1.0, 1.5)
KINDS: dict[str, Layer] = {
    layer.kind: layer
    for layer in (
        *(spec.ReLU(), spec.ReLU6(), spec.ELU(), spec.SELU(), spec.GELU(), spec.SiLU()),
        *(spec.Sigmoid(), spec.Tanh(), spec.Softplus(), spec.LeakyReLU(), spec.HardSigmoid()),
    )
}


def describe(layer: Layer) -> str:
    """Return an activation as the audit writes it: ``leaky_relu slope 0.2``."""
    options = [f"{name} {value:.3g}" for name, value in layer.factors().items() if name != "scale"]
    if isinstance(layer, spec.GELU):
        options = ["by tanh" if layer.approximate else "exact"]
    return " ".join([layer.kind, *options])


def guesses(layer: Layer) -> Iterator[Guess | Unknown]:
    """Yield the hypotheses about an activation: its own constant first, then other functions."""
    if layer.kind in CONSTANTS:
        name, factor, _ = CONSTANTS[layer.kind]
        yield from through_float32(layer, [name])
        yield altered("activation", describe(layer), "relu", spec.ReLU())
        yield Guess("activation", describe(layer), "linear", _nothing)
        yield Unknown(factor, getattr(layer, name), _with(layer, name), _STARTS)
    if isinstance(layer, spec.GELU):
        other = replace(layer, approximate=not layer.approximate)
        words = ("by tanh", "exact")
        pair = words if layer.approximate else words[::-1]
        yield altered("gelu-form", *pair, other)
    if isinstance(layer, spec.Softplus):
        for threshold in _THRESHOLDS:
            linear = f"linear above {threshold:g}"
            yield Guess("softplus-threshold", "exact", linear, _linear_above(threshold))
    yield from others(layer)


def others(layer: Layer) -> Iterator[Guess | Unknown]:
    """Another function in this one's place, or none."""
    left = describe(layer)
    yield Guess("activation", left, "linear", _nothing)
    for kind, other in KINDS.items():
        if kind != layer.kind:
            yield altered("activation", left, describe(other), other)
    yield altered("activation", left, "gelu by tanh", spec.GELU(approximate=True))
    for kind, (name, _, _) in CONSTANTS.items():
        if kind != layer.kind:
            make, words = _with(KINDS[kind], name), f"{kind} {name}"
            yield Unknown("activation", left, make, _STARTS, words=_saying(words))


def fused(layer: Layer) -> Iterator[Guess]:
    """A function applied to the output of a layer that should have none."""
    for other in KINDS.values():
        yield Guess("activation", "linear", describe(other), on_output(layer, _apply(other)))


def whole(layer: Layer) -> Iterator[Guess | Unknown]:
    """What may happen to any layer: rounded, or left out."""
    yield Guess("dtype", "float64", "float32", on_output(layer, _single))
    for name in ("float16", "float32"):
        yield Guess("dtype", "float64", f"{name} arrays", on_arrays(layer, _rounding(name)))
    if layer.arity == 1:
        yield Guess("layer-kind", layer.kind, "no layer", _nothing)


def _nothing(arrays: Arrays, inputs: list[Array], training: bool, draws: Draws | None) -> Array:
    """The input as it is."""
    return inputs[0]


def _with(layer: Layer, name: str) -> Callable[[float], Compute]:
    return lambda number: of_layer(replace(layer, **{name: number}))


def _saying(words: str) -> Callable[[float], str]:
    return lambda number: f"{words} {number:.3g}"


def _apply(layer: Layer) -> Callable[[Array], Array]:
    function = of_layer(layer)
    return lambda y: function({}, [y], False, None)


def _linear_above(threshold: float) -> Compute:
    """Softplus that is the identity above a threshold, as PyTorch's is above 20."""

    def compute(arrays: Arrays, inputs: list[Array], training: bool, draws: Draws | None) -> Array:
        x = inputs[0]
        return np.where(x > threshold, x, np.logaddexp(x, 0.0))

    return compute


def _single(y: Array) -> Array:
    return y.astype(np.float32).astype(np.float64)


def _rounding(name: str) -> Callable[[Arrays], Arrays]:
    """Arrays that pass through a shorter type before use."""
    return lambda arrays: {
        key: array.astype(name).astype(np.float64) for key, array in arrays.items()
    }
