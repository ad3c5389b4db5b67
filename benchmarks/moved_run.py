"""The proof of resume elsewhere: a fruit run on all three frameworks equals the run that stayed.

A run in float64 is trained 250 episodes in Keras, 125 in JAX and 125 in PyTorch; another one of the
same seed stays in Keras. Every action, reward and picture they remember is compared, every row of
their tables, and their final params. Each step is a command line that anyone can run alone.

    python benchmarks/moved_run.py [--out docs/results/moved-run.json] [--again]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from triptych.runs import checkpoints, metrics, trees
from triptych.runs.folder import RunFolder

WORK = Path("runs/proof/moved-run")
STAYED, MOVED = WORK / "stayed", WORK / "moved"
_BEGIN = (
    *("train", "fruit", "--set", "task.grid=10", "--set", "logging.episodes=1"),
    *("--dtype", "float64", "--backend", "keras"),
)
COMMANDS = (
    (*_BEGIN, "--out", str(STAYED)),
    (*_BEGIN, "--until", "250", "--out", str(MOVED)),
    ("train", "--resume", str(MOVED), "--backend", "jax", "--until", "375"),
    ("train", "--resume", str(MOVED), "--backend", "torch"),
)
LOSS, TRAVELLED = 1e-9, 1e-9
"""Bounds: of a row's loss, relative; and of the final params, of the way they travelled."""
_GIVEN = ("frames", "action", "reward", "terminated", "length")
"""What the replay memory, which holds the whole run, keeps of every step."""


def train() -> list[str]:
    """Run the commands from scratch, and return them."""
    shutil.rmtree(WORK, ignore_errors=True)
    for words in COMMANDS:
        print("$", shlex.join(["triptych", *words]), flush=True)
        subprocess.run([sys.executable, "-m", "triptych", *words], check=True)
    return [shlex.join(["triptych", *words]) for words in COMMANDS]


def last_state(run: RunFolder) -> dict[str, Any]:
    """What the last checkpoint holds of a run's training."""
    newest = checkpoints.load_latest(run.checkpoints)
    state: dict[str, Any] = trees.join(newest.arrays, newest.state)["training"]
    return state


def compare(stayed: RunFolder, moved: RunFolder) -> dict[str, Any]:
    """Return what was found, and the bars with their truth."""
    home, away = last_state(stayed)["agent"], last_state(moved)["agent"]
    unlike = int(np.sum(home["memory"]["action"] != away["memory"]["action"]))
    same = all(np.array_equal(home["memory"][key], away["memory"][key]) for key in _GIVEN)
    left, right = metrics.read(stayed.metrics), metrics.read(moved.metrics)
    columns = [name for name in left if name != "loss" and np.array_equal(left[name], right[name])]
    learnt = np.isfinite(left["loss"])
    gap = np.abs(left["loss"] - right["loss"])[learnt] / np.abs(left["loss"][learnt])
    params = distances(stayed, moved)
    steps, made = int(home["steps"]), int(home["learner"]["updates"])
    bars = {
        f"all {steps:,} actions, rewards and pictures are the same": same and unlike == 0,
        f"every column but the loss is the same in all {len(learnt)} rows": len(columns) + 1
        == len(left)
        and np.array_equal(learnt, np.isfinite(right["loss"])),
        f"every row's loss is within {LOSS} of the other": bool(gap.max() <= LOSS),
        f"the final params are within {TRAVELLED} of the way they travelled": params["share"]
        <= TRAVELLED,
        "the folder says keras, then jax, then torch": moved.trained_by == "keras, then jax, "
        "then torch",
    }
    return {
        "bars": bars,
        "steps": steps,
        "updates": made,
        "actions_that_differ": unlike,
        "equal_columns": columns,
        "largest_loss_gap": float(gap.max()),
        "params": params,
        "score": {"stayed": stayed.header["metric"], "moved": moved.header["metric"]},
        "moves": [[move["step"], move["backend"]] for move in moved.moves],
        "versions": moved.header["versions"],
    }


def distances(stayed: RunFolder, moved: RunFolder) -> dict[str, float]:
    """How far the final params are apart, and how far they went from the first ones.

    The first params are drawn from the seed alone, so that they can be drawn again.
    """
    from triptych.engines import setup

    recipe = setup.recipe_of(stayed)
    first = recipe.initial.draw(recipe.network, setup.header_of(stayed).seed)
    left, right = stayed.params(), moved.params()
    apart = float(np.sqrt(sum(np.sum((left[n] - right[n]) ** 2) for n in left)))
    travelled = float(np.sqrt(sum(np.sum((left[n] - first[n]) ** 2) for n in left)))
    return {"apart": apart, "travelled": travelled, "share": apart / travelled}


def main() -> int:
    """Train, compare, write; exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/results/moved-run.json"))
    parser.add_argument("--again", action="store_true", help="run also where there is a result")
    args = parser.parse_args()
    if args.out.exists() and not args.again:
        print(f"{args.out} is there; --again runs it anew")
        return 0
    commands = train()
    found = compare(RunFolder.open(STAYED), RunFolder.open(MOVED))
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"commands": commands, "machine": machine, **found}
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    for sentence, holds in found["bars"].items():
        print(f"{'ok  ' if holds else 'FAIL'} {sentence}")
    return int(not all(found["bars"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
