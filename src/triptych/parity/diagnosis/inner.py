"""Hypotheses about the other layers: rescaling, dense, flatten, normalisation, dropout, merging."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np

from triptych.parity.diagnosis import elementwise
from triptych.parity.diagnosis.guess import (
    Guess,
    Unknown,
    altered,
    on_arrays,
    on_inputs,
    on_output,
    through_float32,
)
from triptych.parity.diagnosis.machine import Array, Arrays, Compute, Draws, of_layer
from triptych.parity.diagnosis.windows import on_kernel
from triptych.spec import layers as spec

Found = Iterator[Guess | Unknown]
_EPSILONS = (1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


def rescale(layer: spec.Rescale) -> Found:
    """Another scale or offset, a scale forgotten, turned axes, whole numbers divided as such."""
    yield from through_float32(layer, ["scale", "offset"])
    yield altered("input-scaling", layer.scale, 1.0, replace(layer, scale=1.0))
    yield Unknown(
        *("input-scaling", layer.scale, lambda c: of_layer(replace(layer, scale=c))),
        (layer.scale, 1.0, 1 / 255, 1 / 127.5),
    )
    yield Unknown(
        *("input-offset", layer.offset, lambda c: of_layer(replace(layer, offset=c))),
        (layer.offset, 0.0, -0.5, -1.0),
    )
    for order in permutations((1, 2, 3)):
        if order != (1, 2, 3):
            words = ", ".join(("height", "width", "channels")[axis - 1] for axis in order)
            turned = on_inputs(layer, _turn((0, *order)))
            yield Guess("input-axes", "height, width, channels", words, turned)
    flipped = on_inputs(layer, lambda x: x[..., ::-1])
    yield Guess("input-axes", "channels in order", "channels backwards", flipped)
    yield Guess("preprocessing", "real numbers", "whole numbers", on_output(layer, np.floor))


def dense(layer: spec.Dense) -> Found:
    """The kernel read the wrong way round, no bias, a bias twice, an activation too many."""
    order = "in, out"
    square = on_arrays(layer, on_kernel(np.transpose))
    yield Guess("dense-kernel-layout", order, "out, in", square)
    read = on_arrays(layer, on_kernel(lambda k: k.T.reshape(k.shape)))
    yield Guess("dense-kernel-layout", order, "numbers in the order out, in", read)
    taken = on_arrays(layer, on_kernel(lambda k: k.reshape(k.shape[::-1]).T))
    yield Guess("dense-kernel-layout", order, "numbers taken from the order out, in", taken)
    yield from biases(layer)
    yield from elementwise.fused(layer)


def biases(layer: Any) -> Iterator[Guess]:
    """A bias left out or added twice."""
    if layer.bias:
        yield altered("bias", "added once", "none", replace(layer, bias=False))
        for words, times in (("added twice", 2.0),):
            yield Guess("bias", "added once", words, on_arrays(layer, _bias_times(times)))


def flatten(shape: tuple[int, ...]) -> Found:
    """The axes in another order."""
    names = ("height", "width", "channels") if len(shape) == 3 else ("time", "features")
    if len(shape) != len(names):
        return
    for order in permutations(range(len(shape))):
        if order != tuple(range(len(shape))):
            words = ", ".join(names[axis] for axis in order)
            turned = on_inputs(spec.Flatten(), _turn((0, *(axis + 1 for axis in order))))
            yield Guess("flatten-order", ", ".join(names), words, turned)


def batch_norm(layer: spec.BatchNorm) -> Found:
    """Another epsilon, the other statistics in either mode, an unbiased variance to divide by."""
    own = of_layer(layer)
    yield from through_float32(layer, ["epsilon"])
    yield _epsilon("batch-norm-epsilon", layer)
    modes = ("batch statistics in training only", "batch statistics always", "running ones always")
    for words, training in ((modes[1], True), (modes[2], False)):
        yield Guess("batch-norm-mode", modes[0], words, _in_mode(own, training))
    yield Guess("batch-norm-mode", modes[0], "running ones, just moved, in training", _moved(layer))
    wide = ("biased", "unbiased, in the output too")
    yield Guess("batch-norm-variance", *wide, _unbiased(layer))


def layer_norm(layer: spec.LayerNorm) -> Found:
    """Another epsilon."""
    yield from through_float32(layer, ["epsilon"])
    yield _epsilon("layer-norm-epsilon", layer)


def _epsilon(factor: str, layer: Any) -> Unknown:
    make: Callable[[float], Compute] = lambda c: of_layer(replace(layer, epsilon=c))  # noqa: E731
    return Unknown(factor, layer.epsilon, make, _EPSILONS, positive=True)


def dropout(layer: spec.Dropout) -> Iterator[Guess]:
    """Another rate, and a factor 1 / (1 - rate) that is missing or elsewhere."""
    keep = 1.0 - layer.rate
    words = "1 / (1 - rate) in training"
    yield Guess("dropout-scaling", words, "none", _drop(layer.rate, 1.0, 1.0))
    yield Guess("dropout-scaling", words, "1 - rate at inference", _drop(layer.rate, 1.0, keep))
    yield Guess("dropout-rate", layer.rate, 0.0, _drop(0.0, 1.0, 1.0))
    for percent in range(1, 100):
        rate = percent / 100
        if rate != layer.rate:
            yield Guess("dropout-rate", layer.rate, rate, _drop(rate, 1.0 / (1.0 - rate), 1.0))


def _drop(rate: float, training_gain: float, inference_gain: float) -> Compute:
    def compute(arrays: Arrays, inputs: list[Array], training: bool, draws: Draws | None) -> Array:
        if not training or draws is None:
            return inputs[0] * inference_gain
        return inputs[0] * training_gain * (draws.uniform >= rate)

    return compute


def concatenate() -> Iterator[Guess]:
    """The inputs the other way round."""
    backwards = _merge(lambda inputs: np.concatenate(inputs[::-1], axis=-1))
    yield Guess("layer-wiring", "inputs in order", "inputs backwards", backwards)


def add() -> Iterator[Guess]:
    """One input alone, or the mean, in place of the sum."""
    yield Guess("layer-wiring", "the sum", "the mean", _merge(lambda x: np.mean(x, axis=0)))
    for place in (0, 1):
        words = f"input {place + 1} alone"
        yield Guess("layer-wiring", "the sum", words, _merge(lambda x, i=place: x[i]))  # type: ignore[misc]


def dueling() -> Iterator[Guess]:
    """The advantage's largest or nothing taken off instead of its mean."""
    words = "value + advantage - mean(advantage)"
    largest = _merge(lambda x: x[0] + x[1] - x[1].max(axis=-1, keepdims=True))
    yield Guess("layer-kind", words, "value + advantage - max(advantage)", largest)
    plain = _merge(lambda x: x[0] + x[1])
    yield Guess("layer-kind", words, "value + advantage", plain)


def _merge(function: Callable[[list[Array]], Array]) -> Compute:
    return lambda arrays, inputs, training, draws: function(inputs)


def _turn(order: tuple[int, ...]) -> Callable[[Array], Array]:
    return lambda x: x.transpose(order)


def _bias_times(times: float) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {"bias": times * arrays["bias"]}


def _in_mode(own: Compute, training: bool) -> Compute:
    return lambda arrays, inputs, _, draws: own(arrays, inputs, training, draws)


def _moved(layer: spec.BatchNorm) -> Compute:
    """Batch normalisation by the running statistics after they have seen the batch (Equinox)."""
    own = of_layer(layer)

    def compute(arrays: Arrays, inputs: list[Array], training: bool, draws: Draws | None) -> Array:
        x = inputs[0]
        axes, keep = tuple(range(x.ndim - 1)), layer.keep
        count = x.size // x.shape[-1]
        gain = count / (count - 1) if layer.unbiased else 1.0
        mean = keep * arrays["mean"] + (1.0 - keep) * x.mean(axis=axes)
        variance = keep * arrays["variance"] + (1.0 - keep) * gain * x.var(axis=axes)
        there = arrays | {"mean": mean, "variance": variance} if training else arrays
        return own(there, inputs, False, draws)

    return compute


def _unbiased(layer: spec.BatchNorm) -> Compute:
    """Batch normalisation that divides by the root of the unbiased variance in training."""
    own = of_layer(layer)

    def compute(arrays: Arrays, inputs: list[Array], training: bool, draws: Draws | None) -> Array:
        if not training:
            return own(arrays, inputs, training, draws)
        x = inputs[0]
        axes = tuple(range(x.ndim - 1))
        variance = x.var(axis=axes, ddof=1)
        scaled = (x - x.mean(axis=axes)) / np.sqrt(variance + layer.epsilon)
        return scaled * arrays["scale"] + arrays["offset"]

    return compute
