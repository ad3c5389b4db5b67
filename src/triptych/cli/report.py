"""``triptych report``: write the page of a comparison, or of run folders."""

from __future__ import annotations

import argparse
from pathlib import Path

from triptych.cli.options import print_json

HELP = "write the self-contained HTML page of a comparison or of runs"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the folders and the file."""
    parser.add_argument("folders", metavar="FOLDER", nargs="+", help="a comparison, or run folders")
    parser.add_argument("--out", metavar="FILE", help="the page (FOLDER/report.html)")


def run(args: argparse.Namespace) -> int:
    """Gather, write, and print where the page is."""
    from triptych.cli.gather import page_of_folders
    from triptych.report.page import write_page

    page = page_of_folders([Path(folder) for folder in args.folders])
    path = write_page(Path(args.out or Path(args.folders[0]) / "report.html"), page)
    if args.json:
        print_json({"report": str(path)})
    else:
        print(f"the page is {path}")
    return 0
