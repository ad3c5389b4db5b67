"""``triptych watch``: play greedy episodes of a trained run; images, a GIF and a video."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from triptych.cli.options import add_seed, place, positive, print_json

if TYPE_CHECKING:
    from triptych.engines.replay import Replay

HELP = "play greedy episodes of a trained run and write images, a GIF and a video"
_MOST = 3000
"""Pictures in all: 300 MB of an Atari screen."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the run, how many episodes, where to."""
    parser.add_argument("run", type=place, metavar="RUN", help="a run folder")
    parser.add_argument("--episodes", type=positive, default=10, metavar="N", help="how many (10)")
    parser.add_argument("--out", type=place, metavar="FOLDER", help="where to (RUN/watch)")
    add_seed(parser)


def run(args: argparse.Namespace) -> int:
    """Play, write the files, and print where they are."""
    from triptych.engines import setup
    from triptych.engines.replay import frame_rate, play_run
    from triptych.errors import RunError
    from triptych.runs.folder import RunFolder

    recipe = setup.recipe_of(RunFolder.open(args.run))
    out = args.out or args.run / "watch"
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file, not a folder; choose a folder with --out")
    most = max(1, _MOST // args.episodes)
    episodes = play_run(args.run, args.episodes, args.seed or 0, most)
    written = _write(out, episodes, frame_rate(recipe))
    returns = [episode.total for episode in episodes]
    if args.json:
        shown = {"run": str(args.run), "returns": returns}
        print_json(shown | {"files": [str(path) for path in written]})
    else:
        mean = sum(returns) / len(returns)
        print(f"{len(returns)} episodes, mean return {mean:.4g}; written to {out}")
        if max(len(episode.frames) for episode in episodes) == most:
            print(
                f"the pictures end after {most} of an episode; fewer --episodes show more of each"
            )
    return 0


def _write(out: Path, episodes: Sequence[Replay], fps: int) -> list[Path]:
    """Write an image per episode, and the GIF and the video of all of them."""
    import numpy as np

    from triptych.report import media

    written = []
    for number, episode in enumerate(episodes, start=1):
        written.append(media.write_png(out / f"episode-{number:02d}.png", episode.strip()))
    frames = np.stack([frame for episode in episodes for frame in episode.frames])
    written.append(media.write_gif(out / "episodes.gif", frames, fps))
    return [*written, media.write_video(out / "episodes.mp4", frames, fps)]
