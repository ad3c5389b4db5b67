"""``triptych port``: carry a trained network to another framework, and prove that it arrived."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.options import place, print_json

if TYPE_CHECKING:
    from triptych.backends.carried import Given, Source
    from triptych.port.carry import Ported

HELP = "carry a trained network to another framework, verified against what ran it before"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the source, the target, and what a file may not hold."""
    parser.add_argument(
        "source",
        metavar="SRC",
        help="a model file (.keras .h5 .pt .pt2 .safetensors .msgpack .onnx .mat), an Orbax or run "
        "folder, or path/to/file.py:function that returns a model",
    )
    parser.add_argument(
        "--to", required=True, metavar="B", help="torch, jax, keras, onnx or matlab"
    )
    parser.add_argument(
        "--out", type=place, required=True, metavar="PATH", help="a folder to make, or a file"
    )
    parser.add_argument(
        "--network",
        metavar="N",
        help="the structure, for files of arrays alone: a recipe, a network.json, a notation "
        "such as '28x28x1 -> conv 8 3x3 relu -> ...', or file.py:function of the model",
    )
    parser.add_argument(
        "--input",
        type=_shape,
        metavar="SHAPE",
        help="one input's shape, channels last, where the source leaves it open: 32x32x3, or "
        "'20 index' for rows of indices",
    )
    parser.add_argument("--force", action="store_true", help="replace what stands at --out")


def run(args: argparse.Namespace) -> int:
    """Port; exit code 0 when the port is proven, 1 when it differs from its source."""
    from triptych.port import kinds
    from triptych.port.carry import carry

    kinds.suffix(args.to, args.out)
    source, title = _source(args)
    done = carry(source, args.to, args.out, title, force=args.force)
    if args.json:
        print_json(done.as_dict())
    else:
        print(text_of(done, source.runtime))
    return 0 if done.proof.passed else 1


def text_of(done: Ported, runtime: str) -> str:
    """Return what came of a port as text."""
    proof, network = done.proof, done.trained.network
    lines = [f"{len(network.nodes) - 1} layers, {network.parameter_count:,} parameters"]
    for what, gaps in (("outputs", proof.forward), ("gradients", proof.gradients)):
        lines += [f"{what:<9} {kind}  {gap:.1e} of their scale" for kind, gap in gaps.items()]
    lines += [f"optimizer's state: {done.slots}"] if done.slots != "none" else []
    lines += [f"note: {note}" for note in done.notes]
    if proof.passed:
        return "\n".join([*lines, f"Ported and proven against {runtime}: {done.out}"])
    reasons = [f"  {reason}" for reason in proof.reasons]
    return "\n".join([*lines, "Not ported, nothing was written:", *reasons])


def _shape(text: str) -> tuple[tuple[int, ...], bool]:
    """``32x32x3`` or ``20 index``."""
    found = re.fullmatch(r"\s*(\d+(?:x\d+)*)\s*(index)?\s*", text)
    if not found or "0" in found[1].split("x"):
        raise argparse.ArgumentTypeError(
            f"expected a shape such as 32x32x3 or '20 index', got {text!r}"
        )
    return tuple(map(int, found[1].split("x"))), bool(found[2])


def _source(args: argparse.Namespace) -> tuple[Source, str]:
    """The source that is named, and a title for it."""
    from triptych.port import kinds, run_folders
    from triptych.runs.files import RUN_FILE

    path, given = Path(args.source), _given(args)
    if _is_code(args.source):
        return _code(args.source, given), re.sub(r"\W+", "-", args.source.rpartition(":")[2])
    if (path / RUN_FILE).is_file():
        from triptych.engines.setup import recipe_of
        from triptych.runs.folder import RunFolder

        folder = RunFolder.open(path)
        recipe = recipe_of(folder)
        return run_folders.of_run(folder, recipe), recipe.name
    if all((path / name).is_file() for name in (run_folders.NETWORK, run_folders.PARAMS)):
        return run_folders.of_plain(path), path.name or "network"
    return kinds.read(path, given), path.name.split(".")[0] or "network"


def _is_code(text: str) -> bool:
    return bool(re.search(r"\.py(:\w*)?$", text))


def _given(args: argparse.Namespace) -> Given:
    """What the user says beside the file."""
    from triptych.backends.carried import Given

    shape, index = args.input or (None, False)
    given = Given(shape=shape, index=index, where=args.network or "")
    text = args.network
    if text is None:
        return given
    if _is_code(text):
        from triptych.parity import sides

        return replace(given, make=sides.load(sides.parse(text)))
    if "->" in text:
        from triptych.spec.notation import parse

        return replace(given, network=parse(text))
    if text.endswith(".json"):
        from triptych.runs.files import read_json
        from triptych.spec.plain import from_plain

        return replace(given, network=from_plain(read_json(Path(text))))
    from triptych.engines.setup import load_recipe

    recipe = load_recipe(text)
    return replace(given, network=recipe.network, rule=recipe.optimizer)


def _code(text: str, given: Given) -> Source:
    """What a user's own function returns: a model, or a setup as the audit takes it."""
    from triptych.backends import registry
    from triptych.errors import SetupError
    from triptych.parity import sides
    from triptych.port import kinds

    side = sides.parse(text)
    make = sides.load(side)
    with sides.asking(text, "the function"):
        found: Any = make()
    objects = found if isinstance(found, Mapping) else {"model": found}
    if "model" not in objects:
        raise SetupError(f"{text}: the dict it returns lacks 'model', the network to port")
    framework = registry.framework_of(objects["model"])
    if framework is None:
        kind = type(objects["model"])
        raise SetupError(
            f"{text}: 'model' is a {kind.__module__}.{kind.__qualname__}, expected a "
            "torch.nn.Module, a keras.Model or a flax.nnx.Module"
        )
    if given.shape is None and objects.get("batch") is not None:
        given = _with_shape(given, framework, objects["batch"])
    given = replace(given, where=text, make=make)
    return kinds.porter(framework).read_object(objects["model"], given, objects.get("optimizer"))


def _with_shape(given: Given, framework: str, batch: Any) -> Given:
    """The shape of a setup's batch, canonical: PyTorch's images have their channels first."""
    inputs = batch[0]
    shape = tuple(int(size) for size in inputs.shape[1:])
    if framework == "torch" and len(shape) == 3:
        shape = (shape[1], shape[2], shape[0])
    return replace(given, shape=shape, index="int" in str(inputs.dtype))
