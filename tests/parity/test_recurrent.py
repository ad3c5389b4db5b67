"""Recurrent networks on the ladder: green between all backends, red for the usual mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from problems import Transitions, deep_q

from triptych.backends._torch.layouts import HOMES, gates
from triptych.parity import record, rungs
from triptych.parity.rungs import first_red
from triptych.spec.rules import Adam, constant

NETWORK = (
    "5x3 -> rescale 1/255 -> lstm 6 biases 2 sequences mask 0 -> layer_norm "
    "-> gru 5 sequences -> gru 4 reset_after false biases 1 -> dense 3"
)


@dataclass(frozen=True)
class Stumbling(Transitions):
    """Transitions in which some steps of a sequence are all zero: masked."""

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        rng = np.random.default_rng(self.seed + 1)
        for batch in super().__iter__():
            for key in ("observation", "next_observation"):
                blank = rng.random(batch[key].shape[:2]) < 0.3
                batch[key] = np.where(blank[..., None], 0, batch[key]).astype(np.uint8)
            yield batch


def problem(rule: Any) -> Any:
    subject = deep_q(rule, NETWORK, lockstep=60)
    return replace(subject, batches=Stumbling((5, 3), 3, 16, 0))


ADAM = problem(Adam(constant(1e-2), epsilon=1e-4))


@pytest.fixture(scope="module")
def made() -> Callable[[str], record.Record]:
    """Each backend's record in float64, made once."""
    kept: dict[str, record.Record] = {}

    def get(name: str) -> record.Record:
        if name not in kept:
            kept[name] = record.make(ADAM, name, "float64", envelope=False)
        return kept[name]

    return get


@pytest.mark.parametrize("pair", combinations(("torch", "jax", "keras"), 2), ids="-".join)
def test_every_rung_is_green(pair: tuple[str, str], made: Any) -> None:
    verdicts = rungs.climb(ADAM, *map(made, pair))
    assert [verdict.rung for verdict in verdicts] == list(range(7))
    assert first_red(verdicts) is None, first_red(verdicts)


# --- mistakes ------------------------------------------------------------------------------------


def _rows(kind: str, *names: str) -> Callable[[Any], None]:
    """The gates of a kind in another framework's order, there and back."""

    def change(learner: Any) -> None:
        params = learner.params()
        sides = {
            "kernel": ("weight_ih_l0", (1, 0)),
            "recurrent_kernel": ("weight_hh_l0", (1, 0)),
            "bias": ("bias_ih_l0", ()),
            "recurrent_bias": ("bias_hh_l0", ()),
        }
        own: dict[str, Any] = {}
        for what, (attribute, axes) in sides.items():
            own |= gates(names, what, attribute, axes)
        learner.homes = HOMES | {kind: own}
        learner.load_params(params)

    return change


def _unsaid(node: str, **values: Any) -> Callable[[Any], Any]:
    """Another layer under the healthy one's factors."""

    def change(subject: Any) -> Any:
        nodes = tuple(
            replace(item, layer=replace(item.layer, **values)) if item.name == node else item
            for item in subject.network.nodes
        )
        return replace(subject, network=replace(subject.network, nodes=nodes))

    return change


def _one_trained_bias(learner: Any) -> None:
    """Two biases that move together as far as one would, as after a port that added them up."""
    own, module = learner.optimizer.step, learner.model.get_submodule("lstm1")

    def step() -> None:
        before = module.bias_ih_l0.detach().clone()
        own()
        with torch.no_grad():
            half = (module.bias_ih_l0 - before) / 2.0
            module.bias_ih_l0.sub_(half)
            module.bias_hh_l0.sub_(half)

    learner.optimizer.step = step


@dataclass(frozen=True)
class Mistake:
    """A mistake of the PyTorch side; ``said`` leaves its factors as they are read."""

    name: str
    rung: int
    culprit: str
    subject: Callable[[Any], Any] | None = None
    learner: Callable[[Any], None] | None = None
    said: bool = False


MISTAKES = (
    Mistake("LSTM gates", 2, "lstm1", learner=_rows("lstm", "input", "cell", "forget", "output")),
    Mistake("GRU gates", 2, "gru1", learner=_rows("gru", "update", "reset", "candidate")),
    Mistake("reset place", 0, "gru1.reset_after", _unsaid("gru1", reset_after=False), said=True),
    Mistake("hidden reset place", 2, "gru1", _unsaid("gru1", reset_after=False)),
    Mistake("biases", 0, "lstm1.biases", _unsaid("lstm1", biases=1), said=True),
    Mistake("summed bias", 5, "lstm1/bias", learner=_one_trained_bias),
    Mistake("mask", 0, "lstm1.mask_value", _unsaid("lstm1", mask_value=None), said=True),
    Mistake("hidden mask", 2, "lstm1", _unsaid("lstm1", mask_value=None)),
    Mistake("gate function", 2, "lstm1", _unsaid("lstm1", gate_activation="hard_sigmoid")),
    Mistake("activation", 2, "gru1", _unsaid("gru1", activation="sigmoid")),
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda item: item.name.replace(" ", "-"))
def test_a_mistake_is_found_and_named(mistake: Mistake, made: Any) -> None:
    build = record.backend_learner("torch")

    def faulty(subject: Any, params: Any, rule: Any, dtype: Any) -> Any:
        subject = mistake.subject(subject) if mistake.subject else subject
        known = {name: params[name] for name in subject.network.parameters}
        learner = build(subject, known, rule, dtype)
        if mistake.learner is not None:
            mistake.learner(learner)
        return learner

    short = replace(ADAM, lockstep=2)
    sick = record.make(short, "torch", "float64", build=faulty, envelope=False)
    healthy = made("jax")
    if not mistake.said:
        sick.factors = healthy.factors
    red = next(v for rung in rungs.RUNGS if not (v := rung(ADAM, healthy, sick)).passed)
    assert red.rung == mistake.rung, f"rung {red.rung} ({red.name}): {red.culprit}, {red.detail}"
    assert mistake.culprit in (red.culprit or ""), f"named {red.culprit} ({red.detail})"
