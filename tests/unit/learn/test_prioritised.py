"""Prioritised replay against the paper's formulas, and its tree of sums against a plain list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_replay import NaiveMemory, Stacker, assert_same, assert_same_snapshot, play

from triptych.errors import BatchError, CheckpointError
from triptych.learn.prioritised import PrioritisedMemory, SumTree

SHAPE = (2, 2, 2)


def make(capacity=20, alpha=0.6, epsilon=0.01, **options):
    return PrioritisedMemory(capacity, SHAPE, 2, alpha=alpha, epsilon=epsilon, **options)


def filled(steps, *memories, seed=0):
    play(memories, Stacker((2, 2), 1, 2, np.uint8, np.random.default_rng(seed)), [0, 0, 1] * steps)
    return memories[0]


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 40),
    batches=st.lists(st.lists(st.tuples(st.integers(0, 39), st.floats(0, 9)), max_size=20)),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=9),
)
def test_the_tree_finds_what_a_running_sum_finds(size, batches, shares):
    tree, plain = SumTree(size), np.zeros(size)
    for pairs in batches:
        for place, value in pairs:
            plain[place % size] = value
        places = np.array([place % size for place, _ in pairs], dtype=np.int64)
        tree.set(places, np.array([value for _, value in pairs]))
    np.testing.assert_array_equal(tree.get(np.arange(size)), plain)
    assert tree.total == pytest.approx(plain.sum(), rel=1e-12)
    if tree.total == 0:
        return
    sums = np.array(shares) * tree.total
    for place, wanted in zip(tree.find(sums), sums, strict=True):
        assert plain[place] > 0
        assert plain[:place].sum() <= wanted * (1 + 1e-9)
        assert wanted <= plain[: place + 1].sum() * (1 + 1e-9)


def test_draws_are_one_call_one_from_each_share_and_follow_the_priorities():
    memory = filled(10, make())
    errors = np.arange(20.0)
    memory.set_priorities(np.arange(10, 30), errors)
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    drawn = memory.sample(5, rng, beta=0.4)
    shares = (np.arange(5) + twin.random(5)) / 5
    assert rng.bit_generator.state == twin.bit_generator.state
    probability = (errors + 0.01) ** 0.6
    probability /= probability.sum()
    expected = np.searchsorted(np.cumsum(probability), shares, side="right")
    # The leaves' order is that of the ring, in which number 20 comes first.
    ring = np.roll(probability, 10)
    expected = (np.searchsorted(np.cumsum(ring), shares, side="right") + 10) % 20 + 10
    assert drawn["index"].dtype == np.int64 and drawn["weight"].dtype == np.float64
    np.testing.assert_array_equal(drawn["index"], expected)
    weight = (20 * probability[expected - 10]) ** -0.4
    np.testing.assert_allclose(drawn["weight"], weight / weight.max(), rtol=1e-12)
    plain = memory.transitions(expected - 10)
    for name, array in plain.items():
        np.testing.assert_array_equal(drawn[name], array)

    many = np.concatenate([memory.sample(20, rng)["index"] for _ in range(1000)])
    counts = np.bincount(many - 10, minlength=20) / len(many)
    np.testing.assert_allclose(counts, probability, atol=0.004)


def test_the_newest_are_drawn_as_often_as_the_most_surprising():
    memory = make(alpha=1.0)
    filled(4, memory)
    memory.set_priorities(np.arange(12), np.full(12, 4.99))
    filled(1, memory)
    np.testing.assert_allclose(memory.snapshot()["priorities"], 5.0)
    memory.set_priorities(np.array([14, 14]), np.array([9.0, -0.09]))
    filled(1, memory)
    np.testing.assert_allclose(memory.snapshot()["priorities"][14:], [0.1, 9.01, 9.01, 9.01])


@pytest.mark.parametrize(("lanes", "n_step"), [(1, 1), (1, 3)])
def test_it_stores_as_the_plain_memory_and_draws_only_what_it_may(lanes, n_step):
    memory, naive = make(n_step=n_step, discount=0.5), NaiveMemory(20, lanes, n_step, 0.5)
    rng = np.random.default_rng(0)
    for steps in range(1, 12):
        endings = [0, 0, 1] * steps
        play([memory, naive], Stacker((2, 2), 1, 2, np.uint8, rng), endings)
        memory.append(0, 1.0, np.zeros(SHAPE, np.uint8), True, False)
        naive.append(0, 1.0, np.zeros(SHAPE, np.uint8), True, False)
        naive_last = naive.all()
        assert memory.drawable == len(naive_last["action"])
        index = memory.sample(64, rng)["index"]
        oldest = memory._next - len(memory)
        assert index.min() >= oldest and index.max() < oldest + memory.drawable
        memory.set_priorities(index, rng.random(64))
    ours = memory.transitions(np.arange(memory.drawable))
    np.testing.assert_array_equal(ours["observation"], naive.all()["observation"])
    if n_step == 1:
        del ours
    else:
        np.testing.assert_allclose(ours["discount"], naive.all()["discount"])


def test_lanes_and_steps_leave_the_newest_out():
    memory = make(lanes=2, n_step=2)
    zeros = np.zeros(SHAPE, np.uint8)
    for lane in (0, 1):
        memory.begin(zeros, lane)
    for number in range(50):
        memory.append(number, 0.0, zeros, False, False, lane=number % 2)
    assert memory.drawable == 18
    index = memory.sample(200, np.random.default_rng(0))["index"]
    assert set(index.tolist()) == set(range(30, 48))


def test_what_was_overwritten_keeps_no_priority():
    memory = filled(7, make())
    drawn = memory.sample(8, np.random.default_rng(0))
    filled(6, memory)
    before = memory.snapshot()["priorities"].copy()
    gone = drawn["index"] < memory._next - len(memory)
    assert gone.any() and not gone.all()
    memory.set_priorities(drawn["index"][gone], np.full(gone.sum(), 3.0))
    np.testing.assert_array_equal(memory.snapshot()["priorities"], before)


def test_a_restored_memory_draws_the_same():
    memory, other = filled(12, make(n_step=2)), filled(5, make(n_step=2), seed=1)
    rng = np.random.default_rng(0)
    for _ in range(5):
        index = memory.sample(16, rng)["index"]
        memory.set_priorities(index, rng.normal(size=16))
    other.restore(memory.snapshot())
    assert_same_snapshot(other, memory)
    for _ in range(3):
        state = rng.bit_generator.state
        ours = memory.sample(16, rng)
        rng.bit_generator.state = state
        theirs = other.sample(16, rng)
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])
        for each in (memory, other):
            each.set_priorities(ours["index"], np.arange(16.0))
        filled(2, memory, other)


@pytest.mark.parametrize("name", ["priorities", "largest"])
def test_damaged_priorities_are_refused(name):
    snapshot = filled(5, make()).snapshot()
    with pytest.raises(CheckpointError, match="priorities are damaged"):
        make().restore({**snapshot, name: snapshot[name][:3] if name == "priorities" else None})
    del snapshot[name]
    with pytest.raises(CheckpointError, match="priorities are damaged"):
        make().restore(snapshot)


def test_bad_input_is_one_sentence():
    memory = make()
    with pytest.raises(BatchError, match="is empty"):
        memory.sample(1, np.random.default_rng(0))
    filled(3, memory)
    with pytest.raises(BatchError, match="go up to 8, but 0 to 9"):
        memory.set_priorities(np.array([0, 9]), np.zeros(2))
    with pytest.raises(BatchError, match="as many errors"):
        memory.set_priorities(np.array([0, 1]), np.zeros(3))
    with pytest.raises(BatchError, match="not finite"):
        memory.set_priorities(np.array([0]), np.array([np.nan]))
    with pytest.raises(BatchError, match="alpha must be 0 or more and epsilon more than 0"):
        make(epsilon=0.0)


def test_without_priorities_it_is_uniform():
    memory = filled(10, make(alpha=0.0))
    memory.set_priorities(np.arange(10, 30), np.arange(20.0))
    drawn = memory.sample(20, np.random.default_rng(0), beta=1.0)
    assert sorted(drawn["index"].tolist()) == list(range(10, 30))
    np.testing.assert_array_equal(drawn["weight"], 1.0)
    assert_same(make(), NaiveMemory(20))
