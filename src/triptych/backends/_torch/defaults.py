"""Fresh PyTorch objects with nothing said but sizes, for ``triptych defaults``.

Each maker is what a user would write first. What the objects then do is found out elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from triptych.backends.making import (
    CHANNELS,
    FEATURES,
    FILTERS,
    INPUTS,
    KERNEL,
    STATE,
    STEPS,
    TABLE,
    UNITS,
    WIDTH,
    Arrays,
    Function,
    Layer,
    Play,
    Rule,
)


def _image(module: nn.Module) -> Callable[[np.ndarray, bool], np.ndarray]:
    """Call a module of channels-first images."""
    module = module.double()

    def call(x: np.ndarray, training: bool) -> np.ndarray:
        module.train(training)
        with torch.no_grad():
            found: np.ndarray = module(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return np.asarray(found)

    return call


def _values(function: Callable[[Any], Any]) -> Function:
    return lambda x: np.asarray(function(torch.tensor(x)).detach())


def _loss(function: Callable[..., Any]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda output, target: np.asarray(function(torch.tensor(output), torch.tensor(target)))


def _dense() -> Layer:
    module = nn.Linear(FEATURES, UNITS)
    return Layer({"kernel": np.asarray(module.weight.detach()).T, "bias": _array(module.bias)})


def _conv() -> Layer:
    module = nn.Conv2d(CHANNELS, FILTERS, KERNEL)
    kernel = _array(module.weight).transpose(2, 3, 1, 0)
    small = nn.Conv2d(1, 2, 3)
    return Layer({"kernel": kernel, "bias": _array(module.bias)}, _image(small))


def _embedding() -> Layer:
    return Layer({"kernel": _array(nn.Embedding(*TABLE).weight)})


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach())


def _batch_norm() -> Layer:
    module = nn.BatchNorm1d(WIDTH).double()
    fresh = {name: value.clone() for name, value in module.state_dict().items()}
    names = {"mean": "running_mean", "variance": "running_var", "scale": "weight", "offset": "bias"}

    def call(x: np.ndarray, training: bool) -> np.ndarray:
        module.load_state_dict(fresh)
        module.train(training)
        return _array(module(torch.tensor(x)))

    def moved(x: np.ndarray) -> Arrays:
        call(x, True)
        return {name: _array(module.get_buffer(names[name])) for name in ("mean", "variance")}

    return Layer({name: np.asarray(fresh[key]) for name, key in names.items()}, call, moved)


def _layer_norm() -> Layer:
    module = nn.LayerNorm(WIDTH).double()
    return Layer(call=lambda x, _: _array(module(torch.tensor(x))))


def _dropout() -> Layer:
    module = nn.Dropout()

    def call(x: np.ndarray, training: bool) -> np.ndarray:
        module.train(training)
        return np.asarray(module(torch.tensor(x)))

    return Layer(call=call)


def _recurrent(kind: type[nn.RNNBase], forget: slice | None) -> Layer:
    """The gates' rows side by side; ``forget`` are the forget gate's."""
    cell: Any = kind(INPUTS, STATE)
    arrays: dict[str, Any] = {
        "kernel": _array(cell.weight_ih_l0).T,
        "recurrent_kernel": _array(cell.weight_hh_l0).T,
        "bias": _array(cell.bias_ih_l0),
        "recurrent_bias": _array(cell.bias_hh_l0),
    }
    if forget is not None:
        arrays["forget"] = arrays["bias"][forget] + arrays["recurrent_bias"][forget]
    return Layer(arrays)


def _play(
    make: Callable[[Any], torch.optim.Optimizer],
    clip: Callable[[Any], Any] | None = None,
    falls: bool = False,
) -> Play:
    """Apply gradients to fresh params; updates before ``first`` are made with zeros."""

    def play(gradients: Any, start: Arrays, first: int) -> list[Arrays]:
        params = {name: nn.Parameter(torch.tensor(value)) for name, value in start.items()}
        optimizer = make(list(params.values()))
        rates = torch.optim.lr_scheduler.MultiStepLR(optimizer, [STEPS]) if falls else None
        after = []
        for update in range(-first, len(gradients)):
            given = gradients[max(update, 0)]
            for name, param in params.items():
                own = torch.tensor(np.asarray(given[name], np.float64))
                param.grad = own if update >= 0 else torch.zeros_like(own)
                if update == 0:
                    param.data = torch.tensor(start[name])
            if clip:
                clip(list(params.values()))
            optimizer.step()
            if rates is not None:
                rates.step()
            if update >= 0:
                after.append({name: _array(param).copy() for name, param in params.items()})
        return after

    return play


DEFAULTS: dict[str, Callable[[], Any]] = {
    "dense": _dense,
    "conv": _conv,
    "embedding": _embedding,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "dropout": _dropout,
    "max_pool": lambda: Layer(call=_image(nn.MaxPool2d(3))),
    "average_pool": lambda: Layer(call=_image(nn.AvgPool2d(3, padding=1))),
    "lstm": lambda: _recurrent(nn.LSTM, slice(STATE, 2 * STATE)),
    "gru": lambda: _recurrent(nn.GRU, None),
    "leaky_relu layer": lambda: _values(nn.LeakyReLU()),
    "leaky_relu function": lambda: _values(F.leaky_relu),
    "elu function": lambda: _values(F.elu),
    "gelu layer": lambda: _values(nn.GELU()),
    "gelu function": lambda: _values(F.gelu),
    "hard_sigmoid function": lambda: _values(F.hardsigmoid),
    "softplus function": lambda: _values(F.softplus),
    "squared": lambda: _loss(nn.MSELoss()),
    "absolute": lambda: _loss(nn.L1Loss()),
    "huber": lambda: _loss(nn.HuberLoss()),
    "cross_entropy": lambda: _loss(nn.CrossEntropyLoss()),
    "binary_cross_entropy": lambda: _loss(nn.BCELoss()),
    "sgd": lambda: Rule(_play(torch.optim.SGD)),
    "momentum": lambda: Rule(
        _play(lambda params: torch.optim.SGD(params, momentum=0.9), falls=True)
    ),
    "adam": lambda: Rule(_play(torch.optim.Adam)),
    "adamw": lambda: Rule(_play(torch.optim.AdamW)),
    "rmsprop": lambda: Rule(_play(torch.optim.RMSprop)),
    "adagrad": lambda: Rule(_play(torch.optim.Adagrad)),
    "clip by norm": lambda: Rule(
        _play(
            lambda params: torch.optim.SGD(params, lr=1.0),
            lambda params: nn.utils.clip_grad_norm_(params, 1.0),
        )
    ),
    "decay of adam": lambda: Rule(_play(lambda params: torch.optim.Adam(params, weight_decay=0.1))),
}
"""A maker by subject; the subjects are those of ``parity/defaults.py``."""
