"""``triptych verify``: climb the ladder for pairs of backends, or for two setups of one's own."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from triptych.cli.options import (
    add_backends,
    add_recipe,
    add_seed,
    check_file,
    interactive,
    names,
    place,
    positive,
    print_json,
    strict,
)
from triptych.errors import RecipeError, SetupError

if TYPE_CHECKING:
    from triptych.parity.certificate import Certificate
    from triptych.parity.native_ladder import NativeCertificate

HELP = "prove that the backends, or two trainings of your own, compute and learn alike"
_RECIPE_ONLY = ("set", "backends")
_SIDES_ONLY = ("weights", "updates")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the recipe or the two sides, the backends, and how high to climb."""
    add_recipe(parser, optional=True)
    parser.add_argument(
        "--left", metavar="FILE:FUNCTION", help="your own setup, such as train.py:setup"
    )
    parser.add_argument("--right", metavar="FILE:FUNCTION", help="the setup it is compared with")
    parser.add_argument(
        "--weights",
        type=place,
        metavar="MAP",
        help="a YAML file of 'left name: right name', where arrays are not matched by their order",
    )
    parser.add_argument(
        "--updates",
        type=positive,
        metavar="N",
        help="updates of rung 6 between --left and --right (by size, 50 to 1,000)",
    )
    add_backends(parser)
    add_seed(parser)
    parser.add_argument(
        "--highest",
        type=int,
        choices=range(8),
        default=7,
        metavar="RUNG",
        help="the highest rung to climb, 0 to 7 (7)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64", "both"),
        default="both",
        help="the type of rungs 0 to 6 (both)",
    )
    parser.add_argument(
        "--out", type=place, metavar="FILE", help="also write the certificate to this file"
    )


def run(args: argparse.Namespace) -> int:
    """Climb; exit code 0 when everything passed, 1 when a rung failed."""
    from triptych.runs.files import write_bytes

    _check_what(args)
    out = check_file(args.out) if args.out else None
    certificate = _climb_sides(args) if args.left else _climb_backends(args)
    if args.json:
        print_json(certificate.as_dict())
    else:
        print(text_of(certificate))
    if out:
        text = json.dumps(strict(certificate.as_dict()), indent=2, default=str)
        write_bytes(out, text.encode())
    return 0 if certificate.passed else 1


def _check_what(args: argparse.Namespace) -> None:
    """Raise where neither a recipe nor two sides are given, or options of one beside the other."""
    sides = args.left is not None or args.right is not None
    if sides and args.recipe is not None:
        raise RecipeError(
            f"got both the recipe {args.recipe!r} and --left or --right; "
            "give a recipe, or two setups of your own"
        )
    if sides and not (args.left and args.right):
        raise SetupError("--left and --right go together: give both, each as file.py:function")
    if not sides and args.recipe is None:
        raise RecipeError("give a recipe, or --left FILE:FUNCTION and --right FILE:FUNCTION")
    wrong = [name for name in (_RECIPE_ONLY if sides else _SIDES_ONLY) if getattr(args, name)]
    if wrong:
        other = "a recipe" if sides else "--left and --right"
        raise RecipeError(f"--{wrong[0]} goes with {other} only; leave it out")


def _dtypes(args: argparse.Namespace) -> tuple[str, ...]:
    return ("float64", "float32") if args.dtype == "both" else (args.dtype,)


def _climb_backends(args: argparse.Namespace) -> Certificate:
    from triptych.engines.setup import load_recipe
    from triptych.parity import ladder

    recipe = load_recipe(args.recipe, args.set)
    return ladder.climb(
        recipe,
        names(args.backends, oracle=args.dtype == "float64"),
        args.seed or 0,
        highest=args.highest,
        dtypes=_dtypes(args),
        show=interactive(args),
    )


def _climb_sides(args: argparse.Namespace) -> NativeCertificate:
    from triptych.parity import matching, native_ladder

    return native_ladder.climb(
        args.left,
        args.right,
        args.seed or 0,
        weights=matching.read_weights(args.weights) if args.weights else None,
        highest=args.highest,
        dtypes=_dtypes(args),
        lockstep=args.updates,
        show=interactive(args),
    )


def text_of(certificate: Certificate | NativeCertificate) -> str:
    """Return the ladder as text, a line per comparison, and the verdict."""
    lines = []
    for verdict in certificate.verdicts:
        mark = "ok  " if verdict.passed else "FAIL"
        sign = "<=" if verdict.value <= verdict.bound else "> "
        lines.append(
            f"{mark} {verdict.rung} {verdict.name:<9} {verdict.pair:<12} {verdict.dtype}  "
            f"{verdict.value:8.1e} {sign} {verdict.bound:.0e}  {verdict.detail}"
        )
    notes = [f"Note: {note}." for note in certificate.notes]
    return "\n".join([*lines, *notes, "", certificate.sentence(), *certificate.reasons()])
