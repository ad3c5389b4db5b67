"""Where each canonical array lives in Flax NNX: the canonical layout is Flax's own.

Transposed convolutions are the exception: with ``transpose_kernel`` theirs is (.., out, in).
Recurrent layers hold every gate's arrays alone, under their canonical names.
"""

from __future__ import annotations

from triptych.backends.layout import Home, Homes
from triptych.spec.layers import GRU, LSTM, Elman, Recurrent

_BIAS = Home("bias")


def _recurrent(layer: type[Recurrent]) -> dict[str, Home]:
    sides = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
    names = [layer.local(side, gate) for side in sides for gate in layer.gates]
    return {name: Home(name) for name in names}


HOMES: Homes = {
    "conv": {"kernel": Home("kernel"), "bias": _BIAS},
    "conv_transpose": {"kernel": Home("kernel", (0, 1, 3, 2)), "bias": _BIAS},
    "dense": {"kernel": Home("kernel"), "bias": _BIAS},
    "embedding": {"kernel": Home("embedding")},
    "batch_norm": {
        "scale": Home("scale"),
        "offset": _BIAS,
        "mean": Home("mean"),
        "variance": Home("var"),
    },
    "layer_norm": {"scale": Home("scale"), "offset": _BIAS},
    "elman": _recurrent(Elman),
    "lstm": _recurrent(LSTM),
    "gru": _recurrent(GRU) | {"candidate_bias": Home("candidate_bias")},
}
