"""Hypotheses about objectives: other constants, reductions, losses, targets, examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from triptych.backends.protocol import Evaluation
from triptych.learn.objectives import (
    PrioritisedQLearning,
    QLearning,
    Supervised,
    huber,
    reduce,
    squared,
    take,
)
from triptych.spec.objective import CrossEntropy, SquaredError, TDHuber, TDSquared


@dataclass(frozen=True)
class Idea:
    """A hypothesis: the factor, both sides' words, and the right's objective."""

    factor: str
    left: Any
    right: Any
    objective: Any
    leaky: bool = False


@dataclass(frozen=True)
class Search:
    """A hypothesis with a number to find; ``name(number)`` may name a more special factor."""

    factor: str
    left: float
    make: Callable[[float], Any]
    starts: tuple[float, ...]
    name: Callable[[float], str | None] = lambda number: None
    positive: bool = False


def vary(source: Any, /, **changes: Any) -> Any:
    """Return a copy of an objective with attributes or methods replaced."""
    own = object.__new__(type(source))
    own.__dict__.update(dict(source.__dict__) | changes)
    return own


def ideas(objective: Any, size: int, outputs: int) -> Iterator[Idea | Search]:
    """Yield the hypotheses about an objective, the likeliest first.

    Args:
        objective: the left's.
        size: examples in a batch.
        outputs: of the network.
    """
    if isinstance(objective, QLearning):
        yield from _constants(objective)
        yield from _loss(objective)
        yield from _targets(objective)
    elif isinstance(objective, Supervised):
        yield from _loss(objective)
        yield from _supervised(objective)
    yield from _whole(objective, size, outputs)


def _constants(objective: QLearning) -> Iterator[Idea | Search]:
    """The discount and what may have become of it; how transitions were drawn."""
    if isinstance(objective, PrioritisedQLearning):
        even = vary(objective, losses=partial(QLearning.losses, objective))
        yield Idea("prioritised-replay", "weighted", "not weighted", even)
    if objective.n_step > 1:  # then the batch holds the discounts
        words = (f"discounts of up to {objective.n_step} steps", "the discount of one step")
        yield Idea("n-step", *words, vary(objective, n_step=1))
        return
    own = objective.discount
    rounded = float(np.float32(own))
    if rounded != own:
        changed = vary(objective, discount=rounded)
        yield Idea("constant-through-float32", own, rounded, changed)
    make: Callable[[float], Any] = lambda c: vary(objective, discount=c)  # noqa: E731
    yield Search("discount", own, make, (own, 0.0, 0.9, 1.0), lambda c: _steps(own, c))


def _steps(own: float, found: float) -> str | None:
    """Whether a discount is the left's over several steps."""
    powers = [own**count for count in range(2, 11)]
    return "n-step" if any(abs(found - power) <= 1e-9 for power in powers) else None


def _loss(objective: Any) -> Iterator[Idea | Search]:
    """Another kind of loss, delta, factor or reduction."""
    own = objective.objective
    for reduction in {"mean", "sum"} - {own.reduction}:
        changed = _with(objective, reduction=reduction)
        yield Idea("loss-reduction", own.reduction, reduction, changed)
    if hasattr(own, "factor"):
        for factor in (0.5 * own.factor, 2.0 * own.factor):
            yield Idea("loss-half", own.factor, factor, _with(objective, factor=factor))
    if hasattr(own, "delta"):
        starts = (own.delta, 0.1, 0.5, 2.0, 10.0)
        make: Callable[[float], Any] = lambda c: _with(objective, delta=c)  # noqa: E731
        yield Search("huber-delta", own.delta, make, starts, positive=True)
    yield from _kinds(objective)


def _kinds(objective: Any) -> Iterator[Idea]:
    """The other losses of the same batch, and a clipped error."""
    own = objective.objective
    others: dict[type, tuple[Any, ...]] = {
        TDSquared: (TDHuber(),),
        TDHuber: (TDSquared(), TDSquared(factor=0.5)),
    }
    for other in others.get(type(own), ()):
        other = replace(other, reduction=own.reduction)
        yield Idea("loss-kind", own.name, other.name, vary(objective, objective=other))
    for name, function in _ERRORS.items():
        yield Idea("loss-kind", own.name, name, _by_error(objective, function))
    if type(own) in (TDSquared, SquaredError):
        clipped = _by_error(objective, lambda xp, e: squared(xp, _held(xp, e, 1.0), own.factor))
        yield Idea("loss-clipping", "none", "errors held within 1", clipped)


_ERRORS: dict[str, Callable[[Any, Any], Any]] = {
    "absolute": lambda xp, e: xp.abs(e),
    "log_cosh": lambda xp, e: xp.abs(e) + np.log1p(np.exp(-2.0 * np.abs(e))) - np.log(2.0),
    "huber": lambda xp, e: huber(xp, e, 1.0),
}


def _held(xp: Any, error: Any, limit: float) -> Any:
    high = xp.where(error > limit, limit + 0.0 * error, error)
    return xp.where(high < -limit, -limit + 0.0 * error, high)


def _by_error(objective: Any, function: Callable[[Any, Any], Any]) -> Any:
    """An objective that reduces a function of the error."""

    def loss(xp: Any, outputs: Any, batch: Any) -> Any:
        reduction = objective.objective.reduction
        if isinstance(objective, QLearning):
            target = xp.stop_gradient(objective.target(xp, outputs, batch))
            values = function(xp, take(xp, outputs["q"], batch["action"]) - target)
            if isinstance(objective, PrioritisedQLearning):
                values = batch["weight"] * values
        else:
            values = xp.sum(function(xp, outputs["output"] - batch["target"]), axis=1)
        return reduce(xp, values, reduction)

    return vary(objective, loss=loss)


def _targets(objective: QLearning) -> Iterator[Idea]:
    """What the target is made of: ends of episodes, the value, rewards."""
    for words, ends in _ENDS.items():
        factor = "truncation" if "truncated" in words else "terminal-handling"
        yield Idea(factor, "terminated alone", words, _ending(objective, ends))
    yield from doubles(objective)
    chosen = objective.evaluations[:2]
    later = chosen[1].network
    for words, change in _REWARDS.items():
        changed = _rewarded(objective, change)
        yield Idea("reward-clipping", "as it is", words, changed)
    now = vary(objective, evaluations=(chosen[0], replace(chosen[1], input="observation")))
    yield Idea("target-update", "value of the next observation", "value of the same one", now)
    opened = Evaluation("next_q", "online", "next_observation", gradient=True)
    leaky = vary(objective, evaluations=(chosen[0], opened, *objective.evaluations[2:]))
    yield Idea("target-gradient", "stops at the target", "flows through the target", leaky, True)
    if later == "target":
        online = replace(chosen[1], network="online")
        own = vary(objective, evaluations=(chosen[0], online, *objective.evaluations[2:]))
        yield Idea("target-update", "target network", "online network", own)


def doubles(objective: QLearning) -> Iterator[Idea]:
    """Double Q-learning or not, the other way than the left."""
    chosen = objective.evaluations[:2]
    if objective.double:
        single = vary(objective, double=False, evaluations=chosen)
        yield Idea("double-q", True, False, single)
    else:
        extra = Evaluation("next_choice", "online", "next_observation", gradient=False)
        yield Idea(
            "double-q", False, True, vary(objective, double=True, evaluations=(*chosen, extra))
        )


_ENDS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda batch: np.zeros_like(np.asarray(batch["terminated"])),
    "everything": lambda batch: np.ones_like(np.asarray(batch["terminated"])),
    "the opposite": lambda batch: ~np.asarray(batch["terminated"]).astype(bool),
    "terminated or truncated": lambda batch: (
        np.asarray(batch["terminated"]).astype(bool) | np.asarray(batch["truncated"]).astype(bool)
    ),
    "truncated alone": lambda batch: np.asarray(batch["truncated"]),
}
"""What ends an episode's value, as the flag that takes ``terminated``'s place."""

_REWARDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "held within 1": lambda reward: np.clip(reward, -1.0, 1.0),
    "its sign": np.sign,
    "nothing": np.zeros_like,
    "whole numbers": np.trunc,
}


def _ending(objective: QLearning, ends: Callable[[Any], Any]) -> Any:
    own = objective.loss
    return vary(
        objective,
        loss=lambda xp, outputs, batch: own(xp, outputs, dict(batch) | {"terminated": ends(batch)}),
    )


def _rewarded(objective: QLearning, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    own = objective.loss
    return vary(
        objective,
        loss=lambda xp, outputs, batch: own(
            xp, outputs, dict(batch) | {"reward": change(np.asarray(batch["reward"]))}
        ),
    )


def _supervised(objective: Supervised) -> Iterator[Idea]:
    """Probabilities taken for logits, probabilities clipped, means over outputs."""
    if not isinstance(objective.objective, CrossEntropy):
        return
    own, reduction = objective.loss, objective.objective.reduction

    def twice(xp: Any, outputs: Any, batch: Any) -> Any:
        shares = np.exp(xp.log_softmax(outputs["output"], axis=1))
        return own(xp, {"output": shares}, batch)

    def bare(xp: Any, outputs: Any, batch: Any) -> Any:
        shares = outputs["output"] / np.sum(outputs["output"], axis=1, keepdims=True)
        return reduce(xp, -np.log(take(xp, shares, batch["target"])), reduction)

    yield Idea(
        "from-logits", "logits", "logits through one softmax more", vary(objective, loss=twice)
    )
    yield Idea("from-logits", "logits", "probabilities", vary(objective, loss=bare))
    for limit in (1e-7, 1e-6, 1e-8, 1e-5, 1e-4, 1e-3, 1e-2):
        clipped = vary(objective, loss=_clipped(limit, reduction))
        yield Idea("loss-clipping", "none", f"probabilities within {limit:g}", clipped)


def _clipped(limit: float, reduction: str) -> Callable[[Any, Any, Any], Any]:
    """Cross-entropy of probabilities held within [limit, 1 - limit], as Keras' is."""

    def loss(xp: Any, outputs: Any, batch: Any) -> Any:
        shares = np.clip(np.exp(xp.log_softmax(outputs["output"], axis=1)), limit, 1.0 - limit)
        return reduce(xp, -np.log(take(xp, shares, batch["target"])), reduction)

    return loss


def _whole(objective: Any, size: int, outputs: int) -> Iterator[Idea | Search]:
    """Any objective: times a number, or on a part of the batch."""
    for words, factor in (
        ("outputs", outputs),
        ("examples", size),
        ("all entries", size * outputs),
    ):
        for times in (1.0 / factor, float(factor)):
            per = f"{'times' if times > 1 else 'over'} the number of {words}"
            yield Idea("loss-reduction", "as it is", per, _scaled(objective, times))
    for times in (0.5, 2.0):
        yield Idea("loss-half", 1.0, times, _scaled(objective, times))
    for count in range(1, size):
        yield Idea("batch-size", size, count, _first(objective, count))
    yield Search("loss-reduction", 1.0, lambda c: _scaled(objective, c), (1.0,))


def _scaled(objective: Any, times: float) -> Any:
    own = objective.loss
    return vary(objective, loss=lambda xp, outputs, batch: times * own(xp, outputs, batch))


def _first(objective: Any, count: int) -> Any:
    """The loss of the first examples alone."""
    own = objective.loss

    def loss(xp: Any, outputs: Any, batch: Any) -> Any:
        short = {name: values[:count] for name, values in outputs.items()}
        return own(xp, short, {key: values[:count] for key, values in batch.items()})

    return vary(objective, loss=loss)


def _with(objective: Any, **changes: Any) -> Any:
    known = {item.name for item in fields(objective.objective)}
    assert set(changes) <= known
    return vary(objective, objective=replace(objective.objective, **changes))
