"""Layers as frozen data, one small file per family, and the table that finds them by name.

A layer says what it computes (every constant pinned), which shapes it takes and gives, and which
parameters it has in the canonical layout. How a framework computes it is in the backends. Adding a
layer: a class in one of these files, and its builder in each backend's ``layers.py``, or
``recurrent.py`` for those over (time, features).
"""

from __future__ import annotations

from triptych.spec.layers.activation import (
    ELU,
    GELU,
    SELU,
    HardSigmoid,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from triptych.spec.layers.base import Activation, Layer, Parameter, Shape
from triptych.spec.layers.convolution import Conv, ConvTranspose
from triptych.spec.layers.core import Dense, Dropout, Embedding, Flatten, Input, Rescale
from triptych.spec.layers.merge import Add, Concatenate, Dueling, Multiply
from triptych.spec.layers.normalisation import BatchNorm, LayerNorm
from triptych.spec.layers.pooling import AveragePool, MaxPool
from triptych.spec.layers.recurrent import GRU, LSTM, Elman, Recurrent
from triptych.spec.layers.reshaping import Pad, Permute, Reshape

LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        *(Input, Rescale, Conv, ConvTranspose, Dense, Flatten, MaxPool, AveragePool),
        *(BatchNorm, LayerNorm, Dropout, Embedding, Add, Multiply, Concatenate, Dueling),
        *(Reshape, Permute, Pad),
        *(ReLU, ReLU6, LeakyReLU, ELU, SELU, GELU, SiLU, Sigmoid, HardSigmoid, Tanh),
        *(Softplus, Softmax, LogSoftmax, Elman, LSTM, GRU),
    )
}

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LAYERS",
    "LSTM",
    "SELU",
    "Activation",
    "Add",
    "AveragePool",
    "BatchNorm",
    "Concatenate",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Dropout",
    "Dueling",
    "Elman",
    "Embedding",
    "Flatten",
    "HardSigmoid",
    "Input",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool",
    "Multiply",
    "Pad",
    "Parameter",
    "Permute",
    "ReLU",
    "ReLU6",
    "Recurrent",
    "Rescale",
    "Reshape",
    "Shape",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]
