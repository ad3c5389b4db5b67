"""A file's arrays and the module they belong to: the user's own, or ours of a given network.

Files are opened in ``files.py``; what runs the module afterwards is in ``porting.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from triptych.backends._torch.layouts import HOMES
from triptych.backends._torch.model import Model
from triptych.backends._torch.porting.files import Held
from triptych.backends._torch.porting.graph import Drawn
from triptych.backends.carried import Origin
from triptych.backends.graph import Value
from triptych.backends.protocol import Params
from triptych.errors import PortError
from triptych.spec.layers import Activation, Dense, Dropout, Flatten
from triptych.spec.network import Network

Groups = dict[str, dict[str, Tensor]]
_COUNT = "num_batches_tracked"


def load(model: nn.Module, arrays: Mapping[str, Tensor], path: Path) -> None:
    """Load a file's arrays into the user's own model, all of them.

    Raises:
        PortError: an array is missing, unknown or of another shape; the message names the first.
    """
    expected = model.state_dict()
    arrays = _freed(arrays, expected)
    _check_same(expected, arrays, path, "the model")
    model.load_state_dict(dict(arrays), strict=False)


def _freed(arrays: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Without the one name that all begin with, of a module around the model, where that fits."""
    outer = {name.split(".", 1)[0] for name in arrays}
    if len(outer) > 1 or any(name in expected for name in arrays):
        return arrays
    freed = {name.partition(".")[2]: array for name, array in arrays.items()}
    return freed if any(name in expected for name in freed) else arrays


def _check_same(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path, what: str
) -> None:
    for name, array in expected.items():
        if name.endswith(_COUNT):
            continue
        if name not in found:
            raise PortError(
                f"{path} lacks {name} {tuple(array.shape)}, which {what} has; "
                f"it holds {_some(found)}"
            )
        if found[name].shape != array.shape:
            raise PortError(
                f"{path}: {name} is {tuple(found[name].shape)}, but {what} has "
                f"{tuple(array.shape)} there"
            )
    unknown = next((n for n in found if n not in expected and not n.endswith(_COUNT)), None)
    if unknown is not None:
        raise PortError(f"{path} holds {unknown}, which {what} lacks; it has {_some(expected)}")


def _some(names: Mapping[str, Tensor]) -> str:
    listed = list(names)
    return ", ".join(listed[:4]) + (", ..." if len(listed) > 4 else "")


def match(held: Held, network: Network, path: Path) -> tuple[Model, Drawn]:
    """Return our module of a network with a file's arrays, and where each came from.

    Arrays are matched by the names ``<node>.<attribute>``; where none fits, layer by layer in
    their order, which all attributes and shapes must confirm.

    Raises:
        PortError: they do not fit; the message names the first that does not.
    """
    arrays = {name: array for name, array in held.arrays.items() if not name.endswith(_COUNT)}
    real = [array.dtype for array in arrays.values() if array.is_floating_point()]
    wide = bool(real) and all(dtype == torch.float64 for dtype in real)
    model = Model(network, torch.float64 if wide else torch.float32).eval()
    expected = model.state_dict()
    places = {node.name: node.name for node in network.nodes}
    if not any(name in expected for name in arrays) and expected:
        places |= _in_order(expected, arrays, network, held, path)
        arrays = {
            f"{node}.{name}": array
            for node, place in places.items()
            for name, array in _groups(arrays).get(place, {}).items()
        }
    _check_same(expected, arrays, path, "the network")
    model.load_state_dict(dict(arrays), strict=False)
    for name, param in model.named_parameters():
        if not param.requires_grad and bool(param.detach().any()):
            raise PortError(f"{path}: {name} is not zero, but the network has one bias there: "
                            "set 'biases' to 2")  # fmt: skip
    return model, _drawn(network, places)


def _in_order(
    expected: Mapping[str, Tensor],
    arrays: Mapping[str, Tensor],
    network: Network,
    held: Held,
    path: Path,
) -> dict[str, str]:
    """Return node to place in the file, by the order of layers with arrays."""
    ours, theirs = _groups(expected), _groups(arrays)
    if not held.ordered:
        theirs = dict(sorted(theirs.items(), key=lambda item: _natural(item[0])))
    if len(ours) != len(theirs):
        raise PortError(
            f"{path} has {len(theirs)} layers with arrays ({_some(arrays)}), but the network has "
            f"{len(ours)}: {', '.join(ours)}"
        )
    for (node, own), (place, other) in zip(ours.items(), theirs.items(), strict=True):
        shapes = [{n: tuple(a.shape) for n, a in group.items()} for group in (own, other)]
        if shapes[0] != shapes[1]:
            raise PortError(
                f"{path}: {place} has {_show(shapes[1])}, but the layer in its place, {node}, "
                f"takes {_show(shapes[0])}"
            )
    _check_flattened(network, path)
    return dict(zip(ours, theirs, strict=True))


def _check_flattened(network: Network, path: Path) -> None:
    """The order of a flattened image's rows can't be seen in a file of arrays."""
    images: dict[str, bool] = {}
    for node in network.nodes:
        before = network.input_shapes(node)
        if isinstance(node.layer, Flatten) and len(before[0]) == 3:
            images[node.name] = before[0][2] > 1 and before[0][0] * before[0][1] > 1
        elif isinstance(node.layer, (Activation, Dropout)):
            images[node.name] = images.get(node.inputs[0], False)
        if isinstance(node.layer, Dense) and images.get(node.inputs[0]):
            raise PortError(
                f"{path}: {node.name} reads a flattened image, whose rows PyTorch's models order "
                "by channels and the network by pixels, and the file does not say which: give the "
                "model itself, --network file.py:function"
            )


def _groups(arrays: Mapping[str, Tensor]) -> Groups:
    groups: Groups = {}
    for name, array in arrays.items():
        place, _, attribute = name.rpartition(".")
        groups.setdefault(place, {})[attribute] = array
    return groups


def _natural(place: str) -> list[tuple[int, str]]:
    """``features.10`` behind ``features.2``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"[.]", place)]


def _show(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"


def _drawn(network: Network, places: Mapping[str, str]) -> Drawn:
    """Where the arrays of our own module come from: the layouts say it."""
    origins = {}
    for name in network.parameters:
        node, local = name.rsplit("/", 1)
        home = HOMES[network.by_name[node].layer.kind][local]
        key = f"{node}.{home.attribute}"
        origins[name] = Origin(key).then(home.piece).then(home.to_canonical)
    first, last = network.input.name, network.output.name
    values = [Value(end, tuple(range(len(network.shapes[end])))) for end in (first, last)]
    return Drawn(network, origins, places, values[0], values[1], (), {}, {}, frozenset())


def layer_outputs(model: nn.Module, observations: np.ndarray) -> Params:
    """Return every node's output of our own module."""
    assert isinstance(model, Model)
    with torch.no_grad():
        values = model.all_outputs(torch.from_numpy(np.ascontiguousarray(observations)))
    return {name: value.numpy() for name, value in values.items()}
