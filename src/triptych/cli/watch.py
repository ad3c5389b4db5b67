"""``triptych watch``: play greedy episodes of a trained run; images, a GIF and a video."""

from __future__ import annotations

import argparse
from pathlib import Path

from triptych.cli.options import add_seed, print_json, whole

HELP = "play greedy episodes of a trained run and write images, a GIF and a video"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the run, how many episodes, where to."""
    parser.add_argument("run", metavar="RUN", help="a run folder")
    parser.add_argument("--episodes", type=whole, default=10, metavar="N", help="how many (10)")
    parser.add_argument("--out", metavar="FOLDER", help="where to (RUN/watch)")
    add_seed(parser)


def run(args: argparse.Namespace) -> int:
    """Play, write the files, and print where they are."""
    import numpy as np

    from triptych.engines.replay import FPS, play_run
    from triptych.errors import RunError
    from triptych.report import media

    if args.episodes < 1:
        raise RunError("--episodes must be 1 or more")
    episodes = play_run(args.run, args.episodes, args.seed)
    out = Path(args.out or Path(args.run) / "watch")
    written = []
    for number, episode in enumerate(episodes, start=1):
        path = out / f"episode-{number:02d}.png"
        media.write_png(path, episode.strip())
        written.append(path)
    frames = np.stack([frame for episode in episodes for frame in episode.frames])
    media.write_gif(out / "episodes.gif", frames, FPS)
    video = media.write_video(out / "episodes.mp4", frames, FPS)
    written += [out / "episodes.gif"] + ([video] if video.suffix == ".mp4" else [])
    returns = [episode.total for episode in episodes]
    if args.json:
        print_json({"run": args.run, "returns": returns, "files": [str(path) for path in written]})
    else:
        mean = sum(returns) / len(returns)
        print(f"{len(returns)} episodes, mean return {mean:.4g}; written to {out}")
    return 0
