"""The ladder bites: every injected fault turns the right rung red and is named.

The healthy side is JAX, the sick side PyTorch with one fault put in after it was built (or in what
it is built from). The lowest red rung and its culprit must be the expected ones; that the same
problems are green without a fault is tested below and in ``test_clean.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from problems import deep_q

from triptych.backends.protocol import Evaluation
from triptych.parity import record, rungs
from triptych.parity.rungs import first_red
from triptych.spec.rules import SGD, Adam, AdamW, Clip, constant
from triptych.spec.schedules import Linear

ADAM = Adam(constant(1e-2), epsilon=1e-4, clip=Clip(global_norm=0.05))
MOMENTUM = SGD(constant(1e-2), momentum=0.9)
DECAY = AdamW(constant(1e-2), weight_decay=0.1)
PLAIN = "9x7x2 -> rescale 1/255 -> conv 4 4x3/2 pad same elu -> flatten -> dense 11 elu -> dense 3"
PROBLEMS = {
    "adam": deep_q(ADAM),
    "sgd": deep_q(MOMENTUM),
    "adamw": deep_q(DECAY),
    "plain": deep_q(MOMENTUM, PLAIN, target_sync=None),
    "target": deep_q(MOMENTUM, PLAIN),
}


@dataclass(frozen=True)
class Mutation:
    """A fault: ``subject`` changes what the sick side is built from, ``learner`` what was built."""

    name: str
    rung: int
    culprit: str
    problem: str = "adam"
    subject: Callable[[Any], Any] | None = None
    learner: Callable[[Any], None] | None = None


def _rule(**changes: Any) -> Callable[[Any], Any]:
    return lambda subject: replace(subject, rule=replace(subject.rule, **changes))


def _objective(**changes: Any) -> Callable[[Any], Any]:
    """A copy of the objective with attributes replaced."""

    def change(subject: Any) -> Any:
        own = type(subject.objective).__new__(type(subject.objective))
        own.__dict__ = dict(subject.objective.__dict__) | {
            key: value(subject.objective) if callable(value) else value
            for key, value in changes.items()
        }
        return replace(subject, objective=own)

    return change


def _forward(node: str, function: Callable[[Any, Any], Any]) -> Callable[[Any], None]:
    """Replace a module's computation: function(module's own forward, x)."""

    def change(learner: Any) -> None:
        module = learner.model.get_submodule(node)
        own = module.forward
        module.forward = lambda x, *rest: function(lambda y=x: own(y, *rest), x)

    return change


def _wrap_step(before: Callable[[Any], None]) -> Callable[[Any], None]:
    """Do something to a learner just before every optimizer step."""

    def change(learner: Any) -> None:
        own = learner.optimizer.step

        def step() -> None:
            before(learner)
            own()

        learner.optimizer.step = step

    return change


def _hide_epsilon(learner: Any) -> None:
    own = learner.optimizer.step

    def step() -> None:
        for group in learner.optimizer.param_groups:
            group["eps"] = 1e-3
        own()
        for group in learner.optimizer.param_groups:
            group["eps"] = 1e-4

    learner.optimizer.step = step


def _rate_in_buffer(learner: Any) -> None:
    """Momentum the way Keras does it: velocity = momentum * velocity - rate * g."""
    velocity = [torch.zeros_like(param) for param in learner.trained]

    def step() -> None:
        rate = learner.optimizer.param_groups[0]["lr"]
        with torch.no_grad():
            for param, buffer in zip(learner.trained, velocity, strict=True):
                buffer.mul_(0.9).sub_(param.grad, alpha=rate)
                param.add_(buffer)
                state = learner.optimizer.state[param]
                state["momentum_buffer"] = -buffer / rate

    learner.optimizer.step = step


def _clip_each(learner: Any) -> None:
    """Clip by variable instead of globally, behind the back of rung 0."""
    from triptych.backends._torch import learner as module

    healthy = learner._change

    def change(rate: float) -> None:
        kept = module.rules.clip
        module.rules.clip = lambda params, limits: kept(params, Clip(norm=limits.global_norm))
        healthy(rate)
        module.rules.clip = kept

    learner._change = change


def _unbiased(learner: Any) -> None:
    """The running variance as PyTorch's own layer keeps it, where no attribute shows it."""
    module = learner.model.get_submodule("batch_norm1")
    own = module.forward

    def forward(x: Any) -> Any:
        before = module.running_var.clone()
        y = own(x)
        if module.training:
            count = x.numel() // x.shape[-1]
            gain = (module.running_var - module.keep * before) * (count / (count - 1))
            module.running_var.copy_(module.keep * before + gain)
        return y

    module.forward = forward


def _through_half(learner: Any) -> None:
    with torch.no_grad():
        module = learner.model.get_submodule("dense1")
        module.weight.copy_(module.weight.half().to(module.weight.dtype))


def _late_rounding(learner: Any) -> None:
    """After 60 updates params pass through float32."""
    if learner.updates >= 60:
        with torch.no_grad():
            for param in learner.trained:
                param.copy_(param.float().to(param.dtype))


def _freeze_bias(learner: Any) -> None:
    param = learner.model.get_submodule("dense1").bias
    param.register_hook(torch.zeros_like)


def _forget_counter(learner: Any) -> None:
    for state in learner.optimizer.state.values():
        state["step"] = torch.tensor(0.0)


def _chw(own: Callable[[], Any], x: Any) -> Any:
    return x.permute(0, 3, 1, 2).flatten(1)


def _wrong_side(learner: Any) -> None:
    """The odd pixel of ``same`` padding before instead of after, read back as if right."""
    module = learner.model.get_submodule("conv1")
    own = type(module).forward

    def forward(x: Any) -> Any:
        kept = module.uneven
        module.uneven = tuple((after, before) for before, after in kept)
        y = own(module, x)
        module.uneven = kept
        return y

    module.forward = forward


def _no_stop(objective: Any) -> tuple[Evaluation, ...]:
    """The target's forward pass differentiated, through the online network."""
    return (Evaluation("q"), Evaluation("next_q", "online", "next_observation", gradient=True))


def _unchanged(objective: Any) -> Any:
    """The factors the healthy objective has: the fault is in the code, not in a constant."""
    return lambda: type(objective).factors(objective)


def _leaky_loss(objective: Any) -> Any:
    """The loss without its stop_gradient."""
    own = type(objective).loss

    def loss(xp: Any, outputs: Any, batch: Any) -> Any:
        open_xp = SimpleNamespace(**{n: getattr(xp, n) for n in dir(xp) if not n.startswith("_")})
        open_xp.stop_gradient = lambda x: x
        return own(objective, open_xp, outputs, batch)

    return loss


MUTATIONS = [
    Mutation(
        "epsilon before correction",
        0,
        "optimizer.epsilon_before_correction",
        subject=_rule(epsilon_before_correction=True),
    ),
    Mutation("epsilon value", 0, "optimizer.epsilon", subject=_rule(epsilon=1e-8)),
    Mutation("hidden epsilon", 5, "conv1/kernel after 1", learner=_hide_epsilon),
    Mutation(
        "coupled decay",
        0,
        "optimizer.l2",
        "adamw",
        subject=lambda s: replace(s, rule=Adam(s.rule.rate, l2=0.1)),
    ),
    Mutation("flatten order", 2, "flatten1", learner=_forward("flatten1", _chw)),
    Mutation("padding side", 2, "conv1", learner=_wrong_side),
    Mutation(
        "leaky slope",
        0,
        "leaky_relu1.slope",
        learner=lambda sick: setattr(
            sick.model.get_submodule("leaky_relu1"), "negative_slope", 0.3
        ),
    ),
    Mutation(
        "hidden slope",
        2,
        "leaky_relu1",
        learner=_forward("leaky_relu1", lambda own, x: torch.where(x > 0, x, 0.3 * x)),
    ),
    Mutation(
        "batch norm epsilon",
        0,
        "batch_norm1.epsilon",
        learner=lambda sick: setattr(sick.model.get_submodule("batch_norm1"), "eps", 1e-5),
    ),
    Mutation("unbiased running variance", 5, "batch_norm1/variance", learner=_unbiased),
    Mutation(
        "dropout not rescaled",
        2,
        "dropout1 (training)",
        learner=lambda sick: _forward(
            "dropout1",
            lambda own, x: own() * (0.7 if sick.model.get_submodule("dropout1").training else 1.0),
        )(sick),
    ),
    Mutation(
        "gradient through the target",
        4,
        "dense2/bias",
        "plain",
        subject=_objective(evaluations=_no_stop, loss=_leaky_loss, factors=_unchanged),
    ),
    Mutation(
        "sum instead of mean",
        0,
        "objective.reduction",
        subject=_objective(objective=lambda o: replace(o.objective, reduction="sum")),
    ),
    Mutation(
        "hidden sum instead of mean",
        3,
        "loss",
        subject=_objective(
            loss=lambda o: lambda xp, outputs, batch: 16.0 * type(o).loss(o, xp, outputs, batch)
        ),
    ),
    Mutation(
        "half the squared error",
        0,
        "objective.factor",
        subject=_objective(objective=lambda o: replace(o.objective, factor=0.5)),
    ),
    Mutation(
        "discount through float32",
        0,
        "objective.discount",
        subject=_objective(discount=float(np.float32(0.8))),
    ),
    Mutation(
        "hidden discount through float32",
        3,
        "loss",
        subject=_objective(discount=float(np.float32(0.8)), factors=_unchanged),
    ),
    Mutation(
        "terminal ignored",
        3,
        "loss",
        subject=_objective(
            target=lambda o: (
                lambda xp, outputs, batch: (
                    batch["reward"] + o.discount * xp.max(outputs["next_q"], axis=1)
                )
            )
        ),
    ),
    Mutation(
        "online network as its own target",
        5,
        "after 50",
        "target",
        subject=_objective(
            factors=_unchanged,
            evaluations=lambda o: (o.evaluations[0], replace(o.evaluations[1], network="online")),
        ),
    ),
    Mutation(
        "clipping by variable, said aloud", 0, "optimizer.clip", subject=_rule(clip=Clip(norm=0.05))
    ),
    Mutation(
        "schedule",
        0,
        "optimizer.rate at update 1",
        subject=lambda s: replace(s, rule=replace(s.rule, rate=Linear(1e-2, 0.0, 1000))),
    ),
    Mutation("frozen bias", 4, "dense1/bias", learner=_freeze_bias),
    Mutation("weights through half precision", 1, "dense1/kernel", learner=_through_half),
    Mutation(
        "rate inside the momentum buffer", 5, "after 50 scheduled", "sgd", learner=_rate_in_buffer
    ),
    Mutation("clipping by variable", 5, "after 1", learner=_clip_each),
    Mutation("step counter forgotten", 5, "after 50", learner=_wrap_step(_forget_counter)),
    Mutation("late rounding", 6, "", learner=_wrap_step(_late_rounding)),
]


@pytest.fixture(scope="module")
def healthy() -> Callable[[str], record.Record]:
    """JAX's records, made once for each problem."""
    made: dict[str, record.Record] = {}

    def get(problem: str) -> record.Record:
        if problem not in made:
            made[problem] = record.make(PROBLEMS[problem], "jax", "float64")
        return made[problem]

    return get


def sick(mutation: Mutation) -> record.Record:
    """PyTorch's record with the fault."""
    build = record.backend_learner("torch")

    def faulty(subject: Any, params: Any, rule: Any, dtype: Any) -> Any:
        if mutation.subject is not None:
            # A changed rule must also reach the learner that runs under a schedule.
            changed = mutation.subject(replace(subject, rule=rule))
            subject, rule = changed, changed.rule
        learner = build(subject, params, rule, dtype)
        if mutation.learner is not None:
            mutation.learner(learner)
        return learner

    return record.make(PROBLEMS[mutation.problem], "torch", "float64", build=faulty)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name.replace(" ", "-"))
def test_fault_is_found_and_named(mutation: Mutation, healthy: Any) -> None:
    verdicts = rungs.climb(PROBLEMS[mutation.problem], healthy(mutation.problem), sick(mutation))
    red = first_red(verdicts)
    assert red is not None, "no rung turned red"
    assert red.rung == mutation.rung, f"rung {red.rung} ({red.name}): {red.culprit}, {red.detail}"
    assert mutation.culprit in (red.culprit or ""), f"named {red.culprit} ({red.detail})"


@pytest.mark.parametrize("problem", PROBLEMS)
def test_green_without_a_fault(problem: str, healthy: Any) -> None:
    clean = record.make(PROBLEMS[problem], "torch", "float64")
    verdicts = rungs.climb(PROBLEMS[problem], healthy(problem), clean)
    assert first_red(verdicts) is None, first_red(verdicts)


def test_enough_faults() -> None:
    assert len(MUTATIONS) >= 12
    assert {mutation.rung for mutation in MUTATIONS} == {0, 1, 2, 3, 4, 5, 6}
