"""``triptych train``: one training of a recipe on one backend, or going on with one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from triptych.cli.options import (
    add_recipe,
    add_seed,
    command_line,
    interactive,
    place,
    positive,
    print_json,
    refuse_beside_resume,
    threads,
)
from triptych.errors import BackendError, RecipeError
from triptych.runs.files import resume_command

HELP = "train a recipe on one backend into a run folder, or resume a run, there or elsewhere"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what to train, where, how long; or the run to resume."""
    add_recipe(parser, optional=True)
    parser.add_argument(
        "--backend",
        metavar="B",
        help="torch, jax or keras; beside --resume the run moves there and goes on (where it was)",
    )
    add_seed(parser)
    parser.add_argument(
        "--out", type=place, metavar="FOLDER", help="the run folder (runs/RECIPE-B-seedN)"
    )
    parser.add_argument("--budget", metavar="NAME", help="one of the recipe's budgets (the first)")
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), help="the type of params (float32)"
    )
    parser.add_argument(
        "--threads",
        type=threads,
        metavar="N",
        help="threads (all cores; beside --resume those it was begun with)",
    )
    parser.add_argument("--resume", type=place, metavar="FOLDER", help="go on with this run")
    parser.add_argument(
        "--until",
        type=positive,
        metavar="N",
        help="save and stop after this many episodes, epochs or steps, as the budget counts, to be "
        "resumed (the whole budget)",
    )


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
        print(f"{summary['folder']}: {_result(session, summary)}")
    return 0


def _result(session: Any, summary: Mapping[str, Any]) -> str:
    """The score of a finished run; of one that was to stop, how far it is and how to go on."""
    if summary["status"] == "finished":
        return f"{session.recipe.outcome.metric.replace('_', ' ')} {summary['metric']:.4g}"
    done, total, unit = session.training.progress()
    command = resume_command(session.folder.path)
    return f"stopped at {unit} {done} of {total}; go on with: {command}"


def _start(args: argparse.Namespace) -> Any:
    from triptych.engines import local
    from triptych.engines.setup import load_recipe

    if args.recipe is None:
        raise RecipeError("give a recipe to train, such as 'fruit', or --resume FOLDER")
    recipe = load_recipe(args.recipe, args.set)
    if args.backend is None:
        raise BackendError("give the backend to train on: --backend torch, jax or keras")
    seed = args.seed or 0
    return local.start(
        recipe,
        args.backend,
        seed,
        args.out or f"runs/{recipe.name}-{args.backend}-seed{seed}",
        dtype=args.dtype or "float32",
        budget=args.budget,
        until=args.until,
        command=command_line(args),
    )


def _resume(args: argparse.Namespace) -> Any:
    from triptych.engines import local

    refuse_beside_resume(args, ("recipe", "set", "seed", "out", "budget", "dtype"))
    return local.resume(
        args.resume,
        args.backend,
        until=args.until,
        threads=args.threads,
        command=command_line(args),
    )
