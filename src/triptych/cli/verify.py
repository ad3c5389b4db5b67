"""``triptych verify``: climb the ladder for every pair of backends."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from triptych.cli.options import (
    add_backends,
    add_recipe,
    add_seed,
    check_file,
    interactive,
    names,
    place,
    print_json,
    strict,
)

if TYPE_CHECKING:
    from triptych.parity.certificate import Certificate

HELP = "prove that the backends compute, learn and act alike, rung by rung"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the recipe, the backends, and how high to climb."""
    add_recipe(parser)
    add_backends(parser)
    add_seed(parser)
    parser.add_argument(
        "--highest",
        type=int,
        choices=range(8),
        default=7,
        metavar="RUNG",
        help="the highest rung to climb, 0 to 7 (7)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float64", "both"),
        default="both",
        help="the type of rungs 0 to 6 (both)",
    )
    parser.add_argument(
        "--out", type=place, metavar="FILE", help="also write the certificate to this file"
    )


def run(args: argparse.Namespace) -> int:
    """Climb; exit code 0 when everything passed, 1 when a rung failed."""
    from triptych.engines.setup import load_recipe
    from triptych.parity import ladder
    from triptych.runs.files import write_bytes

    recipe = load_recipe(args.recipe, args.set)
    backends = names(args.backends, oracle=args.dtype == "float64")
    out = check_file(args.out) if args.out else None
    dtypes = ladder.DTYPES if args.dtype == "both" else (args.dtype,)
    certificate = ladder.climb(
        recipe,
        backends,
        args.seed or 0,
        highest=args.highest,
        dtypes=dtypes,
        show=interactive(args),
    )
    if args.json:
        print_json(certificate.as_dict())
    else:
        print(text_of(certificate))
    if out:
        text = json.dumps(strict(certificate.as_dict()), indent=2, default=str)
        write_bytes(out, text.encode())
    return 0 if certificate.passed else 1


def text_of(certificate: Certificate) -> str:
    """Return the ladder as text, a line per comparison, and the verdict."""
    lines = []
    for verdict in certificate.verdicts:
        mark = "ok  " if verdict.passed else "FAIL"
        sign = "<=" if verdict.value <= verdict.bound else "> "
        lines.append(
            f"{mark} {verdict.rung} {verdict.name:<9} {verdict.pair:<12} {verdict.dtype}  "
            f"{verdict.value:8.1e} {sign} {verdict.bound:.0e}  {verdict.detail}"
        )
    return "\n".join([*lines, "", certificate.sentence()])
