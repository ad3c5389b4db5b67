"""``python -m triptych.testing.faults``: the scorecard from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from triptych.testing.faults import scorecard


def main() -> int:
    """Run the bank; exit code 0 when all bars are reached, else 1."""
    parser = argparse.ArgumentParser(prog="python -m triptych.testing.faults", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (2)")
    parser.add_argument("--clean", type=int, default=100, metavar="N", help="clean pairs (100)")
    parser.add_argument("--only", metavar="PATTERN", help="faults by name, factor or backend")
    parser.add_argument("--json", action="store_true", help="print the scorecard as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write it to this file")
    args = parser.parse_args()
    faults = scorecard.chosen(args.only)
    if not faults:
        parser.error(f"no fault fits {args.only!r}; try for example '*epsilon*'")
    if args.jobs < 1 or args.clean < 0:
        parser.error("--jobs must be at least 1 and --clean at least 0")
    card = scorecard.run(faults, range(args.clean), args.jobs, show=sys.stderr.isatty())
    command = "python -m triptych.testing.faults " + " ".join(sys.argv[1:])
    data = json.dumps({"command": command.strip()} | card.as_dict(), indent=2)
    print(data if args.json else card.text())
    if args.out:
        args.out.write_text(data + "\n", encoding="utf-8")
    return 0 if card.passed else 1


if __name__ == "__main__":
    sys.exit(main())
