"""``triptych train``: one training of a recipe on one backend, or going on with one."""

from __future__ import annotations

import argparse
from typing import Any

from tqdm import tqdm

from triptych.cli.options import (
    add_recipe,
    add_seed,
    command_line,
    interactive,
    print_json,
    whole,
)
from triptych.errors import BackendError, RecipeError

HELP = "train a recipe on one backend into a run folder, or resume a run"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what to train, where, how long; or the run to resume."""
    add_recipe(parser, optional=True)
    parser.add_argument("--backend", metavar="B", help="torch, jax or keras")
    add_seed(parser)
    parser.add_argument("--out", metavar="FOLDER", help="the run folder (runs/RECIPE-B-seedN)")
    parser.add_argument("--budget", metavar="NAME", help="one of the recipe's budgets (the first)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--threads", type=whole, metavar="N", help="threads (all cores)")
    parser.add_argument("--resume", metavar="FOLDER", help="go on with this run")


def run(args: argparse.Namespace) -> int:
    """Train, and print where the run is and how it did."""
    from triptych.engines.processes import limit_threads

    if args.threads:
        limit_threads(args.threads)
    session = _resume(args) if args.resume else _start(args)
    with tqdm(desc="training", disable=not interactive(args)) as bar:

        def tell(done: int, total: int, unit: str) -> None:
            bar.total, bar.unit = total, f" {unit}s"
            bar.update(done - bar.n)

        summary = session.run(tell)
    if args.json:
        print_json(summary)
    else:
        name = session.recipe.outcome.metric.replace("_", " ")
        print(f"{summary['folder']}: {name} {summary['metric']:.4g}")
    return 0


def _start(args: argparse.Namespace) -> Any:
    from triptych.engines import local
    from triptych.engines.setup import load_recipe

    if not args.recipe:
        raise RecipeError("give a recipe to train, such as 'fruit', or --resume FOLDER")
    recipe = load_recipe(args.recipe, args.set)
    if not args.backend:
        raise BackendError("give the backend to train on: --backend torch, jax or keras")
    out = args.out or f"runs/{recipe.name}-{args.backend}-seed{args.seed}"
    return local.start(
        recipe,
        args.backend,
        args.seed,
        out,
        dtype=args.dtype,
        budget=args.budget,
        command=command_line(),
    )


def _resume(args: argparse.Namespace) -> Any:
    from triptych.engines import local

    if args.recipe or args.set or args.backend or args.out:
        raise RecipeError(
            "--resume goes on with the run as it was begun: "
            "leave out the recipe, --set, --backend and --out"
        )
    return local.resume(args.resume)
