"""Hypotheses about Elman, LSTM and GRU layers: gates, activations, biases, masks, direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np

from triptych.parity.diagnosis.guess import Guess, altered, on_arrays, on_inputs
from triptych.parity.diagnosis.machine import Arrays, of_layer
from triptych.spec.layers.recurrent import GRU, Recurrent

_BENDS = ("tanh", "sigmoid", "relu")
_GATES = ("sigmoid", "hard_sigmoid")


def guesses(layer: Any) -> Iterator[Guess]:
    """Yield the hypotheses about a recurrent layer, the likeliest first."""
    yield from _gates(layer)
    if isinstance(layer, GRU):
        places = ("after the product", "before the product")
        pair = places if layer.reset_after else places[::-1]
        if not layer.candidate_bias:
            changed = replace(layer, reset_after=not layer.reset_after)
            yield altered("reset-place", *pair, changed)
    yield from _words(layer, "recurrent-activation", "activation", _BENDS)
    if hasattr(layer, "gate_activation"):
        yield from _words(layer, "gate-activation", "gate_activation", _GATES)
    yield from _biases(layer)
    yield from _steps(layer)


def _words(layer: Any, factor: str, name: str, words: tuple[str, ...]) -> Iterator[Guess]:
    own = getattr(layer, name)
    for word in words:
        if word != own:
            yield altered(factor, own, word, replace(layer, **{name: word}))


def _gates(layer: Recurrent) -> Iterator[Guess]:
    """The gates' arrays in another order, a gate the other way round, kernels transposed."""
    own = ", ".join(layer.gates)
    for order in permutations(layer.gates):
        if order != layer.gates:
            changed = on_arrays(layer, _renamed(layer.gates, order))
            yield Guess("gate-order", own, ", ".join(order), changed)
    if isinstance(layer, GRU):
        turned = on_arrays(layer, _negated("update"))
        yield Guess("gate-order", "update keeps the state", "update replaces the state", turned)
    across = on_arrays(
        layer, lambda a: {n: v.T if "recurrent_kernel" in n else v for n, v in a.items()}
    )
    yield Guess("dense-kernel-layout", "in, out", "recurrent kernels transposed", across)


def _renamed(gates: tuple[str, ...], order: tuple[str, ...]) -> Callable[[Arrays], Arrays]:
    """Each gate with the arrays of the gate that has its place in another order."""
    theirs = dict(zip(gates, order, strict=True))

    def change(arrays: Arrays) -> Arrays:
        found = dict(arrays)
        for name in arrays:
            what, _, gate = name.rpartition("_")
            if gate in theirs:
                found[name] = arrays[f"{what}_{theirs[gate]}"]
        return found

    return change


def _negated(gate: str) -> Callable[[Arrays], Arrays]:
    """sigmoid(-x) = 1 - sigmoid(x)."""
    return lambda arrays: {n: -a if n.endswith(f"_{gate}") else a for n, a in arrays.items()}


def _biases(layer: Recurrent) -> Iterator[Guess]:
    """A bias left out or counted twice; the forget gate's one higher."""
    for words, part, times in (
        ("none on the state's side", "recurrent_bias", 0.0),
        ("none on the input's side", "bias", 0.0),
        ("none", "", 0.0),
        ("counted twice", "", 2.0),
    ):
        changed = on_arrays(layer, _bias_times(part, times))
        yield Guess("recurrent-biases", f"{layer.biases} for each gate", words, changed)
    if "forget" in layer.gates:
        raised = on_arrays(layer, lambda a: {n: v + (n == "bias_forget") for n, v in a.items()})
        yield Guess("forget-bias", "as given", "1 added", raised)


def _bias_times(part: str, times: float) -> Callable[[Arrays], Arrays]:
    def fits(name: str) -> bool:
        return "bias" in name and (not part or name.startswith(part))

    return lambda arrays: {n: a * (times if fits(n) else 1.0) for n, a in arrays.items()}


def _steps(layer: Recurrent) -> Iterator[Guess]:
    """Masked steps, the direction."""
    for value in (None, 0.0, -1.0):
        if value != layer.mask_value:
            changed = of_layer(replace(layer, mask_value=value))
            yield Guess("recurrent-mask", layer.mask_value, value, changed)
    words = ("from the first step", "from the last step")
    pair = words[::-1] if layer.reverse else words
    yield altered("recurrent-state", *pair, replace(layer, reverse=not layer.reverse))
    backwards = on_inputs(layer, lambda x: np.flip(x, 1))
    yield Guess("recurrent-state", *pair, backwards)
