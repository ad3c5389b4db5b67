"""``triptych inspect``: runs unit by unit, and what they learned in other forms."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.options import place, print_json
from triptych.errors import NetworkError, RunError

if TYPE_CHECKING:
    from triptych.backends.protocol import Params
    from triptych.inspect.align import Alignment
    from triptych.spec.network import Network

HELP = (
    "compare two runs unit by unit, fold batch norms, turn dense layers into convolutions or back"
)

_BOUNDS = {"float64": 1e-11, "float32": 1e-5}
"""How far the outputs of another form may be off, of their scale, by the type of the params."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add what to do: align, fold or convert."""
    looks = parser.add_subparsers(dest="look", required=True, metavar="LOOK")
    align = _look(looks, "align", "match the hidden units of two runs, up to order and scale")
    align.add_argument("left", type=place, metavar="RUN_A", help="a run folder")
    align.add_argument("right", type=place, metavar="RUN_B", help="another of the same network")
    fold = _look(looks, "fold", "fold batch normalisation into the layers beside it")
    convert = _look(looks, "convert", "turn dense layers into convolutions, or the other way")
    for one in (fold, convert):
        one.add_argument("run", type=place, metavar="RUN", help="a run folder")
        one.add_argument(
            "--out",
            type=place,
            required=True,
            metavar="FOLDER",
            help="a folder to make, with the network and its params",
        )
    convert.add_argument(
        "--to", choices=("conv", "dense"), required=True, help="what the layers become"
    )
    convert.add_argument("--node", metavar="NAME", help="this layer alone (all that it fits)")


def _look(looks: Any, name: str, what: str) -> argparse.ArgumentParser:
    own: argparse.ArgumentParser = looks.add_parser(
        name, help=what, description=what, allow_abbrev=False
    )
    # Given before the look too, which an own default here would forget.
    own.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON for machines"
    )
    return own


def run(args: argparse.Namespace) -> int:
    """Look; exit code 1 when nothing could be folded, or the outputs are not the same."""
    look: Callable[[argparse.Namespace], int] = {
        "align": _align,
        "fold": _fold,
        "convert": _convert,
    }[args.look]
    return look(args)


def _align(args: argparse.Namespace) -> int:
    from triptych.inspect.align import align

    (network, left), (other, right) = _trained(args.left), _trained(args.right)
    if network != other:
        raise NetworkError(
            f"{args.left} and {args.right} have different networks; units are compared one by one, "
            "within one network"
        )
    found = align(network, left, right)
    gap = _gap(network, right, network, found.params)
    rows = _rows(found)
    if args.json:
        sides = {"left": str(args.left), "right": str(args.right)}
        print_json({**sides, "outputs": gap, "layers": rows})
    else:
        print("\n".join(_table(rows)))
        print(f"Aligned, {args.right} gives the same outputs as before within {gap:.1e}.")
    return _code(gap, right)


def _rows(found: Alignment) -> list[dict[str, Any]]:
    """Each layer: how alike its units are before and after, which is which, and how it grew."""
    rows = []
    for name, cosines in found.similarity.items():
        order, scale = found.permutations.get(name), found.scales.get(name)
        rows.append(
            {
                "layer": name,
                "units": len(cosines),
                "before": float(found.before[name].mean()),
                "similarity": float(cosines.mean()),
                "lowest": float(cosines.min()),
                "permutation": None if order is None else order.tolist(),
                "scales": None if scale is None else scale.tolist(),
            }
        )
    return rows


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as text: similarity is the cosine of what goes into two units."""
    width = max(len("layer"), *(len(row["layer"]) for row in rows))
    lines = [f"{'layer':<{width}}  units  moved  similarity  aligned  lowest"]
    for row in rows:
        order = row["permutation"]
        moved = "-" if order is None else sum(at != unit for at, unit in enumerate(order))
        lines.append(
            f"{row['layer']:<{width}}  {row['units']:>5}  {moved:>5}  {row['before']:>10.3f}  "
            f"{row['similarity']:>7.3f}  {row['lowest']:>6.3f}"
        )
    return lines


def _fold(args: argparse.Namespace) -> int:
    from triptych.inspect.fold import fold

    network, params = _trained(args.run)
    found = fold(network, params)
    notes = [f"folded {name} into {taker}" for name, taker in found.into.items()]
    notes += [f"{name} stays: {reason}" for name, reason in found.left.items()]
    notes = notes or ["there is no batch normalisation to fold"]
    told = {"folded": found.into, "left": found.left}
    if not found.into:
        return _tell(args, notes, told, None, params)
    return _keep(args, (network, params), (found.network, found.params), notes, told)


def _convert(args: argparse.Namespace) -> int:
    from triptych.inspect.convert import dense_to_conv, to_dense
    from triptych.spec.layers import Conv, ConvTranspose, Dense

    network, params = before = _trained(args.run)
    kinds = (Dense,) if args.to == "conv" else (Conv, ConvTranspose)
    names = [args.node] if args.node else [node.name for node in network.nodes_of(*kinds)]
    # From the end on, where layers become dense: a flatten behind them moves before each in turn.
    for name in names if args.to == "conv" else reversed(names):
        if args.to == "conv":
            found = dense_to_conv(network, name)
            network, params = found.network, found.arrays(params)
        else:
            network, params = to_dense(network, params, name)
    notes = [f"{name} is {network.by_name[name].layer.kind} now" for name in names]
    if not names:
        return _tell(args, ["there is no layer to convert"], {"converted": []}, None, params)
    return _keep(args, before, (network, params), notes, {"converted": names})


def _trained(path: Path) -> tuple[Network, Params]:
    """The network of a run, and its params as trained so far."""
    from triptych.engines import setup
    from triptych.runs.folder import RunFolder

    folder = RunFolder.open(path)
    return setup.recipe_of(folder).network, setup.trained_params(folder)


def _gap(network: Network, params: Params, other: Network, changed: Params) -> float:
    """How far two networks' outputs are apart, of their scale, by the float64 oracle."""
    from triptych.backends import registry
    from triptych.parity.measures import relative
    from triptych.port.proof import inputs_of

    inputs, oracle = inputs_of(network, seed=0), registry.get("numpy")
    left, right = (
        oracle.learner(net, arrays, dtype="float64").outputs(inputs)
        for net, arrays in ((network, params), (other, changed))
    )
    return relative(left, right)


def _code(gap: float, params: Params) -> int:
    """0 where outputs are the same but for rounding in the type of the params."""
    kind = next(iter(params.values())).dtype.name
    return 0 if gap <= _BOUNDS[kind] else 1


def _keep(
    args: argparse.Namespace,
    before: tuple[Network, Params],
    after: tuple[Network, Params],
    notes: list[str],
    told: Mapping[str, Any],
) -> int:
    """Write the new form where its outputs are the old one's, and say so."""
    _check_place(args.out)
    gap = _gap(*before, *after)
    if _code(gap, before[1]) == 0:
        _write(args.out, *after)
    return _tell(args, notes, told, gap, before[1])


def _tell(
    args: argparse.Namespace,
    notes: list[str],
    told: Mapping[str, Any],
    gap: float | None,
    params: Params,
) -> int:
    """Print what was done; 1 where nothing was, or the outputs are not the same."""
    from triptych.port.run_folders import NETWORK, PARAMS

    code = 1 if gap is None else _code(gap, params)
    out = str(args.out) if code == 0 else None
    if args.json:
        print_json({"run": str(args.run), **told, "outputs": gap, "out": out})
        return code
    if gap is not None:
        notes = [*notes, f"outputs differ by {gap:.1e} of their scale, by the float64 oracle"]
    written = f"{out}: {NETWORK}, {PARAMS}" if out else "Nothing was written."
    print("\n".join([*notes, written]))
    return code


def _check_place(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunError(f"{out} exists and is not an empty folder; choose another one with --out")


def _write(out: Path, network: Network, params: Params) -> None:
    from triptych.port.run_folders import NETWORK, PARAMS
    from triptych.runs import arrays, files
    from triptych.spec.plain import to_plain

    with files.atomic_folder(out) as folder:
        with files.synced_file(folder / PARAMS) as handle:
            arrays.write(handle, params)
        with files.synced_file(folder / NETWORK) as handle:
            handle.write(files.json_bytes(to_plain(network)))
