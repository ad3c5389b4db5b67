"""Network, objective and update rule alive in JAX.

Params are a plain tree {node: {attribute: array}}; the compiled functions put them into the NNX
module, run it, and take them out again. Old buffers are donated to the new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from triptych.backends import objective_parts
from triptych.backends._jax import factors, rules, source
from triptych.backends._jax.layouts import HOMES
from triptych.backends._jax.model import Model
from triptych.backends._jax.namespace import JaxNamespace
from triptych.backends.base import BaseLearner
from triptych.backends.layout import Home
from triptych.backends.offering import NativeBackend
from triptych.backends.protocol import Batch, DType, Objective
from triptych.spec.network import Network
from triptych.spec.rules import Rule
from triptych.spec.schedules import Constant

XP = JaxNamespace()
Tree = dict[str, dict[str, Array]]


class Program:
    """The pure functions of a network, an objective and a rule, compiled.

    It holds no params. Learners that differ in params or in the rate alone share one, since
    compiling takes a second or more.
    """

    def __init__(
        self, network: Network, objective: Objective | None, rule: Rule | None, dtype: DType
    ) -> None:
        self.objective, self.last = objective, network.output.name
        self.nodes = {node.name: node.layer.kind for node in network.nodes}
        self.graph, self.trained, self.rest = nnx.split(Model(network, dtype), nnx.Param, ...)
        self.optimizer = rules.build(rule) if rule else None
        self.forward = _compiled(self._run)
        self.advance = _compiled(self._run_step)
        self.layers = _compiled(self._run_layers, static_argnames="training")
        self.gradients = _compiled(jax.value_and_grad(self._objective, has_aux=True))
        self.step = _compiled(self._step, donate_argnums=(0, 1, 2))
        self.change = _compiled(self._change)

    def _run(self, trained: Tree, rest: Tree, x: Array) -> Array:
        return nnx.merge(self.graph, trained, rest)(x)

    def _run_step(self, trained: Tree, rest: Tree, x: Array, state: Any) -> Any:
        return nnx.merge(self.graph, trained, rest).step(x, state)

    def _run_layers(self, trained: Tree, rest: Tree, inputs: Any, training: bool) -> Any:
        model = nnx.merge(self.graph, trained, rest)
        return model.all_outputs(inputs["observation"], training, inputs)

    def _objective(
        self, trained: Tree, rest: Tree, targets: Any, inputs: Any
    ) -> tuple[Array, tuple[Tree, dict[str, Array]]]:
        """Run the forward passes that the objective asks for; return its loss, and with it the new
        statistics and its reports."""
        assert self.objective is not None
        model = nnx.merge(self.graph, trained, rest)
        still = nnx.merge(self.graph, trained, rest)
        read = objective_parts.reads(self.objective)
        outputs = {name: self._array(trained, name) for name in read}
        for item in self.objective.evaluations:
            if item.gradient:
                values = model.all_outputs(inputs[item.input], True, inputs)
            else:
                chosen = still if item.network == "online" else nnx.merge(self.graph, *targets)
                values = jax.lax.stop_gradient(chosen.all_outputs(inputs[item.input]))
            outputs[item.name] = values[self.last]
            outputs |= {f"{item.name}/{node}": values[node] for node in item.nodes}
        loss = self.objective.loss(XP, outputs, inputs)
        reports = objective_parts.reports(self.objective, XP, outputs, inputs)
        return loss, (_plain(nnx.split(model, nnx.Param, ...)[2]), reports)

    def _array(self, trained: Tree, name: str) -> Array:
        node, local = name.rsplit("/", 1)
        return trained[node][HOMES[self.nodes[node]][local].attribute]

    def _change(self, trained: Tree, slots: Any, grads: Tree, rate: Any) -> tuple[Tree, Any]:
        """Return params and slots after one update."""
        assert self.optimizer is not None
        steps, slots = self.optimizer.update(grads, slots, trained)
        return jax.tree.map(lambda p, s: p - rate.astype(p.dtype) * s, trained, steps), slots

    def _step(
        self, trained: Tree, rest: Tree, slots: Any, targets: Any, inputs: Any, rate: Any
    ) -> Any:
        function = jax.value_and_grad(self._objective, has_aux=True)
        (loss, (rest, reports)), grads = function(trained, rest, targets, inputs)
        trained, slots = self._change(trained, slots, grads, rate)
        return trained, rest, slots, loss, reports


_CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
"""Leaves convolutions to Eigen and matrix products to YNNPACK. XLA's default on a CPU gives both to
YNNPACK, with which an update of the Space Invaders network took 1.6 times as long; with products
that are not individual (``..._DOT``) the convolutions before one go with it."""


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=_compiler_options(), **options)


@cache
def _compiler_options() -> dict[str, str] | None:
    """The options for this machine; none where XLA runs elsewhere or does not know them."""
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=dict(_CPU_OPTIONS)).lower(0).compile()
    except jax.errors.JaxRuntimeError:
        return None
    return dict(_CPU_OPTIONS)


@lru_cache(maxsize=16)
def program(
    network: Network, objective: Objective | None, rule: Rule | None, dtype: DType
) -> Program:
    """Return the program of these parts, the same one for the same parts."""
    return Program(network, objective, rule, dtype)


class JaxLearner(BaseLearner):
    """See :class:`triptych.backends.protocol.Learner`."""

    homes = HOMES

    def _build(self) -> None:
        # The rate comes from the host at every update and is no part of the program.
        rule = replace(self.native_rule, rate=Constant(0.0)) if self.native_rule else None
        self.program = program(self.network, self.objective, rule, self.dtype)  # type: ignore[arg-type]
        self.optimizer = self.program.optimizer
        self.trained: Tree = _copy(_plain(self.program.trained))
        self.rest: Tree = _copy(_plain(self.program.rest))
        self.targets: tuple[Tree, Tree] = (_copy(self.trained), _copy(self.rest))
        self.slots_tree: Any = self.optimizer.init(self.trained) if self.optimizer else None

    @property
    def model(self) -> Model:
        """A new NNX module with the current params."""
        return nnx.merge(self.program.graph, _copy(self.trained), _copy(self.rest))

    def _native_factors(self) -> dict[str, Any]:
        """Every constant read back from the live modules and Optax's closures."""
        return factors.read(self)

    def _forward(self, observations: np.ndarray, network: str) -> np.ndarray:
        trained, rest = (self.trained, self.rest) if network == "online" else self.targets
        return np.asarray(self.program.forward(trained, rest, observations))

    def _advance(
        self, observations: np.ndarray, state: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        values, after = self.program.advance(self.trained, self.rest, observations, dict(state))
        last = np.asarray(values[self.network.output.name])
        return last, {name: np.asarray(after[name]) for name in state}

    def _layer_outputs(self, inputs: Batch, training: bool) -> dict[str, np.ndarray]:
        values = self.program.layers(self.trained, self.rest, dict(inputs), training=training)
        return {name: np.asarray(value) for name, value in values.items()}

    def _loss_and_gradients(self, inputs: Batch) -> tuple[float, dict[str, np.ndarray]]:
        (loss, _), grads = self.program.gradients(
            self.trained, self.rest, self.targets, dict(inputs)
        )
        found = {}
        for name in self.network.trainable:
            node, home = self._home(name)
            found[name] = np.asarray(grads[node][home.attribute])
        return float(loss), found

    def _step(self, inputs: Batch, rate: float) -> Array:
        self.trained, self.rest, self.slots_tree, loss, self.reported = self.program.step(
            self.trained, self.rest, self.slots_tree, self.targets, dict(inputs), np.float64(rate)
        )
        return loss

    def _apply(self, gradients: dict[str, np.ndarray], rate: float) -> None:
        grads = self._tree(gradients)
        self.trained, self.slots_tree = self.program.change(
            self.trained, self.slots_tree, grads, np.float64(rate)
        )

    def _tree(self, arrays: Mapping[str, np.ndarray]) -> Tree:
        """Trainable native arrays by canonical name -> a tree like the params."""
        tree: Tree = {node: {} for node in self.trained}
        for name, array in arrays.items():
            node, home = self._home(name)
            tree[node][home.attribute] = jnp.array(array)
        return tree

    def _read(self, node: str, home: Home, network: str) -> np.ndarray:
        trees = (self.trained, self.rest) if network == "online" else self.targets
        return np.asarray(next(t[node][home.attribute] for t in trees if _has(t, node, home)))

    def _write(self, values: dict[str, tuple[str, Home, np.ndarray]], network: str) -> None:
        trees = (self.trained, self.rest) if network == "online" else self.targets
        for node, home, array in values.values():
            tree = next(tree for tree in trees if _has(tree, node, home))
            tree[node][home.attribute] = jnp.array(array)

    def _read_slot(self, slot: str, name: str) -> np.ndarray:
        node, home = self._home(name)
        return np.asarray(
            rules.find(self.slots_tree, rules.STATE_FIELDS[slot])[node][home.attribute]
        )

    def _write_slots(self, updates: int, values: dict[str, dict[str, np.ndarray]]) -> None:
        fields: dict[str, Any] = {"count": jnp.asarray(updates, jnp.int32)}
        for slot, arrays in values.items():
            fields[rules.STATE_FIELDS[slot]] = self._tree(arrays)
        self.slots_tree = rules.replace(self.slots_tree, fields)


def _plain(state: Any) -> Tree:
    """An NNX state as a plain tree of arrays."""
    tree: Tree = nnx.to_pure_dict(state)
    return tree


def _copy(tree: Tree) -> Tree:
    return jax.tree.map(jnp.copy, tree)


def _has(tree: Tree, node: str, home: Home) -> bool:
    return home.attribute in tree.get(node, {})


BACKEND = NativeBackend(
    "jax",
    JaxLearner,
    {"jax": jax.__version__, "flax": flax.__version__, "optax": optax.__version__},
    source.write,
)
