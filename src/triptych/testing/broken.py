"""Backends broken on purpose: each wraps a real one, and the named check must catch it.

A fault changes what the real backend is given (network, rule, objective, params) or what its
learner answers, as a mistaken port would. It is the proof that the conformance kit bites.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triptych.backends.protocol import Backend, DType, Learner, Objective, Params, Slots
from triptych.spec import layers as spec
from triptych.spec.layers import Layer
from triptych.spec.network import Network, Node
from triptych.spec.rules import Adam, AdamW, Clip, Rule
from triptych.spec.schedules import Schedule


class Answers:
    """A learner that passes everything on to a real one; a fault overrides some answers."""

    def __init__(self, inner: Any, network: Network) -> None:
        self.inner, self.given = inner, network

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Fault:
    """One mistake, and the id of the check that must fail for it."""

    name: str
    caught_by: str
    layer: Callable[[Any], Layer] = _same
    node: Callable[[Node], Node] = _same
    rule: Callable[[Any], Rule] = _same
    functions: Callable[[Any], dict[str, Any]] | None = None
    dtype: Callable[[Any], DType] = _same
    params: Callable[[Network, Params], Params] | None = None
    answers: type[Answers] = Answers


class BrokenBackend:
    """A real backend with one fault; see :class:`triptych.backends.protocol.Backend`."""

    def __init__(self, backend: Backend, fault: Fault) -> None:
        self.backend, self.fault = backend, fault
        self.name = f"{backend.name} with {fault.name}"

    def versions(self) -> dict[str, str]:
        """Those of the real backend."""
        return self.backend.versions()

    def learner(
        self,
        network: Network,
        params: Params,
        *,
        objective: Objective | None = None,
        rule: Rule | None = None,
        dtype: DType = "float32",
        seed: int = 0,
        target: bool = False,
    ) -> Learner:
        """Return the real backend's learner, mistaken."""
        fault = self.fault
        nodes = [replace(node, layer=fault.layer(node.layer)) for node in network.nodes]
        inner = self.backend.learner(
            Network(tuple(map(fault.node, nodes))),
            fault.params(network, params) if fault.params else params,
            objective=_Objective(objective, fault.functions) if objective else None,
            rule=fault.rule(rule) if rule else None,
            dtype=fault.dtype(dtype),
            seed=seed,
            target=target,
        )
        return fault.answers(inner, network)

    def source(self, network: Network, title: str) -> str:
        """That of the real backend."""
        return self.backend.source(network, title)


class _Objective:
    """An objective that is given other namespace functions."""

    def __init__(self, inner: Objective, functions: Callable[[Any], dict[str, Any]] | None) -> None:
        self.inner, self.functions = inner, functions
        self.evaluations = inner.evaluations
        self.reads, self.reports = getattr(inner, "reads", ()), getattr(inner, "reports", None)

    def loss(self, xp: Any, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """The real objective's loss over the changed namespace."""
        if self.functions is not None:
            xp = _Changed(xp, self.functions(xp))
        return self.inner.loss(xp, outputs, batch)


class _Changed:
    def __init__(self, xp: Any, functions: dict[str, Any]) -> None:
        self._xp, self._functions = xp, functions

    def __getattr__(self, name: str) -> Any:
        return self._functions.get(name) or getattr(self._xp, name)


# --- mistakes in layers, rules and objectives ------------------------------------------------


def _changing(kind: type[Layer], **values: Any) -> Callable[[Any], Layer]:
    """Replace options of every layer of a kind; a value may be a function of the layer."""

    def change(layer: Any) -> Layer:
        if type(layer) is not kind:
            return layer
        new = {key: value(layer) if callable(value) else value for key, value in values.items()}
        return replace(layer, **new)

    return change


def _swapped_padding(layer: Any) -> Layer:
    if not isinstance(layer, spec.Conv) or layer.padding != "same":
        return layer
    # The cases that tell put one odd pixel at the bottom and right of a 3x2 kernel with stride 2.
    return replace(layer, padding=((1, 0), (1, 0)))


def _halved_corner(layer: Any) -> Layer:
    return spec.LeakyReLU(slope=0.5) if isinstance(layer, spec.ReLU) else layer


@dataclass(frozen=True)
class _Late(Schedule):
    inner: Schedule

    def value(self, count: int) -> float:
        """The rate of the update before."""
        return self.inner.value(max(count - 1, 0))


def _coupled(rule: Any) -> Rule:
    if not isinstance(rule, AdamW):
        return rule
    decay = rule.l2 + rule.weight_decay
    return Adam(rule.rate, decay, rule.clip, rule.beta1, rule.beta2, rule.epsilon)


# --- mistakes in params ----------------------------------------------------------------------


def _reordered(network: Network, params: Params, back: bool = False) -> Params:
    """Permute the rows of every dense kernel after a flatten, as if C, H, W were flattened."""
    changed = dict(params)
    for node in network.nodes_of(spec.Dense):
        before = network.by_name[node.inputs[0]]
        name = f"{node.name}/kernel"
        if isinstance(before.layer, spec.Flatten) and name in params:
            shape = network.shapes[before.inputs[0]]
            order = np.arange(len(params[name])).reshape(shape).transpose(2, 0, 1).ravel()
            changed[name] = params[name][order if back else np.argsort(order)]
    return changed


def _no_bias(network: Network, params: Params) -> Params:
    return {n: np.zeros_like(p) if n.endswith("/bias") else p for n, p in params.items()}


class _FlattenOrder(Answers):
    def load_params(self, params: Params, network: str = "online") -> None:
        self.inner.load_params(_reordered(self.given, params), network)

    def params(self, network: str = "online") -> Params:
        return _reordered(self.given, self.inner.params(network), back=True)

    def gradients(self, batch: Any) -> Params:
        return _reordered(self.given, self.inner.gradients(batch), back=True)


class _DroppedBias(Answers):
    def load_params(self, params: Params, network: str = "online") -> None:
        self.inner.load_params(_no_bias(self.given, params), network)


class _Float32Params(Answers):
    def load_params(self, params: Params, network: str = "online") -> None:
        rounded = {name: np.float32(array).astype(array.dtype) for name, array in params.items()}
        self.inner.load_params(rounded, network)


class _LenientParams(Answers):
    def load_params(self, params: Params, network: str = "online") -> None:
        known = self.inner.params(network)
        kept = {n: params[n] for n in known if n in params and params[n].shape == known[n].shape}
        self.inner.load_params(known | kept, network)


# --- mistakes in answers ---------------------------------------------------------------------


class _HalfPrecision(Answers):
    def layer_outputs(self, observations: np.ndarray, training: bool = False) -> Params:
        values = self.inner.layer_outputs(observations, training)
        return {n: v.astype("float16").astype(v.dtype) for n, v in values.items()}


class _ScaledBytes(Answers):
    def outputs(self, observations: np.ndarray, network: str = "online") -> np.ndarray:
        scale = 255.0 if observations.dtype == np.uint8 else 1.0
        return self.inner.outputs(observations / scale, network)


class _LearningLoss(Answers):
    def loss(self, batch: Any) -> float:
        return float(self.inner.update(batch))


class _LateLoss(Answers):
    def update(self, batch: Any) -> float:
        self.inner.update(batch)
        return float(self.inner.loss(batch))


class _SummedGradients(Answers):
    def gradients(self, batch: Any) -> Params:
        size = len(batch["observation"])
        return {name: size * grad for name, grad in self.inner.gradients(batch).items()}


class _Unsteady(Answers):
    made = 0

    def update(self, batch: Any) -> Any:
        loss = self.inner.update(batch)
        _Unsteady.made += 1
        shift = 1.0 + 1e-13 * _Unsteady.made
        self.inner.load_params({name: p * shift for name, p in self.inner.params().items()})
        return loss


class _NeverSynced(Answers):
    def sync_target(self) -> None:
        return None


class _ForgottenSlots(Answers):
    def restore(self, state: Mapping[str, Any]) -> None:
        slots = state["slots"].items()
        empty = {s: {n: np.zeros_like(a) for n, a in arrays.items()} for s, arrays in slots}
        self.inner.restore(dict(state) | {"slots": empty})


class _ForgottenMasks(Answers):
    def restore(self, state: Mapping[str, Any]) -> None:
        self.inner.restore(dict(state) | {"dropout": self.inner.state()["dropout"]})


class _ForgottenCount(Answers):
    def load_slots(self, slots: Slots) -> None:
        self.inner.load_slots(Slots(1, slots.values))
        self.inner.updates = slots.updates


class _SwappedMoments(Answers):
    def slots(self) -> Slots:
        found = self.inner.slots()
        names = list(found.values)
        values = dict(zip(names, reversed(found.values.values()), strict=True))
        return Slots(found.updates, values)

    def load_slots(self, slots: Slots) -> None:
        names = list(slots.values)
        values = dict(zip(names, reversed(slots.values.values()), strict=True))
        self.inner.load_slots(Slots(slots.updates, values))


class _RateInBuffer(Answers):
    """m = momentum m + r g; p -= m: the real learner has rate 1 and is given r g."""

    def __init__(self, inner: Any, network: Network) -> None:
        super().__init__(inner, network)
        self.rate = inner.rule.rate.inner

    def apply_gradients(self, gradients: Params) -> None:
        rate = self.rate.value(self.inner.updates)
        self.inner.apply_gradients({name: rate * grad for name, grad in gradients.items()})


@dataclass(frozen=True)
class _One(Schedule):
    """A rate of 1 that remembers the real one."""

    inner: Schedule

    def value(self, count: int) -> float:
        """1."""
        return 1.0


class _WrongFactors(Answers):
    def factors(self) -> dict[str, Any]:
        found = self.inner.factors()
        return {k: 1e-7 if k.endswith("epsilon") else v for k, v in found.items()}


class _NativeNames(Answers):
    def __init__(self, inner: Any, network: Network) -> None:
        super().__init__(inner, network)
        if "kernel" in network.by_name:
            raise AttributeError("kernel")


_FLIP = _changing(spec.BatchNorm, unbiased=lambda layer: not layer.unbiased)
FAULTS = (
    Fault("flatten order", "check_forward-image", params=_reordered, answers=_FlattenOrder),
    Fault("another epsilon", "check_forward-batch_norm", _changing(spec.BatchNorm, epsilon=1e-5)),
    Fault("padding side swapped", "check_forward-conv_stride2_same", _swapped_padding),
    Fault("bias dropped", "check_forward-graph", params=_no_bias, answers=_DroppedBias),
    Fault("float32 arithmetic", "check_forward-pooling", dtype=lambda dtype: "float32"),
    Fault(
        "padding counted",
        "check_forward-pooling",
        _changing(spec.AveragePool, count_padding=lambda layer: not layer.count_padding),
    ),
    Fault("gelu by tanh", "check_forward-activations", _changing(spec.GELU, approximate=True)),
    Fault("half precision", "check_forward_float32-graph", answers=_HalfPrecision),
    Fault("masks ignored", "check_training_outputs-dropout", _changing(spec.Dropout, rate=0.0)),
    Fault("sum for mean", "check_loss-graph", functions=lambda xp: {"mean": xp.sum}),
    Fault("gradients summed", "check_gradients-graph", answers=_SummedGradients),
    Fault("other variance kept", "check_update-batch_norm", _FLIP),
    Fault("statistics frozen", "check_update-dropout", _changing(spec.BatchNorm, keep=1.0)),
    Fault("loss after the update", "check_update-graph", answers=_LateLoss),
    Fault("loss learns", "check_looking-dropout", answers=_LearningLoss),
    Fault("params through float32", "check_params-graph", answers=_Float32Params),
    Fault("target never synced", "check_target-graph", answers=_NeverSynced),
    Fault("factors not read back", "check_factors-batch_norm", answers=_WrongFactors),
    Fault("bytes scaled", "check_bytes-image", answers=_ScaledBytes),
    Fault("slots not restored", "check_restore-dropout", answers=_ForgottenSlots),
    Fault("masks not restored", "check_restore-dropout", answers=_ForgottenMasks),
    Fault("unsteady update", "check_repeat-pooling", answers=_Unsteady),
    Fault("any params taken", "check_mistakes-graph", answers=_LenientParams),
    Fault(
        "epsilon inside the root",
        "check_rule-adam",
        rule=lambda rule: replace(rule, epsilon_inside_root=True),
    ),
    Fault(
        "epsilon after the correction",
        "check_rule-adam_before_correction",
        rule=lambda rule: replace(rule, epsilon_before_correction=False),
    ),
    Fault("decay coupled", "check_rule-adamw", rule=_coupled),
    Fault(
        "rate in the buffer",
        "check_rule-sgd_momentum",
        rule=lambda rule: replace(rule, rate=_One(rule.rate)),
        answers=_RateInBuffer,
    ),
    Fault(
        "rate one update late",
        "check_rule-sgd_momentum",
        rule=lambda rule: replace(rule, rate=_Late(rule.rate)),
    ),
    Fault(
        "each gradient clipped",
        "check_rule-sgd_clip_global_norm",
        rule=lambda rule: replace(rule, clip=Clip(norm=rule.clip.global_norm)),
    ),
    Fault("count not loaded", "check_slots-adam", answers=_ForgottenCount),
    Fault("moments swapped", "check_slots-adam", answers=_SwappedMoments),
    Fault("rule not read back", "check_rule_factors-rmsprop", answers=_WrongFactors),
    Fault(
        "no stop_gradient",
        "check_function-stop_gradient",
        functions=lambda xp: {"stop_gradient": _same},
    ),
    Fault("corner halved", "check_corners-relu", _halved_corner),
    Fault("names clash", "check_node_name-kernel", answers=_NativeNames),
)
"""Every fault, with the check that must fail; every check of the kit has at least one."""


def broken(backend: Backend, name: str) -> BrokenBackend:
    """Return a backend with the fault of that name; KeyError for an unknown one."""
    return BrokenBackend(backend, {fault.name: fault for fault in FAULTS}[name])
