"""From the structs of a file to a network: a function for each kind that is more than a layer of
the spec with its arrays, and the reader that walks the layers in order.

MATLAB's axes are the canonical ones with the samples last, so that layouts differ in two places
only: arrays (``layouts.py``) and flattening by columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from keyword import iskeyword
from math import prod
from typing import Any

import numpy as np

from triptych.backends.carried import Given, Origin
from triptych.backends.graph import GraphBuilder, Value
from triptych.backends.layout import Home
from triptych.errors import PortError, did_you_mean
from triptych.port.matlab import layouts
from triptych.port.matlab.structs import Stored, layer_from
from triptych.spec.layers import (
    LAYERS,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    HardSigmoid,
    Input,
    Layer,
    MaxPool,
    ReLU6,
    Rescale,
    Reshape,
    Shape,
)
from triptych.spec.network import Network, Node

_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
_LARGEST = 2**28
"""Numbers in one sample of one layer."""
_WINDOWED = ("conv", "conv_transpose", "max_pool", "average_pool", "pad")


class Reader:
    """Walks the layers of a file.

    Attributes:
        values: what each of the file's layers gives, by its own name there.
        builder: the network so far, with the origin of every array, ``<layer>.<array>``.
        notes: what was turned.
    """

    def __init__(self, layers: list[Stored], where: str, given: Given) -> None:
        self.layers = layers
        self.given = given
        self.builder = GraphBuilder(where)
        self.values: dict[str, Value] = {}
        self.notes: list[str] = []
        self._sharing: dict[str, Stored] = {layer.name: layer for layer in layers}

    def read(self) -> Network:
        """Return the network; raises PortError with the layer's name."""
        for layer in self.layers:
            if layer.name in self.values:
                raise self.refuse(layer, "is the name of two layers")
            make = _KINDS.get(layer.kind, _plain)
            self.values[layer.name] = make(self, layer)
            if prod(self.builder.shape(self.values[layer.name])) > _LARGEST:
                raise self.refuse(layer, f"gives more than {_LARGEST:,} numbers a sample")
        return self.builder.finish(self.values[self.layers[-1].name])

    def refuse(self, layer: Stored, what: str) -> PortError:
        """Return the error for a layer."""
        return self.builder.refuse(f"{layer.name} ({layer.kind})", what)

    def inputs(self, layer: Stored, count: int | None = 1) -> list[Value]:
        """Return the values a layer takes; ``count`` None is two or more."""
        for name in layer.inputs:
            if name not in self.values:
                raise self.refuse(layer, f"takes {name!r}, which is no layer before it")
        if (count is None and len(layer.inputs) < 2) or count not in (None, len(layer.inputs)):
            raise self.refuse(layer, f"takes {count or 'two or more'} input(s)")
        return [self.values[name] for name in layer.inputs]

    def canonical(self, value: Value) -> Shape:
        """Return the canonical shape of a value, without the samples."""
        return self.builder.shape(Value(value.node, tuple(range(len(value.axes)))))

    def arrays(self, layer: Stored, made: Layer, values: list[Value]) -> dict[str, Origin]:
        """Return where a layer's canonical arrays come from; raises PortError for other sizes."""
        owner = self._sharing.get(layer.shares, layer)
        homes = layouts.HOMES.get(made.kind, {})
        found = {}
        for local, parameter in made.parameters(*map(self.canonical, values)).items():
            home = homes[local]
            self._check(layer, owner.arrays, home, parameter.shape)
            found[local] = Origin(f"{owner.name}.{home.attribute}", _turn(home, parameter.shape))
        extra = set(owner.arrays) - {homes[local].attribute for local in found}
        if extra:
            raise self.refuse(layer, f"has an array {sorted(extra)[0]!r} that it has no use for")
        return found

    def _check(
        self, layer: Stored, arrays: Mapping[str, np.ndarray], home: Home, shape: Shape
    ) -> None:
        expected = layouts.native_shape(home, shape)
        if home.attribute not in arrays:
            raise self.refuse(layer, f"has no array {home.attribute!r}")
        found = arrays[home.attribute].shape
        if [n for n in found if n != 1] != [n for n in expected if n != 1]:
            raise self.refuse(
                layer, f"{home.attribute} is {_show(found)} but {_show(expected)} was expected"
            )

    def layer(self, layer: Stored, cls: type[Layer]) -> Layer:
        """Return the layer of the spec with a stored layer's options."""
        return layer_from(cls, layer.options, f"{self.builder.source}: {layer.name}")

    def array(self, layer: Stored, name: str) -> np.ndarray:
        """Return an array of a layer, all its numbers with the first axis fastest."""
        if name not in layer.arrays:
            raise self.refuse(layer, f"has no array {name!r}")
        return layer.arrays[name].ravel(order="F").astype(np.float64)


def _turn(home: Home, shape: Shape) -> Callable[[np.ndarray], np.ndarray]:
    return lambda native: layouts.to_canonical(home, native, shape)


def _show(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _constant(layer: Stored, array: np.ndarray) -> Origin:
    """The origin of an array that a layer's settings make."""
    key = f"{layer.name}.{next(iter(layer.arrays))}"
    return Origin(key, lambda _: array)


# --- kinds -----------------------------------------------------------------------------------


def _plain(reader: Reader, layer: Stored) -> Value:
    """A layer of the spec."""
    if layer.kind not in LAYERS:
        hint = did_you_mean(layer.kind, [*LAYERS, *_KINDS])
        raise reader.refuse(layer, f"has no canonical form{hint}")
    cls = LAYERS[layer.kind]
    values = reader.inputs(layer, cls.arity)
    made = reader.layer(layer, cls)
    arrays = reader.arrays(layer, made, values)
    shared = (layer.shares or layer.name) if arrays else None
    if layer.kind in _WINDOWED:
        return reader.builder.windowed(made, values[0], layer.name, arrays, shared=shared)
    return reader.builder.add(made, values, layer.name, arrays, shared)


def _input(reader: Reader, layer: Stored) -> Value:
    if reader.values:
        raise reader.refuse(layer, "is a second input; a network has one")
    made = reader.layer(layer, Input)
    assert isinstance(made, Input)
    size, wanted = made.size, reader.given.shape
    if wanted is not None and len(wanted) == len(size):
        size = tuple(own or other for own, other in zip(size, wanted, strict=True))
    if not size or min(size) < 1:
        raise reader.refuse(
            layer, f"leaves its size {_show(size)} open; say it with --input, such as --input 20x3"
        )
    if prod(size) > _LARGEST:
        raise reader.refuse(layer, f"takes more than {_LARGEST:,} numbers a sample")
    value = reader.builder.input(size, made.values == "index")
    reader.builder.places[value.node] = layer.name
    if made.values == "index":
        reader.notes.append("indices count from 0 here, and from 1 in MATLAB's own layers")
    return value


def _dense(reader: Reader, layer: Stored) -> Value:
    (value,) = reader.inputs(layer)
    made = reader.layer(layer, Dense)
    assert isinstance(made, Dense)
    arrays = reader.arrays(layer, made, [value])
    return reader.builder.dense(
        value, made.units, layer.name, arrays["kernel"], arrays.get("bias"),
        layer.shares or layer.name,
    )  # fmt: skip


def _batch_norm(reader: Reader, layer: Stored) -> Value:
    (value,) = reader.inputs(layer)
    made = reader.layer(layer, BatchNorm)
    assert isinstance(made, BatchNorm)
    arrays = reader.arrays(layer, made, [value])
    last = len(value.axes) - 1
    shared = layer.shares or layer.name
    return reader.builder.batch_norm(made, value, layer.name, arrays, last, shared)


def _concatenate(reader: Reader, layer: Stored) -> Value:
    return reader.builder.concatenate(reader.inputs(layer, None), -1, layer.name)


def _flatten(reader: Reader, layer: Stored) -> Value:
    (value,) = reader.inputs(layer)
    order = layer.options.get("order")
    if order == "row-major":
        return reader.builder.add(Flatten(), [value], layer.name)
    if order != "column-major":
        raise reader.refuse(layer, "the option 'order' must be row-major or column-major")
    return reader.builder.flatten(replace(value, axes=value.axes[::-1]), layer.name)


def _global_pool(cls: type[MaxPool]) -> Callable[[Reader, Stored], Value]:
    def make(reader: Reader, layer: Stored) -> Value:
        (value,) = reader.inputs(layer)
        shape = reader.canonical(value)
        if len(shape) != 3:
            raise reader.refuse(layer, f"takes images but gets {_show(shape)}")
        window = (shape[0], shape[1])
        return reader.builder.windowed(cls(window, window), value, layer.name)

    return make


def _clipped(ceiling: float) -> tuple[Layer, ...]:
    """min(max(x, 0), c) = c * min(max((x - c / 2) / c + 1/2, 0), 1)."""
    if ceiling == 6.0:
        return (ReLU6(),)
    ends = (Rescale(1.0, -ceiling / 2), HardSigmoid(1.0 / ceiling))
    return ends if ceiling == 1.0 else (*ends, Rescale(ceiling, 0.0))


def _chain(layers: Callable[[Stored], tuple[Layer, ...]]) -> Callable[[Reader, Stored], Value]:
    """A function that is several elementwise layers here."""

    def make(reader: Reader, layer: Stored) -> Value:
        (value,) = reader.inputs(layer)
        for made in layers(layer):
            value = reader.builder.add(made, [value], layer.name)
        return value

    return make


def _ceiling(layer: Stored) -> tuple[Layer, ...]:
    found = np.asarray(layer.options.get("ceiling", 0.0)).ravel()
    if found.size != 1 or found.dtype.kind != "f" or not 0.0 < found[0] < np.inf:
        raise PortError(f"{layer.name} ({layer.kind}): ceiling must be one number above 0")
    return _clipped(float(found[0]))


def _map(reader: Reader, layer: Stored) -> Value:
    """(x - from) * gain + to: a rescale, or a convolution of 1 x 1 with as many groups as channels.

    No layer of the spec has a factor for each feature alone; such a convolution does exactly that.
    """
    (value,) = reader.inputs(layer)
    shape = reader.canonical(value)
    start, gain, end = (reader.array(layer, name) for name in ("from", "gain", "to"))
    size = max(start.size, gain.size, end.size)
    if size not in (1, shape[-1], prod(shape)) or {start.size, gain.size, end.size} - {1, size}:
        raise reader.refuse(layer, f"has {size} factors for {_show(shape)} numbers")
    offset = end - start * gain
    if size == 1:
        made = Rescale(float(gain.item()), float(offset.item()))
        return reader.builder.add(made, [value], layer.name)
    gain, offset = (np.broadcast_to(numbers, size) for numbers in (gain, offset))
    if size != shape[-1]:  # a factor for each entry: MATLAB's order to the canonical one
        gain, offset = (n.reshape(shape, order="F").ravel() for n in (gain, offset))
    reader.notes.append(
        f"{layer.name} is a convolution here, whose numbers further training would change"
    )
    image = (*shape[:-1], size) if size == shape[-1] else (1, 1, size)
    image = (*image[:-1], *(1,) * (3 - len(image)), size)
    made_conv = Conv(size, (1, 1), groups=size)
    arrays = {"kernel": gain.reshape(1, 1, 1, size), "bias": offset}
    origins = {name: _constant(layer, np.array(array)) for name, array in arrays.items()}
    value = reader.builder.settle(value, layer.name)
    if image != shape:
        value = reader.builder.add(Reshape(image), [value], layer.name)
    value = reader.builder.windowed(made_conv, value, layer.name, origins)
    if image == shape:
        return value
    back: Layer = Flatten() if len(shape) == 1 else Reshape(shape)
    return reader.builder.add(back, [value], layer.name)


def _rows(reader: Reader, layer: Stored) -> tuple[Value, int, np.ndarray]:
    (value,) = reader.inputs(layer)
    shape = reader.canonical(value)
    keep = reader.array(layer, "keep") - 1
    if len(shape) != 1 or (keep != keep.astype(np.int64)).any() or keep.min(initial=0) < 0:
        raise reader.refuse(layer, "takes features, and 'keep' must be places counted from 1")
    return value, shape[0], keep.astype(np.int64)


def _select(reader: Reader, layer: Stored) -> Value:
    """Some of the features: a dense layer of zeros and ones."""
    value, size, keep = _rows(reader, layer)
    if keep.size == 0 or keep.max() >= size:
        raise reader.refuse(layer, f"keeps features that its input of {size} does not have")
    kernel = np.zeros((size, keep.size))
    kernel[keep, np.arange(keep.size)] = 1.0
    origin = _constant(layer, kernel)
    return reader.builder.dense(value, keep.size, layer.name, origin)


def _restore(reader: Reader, layer: Stored) -> Value:
    """Features that were constant are put back between the others."""
    value, size, keep = _rows(reader, layer)
    bias = reader.array(layer, "constants")
    if keep.size != size or bias.size <= keep.max(initial=0):
        raise reader.refuse(layer, f"puts {keep.size} features into {bias.size}, but gets {size}")
    kernel = np.zeros((size, bias.size))
    kernel[np.arange(size), keep] = 1.0
    bias[keep] = 0.0
    origins = _constant(layer, kernel), _constant(layer, bias)
    return reader.builder.dense(value, bias.size, layer.name, *origins)


_KINDS: dict[str, Callable[[Reader, Stored], Value]] = {
    "input": _input,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "concatenate": _concatenate,
    "flatten": _flatten,
    "global_average_pool": _global_pool(AveragePool),
    "global_max_pool": _global_pool(MaxPool),
    "clipped_relu": _chain(_ceiling),
    "satlin": _chain(lambda layer: _clipped(1.0)),
    "satlins": _chain(lambda layer: (HardSigmoid(0.5), Rescale(2.0, -1.0))),
    "map": _map,
    "select": _select,
    "restore": _restore,
}


# --- names -----------------------------------------------------------------------------------


def names_for(network: Network, places: Mapping[str, str]) -> dict[str, str]:
    """Return a name for each node: the file's own where it can be one, of a layer's last node."""
    last = {places[node.name]: node.name for node in network.nodes if node.name in places}
    wanted = {name: place for place, name in last.items() if _can_be_name(place)}
    others = {node.name for node in network.nodes if node.name not in wanted}
    return {
        node.name: own if (own := wanted.get(node.name, node.name)) not in others else node.name
        for node in network.nodes
    }


def _can_be_name(word: str) -> bool:
    return bool(_NAME.fullmatch(word)) and not iskeyword(word)


def renamed(network: Network, names: Mapping[str, str]) -> Network:
    """Return the network with other names of its nodes."""
    return Network(
        tuple(
            Node(
                names[node.name],
                node.layer,
                tuple(names[name] for name in node.inputs),
                None if node.shares is None else names[node.shares],
            )
            for node in network.nodes
        )
    )


def rename_keys(found: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a mapping of ``<node>/<local>`` under other names of the nodes."""
    parts = ((key.rsplit("/", 1), value) for key, value in found.items())
    return {f"{names[node]}/{local}": value for (node, local), value in parts}
