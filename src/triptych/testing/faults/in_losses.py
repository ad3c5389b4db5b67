"""Faults in losses, targets and gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from triptych.backends.protocol import Evaluation
from triptych.learn.objectives import QLearning, huber, reduce, squared, take
from triptych.parity.subject import Subject
from triptych.spec.objective import TDHuber
from triptych.testing.faults.fault import Fault, objective

Loss = Callable[[Any, Any, Any], Any]


def _options(**changes: Any) -> Callable[[Any], Any]:
    """The objective's parameters with fields replaced."""
    return lambda own: replace(own.objective, **changes)


def _times(factor: float) -> Callable[[Any], Loss]:
    return lambda own: lambda xp, outputs, batch: factor * own.loss(xp, outputs, batch)


def _on(change: Callable[[Any, Any], Any]) -> Callable[[Any], Loss]:
    """The loss of a changed batch."""
    return lambda own: (
        lambda xp, outputs, batch: own.loss(xp, outputs, dict(batch) | change(xp, batch))
    )


def _first_half(own: Any) -> Loss:
    """The loss of the first eight examples alone."""

    def loss(xp: Any, outputs: Any, batch: Any) -> Any:
        short = {name: values[:8] for name, values in outputs.items()}
        return own.loss(xp, short, {key: values[:8] for key, values in batch.items()})

    return loss


def _by_error(function: Callable[[Any, Any], Any]) -> Callable[[Any], Loss]:
    """The mean of a function of the temporal-difference error."""

    def make(own: Any) -> Loss:
        def loss(xp: Any, outputs: Any, batch: Any) -> Any:
            target = xp.stop_gradient(own.target(xp, outputs, batch))
            return xp.mean(function(xp, take(xp, outputs["q"], batch["action"]) - target))

        return loss

    return make


def _clipped_error(xp: Any, error: Any) -> Any:
    """The square of the error held within 1."""
    return xp.where(xp.abs(error) <= 1.0, xp.square(error), 0.0 * error + 1.0)


def _leaky(own: Any) -> Loss:
    """The loss without its stop_gradient."""

    def loss(xp: Any, outputs: Any, batch: Any) -> Any:
        names = [name for name in dir(xp) if not name.startswith("_")]
        bare = SimpleNamespace(**{name: getattr(xp, name) for name in names})
        bare.stop_gradient = lambda x: x
        return type(own).loss(own, bare, outputs, batch)

    return loss


def _twice_softmaxed(own: Any) -> Loss:
    """Cross-entropy of probabilities that are taken for logits once more."""

    def loss(xp: Any, outputs: Any, batch: Any) -> Any:
        logs = xp.log_softmax(outputs["output"], axis=1)
        shares = 2.718281828459045**logs
        return xp.mean(-take(xp, xp.log_softmax(shares, axis=1), batch["target"]))

    return loss


def _held_probabilities(own: Any) -> Loss:
    """Cross-entropy of probabilities held within [1e-2, 1 - 1e-2]."""

    def loss(xp: Any, outputs: Any, batch: Any) -> Any:
        logs = take(xp, xp.log_softmax(outputs["output"], axis=1), batch["target"])
        low, high = float(np.log(1e-2)), float(np.log1p(-1e-2))
        held = xp.where(logs < low, 0.0 * logs + low, logs)
        return xp.mean(-xp.where(held > high, 0.0 * held + high, held))

    return loss


def _online(own: Any) -> Any:
    return (own.evaluations[0], replace(own.evaluations[1], network="online"))


def _doubled(own: Any) -> Any:
    extra = Evaluation("next_choice", "online", "next_observation", gradient=False)
    return (*own.evaluations, extra)


def _open(own: Any) -> Any:
    return (own.evaluations[0], replace(own.evaluations[1], gradient=True))


def _still_bias(learner: Any, subject: Subject) -> None:
    """A bias whose gradient a hook sets to zero."""
    learner.model.get_submodule("dense1").bias.register_hook(lambda gradient: gradient * 0.0)


def _ends(change: Callable[[Any, Any], Any]) -> Callable[[Any], Loss]:
    return _on(lambda xp, batch: {"terminated": change(xp, batch)})


def _rewards(change: Callable[[Any, Any], Any]) -> Callable[[Any], Loss]:
    return _on(lambda xp, batch: {"reward": change(xp, batch["reward"])})


def _within_one(xp: Any, reward: Any) -> Any:
    low = xp.where(reward < -1.0, 0.0 * reward - 1.0, reward)
    return xp.where(low > 1.0, 0.0 * low + 1.0, low)


FAULTS = (
    Fault(
        "sum for mean", "loss-reduction", 3, "sgd", "jax", "torch",
        subject=objective(objective=_options(reduction="sum")),
    ),
    Fault(
        "hidden sum for mean", "loss-reduction", 3, "plain adam", "torch", "jax",
        subject=objective(loss=_times(16.0)),
    ),
    Fault(
        "half the squared error", "loss-half", 3, "sgd", "keras", "jax",
        subject=objective(objective=_options(factor=0.5)),
    ),
    Fault(
        "twice the Huber loss", "loss-half", 3, "huber", "torch", "jax",
        subject=objective(loss=_times(2.0)),
    ),
    Fault(
        "Huber for squared", "loss-kind", 3, "target", "keras", "torch",
        subject=objective(objective=lambda own: TDHuber()),
    ),
    Fault(
        "absolute for squared", "loss-kind", 3, "target", "torch", "jax",
        subject=objective(loss=_by_error(lambda xp, error: xp.abs(error))),
    ),
    Fault(
        "delta 0.5 for 1", "huber-delta", 3, "huber", "jax", "keras",
        subject=objective(loss=_by_error(lambda xp, error: huber(xp, error, 0.5))),
    ),
    Fault(
        "error held within 1", "loss-clipping", 3, "target", "jax", "torch",
        subject=objective(loss=_by_error(_clipped_error)),
    ),
    Fault(
        "mean over outputs", "loss-reduction", 3, "regression", "keras", "torch",
        subject=objective(
            loss=lambda own: lambda xp, outputs, batch: reduce(
                xp, squared(xp, outputs["output"] - batch["target"], 1.0), "mean"
            )
        ),
    ),
    Fault(
        "softmax before cross-entropy", "from-logits", 3, "classes", "jax", "torch",
        subject=objective(loss=_twice_softmaxed),
    ),
    Fault(
        "probabilities held within 0.01", "loss-clipping", 3, "classes", "torch", "jax",
        subject=objective(loss=_held_probabilities),
    ),
    Fault(
        "half of the batch", "batch-size", 3, "target", "torch", "jax",
        subject=objective(loss=_first_half),
    ),
    Fault(
        "discount 0.9 for 0.8", "discount", 3, "target", "keras", "jax",
        subject=objective(discount=0.9),
    ),
    Fault(
        "discount through float32", "constant-through-float32", 3, "sgd", "keras", "torch",
        subject=objective(discount=float(np.float32(0.8))),
    ),
    Fault(
        "discount of three steps", "n-step", 3, "target", "jax", "torch",
        subject=objective(discount=0.8**3),
    ),
    Fault(
        "discount of one step for three", "n-step", 3, "several steps", "keras", "torch",
        subject=objective(n_step=1),
    ),
    Fault(
        "weights of priorities ignored", "prioritised-replay", 3, "priorities", "jax", "keras",
        subject=objective(losses=lambda own: partial(QLearning.losses, own)),
    ),
    Fault(
        "end of episode ignored", "terminal-handling", 3, "sgd", "torch", "jax",
        subject=objective(loss=_ends(lambda xp, batch: batch["terminated"] & False)),
    ),
    Fault(
        "truncation taken for an end", "truncation", 3, "target", "jax", "torch",
        subject=objective(
            loss=_ends(lambda xp, batch: batch["terminated"] | batch["truncated"])
        ),
    ),
    Fault(
        "rewards held within 1", "reward-clipping", 3, "target", "keras", "torch",
        subject=objective(loss=_rewards(_within_one)),
    ),
    Fault(
        "gradient through the target", "target-gradient", 4, "own target", "torch", "jax",
        subject=objective(evaluations=_open, loss=_leaky),
    ),
    Fault(
        "gradient through the target in Keras", "target-gradient", 4, "own target",
        "keras", "torch", subject=objective(evaluations=_open, loss=_leaky),
    ),
    Fault(
        "a bias that does not learn", "bias", 4, "adam", "torch", "jax", touch=_still_bias,
    ),
    Fault(
        "online network as its own target", "target-update", 5, "target", "keras", "torch",
        subject=objective(evaluations=_online),
    ),
    Fault(
        "double Q-learning", "double-q", 5, "target", "jax", "torch",
        subject=objective(double=True, evaluations=_doubled),
    ),
)  # fmt: skip
