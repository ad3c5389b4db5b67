"""``triptych compare``: train on every backend, climb the ladder, write the page."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.options import (
    add_backends,
    add_recipe,
    add_seed,
    command_line,
    interactive,
    names,
    place,
    positive,
    print_json,
    refuse_beside_resume,
    strict,
)
from triptych.errors import Interrupted, RecipeError

if TYPE_CHECKING:
    from triptych.engines.comparison import Plan

HELP = "train a recipe on all backends, prove them equal, and write the page"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what to compare, and where to; or the comparison to resume."""
    add_recipe(parser, optional=True)
    add_backends(parser)
    add_seed(parser)
    parser.add_argument("--seeds", type=positive, metavar="N", help="runs per backend (1)")
    parser.add_argument("--budget", metavar="NAME", help="one of the recipe's budgets (the first)")
    parser.add_argument(
        "--out", type=place, metavar="FOLDER", help="where to (runs/RECIPE-compare)"
    )
    parser.add_argument("--resume", type=place, metavar="FOLDER", help="go on with this comparison")
    parser.add_argument("--no-verify", action="store_true", help="train and draw only")


def run(args: argparse.Namespace) -> int:
    """Train, verify, draw; exit code 0 when every rung passed."""
    from triptych.engines import comparison

    folder, plan = _resume(args) if args.resume else _begin(args)
    show = interactive(args)
    try:
        runs = comparison.train(folder, plan, show)
        certificate = _verify(folder, plan, show) if plan.verify else None
        page = _draw(folder, show)
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(
            f"interrupted, everything is saved; go on with: {comparison.resume_command(folder)}"
        ) from None
    if args.json:
        _print(folder, plan, runs, certificate, page)
    else:
        _tell(runs, certificate, page)
    return 0 if certificate is None or certificate["passed"] else 1


def _begin(args: argparse.Namespace) -> tuple[Path, Plan]:
    """Check everything that can be checked before work begins, and make the folder."""
    from triptych.engines import comparison
    from triptych.engines.setup import load_recipe, make_env

    if args.recipe is None:
        raise RecipeError("give a recipe to compare, such as 'fruit', or --resume FOLDER")
    recipe = load_recipe(args.recipe, args.set)
    recipe.budget_named(args.budget)
    backends = names(args.backends)
    make_env(recipe).close()
    folder = args.out or Path(f"runs/{recipe.name}-compare")
    first = args.seed or 0
    plan = comparison.Plan(
        recipe=recipe.name,
        data=dict(recipe.data),
        backends=backends,
        seeds=list(range(first, first + (args.seeds or 1))),
        budget=args.budget,
        verify=not args.no_verify,
        command=command_line(args),
    )
    comparison.begin(folder, plan)
    return folder, plan


def _resume(args: argparse.Namespace) -> tuple[Path, Plan]:
    from triptych.backends import registry
    from triptych.engines import comparison

    own = ("recipe", "set", "backends", "seed", "seeds", "budget", "out", "no_verify")
    refuse_beside_resume(args, own)
    plan = comparison.read(args.resume)
    registry.check_names(plan.backends)
    return args.resume, plan


def _verify(folder: Path, plan: Plan, show: bool) -> dict[str, Any]:
    """Climb the ladder unless its certificate is there, and keep the certificate."""
    from triptych.engines.comparison import CERTIFICATE
    from triptych.parity import ladder
    from triptych.runs.files import read_json, write_bytes

    path = folder / CERTIFICATE
    if path.is_file():
        return read_json(path)
    certificate = ladder.climb(plan.reparse(), plan.backends, plan.seeds[0], show=show)
    data: dict[str, Any] = strict(certificate.as_dict()) | {"sentence": certificate.sentence()}
    write_bytes(path, json.dumps(data, indent=2, default=str).encode())
    return data


def _draw(folder: Path, show: bool) -> Path:
    from triptych.cli.gather import page_of_folders
    from triptych.engines.comparison import PAGE
    from triptych.report.page import write_page

    return write_page(folder / PAGE, page_of_folders([folder], show))


def _print(
    folder: Path,
    plan: Plan,
    runs: list[dict[str, Any]],
    certificate: dict[str, Any] | None,
    page: Path,
) -> None:
    from triptych.engines.comparison import CERTIFICATE

    proof = certificate or {
        "recipe": plan.recipe, "backends": plan.backends, "passed": None, "rungs": [],
    }  # fmt: skip
    where = str(folder / CERTIFICATE) if certificate else None
    print_json(proof | {"runs": runs, "certificate": where, "report": str(page)})


def _tell(runs: list[dict[str, Any]], certificate: dict[str, Any] | None, page: Path) -> None:
    for item in runs:
        print(f"{item['backend']:<6} seed {item['seed']}: {item['metric']:.4g}  {item['folder']}")
    if certificate is not None:
        print(certificate["sentence"])
    print(f"the page is {page}")
