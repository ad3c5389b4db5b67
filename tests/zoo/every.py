"""The three zoos under one roof: any model by framework and name, for tests and benchmarks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

ARCHITECTURES = (
    "lenet", "alexnet", "vgg11", "resnet18", "mobilenet_v2", "unet",
    "lstm_text", "gru_text", "mlp_mixer", "shared_layers",
)  # fmt: skip
"""What every zoo has, in its own framework's words."""
APPLICATIONS = {"MobileNetV2": 64, "ResNet50": 64, "DenseNet121": 64}
"""Models of ``keras.applications`` and the pixels on a side they are built for."""


def build(framework: str, name: str) -> tuple[Any, tuple[int, ...] | None, bool]:
    """Return (a model with values of its own in every array, one input's shape with channels last
    where the model does not say it, whether inputs are indices)."""
    zoo = import_module(f"{framework}_zoo")
    if framework == "torch":
        return (zoo.build(name), *zoo.ZOO[name][1:])
    if framework == "jax":
        found: tuple[Any, tuple[int, ...], bool] = zoo.make(name)
        return found
    if name in APPLICATIONS:
        return application(name), None, False
    return zoo.shake(zoo.MODELS[name]()), None, False


def application(name: str) -> Any:
    """Return a model of ``keras.applications``, random weights, moved statistics, 10 classes."""
    import keras
    from keras_zoo import shake

    side = APPLICATIONS[name]
    keras.utils.set_random_seed(1)
    make = getattr(keras.applications, name)
    model = make(weights=None, input_shape=(side, side, 3), classes=10)
    return shake(model)
