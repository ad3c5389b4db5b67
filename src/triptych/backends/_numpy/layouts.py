"""Where each canonical array lives in the oracle: under its own name, in the canonical order."""

from __future__ import annotations

from triptych.backends.layout import Home, Homes
from triptych.spec.layers import GRU, LSTM, Elman, Recurrent

_KERNEL, _BIAS = Home("kernel"), Home("bias")
_SCALE, _OFFSET = Home("scale"), Home("offset")


def _recurrent(layer: type[Recurrent]) -> dict[str, Home]:
    sides = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
    names = [layer.local(side, gate) for side in sides for gate in layer.gates]
    return {name: Home(name) for name in names}


HOMES: Homes = {
    "conv": {"kernel": _KERNEL, "bias": _BIAS},
    "conv_transpose": {"kernel": _KERNEL, "bias": _BIAS},
    "dense": {"kernel": _KERNEL, "bias": _BIAS},
    "embedding": {"kernel": _KERNEL},
    "batch_norm": {
        "scale": _SCALE,
        "offset": _OFFSET,
        "mean": Home("mean"),
        "variance": Home("variance"),
    },
    "layer_norm": {"scale": _SCALE, "offset": _OFFSET},
    "elman": _recurrent(Elman),
    "lstm": _recurrent(LSTM),
    "gru": _recurrent(GRU) | {"candidate_bias": Home("candidate_bias")},
}
