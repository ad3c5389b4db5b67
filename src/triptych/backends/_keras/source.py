"""The native definition of a network as text: a function that builds a functional ``keras.Model``.

Layers are made first and wired afterwards, so that the text lines up with the classes that the
other frameworks want. What the text is made of is here; how lines are ordered and broken is in
``sourcing.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from triptych.backends import sourcing
from triptych.backends._keras import recurrent_source
from triptych.backends.sourcing import Apply, Define, Site, Step, named, number
from triptych.spec.layers.convolution import Amounts, extent
from triptych.spec.network import Network

_IMPORTS = (
    (r"\bmath\.", "import math\n"),
    ("", "import keras"),
    (r"(?s)(?=.*\bops\.)(?=.*\blayers\.)", "from keras import layers, ops"),
    (r"(?s)\A(?!.*\bops\.).*\blayers\.", "from keras import layers"),
    (r"(?s)\A(?!.*\blayers\.).*\bops\.", "from keras import ops"),
)

_HELPERS = {
    "DilatedConv2DTranspose": '''
class DilatedConv2DTranspose(layers.Conv2DTranspose):
    """Conv2DTranspose with holes in the kernel, which TensorFlow cannot do on a CPU."""

    def __init__(self, *args, holes: tuple, **options) -> None:
        super().__init__(*args, **options)
        self.holes = holes
        self.spans = [hole * (size - 1) + 1 for hole, size in zip(holes, self.kernel_size)]

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        spread = [
            ops.eye(span, dtype=self.compute_dtype)[::hole]
            for span, hole in zip(self.spans, self.holes)
        ]
        kernel = ops.einsum("ha,wb,hwoi->aboi", *spread, self.kernel)
        y = ops.conv_transpose(x, kernel, self.strides, self.padding)
        return y if self.bias is None else y + self.bias

    def compute_output_shape(self, shape: tuple) -> tuple:
        steps = zip(shape[1:3], self.strides, self.spans)
        return (shape[0], *((n - 1) * s + max(span, s) for n, s, span in steps), self.filters)

    def get_config(self) -> dict:
        return {**super().get_config(), "holes": self.holes}
''',
    "UnbiasedBatchNormalization": '''
class UnbiasedBatchNormalization(layers.BatchNormalization):
    """BatchNormalization with the unbiased running variance of PyTorch; Keras' own is biased."""

    def call(self, x: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        kept = self.momentum * self.moving_variance
        y = super().call(x, training=training)
        if training and self.trainable:
            count = ops.cast(ops.size(x) // x.shape[-1], self.moving_variance.dtype)
            moved = (self.moving_variance - kept) * (count / (count - 1))
            self.moving_variance.assign(kept + moved)
        return y
''',
    "average_pool": '''
def average_pool(
    x: keras.KerasTensor, size: tuple, strides: tuple, pad: tuple
) -> keras.KerasTensor:
    """The mean over the pixels of the image under a window, which Keras gives for "same" only."""
    share = ops.average_pool(ops.pad(ops.ones_like(x), pad), size, strides, "valid")
    return ops.average_pool(ops.pad(x, pad), size, strides, "valid") / share
''',
    "leaky_relu": '''
def leaky_relu(x: keras.KerasTensor, slope: float) -> keras.KerasTensor:
    """x where x > 0, else slope * x; TensorFlow's own keeps the slope in float32."""
    return ops.where(x > 0, x, slope * x)
''',
    "gelu": '''
def gelu(x: keras.KerasTensor) -> keras.KerasTensor:
    """x * Phi(x); TensorFlow's own keeps its constants in float32."""
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))
''',
    "gelu_tanh": '''
def gelu_tanh(x: keras.KerasTensor) -> keras.KerasTensor:
    """x * Phi(x) by tanh; TensorFlow's own keeps its constants in float32."""
    return 0.5 * x * (1.0 + ops.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
''',
    "hard_sigmoid": '''
def hard_sigmoid(x: keras.KerasTensor, slope: float) -> keras.KerasTensor:
    """min(max(slope * x + 1/2, 0), 1); Keras' own knows the slope 1/6 only."""
    y = x * slope + 0.5
    return ops.where(y > 0, ops.where(y < 1, y, ops.ones_like(y)), ops.zeros_like(y))
''',
    **recurrent_source.HELPERS,
}
_NONE: Amounts = ((0, 0), (0, 0))


def _named(site: Site) -> str:
    return f'dtype=dtype, name="{site.node.name}"'


def _bias(site: Site) -> str:
    return "" if site.layer.bias else ", use_bias=False"


def _pad(x: str, pad: Amounts, more: str = "") -> str:
    return x if pad == _NONE else f"ops.pad({x}, {((0, 0), *pad, (0, 0))}{more})"


# --- construction --------------------------------------------------------------------------------


def _skips(site: Site) -> bool:
    """Whether a convolution has a stride and a dilation, which Keras refuses together."""
    return max(site.layer.stride) > 1 and max(site.layer.dilation) > 1


def _conv(site: Site) -> str:
    layer = site.layer
    native = isinstance(layer.padding, str) and not _skips(site)
    padding = layer.padding if native else "valid"
    more = "" if layer.dilation == (1, 1) else f", dilation_rate={layer.dilation}"
    more += "" if layer.groups == 1 else f", groups={layer.groups}"
    return (
        f"layers.Conv2D({layer.filters}, {layer.kernel}, "
        f'strides={(1, 1) if _skips(site) else layer.stride}, padding="{padding}"{more}'
        f"{_bias(site)}, {_named(site)})"
    )


def _conv_transpose(site: Site) -> str:
    layer = site.layer
    kind, more, padding = "layers.Conv2DTranspose", "", _transpose_padding(site)
    if layer.dilation != (1, 1):
        kind, more = "DilatedConv2DTranspose", f", holes={layer.dilation}"
    return (
        f'{kind}({layer.filters}, {layer.kernel}, strides={layer.stride}, padding="{padding}"'
        f"{more}{_bias(site)}, {_named(site)})"
    )


def _transpose_padding(site: Site) -> str:
    same = site.layer.padding == "same" and site.layer.dilation == (1, 1)
    return "same" if same else "valid"


def _batch_norm(site: Site) -> str:
    layer = site.layer
    kind = "UnbiasedBatchNormalization" if layer.unbiased else "layers.BatchNormalization"
    numbers = f"momentum={number(layer.keep)}, epsilon={number(layer.epsilon)}"
    return f"{kind}(axis=-1, {numbers}, {_named(site)})"


def _layer_norm(site: Site) -> str:
    epsilon = number(site.layer.epsilon)
    return f"layers.LayerNormalization(axis=-1, epsilon={epsilon}, {_named(site)})"


_DEFINE: dict[str, Define] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "batch_norm": _batch_norm,
    "dense": lambda s: f"layers.Dense({s.layer.units}{_bias(s)}, {_named(s)})",
    "layer_norm": _layer_norm,
    "embedding": lambda s: f"layers.Embedding({s.layer.size}, {s.layer.features}, {_named(s)})",
    "dropout": lambda s: f"layers.Dropout({number(s.layer.rate)}, {_named(s)})",
    **dict.fromkeys(("elman", "lstm", "gru"), recurrent_source.define),
}
_DEFINE_COMMENTS = {
    "batch_norm": "momentum is the share of the kept statistics",
    "conv_transpose": "the kernel is (height, width, out, in)",
}


# --- wiring --------------------------------------------------------------------------------------


def _apply_conv(site: Site, args: Sequence[str]) -> Step:
    layer, explicit = site.layer, not isinstance(site.layer.padding, str)
    pad = layer.pixels(site.inputs[0]) if explicit or _skips(site) else _NONE
    call = f"{site.callee}({_pad(args[0], pad)})"
    if not _skips(site):
        return Step(call)
    rows, columns = (f"::{step}" if step > 1 else ":" for step in layer.stride)
    return Step(f"{call}[:, {rows}, {columns}]", "Keras refuses a stride with a dilation")


def _apply_conv_transpose(site: Site, args: Sequence[str]) -> Step:
    layer, call = site.layer, f"{site.callee}({args[0]})"
    if _transpose_padding(site) == "same":
        return Step(call)
    # Keras gives (in - 1) * stride + max(extent, stride) pixels; the spec crops from the extent.
    span = extent(layer.kernel, layer.dilation)
    top, left = (
        (before, after + max(layer.stride[axis] - span[axis], 0))
        for axis, (before, after) in enumerate(layer.crop())
    )
    if (top, left) == _NONE:
        return Step(call)
    rows, columns = sourcing.cut((top, left))
    return Step(f"{call}[:, {rows}, {columns}]")


def _max_pool(site: Site, args: Sequence[str]) -> Step:
    layer, x, padding = site.layer, args[0], site.layer.padding
    if not isinstance(padding, str):
        x = _pad(x, layer.pixels(site.inputs[0]), ', constant_values=float("-inf")')
        padding = "valid"
    sizes = f'{layer.size}, strides={layer.stride}, padding="{padding}"'
    return Step(f"ops.max_pool({x}, {sizes})")


def _average_pool(site: Site, args: Sequence[str]) -> Step:
    layer, x, padding = site.layer, args[0], site.layer.padding
    pad = layer.pixels(site.inputs[0])
    sizes = f"{layer.size}, strides={layer.stride}"
    if pad != _NONE and layer.count_padding:
        x, padding = _pad(x, pad), "valid"
    elif not isinstance(padding, str) and pad != _NONE:
        return Step(f"average_pool({x}, {sizes}, pad={((0, 0), *pad, (0, 0))})")
    padding = padding if isinstance(padding, str) else "valid"
    return Step(f'ops.average_pool({x}, {sizes}, padding="{padding}")')


def _made(construction: str) -> Apply:
    """An Apply for a layer without params, made where it is used."""

    def apply(site: Site, args: Sequence[str]) -> Step:
        made = named(construction)(site, args).expression
        x = args[0] if len(args) == 1 else f"[{', '.join(args)}]"
        return Step(f"layers.{made}, {_named(site)})({x})")

    return apply


def _gelu(site: Site, args: Sequence[str]) -> Step:
    return Step(f"{'gelu_tanh' if site.layer.approximate else 'gelu'}({args[0]})")


def _dueling(site: Site, args: Sequence[str]) -> Step:
    value, advantage = args
    return Step(f"{value} + {advantage} - ops.mean({advantage}, axis=-1, keepdims=True)")


def _permute(site: Site, args: Sequence[str]) -> Step:
    dims = sourcing.batched(site.layer.axes)[1:]
    made = _made(f"Permute({dims}")(site, args).expression
    return Step(made, "Keras counts axes from 1, the batch left out")


def _zero_padding(site: Site, args: Sequence[str]) -> Step:
    return _made(f"ZeroPadding2D({site.layer.amounts}")(site, args)


def _batch_norm_call(site: Site, args: Sequence[str]) -> Step:
    note = "in training Keras may move its statistics in another order" if site.node.shares else ""
    return Step(f"{site.callee}({args[0]})", note)


_APPLY: dict[str, Apply] = {
    "rescale": sourcing.rescale,
    "conv": _apply_conv,
    "conv_transpose": _apply_conv_transpose,
    "dense": named("{layer}({x})"),
    "flatten": _made('Flatten("channels_last"'),
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "batch_norm": _batch_norm_call,
    "layer_norm": named("{layer}({x})"),
    "dropout": lambda s, a: Step(f"{s.callee}({a[0]})", "the mask is Keras' own draw"),
    "embedding": named("{layer}({x})"),
    "add": lambda s, a: Step(" + ".join(a)),
    "multiply": lambda s, a: Step(" * ".join(a)),
    "reshape": lambda s, a: _made(f"Reshape({s.layer.size}")(s, a),
    "permute": _permute,
    "pad": _zero_padding,
    "concatenate": lambda s, a: Step(f"ops.concatenate(({', '.join(a)}), axis=-1)"),
    "dueling": _dueling,
    **dict.fromkeys(("elman", "lstm", "gru"), recurrent_source.apply),
    "relu": _made('Activation("relu"'),
    "relu6": _made('Activation("relu6"'),
    "leaky_relu": named("leaky_relu({x}, slope={layer.slope})"),
    "elu": _made("ELU(alpha={layer.alpha}"),
    "selu": _made('Activation("selu"'),
    "gelu": _gelu,
    "silu": _made('Activation("silu"'),
    "sigmoid": _made('Activation("sigmoid"'),
    "hard_sigmoid": named("hard_sigmoid({x}, slope={layer.slope})"),
    "tanh": _made('Activation("tanh"'),
    "softplus": _made('Activation("softplus"'),
    "softmax": _made("Softmax(axis=-1"),
    "log_softmax": _made('Activation("log_softmax"'),
}


# --- the whole -----------------------------------------------------------------------------------


def write(network: Network, title: str) -> str:
    """Return the network as the source text of a function that builds a ``keras.Model``.

    The function takes ``dtype``; the model takes (batch, ...) channels last, uint8 or real. Layers
    with params bear the nodes' names.

    The text holds no params: Keras draws its own until others are loaded.

    Args:
        network: the layers.
        title: becomes the name of the function: ``space-invaders`` -> ``space_invaders``.

    Raises:
        Unsupported: a layer of the network has no words here.
    """
    sourcing.check(network, "keras", _APPLY)
    reserved = {"inputs", "dtype", "keras", "layers", "ops", "float", *_HELPERS}
    names = sourcing.variables(network, reserved)
    own = _layer_variables(network, {*reserved, *names.values()})
    places = sourcing.sites(network, own.__getitem__)
    function = sourcing.function_name(title, reserved)
    lines = [
        *sourcing.constructions(places, _DEFINE, _DEFINE_COMMENTS),
        "",
        *_entry(network),
        *sourcing.forward(network, places, _APPLY, names),
        f'return keras.Model(inputs, {names[network.output.name]}, name="{function}")',
    ]
    definition = [
        f'def {function}(dtype: str = "float32") -> keras.Model:',
        f'    """{sourcing.summary(network)}',
        "",
        "    The layers come first, then their wiring.",
        '    """',
        "",
        *sourcing.indented(lines if lines[0] else lines[1:], 4),
    ]
    return sourcing.assemble(_IMPORTS, _HELPERS, definition)


def _layer_variables(network: Network, used: set[str]) -> Mapping[str, str]:
    """The variable of each node's layer: its name, with ``_layer`` where values have the names."""
    chain, found = sourcing.is_chain(network), {}
    for node in network.nodes[1:]:
        name = node.name if chain else f"{node.name}_layer"
        while name in used:
            name += "_"
        used.add(name)
        found[node.name] = name
    return found


def _entry(network: Network) -> list[str]:
    """The input, which casts what it is given."""
    shape = network.shapes[network.input.name]
    dtype = '"int32"' if sourcing.is_index(network) else "dtype"
    name = network.input.name
    trap = "channels last, Keras' default data_format" if sourcing.is_planar(network) else ""
    line = f'inputs = keras.Input({shape}, dtype={dtype}, name="{name}")'
    return [line, *sourcing.comment("x = inputs", trap)]
