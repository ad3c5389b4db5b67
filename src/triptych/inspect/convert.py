"""Fully connected layers and convolutions, turned into each other exactly.

A dense layer behind a flatten is a convolution whose kernel covers the whole map; one on the last
axis is a 1x1 convolution: the numbers stay, the array's shape changes, so that params, gradients
and slots go the same way and training goes on as it would have (:class:`Conversion`). Any other
convolution is a dense layer too, whose matrix repeats the kernel's numbers and is zero elsewhere
(:func:`unroll`): the same function, trained otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from triptych.backends.protocol import Params, Slots
from triptych.errors import NetworkError
from triptych.inspect.chains import (
    check_params,
    check_unshared,
    named,
    node_of,
    only_follower,
    rejoin,
    with_layer,
)
from triptych.spec.layers import (
    Activation,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    LogSoftmax,
    Rescale,
    Reshape,
    Shape,
    Softmax,
)
from triptych.spec.layers.base import show
from triptych.spec.network import Network, Node

_ON_LAST_AXIS = (Softmax, LogSoftmax, BatchNorm, LayerNorm)
"""Layers that a flatten may pass where the map is a single pixel."""
_POINTWISE = (Activation, Dropout, Rescale)
_MOST = 2**27
"""Entries of an unrolled kernel: a gigabyte in float64."""


@dataclass(frozen=True)
class Conversion:
    """A network in another form, and the shapes of the arrays that have another one there."""

    network: Network
    shapes: Mapping[str, Shape] = field(default_factory=dict)

    def arrays(self, arrays: Params) -> Params:
        """Carry params, gradients or one slot over: the same numbers in the same order."""
        return {
            name: array.reshape(self.shapes.get(name, array.shape))
            for name, array in arrays.items()
        }

    def slots(self, slots: Slots) -> Slots:
        """Carry an optimizer's state over."""
        return Slots(slots.updates, {key: self.arrays(own) for key, own in slots.values.items()})

    def then(self, later: Conversion) -> Conversion:
        """Return both steps as one."""
        return Conversion(later.network, {**self.shapes, **later.shapes})


def dense_to_conv(network: Network, name: str) -> Conversion:
    """Turn one dense layer into a convolution; the node keeps its name.

    On (height, width, channels) it becomes a 1x1 convolution. Behind a flatten, with nothing but
    pointwise layers in between, it becomes one whose kernel is the map's size, and the flatten
    moves behind it.

    Raises:
        NetworkError: the node is no dense layer, or what it takes is no map of pixels.
    """
    node, dense = _dense(network, name)
    (shape,) = network.input_shapes(node)
    if len(shape) == 3:
        new = with_layer(network, name, Conv(dense.units, (1, 1), bias=dense.bias))
        return _conversion(new, name)
    chain = _back_to_flatten(network, node)
    flatten = network.by_name[chain[0]]
    (image,) = network.input_shapes(flatten)
    middle = [network.by_name[other] for other in chain[1:-1]]
    if len(image) != 3 or not all(_passes(other, image) for other in middle):
        raise NetworkError(_no_map(name, network))
    conv = Node(name, Conv(dense.units, (image[0], image[1]), bias=dense.bias))
    if only_follower(network, flatten.name) is None:
        after = named(network, Flatten())
        return _conversion(
            rejoin(network, chain[1:], [*middle, conv, after], flatten.inputs[0]), name
        )
    return _conversion(rejoin(network, chain, [*middle, conv, flatten]), name)


def conv_to_dense(network: Network, name: str) -> Conversion:
    """Turn one convolution into a dense layer; the node keeps its name.

    Undoes :func:`dense_to_conv`: a kernel that covers the whole map becomes a dense layer behind a
    flatten, and a 1x1 convolution one on the last axis.

    Raises:
        NetworkError: the node is no convolution, or no dense layer has the same numbers;
            :func:`unroll` has another one for it.
    """
    node, conv = _conv(network, name)
    (shape,) = network.input_shapes(node)
    if conv.groups > 1 or conv.pixels(shape) != ((0, 0), (0, 0)):
        raise NetworkError(_not_dense(name, "it has groups or padding"))
    dense = Node(name, Dense(conv.filters, bias=conv.bias))
    if conv.kernel == shape[:2] and (conv.dilation == (1, 1) or shape[:2] == (1, 1)):
        return _whole_map(network, node, dense)
    if conv.kernel == (1, 1) and conv.stride == (1, 1):
        return _conversion(with_layer(network, name, dense.layer), name)
    why = f"its kernel {show(conv.kernel)} is neither 1x1 at stride 1 nor the map's {show(shape)}"
    raise NetworkError(_not_dense(name, why))


def all_to_conv(network: Network) -> Conversion:
    """Turn every dense layer into a convolution, so that the flatten stands at the end.

    Raises:
        NetworkError: one cannot be turned; the message names it.
    """
    found = Conversion(network)
    for node in network.nodes_of(Dense):
        found = found.then(dense_to_conv(found.network, node.name))
    return found


def to_dense(network: Network, params: Params, name: str) -> tuple[Network, Params]:
    """Turn one convolution into a dense layer: with the same numbers if it can be, else unrolled.

    Raises:
        NetworkError: as :func:`unroll`.
    """
    try:
        found = conv_to_dense(network, name)
    except NetworkError:
        return unroll(network, params, name)
    return found.network, found.arrays(params)


def unroll(network: Network, params: Params, name: str) -> tuple[Network, Params]:
    """Turn any convolution, transposed too, into a dense layer between a flatten and a reshape.

    The same outputs, but the copies of a kernel's numbers are params of their own from now on, and
    zeros that no pixel reaches may learn too; slots have no counterpart.

    Raises:
        NetworkError: the node is no convolution, or the matrix would be beyond all memory.
    """
    node = node_of(network, name)
    if not isinstance(node.layer, (Conv, ConvTranspose)):
        raise NetworkError(f"node {name!r} ({node.layer.kind}) is no convolution")
    check_unshared(network, name, "unrolled")
    check_params(network, params)
    (before,), after = network.input_shapes(node), network.shapes[name]
    rows, columns = int(np.prod(before)), int(np.prod(after))
    if rows * columns > _MOST:
        raise NetworkError(
            f"node {name!r} from {show(before)} to {show(after)} would be a dense layer of "
            f"{rows:,} x {columns:,} numbers, above {_MOST:,}; leave it a convolution"
        )
    matrix = conv_matrix(node.layer, before, params[f"{name}/kernel"])
    dense = Node(name, Dense(columns, bias=node.layer.bias))
    flatten, reshape = named(network, Flatten()), named(network, Reshape(after))
    new = rejoin(network, [name], [flatten, dense, reshape])
    changed = {f"{name}/kernel": matrix.toarray()}
    if node.layer.bias:
        changed[f"{name}/bias"] = np.tile(params[f"{name}/bias"], columns // after[-1])
    return new, {**params, **changed}


def conv_matrix(layer: Conv | ConvTranspose, shape: Shape, kernel: np.ndarray) -> sparse.csr_array:
    """Return the matrix M of a convolution without its bias: flatten(y) = flatten(x) @ M.

    Args:
        layer: the convolution.
        shape: of its input, (height, width, channels).
        kernel: canonical, (height, width, in / groups, out).

    Returns:
        (height * width * channels, height' * width' * out), in the kernel's type.
    """
    out = layer.shape(shape)
    high, wide = (_taps(layer, shape, out, axis) for axis in (0, 1))
    source = high[0][:, None] * shape[1] + wide[0]
    target = high[1][:, None] * out[1] + wide[1]
    values = kernel[high[2][:, None], wide[2]]
    filters, groups = np.arange(out[2]), getattr(layer, "groups", 1)
    channels = np.arange(kernel.shape[2])[:, None] + (filters * groups // out[2]) * kernel.shape[2]
    rows = source[..., None, None] * shape[2] + channels
    columns = np.broadcast_to(target[..., None, None] * out[2] + filters, rows.shape)
    where = (rows.reshape(-1), columns.reshape(-1))
    size = (int(np.prod(shape)), int(np.prod(out)))
    return sparse.coo_array((values.reshape(-1), where), shape=size).tocsr()


def _taps(
    layer: Conv | ConvTranspose, shape: Shape, out: Shape, axis: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (place in the input, place in the output, place in the kernel) of all that meet.

    The windows of a convolution lie in its input, those of a transposed one in its output:
    place = window * stride + tap * dilation - edge.
    """
    down = isinstance(layer, Conv)
    edges = layer.pixels(shape) if isinstance(layer, Conv) else layer.crop()
    windows, places = (out, shape) if down else (shape, out)
    window, tap = np.meshgrid(
        np.arange(windows[axis]), np.arange(layer.kernel[axis]), indexing="ij"
    )
    place = window * layer.stride[axis] + tap * layer.dilation[axis] - edges[axis][0]
    inside = (place >= 0) & (place < places[axis])
    place, window, tap = place[inside], window[inside], tap[inside]
    return (place, window, tap) if down else (window, place, tap)


def _whole_map(network: Network, node: Node, dense: Node) -> Conversion:
    """The conversion of a convolution with one window: a flatten behind it moves before it."""
    chain = [node.name]
    while (after := only_follower(network, chain[-1])) is not None:
        chain.append(after.name)
        if isinstance(after.layer, Flatten):
            middle = [network.by_name[name] for name in chain[1:-1]]
            return _conversion(rejoin(network, chain, [after, dense, *middle]), node.name)
        if not _passes(after, network.shapes[node.name]):
            break
    ends = named(network, Flatten()), named(network, Reshape(network.shapes[node.name]))
    return _conversion(rejoin(network, [node.name], [ends[0], dense, ends[1]]), node.name)


def _conversion(network: Network, name: str) -> Conversion:
    kernel = f"{name}/kernel"
    return Conversion(network, {kernel: network.parameters[kernel].shape})


def _back_to_flatten(network: Network, node: Node) -> list[str]:
    """The names from the flatten before a dense layer to that layer."""
    chain = [node.name]
    while True:
        before = network.by_name[network.by_name[chain[0]].inputs[0]]
        chain.insert(0, before.name)
        if isinstance(before.layer, Flatten):
            return chain
        alone = only_follower(network, before.name) is not None
        if not alone or not isinstance(before.layer, (*_POINTWISE, *_ON_LAST_AXIS)):
            raise NetworkError(_no_map(node.name, network))


def _passes(node: Node, image: Shape) -> bool:
    """Whether a flatten of a map may stand before or behind a node alike."""
    if isinstance(node.layer, _ON_LAST_AXIS):
        return image[:2] == (1, 1)
    return isinstance(node.layer, _POINTWISE)


def _dense(network: Network, name: str) -> tuple[Node, Dense]:
    node = node_of(network, name)
    if not isinstance(node.layer, Dense):
        raise NetworkError(f"node {name!r} ({node.layer.kind}) is no dense layer")
    check_unshared(network, name, "converted")
    return node, node.layer


def _conv(network: Network, name: str) -> tuple[Node, Conv]:
    node = node_of(network, name)
    if not isinstance(node.layer, Conv):
        raise NetworkError(f"node {name!r} ({node.layer.kind}) is no convolution")
    check_unshared(network, name, "converted")
    return node, node.layer


def _no_map(name: str, network: Network) -> str:
    taken = show(network.input_shapes(network.by_name[name])[0])
    return (
        f"node {name!r} is no convolution in another form: it takes {taken} that is no map of "
        "(height, width, channels), nor such a map behind a flatten and pointwise layers"
    )


def _not_dense(name: str, why: str) -> str:
    return f"node {name!r} is no dense layer with the same numbers: {why}; unroll it instead"
