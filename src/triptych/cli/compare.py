"""``triptych compare``: train on every backend, climb the ladder, judge the scores, write the page.

What the ladder and the tests of the scores are belongs to ``parity``.
"""

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
    from triptych.spec.recipe import Recipe

HELP = "train a recipe on all backends, prove them equal, and write the page"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what to compare, and where to; or the comparison to resume."""
    add_recipe(parser, optional=True)
    add_backends(parser)
    add_seed(parser)
    parser.add_argument(
        "--seeds",
        type=positive,
        metavar="N",
        help="runs per backend (1); with two or more, rung 8 judges the scores against the "
        "recipe's outcome.margin, and the exit code is 1 unless all pairs are equivalent",
    )
    parser.add_argument("--budget", metavar="NAME", help="one of the recipe's budgets (the first)")
    parser.add_argument(
        "--out", type=place, metavar="FOLDER", help="where to (runs/RECIPE-compare)"
    )
    parser.add_argument("--resume", type=place, metavar="FOLDER", help="go on with this comparison")
    parser.add_argument("--no-verify", action="store_true", help="do not climb rungs 0 to 7")


def run(args: argparse.Namespace) -> int:
    """Train, verify, judge, draw.

    Exit code 0 when every rung passed; 1 when one failed, or when the scores of several seeds are
    different, or when these seeds cannot tell (*inconclusive*): the answer is then not yes.
    """
    from triptych.engines import comparison

    folder, plan = _resume(args) if args.resume else _begin(args)
    show = interactive(args)
    try:
        forecast = _forecast(folder, plan)
        if forecast and not args.json:
            print(f"rung 8: {forecast['sentence']}", flush=True)
        runs = comparison.train(folder, plan, show)
        certificate = _verify(folder, plan, show) if plan.verify else None
        if forecast:
            certificate = _judge(folder, plan, forecast, certificate)
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
    from triptych.engines.setup import check_fits, load_recipe

    if args.recipe is None:
        raise RecipeError("give a recipe to compare, such as 'fruit', or --resume FOLDER")
    recipe = load_recipe(args.recipe, args.set)
    recipe.budget_named(args.budget)
    backends = names(args.backends)
    check_fits(recipe)
    _check_outcome(recipe, args.seeds or 1)
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
    _check_outcome(plan.reparse(), len(plan.seeds))
    return args.resume, plan


def _check_outcome(recipe: Recipe, seeds: int) -> None:
    """Check that the scores can be judged, where there will be more than one per backend."""
    if seeds > 1:
        from triptych.parity import outcome

        outcome.check(recipe)


def _forecast(folder: Path, plan: Plan) -> dict[str, Any] | None:
    """Return what the seeds can decide, as it was first told; None for one seed.

    It is kept with the comparison, so that going on does not tell it from the runs it is about.
    """
    if len(plan.seeds) < 2:
        return None
    from triptych.engines import comparison
    from triptych.parity import outcome
    from triptych.runs.files import read_json, write_bytes

    path = folder / comparison.FORECAST
    kept = read_json(path) if path.is_file() else None
    scores = comparison.scores(folder, plan)
    ended = all(len(by_seed) == len(plan.seeds) for by_seed in scores.values())
    if kept is None or (kept["power"] is None and not ended):
        told = outcome.forecast(plan.reparse(), len(plan.seeds), None if ended else scores)
        kept = told.as_dict()
        write_bytes(path, json.dumps(kept, indent=2).encode())
    return kept


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


def _judge(
    folder: Path, plan: Plan, forecast: dict[str, Any], certificate: dict[str, Any] | None
) -> dict[str, Any]:
    """Judge the scores of all seeds and write them into the certificate as rung 8."""
    from triptych.engines import comparison
    from triptych.parity import outcome
    from triptych.parity.certificate import Certificate, with_outcome
    from triptych.runs.files import write_bytes

    recipe = plan.reparse()
    below = certificate or Certificate.make(recipe, plan.backends, plan.seeds[0], ()).as_dict()
    verdicts, found = outcome.judge(recipe, comparison.scores(folder, plan), forecast)
    data: dict[str, Any] = strict(with_outcome(below, verdicts, found))
    write_bytes(folder / comparison.CERTIFICATE, json.dumps(data, indent=2, default=str).encode())
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
        for rung in certificate["rungs"]:
            if "verdict" in rung:
                print(f"rung 8 {rung['pair']:<12} {rung['detail']}")
        if "outcome" in certificate:
            print(certificate["outcome"]["sentence"])
        print(certificate["sentence"])
    print(f"the page is {page}")
