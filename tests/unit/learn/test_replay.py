"""The replay memory against a naive one that keeps whole observations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.errors import BatchError, CheckpointError
from triptych.learn.replay import ReplayMemory

NAMES = ("observation", "action", "reward", "next_observation", "terminated")


class Stacker:
    """Makes channels-last observations of random frames, zero padded at an episode's start."""

    def __init__(self, size, channels, stack, dtype, rng):
        self.shape, self.stack, self.dtype, self.rng = (*size, channels), stack, dtype, rng
        self.frames = []

    def reset(self):
        self.frames = [np.zeros(self.shape, self.dtype)] * (self.stack - 1)
        return self.step()

    def step(self):
        frame = self.rng.integers(1, 200, self.shape).astype(self.dtype)
        self.frames = [*self.frames, frame][-self.stack :]
        return np.concatenate(self.frames, axis=-1)


class NaiveMemory:
    def __init__(self, capacity):
        self.capacity, self.kept, self.last = capacity, [], None

    def begin(self, observation):
        self.last = observation

    def append(self, action, reward, next_observation, terminated, truncated):
        self.kept.append((self.last, action, reward, next_observation, terminated))
        self.kept = self.kept[-self.capacity :]
        self.last = next_observation

    def transitions(self, indices):
        rows = [self.kept[i] for i in indices]
        return {name: np.array([row[k] for row in rows]) for k, name in enumerate(NAMES)}


def assert_same(memory, naive):
    assert len(memory) == len(naive.kept)
    if not len(memory):
        return
    everything = np.arange(len(memory))
    ours, theirs = memory.transitions(everything), naive.transitions(everything)
    assert set(ours) == set(NAMES)
    for name in NAMES:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def play(memories, stacker, endings):
    """Play one step for each ending: 0 go on, 1 terminated, 2 truncated, 3 left unfinished."""
    observation = stacker.reset()
    for memory in memories:
        memory.begin(observation)
    for number, ending in enumerate(endings):
        observation = stacker.step()
        for memory in memories:
            memory.append(number % 6, number / 3, observation, ending == 1, ending == 2)
        if ending:
            observation = stacker.reset()
            for memory in memories:
                memory.begin(observation)


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.integers(1, 12),
    stack=st.sampled_from([1, 2, 3, 4, 8]),
    channels=st.sampled_from([1, 3]),
    dtype=st.sampled_from([np.uint8, np.float32]),
    endings=st.lists(st.sampled_from([0, 0, 0, 0, 1, 2, 3]), max_size=40),
    more=st.lists(st.sampled_from([0, 0, 0, 1, 2, 3]), max_size=25),
)
def test_equals_a_memory_of_whole_observations(capacity, stack, channels, dtype, endings, more):
    stacker = Stacker((3, 2), channels, stack, dtype, np.random.default_rng(0))
    shape = (3, 2, channels * stack)
    memory, naive = ReplayMemory(capacity, shape, stack, dtype), NaiveMemory(capacity)
    play([memory, naive], stacker, endings)
    assert_same(memory, naive)
    restored = ReplayMemory(capacity, shape, stack, dtype)
    play([restored], Stacker((3, 2), channels, stack, dtype, np.random.default_rng(1)), [0, 1, 0])
    restored.restore(memory.snapshot())
    assert_same(restored, naive)
    play([memory, restored, naive], stacker, more)
    assert_same(memory, naive)
    assert_same(restored, naive)


def test_a_restored_memory_goes_on_in_the_middle_of_an_episode():
    stacker = Stacker((2, 2), 1, 4, np.uint8, np.random.default_rng(0))
    memory, naive = ReplayMemory(5, (2, 2, 4), 4), NaiveMemory(5)
    play([memory, naive], stacker, [0, 0, 1, 0, 0, 0, 0])
    restored = ReplayMemory(5, (2, 2, 4), 4)
    restored.restore(memory.snapshot())
    for number in range(7):
        observation = stacker.step()
        restored.append(number, 1.0, observation, False, False)
        naive.append(number, 1.0, observation, False, False)
        assert_same(restored, naive)


def test_the_newest_transition_counts_before_and_after_its_episode_ends():
    memory = ReplayMemory(3, (2,), dtype=np.float32)
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    memory.begin(rows[0])
    memory.append(1, 0.5, rows[1], False, False)
    np.testing.assert_array_equal(memory.transitions([0])["next_observation"], rows[1:2])
    memory.append(0, 1.5, rows[2], True, False)
    memory.begin(rows[3])
    both = memory.transitions([0, 1])
    np.testing.assert_array_equal(both["observation"], rows[:2])
    np.testing.assert_array_equal(both["next_observation"], rows[1:3])
    assert both["terminated"].tolist() == [False, True]


def test_types_and_copies():
    memory = ReplayMemory(3, (2, 2, 1))
    memory.begin(np.ones((2, 2, 1), np.uint8))
    memory.append(2, 1.0, np.ones((2, 2, 1), np.uint8), False, True)
    first = memory.transitions([0])
    types = {name: str(array.dtype) for name, array in first.items()}
    assert types == {
        "observation": "uint8",
        "action": "int32",
        "reward": "float64",
        "next_observation": "uint8",
        "terminated": "bool",
    }
    for array in first.values():
        array[...] = 0
    memory.transitions([0])["observation"][...] = 7
    assert memory.transitions([0])["observation"].min() == 1
    assert memory.transitions([0])["action"].tolist() == [2]


@pytest.mark.parametrize("stack", [1, 4])
def test_a_batch_stays_as_it_is_when_the_next_is_drawn(stack):
    memory = ReplayMemory(20, (4, 4, stack), stack)
    stacker = Stacker((4, 4), 1, stack, np.uint8, np.random.default_rng(0))
    play([memory], stacker, [0] * 20)
    first = memory.transitions([0])
    kept = {name: array.copy() for name, array in first.items()}
    memory.transitions([15])
    for name in NAMES:
        np.testing.assert_array_equal(first[name], kept[name])


def test_sample_is_one_call_of_integers():
    memory = ReplayMemory(50, (3, 3, 2), 2)
    play([memory], Stacker((3, 3), 1, 2, np.uint8, np.random.default_rng(0)), [0, 0, 1, 0] * 20)
    rng, twin = np.random.default_rng(4), np.random.default_rng(4)
    drawn = memory.sample(16, rng)
    expected = memory.transitions(twin.integers(0, 50, size=16))
    for name in NAMES:
        np.testing.assert_array_equal(drawn[name], expected[name])
    assert rng.bit_generator.state == twin.bit_generator.state


def test_a_million_frames_weigh_at_most_7_2_gigabytes():
    memory = ReplayMemory(1_000_000, (84, 84, 4), 4)
    arrays = [value for value in vars(memory).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) <= 7.2e9


def test_last_frames_are_forgotten_with_their_transitions():
    memory = ReplayMemory(4, (2, 2, 2), 2)
    play([memory], Stacker((2, 2), 1, 2, np.uint8, np.random.default_rng(0)), [1, 2, 3] * 20)
    assert len(memory.snapshot()["last_frames"]) <= 4


def test_bad_input_is_one_sentence():
    memory = ReplayMemory(4, (2, 2, 2), 2)
    good = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(BatchError, match="empty"):
        memory.sample(1, np.random.default_rng(0))
    with pytest.raises(BatchError, match="begin"):
        memory.append(0, 0.0, good, False, False)
    with pytest.raises(BatchError, match=r"shape \(2, 2, 2\) and type uint8.*float64"):
        memory.begin(np.zeros((2, 2, 2)))
    with pytest.raises(BatchError, match="zero padding"):
        memory.begin(good + np.uint8(1))
    memory.begin(good)
    with pytest.raises(BatchError, match=r"got shape \(2, 2\)"):
        memory.append(0, 0.0, good[0], False, False)
    memory.append(0, 0.0, good, True, False)
    with pytest.raises(BatchError, match="begin"):
        memory.append(0, 0.0, good, False, False)
    for wrong in ([1], [-1], [0.5], 0):
        with pytest.raises(BatchError, match="transition numbers"):
            memory.transitions(wrong)
    for sizes in ((0, (2,), 1), (1.5, (2,), 1), (3, (2, 3), 2), (3, (2,), 0), (3, (512,), 256)):
        with pytest.raises(BatchError):
            ReplayMemory(*sizes)


def filled():
    memory = ReplayMemory(6, (3, 3, 2), 2)
    play([memory], Stacker((3, 3), 1, 2, np.uint8, np.random.default_rng(0)), [0, 0, 1, 0, 2] * 3)
    return memory


@pytest.mark.parametrize(
    ("capacity", "shape", "stack", "dtype"),
    [
        (7, (3, 3, 2), 2, np.uint8),
        (6, (3, 3, 2), 1, np.uint8),
        (6, (3, 3, 4), 2, np.uint8),
        (6, (3, 3, 2), 2, np.float32),
    ],
)
def test_a_snapshot_of_another_memory_is_refused(capacity, shape, stack, dtype):
    with pytest.raises(CheckpointError, match="another recipe"):
        ReplayMemory(capacity, shape, stack, dtype).restore(filled().snapshot())


@pytest.mark.parametrize("name", sorted(filled().snapshot()))
def test_a_snapshot_that_lacks_a_part_is_refused_and_changes_nothing(name):
    memory, snapshot = filled(), filled().snapshot()
    del snapshot[name]
    with pytest.raises(CheckpointError, match=f"damaged.*{name}"):
        memory.restore(snapshot)
    np.testing.assert_array_equal(memory.snapshot()["frames"], filled().snapshot()["frames"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frames", lambda x: x[:-1]),
        ("reward", lambda x: x[1:]),
        ("action", lambda x: x.astype(np.float64)),
        ("depth", lambda x: x[:, None]),
        ("last_frames", lambda x: x[:-1]),
        ("ended", lambda x: x + 100),
        ("ended", lambda x: x[::-1]),
        ("length", lambda x: x - 3),
        ("length", lambda x: 10**9),
        ("playing", lambda x: 2),
        ("frames", lambda x: None),
    ],
)
def test_a_damaged_snapshot_is_refused(name, value):
    snapshot = filled().snapshot()
    snapshot[name] = value(snapshot[name])
    with pytest.raises(CheckpointError, match="damaged"):
        filled().restore(snapshot)
