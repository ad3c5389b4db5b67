"""The replay memory: what it stores, refuses, draws and saves."""

from __future__ import annotations

import numpy as np
import pytest
from naive_replay import NAMES, NaiveMemory, Stacker, assert_same, play, whole

from triptych.errors import BatchError, CheckpointError, StorageError
from triptych.learn import stacking
from triptych.learn.replay import ReplayMemory
from triptych.learn.stacking import interleave


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("stack", [1, 2, 4, 5])
def test_opencv_and_numpy_put_frames_together_alike(stack, dtype):
    pytest.importorskip("cv2")
    stream = np.random.default_rng(0)
    planes = stream.integers(0, 200, (stack, 7, 5, 3, 1)).astype(dtype)
    ours, theirs = np.zeros((2, 7, 5, 3, stack), dtype)
    interleave(planes, 1, ours)
    interleave(planes, 1, theirs, use_cv2=False)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours[2, ..., -1], planes[-1, 2, ..., 0])


def test_opencv_is_what_is_used(monkeypatch):
    cv2 = pytest.importorskip("cv2")
    calls = []
    monkeypatch.setattr(stacking, "_merge", lambda: lambda *of: calls.append(1) or cv2.merge(*of))
    memory = ReplayMemory(9, (4, 4, 4), 4)
    play([memory], Stacker((4, 4), 1, 4, np.uint8, np.random.default_rng(0)), [0] * 9)
    memory.transitions([1, 2])
    assert len(calls) == 2


def test_what_is_final_is_written_once_and_what_changed_is_not_forgotten(tmp_path):
    memory = ReplayMemory(2000, (2, 2, 2), 2)
    play([memory], Stacker((2, 2), 1, 2, np.uint8, np.random.default_rng(0)), [0, 0, 1] * 400)
    snapshot = memory.snapshot()
    assert list(snapshot["chunks"]) == ["000000000", "000000512"]
    assert len(snapshot["frames"]) == 1200 - 1024
    first = whole(snapshot)
    play([memory], Stacker((2, 2), 1, 2, np.uint8, np.random.default_rng(1)), [0] * 700)
    again = whole(memory.snapshot())
    for name in first:
        if name.startswith("chunks|"):
            np.testing.assert_array_equal(first[name], again[name])
    play([memory], Stacker((2, 2), 1, 2, np.uint8, np.random.default_rng(2)), [0] * 500)
    with pytest.raises(CheckpointError, match="has forgotten transition 0"):
        snapshot["chunks"]["000000000"]()


def test_frames_on_the_disk_have_no_name(tmp_path):
    memory = ReplayMemory(1000, (10, 10, 1), directory=tmp_path)
    assert isinstance(memory._frames, np.memmap)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_hold_frames_is_one_sentence(tmp_path):
    with pytest.raises(StorageError, match=r"cannot keep 0\.1 GB of frames in .*No such file"):
        ReplayMemory(1_000_000, (10, 10, 1), directory=tmp_path / "none")
    with pytest.raises(StorageError, match=r"cannot keep .* GB of frames"):
        ReplayMemory(10**12, (84, 84, 1), directory=tmp_path)
    with pytest.raises(BatchError, match=r"frames alone take 7,056,000\.0 GB; take a smaller"):
        ReplayMemory(10**12, (84, 84, 1))


def test_lanes_append_in_turn():
    memory = ReplayMemory(10, (2,), lanes=2)
    zeros = np.zeros(2, np.uint8)
    memory.begin(zeros, 0)
    with pytest.raises(BatchError, match="lane 0 is next, not 1"):
        memory.append(0, 0.0, zeros, False, False, lane=1)
    memory.append(0, 0.0, zeros, False, False, lane=0)
    with pytest.raises(BatchError, match="no episode is running"):
        memory.append(0, 0.0, zeros, False, False, lane=1)
    with pytest.raises(BatchError, match="lanes 0 to 1, not 2"):
        memory.begin(zeros, 2)


def test_n_steps_need_as_many_transitions():
    memory = ReplayMemory(10, (2,), n_step=3, discount=0.9)
    memory.begin(np.zeros(2, np.uint8))
    for _ in range(2):
        memory.append(0, 1.0, np.zeros(2, np.uint8), False, False)
    with pytest.raises(BatchError, match="holds 2 transitions, of which none has 2 after it"):
        memory.sample(1, np.random.default_rng(0))
    memory.append(0, 1.0, np.ones(2, np.uint8), False, False)
    drawn = memory.sample(4, np.random.default_rng(0))
    np.testing.assert_allclose(drawn["reward"], 1 + 0.9 + 0.81, rtol=1e-15)
    np.testing.assert_allclose(drawn["discount"], 0.729, rtol=1e-15)
    assert drawn["next_observation"].min() == 1


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
        ("ended", lambda x: x.astype(np.int64)),
        ("ended", lambda x: ~x),
        ("length", lambda x: x - 3),
        ("length", lambda x: 10**9),
        ("next", lambda x: -1),
        ("playing", lambda x: 2),
        ("pending_depth", lambda x: x[:0]),
        ("pending_frames", lambda x: x.astype(np.float32)),
        ("chunks", lambda x: {"000000000": dict}),
        ("frames", lambda x: None),
    ],
)
def test_a_damaged_snapshot_is_refused(name, value):
    snapshot = filled().snapshot()
    snapshot[name] = value(snapshot[name])
    with pytest.raises(CheckpointError, match="damaged"):
        filled().restore(snapshot)
