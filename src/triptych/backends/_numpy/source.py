"""The native definition of a network as text: a function in plain NumPy that anyone can follow.

It runs the network in float64, in inference mode: readable first, slow. What the text is made of
is here; how lines are ordered and broken is in ``sourcing.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from triptych.backends import sourcing
from triptych.backends._numpy import recurrent_source
from triptych.backends.sourcing import Apply, Site, Step, named, number
from triptych.spec.layers import SELU
from triptych.spec.network import Network

_IMPORTS = ((r"\bmath\.", "import math\n"), ("", "import numpy as np"))
_ARRAY = "np.ndarray"

_HELPERS = {
    "pad_image": '''
def pad_image(x: np.ndarray, padding: tuple, value: float = 0.0) -> np.ndarray:
    """Add ((top, bottom), (left, right)) pixels to (batch, height, width, channels)."""
    return np.pad(x, [(0, 0), *padding, (0, 0)], constant_values=value)
''',
    "windows": '''
def windows(x: np.ndarray, size: tuple, stride: tuple, dilation: tuple = (1, 1)) -> np.ndarray:
    """(batch, height, width, channels) -> (a, b, batch, height', width', channels).

    Entry (a, b) holds, for every place of the window, the pixel under its row a and column b.
    """
    span = [hole * (n - 1) + 1 for n, hole in zip(size, dilation)]
    rows, columns = ((n - s) // step * step + 1 for n, s, step in zip(x.shape[1:3], span, stride))
    shifted = [
        x[:, a : a + rows : stride[0], b : b + columns : stride[1]]
        for a in range(0, span[0], dilation[0])
        for b in range(0, span[1], dilation[1])
    ]
    return np.reshape(shifted, (*size, *shifted[0].shape))
''',
    "conv": '''
def conv(
    x: np.ndarray, kernel: np.ndarray, stride: tuple, dilation: tuple = (1, 1), groups: int = 1
) -> np.ndarray:
    """y[i, j, o] = sum of x[i * stride + a * dilation, ..., c] * kernel[a, b, c, o]."""
    parts = [
        np.einsum("abnijc,abco->nijo", windows(part, kernel.shape[:2], stride, dilation), own)
        for part, own in zip(np.split(x, groups, axis=-1), np.split(kernel, groups, axis=-1))
    ]
    return np.concatenate(parts, axis=-1)
''',
    "conv_transpose": '''
def conv_transpose(
    x: np.ndarray, kernel: np.ndarray, stride: tuple, crop: tuple, dilation: tuple = (1, 1)
) -> np.ndarray:
    """Every pixel adds pixel * kernel to the output; then ``crop`` is cut off its edges.

    A negative crop adds zeros.
    """
    batch, height, width, _ = x.shape
    span = [hole * (n - 1) + 1 for n, hole in zip(kernel.shape, dilation)]
    full = [(n - 1) * step + s for n, step, s in zip((height, width), stride, span)]
    y = np.zeros((batch, *full, kernel.shape[-1]))
    for a, b in np.ndindex(*kernel.shape[:2]):
        top, left = a * dilation[0], b * dilation[1]
        rows = slice(top, top + (height - 1) * stride[0] + 1, stride[0])
        columns = slice(left, left + (width - 1) * stride[1] + 1, stride[1])
        y[:, rows, columns] += x @ kernel[a, b]
    y = pad_image(y, tuple((max(-before, 0), max(-after, 0)) for before, after in crop))
    (top, bottom), (left, right) = np.maximum(crop, 0)
    return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]
''',
    "max_pool": '''
def max_pool(x: np.ndarray, size: tuple, stride: tuple, padding: tuple) -> np.ndarray:
    """The largest value under a window; padded pixels never win."""
    return windows(pad_image(x, padding, -np.inf), size, stride).max(axis=(0, 1))
''',
    "average_pool": '''
def average_pool(
    x: np.ndarray, size: tuple, stride: tuple, padding: tuple, count_padding: bool
) -> np.ndarray:
    """The mean under a window, over all its pixels or over those of the image."""
    inside = pad_image(np.ones_like(x), padding, float(count_padding))
    total = windows(pad_image(x, padding), size, stride).sum(axis=(0, 1))
    return total / windows(inside, size, stride).sum(axis=(0, 1))
''',
    "normalise": '''
def normalise(x, mean, variance, epsilon: float, scale, offset) -> np.ndarray:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset."""
    return (x - mean) / np.sqrt(variance + epsilon) * scale + offset
''',
    "leaky_relu": '''
def leaky_relu(x: np.ndarray, slope: float) -> np.ndarray:
    """x where x > 0, else slope * x."""
    return np.where(x > 0, x, slope * x)
''',
    "elu": '''
def elu(x: np.ndarray, alpha: float) -> np.ndarray:
    """x where x > 0, else alpha * (exp(x) - 1)."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))
''',
    "gelu": '''
def gelu(x: np.ndarray) -> np.ndarray:
    """x * Phi(x), Phi the normal distribution function."""
    return 0.5 * x * (1.0 + np.vectorize(math.erf, otypes=[float])(x * math.sqrt(0.5)))
''',
    "gelu_tanh": '''
def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """x * Phi(x), Phi approximated by tanh."""
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
''',
    "sigmoid": '''
def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0.0, -x))
''',
    "silu": '''
def silu(x: np.ndarray) -> np.ndarray:
    """x / (1 + exp(-x)), without overflow."""
    return x * np.exp(-np.logaddexp(0.0, -x))
''',
    "hard_sigmoid": '''
def hard_sigmoid(x: np.ndarray, slope: float) -> np.ndarray:
    """min(max(slope * x + 1/2, 0), 1)."""
    return np.clip(slope * x + 0.5, 0.0, 1.0)
''',
    "softmax": '''
def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) / sum exp(x) on the last axis."""
    return np.exp(log_softmax(x))
''',
    "log_softmax": '''
def log_softmax(x: np.ndarray) -> np.ndarray:
    """x - log sum exp(x) on the last axis."""
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
''',
    **recurrent_source.HELPERS,
}


def _param(site: Site, local: str) -> str:
    return f'params["{site.node.owner}/{local}"]'


def _bias(site: Site) -> str:
    return f" + {_param(site, 'bias')}" if site.layer.bias else ""


def _conv(site: Site, args: Sequence[str]) -> Step:
    layer, x, pad = site.layer, args[0], site.layer.pixels(site.inputs[0])
    if pad != ((0, 0), (0, 0)):
        x = f"pad_image({x}, {pad})"
    more = "" if layer.dilation == (1, 1) else f", dilation={layer.dilation}"
    more += "" if layer.groups == 1 else f", groups={layer.groups}"
    call = f"conv({x}, {_param(site, 'kernel')}, stride={layer.stride}{more})"
    return Step(call + _bias(site))


def _conv_transpose(site: Site, args: Sequence[str]) -> Step:
    layer = site.layer
    more = "" if layer.dilation == (1, 1) else f", dilation={layer.dilation}"
    sizes = f"stride={layer.stride}, crop={layer.crop()}{more}"
    return Step(f"conv_transpose({args[0]}, {_param(site, 'kernel')}, {sizes}){_bias(site)}")


def _pool(site: Site, args: Sequence[str]) -> Step:
    layer = site.layer
    sizes = f"{layer.size}, stride={layer.stride}, padding={layer.pixels(site.inputs[0])}"
    if layer.kind == "average_pool":
        sizes += f", count_padding={layer.count_padding}"
    return Step(f"{layer.kind}({args[0]}, {sizes})")


def _batch_norm(site: Site, args: Sequence[str]) -> Step:
    mean, variance = _param(site, "mean"), _param(site, "variance")
    return _normalise(site, args[0], mean, variance)


def _layer_norm(site: Site, args: Sequence[str]) -> Step:
    x = args[0]
    return _normalise(site, x, f"{x}.mean(-1, keepdims=True)", f"{x}.var(-1, keepdims=True)")


def _normalise(site: Site, x: str, mean: str, variance: str) -> Step:
    learnt = f"{_param(site, 'scale')}, {_param(site, 'offset')}"
    return Step(f"normalise({x}, {mean}, {variance}, {number(site.layer.epsilon)}, {learnt})")


def _dense(site: Site, args: Sequence[str]) -> Step:
    return Step(f"{args[0]} @ {_param(site, 'kernel')}{_bias(site)}")


def _gelu(site: Site, args: Sequence[str]) -> Step:
    return Step(f"{'gelu_tanh' if site.layer.approximate else 'gelu'}({args[0]})")


_APPLY: dict[str, Apply] = {
    "rescale": sourcing.rescale,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "flatten": named("{x}.reshape(len({x}), -1)"),
    "max_pool": _pool,
    "average_pool": _pool,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "dropout": lambda s, a: Step(a[0], f"{s.node.name} acts in training only"),
    "embedding": lambda s, a: Step(f"{_param(s, 'kernel')}[{a[0]}]"),
    "add": lambda s, a: Step(" + ".join(a)),
    "multiply": lambda s, a: Step(" * ".join(a)),
    "reshape": lambda s, a: Step(f"{a[0]}.reshape{(-1, *s.layer.size)}"),
    "permute": lambda s, a: Step(f"{a[0]}.transpose{sourcing.batched(s.layer.axes)}"),
    "pad": lambda s, a: Step(f"pad_image({a[0]}, {s.layer.amounts})"),
    "concatenate": lambda s, a: Step(f"np.concatenate(({', '.join(a)}), axis=-1)"),
    "dueling": lambda s, a: Step(f"{a[0]} + {a[1]} - {a[1]}.mean(axis=-1, keepdims=True)"),
    **dict.fromkeys(("elman", "lstm", "gru"), recurrent_source.apply),
    "relu": named("np.maximum({x}, 0.0)"),
    "relu6": named("np.clip({x}, 0.0, 6.0)"),
    "leaky_relu": named("leaky_relu({x}, slope={layer.slope})"),
    "elu": named("elu({x}, alpha={layer.alpha})"),
    "selu": named(f"{SELU.scale} * elu({{x}}, alpha={SELU.alpha})"),
    "gelu": _gelu,
    "silu": named("silu({x})"),
    "sigmoid": named("sigmoid({x})"),
    "hard_sigmoid": named("hard_sigmoid({x}, slope={layer.slope})"),
    "tanh": named("np.tanh({x})"),
    "softplus": named("np.logaddexp({x}, 0.0)"),
    "softmax": named("softmax({x})"),
    "log_softmax": named("log_softmax({x})"),
}


def write(network: Network, title: str) -> str:
    """Return the network as the source text of a NumPy function ``f(x, params)``.

    ``x`` is (batch, ...) channels last, uint8 or real; ``params`` holds the arrays in the canonical
    layout by their canonical names, ``params["conv1/kernel"]``.

    Args:
        network: the layers.
        title: becomes the name of the function: ``space-invaders`` -> ``space_invaders``.

    Raises:
        Unsupported: a layer of the network has no words here.
    """
    sourcing.check(network, "numpy", _APPLY)
    reserved = {"params", "np", "math", "len", *_HELPERS}
    names = sourcing.variables(network, reserved)
    kind = "np.int64" if sourcing.is_index(network) else "np.float64"
    lines = [
        f"x = x.astype({kind})",
        *sourcing.forward(network, sourcing.sites(network, str), _APPLY, names),
        f"return {names[network.output.name]}",
    ]
    function = sourcing.function_name(title, reserved)
    definition = [
        f"def {function}(x: {_ARRAY}, params: dict[str, {_ARRAY}]) -> {_ARRAY}:",
        f'    """{sourcing.summary(network)}"""',
        *sourcing.indented(lines, 4),
    ]
    return sourcing.assemble(_IMPORTS, _HELPERS, definition)
