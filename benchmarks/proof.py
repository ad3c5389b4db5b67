"""The long proofs: run the commands, check the bars, keep the results as data in docs/results.

Each proof is a command line of Triptych that anyone can run alone; a proof whose result is there
already is left alone unless ``--again`` is given, and an interrupted comparison is resumed.

    python benchmarks/proof.py [--again] [NAME ...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path("docs/results")
WORK = Path("runs/proof")
_MANY = 12
"""Of more runs than these only the scores are kept; the page has their mean curves."""


@dataclass(frozen=True)
class Proof:
    """A comparison and the bars its result must clear, as sentences with their truth."""

    name: str
    words: tuple[str, ...]
    bars: Callable[[dict[str, Any]], dict[str, bool]]


def at_least(share: float) -> Callable[[dict[str, Any]], dict[str, bool]]:
    """Every run reaches a share of all start states."""

    def bars(result: dict[str, Any]) -> dict[str, bool]:
        return {
            f"{run['backend']} seed {run['seed']} catches {run['metric']:.1%} of all starts, "
            f"at least {share:.0%}": run["metric"] >= share
            for run in result["runs"]
        }

    return bars


def equal(result: dict[str, Any]) -> dict[str, bool]:
    """Every comparison of the ladder passed."""
    count = len(result["rungs"])
    return {f"all {count} comparisons of the ladder passed": bool(result["passed"]) and count > 0}


def equivalent(result: dict[str, Any]) -> dict[str, bool]:
    """The scores of many seeds are equivalent for every pair, and the seeds sufficed to tell."""
    found = result["outcome"]
    power, pairs = found["power"]["power"] or 0.0, found["pairs"]
    enough = f"the power told before training is {power:.0%}, at least 80%"
    return {enough: power >= 0.8} | {
        f"{pair['pair']} is {pair['verdict']} (difference {pair['difference']:.3g}, p "
        f"{pair['p']:.2g})": pair["verdict"] == "equivalent"
        for pair in pairs
    }


def both(
    first: Callable[[dict[str, Any]], dict[str, bool]],
    second: Callable[[dict[str, Any]], dict[str, bool]],
) -> Callable[[dict[str, Any]], dict[str, bool]]:
    """The bars of two."""
    return lambda result: first(result) | second(result)


_SHORT = ("--budget", "short", "--set", "algorithm.learning_starts=1000")
_SHORT += ("--set", "algorithm.random_steps=1000", "--set", "algorithm.exploration.steps=15000")

PROOFS = (
    Proof("fruit", ("compare", "fruit"), both(equal, at_least(0.95))),
    Proof("fruit-long", ("compare", "fruit", "--budget", "long", "--no-verify"), at_least(0.99)),
    Proof(
        "fruit-outcome",
        ("compare", "fruit", "--set", "task.grid=10", "--seeds", "20"),
        both(equal, equivalent),
    ),
    Proof("space-invaders", ("compare", "space-invaders", *_SHORT), equal),
)


def triptych(*words: str) -> str:
    """Run a command and return what it printed; a refusal ends all."""
    command = [sys.executable, "-m", "triptych", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 2:
        raise SystemExit(f"triptych {' '.join(words)} failed; see the sentence above")
    return done.stdout


def compared(words: Sequence[str], folder: Path) -> dict[str, Any]:
    """Begin a comparison in a folder, or resume the one there; return what it prints."""
    begun = (folder / "compare.json").exists()
    command = ("compare", "--resume", str(folder)) if begun else (*words, "--out", str(folder))
    found: dict[str, Any] = json.loads(triptych(*command, "--json"))
    return found


def machine() -> str:
    """The machine, as the results name it."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


def run(proof: Proof) -> dict[str, bool]:
    """Run one proof, keep its result, and return its bars."""
    folder = WORK / proof.name
    result = compared(proof.words, folder)
    bars = proof.bars(result)
    keep(proof, result, bars, folder)
    return bars


def keep(proof: Proof, result: dict[str, Any], bars: dict[str, bool], folder: Path) -> None:
    """Write what is kept: result, curves, and the page."""
    place = RESULTS / proof.name
    place.mkdir(parents=True, exist_ok=True)
    kept = {
        "command": " ".join(["triptych", *proof.words]),
        "machine": machine(),
        "bars": bars,
    } | {key: value for key, value in result.items() if key not in ("certificate", "report")}
    (place / "result.json").write_text(json.dumps(kept, indent=2) + "\n")
    if len(result["runs"]) > _MANY:
        (place / "scores.csv").write_text(scores(result["runs"]))
    else:
        for run_folder in sorted((folder / "runs").iterdir()):
            shutil.copy(run_folder / "metrics.csv", place / f"{run_folder.name}.csv")
    shutil.copy(folder / "report.html", place / "report.html")


def scores(runs: list[dict[str, Any]]) -> str:
    """The scores of all runs as CSV."""
    rows = [f"{run['backend']},{run['seed']},{run['metric']!r}" for run in runs]
    return "\n".join(["backend,seed,score", *sorted(rows, key=_by_seed), ""])


def _by_seed(row: str) -> tuple[str, int]:
    backend, seed, _ = row.split(",")
    return backend, int(seed)


def main() -> int:
    """Run the proofs asked for; exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="which proofs (all)")
    parser.add_argument("--again", action="store_true", help="run also what has a result")
    args = parser.parse_args()
    unknown = set(args.names) - {proof.name for proof in PROOFS}
    if unknown:
        parser.error(f"unknown proof {sorted(unknown)[0]!r}; there are {[p.name for p in PROOFS]}")
    failed = False
    for proof in PROOFS:
        if args.names and proof.name not in args.names:
            continue
        if args.again:
            shutil.rmtree(WORK / proof.name, ignore_errors=True)
        elif (RESULTS / proof.name / "result.json").exists():
            print(f"{proof.name}: has a result; --again runs it anew")
            continue
        for sentence, holds in run(proof).items():
            print(f"{'ok  ' if holds else 'FAIL'} {proof.name}: {sentence}")
            failed |= not holds
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
