"""A Keras training as Triptych takes it: one function that returns its parts.

    triptych verify --left keras_setup.py:setup --right torch_setup.py:setup

``loss`` is called with (y_true, y_pred), a function or a loss object; clipping and schedule are the
optimizer's own. Build everything inside the function: Triptych calls it in float64 too.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers


def setup() -> dict:
    """Return a regression from 6 numbers to 2, freshly made at each call."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(16, 6)), rng.normal(size=(16, 2))
    model = keras.Sequential(
        [layers.Input((6,)), layers.Dense(12, activation="tanh"), layers.Dense(2)]
    )
    return {
        "model": model,
        "optimizer": keras.optimizers.SGD(0.05, momentum=0.9, clipvalue=0.5),
        "loss": keras.losses.MeanSquaredError(),
        "batch": (inputs.astype(np.float32), targets.astype(np.float32)),
    }
