"""The float64 oracle, asked in small pieces: one layer alone, and the namespace of objectives.

Reached through the registry, as any backend is. Layers with several inputs, and dropout with a
given mask, are written out here, since a network of one node has one input and draws its own mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from triptych.backends import registry
from triptych.backends.protocol import Evaluation, Learner
from triptych.spec import layers as spec
from triptych.spec.layers import Layer
from triptych.spec.network import Network, Node

Array = np.ndarray
Arrays = dict[str, Array]
"""A node's arrays by local name."""


def forward(
    layer: Layer, arrays: Arrays, inputs: list[Array], training: bool, mask: Array | None
) -> Array:
    """Return a layer's output for given inputs (batch, ...), float64.

    Args:
        layer: the spec's layer.
        arrays: its arrays by local name.
        inputs: one, or several for add, concatenate and dueling.
        training: whether batch statistics and the mask are used.
        mask: of a dropout layer: true where the value is kept.

    Raises:
        NetworkError: the layer does not fit its input.
    """
    if isinstance(layer, spec.Add):
        return np.sum(inputs, axis=0)
    if isinstance(layer, spec.Multiply):
        return math.prod(inputs[1:], start=inputs[0])
    if isinstance(layer, spec.Concatenate):
        return np.concatenate(inputs, axis=-1)
    if isinstance(layer, spec.Dueling):
        return inputs[0] + inputs[1] - inputs[1].mean(axis=-1, keepdims=True)
    if isinstance(layer, spec.Dropout):
        scaled = inputs[0] / (1.0 - layer.rate)
        return scaled * mask if training and mask is not None else inputs[0]
    learner = _alone(layer, inputs[0].shape[1:], inputs[0].dtype.kind)
    named = {f"node/{local}": array for local, array in arrays.items()}
    learner.load_params({name: named[name] for name in learner.network.parameters})
    return learner.layer_outputs(inputs[0], training)["node"]


@lru_cache(maxsize=256)
def _alone(layer: Layer, shape: tuple[int, ...], kind: str) -> Learner:
    """A network of one layer, alive in the oracle; its params are loaded before each use."""
    values = "real" if kind == "f" else "index"
    first = Node("input", spec.Input(shape, values))  # type: ignore[arg-type]
    network = Network((first, Node("node", layer, ("input",))))
    zeros = {name: np.zeros(item.shape) for name, item in network.parameters.items()}
    return registry.get("numpy").learner(network, zeros, dtype="float64")


class _Keeper:
    """An objective that keeps the namespace it is given."""

    evaluations = (Evaluation("output"),)
    xp: Any = None

    def loss(self, xp: Any, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Zero."""
        self.xp = xp
        return xp.sum(outputs["output"] * 0.0)


@lru_cache(maxsize=1)
def namespace() -> Any:
    """Return the oracle's array functions, in which objectives are computed."""
    keeper = _Keeper()
    network = Network.sequential(spec.Input((1,)), spec.Rescale())
    learner = registry.get("numpy").learner(network, {}, objective=keeper, dtype="float64")
    learner.loss({"observation": np.zeros((1, 1))})
    return keeper.xp


class Held:
    """The oracle's namespace whose ``stop_gradient`` repeats the values of the first run.

    So a difference of two losses sees constants where a gradient would. With ``leaky`` set,
    nothing is held: the hypothesis of a forgotten stop_gradient.
    """

    def __init__(self, leaky: bool = False) -> None:
        self.leaky = leaky
        self._kept: list[Array] = []
        self._place: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(namespace(), name)

    def again(self) -> None:
        """Begin a run at other params."""
        self._place = 0

    def stop_gradient(self, x: Array) -> Array:
        """x, or what this call returned in the first run."""
        if self.leaky:
            return x
        if self._place is None:
            self._kept.append(np.array(x))
            return x
        self._place += 1
        return self._kept[self._place - 1]
