"""``python -m triptych.testing.faults``: the scorecard from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from triptych.testing.faults import scorecard
from triptych.testing.faults.scorecard import Scorecard


def main() -> int:
    """Run the bank; exit code 0 when all bars are reached, else 1."""
    parser = argparse.ArgumentParser(prog="python -m triptych.testing.faults", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--clean", type=int, default=100, metavar="N", help="clean pairs (100)")
    parser.add_argument("--only", metavar="PATTERN", help="faults by name, factor or backend")
    parser.add_argument("--json", action="store_true", help="print the scorecard as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write it to this file")
    parser.add_argument("--resume", action="store_true", help="go on from the file of --out")
    args = parser.parse_args()
    faults = scorecard.chosen(args.only)
    if not faults:
        parser.error(f"no fault fits {args.only!r}; try for example '*epsilon*'")
    if args.jobs < 1 or args.clean < 0:
        parser.error("--jobs must be at least 1 and --clean at least 0")
    if args.resume and not (args.out and args.out.is_file()):
        parser.error("--resume goes on from the file of --out, which is not there")
    before = Scorecard.of(json.loads(args.out.read_text())) if args.resume else None
    card = scorecard.run(
        faults,
        range(args.clean),
        args.jobs,
        show=sys.stderr.isatty(),
        before=before,
        keep=lambda so_far: _write(so_far, args.out),
    )
    _write(card, args.out)
    print(_text(card) if args.json else card.text())
    return 0 if card.passed else 1


def _text(card: Scorecard) -> str:
    command = "python -m triptych.testing.faults --json --out docs/results/faults.json"
    return json.dumps({"command": command} | card.as_dict(), indent=2)


def _write(card: Scorecard, out: Path | None) -> None:
    if out is not None:
        out.write_text(_text(card) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
