"""``triptych eject``: a recipe as one native script that needs nothing of Triptych."""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from pathlib import Path

from triptych.cli.options import add_recipe, add_seed, check_file, place, print_json
from triptych.errors import BackendError, RunError

HELP = "write a recipe as one native script: environment, network, agent, training"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what to write, for which framework, and where."""
    add_recipe(parser)
    parser.add_argument("--backend", metavar="B", help="torch, jax or keras")
    parser.add_argument(
        "--out", type=place, metavar="FILE", help="the script (RECIPE_B.py in this folder)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    add_seed(parser)
    parser.add_argument("--budget", metavar="NAME", help="one of the recipe's budgets (the first)")
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), help="the script's default type (float32)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the script and say where it is."""
    from triptych import eject
    from triptych.engines.setup import load_recipe, make_env

    recipe = load_recipe(args.recipe, args.set)
    if args.backend is None:
        raise BackendError("give the framework to write for: --backend torch, jax or keras")
    out = args.out or Path(f"{recipe.name.replace('-', '_')}_{args.backend}.py")
    if check_file(out).exists() and not args.force:
        raise RunError(f"{out} is there already; give another --out, or --force to replace it")
    with closing(make_env(recipe)):  # the network fits the environment
        text = eject.write(
            recipe,
            args.backend,
            seed=args.seed or 0,
            dtype=args.dtype or "float32",
            budget=args.budget,
            name=str(out),
            command=[
                "triptych",
                *(word for word in args.words if word not in ("--force", "--json")),
            ],
        )
    _replace(out, text)
    lines = text.count("\n")
    if args.json:
        shown = {"recipe": recipe.name, "backend": args.backend, "out": str(out), "lines": lines}
        print_json(shown)
    else:
        print(f"{out}: {lines} lines of {args.backend}; run it with: python {out}")
    return 0


def _replace(out: Path, text: str) -> None:
    """Write a file whole or not at all."""
    half = out.with_name(f"{out.name}.{os.getpid()}.half")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)
