"""The native definition of a network as text: an ``nn.Module`` as one writes it by hand.

Images are channels first inside, as PyTorch's layers want them: one permute at the top, one before
the flatten, and one around each layer that works on the last axis. What the text is made of is
here; how lines are ordered and broken is in ``sourcing.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from triptych.backends import sourcing
from triptych.backends._torch import recurrent_source
from triptych.backends.sourcing import Apply, Define, Site, Step, named, number
from triptych.spec.layers import Recurrent
from triptych.spec.layers.convolution import Amounts
from triptych.spec.network import Network

_FIRST, _LAST = "permute(0, 3, 1, 2)", "permute(0, 2, 3, 1)"

_IMPORTS = (
    (r"\btorch\.", "import torch"),
    (r"\bF\.", "import torch.nn.functional as F"),
    ("", "from torch import Tensor, nn"),
)

_BATCH_NORM = '''
class BiasedBatchNorm{n}d(nn.BatchNorm{n}d):
    """nn.BatchNorm{n}d with the biased running variance of Keras and JAX; its own is unbiased."""

    def forward(self, x: Tensor) -> Tensor:
        kept = (1 - self.momentum) * self.running_var
        y = super().forward(x)
        if self.training:
            count = x.numel() // x.shape[1]
            # Not in place: PyTorch keeps the buffer for the gradient.
            self.running_var = kept + (self.running_var - kept) * ((count - 1) / count)
        return y
'''

_HELPERS = {
    "BiasedBatchNorm1d": _BATCH_NORM.replace("{n}", "1"),
    "BiasedBatchNorm2d": _BATCH_NORM.replace("{n}", "2"),
    "average_pool": '''
def average_pool(x: Tensor, size: tuple, stride: tuple, padding: tuple) -> Tensor:
    """The mean over the pixels of the image under a window; F.avg_pool2d pads evenly only."""
    share = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), padding), size, stride)
    return F.avg_pool2d(F.pad(x, padding), size, stride) / share
''',
    "hard_sigmoid": '''
def hard_sigmoid(x: Tensor, slope: float) -> Tensor:
    """min(max(slope * x + 1/2, 0), 1); F.hardsigmoid knows the slope 1/6 only."""
    y = x * slope + 0.5
    return torch.where(y > 0, torch.where(y < 1, y, torch.ones_like(y)), torch.zeros_like(y))
''',
    "softplus": '''
def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) everywhere; F.softplus turns into x above a threshold."""
    return torch.logaddexp(x, torch.zeros_like(x))
''',
    **recurrent_source.HELPERS,
}


def _edges(pad: Amounts) -> tuple[int, int, int, int]:
    """Amounts in the order of ``F.pad``, the last axis first."""
    return (*pad[1], *pad[0])


_PAD_COMMENT = "F.pad counts left, right, top, bottom"


def _first(site: Site, rank: int) -> bool:
    """Whether a value of this rank is channels first here."""
    return site.planar and rank == 3


def _bias(site: Site) -> str:
    return "" if site.layer.bias else ", bias=False"


# --- construction --------------------------------------------------------------------------------


def _conv(site: Site) -> str:
    layer = site.layer
    pad = layer.pixels(site.inputs[0])
    even = sourcing.first_pixels(pad) if sourcing.is_even(pad) else (0, 0)
    more = "" if layer.dilation == (1, 1) else f", dilation={layer.dilation}"
    more += "" if layer.groups == 1 else f", groups={layer.groups}"
    return (
        f"nn.Conv2d({site.channels}, {layer.filters}, {layer.kernel}, stride={layer.stride}, "
        f"padding={even}{more}{_bias(site)}, dtype=dtype)"
    )


def _native_crop(crop: Amounts) -> tuple[tuple[int, int], tuple[int, int], Amounts]:
    """Split a crop into PyTorch's ``padding`` and ``output_padding`` and what is cut afterwards."""
    padding = [max(min(pair), 0) for pair in crop]
    output = [max(-after, 0) for _, after in crop]
    rest = [
        (before - p, max(after - p, 0)) for (before, after), p in zip(crop, padding, strict=True)
    ]
    return (padding[0], padding[1]), (output[0], output[1]), (rest[0], rest[1])


def _conv_transpose(site: Site) -> str:
    layer = site.layer
    padding, output, _ = _native_crop(layer.crop())
    more = "" if output == (0, 0) else f", output_padding={output}"
    more += "" if layer.dilation == (1, 1) else f", dilation={layer.dilation}"
    return (
        f"nn.ConvTranspose2d({site.channels}, {layer.filters}, {layer.kernel}, "
        f"stride={layer.stride}, padding={padding}{more}{_bias(site)}, dtype=dtype)"
    )


def _batch_norm(site: Site) -> str:
    layer, rank = site.layer, 2 if _first(site, len(site.inputs[0])) else 1
    kind = f"nn.BatchNorm{rank}d" if layer.unbiased else f"BiasedBatchNorm{rank}d"
    moved = f"1 - {number(layer.keep)}"
    return f"{kind}({site.channels}, eps={number(layer.epsilon)}, momentum={moved}, dtype=dtype)"


_DEFINE: dict[str, Define] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "batch_norm": _batch_norm,
    "dense": lambda s: f"nn.Linear({s.channels}, {s.layer.units}{_bias(s)}, dtype=dtype)",
    "layer_norm": lambda s: (
        f"nn.LayerNorm({s.channels}, eps={number(s.layer.epsilon)}, dtype=dtype)"
    ),
    "embedding": lambda s: f"nn.Embedding({s.layer.size}, {s.layer.features}, dtype=dtype)",
    "dropout": lambda s: f"nn.Dropout(p={number(s.layer.rate)})",
    **dict.fromkeys(("elman", "lstm", "gru"), recurrent_source.define),
}
_DEFINE_COMMENTS = {"batch_norm": "momentum is the share of the new statistics, not of the kept"}


# --- forward -------------------------------------------------------------------------------------


def _apply_conv(site: Site, args: Sequence[str]) -> Step:
    pad = site.layer.pixels(site.inputs[0])
    if sourcing.is_even(pad):
        return Step(f"{site.callee}({args[0]})")
    return Step(f"{site.callee}(F.pad({args[0]}, {_edges(pad)}))", _PAD_COMMENT)


def _apply_conv_transpose(site: Site, args: Sequence[str]) -> Step:
    rest = _native_crop(site.layer.crop())[2]
    call = f"{site.callee}({args[0]})"
    if rest == ((0, 0), (0, 0)):
        return Step(call)
    rows, columns = sourcing.cut(rest)
    return Step(
        f"{call}[:, :, {rows}, {columns}]",
        "PyTorch crops both edges alike; the slice crops the rest",
    )


def _max_pool(site: Site, args: Sequence[str]) -> Step:
    layer, x, note = site.layer, args[0], ""
    pad = layer.pixels(site.inputs[0])
    padding = sourcing.first_pixels(pad)
    if not _pools_natively(layer, pad):
        x, note = f'F.pad({x}, {_edges(pad)}, value=float("-inf"))', _PAD_COMMENT
        padding = (0, 0)
    return Step(f"F.max_pool2d({x}, {layer.size}, stride={layer.stride}, padding={padding})", note)


def _pools_natively(layer: Any, pad: Amounts) -> bool:
    """PyTorch's pools take equal amounts of at most half a window."""
    first = sourcing.first_pixels(pad)
    small = all(2 * first[axis] <= layer.size[axis] for axis in (0, 1))
    return sourcing.is_even(pad) and small


def _average_pool(site: Site, args: Sequence[str]) -> Step:
    layer, x = site.layer, args[0]
    pad = layer.pixels(site.inputs[0])
    if _pools_natively(layer, pad):
        more = "" if pad == ((0, 0), (0, 0)) else f", count_include_pad={layer.count_padding}"
        padding = sourcing.first_pixels(pad)
        return Step(
            f"F.avg_pool2d({x}, {layer.size}, stride={layer.stride}, padding={padding}{more})"
        )
    if layer.count_padding:
        x = f"F.pad({x}, {_edges(pad)})"
        return Step(f"F.avg_pool2d({x}, {layer.size}, stride={layer.stride})", _PAD_COMMENT)
    sizes = f"{layer.size}, stride={layer.stride}, padding={_edges(pad)}"
    return Step(f"average_pool({x}, {sizes})", _PAD_COMMENT)


def _on_last_axis(site: Site, args: Sequence[str]) -> Step:
    if not _first(site, len(site.inputs[0])):
        return Step(f"{site.callee}({args[0]})")
    return Step(f"{site.callee}({args[0]}.{_LAST}).{_FIRST}", "this layer works on the last axis")


def _apply_batch_norm(site: Site, args: Sequence[str]) -> Step:
    x, rank = args[0], len(site.inputs[0])
    if rank == 1 or _first(site, rank):
        return Step(f"{site.callee}({x})")
    return Step(f"{site.callee}({x}.flatten(0, -2)).reshape({x}.shape)")


def _embedding(site: Site, args: Sequence[str]) -> Step:
    after = f".{_FIRST}" if _first(site, len(site.output)) else ""
    return Step(f"{site.callee}({args[0]}){after}")


def _flatten(site: Site, args: Sequence[str]) -> Step:
    if not _first(site, len(site.inputs[0])):
        return Step(f"{args[0]}.flatten(1)")
    return Step(f"{args[0]}.{_LAST}.flatten(1)", "in the order height, width, channels")


def _reshape(site: Site, args: Sequence[str]) -> Step:
    size = site.layer.size
    before = f".{_LAST}" if _first(site, len(site.inputs[0])) else ""
    after = f".{_FIRST}" if _first(site, len(size)) else ""
    note = "in the order height, width, channels" if before or after else ""
    return Step(f"{args[0]}{before}.reshape{(-1, *size)}{after}", note)


def _permute(site: Site, args: Sequence[str]) -> Step:
    axes = sourcing.batched(site.layer.axes)
    planar = _first(site, len(axes) - 1)
    native = (0, 3, 1, 2) if planar else tuple(range(len(axes)))
    turn = tuple(native.index(axes[axis]) for axis in native)
    note = f"height, width, channels in the order {site.layer.axes}" if planar else ""
    return Step(f"{args[0]}.permute{turn}", note)


def _pad(site: Site, args: Sequence[str]) -> Step:
    amounts = _edges(site.layer.amounts)
    if site.planar:
        return Step(f"F.pad({args[0]}, {amounts})", _PAD_COMMENT)
    return Step(f"F.pad({args[0]}, {(0, 0, *amounts)})", "F.pad counts from the last axis")


def _axis(site: Site) -> int:
    return 1 if _first(site, len(site.output)) else -1


def _gelu(site: Site, args: Sequence[str]) -> Step:
    form = "tanh" if site.layer.approximate else "none"
    return Step(f'F.gelu({args[0]}, approximate="{form}")')


_APPLY: dict[str, Apply] = {
    "rescale": sourcing.rescale,
    "conv": _apply_conv,
    "conv_transpose": _apply_conv_transpose,
    "dense": _on_last_axis,
    "flatten": _flatten,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "batch_norm": _apply_batch_norm,
    "layer_norm": _on_last_axis,
    "dropout": lambda s, a: Step(f"{s.callee}({a[0]})", "the mask is PyTorch's own draw"),
    "embedding": _embedding,
    "add": lambda s, a: Step(" + ".join(a)),
    "multiply": lambda s, a: Step(" * ".join(a)),
    "reshape": _reshape,
    "permute": _permute,
    "pad": _pad,
    "concatenate": lambda s, a: Step(f"torch.cat(({', '.join(a)}), dim={_axis(s)})"),
    "dueling": lambda s, a: Step(f"{a[0]} + {a[1]} - {a[1]}.mean(dim=-1, keepdim=True)"),
    **dict.fromkeys(("elman", "lstm", "gru"), recurrent_source.apply),
    "relu": named("F.relu({x})"),
    "relu6": named("F.relu6({x})"),
    "leaky_relu": named("F.leaky_relu({x}, negative_slope={layer.slope})"),
    "elu": named("F.elu({x}, alpha={layer.alpha})"),
    "selu": named("F.selu({x})"),
    "gelu": _gelu,
    "silu": named("F.silu({x})"),
    "sigmoid": named("torch.sigmoid({x})"),
    "hard_sigmoid": named("hard_sigmoid({x}, slope={layer.slope})"),
    "tanh": named("torch.tanh({x})"),
    "softplus": named("softplus({x})"),
    "softmax": lambda s, a: Step(f"F.softmax({a[0]}, dim={_axis(s)})"),
    "log_softmax": lambda s, a: Step(f"F.log_softmax({a[0]}, dim={_axis(s)})"),
}


# --- the whole -----------------------------------------------------------------------------------


def write(network: Network, title: str) -> str:
    """Return the network as the source text of an ``nn.Module``.

    The class takes ``dtype``; its ``forward`` takes (batch, ...) channels last, uint8 or real, and
    gives the output channels last. Attributes bear the nodes' names.

    The text holds no params: PyTorch draws its own until others are loaded.

    Args:
        network: the layers.
        title: becomes the name of the class: ``space-invaders`` -> ``SpaceInvaders``.

    Raises:
        Unsupported: a node has a name that ``nn.Module`` uses itself.
    """
    sourcing.check(network, "torch", _APPLY, lambda n: hasattr(nn.Module(), n) or n == "dtype")
    places = sourcing.sites(network, "self.{}".format)
    names = sourcing.variables(network, {"self", "torch", "nn", "F", "Tensor", "float", *_HELPERS})
    body = sourcing.forward(network, places, _APPLY, names)
    definition = [
        f"class {sourcing.class_name(title)}(nn.Module):",
        f'    """{sourcing.summary(network)}"""',
        "",
        "    def __init__(self, dtype: torch.dtype = torch.float32) -> None:",
        *sourcing.indented([*_start(network), *_constructions(network, places)], 8),
        "",
        "    def forward(self, x: Tensor) -> Tensor:",
        *sourcing.indented([*_entry(network), *body, _exit(network, names)], 8),
    ]
    return sourcing.assemble(_IMPORTS, _HELPERS, definition)


def _start(network: Network) -> list[str]:
    modes = sourcing.has(network, "batch_norm", "dropout")
    trap = "starts in training mode: call eval() to run the network"
    return sourcing.comment("super().__init__()", trap if modes else "")


def _constructions(network: Network, places: Sequence[Site]) -> list[str]:
    keep = [] if sourcing.first_with_params(network) else ["self.dtype = dtype"]
    return keep + sourcing.constructions(places, _DEFINE, _DEFINE_COMMENTS)


def _entry(network: Network) -> list[str]:
    """The line that casts the input and puts its channels first."""
    owner = sourcing.first_with_params(network)
    if sourcing.is_index(network):
        return ["x = x.long()"]
    over_time = owner is not None and isinstance(network.by_name[owner].layer, Recurrent)
    weight = "weight_ih_l0" if over_time else "weight"
    line = f"x = x.to({f'self.{owner}.{weight}' if owner else 'self'}.dtype)"
    if not sourcing.is_planar(network) or len(network.shapes[network.input.name]) != 3:
        return [line]
    return sourcing.comment(f"{line}.{_FIRST}", "PyTorch wants channels first")


def _exit(network: Network, names: Mapping[str, str]) -> str:
    last, rank = network.output.name, len(network.shapes[network.output.name])
    planar = sourcing.is_planar(network) and rank == 3
    return f"return {names[last]}.{_LAST}" if planar else f"return {names[last]}"
