"""Where each canonical array lives in Flax NNX: the canonical layout is Flax's own.

Transposed convolutions are the exception: with ``transpose_kernel`` theirs is (.., out, in).
"""

from __future__ import annotations

from triptych.backends.layout import Home, Homes

_BIAS = Home("bias")

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
}
