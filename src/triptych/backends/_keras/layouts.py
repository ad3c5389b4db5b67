"""Where each canonical array lives in Keras: the canonical layout is Keras' own.

Transposed convolutions are the exception: theirs is (height, width, out, in). A recurrent layer's
gates lie side by side on the last axis, an LSTM's i, f, c, o and a GRU's z, r, h; two biases are
two rows.
"""

from __future__ import annotations

from triptych.backends.layout import Home, Homes, gates

_KERNEL, _BIAS = Home("kernel"), Home("bias")


def _gated(*names: str) -> dict[str, Home]:
    return {
        **gates(names, "kernel", "cell.kernel", axis=-1),
        **gates(names, "recurrent_kernel", "cell.recurrent_kernel", axis=-1),
        **gates(names, "bias", "cell.bias", axis=-1, row=0),
        **gates(names, "recurrent_bias", "cell.bias", axis=-1, row=1),
    }


HOMES: Homes = {
    "conv": {"kernel": _KERNEL, "bias": _BIAS},
    "conv_transpose": {"kernel": Home("kernel", (0, 1, 3, 2)), "bias": _BIAS},
    "dense": {"kernel": _KERNEL, "bias": _BIAS},
    "embedding": {"kernel": Home("embeddings")},
    "batch_norm": {
        "scale": Home("gamma"),
        "offset": Home("beta"),
        "mean": Home("moving_mean"),
        "variance": Home("moving_variance"),
    },
    "layer_norm": {"scale": Home("gamma"), "offset": Home("beta")},
    "elman": {
        "kernel": Home("cell.kernel"),
        "recurrent_kernel": Home("cell.recurrent_kernel"),
        "bias": Home("cell.bias", row=0),
        "recurrent_bias": Home("cell.bias", row=1),
    },
    "lstm": _gated("input", "forget", "cell", "output"),
    "gru": _gated("update", "reset", "candidate") | {"candidate_bias": Home("cell.candidate_bias")},
}
