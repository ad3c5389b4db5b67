"""The cost of the abstraction: one update through Triptych against one written by hand.

For each framework and network, in a process of its own, the two are timed in turn, many times, on
the same batches of frames really played. What is compared is the ratio of each pair of neighbours;
its median is the cost, since neighbours share whatever else the machine is doing.

    python benchmarks/update_time.py [--out FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib import import_module
from itertools import islice
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).parent))

from triptych.backends.registry import FRAMEWORKS
from triptych.engines import setup
from triptych.engines.processes import Job, run_all
from triptych.parity.certificate import installed_versions
from triptych.parity.subject import of_recipe

NETWORKS = ("fruit", "space-invaders")


def time_pair(framework, name, rounds, tell):
    """Return the times in seconds of both, in pairs."""
    recipe = setup.load_recipe(name)
    batches = list(islice(of_recipe(recipe, 0).batches, 16))
    learner = setup.make_learner(recipe, framework, 0)
    by_hand = import_module(f"by_hand.{framework}_by_hand").make(name)
    sides = (learner.update, by_hand)
    for batch in batches[:4]:
        for side in sides:
            float(side(batch))
    pairs = []
    for number in range(rounds):
        batch = batches[number % len(batches)]
        # Who goes first alternates, so that neither profits from the other's warm caches.
        order = sides if number % 2 else sides[::-1]
        seconds = {}
        for side in order:
            began = time.perf_counter()
            float(side(batch))
            seconds[side] = time.perf_counter() - began
        pairs.append((seconds[learner.update], seconds[by_hand]))
        tell(number + 1, rounds, "round")
    return pairs


def rows(rounds):
    """Time everything, one framework after the other, and return the table."""
    table = []
    for name in NETWORKS:
        for framework in FRAMEWORKS:
            job = Job(f"{framework} {name}", time_pair, (framework, name, rounds))
            pairs = run_all([job], workers=1)[0]
            ratios = [ours / theirs for ours, theirs in pairs]
            low, _, high = quantiles(ratios, n=4)
            table.append(
                {
                    "what": f"update {name}",
                    "system": framework,
                    "triptych_ms": 1e3 * median(ours for ours, _ in pairs),
                    "by_hand_ms": 1e3 * median(theirs for _, theirs in pairs),
                    "ratio": median(ratios),
                    "ratio_quartiles": [low, high],
                    "rounds": rounds,
                }
            )
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    table = rows(args.rounds)
    print(f"{'update':<22} {'framework':<9} {'triptych':>9} {'by hand':>9}  ratio (quartiles)")
    for row in table:
        low, high = row["ratio_quartiles"]
        print(
            f"{row['what']:<22} {row['system']:<9} {row['triptych_ms']:6.2f} ms "
            f"{row['by_hand_ms']:6.2f} ms  {row['ratio']:.3f} ({low:.3f} to {high:.3f})"
        )
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        machine = f"{platform.machine()}, {os.cpu_count()} cores"
        result = {
            "command": f"python benchmarks/update_time.py --rounds {args.rounds} --out {args.out}",
            "machine": machine,
            "versions": installed_versions(),
            "rows": table,
        }
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
