"""Constants of a user's PyTorch optimizer and loss, read back from the live objects.

In the words of the spec; what a class does beyond its constants is for probing to find out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn, optim
from torch.nn import functional

_Group = dict[str, Any]


def optimizer_factors(optimizer: optim.Optimizer) -> dict[str, Any]:
    """Return the constants of every param group; of the second on, where they differ.

    Of a class of the user's own the rate alone: what it does with its constants isn't known.
    """
    read = next((reader for kind, reader in _RULES if type(optimizer) is kind), None)
    found: dict[str, Any] = {}
    for number, group in enumerate(optimizer.param_groups, start=1):
        rule = read(group) if read else {}
        rule |= {"rate at update 0": float(group["lr"])} if "lr" in group else {}
        own = {f"optimizer.{key}": value for key, value in rule.items()}
        if number == 1:
            found = own
            continue
        # A group of its own is a factor only where it says something else.
        others = {key: value for key, value in own.items() if found.get(key) != value}
        found |= {f"{key} (group {number})": value for key, value in others.items()}
    return found


def _sgd(group: _Group) -> dict[str, Any]:
    return {
        "rule": "sgd",
        "momentum": float(group["momentum"]),
        "dampening": float(group["dampening"]),
        "nesterov": bool(group["nesterov"]),
        "rate_in_buffer": False,
        "l2": float(group["weight_decay"]),
    }


def _adam(group: _Group) -> dict[str, Any]:
    decoupled = bool(group.get("decoupled_weight_decay"))
    decay = float(group["weight_decay"])
    found = {
        "rule": "adamw" if decoupled and decay else "adam",
        "beta1": float(group["betas"][0]),
        "beta2": float(group["betas"][1]),
        "epsilon": float(group["eps"]),
        "epsilon_inside_root": False,
        "epsilon_before_correction": False,
        "l2": 0.0 if decoupled else decay,
        "weight_decay": decay if decoupled else 0.0,
    }
    return found | ({"amsgrad": True} if group["amsgrad"] else {})


def _rmsprop(group: _Group) -> dict[str, Any]:
    return {
        "rule": "rmsprop",
        "decay": float(group["alpha"]),
        "epsilon": float(group["eps"]),
        "epsilon_inside_root": False,
        "momentum": float(group["momentum"]),
        "centered": bool(group["centered"]),
        "l2": float(group["weight_decay"]),
    }


def _adagrad(group: _Group) -> dict[str, Any]:
    found = {
        "rule": "adagrad",
        "epsilon": float(group["eps"]),
        "epsilon_inside_root": False,
        "initial": float(group["initial_accumulator_value"]),
        "l2": float(group["weight_decay"]),
    }
    return found | ({"lr_decay": float(group["lr_decay"])} if group["lr_decay"] else {})


_RULES: tuple[tuple[type, Callable[[_Group], dict[str, Any]]], ...] = (
    (optim.SGD, _sgd),
    (optim.Adam, _adam),
    (optim.AdamW, lambda group: _adam(group | {"decoupled_weight_decay": True})),
    (optim.RMSprop, _rmsprop),
    (optim.Adagrad, _adagrad),
)


def loss_factors(loss: Any) -> dict[str, Any]:
    """Return the constants of a loss that PyTorch brings along; nothing for the user's own."""
    functions: dict[Any, nn.Module] = {
        functional.mse_loss: nn.MSELoss(),
        functional.l1_loss: nn.L1Loss(),
        functional.huber_loss: nn.HuberLoss(),
        functional.smooth_l1_loss: nn.SmoothL1Loss(),
        functional.cross_entropy: nn.CrossEntropyLoss(),
        functional.binary_cross_entropy: nn.BCELoss(),
        functional.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss(),
    }
    module = loss if isinstance(loss, nn.Module) else functions.get(loss)
    own = _LOSSES.get(type(module), lambda m: None)(module)
    if module is None or own is None:
        return {}
    return {f"loss.{key}": value for key, value in (own | {"reduction": module.reduction}).items()}


_LOSSES: dict[type, Callable[[Any], dict[str, Any] | None]] = {
    nn.MSELoss: lambda m: {"kind": "squared", "factor": 1.0},
    nn.L1Loss: lambda m: {"kind": "absolute", "factor": 1.0},
    nn.HuberLoss: lambda m: {"kind": "huber", "delta": float(m.delta), "factor": 1.0},
    # Huber / beta
    nn.SmoothL1Loss: lambda m: {"kind": "huber", "delta": float(m.beta), "factor": 1.0 / m.beta},
    nn.CrossEntropyLoss: lambda m: {"kind": "cross_entropy", "from_logits": True},
    nn.BCELoss: lambda m: {"kind": "binary_cross_entropy", "from_logits": False},
    nn.BCEWithLogitsLoss: lambda m: {"kind": "binary_cross_entropy", "from_logits": True},
}
