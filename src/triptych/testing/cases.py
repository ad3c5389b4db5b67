"""What the conformance kit is run on: awkward networks, rules, functions and corners, as data.

Awkward on purpose: odd and unequal sizes, strides that do not divide, uneven padding, biases and
statistics that are not zero, a batch that equals no other size. Small too: the oracle
differentiates them by differences. The checks are in ``conformance.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triptych.backends.protocol import Evaluation, Params
from triptych.spec.initial import Initial
from triptych.spec.network import Network
from triptych.spec.notation import parse
from triptych.spec.randomness import generator
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule, constant
from triptych.spec.schedules import Cosine, Exponential, Linear, Piecewise

BATCH = 5
_INITIAL = Initial(
    kernel="fan_in_uniform",
    bias=("normal", 0.3),
    scale=("uniform", 1.5),
    offset=("normal", 0.3),
    mean=("normal", 0.3),
    variance=("constant", 1.7),
)


class Bootstrapped:
    """Squared error to ``target`` plus half of what the target network says of ``next``, less a
    tenth of what the online network says of it before the update."""

    evaluations = (
        Evaluation("now", "online", "observation", gradient=True),
        Evaluation("later", "target", "next", gradient=False),
        Evaluation("still", "online", "next", gradient=False),
    )

    def loss(self, xp: Any, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """mean over examples of sum (now - target - later / 2 + still / 10)^2."""
        return xp.mean(self.reports(xp, outputs, batch)["squares"])

    def reports(self, xp: Any, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """The sum for each example."""
        error = outputs["now"] - batch["target"] - 0.5 * outputs["later"] + 0.1 * outputs["still"]
        return {"squares": xp.sum(xp.square(error), axis=1)}


@dataclass(frozen=True)
class NetworkCase:
    """A network with initial params and a batch, drawn from its name.

    ``values`` says what observations are: ``normal``, ``bytes`` (0 to 255), or ``index``.
    """

    name: str
    network: Network
    values: str = "normal"

    def params(self) -> Params:
        """Return params (float64) in which nothing is zero, and variances are positive."""
        return _INITIAL.draw(self.network, seed=1)

    def observations(self, stream: str) -> np.ndarray:
        """Return (BATCH, ...) observations drawn from a named stream."""
        shape = (BATCH, *self.network.shapes[self.network.input.name])
        draw = generator(2, f"{self.name}/{stream}")
        if self.values == "index":
            return draw.integers(0, 7, shape)
        return (
            draw.integers(0, 256, shape, "uint8")
            if self.values == "bytes"
            else draw.normal(size=shape)
        )

    def batch(self) -> dict[str, np.ndarray]:
        """Return the batch that :class:`Bootstrapped` reads."""
        shape = (BATCH, *self.network.shapes[self.network.output.name])
        return {
            "observation": self.observations("now"),
            "next": self.observations("next"),
            "target": generator(2, f"{self.name}/target").normal(size=shape),
        }


_SMOOTH = (
    *("elu alpha 0.7", "selu", "gelu", "gelu approximate", "silu", "sigmoid", "tanh", "softplus"),
    *("softmax", "log_softmax"),
)
_CORNERED = ("relu", "relu6", "leaky_relu slope 0.1", "hard_sigmoid", "hard_sigmoid slope 0.2")


def _fan(size: str, hidden: str, kinds: tuple[str, ...], head: str) -> dict[str, str]:
    """A graph in which many layers share one input and are concatenated."""
    fan = {f"f{place}": f"{kind} <- hidden" for place, kind in enumerate(kinds)}
    joined = {"all": f"concatenate <- {', '.join(fan)}"}
    return {"input": size, "hidden": hidden} | fan | joined | ({"head": head} if head else {})


_NETWORKS: dict[str, Any] = {
    "conv_stride2_same": "8x7x3 -> conv 4 3x2/2 pad same leaky_relu -> conv 3 2x3 tanh "
    "-> flatten -> dense 3",
    "conv_groups_dilation": "9x8x4 -> conv 6 3x2/2x1 dilation 1x2 groups 2 pad 1,0,0,2 elu "
    "-> conv 2 2x2/2 dilation 2 pad same no bias -> flatten -> dense 4 no bias",
    "conv_transpose": "2x3x2 -> conv_transpose 3 3x4/2 pad same silu -> conv_transpose 2 2x1/3 "
    "pad same -> conv_transpose 3 2x3/1x2 dilation 2x1 pad 0,1,2,0 no bias "
    "-> average_pool 7x9/5 -> flatten -> dense 2",
    "pooling": "7x6x2 -> max_pool 3x2/2 pad 1,0,0,1 -> conv 3 2x2 pad same "
    "-> average_pool 3x2/2 pad same -> average_pool 2x2/1 pad 1,0,1,1 count padding "
    "-> flatten -> dense 2",
    "batch_norm": "4x5x2 -> conv 3 2x2 -> batch_norm unbiased keep 0.9 epsilon 0.1 sigmoid "
    "-> max_pool 2x2 -> flatten -> dense 4 -> batch_norm keep 0.8 -> layer_norm -> dense 3",
    "dropout": "6 -> dense 7 gelu -> dropout 0.3 -> dense 4 -> batch_norm keep 0.7 -> dropout 0.5 "
    "-> dense 2",
    "embedding": "4 index -> embedding 7 3 -> dense 5 softplus -> layer_norm epsilon 0.01 "
    "-> flatten -> dense 2",
    "image": "6x5x3 -> rescale 1/255 offset -0.5 -> conv 3 3x2/2 pad same relu -> flatten "
    "-> dense 4",
    "graph": {
        **{"input": "6", "a": "dense 5 tanh", "b": "dense 5 <- tanh1", "sum": "add <- b, tanh1, b"},
        **{"both": "concatenate <- sum, input, a", "value": "dense 1", "hidden": "dense 3 <- both"},
        **{"advantage": "dense 4 <- hidden", "q": "dueling <- value, advantage"},
    },
    "moved": {
        **{"input": "4x3x2", "padded": "pad 1,0,0,2", "image": "conv 3 2x3 tanh"},
        **{"turned": "permute 1,2,0", "gate": "average_pool 3x3", "gates": "dense 4 sigmoid"},
        **{"gated": "multiply <- turned, gates, turned", "tokens": "reshape 6x6"},
        **{"across": "permute 1,0", "mixed": "dense 3 gelu", "wide": "dense 6"},
        **{"back": "permute 1,0", "sum": "add <- back, tokens", "norm": "layer_norm softmax"},
        **{"flat": "flatten", "head": "dense 2"},
    },
    # Keras by itself would run the second norm before the first.
    "shared": {
        **{"input": "6", "a": "dense 3", "norm": "batch_norm keep 0.7 tanh"},
        **{"other": "dense 6 gelu <- input", "b": "shares a", "again": "shares norm sigmoid"},
        **{"both": "multiply <- norm, again", "all": "concatenate <- both, other", "q": "dense 2"},
    },
    "activations": _fan("5", "dense 3", (*_SMOOTH, *_CORNERED), "dense 2"),
}
_VALUES = {"image": "bytes", "embedding": "index"}
NETWORKS = tuple(
    NetworkCase(name, parse(notation), _VALUES.get(name, "normal"))
    for name, notation in _NETWORKS.items()
)
"""One case per family of layers; together every layer and option of the spec."""


@dataclass(frozen=True)
class RuleCase:
    """An update rule, tried on gradients from tiny to huge."""

    name: str
    rule: Rule
    network: Network = field(
        default=parse("4x3x2 -> conv 3 2x2 -> flatten -> dense 2 -> layer_norm"), repr=False
    )

    def params(self) -> Params:
        """Return initial params, float64."""
        return _INITIAL.draw(self.network, seed=3)

    def gradients(self, count: int) -> list[Params]:
        """Return ``count`` sets of gradients, their sizes spread over nine powers of ten."""
        draw = generator(4, "gradients")
        sets = []
        for _ in range(count):
            size = 10.0 ** draw.uniform(-6.0, 3.0)
            shapes = {name: self.network.parameters[name].shape for name in self.network.trainable}
            sets.append({name: size * draw.normal(size=shape) for name, shape in shapes.items()})
        return sets


_PLAIN: dict[str, Rule] = {
    "sgd": SGD(constant(0.1), l2=0.01),
    "sgd_momentum": SGD(Linear(0.1, 0.01, 40), momentum=0.9),
    "sgd_nesterov": SGD(Exponential(0.1, 0.5, 7, True), momentum=0.8, nesterov=True, l2=0.1),
    "adam": Adam(Cosine(0.1, 0.0, 50)),
    "adam_inside_root": Adam(constant(0.01), 0.01, epsilon=1e-3, epsilon_inside_root=True),
    "adam_before_correction": Adam(constant(0.1), epsilon=1e-3, epsilon_before_correction=True),
    "adamw": AdamW(Piecewise((3, 30), (0.1, 0.03, 0.01)), 0.01, beta1=0.8, weight_decay=0.1),
    "adamw_inside_root": AdamW(constant(0.1), weight_decay=0.1, epsilon_inside_root=True),
    "rmsprop": RMSprop(Exponential(0.01, 0.9, 10), decay=0.8, epsilon=1e-4, l2=0.01),
    "rmsprop_inside_root": RMSprop(constant(0.01), epsilon=1e-4, epsilon_inside_root=True),
    "rmsprop_centered": RMSprop(constant(0.01), momentum=0.9, centered=True, epsilon=1e-3),
    "adagrad": Adagrad(Linear(0.1, 0.2, 30), initial=0.1, l2=0.01),
    "adagrad_inside_root": Adagrad(constant(0.1), epsilon=1e-4, epsilon_inside_root=True),
}
_CLIPS = {"global_norm": Clip(global_norm=0.5), "norm": Clip(norm=0.3), "value": Clip(value=0.1)}
_MAKES = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "adagrad": Adagrad}
RULES = tuple(RuleCase(name, rule) for name, rule in _PLAIN.items()) + tuple(
    RuleCase(f"{name}_clip_{kind}", make(Linear(0.1, 0.02, 50), 0.02, clip))
    for name, make in _MAKES.items()
    for kind, clip in _CLIPS.items()
)
"""Every rule and place of epsilon, and every rule with every clipping."""

_Function = Callable[[Any, Any, Mapping[str, Any]], Any]


@dataclass(frozen=True)
class FunctionCase:
    """A use of one namespace function and the same in plain NumPy.

    ``function(xp, y, batch)`` and ``expected(y, batch)`` take the output y (BATCH, 4) of a dense
    layer; the loss is the sum of the result's squares.
    """

    name: str
    function: _Function
    expected: Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]
    evaluations = (Evaluation("y"),)
    network = parse("3 -> dense 4")

    def loss(self, xp: Any, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """The sum of the squares of the function's result."""
        return xp.sum(xp.square(self.function(xp, outputs["y"], batch)))

    def params(self) -> Params:
        """Return initial params, float64."""
        return _INITIAL.draw(self.network, seed=5)

    def batch(self) -> dict[str, np.ndarray]:
        """Return integers, flags and ties of every type that objectives read."""
        draw = generator(6, "functions")
        return {
            "observation": draw.normal(size=(BATCH, 3)),
            "action": draw.integers(0, 4, BATCH),
            "action32": draw.integers(0, 4, BATCH).astype("int32"),
            "places": draw.integers(0, 4, (BATCH, 2, 3)),
            "flag": draw.random(BATCH) < 0.5,
            "bytes": draw.integers(0, 256, BATCH).astype("uint8"),
            "weights": np.array([1.0, 2.0, -1.0]),
            "tied": np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, -1.0, 0.0]]),
        }


def _at(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    return x[np.arange(len(x)), places]


def _log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


FUNCTIONS = (
    FunctionCase("sum_axis", lambda xp, y, b: xp.sum(y, axis=1), lambda y, b: y.sum(1)),
    FunctionCase("sum_all", lambda xp, y, b: y * xp.sum(y), lambda y, b: y * y.sum()),
    FunctionCase("mean_axis", lambda xp, y, b: xp.mean(y, axis=0), lambda y, b: y.mean(0)),
    FunctionCase("mean_all", lambda xp, y, b: y * xp.mean(y), lambda y, b: y * y.mean()),
    FunctionCase("max", lambda xp, y, b: xp.max(y, axis=-1), lambda y, b: y.max(1)),
    FunctionCase(
        "argmax",
        lambda xp, y, b: xp.max(y, axis=1) * (1.0 + xp.astype(xp.argmax(y, axis=1), y)),
        lambda y, b: y.max(1) * (1.0 + y.argmax(1)),
    ),
    FunctionCase(
        "argmax_tied",
        lambda xp, y, b: xp.sum(y) * xp.astype(xp.argmax(b["tied"], axis=1), y),
        lambda y, b: y.sum() * np.array([1.0, 0.0, 0.0]),
    ),
    FunctionCase("abs", lambda xp, y, b: y + xp.abs(y), lambda y, b: 2.0 * y * (y > 0)),
    FunctionCase("log", lambda xp, y, b: xp.log(1.0 + y * y), lambda y, b: np.log1p(y * y)),
    FunctionCase("square", lambda xp, y, b: xp.square(y) + y, lambda y, b: y * (y + 1.0)),
    FunctionCase(
        "where",
        lambda xp, y, b: xp.where(y > 0.1, y, 0.5 * y * y),
        lambda y, b: np.where(y > 0.1, y, y * y / 2.0),
    ),
    FunctionCase(
        "where_numbers",
        lambda xp, y, b: xp.where(y > 0.1, 0.3, y) + xp.where(y < 0.0, y, 0.7),
        lambda y, b: np.where(y > 0.1, 0.3, y) + np.where(y < 0.0, y, 0.7),
    ),
    FunctionCase(
        "log_softmax", lambda xp, y, b: xp.log_softmax(y, axis=1), lambda y, b: _log_softmax(y)
    ),
    FunctionCase(
        "one_hot",
        lambda xp, y, b: y * xp.one_hot(b["action"], 4, y) + xp.one_hot(b["action32"], 4, y),
        lambda y, b: y * np.eye(4)[b["action"]] + np.eye(4)[b["action32"]],
    ),
    FunctionCase(
        "take_along_axis",
        lambda xp, y, b: xp.take_along_axis(y, xp.expand_dims(b["action"], 1), axis=1),
        lambda y, b: _at(y, b["action"]),
    ),
    FunctionCase(
        "take_along_axis_last",
        lambda xp, y, b: xp.take_along_axis(y, xp.expand_dims(b["action32"], -1), axis=-1),
        lambda y, b: _at(y, b["action32"]),
    ),
    FunctionCase(
        "take_along_axis_middle",
        lambda xp, y, b: xp.take_along_axis(
            xp.expand_dims(y, 2) * b["weights"], b["places"], axis=1
        ),
        lambda y, b: b["weights"] * y[np.arange(BATCH)[:, None, None], b["places"]],
    ),
    FunctionCase(
        "stop_gradient",
        lambda xp, y, b: y - xp.stop_gradient(2.0 * y) * xp.stop_gradient(y),
        lambda y, b: y - 2.0 * y * y,
    ),
    FunctionCase(
        "expand_squeeze",
        lambda xp, y, b: xp.squeeze(
            xp.expand_dims(xp.sum(xp.expand_dims(y, 0) * xp.expand_dims(y, 1), axis=-1), -1), 2
        ),
        lambda y, b: y @ y.T,
    ),
    FunctionCase(
        "astype",
        lambda xp, y, b: xp.sum(y, axis=1) * xp.astype(b["flag"], y) + xp.astype(b["bytes"], y),
        lambda y, b: y.sum(1) * b["flag"] + b["bytes"],
    ),
)
"""Every function of :class:`triptych.backends.protocol.Namespace`."""


@dataclass(frozen=True)
class CornerCase:
    """An activation at its corners: (x, y, slope), where the slope is the flatter side's.

    The network gives x as the bias of a dense layer whose kernel is zero, so that the gradient of
    the summed output with respect to the bias is the slope.
    """

    name: str
    activation: str
    corners: tuple[tuple[float, float, float], ...]
    evaluations = (Evaluation("y"),)

    @property
    def network(self) -> Network:
        """One unit per corner."""
        return parse(f"2 -> dense {len(self.corners)} -> {self.activation}")

    def loss(self, xp: Any, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """The sum of the outputs."""
        return xp.sum(outputs["y"])

    def params(self) -> Params:
        """A zero kernel and the corners as bias."""
        bias = np.array([x for x, _, _ in self.corners])
        return {"dense1/kernel": np.zeros((2, len(bias))), "dense1/bias": bias}

    def batch(self) -> dict[str, np.ndarray]:
        """One example; its values do not matter."""
        return {"observation": np.ones((1, 2))}


CORNERS = (
    CornerCase("relu", "relu", ((0.0, 0.0, 0.0), (-0.0, 0.0, 0.0))),
    CornerCase("relu6", "relu6", ((0.0, 0.0, 0.0), (6.0, 6.0, 0.0))),
    CornerCase("leaky_relu", "leaky_relu slope 0.1", ((0.0, 0.0, 0.1), (-0.0, 0.0, 0.1))),
    CornerCase("elu", "elu alpha 0.7", ((0.0, 0.0, 0.7),)),
    # A slope of 1/6 has no exact corner: a fused multiply-add rounds -3 / 6 + 1/2 above zero.
    CornerCase("hard_sigmoid", "hard_sigmoid slope 0.25", ((-2.0, 0.0, 0.0), (2.0, 1.0, 0.0))),
)


@dataclass(frozen=True)
class NameCase:
    """A network whose dense node bears a name that a framework may use for something else."""

    name: str
    evaluations = (Evaluation("y"),)

    @property
    def network(self) -> Network:
        """A dense layer of that name between two others."""
        return parse({"start": "3", "first": "dense 4 tanh", self.name: "dense 2", "last": "tanh"})

    def loss(self, xp: Any, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """The mean of the squared outputs."""
        return xp.mean(xp.square(outputs["y"]))

    def params(self) -> Params:
        """Return initial params, float64."""
        return _INITIAL.draw(self.network, seed=8)

    def batch(self) -> dict[str, np.ndarray]:
        """Random observations."""
        return {"observation": generator(9, "names").normal(size=(BATCH, 3))}


NAMES = tuple(
    NameCase(name)
    for name in (
        *("kernel", "weight", "bias", "forward", "call", "training", "train", "eval", "model"),
        *("name", "dtype", "parameters", "variables", "layers", "trainable", "wiring", "in_place"),
        *("state", "T", "online", "outputs", "inputs", "observation", "type", "step"),
    )
)
