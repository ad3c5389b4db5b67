"""Objectives by hand-computed numbers, over NumPy as the array namespace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fakes import algorithm

from triptych.backends._numpy.namespace import NumpyNamespace
from triptych.learn import objectives
from triptych.spec.algorithms import Prioritised
from triptych.spec.objective import CrossEntropy, SquaredError, TDHuber, TDSquared

Q = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0], [4.0, 0.0, 1.0]])
NEXT = np.array([[10.0, 20.0, 5.0], [-3.0, -1.0, -2.0], [7.0, 8.0, 9.0]])
CHOICE = np.array([[9.0, 1.0, 0.0], [0.0, 0.0, 5.0], [1.0, 3.0, 2.0]])
BATCH = {
    "action": np.array([2, 0, 1]),
    "reward": np.array([1.0, -0.5, 2.0]),
    "terminated": np.array([False, False, True]),
}
# reward + 0.5 * (largest of the next row), but the reward alone where the episode terminated.
TARGET = np.array([1.0 + 10.0, -0.5 - 0.5, 2.0])
DOUBLE = np.array([1.0 + 0.5 * 10.0, -0.5 + 0.5 * -2.0, 2.0])
ERRORS = np.array([3.0, 0.5, 0.0]) - TARGET  # -8, 1.5, -2


class Recording(NumpyNamespace):
    """Remembers what no gradient may flow through."""

    def __init__(self) -> None:
        self.stopped: list[np.ndarray] = []

    def stop_gradient(self, x: np.ndarray) -> Any:
        self.stopped.append(x)
        return super().stop_gradient(x)


def loss(objective: Any, xp: NumpyNamespace | None = None, **options: Any) -> float:
    built = objectives.build(objective, algorithm(discount=0.5, **options))
    outputs = {"q": Q, "next_q": NEXT, "next_choice": CHOICE}
    asked = {evaluation.name for evaluation in built.evaluations}
    given = {name: value for name, value in outputs.items() if name in asked}
    return float(built.loss(xp or NumpyNamespace(), given, BATCH))


def test_td_squared_bootstraps_except_after_termination() -> None:
    assert loss(TDSquared(factor=1.0, reduction="mean")) == pytest.approx(np.mean(ERRORS**2))
    assert loss(TDSquared(factor=0.5, reduction="sum")) == pytest.approx(np.sum(ERRORS**2) / 2)


def test_td_huber_is_squared_near_and_linear_far() -> None:
    expected = [1.0 * (8.0 - 0.5), 1.0 * (1.5 - 0.5), 1.0 * (2.0 - 0.5)]
    assert loss(TDHuber(delta=1.0, reduction="mean")) == pytest.approx(np.mean(expected))
    expected = [2.0 * (8.0 - 1.0), 1.5**2 / 2, 2.0**2 / 2]
    assert loss(TDHuber(delta=2.0, reduction="sum")) == pytest.approx(np.sum(expected))


@pytest.mark.parametrize("objective", [TDSquared(reduction="sum"), TDHuber(reduction="sum")])
def test_several_steps_are_discounted_as_the_batch_says(objective: Any) -> None:
    discount = np.array([0.25, 0.5, 0.125])
    target = BATCH["reward"] + np.array([0.25 * 20.0, 0.5 * -1.0, 0.0])
    built = objectives.build(objective, algorithm(discount=0.5, n_step=3))
    outputs = {"q": Q, "next_q": NEXT}
    found = built.target(NumpyNamespace(), outputs, {**BATCH, "discount": discount})  # type: ignore[attr-defined]
    np.testing.assert_allclose(found, target)
    with pytest.raises(KeyError, match="discount"):
        built.loss(NumpyNamespace(), outputs, BATCH)
    assert built.factors()["n_step"] == 3  # type: ignore[attr-defined]


def test_one_step_reads_no_discount_of_the_batch() -> None:
    built = objectives.build(TDSquared(), algorithm(discount=0.5))
    outputs, batch = {"q": Q, "next_q": NEXT}, {**BATCH, "discount": np.full(3, 9.0)}
    found = built.target(NumpyNamespace(), outputs, batch)  # type: ignore[attr-defined]
    np.testing.assert_allclose(found, TARGET)


@pytest.mark.parametrize(
    ("objective", "losses"),
    [
        (TDSquared(factor=1.0), ERRORS**2),
        (TDHuber(delta=1.0), np.abs(ERRORS) - 0.5),
    ],
)
def test_priorities_weigh_each_loss_and_report_the_errors(objective: Any, losses: Any) -> None:
    weight = np.array([1.0, 0.25, 0.5])
    built: Any = objectives.build(objective, algorithm(discount=0.5, prioritised=Prioritised()))
    outputs, batch = {"q": Q, "next_q": NEXT}, {**BATCH, "weight": weight}
    found = built.loss(NumpyNamespace(), outputs, batch)
    assert found == pytest.approx(np.mean(weight * losses))
    reported = built.reports(NumpyNamespace(), outputs, batch)
    assert list(reported) == ["error"]
    np.testing.assert_allclose(reported["error"], ERRORS)
    assert built.factors()["weighted"] is True


def test_without_priorities_nothing_is_reported() -> None:
    assert not hasattr(objectives.build(TDSquared(), algorithm()), "reports")


def test_double_q_lets_the_online_network_choose_and_the_target_network_judge() -> None:
    errors = np.array([3.0, 0.5, 0.0]) - DOUBLE
    found = loss(TDSquared(factor=1.0, reduction="mean"), double=True, target_sync=10)
    assert found == pytest.approx(np.mean(errors**2))


def test_no_gradient_flows_through_the_target() -> None:
    xp = Recording()
    loss(TDSquared(factor=1.0, reduction="mean"), xp)
    assert len(xp.stopped) == 1
    assert xp.stopped[0] == pytest.approx(TARGET)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("q", "online", True), ("next_q", "online", False)]),
        ({"target_sync": 5}, [("q", "online", True), ("next_q", "target", False)]),
        (
            {"target_sync": 5, "double": True},
            [
                ("q", "online", True),
                ("next_q", "target", False),
                ("next_choice", "online", False),
            ],
        ),
    ],
)
def test_which_networks_are_asked(options: dict[str, Any], expected: list[Any]) -> None:
    built = objectives.build(TDSquared(factor=1.0, reduction="mean"), algorithm(**options))
    found = [(item.name, item.network, item.gradient) for item in built.evaluations]
    assert found == expected
    inputs = [item.input for item in built.evaluations]
    assert inputs == ["observation"] + ["next_observation"] * (len(inputs) - 1)


def test_supervised_losses() -> None:
    xp, output = NumpyNamespace(), {"output": Q}
    wanted = np.array([[1.0, 0.0, 3.0], [0.5, 0.0, 0.0], [4.0, 0.0, 0.0]])
    squared = objectives.build(SquaredError(factor=0.5, reduction="mean"), algorithm())
    assert float(squared.loss(xp, output, {"target": wanted})) == pytest.approx((4 + 1 + 1) / 6)
    entropy = objectives.build(CrossEntropy(reduction="sum"), algorithm())
    classes = np.array([2, 0, 1])
    shares = np.exp(Q) / np.exp(Q).sum(axis=1, keepdims=True)
    expected = -np.log(shares[[0, 1, 2], classes]).sum()
    assert float(entropy.loss(xp, output, {"target": classes})) == pytest.approx(expected)


def test_the_discount_keeps_the_type_of_the_outputs() -> None:
    """0.1 in float64 times float32 outputs stays float32: a Python number is weak."""
    built = objectives.QLearning(TDSquared(factor=1.0, reduction="mean"), algorithm(discount=0.1))
    batch = {**BATCH, "reward": BATCH["reward"].astype(np.float32)}
    target = built.target(NumpyNamespace(), {"next_q": NEXT.astype(np.float32)}, batch)
    assert target.dtype == np.float32
