"""A replay memory that keeps whole transitions, and games to fill it with."""

from __future__ import annotations

import numpy as np

from triptych.runs import trees

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
    """A list of whole transitions for each lane, in the order in which they came."""

    def __init__(self, capacity, lanes=1, n_step=1, discount=1.0):
        self.capacity, self.lanes, self.n_step, self.discount = capacity, lanes, n_step, discount
        self.kept, self.count = [], 0
        self.last = [None] * lanes

    def begin(self, observation, lane=0):
        if self.kept and (left := self.of_lane(lane)):
            left[-1]["ended"] = True  # whether or not it had ended, nothing follows it
        self.last[lane] = observation

    def append(self, action, reward, next_observation, terminated, truncated, lane=0):
        self.kept.append({
            "lane": lane, "observation": self.last[lane], "action": action, "reward": reward,
            "next_observation": next_observation, "terminated": terminated,
            "ended": terminated or truncated,
        })  # fmt: skip
        self.kept = self.kept[-self.capacity :]
        self.last[lane] = next_observation

    def of_lane(self, lane):
        return [row for row in self.kept if row["lane"] == lane]

    def all(self):
        """Every transition that can be drawn, as n steps."""
        rows = []
        for place, row in enumerate(self.kept):
            steps = [other for other in self.kept[place:] if other["lane"] == row["lane"]]
            if len(steps) >= self.n_step:
                rows.append(self.joined(steps[: self.n_step]))
        names = (*NAMES, "discount") if self.n_step > 1 else NAMES
        return {name: np.array([row[name] for row in rows]) for name in names}

    def joined(self, steps):
        ends = [place for place, step in enumerate(steps) if step["ended"]]
        steps = steps[: ends[0] + 1] if ends else steps
        reward = sum(self.discount**k * step["reward"] for k, step in enumerate(steps))
        last = {name: steps[-1][name] for name in ("next_observation", "terminated")}
        return {**steps[0], **last, "reward": reward, "discount": self.discount ** len(steps)}


def assert_same(memory, naive):
    assert len(memory) == len(naive.kept)
    theirs = naive.all()
    assert memory.drawable == len(theirs["action"])
    if not memory.drawable:
        return
    ours = memory.transitions(np.arange(memory.drawable))
    assert set(ours) == set(theirs)
    for name in ours:
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


class Games:
    """Several games side by side, each with a stacker of its own; to be played in pieces."""

    def __init__(self, lanes, *how):
        self.stackers = [Stacker(*how, np.random.default_rng(lane)) for lane in range(lanes)]
        self.lane = self.made = 0

    def begin(self, memories):
        for lane, stacker in enumerate(self.stackers):
            observation = stacker.reset()
            for memory in memories:
                memory.begin(observation, lane)

    def play(self, memories, endings):
        """Play a step of the next lane for each ending, as above; 4 begins twice."""
        for ending in endings:
            lane, stacker = self.lane, self.stackers[self.lane]
            observation = stacker.step()
            # Halves: sums of them times powers of a half are exact in any order.
            step = (self.made % 6, self.made % 7 / 2, observation, ending == 1, ending == 2)
            for memory in memories:
                memory.append(*step, lane=lane)
            for _ in range((ending > 0) + (ending == 4)):
                observation = stacker.reset()
                for memory in memories:
                    memory.begin(observation, lane)
            self.made, self.lane = self.made + 1, (lane + 1) % len(self.stackers)


def whole(snapshot):
    """A snapshot's arrays and numbers by name, its chunks read."""
    read = {name: chunk() for name, chunk in snapshot["chunks"].items()}
    flat = trees.flatten({**snapshot, "chunks": read})
    return {name: np.asarray(value) for name, value in flat.items()}


def assert_same_snapshot(one, other):
    ours, theirs = whole(one.snapshot()), whole(other.snapshot())
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
