"""Where each canonical array lives in ONNX, and the order of its axes there.

Source: the schemas of Conv (out, in, height, width), ConvTranspose (in, out, height, width), Gemm
and MatMul (in, out), LSTM (gates i, o, f, c), GRU (z, r, h) and RNN, whose arrays have the
directions, here always one, as a first axis that is left out here.
"""

from __future__ import annotations

from triptych.backends.layout import Home, Homes

GATES = {
    "lstm": ("input", "output", "forget", "cell"),
    "gru": ("update", "reset", "candidate"),
    "elman": ("",),
}


def _gated(kind: str) -> dict[str, Home]:
    """W and R hold the gates as rows, B all biases of the input's side, then of the state's."""
    gates, found = GATES[kind], {}
    for place, gate in enumerate(gates):
        end = f"_{gate}" if gate else ""
        found[f"kernel{end}"] = Home("W", (1, 0), (place, len(gates)))
        found[f"recurrent_kernel{end}"] = Home("R", (1, 0), (place, len(gates)))
        found[f"bias{end}"] = Home("B", (), (place, 2 * len(gates)))
        found[f"recurrent_bias{end}"] = Home("B", (), (len(gates) + place, 2 * len(gates)))
    return found


HOMES: Homes = {
    "conv": {"kernel": Home("W", (3, 2, 0, 1)), "bias": Home("B")},
    "conv_transpose": {"kernel": Home("W", (2, 3, 0, 1)), "bias": Home("B")},
    "dense": {"kernel": Home("W"), "bias": Home("B")},
    "embedding": {"kernel": Home("W")},
    "batch_norm": {
        "scale": Home("scale"),
        "offset": Home("B"),
        "mean": Home("mean"),
        "variance": Home("var"),
    },
    "layer_norm": {"scale": Home("scale"), "offset": Home("B")},
    "elman": _gated("elman"),
    "lstm": _gated("lstm"),
    "gru": _gated("gru") | {"candidate_bias": Home("B", (), (5, 6))},
}
