"""Learning curves on Space Invaders: three backends, three seeds each, 250,000 agent steps each.

    python benchmarks/curves.py [--collect]

Runs or resumes the comparison in runs/curves (about six hours on two cores), plays 500 held-out
games with every finished run beside random play, and keeps the curves, scores, stills and the
outcome verdict in docs/results/space-invaders-curves. With --collect it trains nothing, and keeps
what is finished.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from proof import compared, machine, triptych

WORK = Path("runs/curves")
RESULTS = Path("docs/results/space-invaders-curves")
COMPARE = ("compare", "space-invaders-short", "--seeds", "3", "--no-verify")
EVALUATE = ("--episodes", "500", "--exploration", "0.05", "--random", "--video")
LEAST = 10.0
"""Standard errors that every run must be above random play."""
STILLS = ("best", "median")
SHOWN = "seed0"
"""Whose stills are kept, on each backend."""


def finished() -> list[Path]:
    """The runs that have ended, by name."""
    headers = sorted((WORK / "runs").glob("*/run.json"))
    return [path.parent for path in headers if json.loads(path.read_text())["status"] == "finished"]


def keep(runs: list[Path], outcome: dict[str, Any] | None) -> dict[str, bool]:
    """Evaluate the runs, write all that is kept, and return the bars."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    words = ("evaluate", *map(str, runs), *EVALUATE)
    evaluations = json.loads(triptych(*words, "--json"))["evaluations"]
    by_name = {Path(each["who"]).name: each for each in evaluations}
    for run in runs:
        shutil.copy(run / "metrics.csv", RESULTS / f"{run.name}.csv")
        stills = [Path(name) for name in by_name[run.name].pop("files") if name.endswith(".png")]
        for still in stills if run.name.endswith(SHOWN) else ():
            if still.stem in STILLS:
                shutil.copy(still, RESULTS / f"{run.name}-{still.name}")
    tables = sorted(map(str, RESULTS.glob("*.csv")))
    triptych("plot", *tables, "--out", str(RESULTS / "curves.png"))
    bars = {
        f"{run.name} is {by_name[run.name]['above_random']:.1f} standard errors above random play, "
        f"at least {LEAST:g}": by_name[run.name]["above_random"] >= LEAST
        for run in runs
    }
    result = {
        "commands": [
            " ".join(["triptych", *COMPARE, "--out", str(WORK)]),
            f"triptych {' '.join(words)}",
        ],
        "machine": machine(),
        "bars": bars,
        "outcome": outcome,
        "evaluations": evaluations,
    }
    (RESULTS / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    return bars


def main() -> int:
    """Train unless told not to, keep, and print the bars; exit code 1 when one is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--collect", action="store_true", help="keep what is finished, train nothing"
    )
    args = parser.parse_args()
    outcome = None if args.collect else compared(COMPARE, WORK).get("outcome")
    runs = finished()
    if not runs:
        raise SystemExit(f"no run in {WORK} is finished; leave --collect out")
    bars = keep(runs, outcome)
    for sentence, holds in bars.items():
        print(f"{'ok  ' if holds else 'FAIL'} {sentence}")
    return int(not all(bars.values()))


if __name__ == "__main__":
    raise SystemExit(main())
