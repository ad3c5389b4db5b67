"""Scaled conjugate gradient on the host: the oracle's own writing of it, and every branch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from triptych.backends import registry, searching
from triptych.backends._numpy import rules
from triptych.backends.searching import At, Search
from triptych.errors import Unsupported
from triptych.spec.initial import Initial
from triptych.spec.notation import parse
from triptych.spec.rules import SCG, SGD, constant

SHAPES = {"a/kernel": (3, 4), "a/bias": (4,)}


def quadratic(size: int = 16) -> tuple[At, np.ndarray]:
    """1/2 x'Ax - b'x with a known minimum."""
    draw = np.random.default_rng(0)
    root = draw.normal(size=(size, size))
    a, b = root @ root.T / size + np.eye(size), draw.normal(size=size)
    return at_of(lambda x: (0.5 * x @ a @ x - b @ x, a @ x - b)), np.linalg.solve(a, b)


def waves() -> At:
    """Hills and valleys: curvature of either sign, and steps that lead upwards."""
    weights = np.linspace(1.0, 3.0, 16)
    return at_of(
        lambda x: (
            float(np.sum(np.sin(weights * x)) + 0.02 * x @ x),
            weights * np.cos(weights * x) + 0.04 * x,
        )
    )


def at_of(function: Callable[[np.ndarray], tuple[float, np.ndarray]]) -> At:
    helper = Search(SCG(), SHAPES, "float64")

    def at(params: Any) -> tuple[float, Any]:
        loss, gradient = function(helper.join(params))
        return float(loss), helper.split(gradient)

    return at


def follow(search: Search, at: At, start: np.ndarray, count: int) -> list[tuple[float, np.ndarray]]:
    """The loss and the point at each update."""
    params, found = search.split(start), []
    for number in range(count):
        loss, params = search.update(params, number, at)
        found.append((loss, search.join(params)))
    return found


@pytest.mark.parametrize("kind", [Search, rules.Search])
def test_a_quadratic_is_solved_in_as_many_updates_as_it_has_numbers(kind: type[Search]) -> None:
    at, minimum = quadratic()
    search = kind(SCG(sigma=0.01, damping=1e-12), SHAPES, "float64")
    path = follow(search, at, np.zeros(16), 17)
    assert np.abs(path[15][1] - minimum).max() <= 1e-6
    assert np.abs(path[7][1] - minimum).max() > 1e-5


def test_the_two_writings_agree_in_every_branch() -> None:
    seen: dict[str, set[bool]] = {"stepped": set(), "damped": set()}
    at, draw = waves(), np.random.default_rng(1)
    for _ in range(12):
        one, other = (kind(SCG(), SHAPES, "float64") for kind in (Search, rules.Search))
        params = twin = one.split(draw.uniform(-2.0, 2.0, 16))
        for number in range(20):
            before = one.numbers["damping"]
            loss, params = one.update(params, number, at)
            theirs, twin = other.update(twin, number, at)
            assert loss == pytest.approx(theirs, rel=1e-6)
            assert one.numbers == pytest.approx(other.numbers, rel=1e-3)
            seen["stepped"].add(bool(one.numbers["stepped"]))
            seen["damped"].add(one.numbers["damping"] > before)
        assert np.abs(one.join(params) - other.join(twin)).max() <= 1e-4
    assert seen == {name: {True, False} for name in seen}, "a branch was not taken"


def test_losses_never_rise() -> None:
    losses = [
        loss for loss, _ in follow(Search(SCG(), SHAPES, "float64"), waves(), np.ones(16), 40)
    ]
    assert all(after <= before for before, after in pairwise(losses))
    assert losses[-1] < losses[0] - 10.0


def test_nothing_moves_where_the_gradient_is_zero() -> None:
    search = Search(SCG(), SHAPES, "float64")
    flat = at_of(lambda x: (5.0, np.zeros(16)))
    path = follow(search, flat, np.ones(16), 2)
    assert [loss for loss, _ in path] == [5.0, 5.0]
    assert all(np.array_equal(point, np.ones(16)) for _, point in path)


def test_only_rules_that_search_have_one_and_no_layer_may_change_between_passes() -> None:
    assert searching.build(SGD(constant(0.1)), SHAPES, [], "float64") is None
    network = parse("4 -> dense 3 -> dropout 0.5")
    params = Initial().draw(network, 0)
    with pytest.raises(Unsupported, match="'scg' compares losses, which dropout makes differ"):
        registry.get("numpy").learner(network, params, rule=SCG(), dtype="float64")


def test_new_params_begin_the_search_anew() -> None:
    search, (at, _) = Search(SCG(), SHAPES, "float64"), quadratic()
    first = follow(search, at, np.ones(16), 3)
    search.begin()
    again = follow(search, at, np.ones(16), 3)
    assert [loss for loss, _ in first] == [loss for loss, _ in again]
