"""Faults in recurrent layers: gates, reset, activations, biases, masks, direction."""

from __future__ import annotations

import numpy as np

from triptych.testing.faults.fault import Fault, layer
from triptych.testing.faults.in_layers import loaded
from triptych.testing.faults.wraps import Arrays, Turned

_LSTM = ("kernel", "recurrent_kernel", "bias")
_GRU = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")


def exchanged(node: str, kinds: tuple[str, ...], one: str, other: str) -> Arrays:
    """Return arrays of a side that takes one gate for another."""
    return Arrays(
        {
            f"{node}/{kind}_{a}": Turned(f"{node}/{kind}_{b}")
            for kind in kinds
            for a, b in ((one, other), (other, one))
        }
    )


def _changed(node: str, kinds: tuple[str, ...], gates: tuple[str, ...], how: str) -> Arrays:
    """Return arrays of a side that negates or transposes a node's arrays."""
    turn = np.transpose if how == "transposed" else np.negative
    names = [f"{node}/{kind}_{gate}" for kind in kinds for gate in gates]
    return Arrays({name: Turned(name, turn, turn) for name in names})


FAULTS = (
    Fault(
        "LSTM's cell and output gates exchanged", "gate-order", 2, "lstm", "jax", "torch",
        arrays=exchanged("lstm1", _LSTM, "cell", "output"),
    ),
    Fault(
        "LSTM's input and forget gates exchanged", "gate-order", 2, "lstm", "torch", "jax",
        arrays=exchanged("lstm1", _LSTM, "input", "forget"),
    ),
    Fault(
        "GRU's update and reset gates exchanged", "gate-order", 2, "gru", "keras", "torch",
        arrays=exchanged("gru1", _GRU, "update", "reset"),
    ),
    Fault(
        "GRU's update gate the other way round", "gate-order", 2, "gru", "torch", "jax",
        arrays=_changed("gru1", _GRU, ("update",), "negated"),
    ),
    Fault(
        "reset before the product", "reset-place", 2, "gru", "torch", "jax",
        subject=layer("gru1", reset_after=False),
    ),
    Fault(
        "relu in an Elman layer", "recurrent-activation", 2, "elman", "jax", "torch",
        subject=layer("elman1", activation="relu"),
    ),
    Fault(
        "hard gates", "gate-activation", 2, "lstm", "jax", "torch",
        subject=layer("lstm1", gate_activation="hard_sigmoid"),
    ),
    Fault(
        "no bias on the state's side", "recurrent-biases", 2, "elman", "torch", "jax",
        subject=layer("elman1", biases=1), arrays=Arrays(lost=("elman1/recurrent_bias",)),
    ),
    Fault(
        "forget bias 1 higher", "forget-bias", 1, "lstm", "torch", "jax",
        touch=loaded("lstm1/bias_forget", lambda bias: bias + 1.0),
    ),
    Fault(
        "recurrent kernels transposed", "dense-kernel-layout", 2, "lstm", "keras", "torch",
        arrays=_changed(
            "lstm1", ("recurrent_kernel",), ("input", "forget", "cell", "output"), "transposed"
        ),
    ),
    Fault(
        "mask ignored", "recurrent-mask", 2, "elman", "torch", "jax",
        subject=layer("elman1", mask_value=None),
    ),
    Fault(
        "read from the last step", "recurrent-state", 2, "gru", "jax", "torch",
        subject=layer("gru1", reverse=True),
    ),
)  # fmt: skip
