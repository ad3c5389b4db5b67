"""Faults in update rules: epsilon, corrections, decay, momentum, clipping, rates and schedules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triptych.parity.subject import Subject
from triptych.spec.rules import Adam, Clip
from triptych.spec.schedules import Constant, Schedule
from triptych.testing.faults import own_rules
from triptych.testing.faults.fault import Change, Fault, another_rule, rule
from triptych.testing.faults.wraps import OwnRule, OwnStep


@dataclass(frozen=True)
class Bent(Schedule):
    """Another schedule read ``ahead`` updates early, ``gain`` times as large from ``first`` on."""

    own: Schedule
    ahead: int = 0
    gain: float = 1.0
    first: int = 0

    def value(self, count: int) -> float:
        """The other schedule's value, changed."""
        gain = self.gain if count >= self.first else 1.0
        return gain * self.own.value(max(count + self.ahead, 0))


def bent(**options: Any) -> Change:
    """Return a change of the schedule alone."""
    return another_rule(lambda own: replace(own, rate=Bent(own.rate, **options)))


def by_hand(step: OwnStep) -> Any:
    """Return a touch that gives a learner a rule written by hand."""
    return lambda learner, subject: OwnRule(learner, step, subject)


def _own(make: Any) -> Any:
    """The same, with a step that keeps state of its own for each learner."""
    return lambda learner, subject: OwnRule(learner, make(), subject)


def _forget_counter(learner: Any, subject: Subject) -> None:
    """Adam's step counter set to zero before every step."""
    own = learner.optimizer.step

    def step() -> None:
        for state in learner.optimizer.state.values():
            if "step" in state:
                state["step"] = state["step"] * 0
        own()

    learner.optimizer.step = step


def _coupled(own: Any) -> Adam:
    return Adam(own.rate, epsilon=own.epsilon, l2=own.weight_decay)


EPSILONS = (
    Fault(
        "Keras' epsilon value", "epsilon", 5, "adam", "keras", "jax", subject=rule(epsilon=1e-7)
    ),
    Fault(
        "epsilon 1e-8 for 1e-5", "epsilon", 5, "plain adam", "torch", "jax",
        subject=rule(epsilon=1e-8),
    ),
    Fault(
        "epsilon 1.5e-4 for 1e-5", "epsilon", 5, "plain adam", "jax", "torch",
        subject=rule(epsilon=1.5e-4),
    ),
    Fault(
        "epsilon before the correction", "epsilon-place", 5, "adam", "torch", "jax",
        subject=rule(epsilon_before_correction=True),
    ),
    Fault(
        "epsilon inside the root", "epsilon-place", 5, "plain adam", "jax", "torch",
        subject=rule(epsilon_inside_root=True),
    ),
    Fault(
        "epsilon inside RMSprop's root", "epsilon-place", 5, "rmsprop", "keras", "torch",
        subject=rule(epsilon_inside_root=True),
    ),
    Fault(
        "RMSprop's epsilon 1e-7 for 1e-4", "epsilon", 5, "rmsprop", "torch", "jax",
        subject=rule(epsilon=1e-7),
    ),
    Fault(
        "epsilon inside Adagrad's root", "epsilon-place", 5, "adagrad", "jax", "torch",
        subject=rule(epsilon_inside_root=True),
    ),
)  # fmt: skip

MOMENTS = (
    Fault(
        "no bias correction", "bias-correction", 5, "plain adam", "jax", "torch",
        touch=by_hand(own_rules.uncorrected_adam(0.9, 0.999, 1e-5)),
    ),
    Fault(
        "counter of updates forgotten", "bias-correction", 5, "adam", "torch", "jax",
        touch=_forget_counter,
    ),
    Fault(
        "beta1 0.95 for 0.9", "adam-betas", 5, "plain adam", "keras", "jax",
        subject=rule(beta1=0.95),
    ),
    Fault(
        "beta2 0.99 for 0.999", "adam-betas", 5, "plain adam", "torch", "jax",
        subject=rule(beta2=0.99),
    ),
    Fault(
        "betas through float32", "constant-through-float32", 5, "plain adam", "keras", "torch",
        subject=rule(beta1=float(np.float32(0.9)), beta2=float(np.float32(0.999))),
    ),
    Fault(
        "decay 0.99 for 0.9", "rmsprop-decay", 5, "rmsprop", "jax", "torch",
        subject=rule(decay=0.99),
    ),
    Fault(
        "variance centred", "centered-variance", 5, "rmsprop", "torch", "jax",
        subject=rule(centered=True),
    ),
    Fault(
        "Adagrad begins at 0.1", "accumulator-start", 5, "adagrad", "jax", "torch",
        subject=rule(initial=0.1),
    ),
    Fault(
        "Nesterov's momentum", "nesterov", 5, "sgd", "torch", "keras", subject=rule(nesterov=True)
    ),
    Fault(
        "momentum 0.95 for 0.9", "momentum", 5, "target", "jax", "torch",
        subject=rule(momentum=0.95),
    ),
    Fault(
        "momentum dampened", "dampening", 5, "target", "torch", "jax",
        touch=by_hand(own_rules.dampened(0.9, 0.5)),
    ),
    Fault(
        "rate inside the momentum buffer", "rate-in-buffer", 5, "target", "keras", "jax",
        touch=_own(lambda: own_rules.rate_in_buffer(0.9)),
    ),
    Fault(
        "rate inside the buffer under a schedule", "rate-in-buffer", 5, "falling", "torch", "jax",
        touch=_own(lambda: own_rules.rate_in_buffer(0.8)),
    ),
)  # fmt: skip

DECAYS = (
    Fault(
        "coupled decay", "weight-decay", 5, "decay", "torch", "jax", subject=another_rule(_coupled)
    ),
    Fault(
        "decay not times the rate", "weight-decay", 5, "decay", "jax", "torch",
        touch=by_hand(own_rules.eager_decay(0.9, 0.999, 1e-5, 0.1)),
    ),
    Fault(
        "decay 0.01 for 0.1", "weight-decay", 5, "decay", "keras", "jax",
        subject=rule(weight_decay=0.01),
    ),
    Fault(
        "Keras' L2 of twice the size", "l2", 5, "l2", "keras", "torch", subject=rule(l2=0.02)
    ),
    Fault("L2 forgotten", "l2", 5, "l2", "jax", "torch", subject=rule(l2=0.0)),
    Fault(
        "clipping by variable", "clip-kind", 5, "adam", "keras", "jax",
        subject=rule(clip=Clip(norm=0.05)),
    ),
    Fault(
        "clipping by value", "clip-kind", 5, "adam", "torch", "jax",
        subject=rule(clip=Clip(value=0.05)),
    ),
    Fault(
        "clipping forgotten", "clip-kind", 5, "adam", "jax", "torch", subject=rule(clip=Clip())
    ),
    Fault(
        "clipping limit 0.1 for 0.05", "clip-limit", 5, "adam", "jax", "torch",
        subject=rule(clip=Clip(global_norm=0.1)),
    ),
    Fault(
        "PyTorch's clipping, 1e-6 added", "clip-kind", 5, "adam", "torch", "jax",
        touch=by_hand(own_rules.softly_clipped_adam(0.9, 0.999, 1e-4, 0.05)),
    ),
    Fault(
        "clipping nobody asked for", "clip-kind", 5, "target", "torch", "keras",
        subject=rule(clip=Clip(global_norm=1.0)),
    ),
)  # fmt: skip

RATES = (
    Fault(
        "rate 2e-3 for 1e-3", "learning-rate", 5, "rmsprop", "keras", "jax",
        subject=bent(gain=2.0),
    ),
    Fault(
        "rate ten times too small", "learning-rate", 5, "sgd", "jax", "torch",
        subject=bent(gain=0.1),
    ),
    Fault(
        "schedule one update early", "rate-schedule", 5, "falling", "jax", "torch",
        subject=bent(ahead=1),
    ),
    Fault(
        "schedule not followed", "rate-schedule", 5, "falling", "keras", "torch",
        subject=another_rule(lambda own: replace(own, rate=Constant(own.rate.value(0)))),
    ),
    Fault(
        "rate drops after 30 updates", "rate-schedule", 5, "target", "jax", "torch",
        subject=bent(gain=0.1, first=30),
    ),
    Fault(
        "gradients' signs alone", "update-rule", 5, "target", "jax", "keras",
        touch=by_hand(own_rules.signs()),
    ),
    Fault(
        "RMSprop for Adam", "update-rule", 5, "plain adam", "torch", "jax",
        touch=by_hand(own_rules.plain_rmsprop(0.9, 1e-5)),
    ),
)  # fmt: skip

FAULTS = (*EPSILONS, *MOMENTS, *DECAYS, *RATES)
