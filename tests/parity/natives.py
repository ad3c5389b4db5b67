"""One small network with every usual layer, by hand for each framework: setups to test with."""

from __future__ import annotations

from typing import Any

import numpy as np

SLOPE = 0.25  # exact in float32, which TensorFlow keeps it in
BATCH = 6


def data() -> tuple[np.ndarray, np.ndarray]:
    """Images (6, 9, 8, 2) and targets (6, 3)."""
    rng = np.random.default_rng(0)
    return rng.random((BATCH, 9, 8, 2)).astype("float32"), rng.random((BATCH, 3)).astype("float32")


def torch_setup() -> dict[str, Any]:
    """Channels first, pooling as a function, flattened as Keras does."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(2, 4, 3, padding=1)
            self.norm = nn.BatchNorm2d(4, eps=1e-3, momentum=0.1)
            self.second = nn.Conv2d(4, 5, 3, stride=2)
            self.drop = nn.Dropout(0.25)
            self.hidden, self.head = nn.Linear(20, 7), nn.Linear(7, 3)

        def forward(self, x: Any) -> Any:
            x = F.leaky_relu(self.norm(self.first(x)), SLOPE)
            x = F.max_pool2d(torch.relu(self.second(x)), 2, 1)
            x = x[:, :, :2, :2] if x.shape[2:] != (2, 2) else x
            x = self.drop(x).permute(0, 2, 3, 1).flatten(1)
            return torch.sigmoid(self.head(F.elu(self.hidden(x))))

    model, (images, targets) = Net(), data()
    return {
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters(), 1e-2),
        "loss": nn.MSELoss(),
        "batch": (torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(targets)),
    }


def keras_setup() -> dict[str, Any]:
    """Activations partly in the layers, partly beside them."""
    import keras
    from keras import layers

    images, targets = data()
    model = keras.Sequential(
        [
            layers.Input((9, 8, 2)),
            layers.Conv2D(4, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9),
            layers.LeakyReLU(SLOPE),
            layers.Conv2D(5, 3, strides=2, activation="relu"),
            layers.MaxPooling2D(2, 1),
            layers.Cropping2D(((0, 1), (0, 0))),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(7, activation="elu"),
            layers.Dense(3, activation="sigmoid"),
        ]
    )
    return {
        "model": model,
        "optimizer": keras.optimizers.Adam(1e-2),
        "loss": keras.losses.MeanSquaredError(),
        "batch": (images, targets),
    }


def jax_setup() -> dict[str, Any]:
    """Activations and pooling as functions."""
    import jax.numpy as jnp
    import optax
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Conv(2, 4, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(4, momentum=0.9, epsilon=1e-3, rngs=rngs)
            self.second = nnx.Conv(4, 5, (3, 3), strides=2, padding="VALID", rngs=rngs)
            self.drop = nnx.Dropout(0.25, rngs=rngs)
            self.hidden = nnx.Linear(20, 7, rngs=rngs)
            self.head = nnx.Linear(7, 3, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = nnx.leaky_relu(self.norm(self.first(x)), SLOPE)
            x = nnx.max_pool(nnx.relu(self.second(x)), (2, 2))[:, :2, :2]
            x = self.drop(x).reshape(len(x), -1)
            return nnx.sigmoid(self.head(nnx.elu(self.hidden(x))))

    return {
        "model": Net(nnx.Rngs(0)),
        "optimizer": optax.adam(1e-2),
        "loss": lambda output, target: jnp.mean((output - target) ** 2),
        "batch": data(),
    }


SETUPS = {"torch": torch_setup, "keras": keras_setup, "jax": jax_setup}
