"""Where each canonical array lives in PyTorch, and the order of its axes there.

PyTorch keeps dense weights as (out, in) and convolution weights as (out, in, height, width). A
recurrent layer's gates are stacked as rows: an LSTM's i, f, g, o and a GRU's r, z, n.
"""

from __future__ import annotations

from triptych.backends.layout import Home, Homes, gates

_BIAS = Home("bias")
_SIDES = {
    "kernel": ("weight_ih_l0", (1, 0)),
    "recurrent_kernel": ("weight_hh_l0", (1, 0)),
    "bias": ("bias_ih_l0", ()),
    "recurrent_bias": ("bias_hh_l0", ()),
}


def _gated(*names: str) -> dict[str, Home]:
    return {
        local: home
        for what, (attribute, axes) in _SIDES.items()
        for local, home in gates(names, what, attribute, axes).items()
    }


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
    "elman": {what: Home(attribute, axes) for what, (attribute, axes) in _SIDES.items()},
    "lstm": _gated("input", "forget", "cell", "output"),
    "gru": _gated("reset", "update", "candidate") | {"candidate_bias": Home("candidate_bias")},
}
