"""``triptych show``: a recipe's network as a table, or as a framework's own definition."""

from __future__ import annotations

import argparse

from triptych.cli.options import add_recipe, print_json

HELP = "print a recipe's network: shapes, parameters, multiply-adds, receptive fields"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the recipe and the backend whose definition to print."""
    add_recipe(parser)
    parser.add_argument(
        "--backend", metavar="B", help="print the native definition in torch, jax or keras instead"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table or the definition."""
    from triptych.engines.setup import load_recipe
    from triptych.spec import table

    recipe = load_recipe(args.recipe, args.set)
    source = None
    if args.backend is not None:
        from triptych.backends import registry

        source = registry.get(args.backend).source(recipe.network, recipe.name)
    if args.json:
        shown = {
            "recipe": recipe.name,
            "about": recipe.about,
            "parameters": recipe.network.parameter_count,
            "layers": table.rows(recipe.network),
        }
        print_json(shown | ({"source": source} if source is not None else {}))
    elif source is not None:
        print(source, end="")
    else:
        print(f"{recipe.name}: {recipe.about}\n")
        print(table.text(recipe.network))
    return 0
