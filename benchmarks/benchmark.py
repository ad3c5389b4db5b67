"""Triptych against its peers, in one run: training steps per second, components, GFLOP/s.

    python benchmarks/benchmark.py [--rounds 5] [--steps 400] [--only TEXT ...] [--quick]
                                   [--out FILE]

Needs the environment .venv-peers, which `make benchmark` sets up. What is measured, and how, is in
``throughput/``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from throughput import table
from throughput.conductor import PEERS, SYSTEMS, measure


def main() -> None:
    args = arguments()
    chosen = [s for s in SYSTEMS if not args.only or any(o in s.label for o in args.only)]
    if args.quick:
        chosen = [system for system in chosen if system.asked != ("components",)]
    if not chosen:
        refuse(f"--only {args.only}: no such system; there are: {[s.label for s in SYSTEMS]}")
    if lacking := [system.label for system in chosen if not system.python.exists()]:
        refuse(f"no {PEERS.name} for {', '.join(lacking)}; make it with: make {PEERS.name}")
    measured = measure(
        chosen, args.rounds, args.steps, not args.quick, lambda text: print(text, file=sys.stderr)
    )
    rows = table.rows(measured)
    print(table.drawn(rows))
    if args.out:
        result = {
            "command": shlex.join(["python", "benchmarks/benchmark.py", *sys.argv[1:]]),
            "machine": table.machine(),
            "versions": measured.versions,
            "settings": table.SETTINGS | {"rounds": args.rounds, "steps a round": args.steps},
            "rows": rows,
        }
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + "\n")


def refuse(sentence: str) -> None:
    """Leave as the command line does where a request is wrong."""
    print(sentence, file=sys.stderr)
    sys.exit(2)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400, help="training steps in a round")
    parser.add_argument("--only", nargs="+", default=[], help="systems whose labels hold a text")
    parser.add_argument("--quick", action="store_true", help="training steps per second alone")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
