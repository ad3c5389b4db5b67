"""Which of PyTorch's operations is which layer with arrays, with a window, or over time.

Arithmetic and activations are in ``arithmetic.py``; what only moves numbers, in
``moves.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from triptych.backends._torch.layouts import HOMES
from triptych.backends._torch.porting.calls import (
    Array,
    Call,
    Filled,
    Final,
    Handler,
    Mean,
    Product,
    Seen,
    need_front,
    pair,
    refuse,
)
from triptych.backends._torch.porting.moves import turned
from triptych.backends.carried import Origin
from triptych.backends.graph import Value
from triptych.backends.layout import Home
from triptych.spec import layers as spec
from triptych.spec.layers import Layer
from triptych.spec.layers.convolution import Amounts

if TYPE_CHECKING:
    from triptych.backends._torch.porting.graph import Walk

# --- layers with arrays --------------------------------------------------------------------------


def _conv(walk: Walk, call: Call) -> Seen:
    seen, weight, bias = (
        walk.seen(call, "input"),
        walk.array(call, "weight"),
        walk.array(call, "bias"),
    )
    need_front(walk, call, seen)
    assert weight is not None
    if len(weight.shape) != 4:
        raise refuse(walk, call, "is no convolution over (height, width)")
    if call.given.get("transposed") or call.name.startswith("conv_transpose"):
        layer, kind = _transposed(walk, call, weight, bias is not None), "conv_transpose"
    else:
        layer, kind = _straight(call, weight, bias is not None), "conv"
    arrays = {"kernel": weight.origin(kind, "kernel")}
    arrays |= {} if bias is None else {"bias": bias.origin(kind, "bias")}
    keys = (weight.key, bias and bias.key)
    return walk.fresh(walk.builder.windowed(layer, seen.value, call.place, arrays, True, keys))


def _straight(call: Call, weight: Array, bias: bool) -> Layer:
    kernel, dilation = (weight.shape[2], weight.shape[3]), pair(call["dilation"])
    padding = call["padding"]
    if padding == "same":
        # PyTorch's own: the odd pixel at the end, whatever the size.
        total = (dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1))
        before = (total[0] // 2, total[1] // 2)
    else:
        before = pair(0 if padding == "valid" else padding)
        total = (2 * before[0], 2 * before[1])
    pixels = ((before[0], total[0] - before[0]), (before[1], total[1] - before[1]))
    return spec.Conv(
        weight.shape[0], kernel, pair(call["stride"]), pixels, dilation, call["groups"], bias
    )


def _transposed(walk: Walk, call: Call, weight: Array, bias: bool) -> Layer:
    if call["groups"] != 1:
        raise refuse(walk, call, f"groups is {call['groups']}, expected 1")
    (top, left), (down, right) = pair(call["padding"]), pair(call["output_padding"])
    crop = ((top, top - down), (left, left - right))
    kernel, dilation = (weight.shape[2], weight.shape[3]), pair(call["dilation"])
    return spec.ConvTranspose(weight.shape[1], kernel, pair(call["stride"]), crop, dilation, bias)


def _linear(walk: Walk, call: Call) -> Seen:
    weight = walk.array(call, "weight")
    assert weight is not None
    product = Product(walk.seen(call, "input"), turned(weight, (1, 0)), call.place)
    return product.settled(walk, walk.array(call, "bias"))


def _matmul(walk: Walk, call: Call) -> Product:
    kernel = call.given.get("other", call.given.get("mat2"))
    if not isinstance(kernel, Array) or len(kernel.shape) != 2:
        raise refuse(walk, call, "multiplies two computed tensors, which has no canonical form")
    return Product(walk.seen(call), kernel, call.place)


def _addmm(walk: Walk, call: Call) -> Seen:
    if (call["beta"], call["alpha"]) != (1, 1) or not isinstance(call["mat2"], Array):
        raise refuse(walk, call, "is no dense layer")
    return Product(walk.seen(call, "mat1"), call["mat2"], call.place).settled(
        walk, walk.array(call, "self")
    )


def _batch_norm(walk: Walk, call: Call) -> Seen:
    seen = walk.seen(call, "input")
    if call["training"] or call["running_mean"] is None:
        raise refuse(
            walk, call, "has no running statistics, without which it has no canonical form"
        )
    if not call["momentum"]:
        walk.notes.append(
            f"{call.place}: its momentum is None or 0, so that its running statistics stay as they "
            "are when training goes on"
        )
    layer = spec.BatchNorm(call["eps"], 1.0 - call["momentum"], unbiased=True)
    arrays = _affine(walk, call, "batch_norm", walk.array(call, "running_mean"))
    for local, name in (("mean", "running_mean"), ("variance", "running_var")):
        array = walk.array(call, name)
        assert array is not None
        arrays[local] = array.origin("batch_norm", local)
    axis = walk.axis(call, seen, 1)
    keys = tuple(origin.key for origin in arrays.values())
    value = walk.builder.batch_norm(layer, seen.value, call.place, arrays, axis, keys)
    return walk.fresh(value, seen.batch)


def _layer_norm(walk: Walk, call: Call) -> Seen:
    seen = walk.seen(call, "input")
    if len(call["normalized_shape"]) != 1:
        raise refuse(
            walk, call, f"is over axes of {call['normalized_shape']}, expected the last one"
        )
    arrays = _affine(walk, call, "layer_norm", None)
    axis = walk.axis(call, seen, -1)
    keys = tuple(origin.key for origin in arrays.values())
    layer = spec.LayerNorm(call["eps"])
    value = walk.builder.along(layer, seen.value, axis, call.place, arrays, keys)
    return walk.fresh(value, seen.batch)


def _affine(walk: Walk, call: Call, kind: str, like: Array | None) -> dict[str, Origin]:
    """Scale and offset; ones and zeros stand in where the layer has none."""
    size = like.shape[0] if like else call["normalized_shape"][0]
    found = {}
    for local, name, fill in (("scale", "weight", np.ones), ("offset", "bias", np.zeros)):
        array = walk.array(call, name)
        if array is None:
            key = f"{call.place}.{name} (not there)"
            walk.made[key] = fill(size, np.float32)
            word = "ones" if fill is np.ones else "zeros"
            walk.notes.append(f"{call.place} has no {name}: {word} stand in, which will learn")
            found[local] = Origin(key)
        else:
            found[local] = array.origin(kind, local)
    return found


def _embedding(walk: Walk, call: Call) -> Seen:
    weight, seen = walk.array(call, "weight"), walk.seen(call, "indices")
    assert weight is not None
    if call["scale_grad_by_freq"]:
        raise refuse(walk, call, "scale_grad_by_freq is set, which has no canonical form")
    if call["padding_idx"] >= 0:
        walk.notes.append(
            f"{call.place}: the row of padding_idx {call['padding_idx']} learns like the others "
            "from now on, and the array's gradient was not compared"
        )
        walk.padded.add(weight.key)
    arrays = {"kernel": weight.origin("embedding", "kernel")}
    plain = walk.builder.settle(seen.value, call.place)
    layer = spec.Embedding(*weight.shape)
    value = walk.builder.add(layer, [plain], call.place, arrays, (weight.key,))
    return walk.fresh(value, seen.batch)


# --- windows -------------------------------------------------------------------------------------


def _pool(walk: Walk, call: Call) -> Any:
    seen = walk.seen(call)
    need_front(walk, call, seen)
    size, amounts = pair(call["kernel_size"]), pair(call["padding"])
    stride = pair(call["stride"]) if call["stride"] else size
    padding: Amounts = ((amounts[0], amounts[0]), (amounts[1], amounts[1]))
    if pair(call.given.get("dilation", 1)) != (1, 1):
        raise refuse(walk, call, f"dilation is {call['dilation']}, expected 1")
    if call.given.get("divisor_override") is not None:
        raise refuse(walk, call, "divisor_override is set, which has no canonical form")
    before = walk.shape(seen)
    if call["ceil_mode"]:
        rest = [(before[1 + i] + 2 * amounts[i] - size[i]) % stride[i] for i in (0, 1)]
        if any(rest):
            raise refuse(walk, call, f"ceil_mode is set and adds windows to {before[1:]}")
    if call.name.startswith("max"):
        layer: Layer = spec.MaxPool(size, stride, padding)
    else:
        # Without padding the edges hold nothing to count.
        counted = bool(call["count_include_pad"]) and any(amounts)
        layer = spec.AveragePool(size, stride, padding, counted)
    value = walk.builder.windowed(layer, seen.value, call.place, channels_first=True)
    found = walk.fresh(value)
    return (found, None) if call.name.endswith("indices") else found


def _adaptive(walk: Walk, call: Call) -> Any:
    seen = walk.seen(call)
    need_front(walk, call, seen)
    before = walk.shape(seen)[1:]
    after = pair(call["output_size"])
    if len(before) != 2 or any(a % b for a, b in zip(before, after, strict=True)):
        raise refuse(walk, call, f"{before} to {after} has windows of several sizes")
    window = (before[0] // after[0], before[1] // after[1])
    if window == (1, 1):
        return seen
    is_max = "max" in call.name
    layer = spec.MaxPool(window, window) if is_max else spec.AveragePool(window, window)
    value = walk.builder.windowed(layer, seen.value, call.place, channels_first=True)
    return (walk.fresh(value), None) if is_max else walk.fresh(value)


def _pad(walk: Walk, call: Call) -> Seen:
    seen, amounts = walk.seen(call), list(call["pad"])
    if call.given.get("mode", "constant") != "constant" or call["value"]:
        raise refuse(walk, call, "pads with other than zeros")
    need_front(walk, call, seen)
    ends = [(amounts[i], amounts[i + 1]) for i in range(0, len(amounts), 2)]
    ends += [(0, 0)] * (len(seen.value.axes) + 1 - len(ends))
    if any(ends[-1]):
        raise refuse(walk, call, "pads the batch")
    value = walk.builder.pad(seen.value, ends[-2::-1], call.place, channels_first=True)
    return walk.fresh(value)


def _mean(walk: Walk, call: Call) -> Seen | Mean:
    seen = walk.seen(call)
    axes = [walk.axis(call, seen, dim) for dim in call.given.get("dim") or []]
    if not axes:
        raise refuse(walk, call, "takes the mean over everything, the batch included")
    if len(seen.value.axes) == 1 and call["keepdim"]:
        return Mean(seen)
    value = walk.builder.mean(seen.value, axes, call["keepdim"], call.place)
    return walk.fresh(value, 0 if not call["keepdim"] else seen.batch)


# --- over time -----------------------------------------------------------------------------------

_KINDS = {"lstm": spec.LSTM, "gru": spec.GRU, "rnn_tanh": spec.Elman, "rnn_relu": spec.Elman}


def _recurrent(walk: Walk, call: Call) -> Any:
    """All steps' outputs, the final states, and for an LSTM the cells' too."""
    seen = walk.seen(call, "input")
    if "params" not in call.given or "batch_first" not in call.given:
        raise refuse(walk, call, "runs over packed sequences, which has no canonical form")
    if seen.batch != (0 if call["batch_first"] else 1):
        raise refuse(walk, call, f"takes the batch for time: batch_first is {call['batch_first']}")
    states = call["hx"] if isinstance(call["hx"], (list, tuple)) else [call["hx"]]
    if any(state != Filled(0.0) for state in states):
        raise refuse(walk, call, "starts from a state that is not zero")
    value = walk.builder.settle(seen.value, call.place)
    finals: list[Value] = []
    directions = 2 if call["bidirectional"] else 1
    groups = _groups(walk, call, directions)
    for number in range(0, len(groups), directions):
        if number and call["dropout"]:
            value = walk.builder.add(spec.Dropout(float(call["dropout"])), [value], call.place)
        given = groups[number : number + directions]
        both = [_direction(walk, call, value, arrays, at > 0) for at, arrays in enumerate(given)]
        finals += both
        value = both[0] if directions == 1 else walk.builder.concatenate(both, -1, call.place)
    return (walk.fresh(value, seen.batch), Final(tuple(finals)), *["cells"] * (call.name == "lstm"))


def _groups(walk: Walk, call: Call, directions: int) -> list[list[Array]]:
    """The arrays of each layer and direction: two kernels, and two biases or none."""
    arrays = list(call["params"])
    size = 4 if call["has_biases"] else 2
    if len(arrays) != size * directions * call["num_layers"]:
        raise refuse(walk, call, "projects its states (proj_size), which has no canonical form")
    if not all(isinstance(array, Array) for array in arrays):
        raise refuse(walk, call, "has arrays that are computed")
    return [arrays[at : at + size] for at in range(0, len(arrays), size)]


def _direction(
    walk: Walk, call: Call, value: Value, arrays: Sequence[Array], reverse: bool
) -> Value:
    """One layer in one direction; a second bias that is zero and frozen is none."""
    used = [array for array in arrays if not (array is arrays[-1] and array.silent)]
    kind = _KINDS[call.name]
    options: dict[str, Any] = {"activation": "relu"} if call.name == "rnn_relu" else {}
    layer = kind(
        arrays[1].shape[1], biases=len(used) - 2, sequences=True, reverse=reverse, **options
    )
    natives = dict(
        zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), used, strict=False)
    )
    origins = {
        local: _gate(natives[home.attribute], home)
        for local, home in HOMES[layer.kind].items()
        if home.attribute in natives
    }
    keys = tuple(array.key for array in used)
    return walk.builder.add(layer, [value], call.place, origins, (keys, reverse))


def _gate(array: Array, home: Home) -> Origin:
    return Origin(array.key, array.turn).then(home.piece).then(home.to_canonical)


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("conv2d", "convolution", "_convolution", "conv_transpose2d"), _conv),
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm"), _matmul),
    "addmm": _addmm,
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training"), _batch_norm),
    "layer_norm": _layer_norm,
    "embedding": _embedding,
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices", "avg_pool2d"), _pool),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive),
    "pad": _pad,
    "constant_pad_nd": _pad,
    "mean": _mean,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
}
