"""The native definition of a network as text: a Flax NNX module as one writes it by hand.

What the text is made of is here; how lines are ordered and broken is in ``sourcing.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from flax import nnx

from triptych.backends import sourcing
from triptych.backends._jax import recurrent_source
from triptych.backends.sourcing import Apply, Define, Site, Step, named, number
from triptych.spec.layers.convolution import extent
from triptych.spec.network import Network

_IMPORTS = (
    (r"\bjax\.", "import jax"),
    ("", "import jax.numpy as jnp"),
    ("", "from flax import nnx"),
    ("", "from jax import Array"),
)

_BATCH_NORM = '''
class BatchNorm(nnx.BatchNorm):
    """nnx.BatchNorm, whose running statistics are float32 whatever is asked for, in ``dtype``."""

    def __init__(self, channels: int, **options) -> None:
        super().__init__(channels, **options)
        self.mean = nnx.BatchStat(jnp.zeros(channels, self.param_dtype))
        self.var = nnx.BatchStat(jnp.ones(channels, self.param_dtype))
'''
_UNBIASED = """
    def __call__(self, x: Array, use_running_average: bool) -> Array:
        kept = self.momentum * self.var[...]
        y = super().__call__(x, use_running_average=use_running_average)
        if not use_running_average:  # Flax kept the biased variance; PyTorch keeps the unbiased
            count = x.size // x.shape[-1]
            self.var[...] = kept + (self.var[...] - kept) * (count / (count - 1))
        return y
"""

_HELPERS = {
    "BatchNorm": _BATCH_NORM,
    "UnbiasedBatchNorm": _BATCH_NORM.replace("class ", "class Unbiased") + _UNBIASED,
    "leaky_relu": '''
def leaky_relu(x: Array, slope: float) -> Array:
    """x where x > 0, else slope * x; nnx.leaky_relu has the gradient 1 at 0 instead of slope."""
    return jnp.where(x > 0, x, slope * x)
''',
    "hard_sigmoid": '''
def hard_sigmoid(x: Array, slope: float) -> Array:
    """min(max(slope * x + 1/2, 0), 1); nnx.hard_sigmoid knows the slope 1/6 only."""
    y = x * slope + 0.5
    return jnp.where(y > 0, jnp.where(y < 1, y, 1.0), 0.0)
''',
    **recurrent_source.HELPERS,
}
_PLAIN = '{"dtype": dtype, "param_dtype": dtype, "rngs": rngs}'
_EXACT = '{"dtype": dtype, "param_dtype": dtype, "precision": "highest", "rngs": rngs}'


def _bias(site: Site) -> str:
    return "" if site.layer.bias else ", use_bias=False"


# --- construction --------------------------------------------------------------------------------


def _padding(site: Site) -> str:
    padding = site.layer.padding
    return f'"{padding.upper()}"' if isinstance(padding, str) else f"{padding}"


def _conv(site: Site) -> str:
    layer = site.layer
    more = "" if layer.dilation == (1, 1) else f", kernel_dilation={layer.dilation}"
    more += "" if layer.groups == 1 else f", feature_group_count={layer.groups}"
    return (
        f"nnx.Conv({site.channels}, {layer.filters}, {layer.kernel}, strides={layer.stride}, "
        f"padding={_padding(site)}{more}{_bias(site)}, **exact)"
    )


def _conv_transpose(site: Site) -> str:
    layer = site.layer
    span = extent(layer.kernel, layer.dilation)
    # "VALID" appends zeros where the stride is larger than the kernel's extent.
    wide = all(span[axis] >= layer.stride[axis] for axis in (0, 1))
    pads = tuple(
        (size - 1 - before, size - 1 - after)
        for size, (before, after) in zip(span, layer.crop(), strict=True)
    )
    native = layer.padding == "same" or (layer.padding == "valid" and wide)
    padding = _padding(site) if native else f"{pads}"
    more = "" if layer.dilation == (1, 1) else f", kernel_dilation={layer.dilation}"
    return (
        f"nnx.ConvTranspose({site.channels}, {layer.filters}, {layer.kernel}, "
        f"strides={layer.stride}, padding={padding}{more}{_bias(site)}, "
        "transpose_kernel=True, **exact)"
    )


def _batch_norm(site: Site) -> str:
    layer = site.layer
    kind = "UnbiasedBatchNorm" if layer.unbiased else "BatchNorm"
    return (
        f"{kind}({site.channels}, momentum={number(layer.keep)}, "
        f"epsilon={number(layer.epsilon)}, use_fast_variance=False, **plain)"
    )


def _layer_norm(site: Site) -> str:
    epsilon = number(site.layer.epsilon)
    return f"nnx.LayerNorm({site.channels}, epsilon={epsilon}, use_fast_variance=False, **plain)"


_DEFINE: dict[str, Define] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "batch_norm": _batch_norm,
    "dense": lambda s: f"nnx.Linear({s.channels}, {s.layer.units}{_bias(s)}, **exact)",
    "layer_norm": _layer_norm,
    "embedding": lambda s: f"nnx.Embed({s.layer.size}, {s.layer.features}, **plain)",
    "dropout": lambda s: f"nnx.Dropout({number(s.layer.rate)}, rngs=rngs)",
    **dict.fromkeys(("elman", "lstm", "gru"), recurrent_source.define),
}
_DEFINE_COMMENTS = {
    "batch_norm": "momentum is the share of the kept statistics",
    "conv_transpose": "the kernel is (height, width, out, in)",
}


# --- forward -------------------------------------------------------------------------------------


def _max_pool(site: Site, args: Sequence[str]) -> Step:
    layer = site.layer
    sizes = f"{layer.size}, strides={layer.stride}, padding={_padding(site)}"
    return Step(f"nnx.max_pool({args[0]}, {sizes})")


def _average_pool(site: Site, args: Sequence[str]) -> Step:
    layer = site.layer
    sizes = f"{layer.size}, strides={layer.stride}, padding={_padding(site)}"
    more = "" if layer.padding == "valid" else f", count_include_pad={layer.count_padding}"
    return Step(f"nnx.avg_pool({args[0]}, {sizes}{more})")


def _apply_batch_norm(site: Site, args: Sequence[str]) -> Step:
    return Step(f"{site.callee}({args[0]}, use_running_average=not training)")


def _dropout(site: Site, args: Sequence[str]) -> Step:
    call = f"{site.callee}({args[0]}, deterministic=not training)"
    return Step(call, "the mask is JAX's own draw")


def _pad(site: Site, args: Sequence[str]) -> Step:
    return Step(f"jnp.pad({args[0]}, {((0, 0), *site.layer.amounts, (0, 0))})")


_APPLY: dict[str, Apply] = {
    "rescale": sourcing.rescale,
    "conv": named("{layer}({x})"),
    "conv_transpose": named("{layer}({x})"),
    "dense": named("{layer}({x})"),
    "flatten": named("{x}.reshape({x}.shape[0], -1)"),
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "batch_norm": _apply_batch_norm,
    "layer_norm": named("{layer}({x})"),
    "dropout": _dropout,
    "embedding": named("{layer}({x})"),
    "add": lambda s, a: Step(" + ".join(a)),
    "multiply": lambda s, a: Step(" * ".join(a)),
    "reshape": lambda s, a: Step(f"{a[0]}.reshape{(-1, *s.layer.size)}"),
    "permute": lambda s, a: Step(f"{a[0]}.transpose{sourcing.batched(s.layer.axes)}"),
    "pad": _pad,
    "concatenate": lambda s, a: Step(f"jnp.concatenate(({', '.join(a)}), axis=-1)"),
    "dueling": lambda s, a: Step(f"{a[0]} + {a[1]} - {a[1]}.mean(axis=-1, keepdims=True)"),
    **dict.fromkeys(("elman", "lstm", "gru"), recurrent_source.apply),
    "relu": named("nnx.relu({x})"),
    "relu6": named("nnx.relu6({x})"),
    "leaky_relu": named("leaky_relu({x}, slope={layer.slope})"),
    "elu": named("nnx.elu({x}, alpha={layer.alpha})"),
    "selu": named("nnx.selu({x})"),
    "gelu": named("nnx.gelu({x}, approximate={layer.approximate})"),
    "silu": named("nnx.silu({x})"),
    "sigmoid": named("nnx.sigmoid({x})"),
    "hard_sigmoid": named("hard_sigmoid({x}, slope={layer.slope})"),
    "tanh": named("nnx.tanh({x})"),
    "softplus": named("nnx.softplus({x})"),
    "softmax": named("nnx.softmax({x}, axis=-1)"),
    "log_softmax": named("nnx.log_softmax({x}, axis=-1)"),
}


# --- the whole -----------------------------------------------------------------------------------


def write(network: Network, title: str) -> str:
    """Return the network as the source text of an ``nnx.Module``.

    The class takes ``rngs`` and ``dtype``; calling it takes (batch, ...) channels last, uint8 or
    real, and ``training`` where a layer asks for it. Attributes bear the nodes' names.

    The text holds no params: Flax draws its own until others are loaded.

    Args:
        network: the layers.
        title: becomes the name of the class: ``space-invaders`` -> ``SpaceInvaders``.

    Raises:
        Unsupported: a node has a name that ``nnx.Module`` uses itself.
    """
    sourcing.check(network, "jax", _APPLY, lambda n: hasattr(nnx.Module, n) or n == "dtype")
    places = sourcing.sites(network, "self.{}".format)
    names = sourcing.variables(network, {"self", "jnp", "nnx", "Array", "training", *_HELPERS})
    body = sourcing.forward(network, places, _APPLY, names)
    training = ", training: bool = False" if _has_modes(network) else ""
    built = sourcing.constructions(places, _DEFINE, _DEFINE_COMMENTS)
    definition = [
        f"class {sourcing.class_name(title)}(nnx.Module):",
        f'    """{sourcing.summary(network)}"""',
        "",
        "    def __init__(self, rngs: nnx.Rngs, dtype: type = jnp.float32) -> None:",
        *sourcing.indented([*_options(network, built), *built], 8),
        "",
        f"    def __call__(self, x: Array{training}) -> Array:",
        *sourcing.indented([*_entry(network), *body, f"return {names[network.output.name]}"], 8),
    ]
    return sourcing.assemble(_IMPORTS, _HELPERS, definition)


def _has_modes(network: Network) -> bool:
    return sourcing.has(network, "batch_norm", "dropout")


def _options(network: Network, built: Sequence[str]) -> list[str]:
    """The lines that name the options which several layers share."""
    keep = [] if sourcing.first_with_params(network) else ["self.dtype = dtype"]
    plain = [f"plain = {_PLAIN}"] if any("**plain" in line for line in built) else []
    exact = [f"exact = {_EXACT}"] if any("**exact" in line for line in built) else []
    return [*keep, *plain, *exact]


def _entry(network: Network) -> list[str]:
    """The line that casts the input."""
    owner = sourcing.first_with_params(network)
    if sourcing.is_index(network):
        return ["x = x.astype(jnp.int32)"]
    line = f"x = x.astype({f'self.{owner}.param_dtype' if owner else 'self.dtype'})"
    return sourcing.comment(line, "float64 needs jax_enable_x64")
