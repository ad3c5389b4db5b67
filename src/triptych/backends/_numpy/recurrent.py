"""Recurrent layers written from their formulas, one step and one gate at a time.

``advance`` makes one step; ``forward`` loops over time. What a step needs of the layer stands in
``spec/layers/recurrent.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from triptych.backends._numpy.activations import ACTIVATIONS
from triptych.spec import layers as spec
from triptych.spec.layers import Recurrent

Array = np.ndarray
Arrays = dict[str, Array]


def _bend(word: str, x: Array) -> Array:
    return ACTIVATIONS[word](spec.LAYERS[word](), x)


def _sums(arrays: Arrays, gate: str, x: Array, h: Array) -> tuple[Array, Array]:
    """Return what a gate takes from the input and from the state, each with its bias."""
    end = f"_{gate}" if gate else ""
    taken = x @ arrays[f"kernel{end}"] + arrays.get(f"bias{end}", 0.0)
    held = h @ arrays[f"recurrent_kernel{end}"] + arrays.get(f"recurrent_bias{end}", 0.0)
    return taken, held


def _total(arrays: Arrays, gate: str, x: Array, h: Array) -> Array:
    taken, held = _sums(arrays, gate, x, h)
    return taken + held


def _elman(layer: spec.Elman, arrays: Arrays, x: Array, state: Arrays) -> Arrays:
    return {"hidden": _bend(layer.activation, _total(arrays, "", x, state["hidden"]))}


def _lstm(layer: spec.LSTM, arrays: Arrays, x: Array, state: Arrays) -> Arrays:
    total = {gate: _total(arrays, gate, x, state["hidden"]) for gate in layer.gates}
    gate = {name: _bend(layer.gate_activation, value) for name, value in total.items()}
    fresh = _bend(layer.activation, total["cell"])
    cell = gate["forget"] * state["cell"] + gate["input"] * fresh
    return {"hidden": gate["output"] * _bend(layer.activation, cell), "cell": cell}


def _gru(layer: spec.GRU, arrays: Arrays, x: Array, state: Arrays) -> Arrays:
    h = state["hidden"]
    update, reset = (
        _bend(layer.gate_activation, _total(arrays, gate, x, h)) for gate in ("update", "reset")
    )
    taken, held = _sums(arrays, "candidate", x, h if layer.reset_after else reset * h)
    if layer.reset_after:
        held = reset * (held + arrays.get("candidate_bias", 0.0))
    return {"hidden": update * h + (1.0 - update) * _bend(layer.activation, taken + held)}


_STEPS: dict[str, Callable[[Any, Arrays, Array, Arrays], Arrays]] = {
    "elman": _elman,
    "lstm": _lstm,
    "gru": _gru,
}


def advance(layer: Recurrent, arrays: Arrays, x: Array, state: Arrays) -> Arrays:
    """Return the state after one step of (batch, features)."""
    moved = _STEPS[layer.kind](layer, arrays, x, state)
    if layer.mask_value is None:
        return moved
    seen = np.any(x != layer.mask_value, axis=-1, keepdims=True)
    return {name: np.where(seen, moved[name], state[name]) for name in moved}


def forward(layer: Any, arrays: Arrays, inputs: list[Array]) -> Array:
    """(batch, time, features) -> (batch, time, units), or (batch, units) without ``sequences``."""
    (x,) = inputs
    state = {name: np.zeros((len(x), layer.units)) for name in layer.states}
    hidden = np.zeros((*x.shape[:2], layer.units))
    times = range(x.shape[1])
    for time in reversed(times) if layer.reverse else times:
        state = advance(layer, arrays, x[:, time], state)
        hidden[:, time] = state["hidden"]
    return hidden if layer.sequences else state["hidden"]


FORWARD = {kind: forward for kind in _STEPS}
