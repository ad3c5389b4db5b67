"""``triptych report``: write the page of a comparison, or of run folders."""

from __future__ import annotations

import argparse

from triptych.cli.options import check_file, interactive, place, print_json

HELP = "write the self-contained HTML page of a comparison or of runs"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the folders and the file."""
    parser.add_argument(
        "folders", type=place, metavar="FOLDER", nargs="+", help="a comparison, or run folders"
    )
    parser.add_argument("--out", type=place, metavar="FILE", help="the page (FOLDER/report.html)")


def run(args: argparse.Namespace) -> int:
    """Gather, write, and print where the page is."""
    from triptych.cli.gather import page_of_folders
    from triptych.engines.comparison import PAGE
    from triptych.report.page import write_page

    out = check_file(args.out) if args.out else args.folders[0] / PAGE
    path = write_page(out, page_of_folders(args.folders, interactive(args)))
    if args.json:
        print_json({"report": str(path)})
    else:
        print(f"the page is {path}")
    return 0
