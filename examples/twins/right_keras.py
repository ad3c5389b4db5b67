"""A small picture classifier in Keras, as one would write it by hand.

Its twin is ``left_torch.py``. ``setup`` is what Triptych calls; run the file to train.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from shapes import pictures

RATE = 1e-3


def make_model() -> keras.Model:
    """conv 8 3x3 relu -> conv 16 3x3 relu -> flatten -> dense 32 relu -> dense 3."""
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(3),
        ]
    )


def data(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 8, 8, 1) and labels."""
    images, labels = pictures(count, seed)
    return images[..., None], labels


def setup() -> dict:
    """What this training consists of."""
    return {
        "model": make_model(),
        "optimizer": keras.optimizers.Adam(RATE),
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "batch": data(32),
    }


def main() -> None:
    """Train for 300 updates and test."""
    own = setup()
    model = own["model"]
    model.compile(optimizer=own["optimizer"], loss=own["loss"], metrics=["accuracy"])
    for step in range(300):
        value, _ = model.train_on_batch(*data(32, seed=step), return_dict=False)
        model.reset_metrics()
    _, right = model.evaluate(*data(1000, seed=10_000), verbose=0)
    print(f"loss {value:.3f}, {right:.1%} of 1,000 new pictures right")


if __name__ == "__main__":
    main()
