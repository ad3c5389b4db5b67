"""Faults in what layers compute: layouts, windows, activations, normalisation, dropout, wiring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from triptych.parity.subject import Subject
from triptych.spec import layers as spec
from triptych.testing.faults.fault import Fault, exchange, followed_by, layer, rewire
from triptych.testing.faults.wraps import Arrays, Observing, Turn, Turned, renamed


def kernel(name: str, inwards: Turn, outwards: Turn) -> Arrays:
    """Return arrays of which one kernel is misread, in and out alike."""
    return Arrays({name: Turned(name, inwards, outwards)})


def flattened(shape: tuple[int, int, int], order: tuple[int, int, int], dense: str) -> Arrays:
    """Return arrays of a side that flattens (height, width, channels) in another order.

    Its dense kernel's rows belong to that order; inside they are put where they compute the same.
    """
    places = np.arange(np.prod(shape)).reshape(shape).transpose(order).ravel()
    back = np.argsort(places)
    turned = Turned(dense, lambda k: k[back], lambda k: k[places])
    return Arrays({dense: turned}, outputs={"flatten1": lambda y: y[:, places]})


def _flip(k: np.ndarray) -> np.ndarray:
    return k[::-1, ::-1]


def _swap_sides(k: np.ndarray) -> np.ndarray:
    return k.transpose(1, 0, 2, 3)


def _swap_channels(k: np.ndarray) -> np.ndarray:
    return k.transpose(0, 1, 3, 2)


def _misread(k: np.ndarray) -> np.ndarray:
    """(in, out) whose numbers were written in the order (out, in)."""
    return k.reshape(k.shape[::-1]).T


def _misread_back(k: np.ndarray) -> np.ndarray:
    return k.T.reshape(k.shape)


def loaded(name: str, change: Turn) -> Callable[[Any, Subject], None]:
    """Return a touch that changes one array as it is loaded, in both networks."""

    def touch(learner: Any, subject: Subject) -> None:
        params = learner.params()
        learner.load_params(params | {name: np.ascontiguousarray(change(params[name]))})
        if subject.target:
            learner.sync_target()

    return touch


def patched(node: str, function: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Subject], None]:
    """Return a touch that replaces a PyTorch module's forward: function(module, own, x, ...)."""

    def touch(learner: Any, subject: Subject) -> None:
        module = learner.model.get_submodule(node)
        own = module.forward
        module.forward = lambda *inputs: function(module, own, inputs)

    return touch


def attribute(node: str, name: str, value: Any) -> Callable[[Any, Subject], None]:
    """Return a touch that sets an attribute of a PyTorch module or Keras layer."""

    def touch(learner: Any, subject: Subject) -> None:
        model = learner.model
        get = model.get_submodule if hasattr(model, "get_submodule") else model.get_layer
        setattr(get(node), name, value)

    return touch


def _nearly_exact(module: Any, own: Any, inputs: Any) -> Any:
    """Softplus as PyTorch's own layer computes it: linear above 20."""
    (x,) = inputs
    return x.where(x > 20.0, own(x))


def _without_scale(module: Any, own: Any, inputs: Any) -> Any:
    """Dropout in training without its 1 / (1 - rate)."""
    y = own(*inputs)
    return y * (1.0 - module.p) if len(inputs) > 1 and inputs[1] is not None else y


def _always_running(module: Any, own: Any, inputs: Any) -> Any:
    """Batch normalisation by running statistics in training too, which own() still moves."""
    mean, variance = module.running_mean.clone(), module.running_var.clone()
    y = own(*inputs)
    return module._normalise(inputs[0], mean, variance) if module.training else y


def _always_batch(module: Any, own: Any, inputs: Any) -> Any:
    """Batch normalisation by the batch's statistics at inference too."""
    x = inputs[0]
    axes = tuple(range(x.dim() - 1))
    if module.training:
        return own(*inputs)
    return module._normalise(x, x.mean(dim=axes), x.var(dim=axes, correction=0))


def _unbiased(module: Any, own: Any, inputs: Any) -> Any:
    """The running variance as PyTorch's own layer keeps it."""
    before, x = module.running_var.clone(), inputs[0]
    y = own(x)
    if module.training:
        count = x.numel() // x.shape[-1]
        gain = (module.running_var - module.keep * before) * (count / (count - 1))
        module.running_var.copy_(module.keep * before + gain)
    return y


_SLOPE = float(np.float32(0.2))

LAYOUTS = (
    Fault(
        "flatten channels first", "flatten-order", 2, "target", "jax", "torch",
        arrays=flattened((5, 4, 4), (2, 0, 1), "dense1/kernel"),
    ),
    Fault(
        "flatten columns first", "flatten-order", 2, "target", "keras", "torch",
        arrays=flattened((5, 4, 4), (1, 0, 2), "dense1/kernel"),
    ),
    Fault(
        "flatten column-major", "flatten-order", 2, "target", "torch", "jax",
        arrays=flattened((5, 4, 4), (2, 1, 0), "dense1/kernel"),
    ),
    Fault(
        "kernel turned over", "conv-kernel-layout", 2, "sgd", "torch", "jax",
        arrays=kernel("conv1/kernel", _flip, _flip),
    ),
    Fault(
        "kernel's height and width exchanged", "conv-kernel-layout", 2, "square", "keras", "jax",
        arrays=kernel("conv1/kernel", _swap_sides, _swap_sides),
    ),
    Fault(
        "kernel's channels exchanged", "conv-kernel-layout", 2, "square", "jax", "torch",
        arrays=kernel("conv2/kernel", _swap_channels, _swap_channels),
    ),
    Fault(
        "transposed convolution's kernel not turned over", "transposed-conv-kernel", 2, "upwards",
        "jax", "torch", arrays=kernel("conv_transpose1/kernel", _flip, _flip),
    ),
    Fault(
        "dense kernel transposed", "dense-kernel-layout", 2, "square", "torch", "jax",
        arrays=kernel("dense2/kernel", np.transpose, np.transpose),
    ),
    Fault(
        "dense kernel's numbers misread", "dense-kernel-layout", 2, "sgd", "jax", "torch",
        arrays=kernel("dense1/kernel", _misread, _misread_back),
    ),
    Fault(
        "dense kernel loaded transposed", "dense-kernel-layout", 1, "square", "keras", "torch",
        touch=loaded("dense2/kernel", np.transpose),
    ),
    Fault(
        "weights loaded through half precision", "dtype", 1, "sgd", "torch", "jax",
        touch=loaded("dense1/kernel", lambda k: k.astype(np.float16)),
    ),
    Fault(
        "weights loaded through float32", "dtype", 1, "sgd", "keras", "jax",
        touch=loaded("conv1/kernel", lambda k: k.astype(np.float32)),
    ),
    Fault(
        "channels backwards", "input-axes", 2, "square", "torch", "jax",
        touch=lambda learner, subject: Observing(learner, lambda x: x[..., ::-1].copy()),
    ),
    Fault(
        "image's height and width exchanged", "input-axes", 2, "square", "jax", "torch",
        touch=lambda learner, subject: Observing(
            learner, lambda x: x.transpose(0, 2, 1, 3).copy()
        ),
    ),
)  # fmt: skip

WINDOWS = (
    Fault(
        "odd pixel of same padding before", "same-padding-side", 2, "sgd", "keras", "jax",
        subject=layer("conv1", padding=((2, 1), (1, 1))),
    ),
    Fault(
        "symmetric padding for same", "same-padding-side", 2, "square", "torch", "keras",
        subject=layer("conv1", padding=((1, 1), (1, 1))),
    ),
    Fault(
        "stride 2 for 3", "conv-stride", 2, "short", "torch", "jax",
        subject=layer("conv1", stride=(2, 2)),
    ),
    Fault(
        "dilation forgotten", "conv-dilation", 2, "square", "jax", "torch",
        subject=layer("conv2", dilation=(1, 1)),
    ),
    Fault(
        "pooling window 2 for 3", "pool-window", 2, "pools", "jax", "torch",
        subject=layer("max_pool1", size=(2, 2)),
    ),
    Fault(
        "pooling stride 2 for 3", "pool-stride", 2, "pools", "torch", "jax",
        subject=layer("average_pool1", stride=(2, 2)),
    ),
    Fault(
        "average for maximum", "layer-kind", 2, "pools", "keras", "torch",
        subject=exchange(
            "max_pool1", lambda own: spec.AveragePool(own.size, own.stride, own.padding)
        ),
    ),
    Fault(
        "average over padded pixels too", "average-pool-edges", 2, "edges", "torch", "jax",
        subject=layer("average_pool1", count_padding=True),
    ),
    Fault(
        "odd pixel of pooling before", "same-padding-side", 2, "edges", "jax", "torch",
        subject=layer("average_pool1", padding=((1, 0), (1, 1))),
    ),
    Fault(
        "transposed convolution cropped at the start", "same-padding-side", 2, "upwards",
        "keras", "jax", subject=layer("conv_transpose1", padding=((1, 0), (1, 0))),
    ),
    Fault(
        "no bias", "bias", 2, "target", "jax", "torch",
        subject=layer("dense2", bias=False),
        arrays=Arrays(lost=("dense2/bias",)),
    ),
)  # fmt: skip

BENDS = (
    Fault(
        "activation too many", "activation", 2, "sgd", "keras", "torch",
        subject=followed_by("dense2", spec.ReLU()), arrays=renamed("dense2", "kernel", "bias"),
    ),
    Fault(
        "relu for elu", "activation", 2, "target", "jax", "torch",
        subject=exchange("elu2", lambda own: spec.ReLU()),
    ),
    Fault(
        "slope 0.3 for 0.2", "leaky-relu-slope", 2, "sgd", "keras", "jax",
        subject=layer("leaky_relu1", slope=0.3),
    ),
    Fault(
        "slope 0.01 for 0.2", "leaky-relu-slope", 2, "adam", "torch", "jax",
        touch=attribute("leaky_relu1", "negative_slope", 0.01),
    ),
    Fault(
        "slope through float32", "constant-through-float32", 2, "sgd", "jax", "torch",
        subject=layer("leaky_relu1", slope=_SLOPE),
    ),
    Fault(
        "alpha 1.5 for 1", "elu-alpha", 2, "target", "jax", "torch",
        subject=layer("elu1", alpha=1.5),
    ),
    Fault(
        "gelu by tanh", "gelu-form", 2, "bends", "torch", "jax",
        subject=layer("gelu1", approximate=True),
    ),
    Fault(
        "hard sigmoid of Keras 2", "hard-sigmoid-slope", 2, "bends", "keras", "torch",
        subject=layer("hard_sigmoid1", slope=0.2),
    ),
    Fault(
        "softplus linear above 20", "softplus-threshold", 2, "bends", "torch", "jax",
        touch=patched("softplus1", _nearly_exact),
    ),
    Fault(
        "silu for tanh", "activation", 2, "square", "jax", "keras",
        subject=exchange("tanh1", lambda own: spec.SiLU()),
    ),
)  # fmt: skip

NORMS = (
    Fault(
        "epsilon 1e-5 in batch normalisation", "batch-norm-epsilon", 2, "sgd", "keras", "jax",
        touch=attribute("batch_norm1", "epsilon", 1e-5),
    ),
    Fault(
        "PyTorch's epsilon in batch normalisation", "batch-norm-epsilon", 2, "adam", "torch", "jax",
        subject=layer("batch_norm1", epsilon=1e-5),
    ),
    Fault(
        "keep 0.9 for 0.99", "batch-norm-momentum", 5, "sgd", "jax", "torch",
        subject=layer("batch_norm1", keep=0.9),
    ),
    Fault(
        "momentum taken for what is kept", "batch-norm-momentum", 5, "sgd", "torch", "keras",
        subject=layer("batch_norm1", keep=0.01),
    ),
    Fault(
        "keep through float32", "constant-through-float32", 5, "sgd", "keras", "torch",
        subject=layer("batch_norm1", keep=float(np.float32(0.99))),
    ),
    Fault(
        "unbiased running variance", "batch-norm-variance", 5, "adam", "torch", "jax",
        touch=patched("batch_norm1", _unbiased),
    ),
    Fault(
        "unbiased running variance in JAX", "batch-norm-variance", 5, "sgd", "jax", "keras",
        subject=layer("batch_norm1", unbiased=True),
    ),
    Fault(
        "running statistics in training", "batch-norm-mode", 2, "sgd", "torch", "jax",
        touch=patched("batch_norm1", _always_running),
    ),
    Fault(
        "batch statistics at inference", "batch-norm-mode", 2, "sgd", "torch", "keras",
        touch=patched("batch_norm1", _always_batch),
    ),
    Fault(
        "epsilon 1e-3 in layer normalisation", "layer-norm-epsilon", 2, "bends", "keras", "jax",
        subject=layer("layer_norm1", epsilon=1e-3),
    ),
    Fault(
        "dropout rate for the share kept", "dropout-rate", 2, "sgd", "jax", "torch",
        subject=layer("dropout1", rate=0.7),
    ),
    Fault(
        "dropout not rescaled", "dropout-scaling", 2, "adam", "torch", "jax",
        touch=patched("dropout1", _without_scale),
    ),
    Fault(
        "dropout rescaled at inference", "dropout-scaling", 2, "sgd", "keras", "jax",
        subject=followed_by("dropout1", spec.Rescale(0.7)),
    ),
)  # fmt: skip

INPUTS = (
    Fault(
        "division by 255 lost", "input-scaling", 2, "target", "keras", "torch",
        subject=layer("rescale1", scale=1.0),
    ),
    Fault(
        "scaled to -1 to 1", "input-scaling", 2, "target", "jax", "torch",
        subject=layer("rescale1", scale=1 / 127.5),
    ),
    Fault(
        "shifted by a half", "input-offset", 2, "sgd", "torch", "jax",
        subject=layer("rescale1", offset=-0.5),
    ),
    Fault(
        "concatenated backwards", "layer-wiring", 2, "branches", "torch", "jax",
        subject=rewire("joined", "third", "second"),
    ),
    Fault(
        "branch from the wrong node", "layer-wiring", 2, "branches", "jax", "keras",
        subject=rewire("third", "second"),
    ),
    Fault(
        "dueling by the largest advantage", "layer-kind", 2, "branches", "torch", "jax",
        touch=patched("q", lambda module, own, x: x[0] + x[1] - x[1].amax(dim=-1, keepdim=True)),
    ),
    Fault(
        "one layer in float32", "dtype", 2, "sgd", "torch", "jax",
        touch=patched("dense1", lambda module, own, x: own(*x).float().double()),
    ),
)  # fmt: skip

FAULTS = (*LAYOUTS, *WINDOWS, *BENDS, *NORMS, *INPUTS)
