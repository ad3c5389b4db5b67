"""ONNX' LSTM, GRU and RNN, and the small nodes behind them that pick steps and directions.

ONNX has the time first, then the directions, and gives all states and the last one; what is behind
is followed until it is (batch, time, units), (time, batch, units) or (batch, units).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from triptych.backends.carried import Origin, Turn
from triptych.backends.graph import Value
from triptych.port.onnx.reading import Held, Reader
from triptych.spec.layers import GRU, LSTM, Elman, Recurrent

_GATES = {
    "LSTM": ("input", "output", "forget", "cell"),
    "GRU": ("update", "reset", "candidate"),
    "RNN": ("",),
}
_BENDS = {"Tanh": "tanh", "Sigmoid": "sigmoid", "Relu": "relu", "HardSigmoid": "hard_sigmoid"}
_DONE = (["batch", "time", "units"], ["time", "batch", "units"], ["batch", "units"])


def recurrent(reader: Reader, node: Any) -> None:
    """Add the layers of a recurrent node and hold what comes out behind it."""
    options = reader.options(node)
    _check(reader, node, options)
    directions = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}[
        options.get("direction", "forward")
    ]
    labels = (["time", "direction", "batch", "units"], ["direction", "batch", "units"])
    for place, names in enumerate(labels):
        if reader.given_output(node, place) and reader.consumers.get(node.output[place]):
            for end in _ends(reader, node.output[place], list(names), last=place == 1):
                _hold(reader, node, options, directions, end)


@dataclass
class _End:
    """A tensor behind a recurrent node, and what it is.

    Attributes:
        name: of the tensor.
        labels: its axes.
        last: whether it is the state after the last step.
        direction: which one of several was picked.
        offset: how many directions of other nodes were joined before these.
    """

    name: str
    labels: list[str]
    last: bool
    direction: int | None = None
    offset: int = 0


def _check(reader: Reader, node: Any, options: dict[str, Any]) -> None:
    if options.get("layout", 0):
        raise reader.refuse(node, "has layout 1; export it with the time first")
    if options.get("clip") or options.get("input_forget"):
        raise reader.refuse(node, "clips its cell or couples its gates")
    for place, what in ((4, "sequence_lens"), (5, "an initial state"), (6, "an initial cell")):
        if reader.given(node, place) and (
            place == 4 or reader.is_computed(node, place) or reader.constant(node, place).any()
        ):
            raise reader.refuse(node, f"is given {what}; states here begin at zero")
    if reader.given(node, 7):
        raise reader.refuse(node, "has peepholes")
    if reader.held[node.input[0]].batch not in (0, 1):
        raise reader.refuse(node, "does not get (time, batch, features)")


def _ends(
    reader: Reader, name: str, labels: list[str], last: bool, direction: int | None = None
) -> list[_End]:
    """Follow a tensor through the nodes that only drop, turn or pick axes."""
    end = _End(name, labels, last, direction)
    while True:
        readers = reader.consumers.get(end.name, [])
        if "direction" in end.labels and len(readers) > 1:
            return [after for node in readers for after in _ends_behind(reader, node, end)]
        done = end.labels in _DONE
        if len(readers) == 1 and readers[0].op_type == "Concat" and "direction" in end.labels:
            end = _step(reader, readers[0], end)
            continue
        if len(readers) != 1 or (done and not _picks_last(reader, readers[0], end)):
            return [end]
        end = _step(reader, readers[0], end)


def _ends_behind(reader: Reader, node: Any, end: _End) -> list[_End]:
    """One of several readers of all directions; none of ours where it picks another node's."""
    after = _step(reader, node, end)
    if after.direction is not None and not 0 <= after.direction < _directions(reader, end):
        return []
    return _ends(reader, after.name, after.labels, after.last, after.direction)


def _directions(reader: Reader, end: _End) -> int:
    """How many directions the node itself has."""
    source = reader.producers[end.name]
    while source.op_type not in _GATES:
        source = reader.producers[source.input[0]]
    return 2 if reader.options(source).get("direction") == "bidirectional" else 1


def _picks_last(reader: Reader, node: Any, end: _End) -> bool:
    if "time" not in end.labels or node.op_type not in ("Gather", "Slice", "Transpose"):
        return False
    if node.op_type == "Transpose":
        turned = _step(reader, node, end, note=False)
        after = reader.only_consumer(turned.name)
        return after is not None and _picks_last(reader, after, turned)
    if node.op_type == "Gather":
        axis = reader.options(node).get("axis", 0) % len(end.labels)
        return end.labels[axis] == "time"
    return True


def _step(reader: Reader, node: Any, end: _End, note: bool = True) -> _End:
    """Return what a node makes of an end."""
    after = reader.shape_of(node.output[0])
    labels, last, direction, offset = list(end.labels), end.last, end.direction, end.offset
    if node.op_type == "Transpose":
        labels = [labels[axis] for axis in reader.options(node)["perm"]]
    elif node.op_type == "Gather":
        axis = reader.options(node).get("axis", 0) % len(labels)
        index = int(reader.constant(node, 1).reshape(()))
        size = reader.shape_of(end.name)[axis]
        if labels[axis] == "time" and index % size == size - 1:
            last = True
        elif labels[axis] == "direction":
            direction = index % size - end.offset
        else:
            raise reader.refuse(node, "picks a step that is not the last")
        del labels[axis]
    elif node.op_type == "Slice":
        axis = int(reader.constant(node, 3).reshape(()))
        if labels[axis] != "time" or int(reader.constant(node, 1).reshape(())) != -1:
            raise reader.refuse(node, "picks steps that are not the last")
        last, labels[axis] = True, "one"
    elif node.op_type == "Concat" and labels[reader.options(node)["axis"]] == "direction":
        before = list(node.input)[: list(node.input).index(end.name)]
        offset += sum(reader.shape_of(name)[labels.index("direction")] for name in before)
    elif node.op_type in ("Squeeze", "Reshape"):
        labels = _reshaped(reader, node, labels, reader.shape_of(end.name), after)
    else:
        raise reader.refuse(node, "reads a recurrent node's directions, and is not known there")
    if note:
        reader.skipped.add(node.output[0])
    return _End(node.output[0], labels, last, direction, offset)


def _reshaped(
    reader: Reader, node: Any, labels: list[str], before: tuple[int, ...], after: tuple[int, ...]
) -> list[str]:
    """Labels behind a reshape that drops axes of size 1 or joins directions and units."""
    rest = [
        (label, size)
        for label, size in zip(labels, before, strict=True)
        if not (size == 1 and label in ("direction", "one"))
    ]
    kept, sizes = [label for label, _ in rest], [size for _, size in rest]
    if tuple(sizes) == after:
        return kept
    if kept[-2:] == ["direction", "units"] and (*sizes[:-2], sizes[-2] * sizes[-1]) == after:
        return [*kept[:-2], "units"]
    raise reader.refuse(node, f"reshapes states of {before} to {after}")


def _hold(
    reader: Reader, node: Any, options: dict[str, Any], directions: tuple[int, ...], end: _End
) -> None:
    if end.labels not in _DONE:
        raise reader.refuse(node, f"gives {end.name}, whose axes are {', '.join(end.labels)}")
    if end.last and len(directions) > 1 and end.direction is None:
        raise reader.refuse(node, "gives the last step of both directions")
    wanted = directions if end.direction is None else (directions[end.direction],)
    values = [_layer(reader, node, options, way, directions.index(way), end) for way in wanted]
    value = values[0]
    if len(values) > 1:
        value = reader.builder.concatenate(values, -1, reader.where(node))
    if end.labels[0] == "time":
        reader.held[end.name] = Held(value, 1)
    else:
        reader.held[end.name] = Held(value)


def _layer(
    reader: Reader, node: Any, options: dict[str, Any], way: int, block: int, end: _End
) -> Value:
    """Add one direction's layer."""
    kind, gates = node.op_type, _GATES[node.op_type]
    names = options.get("activations") or []
    names = [n.decode() if isinstance(n, bytes) else n for n in names]
    per = {"LSTM": 3, "GRU": 2, "RNN": 1}[kind]
    names = (
        names[block * per : (block + 1) * per]
        or {
            "LSTM": ["Sigmoid", "Tanh", "Tanh"],
            "GRU": ["Sigmoid", "Tanh"],
            "RNN": ["Tanh"],
        }[kind]
    )
    for name in names:
        if name not in _BENDS:
            raise reader.refuse(node, f"has the activation {name}")
    bends = [_BENDS[name] for name in names]
    own: dict[str, Any] = {
        "units": int(options["hidden_size"]),
        "activation": bends[-1],
        "biases": 2 if reader.given(node, 3) else 0,
        "sequences": not end.last,
        "reverse": way == 1,
    }
    own |= {} if kind == "RNN" else {"gate_activation": bends[0]}
    own |= {"reset_after": bool(options.get("linear_before_reset", 0))} if kind == "GRU" else {}
    layer: Recurrent = {"LSTM": LSTM, "GRU": GRU, "RNN": Elman}[kind](**own)
    value = reader.held[node.input[0]].value
    shared = ("weights", node.input[1], block)
    arrays = _arrays(reader, node, gates, block)
    return reader.builder.add(layer, [value], reader.where(node), arrays, shared)


def _arrays(reader: Reader, node: Any, gates: tuple[str, ...], block: int) -> dict[str, Origin]:
    """The gates' matrices (directions, gates * units, in) and biases (directions, 2 * ...)."""
    found = {}
    for place, what in ((1, "kernel"), (2, "recurrent_kernel")):
        origin = reader.array(node, place)
        for number, gate in enumerate(gates):
            local = Recurrent.local(what, gate)
            found[local] = origin.then(_part(block, number, len(gates), turned=True))
    if reader.given(node, 3):
        origin = reader.array(node, 3)
        for side, what in enumerate(("bias", "recurrent_bias")):
            for number, gate in enumerate(gates):
                place = side * len(gates) + number
                local = Recurrent.local(what, gate)
                found[local] = origin.then(_part(block, place, 2 * len(gates), turned=False))
    return found


def _part(block: int, place: int, count: int, turned: bool) -> Turn:
    def turn(array: np.ndarray) -> np.ndarray:
        size = array.shape[1] // count
        own = array[block, place * size : (place + 1) * size]
        return own.T if turned else own

    return turn
