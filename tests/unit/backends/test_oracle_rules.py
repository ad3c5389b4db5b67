"""The oracle's update rules and clipping against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from triptych.backends._numpy import rules
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule, constant


def two_updates(rule: Rule, first: float, second: float) -> float:
    """One number, starting at 1, after updates at rate 0.1 with the two gradients."""
    params = {"p": np.array([1.0])}
    slots = rules.start(rule, params)
    for count, grad in enumerate((first, second)):
        params, slots = rules.apply(rule, count, 0.1, params, {"p": np.array([grad])}, slots)
    return float(params["p"][0])


R = constant(123.0)  # must not be looked at
ROOT = math.sqrt


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (SGD(R), 1.0 - 0.1 * 2.0 - 0.1 * 4.0),
        (SGD(R, 0.5), 0.75 - 0.1 * (4.0 + 0.5 * 0.75)),
        (SGD(R, momentum=0.5), 1.0 - 0.1 * 2.0 - 0.1 * 5.0),
        (SGD(R, momentum=0.5, nesterov=True), 1.0 - 0.1 * 3.0 - 0.1 * (4.0 + 0.5 * 5.0)),
        (
            Adam(R, beta1=0.5, beta2=0.75, epsilon=1.0),
            # m: 1, 2.5; v: 1, 4.75; corrected by 1/2, 3/4 and 1/4, 7/16
            1.0 - 0.1 * 2.0 / (2.0 + 1.0) - 0.1 * (2.5 / 0.75) / (ROOT(4.75 / 0.4375) + 1.0),
        ),
        (
            Adam(R, beta1=0.5, beta2=0.75, epsilon=1.0, epsilon_inside_root=True),
            1.0 - 0.1 * 2.0 / ROOT(5.0) - 0.1 * (2.5 / 0.75) / ROOT(4.75 / 0.4375 + 1.0),
        ),
        (
            Adam(R, beta1=0.5, beta2=0.75, epsilon=1.0, epsilon_before_correction=True),
            1.0
            - 0.1 * (0.5 / 0.5) * 1.0 / (1.0 + 1.0)
            - 0.1 * (ROOT(0.4375) / 0.75) * 2.5 / (ROOT(4.75) + 1.0),
        ),
        (
            AdamW(R, beta1=0.5, beta2=0.75, epsilon=1.0, weight_decay=0.5),
            (0.95 - 0.1 * 2.0 / 3.0) * 0.95 - 0.1 * (2.5 / 0.75) / (ROOT(4.75 / 0.4375) + 1.0),
        ),
        (
            RMSprop(R, decay=0.75, epsilon=1.0),
            1.0 - 0.1 * 2.0 / (1.0 + 1.0) - 0.1 * 4.0 / (ROOT(4.75) + 1.0),
        ),
        (
            RMSprop(R, decay=0.75, epsilon=1.0, epsilon_inside_root=True, momentum=0.5),
            1.0 - 0.1 * 2.0 / ROOT(2.0) - 0.1 * (4.0 / ROOT(5.75) + 0.5 * 2.0 / ROOT(2.0)),
        ),
        (
            RMSprop(R, decay=0.75, epsilon=1.0, centered=True),
            # a: 0.5, 1.375
            1.0 - 0.1 * 2.0 / (ROOT(0.75) + 1.0) - 0.1 * 4.0 / (ROOT(4.75 - 1.375**2) + 1.0),
        ),
        (
            Adagrad(R, epsilon=1.0, initial=5.0),
            1.0 - 0.1 * 2.0 / (3.0 + 1.0) - 0.1 * 4.0 / (5.0 + 1.0),
        ),
        (
            Adagrad(R, epsilon=1.0, epsilon_inside_root=True, initial=4.0),
            1.0 - 0.1 * 2.0 / 3.0 - 0.1 * 4.0 / 5.0,
        ),
    ],
)
def test_rules_by_hand(rule: Rule, expected: float) -> None:
    assert two_updates(rule, 2.0, 4.0) == pytest.approx(expected, rel=1e-14)


def test_clipping_by_hand() -> None:
    grads = {"a": np.array([3.0, 0.0]), "b": np.array([-4.0])}
    clipped = rules.clip(grads, Clip(global_norm=1.0))
    np.testing.assert_allclose(clipped["a"], [0.6, 0.0], rtol=1e-15)
    np.testing.assert_allclose(clipped["b"], [-0.8], rtol=1e-15)
    assert rules.clip(grads, Clip(norm=3.5))["a"].tolist() == [3.0, 0.0]
    assert rules.clip(grads, Clip(norm=3.5))["b"].tolist() == [-3.5]
    assert rules.clip(grads, Clip(value=2.0))["b"].tolist() == [-2.0]
    assert rules.clip({"a": np.zeros(2)}, Clip(global_norm=1.0))["a"].tolist() == [0.0, 0.0]


def test_clip_comes_before_l2_and_nothing_given_changes() -> None:
    rule = SGD(R, l2=1.0, momentum=0.5, clip=Clip(value=1.0))
    params, grads = {"p": np.array([2.0])}, {"p": np.array([9.0])}
    slots = rules.start(rule, params)
    new, _ = rules.apply(rule, 0, 0.1, params, grads, slots)
    assert new["p"][0] == pytest.approx(2.0 - 0.1 * 3.0)
    assert (params["p"][0], grads["p"][0], slots["momentum"]["p"][0]) == (2.0, 9.0, 0.0)
