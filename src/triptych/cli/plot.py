"""``triptych plot``: training logs as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from triptych.cli.options import check_file, place, print_json

HELP = "draw training logs: running and maximum reward over episodes and steps, as PNG or SVG"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the logs, how they are drawn, where to."""
    parser.add_argument(
        "logs",
        type=place,
        metavar="PATH",
        nargs="+",
        help="a run folder, a metrics.csv, or a folder of runs",
    )
    parser.add_argument(
        "--join", action="store_true", help="draw the logs as one training, in the order given"
    )
    parser.add_argument(
        "--side-by-side", action="store_true", help="panels for each backend, not lines in one"
    )
    parser.add_argument("--loss", action="store_true", help="draw the loss too")
    parser.add_argument("--epsilon", action="store_true", help="draw the exploration too")
    parser.add_argument(
        "--out",
        type=place,
        metavar="FILE",
        help="the picture, ending in .png or .svg (plot.png beside the first log)",
    )


def run(args: argparse.Namespace) -> int:
    """Read, draw, write, and print where the picture is."""
    from triptych.report import training_plot
    from triptych.report.training_logs import read_logs

    out = check_file(training_plot.check_ending(args.out or _beside(args.logs[0])))
    more = [name for name in ("loss", "epsilon") if getattr(args, name)]
    logs = read_logs(args.logs)
    lines = training_plot.training_lines(logs, join_logs=args.join, more=more)
    notes = training_plot.notes(logs, lines)
    figure = training_plot.draw(lines, side_by_side=args.side_by_side, notes=notes)
    path = training_plot.save(figure, out)
    if args.json:
        drawn = [line.data() for line in lines]
        print_json({"plot": str(path), "interval": training_plot.INTERVAL, "lines": drawn})
    else:
        print(f"{len(logs)} {'log' if len(logs) == 1 else 'logs'} drawn to {path}")
    return 0


def _beside(log: Path) -> Path:
    """Return where the picture goes that nobody gave a place: into a folder, or beside a file."""
    return (log if log.is_dir() else log.parent) / "plot.png"
