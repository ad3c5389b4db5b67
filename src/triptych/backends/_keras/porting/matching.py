"""Files that hold arrays, matched against a network that is given beside them.

By the layers' names where they are the nodes', else by their order, kind by kind. The model that
runs is the one that our source text builds, filled with the file's arrays as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras import layers

from triptych.backends._keras.native import _floatx
from triptych.backends._keras.porting import files, optimizers, writing
from triptych.backends.carried import Given, Trained
from triptych.backends.protocol import DType, Params, Slots
from triptych.errors import PortError
from triptych.spec.network import Network, Node
from triptych.spec.rules import Rule

_KINDS = {
    "conv2d": "conv", "conv2d_transpose": "conv_transpose",
    "dilated_conv2d_transpose": "conv_transpose", "dense": "dense",
    "batch_normalization": "batch_norm", "unbiased_batch_normalization": "batch_norm",
    "layer_normalization": "layer_norm", "embedding": "embedding", "simple_rnn": "elman",
    "lstm": "lstm", "gru": "gru",
}  # fmt: skip
"""What Keras calls a group after its layer's class, and the spec's kind."""


@dataclass(frozen=True)
class Unit:
    """A layer's arrays as they stand in a file.

    Attributes:
        place: of the layer in the file.
        name: that Keras gives the layer.
        kind: of the spec, empty where it can't be told.
        arrays: in Keras' order.
    """

    place: str
    name: str
    kind: str
    arrays: list[np.ndarray]


def units(found: files.Opened) -> list[Unit]:
    """Return the layers of a file that have arrays, in the file's order."""
    for root in ("", "model_weights"):
        names = found.orders.get(f"{root}/layer_names")
        if names is not None:
            return _old_units(found, root, names)
    groups: dict[str, list[str]] = {}
    for place in found.arrays:
        if not place.startswith("optimizer"):
            groups.setdefault(re.sub(r"(/cell)?/vars/\d+$", "", place), []).append(place)
    made = [_unit(found, group, places) for group, places in groups.items()]
    return sorted(made, key=lambda unit: _number(unit.place))


def _old_units(found: files.Opened, root: str, names: list[str]) -> list[Unit]:
    made = []
    for name in names:
        group = f"{root}/{name}".lstrip("/")
        weights = found.orders.get(f"{group}/weight_names", [])
        if weights:
            arrays = [found.arrays[f"{group}/{weight}"] for weight in weights]
            made.append(Unit(group, name, "", arrays))
    return made


def _unit(found: files.Opened, group: str, places: list[str]) -> Unit:
    arrays = [found.arrays[place] for place in sorted(places, key=_number)]
    kind = _KINDS.get(re.sub(r"_\d+$", "", group.rsplit("/", 1)[-1]), "")
    return Unit(group, found.names.get(f"{group}/vars", ""), kind, arrays)


def _number(place: str) -> tuple[str, int]:
    """``dense_10`` after ``dense_9``."""
    end = re.search(r"[_/](\d+)$", place)
    return (place[: end.start()], int(end[1])) if end else (place, 0)


def matched(found: files.Opened, network: Network, path: Path) -> dict[str, Unit]:
    """Return the layer of the file that each node with params is.

    Raises:
        PortError: they are not the network's; the message names the first that is not.
    """
    nodes = [node for node in network.nodes if _has_params(network, node)]
    given = units(found)
    by_name = {unit.name: unit for unit in given}
    if all(node.name in by_name for node in nodes):
        return {node.name: by_name[node.name] for node in nodes}
    pairs: dict[str, Unit] = {}
    waiting = list(given)
    for node in nodes:
        unit = next((u for u in waiting if u.kind in ("", node.layer.kind)), None)
        if unit is None:
            raise PortError(
                f"{path}: there is no layer for {node.name} ({node.layer.kind}): the file has "
                f"arrays of {len(given)} layers and the network of {len(nodes)}"
            )
        waiting.remove(unit)
        pairs[node.name] = unit
    if waiting:
        raise PortError(
            f"{path}: {waiting[0].place} belongs to no node: the file has arrays of {len(given)} "
            f"layers and the network of {len(nodes)}"
        )
    return pairs


def _has_params(network: Network, node: Node) -> bool:
    return node.shares is None and bool(node.layer.parameters(*network.input_shapes(node)))


def _fill(model: Any, pairs: Mapping[str, Unit], path: Path) -> None:
    """Put a file's arrays into a model as they are."""
    for name, unit in pairs.items():
        own = model.get_layer(name).weights
        shapes = [tuple(variable.shape) for variable in own]
        here = [array.shape for array in unit.arrays]
        if shapes != here:
            raise PortError(
                f"{path}: {unit.place} has arrays of {here}, but {name} of the network was "
                f"expected to have {shapes}"
            )
        for variable, array in zip(own, unit.arrays, strict=True):
            variable.assign(array.astype(variable.dtype))


_Learned = tuple[Rule | None, Slots | None, tuple[str, ...]]
_UNNAMED: _Learned = (None, None, ("the optimizer was left behind: the layers bear other names",))


def _learned(model: Any, path: Path, found: files.Opened, given: Given) -> _Learned:
    """The rule and the slots of a file that a model like it was filled with, and notes."""
    assert given.network is not None
    where = writing.learning(model, given.network)
    if given.rule is None:
        optimizer, note = optimizers.of_file(model, path, found)
        if optimizer is None:
            return None, None, (note,)
        told = optimizers.read(optimizer, where, ())
        return told.rule, told.slots, told.notes
    dtype = model.compute_dtype
    optimizer = optimizers.build(given.rule, model, dtype)
    slots = None
    if optimizers.take_state(optimizer, found):
        slots = optimizers.read_ours(optimizer, given.rule, where)
    if slots is None:
        return None, None, ("the optimizer was left behind: it is none of the given rule",)
    return given.rule, slots, ()


class NetworkSource(writing.Native):
    """A network with a file's arrays; see :class:`triptych.backends.carried.Source`."""

    kind = "keras"

    def __init__(self, path: Path, found: files.Opened, given: Given) -> None:
        assert given.network is not None
        pairs = matched(found, given.network, path)
        written = writing.text(given.network, None, path.stem, "float32")
        super().__init__(written, given.network, lambda model: _fill(model, pairs, path))
        kinds = {array.dtype for unit in pairs.values() for array in unit.arrays}
        own = "float64" if np.dtype("float64") in kinds else "float32"
        model = self.model(own)
        learned: _Learned = (None, None, ())
        if found.state and (given.rule is not None or found.optimizer):
            named = all(unit.name == node for node, unit in pairs.items())
            learned = _learned(model, path, found, given) if named else _UNNAMED
        params = writing.get(model, given.network)
        places = {name: unit.place for name, unit in pairs.items()}
        rule, slots, notes = learned
        said = tuple(f"{path}: {note}" for note in notes)
        self.trained = Trained(given.network, params, rule, slots, places, said)

    def layer_outputs(self, observations: np.ndarray, dtype: DType) -> Params:
        """Return nothing: the model has Keras' layers, whose nodes are not told."""
        return {}

    def gradients(
        self, observations: np.ndarray, weights: np.ndarray, dtype: DType
    ) -> Params | None:
        """Return the gradient of ``sum(output * weights)`` by the arrays that learn."""
        model = self.model(dtype)
        for layer in model.layers:
            if isinstance(layer, layers.Dropout):
                layer.rate = 0.0
        kept = [np.array(v) for v in model.non_trainable_variables]
        with _floatx(dtype), tf.GradientTape() as tape:
            output = model(self.tensor(observations, dtype), training=True)
            loss = tf.reduce_sum(output * tf.constant(weights, dtype))
        own = model.trainable_variables
        grads = tape.gradient(loss, [v.value for v in own], unconnected_gradients="zero")
        for variable, value in zip(model.non_trainable_variables, kept, strict=True):
            variable.assign(value)
        by_id = {
            id(v): np.asarray(tf.convert_to_tensor(g)) for v, g in zip(own, grads, strict=True)
        }
        homes = writing.learning(model, self.network)
        return {name: np.array(turn(by_id[id(v)])) for name, (v, turn) in homes.items()}
