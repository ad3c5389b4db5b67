"""``triptych compare``: train on every backend, climb the ladder, write the page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from triptych.cli.options import (
    add_backends,
    add_recipe,
    add_seed,
    command_line,
    interactive,
    names,
    print_json,
    strict,
    whole,
)
from triptych.errors import Interrupted, RecipeError, RunError
from triptych.spec.recipe import Recipe

HELP = "train a recipe on all backends, prove them equal, and write the page"


def add(parser: argparse.ArgumentParser) -> None:
    """Add what to compare, and where to; or the comparison to resume."""
    add_recipe(parser, optional=True)
    add_backends(parser)
    add_seed(parser)
    parser.add_argument("--seeds", type=whole, default=1, metavar="N", help="runs per backend (1)")
    parser.add_argument("--budget", metavar="NAME", help="one of the recipe's budgets (the first)")
    parser.add_argument("--out", metavar="FOLDER", help="where to (runs/RECIPE-compare)")
    parser.add_argument("--resume", metavar="FOLDER", help="go on with this comparison")
    parser.add_argument("--no-verify", action="store_true", help="train and draw only")


def run(args: argparse.Namespace) -> int:
    """Train, verify, draw; exit code 0 when every rung passed."""
    folder, plan = _resume(args) if args.resume else _begin(args)
    show = interactive(args)
    runs = _train(folder, plan, show)
    certificate = None if plan["no_verify"] else _verify(folder, plan, show)
    page = _draw(folder, show)
    passed = certificate is None or bool(certificate["passed"])
    if args.json:
        shown = certificate or {"recipe": plan["recipe"], "backends": plan["backends"]}
        own = {"runs": runs, "certificate": str(folder / "certificate.json"), "report": str(page)}
        print_json({"passed": None, "rungs": []} | shown | own)
    else:
        _tell(plan, runs, certificate, page)
    return 0 if passed else 1


def _begin(args: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """Check everything that can be checked before work begins, and make the folder."""
    from triptych.backends import registry
    from triptych.engines.setup import load_recipe, make_env
    from triptych.runs.files import storage, write_bytes

    if not args.recipe:
        raise RecipeError("give a recipe to compare, such as 'fruit', or --resume FOLDER")
    recipe = load_recipe(args.recipe, args.set)
    recipe.budget_named(args.budget)
    backends = names(args.backends)
    registry.check_names(backends)
    make_env(recipe).close()
    folder = Path(args.out or f"runs/{recipe.name}-compare")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder} exists already; go on with it by 'triptych compare --resume {folder}', "
            "or choose another place with --out"
        )
    plan = {
        "recipe": recipe.name,
        "data": dict(recipe.data),
        "backends": backends,
        "seeds": [args.seed + number for number in range(max(args.seeds, 1))],
        "budget": args.budget,
        "no_verify": args.no_verify,
        "command": command_line(),
    }
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "compare.json", json.dumps(plan, indent=2, default=str).encode())
    return folder, plan


def _resume(args: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    from triptych.runs.files import read_json

    if args.recipe or args.set or args.out:
        raise RecipeError("--resume goes on as begun: leave out the recipe, --set and --out")
    folder = Path(args.resume)
    if not (folder / "compare.json").is_file():
        raise RunError(f"{folder} is not a comparison: it has no compare.json")
    return folder, read_json(folder / "compare.json")


def _train(folder: Path, plan: dict[str, Any], show: bool) -> list[dict[str, Any]]:
    """Train what is not finished yet, each run in a process of its own."""
    from triptych.engines.processes import Job, run_all

    jobs = [
        Job(f"{backend} seed {seed}", train_one, (str(folder), plan, backend, seed))
        for seed in plan["seeds"]
        for backend in plan["backends"]
    ]
    try:
        results = run_all(jobs, show)
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(
            f"interrupted, everything is saved; go on with: triptych compare --resume {folder}"
        ) from None
    keys = ("backend", "seed", "folder", "metric")
    return [{key: result[key] for key in keys} for result in results]


def train_one(
    folder: str, plan: dict[str, Any], backend: str, seed: int, tell: Callable[[int, int, str], None]
) -> dict[str, Any]:
    """Train, or go on training, one run of a comparison; runs in its own process."""
    from triptych.engines import local, setup
    from triptych.runs.folder import RunFolder

    path = Path(folder) / "runs" / f"{backend}-seed{seed}"
    if (path / "run.json").is_file():
        run = RunFolder.open(path)
        if run.status == "finished":
            return local.summary(run)
        return local.resume(path).run(tell)
    recipe = setup.reparse(plan["recipe"], plan["data"])
    session = local.start(
        recipe, backend, seed, path, budget=plan["budget"], command=plan["command"]
    )
    return session.run(tell)


def _verify(folder: Path, plan: dict[str, Any], show: bool) -> dict[str, Any]:
    """Climb the ladder unless its certificate is there, and keep the certificate."""
    from triptych.engines import setup
    from triptych.parity import ladder
    from triptych.runs.files import read_json, write_bytes

    path = folder / "certificate.json"
    if path.is_file():
        return read_json(path)
    recipe: Recipe = setup.reparse(plan["recipe"], plan["data"])
    certificate = ladder.climb(recipe, plan["backends"], plan["seeds"][0], show=show)
    data: dict[str, Any] = strict(certificate.as_dict()) | {"sentence": certificate.sentence()}
    write_bytes(path, json.dumps(data, indent=2, default=str).encode())
    return data


def _draw(folder: Path, show: bool) -> Path:
    from triptych.cli.gather import page_of_folders
    from triptych.report.page import write_page

    return write_page(folder / "report.html", page_of_folders([folder], show))


def _tell(
    plan: dict[str, Any], runs: list[dict[str, Any]], certificate: dict[str, Any] | None, page: Path
) -> None:
    for item in runs:
        print(f"{item['backend']:<6} seed {item['seed']}: {item['metric']:.4g}  {item['folder']}")
    if certificate is not None:
        print(certificate["sentence"])
    print(f"the page is {page}")
