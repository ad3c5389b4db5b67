"""Where each canonical array lives in PyTorch, and the order of its axes there.

PyTorch keeps dense weights as (out, in) and convolution weights as (out, in, height, width).
"""

from __future__ import annotations

from triptych.backends.layout import Home, Homes

_BIAS = Home("bias")

HOMES: Homes = {
    "conv": {"kernel": Home("weight", (3, 2, 0, 1)), "bias": _BIAS},
    "conv_transpose": {"kernel": Home("weight", (2, 3, 0, 1)), "bias": _BIAS},
    "dense": {"kernel": Home("weight", (1, 0)), "bias": _BIAS},
    "embedding": {"kernel": Home("weight")},
    "batch_norm": {
        "scale": Home("weight"),
        "offset": _BIAS,
        "mean": Home("running_mean"),
        "variance": Home("running_var"),
    },
    "layer_norm": {"scale": Home("weight"), "offset": _BIAS},
}
