"""What each framework does when nothing is said, probed from freshly made objects.

A backend's ``defaults.py`` makes the objects; here they are questioned by ``probing`` and the
answers put beside each other, each with its factor. Nothing is read from documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from triptych.backends import registry
from triptych.engines.processes import Job, Tell, run_all
from triptych.errors import BackendError, did_you_mean
from triptych.parity.probing import activations, initialisers, layers, losses, rules, windows
from triptych.parity.probing.rounding import near
from triptych.spec.layers import Parameter

COLUMNS = {"torch": "torch", "keras": "keras", "jax": "jax", "triptych": "numpy"}
"""Column: the backend that answers; ``triptych`` is the spec's own default."""
Answers = dict[str, Any]
Row = dict[str, Any]

_SLUGS: dict[str, str] = {
    "dense/kernel.initial": "initialiser",
    "dense/bias.initial": "bias-initialiser",
    "conv/kernel.initial": "initialiser",
    "conv/bias.initial": "bias-initialiser",
    "conv.padding": "conv-padding",
    "embedding/kernel.initial": "initialiser",
    "batch_norm.epsilon": "batch-norm-epsilon",
    "batch_norm.keep": "batch-norm-momentum",
    "batch_norm.unbiased": "batch-norm-variance",
    "batch_norm.statistics": "batch-norm-mode",
    "layer_norm.epsilon": "layer-norm-epsilon",
    "dropout.rate": "dropout-rate",
    "dropout.scaling": "dropout-scaling",
    "max_pool.stride": "pool-stride",
    "average_pool.count_padding": "average-pool-edges",
    "lstm/kernel.initial": "initialiser",
    "lstm/recurrent_kernel.initial": "initialiser",
    "lstm.biases": "recurrent-biases",
    "lstm/bias.initial": "bias-initialiser",
    "lstm/forget_bias.initial": "forget-bias",
    "gru/kernel.initial": "initialiser",
    "gru/recurrent_kernel.initial": "initialiser",
    "gru.biases": "recurrent-biases",
    "gru/bias.initial": "bias-initialiser",
    "leaky_relu layer": "leaky-relu-slope",
    "leaky_relu function": "leaky-relu-slope",
    "elu function": "elu-alpha",
    "gelu layer": "gelu-form",
    "gelu function": "gelu-form",
    "hard_sigmoid function": "hard-sigmoid-slope",
    "softplus function": "softplus-threshold",
    "clip by norm": "clip-kind",
    "decay of adam": "weight-decay",
}
_LOSS_SLUGS = {
    "factor": "loss-half",
    "reduction": "loss-reduction",
    "delta": "huber-delta",
    "from_logits": "from-logits",
    "clip": "loss-clipping",
}
_RULE_SLUGS = {
    "rate": "learning-rate",
    "beta1": "adam-betas",
    "beta2": "adam-betas",
    "epsilon": "epsilon",
    "epsilon_place": "epsilon-place",
    "decay": "rmsprop-decay",
    "centered": "centered-variance",
    "initial": "accumulator-start",
    "momentum": "momentum",
    "rate_in_buffer": "rate-in-buffer",
    "weight_decay": "weight-decay",
}
_LOSSES = ("squared", "half squared", "absolute", "huber", "cross_entropy", "binary_cross_entropy")
_RULES = {
    "adam": ("rate", "beta1", "beta2", "epsilon", "epsilon_place"),
    "rmsprop": ("rate", "decay", "epsilon", "epsilon_place", "centered", "momentum"),
    "adagrad": ("rate", "initial", "epsilon", "epsilon_place"),
}
"""Rule: which constants make a row."""


def table(frameworks: Sequence[str] | None = None, show: bool = False) -> list[Row]:
    """Return rows ``{"factor", "key", <column>: value, ...}``, None where there is no such thing.

    Args:
        frameworks: of torch, keras and jax; all that are installed unless given. The column
            ``triptych`` is always there.
        show: whether to draw progress bars.

    Raises:
        BackendError: a framework is unknown, or there is none; MissingDependency: not installed.
    """
    chosen = list(registry.installed() if frameworks is None else dict.fromkeys(frameworks))
    _check(chosen)
    columns = [name for name in COLUMNS if name in chosen or name == "triptych"]
    jobs = [Job(f"{name} defaults", answers_of, (COLUMNS[name],)) for name in columns]
    answers = dict(zip(columns, run_all(jobs, show), strict=True))
    keys = dict.fromkeys(key for found in answers.values() for key in found)
    rows = [
        {"factor": slug(key), "key": key} | {name: answers[name].get(key) for name in columns}
        for key in keys
    ]
    order = list(_questions())
    return sorted(rows, key=lambda row: order.index(_subject(row["key"])))


def _check(frameworks: Iterable[str]) -> None:
    frameworks = list(frameworks)
    for name in frameworks:
        if name not in registry.FRAMEWORKS:
            known = ", ".join(registry.FRAMEWORKS)
            hint = did_you_mean(name, registry.FRAMEWORKS)
            raise BackendError(f"unknown framework {name!r}{hint}; defaults are probed of {known}")
    registry.check_names(frameworks)


def slug(key: str) -> str:
    """Return the factor that a row's key belongs to, for ``triptych explain``."""
    if key in _SLUGS:
        return _SLUGS[key]
    subject, _, constant = key.rpartition(".")
    return (_LOSS_SLUGS if subject in _LOSSES else _RULE_SLUGS)[constant]


def _subject(key: str) -> str:
    """Return the subject that a row's key was asked of: the longest that the key begins with."""
    return max((name for name in _questions() if key.startswith(name)), key=len)


def answers_of(backend: str, tell: Tell) -> Answers:
    """Question everything that one backend makes; runs in a process of its own."""
    makers = registry.defaults(backend)
    found: Answers = {}
    for done, (subject, ask) in enumerate(_questions().items()):
        if subject in makers:
            found |= ask(makers[subject]())
        tell(done + 1, len(_questions()), "subject")
    return found


def _questions() -> dict[str, Callable[[Any], Answers]]:
    """Return what is asked of each subject, in the order of the table."""
    shapes = ("leaky_relu layer", "leaky_relu function", "elu function", "gelu layer",
              "gelu function", "hard_sigmoid function", "softplus function")  # fmt: skip
    return {
        "dense": lambda made: _drawn("dense", made.arrays),
        "conv": _conv,
        "embedding": lambda made: _drawn("embedding", made.arrays),
        "batch_norm": _batch_norm,
        "layer_norm": _layer_norm,
        "dropout": _dropout,
        "max_pool": _max_pool,
        "average_pool": _average_pool,
        "lstm": lambda made: _recurrent("lstm", made),
        "gru": lambda made: _recurrent("gru", made),
        **{name: partial(_activation, name) for name in shapes},
        **{name: partial(_loss, name) for name in _LOSSES},
        "sgd": lambda made: {"sgd.rate": _rate(made)},
        "momentum": _momentum,
        "adamw": _adamw,
        **{name: partial(_rule, name) for name in _RULES},
        "clip by norm": _clip,
        "decay of adam": _decay,
    }


def _fans(array: np.ndarray) -> Parameter:
    """Return an array's fans as its shape shows them; a bias has none (its layer's are unknown)."""
    *window, inputs, outputs = array.shape if array.ndim > 1 else (1, 1)
    field = math.prod(window)
    return Parameter(array.shape, field * inputs, field * outputs)


def _initial(sample: Any, fans: Parameter) -> str:
    return initialisers.identify(sample, fans).text


def _drawn(name: str, arrays: Mapping[str, np.ndarray]) -> Answers:
    """Name the distribution of a kernel, and of a bias by its kernel's fans."""
    fans = _fans(arrays["kernel"])
    kinds = [kind for kind in ("kernel", "bias") if kind in arrays]
    return {
        f"{name}/{kind}.initial": _initial(
            arrays[kind], Parameter(arrays[kind].shape, fans.fan_in, fans.fan_out)
        )
        for kind in kinds
    }


def _conv(made: Any) -> Answers:
    found = windows.conv(made.call, (8, 7, 1))
    padding = "same" if any(map(any, found.padding)) else "valid"
    return _drawn("conv", made.arrays) | {"conv.padding": padding}


def _batch_norm(made: Any) -> Answers:
    found = layers.batch_norm(made.call, made.arrays, made.moved)
    return {
        "batch_norm.epsilon": found.epsilon,
        "batch_norm.keep": found.keep,
        "batch_norm.unbiased": found.unbiased,
        "batch_norm.statistics": found.statistics,
    }


def _layer_norm(made: Any) -> Answers:
    return {"layer_norm.epsilon": layers.layer_norm(made.call, (6,)).epsilon}


def _dropout(made: Any) -> Answers:
    found = layers.dropout(made.call)
    return {"dropout.scaling": found.scaling}


def _max_pool(made: Any) -> Answers:
    found = windows.pool(made.call, (9, 9, 1))
    same = found.stride == found.size
    return {"max_pool.stride": "window" if same else found.stride[0]}


def _average_pool(made: Any) -> Answers:
    return {"average_pool.count_padding": windows.pool(made.call, (10, 10, 1)).count_padding}


def _recurrent(name: str, made: Any) -> Answers:
    """Name the distributions; what is drawn for all gates as one array says so."""
    found: Answers = {}
    for what in ("kernel", "recurrent_kernel"):
        sample = made.arrays[what]
        first = sample[0] if isinstance(sample, list) else sample
        text = _initial(sample, _fans(first))
        found[f"{name}/{what}.initial"] = text + (", all gates as one" if made.whole else "")
    biases = [made.arrays[side] for side in ("bias", "recurrent_bias") if side in made.arrays]
    state = made.arrays["recurrent_kernel"]
    units = (state[0] if isinstance(state, list) else state).shape[0]
    fans = Parameter((units,), units, units)
    found[f"{name}.biases"] = len(biases)
    found[f"{name}/bias.initial"] = _initial(_flat(biases), fans) if biases else None
    if "forget" in made.arrays:
        text = (
            "two, each as the others"
            if len(biases) > 1
            else _initial(np.asarray(made.arrays["forget"]), fans)
        )
        found[f"{name}/forget_bias.initial"] = text
    return found


def _flat(arrays: Sequence[Any]) -> np.ndarray:
    return np.concatenate([np.asarray(array).ravel() for array in arrays])


def _activation(key: str, function: Any) -> Answers:
    return {key: activations.identify(function).text}


def _loss(key: str, loss_of: Any) -> Answers:
    example = np.zeros((4, 3))
    target = np.zeros(4, np.int64) if key == "cross_entropy" else example
    found = losses.factors(losses.identify(loss_of, example, target))
    rows = {name.removeprefix("loss."): value for name, value in found.items()}
    return {f"{key}.{name}": value for name, value in rows.items() if name in _LOSS_SLUGS}


def _rule(key: str, made: Any) -> Answers:
    """Identify a rule and return its constants, with the place of its epsilon in words."""
    found = rules.identify(made.play, counts=(0,))
    if found.rule == "unknown":
        return {f"{key}.{name}": "unknown" for name in _RULES[key]}
    constants = dict(found.constants)
    constants["epsilon_place"] = _place(constants)
    if any(note.startswith("epsilon is too small") for note in found.notes):
        constants |= dict.fromkeys(("epsilon", "epsilon_place"), "not to be seen")
    constants["rate"] = found.rates[0] if made.rate is None else "must be given"
    return {f"{key}.{name}": _short(constants[name]) for name in _RULES[key] if name in constants}


def _place(constants: Mapping[str, Any]) -> str | None:
    if constants.get("epsilon_before_correction"):
        return "before bias correction"
    if constants.get("epsilon_inside_root"):
        return "inside the root"
    return "outside the root" if "epsilon_inside_root" in constants else None


def _short(value: Any) -> Any:
    """Four digits: constants that pass through float32 are shown as they were written."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _moves(made: Any, start: float, gradients: Sequence[float], first: int = 0) -> np.ndarray:
    """Return how far one param falls at each update."""
    given = [{"a": np.array([gradient])} for gradient in gradients]
    after = made.play(given, {"a": np.array([start])}, first)
    return -np.diff([start, *(float(params["a"][0]) for params in after)])


def _rate(made: Any) -> Any:
    """The first move of gradient descent, and of Adam, under a gradient of 1."""
    return "must be given" if made.rate is not None else _short(float(_moves(made, 0.0, [1.0])[0]))


def _momentum(made: Any) -> Answers:
    """One push, then none, while the rate falls to a tenth at an update between 95 and 105.

    With the rate in the buffer every move is 0.9 of the one before; outside, one is 0.09 of it.
    """
    moves = _moves(made, 0.0, [1.0] + [0.0] * 10, 95)
    return {"momentum.rate_in_buffer": bool((moves[1:] / moves[:-1]).min() > 0.5)}


def _adamw(made: Any) -> Answers:
    """The decay of a param of 1 without a gradient, over the rate."""
    rate = float(_moves(made, 0.0, [1.0])[0])
    decay = float(_moves(made, 1.0, [0.0])[0]) / rate
    return {"adamw.rate": _rate(made), "adamw.weight_decay": near(decay, 1e-4)}


def _clip(made: Any) -> Answers:
    """Clip gradients of norms 3 and 4 to 1 at a rate of 1: together, or each on its own."""
    start = {"a": np.zeros(2), "b": np.zeros(3)}
    gradients = {"a": np.array([3.0, 0.0]), "b": np.array([0.0, 4.0, 0.0])}
    (after,) = made.play([gradients], start, 0)
    norms = [float(np.linalg.norm(after[name])) for name in ("a", "b")]
    if np.allclose(norms, [1.0, 1.0], atol=1e-9):
        return {"clip by norm": "per variable"}
    guard = 5.0 / math.hypot(*norms) - 5.0
    if not np.allclose(norms, [0.6, 0.8], rtol=1e-4):
        return {"clip by norm": "unknown"}
    added = "" if guard < 1e-9 else f", {guard:.1g} added to the norm"
    return {"clip by norm": f"global{added}"}


def _decay(made: Any) -> Answers:
    """Decay params 1 and 10 by 0.1 under Adam with no gradient: in step, or both by the rate."""
    start = {"a": np.array([1.0, 10.0])}
    (after,) = made.play([{"a": np.zeros(2)}], start, 0)
    one, ten = start["a"] - after["a"]
    if np.isclose(ten, 10.0 * one, rtol=1e-3):
        return {"decay of adam": "decoupled"}
    return {
        "decay of adam": "added to the gradient" if np.isclose(ten, one, rtol=1e-3) else "unknown"
    }
