"""Learning curves on Space Invaders: three backends, three seeds each, 250,000 agent steps each.

    python benchmarks/curves.py [--again]

Every run is a piece of its own: when it ends, its log, its scores in held-out games and two stills
of it playing are kept in docs/results/space-invaders-curves, and it isn't trained again unless
--again is given. What is interrupted is resumed from runs/curves. When all pieces are there, they
are drawn, measured against random play, and judged (three to six hours on two cores, by the day).
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proof import machine, triptych

from triptych.engines import comparison
from triptych.engines.processes import Job, Tell, run_all, speak_plainly
from triptych.engines.setup import load_recipe
from triptych.errors import Interrupted
from triptych.learn.evaluation import standard_errors_apart, summary
from triptych.parity import outcome
from triptych.runs.folder import RunFolder

WORK = Path("runs/curves")
RESULTS = Path("docs/results/space-invaders-curves")
RECIPE = "space-invaders-short"
BACKENDS, SEEDS = ("torch", "jax", "keras"), (0, 1, 2)
RANDOM = ("evaluate", RECIPE, "--episodes", "1000", "--json")
SHOW = ("--episodes", "20", "--video", "--json")
STILLS = ("best", "median")
LEAST = 10.0
"""Standard errors that the mean of a backend's runs must be above random play."""

Piece = Mapping[str, Any]


def plan() -> comparison.Plan:
    """The comparison that the pieces are of: ``triptych compare`` resumes it just as well."""
    return comparison.Plan(
        recipe=RECIPE,
        data=dict(load_recipe(RECIPE).data),
        backends=list(BACKENDS),
        seeds=list(SEEDS),
        budget=None,
        verify=False,
        command=f"triptych compare {RECIPE} --seeds {len(SEEDS)} --no-verify --out {WORK}",
    )


def piece_of(backend: str, seed: int) -> Path:
    """Where the scores of one run are kept."""
    return RESULTS / f"{backend}-seed{seed}.json"


def train_piece(own: comparison.Plan, backend: str, seed: int, tell: Tell) -> None:
    """Train one run, or go on training it, and keep what it shows."""
    comparison.train_one(str(WORK), own, backend, seed, tell)
    run = comparison.place_of(WORK, backend, seed)
    for name in json.loads(triptych("evaluate", str(run), *SHOW))["evaluations"][0]["files"]:
        still = Path(name)
        if still.suffix == ".png" and still.stem in STILLS:
            shutil.copy(still, RESULTS / f"{run.name}-{still.name}")
    shutil.copy(run / "metrics.csv", RESULTS / f"{run.name}.csv")
    header, keys = RunFolder.open(run).header, ("backend", "seed", "versions", "metric", "returns")
    piece = {"machine": machine()} | {key: header[key] for key in keys}
    piece_of(backend, seed).write_text(json.dumps(piece, indent=1) + "\n")


def train() -> dict[tuple[str, int], Piece]:
    """Train what is missing, as many at a time as there are cores, and return all pieces."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    every = [(backend, seed) for seed in SEEDS for backend in BACKENDS]
    missing = [each for each in every if not piece_of(*each).exists()]
    if missing:
        if not WORK.exists():
            comparison.begin(WORK, plan())
        own = comparison.read(WORK)
        run_all([Job(f"{b} seed {s}", train_piece, (own, b, s)) for b, s in missing])
    return {each: json.loads(piece_of(*each).read_text()) for each in every}


def measured(pieces: Mapping[tuple[str, int], Piece], random: Piece) -> dict[str, dict[str, Any]]:
    """Each backend's mean over its runs, the standard error of that mean over the games played,
    and how many standard errors (of the difference) it is above random play."""
    found = {}
    for backend in BACKENDS:
        runs = [summary(pieces[backend, seed]["returns"]) for seed in SEEDS]
        mean = sum(run["mean"] for run in runs) / len(runs)
        error = math.hypot(*(run["standard_error"] for run in runs)) / len(runs)
        own = {"mean": mean, "standard_error": error}
        above = standard_errors_apart(own, random)
        found[backend] = {"runs": [run["mean"] for run in runs], **own, "above_random": above}
    return found


def judge(pieces: Mapping[tuple[str, int], Piece]) -> dict[str, bool]:
    """Draw the curves, write the result, and return the bars."""
    random = json.loads(triptych(*RANDOM))["evaluations"][0]
    random = {key: random[key] for key in ("mean", "standard_error", "episodes", "returns")}
    backends = measured(pieces, random)
    scores = {b: {s: pieces[b, s]["metric"] for s in SEEDS} for b in BACKENDS}
    own = plan()
    _, verdict = outcome.judge(own.reparse(), scores)
    tables = [str(piece_of(*each).with_suffix(".csv")) for each in pieces]
    triptych("plot", *tables, "--out", str(RESULTS / "curves.png"))
    bars = {
        f"{name}'s runs are {found['above_random']:.1f} standard errors above random play, "
        f"at least {LEAST:g}": found["above_random"] >= LEAST
        for name, found in backends.items()
    }
    result = {
        "commands": [own.command, f"triptych {' '.join(RANDOM)}"],
        "machine": machine(),
        "bars": bars,
        "backends": backends,
        "outcome": verdict,
        "random": random,
    }
    (RESULTS / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(verdict["sentence"])
    return bars


def main() -> int:
    """Train, keep and judge; exit code 1 when a bar is missed, 130 when interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--again", action="store_true", help="train also what is kept already")
    if parser.parse_args().again:
        shutil.rmtree(RESULTS, ignore_errors=True)
        shutil.rmtree(WORK, ignore_errors=True)
    speak_plainly()
    try:
        bars = judge(train())
    except (Interrupted, KeyboardInterrupt):
        print("interrupted, everything is saved; go on with: python benchmarks/curves.py")
        return 130
    for sentence, holds in bars.items():
        print(f"{'ok  ' if holds else 'FAIL'} {sentence}")
    return int(not all(bars.values()))


if __name__ == "__main__":
    raise SystemExit(main())
