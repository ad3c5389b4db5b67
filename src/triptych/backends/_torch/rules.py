"""Update rules as ``torch.optim`` optimizers, and clipping.

Where ``torch.optim`` computes the spec's formula it is used as it is (SGD, Adam, AdamW). RMSprop
and Adagrad put epsilon outside the root there, and Adam after the correction; the other places are
written out in :class:`Pinned`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule

# spec slot -> key in torch.optim's state
STATE_KEYS = {
    "momentum": "momentum_buffer",
    "first_moment": "exp_avg",
    "second_moment": "exp_avg_sq",
    "accumulator": "sum",
}


class Pinned(torch.optim.Optimizer):
    """Base of the rules that ``torch.optim`` cannot express; its state uses the same keys.

    ``defaults`` are the constants of the spec's rule, by the same names, in every param group.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, params: Iterable[nn.Parameter], lr: float, rule: Rule) -> None:
        self.slots = rule.slots
        super().__init__(params, {"lr": lr} | rule.factors())

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Make one update from the ``.grad`` of every parameter."""
        for group in self.param_groups:
            for param in group["params"]:
                state = self.state[param]
                if not state:
                    state["step"] = 0
                    for slot in self.slots:
                        start = group.get("initial", 0.0)
                        state[STATE_KEYS[slot]] = torch.full_like(param, start)
                state["step"] += 1
                grad = param.grad
                if group["l2"]:
                    grad = grad.add(param, alpha=group["l2"])
                self.change(param, grad, state, group)

    def change(self, param: Tensor, grad: Tensor, state: Any, group: Any) -> None:
        """Change one parameter in place."""
        raise NotImplementedError


def _divide(grad: Tensor, square: Tensor, group: Any) -> Tensor:
    """grad / (sqrt(square) + epsilon), or grad / sqrt(square + epsilon)."""
    if group["epsilon_inside_root"]:
        return grad / square.add(group["epsilon"]).sqrt_()
    return grad / square.sqrt().add_(group["epsilon"])


class PinnedRMSprop(Pinned):
    """RMSprop with epsilon on either side of the root."""

    def change(self, param: Tensor, grad: Tensor, state: Any, group: Any) -> None:
        """v = decay v + (1 - decay) g^2; p -= r g / root(v)."""
        square = state["exp_avg_sq"].mul_(group["decay"])
        square.addcmul_(grad, grad, value=1.0 - group["decay"])
        if group["centered"]:
            mean = state["exp_avg"].mul_(group["decay"]).add_(grad, alpha=1.0 - group["decay"])
            square = square - mean * mean
        step = _divide(grad, square, group)
        if group["momentum"]:
            step = state["momentum_buffer"].mul_(group["momentum"]).add_(step)
        param.add_(step, alpha=-group["lr"])


class PinnedAdagrad(Pinned):
    """Adagrad with epsilon on either side of the root."""

    def change(self, param: Tensor, grad: Tensor, state: Any, group: Any) -> None:
        """s = s + g^2; p -= r g / root(s)."""
        total = state["sum"].addcmul_(grad, grad)
        param.add_(_divide(grad, total, group), alpha=-group["lr"])


class PinnedAdam(Pinned):
    """Adam with epsilon in any of its three places, and with l2 beside a decoupled decay."""

    def change(self, param: Tensor, grad: Tensor, state: Any, group: Any) -> None:
        """The formulas of :class:`triptych.spec.rules.Adam`."""
        first, second, count = state["exp_avg"], state["exp_avg_sq"], state["step"]
        first.mul_(group["beta1"]).add_(grad, alpha=1.0 - group["beta1"])
        second.mul_(group["beta2"]).addcmul_(grad, grad, value=1.0 - group["beta2"])
        short1, short2 = 1.0 - group["beta1"] ** count, 1.0 - group["beta2"] ** count
        rate = group["lr"]
        if group.get("weight_decay"):
            param.mul_(1.0 - rate * group["weight_decay"])
        if group["epsilon_before_correction"]:
            step = first / second.sqrt().add_(group["epsilon"])
            param.add_(step, alpha=-rate * math.sqrt(short2) / short1)
        else:
            param.add_(_divide(first / short1, second / short2, group), alpha=-rate)


def build(rule: Rule, params: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the native optimizer of a rule; its rate is set before every step."""
    rate = rule.rate.value(0)
    if isinstance(rule, SGD):
        return torch.optim.SGD(
            params,
            lr=rate,
            momentum=rule.momentum,
            dampening=0.0,
            weight_decay=rule.l2,
            nesterov=rule.nesterov,
            maximize=False,
            fused=True,
        )
    if isinstance(rule, Adam) and not (rule.epsilon_inside_root or rule.epsilon_before_correction):
        native = torch.optim.AdamW if isinstance(rule, AdamW) else torch.optim.Adam
        if not (isinstance(rule, AdamW) and rule.l2):
            return native(
                params,
                lr=rate,
                betas=(rule.beta1, rule.beta2),
                eps=rule.epsilon,
                weight_decay=rule.weight_decay if isinstance(rule, AdamW) else rule.l2,
                amsgrad=False,
                maximize=False,
                fused=True,
            )
    pinned = {RMSprop: PinnedRMSprop, Adagrad: PinnedAdagrad, Adam: PinnedAdam, AdamW: PinnedAdam}
    return pinned[type(rule)](params, rate, rule)


def clip(params: list[nn.Parameter], limits: Clip) -> None:
    """Clip the ``.grad`` of all parameters in place, exactly as the spec says."""
    grads: list[Tensor] = [param.grad for param in params if param.grad is not None]
    if limits.value is not None:
        for grad in grads:
            grad.clamp_(-limits.value, limits.value)
    elif limits.norm is not None:
        for grad in grads:
            grad.mul_(limits.norm / torch.linalg.vector_norm(grad).clamp(min=limits.norm))
    elif limits.global_norm is not None:
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in grads]))
        torch._foreach_mul_(grads, limits.global_norm / norm.clamp(min=limits.global_norm))
