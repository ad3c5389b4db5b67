"""Nested state goes apart into arrays and JSON and comes back the same, in its order."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.errors import CheckpointError
from triptych.runs.trees import flatten, join, plain, split, unflatten
from triptych.spec import randomness

KEYS = st.text(alphabet="ab/|\\.é ", max_size=4)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
ARRAYS = st.builds(lambda n: np.arange(n, dtype=np.float32), st.integers(0, 3))
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES | ARRAYS | st.lists(LEAVES, max_size=3),
        lambda below: st.dictionaries(KEYS, below, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def same(one: object, two: object) -> bool:
    """Equal in type, value and order of keys."""
    if isinstance(one, dict) and isinstance(two, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
        return one.dtype == two.dtype and np.array_equal(one, two)
    return type(one) is type(two) and one == two


@settings(deadline=None)
@given(TREES)
def test_flat_names_round_trip(tree):
    flat = flatten(tree)
    assert not any(isinstance(leaf, dict) and leaf for leaf in flat.values())
    assert same(unflatten(flat), tree)


@settings(deadline=None)
@given(TREES)
def test_split_and_join_round_trip_through_json(tree):
    arrays, state, _ = split(tree)
    assert same(join(arrays, json.loads(json.dumps(state))), tree)


def test_names_of_params_stay_readable():
    kernel = np.zeros((3, 3, 1, 16))
    arrays, state, _ = split({"params": {"conv1/kernel": kernel}, "step": 7})
    assert list(arrays) == ["params|conv1/kernel"]
    assert arrays["params|conv1/kernel"] is kernel
    assert state == {"params": {"conv1/kernel": None}, "step": 7}


def test_a_key_that_holds_the_separator_is_not_two_levels():
    assert flatten({"a|b": 1, "a": {"b": 2}}) == {"a\\|b": 1, "a|b": 2}


def test_numpy_scalars_become_pythons():
    values = [np.float32(0.1), np.int64(3), np.bool_(True), np.float64("nan"), (1, 2)]
    found = plain(values, "here")
    assert [type(value) for value in found] == [float, int, bool, float, list]
    assert found[0] == float(np.float32(0.1))
    assert math.isnan(found[3])


def test_a_generators_state_round_trips():
    stream = randomness.generator(0, "replay")
    stream.random(3)
    arrays, state, _ = split({"replay": randomness.get_state(stream)})
    other = randomness.generator(1, "replay")
    randomness.set_state(other, join(arrays, json.loads(json.dumps(state)))["replay"])
    assert other.random() == stream.random()


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        ({"a": {"b": object()}}, r"'a\|b' is of type object"),
        ({"a": [1, np.zeros(2)]}, r"'a\[1\]' is of type ndarray"),
        ({"a": {1: 2}}, "the key 1 is of type int"),
        ({"a": [{1: 2}]}, "the key 1 is of type int"),
        ({"a": b"x"}, "of type bytes"),
        ({"a": np.complex128(1)}, "of type complex"),
    ],
)
def test_what_json_cannot_hold_is_named(tree, fault):
    with pytest.raises(CheckpointError, match=fault):
        split(tree)


@pytest.mark.parametrize("state", [{}, {"x": 1}, {"x": {}}])
def test_arrays_of_another_state_are_refused(state):
    with pytest.raises(CheckpointError, match="no place for the array 'x'"):
        join({"x": np.zeros(2)}, state)


@pytest.mark.parametrize("flat", [{"a": 1, "a|b": 2}, {"a|b": 2, "a": 1}])
def test_flat_names_that_contradict_each_other(flat):
    with pytest.raises(CheckpointError, match="leaf"):
        unflatten(flat)
