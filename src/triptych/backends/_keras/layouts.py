"""Where each canonical array lives in Keras: the canonical layout is Keras' own.

Transposed convolutions are the exception: theirs is (height, width, out, in).
"""

from __future__ import annotations

from triptych.backends.layout import Home, Homes

_KERNEL, _BIAS = Home("kernel"), Home("bias")

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
}
