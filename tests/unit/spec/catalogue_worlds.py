"""The small objects that code on the catalogue's pages works on: one world for each framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SIZES = {"i": 4, "o": 4, "h": 4, "c": 4, "n": 4, "g": 2, "rate": 0.25, "gamma": 0.9, "t": 3}
CONSTANTS = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "lr": 1e-3}
IMAGE = np.ones((2, 8, 8, 4), np.float32)


def _shared(name: str) -> dict[str, Any]:
    kernel = np.ones((4, 4) if name.startswith("dense") else (3, 3, 4, 4), np.float32)
    weight = np.ones((4, 4) if name.startswith("dense") else (4, 4, 3, 3), np.float32)
    if name == "gate-order":
        kernel, weight = np.ones((4, 12), np.float32), np.ones((12, 4), np.float32)
    arrays = {"kernel": kernel, "weight": weight, "weight_ih": weight, "bias": np.ones(4)}
    return SIZES | CONSTANTS | arrays | {"numpy": np}


def torch_world(name: str) -> dict[str, Any]:
    import torch
    from torch import nn

    gates = name in ("gate-order", "forget-bias", "recurrent-biases")
    layer = {"gate-order": nn.GRU(4, 4)}.get(name, nn.LSTM(4, 4) if gates else nn.Linear(4, 4))
    x = torch.ones(2, 4, 8, 8)
    if name == "same-padding-side":
        layer = nn.Conv2d(4, 4, 3)
    if name.startswith("recurrent") or name in ("dense", "activation"):
        x = torch.ones(2, 5, 4)
    params = [nn.Parameter(torch.zeros(3, 3))]
    params[0].grad = torch.ones(3, 3)
    optimizer = torch.optim.SGD(params, lr=0.1)
    model = nn.Sequential(nn.Linear(4, 4))
    row = torch.ones(2)
    own = {"torch": torch, "layer": layer, "x": x, "params": params, "optimizer": optimizer}
    own |= {"model": model, "w": torch.zeros(3, 3), "output": row, "target": row, "r": row}
    own |= {"terminated": row.bool(), "q": lambda s: torch.ones(2, 3), "next": row}
    own |= {"p": params[0], "m": torch.ones(3, 3), "v": torch.ones(3, 3), "lengths": [5, 3]}
    data = torch.utils.data.TensorDataset(torch.ones(4, 2))
    return _shared(name) | own | {"data": data, "order": [3, 1, 0, 2]}


def keras_world(name: str) -> dict[str, Any]:
    import keras
    import tensorflow as tf

    x = keras.ops.convert_to_tensor(IMAGE)
    layer: Any = keras.layers.Conv2D(4, 3)
    if name.startswith("dense"):
        layer = keras.layers.Dense(4)
        layer.build((1, 4))
    else:
        layer = keras.layers.Conv2DTranspose(4, 3) if name.startswith("trans") else layer
        layer.build((1, 8, 8, 4))
    if name.startswith("recurrent"):
        x = x[:, :, 0]
    row = keras.ops.ones(2)
    model = keras.Sequential([keras.layers.Dense(4)])
    own = {"keras": keras, "tf": tf, "x": x, "layer": layer, "model": model, "r": row}
    return (
        _shared(name) | own | {"target": row, "terminated": row, "q_next": keras.ops.ones((2, 3))}
    )


def jax_world(name: str) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    rngs, x = nnx.Rngs(0), jnp.asarray(IMAGE)
    cell = nnx.GRUCell(4, 4, rngs=rngs) if name == "gate-order" else None
    cell = cell or nnx.OptimizedLSTMCell(4, 4, rngs=rngs)
    layer: Any = nnx.Linear(4, 4, rngs=rngs)
    if name.startswith("conv"):
        layer = nnx.Conv(4, 4, (3, 3), rngs=rngs)
    if name.startswith("recurrent"):
        x = x[:, :, 0]
    if name == "resize":
        x = jnp.ones((4, 160, 160, 4))
    row, logits = jnp.ones(2), jnp.ones((2, 3))
    own = {"jax": jax, "jnp": jnp, "optax": optax, "nnx": nnx, "rngs": rngs, "x": x, "cell": cell}
    own |= {"layer": layer, "model": nnx.Sequential(layer), "target": row, "output": row, "r": row}
    own |= {"terminated": row, "q_next": logits, "one_hot": logits, "lengths": jnp.array([5, 3])}
    labels = {"loss-clipping": (row, row)}.get(name, (logits, jnp.array([0, 1])))
    own |= {"z": labels[0], "y": labels[1]}
    if name == "loss-half":
        own |= {"o": row, "t": row}
    return _shared(name) | own


WORLDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "torch": torch_world,
    "keras": keras_world,
    "jax": jax_world,
}
