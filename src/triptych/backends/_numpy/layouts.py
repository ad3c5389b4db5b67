"""Where each canonical array lives in the oracle: under its own name, in the canonical order."""

from __future__ import annotations

from triptych.backends.layout import Home, Homes

_KERNEL, _BIAS = Home("kernel"), Home("bias")
_SCALE, _OFFSET = Home("scale"), Home("offset")

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
}
