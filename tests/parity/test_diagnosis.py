"""Diagnosis: several causes at once, either side sick, an honest unknown, numbers found exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from triptych.cli.verify import text_of
from triptych.engines import setup
from triptych.parity import record, rungs
from triptych.parity.certificate import Certificate
from triptych.parity.diagnosis import UNKNOWN, Diagnosis, diagnose, elsewhere, solve
from triptych.parity.diagnosis.cause import show
from triptych.parity.record import Build, backend_learner
from triptych.parity.subject import Subject
from triptych.spec import layers as spec
from triptych.testing.faults.fault import Fault, exchange, layer, objective, rule
from triptych.testing.faults.in_layers import kernel, patched
from triptych.testing.faults.problems import named

SUBJECT = "plain adam"


def changed(*changes: Any, touch: Any = None) -> Build:
    """A PyTorch side with several changes, each as a fault of the bank makes them."""

    def build(subject: Subject, params: Any, own: Any, dtype: Any) -> Any:
        other = replace(subject, rule=own)
        for change in changes:
            other = change(other)
        learner = backend_learner("torch")(other, params, other.rule, dtype)
        if touch is not None:
            touch(learner, subject)
        return learner

    return build


def found(build: Build, swapped: bool = False, problem: str = SUBJECT) -> Diagnosis:
    """The diagnosis of a healthy PyTorch side and a changed one that says it is healthy."""
    subject = named(problem)
    left = record.make(subject, "healthy", "float64", backend_learner("torch"))
    right = record.make(subject, "sick", "float64", build)
    right = replace(right, factors=left.factors)
    sides, builds = (left, right), (backend_learner("torch"), build)
    if swapped:
        sides, builds = sides[::-1], builds[::-1]
    return diagnose(subject, *sides, rungs.climb(subject, *sides), builds=builds)


def names(diagnosis: Diagnosis) -> list[str]:
    """The factors in order."""
    return [cause.factor for cause in diagnosis.causes]


def test_causes_in_layers_loss_and_rule_are_told_apart() -> None:
    diagnosis = found(
        changed(
            layer("elu1", alpha=1.3),
            exchange("elu2", lambda own: spec.Tanh()),
            objective(discount=0.77),
            rule(epsilon=3e-7),
        )
    )
    assert names(diagnosis) == ["elu-alpha", "activation", "discount", "epsilon"]
    assert [cause.where for cause in diagnosis.causes] == ["elu1", "elu2", "objective", "optimizer"]
    values = [cause.right for cause in diagnosis.causes]
    assert values[0] == pytest.approx(1.3, rel=1e-9) and values[2] == pytest.approx(0.77, rel=1e-9)
    assert values[3] == pytest.approx(3e-7, rel=1e-3)
    assert all(c.residual_after < 1e-7 < c.residual_before for c in diagnosis.causes)  # type: ignore[operator]
    assert diagnosis.known


def test_two_causes_in_one_place_are_separated() -> None:
    both = found(changed(rule(epsilon_before_correction=True, beta1=0.8)))
    assert sorted(names(both)) == ["adam-betas", "epsilon-place"]
    losses = found(
        changed(objective(discount=0.9, objective=lambda o: replace(o.objective, factor=0.5)))
    )
    assert sorted(names(losses)) == ["discount", "loss-half"]


def test_two_causes_in_one_layer_are_separated() -> None:
    arrays = kernel("conv1/kernel", _turn, _turn)
    fault = Fault(
        "x", "x", 2, SUBJECT, subject=layer("conv1", padding=((2, 1), (1, 1))), arrays=arrays
    )
    diagnosis = found(fault.build())
    assert sorted(names(diagnosis)) == ["conv-kernel-layout", "same-padding-side"]
    assert {cause.where for cause in diagnosis.causes} == {"conv1"}


def _turn(kernel_: np.ndarray) -> np.ndarray:
    return kernel_[::-1, ::-1]


def test_the_left_may_be_the_sick_one() -> None:
    (cause,) = found(changed(layer("elu1", alpha=1.5)), swapped=True).causes
    assert (cause.factor, cause.left, cause.right) == ("elu-alpha", 1.5, 1.0)


def test_what_nothing_explains_is_unknown() -> None:
    odd = patched("elu1", lambda module, own, x: own(*x) + 0.01 * x[0].sin() * x[0].cos())
    diagnosis = found(changed(touch=odd))
    assert names(diagnosis)[0] == UNKNOWN and not diagnosis.known
    assert diagnosis.causes[0].where == "elu1" and "unknown" in diagnosis.sentences()[0]


def test_green_sides_need_no_diagnosis() -> None:
    assert found(changed()).causes == ()


def test_a_stated_difference_is_confirmed_by_numbers_or_said_to_be_untested() -> None:
    subject = named(SUBJECT)
    left = record.make(subject, "a", "float64", backend_learner("torch"))
    build = changed(rule(epsilon=1e-3))
    right = record.make(subject, "b", "float64", build)
    right.factors["algorithm.exploration"] = 0.1
    builds = (backend_learner("torch"), build)
    causes = diagnose(subject, left, right, rungs.climb(subject, left, right), builds=builds).causes
    assert [(c.factor, c.rung) for c in causes] == [("epsilon", 0), ("exploration", 0)]
    assert causes[0].residual_after is not None and causes[1].residual_after is None
    assert "no number" in causes[1].sentence


def test_fewer_digits_in_float32_are_named() -> None:
    subject = named(SUBJECT)

    def short(module: Any, own: Any, inputs: Any) -> Any:
        kernel = module.weight.half().float()
        return inputs[0].half().float() @ kernel.T + module.bias

    left = record.make(subject, "a", "float32", backend_learner("torch"), envelope=False)
    build = changed(touch=patched("dense1", short))
    right = record.make(subject, "b", "float32", build, envelope=False)
    right = replace(right, factors=left.factors)
    causes = diagnose(subject, left, right, rungs.climb(subject, left, right)).causes
    assert [(cause.factor, cause.where) for cause in causes] == [("dtype", "dense1")]


def test_a_certificate_carries_and_prints_the_causes() -> None:
    diagnosis = found(changed(layer("elu1", alpha=1.5)))
    recipe = setup.load_recipe("fruit")
    certificate = Certificate.make(recipe, ["healthy", "sick"], 0, [], [diagnosis])
    (told,) = json.loads(json.dumps(certificate.as_dict()["diagnosis"]))
    assert told["factor"] == "elu-alpha" and told["pair"] == "healthy-sick"
    assert told["right"] == 1.5 and told["residual_after"] < 1e-9
    red = replace(_verdict(), passed=False)
    text = text_of(replace(certificate, verdicts=(red,)))
    assert "because: elu1: elu alpha is 1 in healthy and 1.5 in sick" in text


def _verdict() -> rungs.Verdict:
    return rungs.Verdict(2, "healthy-sick", "float64", True, 1.0, 0.0, "elu1", "")


def test_only_red_pairs_are_diagnosed() -> None:
    assert elsewhere.of_pairs(named(SUBJECT), [], [_verdict()], show=False) == []


def test_a_number_is_found_and_rounded_as_people_write_it() -> None:
    x = np.linspace(-2.0, 2.0, 40)
    for wanted in (0.3, 1 / 255, 1e-7, 0.8, 12.0, float(np.float32(0.8))):
        found_ = solve.constant(lambda c, w=wanted: (c - w) * x / w, (0.1, 1.0))  # type: ignore[misc]
        assert found_ == wanted
    curved = solve.constant(
        lambda c: x / np.sqrt(x * x + c) - x / np.sqrt(x * x + 1e-5), (1e-3, 1e-8), positive=True
    )
    assert curved == 1e-5
    assert solve.constant(lambda c: np.array([np.nan]), (1.0,)) is None


def test_values_are_shown_as_people_write_them() -> None:
    assert show(0.30000000000000004) == "0.3" and show(1e-7) == "1e-07"
    assert show(0.800000011920929) == "0.8000000119"
    assert (
        show(((0, 1), (1, 1))) == "((0, 1), (1, 1))"
        and show("inside the root") == "inside the root"
    )
