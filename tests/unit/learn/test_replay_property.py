"""The replay memory against a naive one, over random plays and snapshots in the middle."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_replay import Games, NaiveMemory, assert_same, assert_same_snapshot, whole

from triptych.learn import replay_state
from triptych.learn.replay import ReplayMemory
from triptych.runs import checkpoints, trees


def through_a_checkpoint(snapshot, folder):
    """What of a snapshot comes back from the disk."""
    path = checkpoints.save(folder, 1, *trees.split(snapshot))
    return checkpoints.load(path).tree()


ENDINGS = st.lists(st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3, 4]), max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    capacity=st.integers(1, 30),
    stack=st.sampled_from([1, 2, 3, 4, 8]),
    channels=st.sampled_from([1, 3]),
    dtype=st.sampled_from([np.uint8, np.float32]),
    lanes=st.integers(1, 4),
    n_step=st.integers(1, 4),
    chunk=st.integers(1, 9),
    on_disk=st.booleans(),
    pieces=st.lists(ENDINGS, min_size=1, max_size=4),
    anew=st.booleans(),
)
def test_equals_a_memory_of_whole_transitions(
    tmp_path_factory, capacity, stack, channels, dtype, lanes, n_step, chunk, on_disk, pieces, anew
):
    """Over random episodes, cut off, terminated or left unfinished, and round the ring; after each
    piece another memory, in which others had played, goes on from a snapshot, perhaps with new
    episodes. What a snapshot held to be final stays as it was."""
    shape, folder = (3, 2, channels * stack), tmp_path_factory.mktemp("replay")

    def make():
        return ReplayMemory(
            capacity, shape, stack, dtype, lanes=lanes, n_step=n_step, discount=0.5,
            directory=folder if on_disk else None,
        )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay_state, "CHUNK", chunk)
        patch.setattr(os, "fsync", lambda descriptor: None)  # hundreds of small files
        games = Games(lanes, (3, 2), channels, stack, dtype)
        memory, naive = make(), NaiveMemory(capacity, lanes, n_step, 0.5)
        final = {}
        games.begin([memory, naive])
        for endings in pieces:
            games.play([memory, naive], endings)
            assert_same(memory, naive)
            others = Games(lanes, (3, 2), channels, stack, dtype)
            restored = make()
            others.begin([restored])
            others.play([restored], [0, 1, 0, 2, 0, 0])
            restored.restore(through_a_checkpoint(memory.snapshot(), folder))
            assert_same(restored, naive)
            assert_same_snapshot(restored, memory)
            memory = restored
            for name, array in whole(memory.snapshot()).items():
                if name.startswith("chunks|"):
                    np.testing.assert_array_equal(final.setdefault(name, array), array)
            if anew:
                games.begin([memory, naive])
