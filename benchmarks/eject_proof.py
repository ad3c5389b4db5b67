"""Ejected scripts against the library, whole trainings: actions, metrics and params in float64.

    python benchmarks/eject_proof.py [--out docs/results/eject.json] [NAME ...]

Each script runs in an interpreter of its own in which Triptych cannot be imported.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "unit" / "eject"))
BACKENDS = ("torch", "jax", "keras")
SEED = 1
PROOFS = {
    "fruit": ("fruit", ("task.grid=10",)),
    "space-invaders": (
        "space-invaders",
        (
            "algorithm.learning_starts=200",
            "algorithm.random_steps=100",
            "algorithm.target_sync=50",
            "algorithm.exploration.steps=300",
            "budgets.long={steps: 400}",
        ),
    ),
}


def prove(name: str, backend: str, folder: Path) -> dict:
    """Run one script and the library, and say how far apart they are."""
    import numpy as np
    from test_ejected_runs import DRIVER, Run, read_params

    from triptych import eject
    from triptych.engines import setup

    recipe = setup.load_recipe(*PROOFS[name])
    script, actions = folder / "script.py", folder / "actions.json"
    script.write_text(eject.write(recipe, backend))
    words = ["--seed", str(SEED), "--dtype", "float64", "--out", str(folder)]
    job = {"script": str(script), "arguments": words, "actions": str(actions)}
    (folder / "jobs.json").write_text(json.dumps([job]))
    subprocess.run([sys.executable, "-I", str(DRIVER), str(folder / "jobs.json")], check=True)
    learner = setup.make_learner(recipe, backend, SEED, "float64")
    training = setup.make_training(recipe, learner, SEED)
    training.trace = []
    rows = [row for row in training.rows() if row is not None]
    ours = Run([action for action, _ in training.trace], rows, learner.params())
    theirs = read_params(folder, recipe.network, backend)
    begin = recipe.initial.draw(recipe.network, SEED)
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        read = [{key: float(text) for key, text in row.items()} for row in csv.DictReader(file)]
    played = json.loads(actions.read_text())
    exact = [key for key in rows[0] if key != "loss"]
    losses = [
        abs(own["loss"] - other["loss"]) / abs(other["loss"])
        for own, other in zip(read, rows, strict=True)
        if other["loss"] == other["loss"]
    ]
    apart = {
        key: float(np.abs(theirs[key] - value).max() / np.abs(value - begin[key]).max())
        for key, value in ours.params.items()
    }
    result = {
        "recipe": name,
        "set": PROOFS[name][1],
        "backend": backend,
        "seed": SEED,
        "actions": len(played),
        "updates": learner.updates,
        "same_actions": played == ours.actions,
        "same_rows": all(
            own[key] == other[key] or own[key] != own[key]
            for own, other in zip(read, rows, strict=True)
            for key in exact
        ),
        "loss_apart": max(losses),
        "params_apart": max(apart.values()),
    }
    close = result["loss_apart"] <= 1e-9 and result["params_apart"] <= 1e-9
    return result | {"passed": result["same_actions"] and result["same_rows"] and close}


def main() -> None:
    """Prove what is asked for, print and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PROOFS)} (all)")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    results = []
    for name in args.names or PROOFS:
        for backend in BACKENDS:
            with tempfile.TemporaryDirectory() as folder:
                results.append(prove(name, backend, Path(folder)))
            print(json.dumps(results[-1]), flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    kept = {"command": "python benchmarks/eject_proof.py", "machine": machine, "runs": results}
    kept["passed"] = all(result["passed"] for result in results)
    if args.out:
        args.out.write_text(json.dumps(kept, indent=2) + "\n")
    raise SystemExit(0 if kept["passed"] else 1)


if __name__ == "__main__":
    main()
