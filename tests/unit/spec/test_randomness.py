"""Named streams: independent, repeatable, exactly restorable, stable over releases."""

from __future__ import annotations

import json

import numpy as np

from triptych.spec.randomness import generator, get_state, integer_seed, sequence, set_state


def test_streams_depend_on_seed_and_name_alone():
    first = generator(3, "replay").random(5)
    np.testing.assert_array_equal(first, generator(3, "replay").random(5))
    assert not np.array_equal(first, generator(3, "explore").random(5))
    assert not np.array_equal(first, generator(4, "replay").random(5))


def test_state_survives_json_in_the_middle_of_a_stream():
    stream = generator(1, "explore")
    stream.integers(0, 5, size=3, dtype=np.uint32)  # leaves half a 64-bit word in the buffer
    state = json.loads(json.dumps(get_state(stream)))
    assert state["has_uint32"] == "int:1"
    expected = stream.integers(0, 2**32, size=7, dtype=np.uint32)
    other = generator(99, "other")
    set_state(other, state)
    np.testing.assert_array_equal(other.integers(0, 2**32, size=7, dtype=np.uint32), expected)


def test_taking_the_state_changes_nothing():
    stream, other = generator(1, "a"), generator(1, "a")
    get_state(stream)
    assert stream.random() == other.random()


def test_integer_seeds_fit_into_31_bits():
    seeds = {integer_seed(seed, "environment") for seed in range(200)}
    assert len(seeds) == 200
    assert all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)


def test_streams_stay_what_they_are():
    """A release that shifts a stream changes every published run."""
    assert sequence(7, "replay").entropy == [7, 3644323058]
    assert generator(7, "replay").integers(0, 1000, 5).tolist() == [28, 809, 576, 355, 966]
    assert integer_seed(7, "replay") == 915667980
