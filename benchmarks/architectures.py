"""The proof of porting: real architectures from each framework to the others, and what was seen.

Models are built in their own framework's words (``tests/zoo``), with random weights and moved
running statistics, and carried by the same code as ``triptych port``. Each source framework has a
process of its own.

    python benchmarks/architectures.py [--out docs/results/architectures.json] [--from torch]
        [--to jax,keras,onnx,matlab] [NAME ...]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

ZOO = Path(__file__).parent.parent / "tests" / "zoo"
OUT = Path("docs/results/architectures.json")
FRAMEWORKS = ("torch", "jax", "keras")


def main() -> int:
    """Port, print a line for each, and keep all as data."""
    args = _arguments()
    if args.source is None:
        rows = [row for source in FRAMEWORKS for row in _in_a_process(source, args)]
        command = f"python benchmarks/architectures.py --to {args.to}"
        result = {"command": command, "machine": platform.platform(), "rows": rows}
        args.out.write_text(json.dumps(result, indent=2) + "\n")
        failed = [row for row in rows if not row["passed"]]
        print(f"{len(rows) - len(failed)} of {len(rows)} ports proven; {args.out}")
        return 1 if failed else 0
    _ports(args.source, args.to.split(","), args.names)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of the zoo (all)")
    parser.add_argument("--from", dest="source", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--to", default="torch,jax,keras,onnx", help="targets (%(default)s)")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def _in_a_process(source: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    words = [sys.executable, __file__, *args.names, "--from", source, "--to", args.to]
    rows = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            rows.append(json.loads(line))
            row = rows[-1]
            verdict = "proven" if row["passed"] else f"NOT proven: {row['reasons']}"
            print(
                f"{row['source']:>6} -> {row['target']:<7} {row['name']:<15} "
                f"{row['parameters']:>10,}  {row['seconds']:6.1f} s  {verdict}",
                flush=True,
            )
    if process.returncode:
        raise SystemExit(f"the ports from {source} ended with code {process.returncode}")
    return rows


def _ports(source: str, targets: list[str], names: list[str]) -> None:
    """Carry every model of a zoo to every target and print a line of JSON for each."""
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(ZOO))
    from triptych.backends import registry
    from triptych.backends.carried import Given
    from triptych.errors import TriptychError
    from triptych.port import kinds
    from triptych.port.carry import carry

    for name in {source, *targets} & {"keras", "jax", "torch"}:
        registry.get(name)
    import every

    own = every.ARCHITECTURES + (tuple(every.APPLICATIONS) if source == "keras" else ())
    for name in [name for name in names or own if name in own]:
        model, shape, index = every.build(source, name)
        read = kinds.porter(source).read_object(model, Given(shape=shape, index=index))
        for target in [target for target in targets if target != source]:
            began = time.perf_counter()
            try:
                with tempfile.TemporaryDirectory() as folder:
                    done = carry(read, target, Path(folder) / "out", name).as_dict()
            except TriptychError as error:
                done = {"source": source, "target": target, "passed": False,
                        "parameters": read.trained.network.parameter_count,
                        "reasons": [str(error)]}  # fmt: skip
            done |= {"name": name, "seconds": round(time.perf_counter() - began, 1), "out": None}
            print(json.dumps(done), flush=True)


if __name__ == "__main__":
    sys.exit(main())
