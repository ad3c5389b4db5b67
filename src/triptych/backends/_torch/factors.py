"""Reading every constant back from the live PyTorch objects, in the words of the spec.

Nothing here looks at the spec's values: what is reported is what the modules and the optimizer
will really use.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from triptych.backends._torch import layers, recurrent
from triptych.backends._torch.rules import Pinned
from triptych.backends.reading import Reader, plain, unknown

if TYPE_CHECKING:
    from triptych.backends._torch.learner import TorchLearner


def read(learner: TorchLearner) -> dict[str, Any]:
    """Return {"conv1.stride": (1, 1), ..., "optimizer.epsilon": 1e-8, ...}."""
    found: dict[str, Any] = {}
    for name, owner, inputs in learner.model.wiring:
        module = learner.model.get_submodule(owner)
        own: dict[str, Any] = {"inputs": list(inputs)}
        own |= _LAYERS.get(type(module), unknown)(module)
        own |= {"shares": owner} if owner != name else {}
        found |= {f"{name}.{factor}": value for factor, value in own.items()}
    if learner.optimizer is not None:
        found |= {f"optimizer.{key}": item for key, item in _optimizer(learner.optimizer).items()}
        found["optimizer.clip"] = asdict(learner.rule.clip) if learner.rule else None
    return found


def _conv(module: layers.Conv2d) -> dict[str, Any]:
    even = tuple((int(pixels), int(pixels)) for pixels in module.padding)
    return {
        "kind": "conv",
        "filters": module.out_channels,
        "kernel": tuple(module.kernel_size),
        "stride": tuple(module.stride),
        "padding": module.uneven or even,
        "dilation": tuple(module.dilation),
        "groups": module.groups,
        "bias": module.bias is not None,
    }


def _conv_transpose(module: layers.ConvTranspose2d) -> dict[str, Any]:
    return {
        "kind": "conv_transpose",
        "filters": module.out_channels,
        "kernel": tuple(module.kernel_size),
        "stride": tuple(module.stride),
        "padding": module.crop,
        "dilation": tuple(module.dilation),
        "bias": module.bias is not None,
    }


_LAYERS: dict[type[nn.Module], Reader] = {
    layers.Conv2d: _conv,
    layers.ConvTranspose2d: _conv_transpose,
    layers.MaxPool2d: plain("max_pool", size="kernel_size", stride="stride", padding="padding"),
    layers.AvgPool2d: plain(
        "average_pool",
        size="kernel_size",
        stride="stride",
        padding="padding",
        count_padding="count_include_pad",
    ),
    nn.Linear: lambda m: {"kind": "dense", "units": m.out_features, "bias": m.bias is not None},
    nn.Flatten: lambda m: {"kind": "flatten", "order": "height, width, channels"},
    layers.BatchNorm: plain("batch_norm", epsilon="eps", keep="keep", unbiased="unbiased"),
    nn.LayerNorm: plain("layer_norm", epsilon="eps"),
    layers.Dropout: plain("dropout", rate="p"),
    nn.Embedding: plain("embedding", size="num_embeddings", features="embedding_dim"),
    layers.Rescale: plain("rescale", scale="scale", offset="offset"),
    layers.Add: plain("add"),
    layers.Multiply: plain("multiply"),
    layers.Reshape: plain("reshape", size="size"),
    layers.Permute: lambda m: {"kind": "permute", "axes": tuple(axis - 1 for axis in m.dims[1:])},
    layers.ZeroPad2d: plain("pad", amounts="padding"),
    layers.Concatenate: plain("concatenate"),
    layers.Dueling: plain("dueling"),
    nn.ReLU: plain("relu"),
    nn.ReLU6: plain("relu6"),
    nn.LeakyReLU: plain("leaky_relu", slope="negative_slope"),
    nn.ELU: plain("elu", alpha="alpha"),
    nn.SELU: plain("selu"),
    nn.GELU: lambda m: {"kind": "gelu", "approximate": m.approximate == "tanh"},
    nn.SiLU: plain("silu"),
    nn.Sigmoid: plain("sigmoid"),
    layers.HardSigmoid: plain("hard_sigmoid", slope="slope"),
    nn.Tanh: plain("tanh"),
    layers.Softplus: plain("softplus"),
    nn.Softmax: plain("softmax"),
    nn.LogSoftmax: plain("log_softmax"),
    **recurrent.READERS,
}


def _optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    group = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    if isinstance(optimizer, Pinned):
        return {key: value for key, value in group.items() if key != "lr"}
    if isinstance(optimizer, torch.optim.SGD):
        names = {"momentum": "momentum", "nesterov": "nesterov", "l2": "weight_decay"}
        return {"rule": "sgd"} | {name: group[key] for name, key in names.items()}
    decoupled = isinstance(optimizer, torch.optim.AdamW)
    return {
        "rule": "adamw" if decoupled else "adam",
        "beta1": group["betas"][0],
        "beta2": group["betas"][1],
        "epsilon": group["eps"],
        "epsilon_inside_root": False,
        "epsilon_before_correction": False,
        "l2": 0.0 if decoupled else group["weight_decay"],
    } | ({"weight_decay": group["weight_decay"]} if decoupled else {})
