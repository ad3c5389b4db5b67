"""What each of Keras' layers is in the words of the spec: ``LAYERS``, by class.

Each function is handed a :class:`graph.Reading`, adds nodes to it, and returns the value. Layers
without params are in ``arithmetic.py`` and ``moves.py``, ``keras.ops`` in
``calls.py``; how a model is walked, in ``graph.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import activations, layers

from triptych.backends._keras.porting import arithmetic as arithmetic
from triptych.backends._keras.porting import moves as moves
from triptych.backends._keras.porting.arithmetic import Call, bend
from triptych.backends._keras.porting.moves import Mask, unmasked
from triptych.backends.carried import Origin
from triptych.backends.graph import Value
from triptych.spec import layers as spec
from triptych.spec.layers.convolution import Amounts, Pair

if TYPE_CHECKING:
    from triptych.backends._keras.porting.graph import Reading


_WORDS = {
    activations.tanh: "tanh",
    activations.sigmoid: "sigmoid",
    activations.relu: "relu",
    activations.hard_sigmoid: "hard_sigmoid",
}


# --- convolutions --------------------------------------------------------------------------------


def _last(read: Reading, op: Any, place: str) -> None:
    if getattr(op, "data_format", "channels_last") != "channels_last":
        raise read.build.refuse(
            place, "has its channels first, which TensorFlow can't run on a CPU; "
            "build it with data_format='channels_last'",
        )  # fmt: skip


def _pair(values: Sequence[int]) -> Pair:
    """(height, width) of a window that may slide over time alone."""
    first, *rest = (int(value) for value in values)
    return (first, rest[0] if rest else 1)


def _padding(op: Any) -> Any:
    if op.padding == "causal":
        return ((op.dilation_rate[0] * (op.kernel_size[0] - 1), 0), (0, 0))
    return op.padding


def _flat(rank: int) -> Callable[[np.ndarray], np.ndarray]:
    """A turn that gives a kernel over time its second axis."""
    return (lambda array: array[:, None]) if rank == 1 else (lambda array: array)


def _sliding(read: Reading, op: Any, value: Value, place: str, add: Callable[..., Value]) -> Value:
    """Slide over an image, or over (time, features) as an image of width 1."""
    _last(read, op, place)
    if len(value.axes) != 2:
        return add(value)
    time, features = read.build.shape(value)
    image = add(read.build.reshape(value, (time, 1, features), place))
    size = read.build.shape(image)
    return read.build.reshape(image, (size[0], size[2]), place)


def _conv(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    layer = spec.Conv(
        op.filters, _pair(op.kernel_size), _pair(op.strides), _padding(op),
        _pair(op.dilation_rate), op.groups, op.use_bias,
    )  # fmt: skip
    arrays = {"kernel": read.origin(op.kernel, _flat(op.rank))} | _bias(read, op)

    def add(image: Value) -> Value:
        return read.build.windowed(layer, image, place, arrays, shared=id(op))

    return bend(read, op.activation, _sliding(read, op, values[0], place, add), place)


def _bias(read: Reading, op: Any) -> dict[str, Origin]:
    return {"bias": read.origin(op.bias)} if op.use_bias else {}


def _by_channel(array: np.ndarray) -> np.ndarray:
    """(height, width, in, multiplier) -> (height, width, 1, in * multiplier)."""
    height, width, channels, multiplier = array.shape
    return array.reshape(height, width, 1, channels * multiplier)


def _depthwise(read: Reading, op: Any, value: Value, place: str, bias: bool) -> Value:
    channels = read.build.shape(value)[-1]
    layer = spec.Conv(
        channels * op.depth_multiplier, _pair(op.kernel_size), _pair(op.strides), _padding(op),
        _pair(op.dilation_rate), channels, bias,
    )  # fmt: skip
    kernel = op.depthwise_kernel if hasattr(op, "depthwise_kernel") else op.kernel
    origin = read.origin(kernel, _flat(op.rank)).then(_by_channel)
    arrays = {"kernel": origin} | (_bias(read, op) if bias else {})
    return read.build.windowed(layer, value, place, arrays, shared=id(op))


def _depthwise_conv(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    def add(image: Value) -> Value:
        return _depthwise(read, op, image, place, op.use_bias)

    return bend(read, op.activation, _sliding(read, op, values[0], place, add), place)


def _separable_conv(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    point = spec.Conv(op.filters, (1, 1), bias=op.use_bias)
    kernel = read.origin(op.pointwise_kernel, _flat(op.rank))

    def add(image: Value) -> Value:
        between = _depthwise(read, op, image, place, False)
        arrays = {"kernel": kernel} | _bias(read, op)
        return read.build.windowed(point, between, place, arrays, shared=id(op))

    return bend(read, op.activation, _sliding(read, op, values[0], place, add), place)


def _conv_transpose(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    _last(read, op, place)
    before = read.build.shape(values[0])
    after = op.compute_output_shape((None, *before))[1:3]
    layer = spec.ConvTranspose(
        op.filters, _pair(op.kernel_size), _pair(op.strides), _crop(read, op, before, after, place),
        _pair(op.dilation_rate), op.use_bias,
    )  # fmt: skip
    kernel = read.origin(op.kernel, lambda array: array.transpose(0, 1, 3, 2))
    arrays = {"kernel": kernel} | _bias(read, op)
    value = read.build.windowed(layer, values[0], place, arrays, shared=id(op))
    return bend(read, op.activation, value, place)


def _crop(read: Reading, op: Any, before: Sequence[int], after: Sequence[int], place: str) -> Any:
    """What is cut off the full output; ``same`` where that word says it."""
    if op.padding == "same" and op.output_padding is None and max(op.dilation_rate) == 1:
        return "same"
    crop = []
    for axis in (0, 1):
        span = op.dilation_rate[axis] * (op.kernel_size[axis] - 1) + 1
        total = (before[axis] - 1) * op.strides[axis] + span - after[axis]
        early = max(span - op.strides[axis], 0) // 2 if op.padding == "same" else 0
        crop.append((early, total - early))
    if min(min(pair) for pair in crop) < 0:
        raise read.build.refuse(
            place, f"gives {tuple(after)} pixels, more than its kernel reaches, which has no "
            "canonical form",
        )  # fmt: skip
    return (crop[0], crop[1]) if any(map(sum, crop)) else "valid"


# --- pooling and shape ---------------------------------------------------------------------------


def _pool(kind: type[spec.MaxPool]) -> Call:
    def call(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
        def add(image: Value) -> Value:
            layer = kind(_pair(op.pool_size), _pair(op.strides), op.padding)
            return read.build.windowed(layer, image, place)

        return _sliding(read, op, values[0], place, add)

    return call


def _global_mean(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    _last(read, op, place)
    axes = tuple(range(len(values[0].axes) - 1))
    return read.build.mean(values[0], axes, op.keepdims, place)


def _global_max(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    _last(read, op, place)
    size = read.build.shape(values[0])
    window = _pair(size[:-1])
    image = read.build.reshape(values[0], (*window, size[-1]), place)
    pooled = read.build.windowed(spec.MaxPool(window, window), image, place)
    kept = (*(1 for _ in size[:-1]), size[-1]) if op.keepdims else (size[-1],)
    return read.build.reshape(pooled, kept, place)


def _zero_padding(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    _last(read, op, place)
    (top, bottom), (left, right) = op.padding
    return pad(read, values[0], ((top, bottom), (left, right)), place)


def pad(read: Reading, value: Value, amounts: Amounts, place: str) -> Value:
    """Add zeros around an image."""
    return read.build.pad(value, (*amounts, (0, 0)), place)


# --- dense, normalisation, embedding -------------------------------------------------------------


def _dense(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    bias = read.origin(op.bias) if op.use_bias else None
    kernel = read.origin(op.kernel)
    value = read.build.dense(values[0], op.units, place, kernel, bias, shared=id(op))
    return bend(read, op.activation, value, place)


def _batch_norm(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    if getattr(op, "renorm", False):
        raise read.build.refuse(place, "batch renormalisation has no canonical form")
    arrays = {"mean": read.origin(op.moving_mean), "variance": read.origin(op.moving_variance)}
    arrays = _scaled(read, op, op.moving_mean.shape[0], place) | arrays
    axis = op.axis - 1 if op.axis > 0 else op.axis
    layer = spec.BatchNorm(float(op.epsilon), float(op.momentum), unbiased=False)
    return read.build.batch_norm(layer, values[0], place, arrays, axis, shared=id(op))


def _layer_norm(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    rank = len(values[0].axes)
    axes = [op.axis] if isinstance(op.axis, int) else list(op.axis)
    if [axis % (rank + 1) for axis in axes] != [rank] or getattr(op, "rms_scaling", False):
        raise read.build.refuse(place, "normalises otherwise than over the last axis alone")
    arrays = _scaled(read, op, read.build.shape(values[0])[-1], place)
    layer = spec.LayerNorm(float(op.epsilon))
    return read.build.add(layer, values, place, arrays, shared=id(op))


def _scaled(read: Reading, op: Any, size: int, place: str) -> dict[str, Origin]:
    """Scale and offset; Keras can leave either out, which is a constant."""
    said = (("scale", op.scale, "gamma", 1.0), ("offset", op.center, "beta", 0.0))
    return {
        local: read.origin(getattr(op, attribute))
        if has
        else read.constant(np.full(size, start), f"{place}/{attribute}", local)
        for local, has, attribute, start in said
    }


def _embedding(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    layer = spec.Embedding(op.input_dim, op.output_dim)
    arrays = {"kernel": read.origin(op.embeddings)}
    return read.build.add(layer, values, place, arrays, shared=id(op))


# --- recurrent -----------------------------------------------------------------------------------

_RECURRENT: dict[type, type[spec.Recurrent]] = {
    layers.SimpleRNN: spec.Elman,
    layers.LSTM: spec.LSTM,
    layers.GRU: spec.GRU,
}


def _recurrent(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    if op.go_backwards and op.return_sequences:
        raise read.build.refuse(place, "gives its outputs in reversed order of time")
    return _over_time(read, op, values[0], place)


def _over_time(read: Reading, op: Any, value: Value, place: str) -> Value:
    cell, kind = op.cell, _RECURRENT[type(op)]
    if op.stateful or op.return_state:
        raise read.build.refuse(place, "hands its state on, which has no canonical form")
    pair = bool(getattr(cell, "reset_after", False))
    options: dict[str, Any] = {
        "units": op.units,
        "activation": _word(read, cell.activation, place),
        "biases": (2 if pair else 1) if cell.use_bias else 0,
        "sequences": op.return_sequences,
        "reverse": op.go_backwards,
        "mask_value": _mask(read, op, value, place),
    }
    if kind is not spec.Elman:
        options["gate_activation"] = _word(read, cell.recurrent_activation, place)
    if kind is spec.GRU:
        options["reset_after"] = pair
    if cell.dropout or cell.recurrent_dropout:
        read.leave(f"{place}: dropout inside the cell is left out: it acts in training alone")
    layer = kind(**options)
    arrays = read.arrays(op, layer.kind, layer.parameters(read.build.shape(value)))
    return read.build.add(layer, [unmasked(value)], place, arrays, shared=id(op))


def _mask(read: Reading, op: Any, value: Value, place: str) -> float | None:
    """The value by which steps are masked: that of a Masking layer on the same input."""
    mask = read.mask
    if mask is None:
        return None
    fits = isinstance(mask, Mask) and mask.over_all and mask.node == value.node
    if not fits or (op.return_sequences and op.zero_output_for_mask):
        raise read.build.refuse(
            place, "takes a mask that has no canonical form: only that of a Masking layer right "
            "before it has",
        )  # fmt: skip
    return float(mask.number)


def _word(read: Reading, function: Any, place: str) -> str:
    if function not in _WORDS:
        name = getattr(function, "__name__", type(function).__name__)
        raise read.build.refuse(place, f"the activation {name!r} of a cell has no canonical form")
    return _WORDS[function]


def _bidirectional(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    both = (op.forward_layer, op.backward_layer)
    if any(type(one) not in _RECURRENT for one in both) or op.merge_mode is None:
        raise read.build.refuse(place, f"merges {op.merge_mode} of {type(both[0]).__name__}")
    if both[0].go_backwards and op.return_sequences:
        raise read.build.refuse(place, "reads forwards what it calls backwards")
    found = [_over_time(read, one, values[0], f"{place}/{one.name}") for one in both]
    if op.merge_mode == "concat":
        return read.build.concatenate(found, -1, place)
    merge = spec.Multiply() if op.merge_mode == "mul" else spec.Add()
    value = read.build.add(merge, found, place)
    return read.build.add(spec.Rescale(0.5), [value], place) if op.merge_mode == "ave" else value


def _time_distributed(read: Reading, op: Any, values: Sequence[Value], place: str) -> Value:
    if type(op.layer) not in (layers.Dense, layers.Activation, layers.Dropout):
        raise read.build.refuse(place, f"a {type(op.layer).__name__} at each step")
    return read.layer(op.layer, values, f"{place}/{op.layer.name}")


LAYERS: dict[type, Call] = {
    **dict.fromkeys((layers.Conv1D, layers.Conv2D), _conv),
    **dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise_conv),
    **dict.fromkeys((layers.SeparableConv1D, layers.SeparableConv2D), _separable_conv),
    layers.Conv2DTranspose: _conv_transpose,
    layers.Dense: _dense,
    layers.BatchNormalization: _batch_norm,
    layers.LayerNormalization: _layer_norm,
    layers.Embedding: _embedding,
    **dict.fromkeys(_RECURRENT, _recurrent),
    layers.Bidirectional: _bidirectional,
    layers.TimeDistributed: _time_distributed,
    **dict.fromkeys((layers.MaxPooling1D, layers.MaxPooling2D), _pool(spec.MaxPool)),
    **dict.fromkeys((layers.AveragePooling1D, layers.AveragePooling2D), _pool(spec.AveragePool)),
    **dict.fromkeys((layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D), _global_mean),
    **dict.fromkeys((layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D), _global_max),
    layers.ZeroPadding2D: _zero_padding,
    layers.Flatten: lambda read, op, values, place: read.build.flatten(values[0], place),
    layers.Reshape: moves.reshape_layer,
    layers.Permute: lambda read, op, values, place: read.build.permute(
        values[0], [axis - 1 for axis in op.dims], place
    ),
    layers.Activation: lambda read, op, values, place: bend(read, op.activation, values[0], place),
    layers.ReLU: arithmetic.relu,
    layers.LeakyReLU: arithmetic.bent(lambda op: spec.LeakyReLU(float(op.negative_slope))),
    layers.ELU: arithmetic.bent(lambda op: spec.ELU(float(op.alpha))),
    layers.Softmax: arithmetic.softmax,
    layers.Dropout: arithmetic.bent(lambda op: spec.Dropout(float(op.rate))),
    **dict.fromkeys(
        (
            layers.SpatialDropout1D,
            layers.SpatialDropout2D,
            layers.GaussianNoise,
            layers.GaussianDropout,
            layers.AlphaDropout,
        ),
        arithmetic.noise,
    ),
    **dict.fromkeys((layers.Identity, layers.ActivityRegularization), arithmetic.same),
    layers.Masking: moves.masking,
    layers.Rescaling: arithmetic.rescaling,
    layers.Normalization: arithmetic.normalization,
    layers.Add: arithmetic.merge(spec.Add),
    layers.Multiply: arithmetic.merge(spec.Multiply),
    layers.Subtract: arithmetic.subtract,
    layers.Average: arithmetic.average,
    layers.Concatenate: moves.concatenate_layer,
}
