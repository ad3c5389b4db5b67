"""Each layer of the spec written from its formula, with plain loops over the kernel's positions.

Functions take the spec's layer, its arrays by local name and its inputs, channels last with a batch
axis, and return the output in inference mode. What training changes (batch statistics, masks) is
in ``training_batch_norm`` and ``masked``. The elementwise functions are in ``activations.py``. The
arithmetic of padding is derived here once more, so that it too is judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from triptych.backends._numpy.activations import ACTIVATIONS
from triptych.spec import layers as spec

Array = np.ndarray
Arrays = dict[str, Array]
Forward = Callable[[Any, Arrays, list[Array]], Array]


def _edges(padding: Any, sizes: tuple[int, int], spans: list[int], steps: Any) -> Any:
    """((top, bottom), (left, right)); ``same`` gives ceil(size / step), odd pixel last."""
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding != "same":
        return padding
    found = []
    for size, span, step in zip(sizes, spans, steps, strict=True):
        total = max((math.ceil(size / step) - 1) * step + span - size, 0)
        found.append((total // 2, total - total // 2))
    return tuple(found)


def _pad(x: Array, edges: Any, value: float) -> Array:
    return np.pad(x, [(0, 0), *edges, (0, 0)], constant_values=value)


def _windows(
    x: Array, kernel: Any, steps: Any, holes: Any = (1, 1)
) -> Iterator[tuple[int, int, Array]]:
    """Yield (a, b, pixels under kernel position (a, b) of every window) of a padded image."""
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, holes, strict=True)]
    down, right = (steps[i] * ((x.shape[1 + i] - spans[i]) // steps[i]) for i in (0, 1))
    for a in range(kernel[0]):
        for b in range(kernel[1]):
            i, j = a * holes[0], b * holes[1]
            yield a, b, x[:, i : i + down + 1 : steps[0], j : j + right + 1 : steps[1]]


def conv(layer: spec.Conv, arrays: Arrays, inputs: list[Array]) -> Array:
    """y[i, j, o] = sum x[i*stride + a*dilation - top, ..., c] kernel[a, b, c, o] + bias[o]."""
    (x,) = inputs
    kernel = arrays["kernel"]
    spans = [d * (k - 1) + 1 for k, d in zip(layer.kernel, layer.dilation, strict=True)]
    x = _pad(x, _edges(layer.padding, x.shape[1:3], spans, layer.stride), 0.0)
    outs = np.split(kernel, layer.groups, axis=3)
    total: Any = 0.0
    for a, b, pixels in _windows(x, layer.kernel, layer.stride, layer.dilation):
        parts = np.split(pixels, layer.groups, axis=3)
        sums = [part @ out[a, b] for part, out in zip(parts, outs, strict=True)]
        total = total + np.concatenate(sums, axis=3)
    return total + arrays.get("bias", 0.0)


def _crop(padding: Any, spans: list[int], steps: Any) -> Any:
    """Pixels off each edge; ``same`` leaves size * step, and below zero means zeros added."""
    if padding != "same":
        return ((0, 0), (0, 0)) if padding == "valid" else padding
    surplus = [span - step for span, step in zip(spans, steps, strict=True)]
    return tuple((max(s, 0) // 2, s - max(s, 0) // 2) for s in surplus)


def conv_transpose(layer: spec.ConvTranspose, arrays: Arrays, inputs: list[Array]) -> Array:
    """Every input pixel adds x * kernel to the full output; then the crop, then the bias."""
    (x,) = inputs
    spans = [d * (k - 1) + 1 for k, d in zip(layer.kernel, layer.dilation, strict=True)]
    sizes = [(x.shape[1 + i] - 1) * layer.stride[i] + spans[i] for i in (0, 1)]
    full = np.zeros((len(x), *sizes, layer.filters))
    for a, b, pixels in _windows(full, layer.kernel, layer.stride, layer.dilation):
        pixels += x @ arrays["kernel"][a, b]
    edges = _crop(layer.padding, spans, layer.stride)
    wide = _pad(full, tuple((max(-a, 0), max(-b, 0)) for a, b in edges), 0.0)
    (top, bottom), (left, right) = ((max(a, 0), max(b, 0)) for a, b in edges)
    kept = wide[:, top : wide.shape[1] - bottom, left : wide.shape[2] - right]
    return kept + arrays.get("bias", 0.0)


def max_pool(layer: spec.MaxPool, arrays: Arrays, inputs: list[Array]) -> Array:
    """The largest value under a window; padded pixels never win."""
    (x,) = inputs
    edges = _edges(layer.padding, x.shape[1:3], list(layer.size), layer.stride)
    x = _pad(x, edges, -np.inf)
    return np.maximum.reduce([pixels for _, _, pixels in _windows(x, layer.size, layer.stride)])


def average_pool(layer: spec.AveragePool, arrays: Arrays, inputs: list[Array]) -> Array:
    """The mean under a window, over the window or over the image's own pixels in it."""
    (x,) = inputs
    edges = _edges(layer.padding, x.shape[1:3], list(layer.size), layer.stride)
    counted = _pad(np.ones_like(x), edges, 1.0 if layer.count_padding else 0.0)
    windows = [pixels for _, _, pixels in _windows(_pad(x, edges, 0.0), layer.size, layer.stride)]
    counts = [pixels for _, _, pixels in _windows(counted, layer.size, layer.stride)]
    return sum(windows) / sum(counts)  # type: ignore[return-value]


def dense(layer: spec.Dense, arrays: Arrays, inputs: list[Array]) -> Array:
    """x @ kernel + bias on the last axis."""
    return inputs[0] @ arrays["kernel"] + arrays.get("bias", 0.0)


def flatten(layer: spec.Flatten, arrays: Arrays, inputs: list[Array]) -> Array:
    """All axes but the batch into one, the last fastest."""
    return inputs[0].reshape(len(inputs[0]), -1)


def permute(layer: spec.Permute, arrays: Arrays, inputs: list[Array]) -> Array:
    """Axis i of an example's output is axis axes[i] of its input."""
    return np.stack([example.transpose(layer.axes) for example in inputs[0]])


def _normalise(x: Array, mean: Array, variance: Array, epsilon: float, arrays: Arrays) -> Array:
    return (x - mean) / np.sqrt(variance + epsilon) * arrays["scale"] + arrays["offset"]


def batch_norm(layer: spec.BatchNorm, arrays: Arrays, inputs: list[Array]) -> Array:
    """Inference: normalise by the running statistics."""
    return _normalise(inputs[0], arrays["mean"], arrays["variance"], layer.epsilon, arrays)


def training_batch_norm(layer: spec.BatchNorm, arrays: Arrays, x: Array) -> tuple[Array, Arrays]:
    """Training: normalise by the batch's statistics; return also the moved running ones."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes)
    variance = np.square(x - mean).mean(axis=axes)
    count = x.size // x.shape[-1]
    seen = variance * count / (count - 1) if layer.unbiased else variance
    moved = {
        "mean": layer.keep * arrays["mean"] + (1.0 - layer.keep) * mean,
        "variance": layer.keep * arrays["variance"] + (1.0 - layer.keep) * seen,
    }
    return _normalise(x, mean, variance, layer.epsilon, arrays), moved


def layer_norm(layer: spec.LayerNorm, arrays: Arrays, inputs: list[Array]) -> Array:
    """Normalise every example's last axis by its own mean and biased variance."""
    (x,) = inputs
    mean = x.mean(axis=-1, keepdims=True)
    variance = np.square(x - mean).mean(axis=-1, keepdims=True)
    return _normalise(x, mean, variance, layer.epsilon, arrays)


def masked(layer: spec.Dropout, x: Array, mask: Array) -> Array:
    """Training dropout: x * mask / (1 - rate)."""
    return x * mask / (1.0 - layer.rate)


def dueling(layer: spec.Dueling, arrays: Arrays, inputs: list[Array]) -> Array:
    """value + advantage - mean(advantage)."""
    value, advantage = inputs
    return value + advantage - advantage.mean(axis=-1, keepdims=True)


FORWARD: dict[str, Forward] = {
    "rescale": lambda layer, arrays, inputs: inputs[0] * layer.scale + layer.offset,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "dense": dense,
    "flatten": flatten,
    "max_pool": max_pool,
    "average_pool": average_pool,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "dropout": lambda layer, arrays, inputs: inputs[0],
    "embedding": lambda layer, arrays, inputs: arrays["kernel"][inputs[0]],
    "add": lambda layer, arrays, inputs: np.sum(inputs, axis=0),
    "multiply": lambda layer, arrays, inputs: math.prod(inputs[1:], start=inputs[0]),
    "reshape": lambda layer, arrays, inputs: inputs[0].reshape(len(inputs[0]), *layer.size),
    "permute": permute,
    "pad": lambda layer, arrays, inputs: _pad(inputs[0], layer.amounts, 0.0),
    "concatenate": lambda layer, arrays, inputs: np.concatenate(inputs, axis=-1),
    "dueling": dueling,
}


def _elementwise(function: Callable[[Any, Array], Array]) -> Forward:
    return lambda layer, arrays, inputs: function(layer, inputs[0])


FORWARD |= {kind: _elementwise(function) for kind, function in ACTIVATIONS.items()}
