"""What a replay memory weighs, how long a draw takes, and what a checkpoint of it costs.

Each memory is filled to the brim in a process of its own, with frames of 84 x 84 that differ, as
four make an observation. Resident memory is what the system says of that process, all of it.

    python benchmarks/replay.py [--out FILE] [--transitions N]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import numpy as np
from processor import processor

from triptych.engines.processes import Job, run_all
from triptych.learn.prioritised import PrioritisedMemory
from triptych.learn.replay import ReplayMemory
from triptych.runs import checkpoints, trees

SHAPE, STACK, BATCH, DRAWS = (84, 84, 4), 4, 32, 2000
EPISODE = 700
"""Steps of an episode: about what random play lasts in Space Invaders."""
INTERVAL = 10_000
"""Steps between checkpoints, as the recipe has it."""


def make(kind, transitions, folder):
    """Return an empty memory of a kind."""
    if kind == "prioritised":
        return PrioritisedMemory(transitions, SHAPE, STACK, alpha=0.6, epsilon=1e-6)
    return ReplayMemory(transitions, SHAPE, STACK, directory=folder if kind == "disk" else None)


def play(memory, steps, rng):
    """Play steps of episodes whose frames are cut out of one large picture of noise."""
    noise = rng.integers(0, 256, 84 * 84 + 100_003, dtype=np.uint8)
    observation = np.zeros(SHAPE, dtype=np.uint8)
    for step in range(steps):
        if step % EPISODE == 0:
            observation[...] = 0
            observation[..., -1] = frame(noise, step)
            memory.begin(observation)
        observation[..., :-1] = observation[..., 1:]
        observation[..., -1] = frame(noise, step + 1)
        memory.append(step % 6, 0.0, observation, step % EPISODE == EPISODE - 1, False)


def frame(noise, number):
    """Return the frame of a number, 84 x 84."""
    start = (number * 7919) % 100_003
    return noise[start : start + 84 * 84].reshape(84, 84)


def resident():
    """Return this process' resident bytes: of its own, and of files that are mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return {"own": int(sizes["RssAnon"]) * 1024, "files": int(sizes["RssFile"]) * 1024}


def draw_times(memory, rng):
    """Return the milliseconds of each of many draws, priorities and all: by the clock, and of this
    process alone, whatever else the machine was doing."""
    times, own = [], []
    for _ in range(DRAWS):
        began, began_own = time.perf_counter(), time.process_time()
        drawn = memory.sample(BATCH, rng)
        if "index" in drawn:
            memory.set_priorities(drawn["index"], drawn["reward"])
        times.append((time.perf_counter() - began) * 1e3)
        own.append((time.process_time() - began_own) * 1e3)
    return times, own


def measure(kind, transitions, folder, tell):
    """Fill a memory; return what it weighs and takes."""
    rng = np.random.default_rng(0)
    memory = make(kind, transitions, folder)
    play(memory, transitions + 1000, rng)
    tell(1, 2, "part")
    times, own = draw_times(memory, rng)
    row = {
        "memory": kind,
        "transitions": len(memory),
        "resident_bytes": resident(),
        "draw_ms": summary(times),
        "draw_processor_ms": summary(own),
    }
    tell(2, 2, "part")
    return row


def checkpoint_times(transitions, folder, tell):
    """Return the seconds of checkpoints of a full memory, one every interval."""
    rng = np.random.default_rng(0)
    memory, ledger, times = make("memory", transitions, None), {}, []
    play(memory, transitions, rng)
    rounds = 6
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for number in range(rounds):
            began = time.perf_counter()
            split = trees.split({"memory": memory.snapshot()})
            checkpoints.save(Path(place), number, *split, ledger)
            times.append(time.perf_counter() - began)
            play(memory, INTERVAL, rng)
            tell(number + 1, rounds, "checkpoint")
        began = time.perf_counter()
        found = checkpoints.load_latest(Path(place)).tree()
        make("memory", transitions, None).restore(found["memory"])
        loading = time.perf_counter() - began
    return {
        "memory": "memory",
        "transitions": transitions,
        "first_checkpoint_s": round(times[0], 2),
        "checkpoint_s": summary(times[1:]),
        "verify_and_restore_s": round(loading, 2),
    }


def machine():
    """Return what the system says of its processor, and how busy it was."""
    busy = round(os.getloadavg()[0], 2)
    return {"processor": processor().get("model name", ""), "cores": os.cpu_count(), "load": busy}


def summary(values):
    """Return median and quartiles."""
    low, _, high = quantiles(values, n=4)
    return {"median": round(median(values), 4), "quartiles": [round(low, 4), round(high, 4)]}


def main():
    """Measure everything, one after the other; write or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--transitions", type=int, default=1_000_000)
    parser.add_argument("--folder", default=".", help="whose disk is used")
    args = parser.parse_args()
    jobs = [
        Job(kind, measure, (kind, args.transitions, args.folder))
        for kind in ("memory", "prioritised", "disk")
    ]
    jobs.append(Job("checkpoints", checkpoint_times, (min(args.transitions, 100_000), args.folder)))
    found = {
        "machine": machine(),
        "command": " ".join(["python", *sys.argv]),
        "rows": run_all(jobs, workers=1),
    }
    text = json.dumps(found, indent=2) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
