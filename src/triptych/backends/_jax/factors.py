"""Reading every constant back from the live Flax modules and Optax transformations.

Optax keeps its constants in the closures of its functions; they are read from there. Nothing here
looks at the spec's values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import optax
from flax import nnx

from triptych.backends._jax import layers, recurrent
from triptych.backends.reading import Reader, plain, unknown

if TYPE_CHECKING:
    from triptych.backends._jax.learner import JaxLearner


def read(learner: JaxLearner) -> dict[str, Any]:
    """Return {"conv1.stride": (1, 1), ..., "optimizer.epsilon": 1e-8, ...}."""
    found: dict[str, Any] = {}
    model = learner.model
    for name, owner, inputs in model.wiring:
        module = getattr(model, owner)
        own: dict[str, Any] = {"inputs": list(inputs)}
        own |= _LAYERS.get(type(module), unknown)(module)
        own |= {"shares": owner} if owner != name else {}
        found |= {f"{name}.{factor}": value for factor, value in own.items()}
    if learner.optimizer is not None:
        found |= {f"optimizer.{k}": item for k, item in _optimizer(learner.optimizer).items()}
    return found


def _conv(module: nnx.Conv) -> dict[str, Any]:
    return {
        "kind": "conv",
        "filters": module.out_features,
        "kernel": tuple(module.kernel_size),
        "stride": tuple(module.strides),
        "padding": tuple(map(tuple, module.padding)),
        "dilation": tuple(module.kernel_dilation),
        "groups": module.feature_group_count,
        "bias": module.bias is not None,
    }


def _conv_transpose(module: layers.ConvTranspose) -> dict[str, Any]:
    return {
        "kind": "conv_transpose",
        "filters": module.out_features,
        "kernel": tuple(module.kernel_size),
        "stride": tuple(module.strides),
        "padding": module.crop,
        "dilation": tuple(module.kernel_dilation),
        "bias": module.bias is not None,
    }


_LAYERS: dict[type, Reader] = {
    nnx.Conv: _conv,
    layers.ConvTranspose: _conv_transpose,
    layers.MaxPool: plain("max_pool", size="window", stride="strides", padding="padding"),
    layers.AvgPool: plain(
        "average_pool",
        size="window",
        stride="strides",
        padding="padding",
        count_padding="count_include_pad",
    ),
    nnx.Linear: lambda m: {"kind": "dense", "units": m.out_features, "bias": m.bias is not None},
    layers.Flatten: lambda m: {"kind": "flatten", "order": "height, width, channels"},
    layers.BatchNorm: plain("batch_norm", epsilon="epsilon", keep="momentum", unbiased="unbiased"),
    nnx.LayerNorm: plain("layer_norm", epsilon="epsilon"),
    layers.Dropout: plain("dropout", rate="rate"),
    nnx.Embed: plain("embedding", size="num_embeddings", features="features"),
    layers.Rescale: plain("rescale", scale="scale", offset="offset"),
    layers.Add: plain("add"),
    layers.Multiply: plain("multiply"),
    layers.Reshape: plain("reshape", size="size"),
    layers.Permute: lambda m: {"kind": "permute", "axes": tuple(axis - 1 for axis in m.axes[1:])},
    layers.Pad: plain("pad", amounts="padding"),
    layers.Concatenate: plain("concatenate"),
    layers.Dueling: plain("dueling"),
    layers.Function: lambda m: {"kind": m.kind} | dict(m.constants),
    **recurrent.READERS,
}


def closures(init: Any, update: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, constants) of every transformation in a chain, in order."""
    start = dict(inspect.getclosurevars(init).nonlocals)
    constants = dict(inspect.getclosurevars(update).nonlocals)
    if "update_fns" in constants:
        for inner in zip(start["init_fns"], constants["update_fns"], strict=True):
            yield from closures(*inner)
    elif hasattr(constants.get("tx"), "update"):
        yield from closures(constants["tx"].init, constants["tx"].update)
    else:
        yield update.__qualname__.split(".")[0], start | constants


def _optimizer(chain: optax.GradientTransformation) -> dict[str, Any]:
    """The rule that a chain computes, in the words of the spec."""
    parts = list(closures(chain.init, chain.update))
    found: dict[str, Any] = {"rule": "sgd", "momentum": 0.0, "nesterov": False, "l2": 0.0}
    clip: dict[str, Any] = {"global_norm": None, "norm": None, "value": None}
    scaled = False
    for name, constants in parts:
        if name in _SCALES:
            found = {"l2": found["l2"]} | _SCALES[name](constants)
            scaled = True
        elif name == "trace":
            found["momentum"] = constants["decay"]
            if not scaled:
                found["nesterov"] = constants["nesterov"]
        elif name in _CLIPS:
            limit, constant = _CLIPS[name]
            clip[limit] = constants[constant]
        elif name == "add_decayed_weights":
            decay = constants["weight_decay"]
            found |= {"rule": "adamw", "weight_decay": decay} if scaled else {"l2": decay}
    return found | {"clip": clip}


# transformation: (the spec's limit, the constant that holds it)
_CLIPS = {
    "clip_by_global_norm": ("global_norm", "max_norm"),
    "clip_by_parameter_norm": ("norm", "max_parameter_norm"),
    "clip": ("value", "max_delta"),
}


def _adam(constants: dict[str, Any]) -> dict[str, Any]:
    hat = constants.get("eps_hat")
    inside = constants.get("eps_root", 0.0)
    return {
        "rule": "adam",
        "beta1": constants["b1"],
        "beta2": constants["b2"],
        "epsilon": hat if hat is not None else inside or constants["eps"],
        "epsilon_inside_root": bool(inside),
        "epsilon_before_correction": hat is not None,
    }


def _rmsprop(centered: bool) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda constants: {
        "rule": "rmsprop",
        "decay": constants["decay"],
        "epsilon": constants["eps"],
        "epsilon_inside_root": constants["eps_in_sqrt"],
        "momentum": 0.0,
        "centered": centered,
    }


_SCALES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "scale_by_adam": _adam,
    "scale_by_adam_hat": _adam,
    "scale_by_rms": _rmsprop(centered=False),
    "scale_by_stddev": _rmsprop(centered=True),
    "scale_by_rss": lambda c: {
        "rule": "adagrad",
        "epsilon": c["eps"],
        "epsilon_inside_root": True,
        "initial": c["initial_accumulator_value"],
    },
    "scale_by_rss_outside": lambda c: {
        "rule": "adagrad",
        "epsilon": c["eps_outside"],
        "epsilon_inside_root": False,
        "initial": c["initial"],
    },
}
