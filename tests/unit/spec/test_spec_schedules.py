"""Schedules at their boundaries, and reading them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.spec.fields import MistakesError
from triptych.spec.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    Linear,
    Piecewise,
    parse_schedule,
)


def test_constant():
    assert [Constant(0.3).value(count) for count in (0, 1, 10**9)] == [0.3] * 3


def test_linear_at_its_boundaries():
    schedule = Linear(1.0, 0.1, 1_000_000)
    assert schedule.value(0) == 1.0
    assert schedule.value(500_000) == pytest.approx(0.55, abs=1e-15)
    assert schedule.value(999_999) > 0.1
    assert schedule.value(1_000_000) == schedule.value(10**9) == pytest.approx(0.1, abs=1e-15)
    assert Linear(0.0, 1.0, 1).value(1) == 1.0


def test_exponential_at_its_boundaries():
    smooth = Exponential(0.8, 0.5, 10)
    assert smooth.value(0) == 0.8
    assert smooth.value(10) == 0.4
    assert smooth.value(5) == pytest.approx(0.8 * math.sqrt(0.5), rel=1e-15)
    stairs = Exponential(0.8, 0.5, 10, staircase=True)
    assert [stairs.value(count) for count in (0, 9, 10, 19, 20)] == [0.8, 0.8, 0.4, 0.4, 0.2]
    assert Exponential(1.0, 10.0, 1).value(10**6) == math.inf
    assert Exponential(1.0, 0.1, 1).value(10**6) == 0.0


def test_cosine_at_its_boundaries():
    schedule = Cosine(1.0, 0.2, 100)
    assert schedule.value(0) == 1.0
    assert schedule.value(50) == pytest.approx(0.6, abs=1e-15)
    assert schedule.value(25) == pytest.approx(0.2 + 0.4 * (1 + math.sqrt(0.5)), abs=1e-15)
    assert schedule.value(100) == schedule.value(101) == 0.2


def test_piecewise_at_its_boundaries():
    schedule = Piecewise((10, 20), (3.0, 2.0, 1.0))
    assert [schedule.value(c) for c in (0, 9, 10, 19, 20, 10**6)] == [3.0, 3.0, 2.0, 2.0, 1.0, 1.0]
    assert Piecewise((), (3.0,)).value(5) == 3.0


part = st.floats(0.0, 2.0)
schedules = st.one_of(
    st.builds(Constant, part),
    st.builds(Linear, part, part, st.integers(1, 50)),
    st.builds(Exponential, part, st.floats(0.1, 1.0), st.integers(1, 50), st.booleans()),
    st.builds(Cosine, part, part, st.integers(1, 50)),
    st.builds(Piecewise, st.just((3, 7)), st.tuples(part, part, part)),
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(schedules, st.integers(0, 100))
def test_no_value_exceeds_the_highest(schedule, count):
    assert 0.0 <= schedule.value(count) <= schedule.highest() * (1 + 1e-15)
    assert hash(schedule) == hash(type(schedule)(*vars(schedule).values()))


def test_a_growing_schedule_has_no_bound():
    assert Exponential(0.1, 1.01, 5).highest() == math.inf


@pytest.mark.parametrize(
    ("value", "schedule"),
    [
        (0, Constant(0.0)),
        (0.5, Constant(0.5)),
        ("2.5e-4", Constant(2.5e-4)),
        (Linear(1.0, 0.0, 5), Linear(1.0, 0.0, 5)),
        ({"schedule": "constant", "start": 1}, Constant(1.0)),
        ({"schedule": "linear", "start": 1, "end": "1e-1", "steps": 5}, Linear(1.0, 0.1, 5)),
        (
            {"schedule": "exponential", "start": 1, "factor": 0.5, "steps": 5, "staircase": True},
            Exponential(1.0, 0.5, 5, True),
        ),
        ({"schedule": "cosine", "start": 1, "end": 0, "steps": 5}, Cosine(1.0, 0.0, 5)),
        (
            {"schedule": "piecewise", "boundaries": [1, 5], "values": [3, 2, "1e-3"]},
            Piecewise((1, 5), (3.0, 2.0, 1e-3)),
        ),
    ],
)
def test_reading(value, schedule):
    assert parse_schedule(value) == schedule
    assert type(parse_schedule(value)) is type(schedule)


def test_every_schedule_is_known_by_its_name():
    assert {name: schedule.name for name, schedule in SCHEDULES.items()} == {
        name: name for name in ("constant", "linear", "exponential", "cosine", "piecewise")
    }


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (-1, "must be at least 0 but is -1"),
        (math.nan, "expected a finite number but found nan"),
        (math.inf, "expected a finite number but found inf"),
        (10**400, "expected a finite number but found 1000"),
        (True, "expected a finite number but found True"),
        (None, "expected a finite number but found None"),
        ("fast", "expected a finite number but found 'fast'"),
        ([1, 2], "expected a finite number but found"),
        ({}, "rate.schedule: is missing; known are constant, linear"),
        ({"schedule": "liner"}, r"rate.schedule: 'liner' is unknown \(did you mean 'linear'"),
        ({"schedule": 5}, "rate.schedule: 5 is unknown; known are"),
        ({"schedule": ["linear"]}, "is unknown"),
        ({"schedule": "constant", "start": -0.1}, "rate.start: must be at least 0.0 but is -0.1"),
        ({"schedule": "constant", "start": math.nan}, "rate.start: expected a finite number"),
        (
            {"schedule": "linear", "start": 1, "end": -1, "steps": 0.5},
            "rate.end: must be at least 0.0 but is -1.0; rate.steps: expected a whole number",
        ),
        ({"schedule": "linear", "start": 1}, "rate.end: is missing; rate.steps: is missing"),
        ({"schedule": "cosine", "start": 1, "end": 0, "steps": 0}, "must be at least 1 but is 0"),
        (
            {"schedule": "exponential", "start": 1, "factor": 0, "steps": 2},
            "rate.factor: must be above 0.0 but is 0.0",
        ),
        (
            {"schedule": "exponential", "start": 1, "factor": 1, "steps": 2, "staircase": 1},
            "rate.staircase: expected true or false but found 1",
        ),
        ({"schedule": "constant", "start": 1, "strat": 2}, r"rate.strat: unknown option \(did you"),
    ],
)
def test_what_is_no_schedule(value, says):
    with pytest.raises(ValueError, match=says):
        parse_schedule(value, "rate")


@pytest.mark.parametrize(
    ("boundaries", "values", "says"),
    [
        ([5], [1], "one value more than boundaries but has 1 values and 1 boundaries"),
        ([5, 5], [1, 2, 3], "must be above 0 and rise"),
        ([5, 3], [1, 2, 3], "must be above 0 and rise"),
        ([0], [1, 2], "must be above 0 and rise"),
        (5, [1, 2], "boundaries: expected a list of whole numbers but found 5"),
        ("ab", [1, 2, 3], "boundaries: expected a list"),
        ([1.5], [1, 2], "boundaries: expected a whole number but found 1.5"),
        ([True], [1, 2], "boundaries: expected a whole number but found True"),
        ([5], [1, None], "values: expected a finite number but found None"),
        ([5], [1, -1], "values: every number must be at least 0"),
        ([5], None, "values: expected a list of numbers but found None"),
    ],
)
def test_what_is_no_piecewise(boundaries, values, says):
    with pytest.raises(MistakesError, match=says):
        parse_schedule({"schedule": "piecewise", "boundaries": boundaries, "values": values})
