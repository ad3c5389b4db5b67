"""``triptych recipes``: the shipped recipes, a line each."""

from __future__ import annotations

import argparse

from triptych.cli.options import print_json

HELP = "list the shipped recipes"


def add(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


def run(args: argparse.Namespace) -> int:
    """Print the names and what they are about."""
    from triptych.engines.setup import load_recipe
    from triptych.spec.shelf import shipped

    recipes = [load_recipe(name) for name in shipped()]
    if args.json:
        rows = [
            {"name": r.name, "about": r.about, "parameters": r.network.parameter_count}
            for r in recipes
        ]
        print_json({"recipes": rows})
        return 0
    width = max(len(recipe.name) for recipe in recipes)
    for recipe in recipes:
        print(f"{recipe.name.ljust(width)}  {recipe.about}")
    return 0
