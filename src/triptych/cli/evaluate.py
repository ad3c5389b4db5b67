"""``triptych evaluate``: how well a run plays, apart from training, beside random play."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.options import add_seed, brief, interactive, place, positive, print_json

if TYPE_CHECKING:
    from triptych.engines.evaluating import Evaluation
    from triptych.engines.processes import Tell
    from triptych.learn.evaluation import Episode
    from triptych.runs.folder import RunFolder
    from triptych.spec.recipe import Recipe

HELP = "play whole games with what runs have learned: mean score, standard error, human-normalised"
FOLDER = "evaluation"
"""The folder in a run's that videos are written to."""
_MOST = 3000
"""Pictures of one episode in a video: 300 MB of an Atari screen."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add whom to evaluate, and how."""
    parser.add_argument(
        "players",
        type=place,
        metavar="RUN",
        nargs="+",
        help="a run folder or a folder of runs; a recipe plays with random actions",
    )
    parser.add_argument("--episodes", type=positive, default=30, metavar="N", help="how many (30)")
    parser.add_argument(
        "--exploration",
        type=_share,
        metavar="E",
        help="the probability of a random action, 0 for greedy (as the recipe's outcome has it)",
    )
    parser.add_argument(
        "--random", action="store_true", help="play the same starts with random actions too"
    )
    parser.add_argument(
        "--video",
        action="store_true",
        help=f"write the best, the median and the worst episode to RUN/{FOLDER}",
    )
    add_seed(parser)


def _share(text: str) -> float:
    """Read a probability."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {brief(text)}")
    return value


def run(args: argparse.Namespace) -> int:
    """Play, keep the results with the runs, and print them."""
    from triptych.engines.processes import Job, run_all
    from triptych.errors import RunError

    runs, recipes = _players(args.players)
    if args.video and not runs:
        raise RunError("--video writes into a run's folder; give a run, or leave --video out")
    own = {str(folder.path): setup_of(folder) for folder in runs}
    tasks = _different(recipes | (own if args.random else {}))
    how = (args.episodes, args.seed or 0)
    jobs = [
        Job(str(folder.path), play_run, (str(folder.path), *how, args.exploration, args.video))
        for folder in runs
    ]
    jobs += [Job(f"random {who}", play_randomly, (who, own, *how)) for who, own in tasks.items()]
    found: list[_Line] = run_all(jobs, interactive(args))
    if args.random:
        trained, random = found[: len(runs)], found[len(runs) :]
        beside = dict(zip(map(_task, tasks.values()), random, strict=True))
        _compare(runs, trained, [beside[_task(each)] for each in own.values()])
    if args.json:
        print_json({"evaluations": [line.data() for line in found]})
    else:
        print("\n".join(_table(found)))
    return 0


def setup_of(folder: RunFolder) -> Recipe:
    """Return the recipe of a run."""
    from triptych.engines import setup

    return setup.recipe_of(folder)


def _players(places: Sequence[Path]) -> tuple[list[RunFolder], dict[str, Recipe]]:
    """Return the runs and, by their names, the recipes that were given."""
    from triptych.engines import setup
    from triptych.errors import RunError
    from triptych.runs.folder import RunFolder
    from triptych.runs.listing import find
    from triptych.spec.shelf import shipped

    runs: list[RunFolder] = []
    recipes: dict[str, Recipe] = {}
    for path in places:
        text = str(path)
        if path.is_dir():
            runs += find(path) or [RunFolder.open(path)]
        elif text in shipped() or path.suffix in (".yaml", ".yml"):
            recipes[text] = setup.load_recipe(text)
        else:
            raise RunError(
                f"there is neither a run folder nor a recipe {text}; give a run folder, or one of "
                f"{', '.join(shipped())}, which play with random actions"
            )
    return runs, recipes


def _task(recipe: Recipe) -> str:
    return repr(sorted(recipe.task.items()))


def _different(recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Return the first recipe of each task."""
    first: dict[str, str] = {}
    for who, recipe in recipes.items():
        first.setdefault(_task(recipe), who)
    return {who: recipes[who] for who in first.values()}


@dataclass
class _Line:
    """One row of the table."""

    found: Evaluation
    files: list[str] = field(default_factory=list)
    above_random: float | None = None
    cut: bool = False

    def data(self) -> dict[str, Any]:
        own = self.found
        which = {"who": own.who, "environment": own.environment}
        more = {"above_random": self.above_random, "files": self.files}
        return which | own.entry() | own.summary() | more


def play_run(
    path: str, episodes: int, seed: int, exploration: float | None, video: bool, tell: Tell
) -> _Line:
    """Evaluate a run and write its videos; runs in a process of its own."""
    from triptych.engines import evaluating

    found = evaluating.evaluate_run(path, episodes, exploration, seed, tell)
    line = _Line(found)
    if video:
        folder = Path(path) / FOLDER / f"step-{found.step}-exploration-{found.exploration:g}"
        _show(line, folder / f"seed-{seed}")
    return line


def play_randomly(who: str, recipe: Recipe, episodes: int, seed: int, tell: Tell) -> _Line:
    """Evaluate random actions; runs in a process of its own."""
    from triptych.engines import evaluating

    return _Line(evaluating.evaluate_random(who, recipe, episodes, seed, tell))


def _show(line: _Line, folder: Path) -> None:
    """Write the video and the still pictures of three episodes."""
    import numpy as np

    from triptych.engines.replay import frame_rate, pictures
    from triptych.report import media
    from triptych.runs.folder import RunFolder

    recipe = setup_of(RunFolder.open(line.found.who))
    for name, episode in _chosen(line.found.played).items():
        shown = pictures(recipe, episode, _MOST)
        line.cut |= len(shown.frames) == _MOST
        frames = np.stack(shown.frames)
        video = media.write_video(folder / f"{name}.mp4", frames, frame_rate(recipe))
        line.files += [str(video), str(media.write_png(folder / f"{name}.png", shown.strip()))]


def _chosen(played: Sequence[Episode]) -> dict[str, Episode]:
    """Return the best, the median and the worst episode, each once."""
    order = sorted(range(len(played)), key=lambda number: played[number].total)
    places = {"best": order[-1], "median": order[(len(order) - 1) // 2], "worst": order[0]}
    first = {number: name for name, number in reversed(places.items())}
    return {name: played[number] for name, number in places.items() if first[number] == name}


def _compare(runs: Sequence[RunFolder], trained: Sequence[_Line], random: Sequence[_Line]) -> None:
    """Say how far each run is above random play, and keep that play with the run."""
    from triptych.learn.evaluation import standard_errors_apart
    from triptych.runs import evaluations

    for folder, line, beside in zip(runs, trained, random, strict=True):
        line.above_random = standard_errors_apart(line.found.summary(), beside.found.summary())
        evaluations.add(folder, [beside.found.entry()])


_HEAD = ("player", "episodes", "mean", "std. error", "median", "min", "max")


def _table(lines: Sequence[_Line]) -> list[str]:
    head, rows = [*_HEAD], [_cells(line) for line in lines]
    optional = {"human-normalised": "human_normalised", "above random": "above_random"}
    units = {"human_normalised": "%", "above_random": " s.e."}
    data = [line.data() for line in lines]
    for title, key in optional.items():
        if any(each[key] is not None for each in data):
            head.append(title)
            for row, each in zip(rows, data, strict=True):
                row.append("" if each[key] is None else f"{each[key]:.1f}{units[key]}")
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    shown = ["  ".join(_padded(row, widths)) for row in [head, *rows]]
    return [*shown, *_notes(lines)]


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *rest = (
        cell.ljust(width) if k == 0 else cell.rjust(width)
        for k, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return [first, *rest]


def _cells(line: _Line) -> list[str]:
    own, figures = line.found, line.found.summary()
    who = f"random ({own.who})" if own.step is None else f"{own.who} at step {own.step:,}"
    keys = ("mean", "standard_error", "median", "min", "max")
    return [who, str(len(own.played)), *(f"{figures[key]:.4g}" for key in keys)]


def _notes(lines: Sequence[_Line]) -> list[str]:
    own = [line.found for line in lines]
    notes = [f"seed {own[0].seed}; exploration {_listed(own)}"]
    for each in own:
        if each.different < len(each.played):
            notes.append(
                f"{each.who}: {each.different} different games among {len(each.played)}, as there "
                "are few starts and little chance"
            )
    written = [line.files[0] for line in lines if line.files]
    notes += [f"videos in {Path(first).parent}" for first in written]
    if any(line.cut for line in lines):
        notes.append(f"a video ends after {_MOST} pictures of an episode")
    return notes


def _listed(found: Sequence[Evaluation]) -> str:
    trained = sorted({each.exploration for each in found if each.step is not None})
    return ", ".join(f"{each:g}" for each in trained) or "1 (all actions are random)"
