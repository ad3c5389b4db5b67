"""The public conformance kit: what every backend must do, one small function per promise.

Run it on a backend of your own with pytest::

    @pytest.mark.parametrize("check", checks(), ids=lambda check: check.id)
    def test_conformance(check):
        judge(my_backend, check, waivers={})

Every ``check_*`` takes a backend and a case and raises AssertionError with a sentence that says
what differs, by how much, and what was allowed. The NumPy oracle is the measure. The cases are in
``cases.py``; backends broken on purpose, which the kit must catch, in ``broken.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from triptych.backends import registry
from triptych.backends.protocol import Backend, Batch, DType, Learner, Params, Slots
from triptych.errors import BatchError, TriptychError, Unsupported
from triptych.spec.layers import BatchNorm, Dense, Dropout, Input
from triptych.spec.network import Network, Node
from triptych.spec.rules import SGD, Adam, Clip, constant
from triptych.testing.cases import (
    CLASHES,
    CORNERS,
    FUNCTIONS,
    NETWORKS,
    RULES,
    Bootstrapped,
    CornerCase,
    FunctionCase,
    NetworkCase,
    RuleCase,
)

EXACT, SINGLE, DIFFERENCES = 1e-12, 1e-5, 1e-6
"""Bounds relative to the scale: float64, float32, and gradients against finite differences."""
UPDATES = 60
_RULE = SGD(constant(0.05), momentum=0.9, clip=Clip(global_norm=2.0))


@dataclass(frozen=True)
class Check:
    """One promise on one case; ``check(backend)`` raises AssertionError where it is broken."""

    function: Callable[[Backend, Any], None]
    case: Any

    @property
    def name(self) -> str:
        """The function's name, such as ``check_forward``."""
        return self.function.__name__

    @property
    def id(self) -> str:
        """Name and case, such as ``check_forward-conv_stride2_same``."""
        return f"{self.name}-{self.case.name}"

    def __call__(self, backend: Backend) -> None:
        """Run it."""
        self.function(backend, self.case)


def checks() -> list[Check]:
    """Return every check with every case it applies to, those of one case side by side."""
    named = {case.name: case for case in NETWORKS}
    found = [Check(check, case) for case in NETWORKS for check in _ON_NETWORKS]
    found += [Check(check, named[name]) for check, names in _ON_SOME for name in names]
    found += [Check(check, case) for case in RULES for check in _ON_RULES]
    found += [Check(check_function, case) for case in FUNCTIONS]
    found += [Check(check_corners, case) for case in CORNERS]
    return found + [Check(check_node_name, case) for case in CLASHES]


def judge(backend: Backend, check: Check, waivers: Mapping[str, str]) -> None:
    """Run a check that may be waived; a waiver that is no longer needed fails as well.

    Args:
        backend: the backend to judge.
        check: one of :func:`checks`.
        waivers: reasons by the name or id of a check that this backend is known to fail.
    """
    reason = waivers.get(check.id, waivers.get(check.name))
    if reason is None:
        return check(backend)
    try:
        check(backend)
    except (AssertionError, TriptychError):
        return None
    raise AssertionError(f"{backend.name} passes {check.id}: remove its waiver ({reason!r})")


# --- helpers ---------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _built(backend: Backend, case: NetworkCase, dtype: DType) -> tuple[Learner, dict[str, Any]]:
    learner = backend.learner(
        case.network,
        case.params(),
        objective=Bootstrapped(),
        rule=_RULE,
        dtype=dtype,
        seed=7,
        target=True,
    )
    learner.load_params({n: 0.5 + 0.5 * p for n, p in case.params().items()}, "target")
    return learner, learner.state()


def _learner(backend: Backend, case: NetworkCase, dtype: DType = "float64") -> Learner:
    """A learner in its first state; building is slow, so the last few are kept."""
    learner, first = _built(backend, case, dtype)
    learner.restore(first)
    return learner


def _oracle(case: NetworkCase) -> Learner:
    return _learner(registry.get("numpy"), case)


@lru_cache(maxsize=None)
def _judged_update(case: NetworkCase) -> tuple[float, Params, Params]:
    """Loss, gradients, and params after one update, by the oracle."""
    oracle, batch = _oracle(case), case.batch()
    grads = oracle.gradients(batch)
    return float(oracle.update(batch)), grads, oracle.params()


def _close(got: Any, expected: Any, bound: float, what: str, scale: float | None = None) -> None:
    """Compare arrays relative to the largest expected value, or to ``scale`` if given."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"{what} has shape {got.shape}, expected {expected.shape}"
    assert np.isfinite(got).all(), f"{what} is not finite"
    size = float(np.abs(expected).max(initial=0.0)) if scale is None else scale
    error = float(np.abs(got.astype("float64") - expected).max(initial=0.0))
    assert error <= bound * max(size, 1e-300), (
        f"{what} is off by {error:.3g} where the scale is {size:.3g}; "
        f"allowed is {bound:.0e} of the scale"
    )


def _all_close(got: Params, expected: Params, bound: float, what: str) -> None:
    assert set(got) == set(expected), f"{what}: names {sorted(got)}, expected {sorted(expected)}"
    for name in expected:
        _close(got[name], expected[name], bound, f"{what} of {name!r}")


def _same_bits(got: Any, expected: Any, what: str) -> None:
    """Compare nested dicts of arrays and plain values bit for bit."""
    if isinstance(expected, Mapping):
        assert set(got) == set(expected), f"{what}: keys {sorted(got)}, not {sorted(expected)}"
        for key in expected:
            _same_bits(got[key], expected[key], f"{what}/{key}")
        return
    one, two = np.asarray(got), np.asarray(expected)
    assert one.dtype == two.dtype, f"{what} has type {one.dtype}, expected {two.dtype}"
    assert one.shape == two.shape and one.tobytes() == two.tobytes(), f"{what} is not bit-identical"


def _copy(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {key: _copy(value) for key, value in state.items()}
    return state.copy() if isinstance(state, np.ndarray) else state


# --- on every network ------------------------------------------------------------------------


def check_forward(backend: Backend, case: NetworkCase) -> None:
    """Every node's output in inference mode, float64, is the oracle's."""
    x, learner = case.observations("now"), _learner(backend, case)
    expected = _oracle(case).layer_outputs(x)
    _all_close(learner.layer_outputs(x), expected, EXACT, "output")
    _close(learner.outputs(x), expected[case.network.output.name], EXACT, "outputs()")
    target = _oracle(case).outputs(x, "target")
    _close(learner.outputs(x, "target"), target, EXACT, "outputs() of the target network")


def check_forward_float32(backend: Backend, case: NetworkCase) -> None:
    """Every node's output in inference mode, float32, is near the oracle's."""
    x, learner = case.observations("now"), _learner(backend, case, "float32")
    got = learner.layer_outputs(x)
    _all_close(got, _oracle(case).layer_outputs(x), SINGLE, "float32 output")
    kind = got[case.network.output.name].dtype
    assert kind == np.float32, f"a float32 learner gives outputs of type {kind}"


def check_training_outputs(backend: Backend, case: NetworkCase) -> None:
    """Every node's output in training mode (masks, batch statistics) is the oracle's."""
    x = case.observations("now")
    expected = _oracle(case).layer_outputs(x, training=True)
    got = _learner(backend, case).layer_outputs(x, training=True)
    _all_close(got, expected, EXACT, "training output")


def check_loss(backend: Backend, case: NetworkCase) -> None:
    """The loss on a batch, in training mode and with a target network, is the oracle's."""
    _close(_learner(backend, case).loss(case.batch()), _judged_update(case)[0], EXACT, "loss")


def check_gradients(backend: Backend, case: NetworkCase) -> None:
    """Every parameter's gradient is the oracle's by finite differences."""
    expected = _judged_update(case)[1]
    got = _learner(backend, case).gradients(case.batch())
    assert set(got) == set(expected), f"gradients of {sorted(got)}, expected {sorted(expected)}"
    largest = max(float(np.abs(grad).max()) for grad in expected.values())
    for name, grad in expected.items():
        scale = max(float(np.abs(grad).max()), 1e-2 * largest)
        _close(got[name], grad, DIFFERENCES, f"gradient of {name!r}", scale)


def check_update(backend: Backend, case: NetworkCase) -> None:
    """One update gives the oracle's loss, params and running statistics, and is counted."""
    loss, _, expected = _judged_update(case)
    learner = _learner(backend, case)
    _close(float(learner.update(case.batch())), loss, EXACT, "loss returned by update()")
    assert learner.updates == 1, f"after one update the learner counts {learner.updates}"
    got, start = learner.params(), case.params()
    moved = max(float(np.abs(expected[n] - start[n]).max()) for n in case.network.trainable)
    for name in expected:
        if name in case.network.trainable:
            _close(got[name], expected[name], DIFFERENCES, f"{name!r} after an update", moved)
        else:
            _close(got[name], expected[name], EXACT, f"running {name!r} after an update")


def check_looking(backend: Backend, case: NetworkCase) -> None:
    """Outputs, losses and gradients leave params, statistics and random streams as they were."""
    learner, batch = _learner(backend, case), case.batch()
    before = _copy(learner.state())
    learner.outputs(batch["observation"])
    learner.layer_outputs(batch["observation"], training=True)
    first, second = learner.loss(batch), learner.loss(batch)
    learner.gradients(batch)
    _same_bits(learner.state(), before, "state after looking only")
    assert first == second, f"the loss of one batch is {first!r}, then {second!r}"


def check_params(backend: Backend, case: NetworkCase) -> None:
    """Params in the canonical layout come back bit for bit, in both types and networks."""
    for dtype in ("float64", "float32"):
        learner = _learner(backend, case, dtype)  # type: ignore[arg-type]
        given = {name: (1.0 / 3.0 * array).astype(dtype) for name, array in case.params().items()}
        for network in ("online", "target"):
            learner.load_params(given, network)
            _same_bits(learner.params(network), given, f"{dtype} {network} params")


def check_target(backend: Backend, case: NetworkCase) -> None:
    """The target network stays through updates, and is the online one after sync_target."""
    learner = _learner(backend, case)
    before = learner.params("target")
    learner.update(case.batch())
    _same_bits(learner.params("target"), before, "target params after an update")
    learner.sync_target()
    _same_bits(learner.params("target"), learner.params(), "target params after sync_target()")
    synced = _copy(learner.params())
    learner.update(case.batch())
    _same_bits(learner.params("target"), synced, "synced target params after an update")


def check_factors(backend: Backend, case: NetworkCase) -> None:
    """The constants read back from the live layers are the spec's."""
    found = _learner(backend, case).factors()
    for node in case.network.nodes[1:]:
        expected = {"inputs": list(node.inputs), "kind": node.layer.kind}
        expected |= node.layer.factors(*case.network.input_shapes(node))
        _same_factors(found, expected, node.name)


def _same_factors(found: Mapping[str, Any], expected: Mapping[str, Any], place: str) -> None:
    for key, value in expected.items():
        name = f"{place}.{key}"
        assert name in found, f"factor {name} is not read back; expected {value!r}"
        assert found[name] == value, f"factor {name} is {found[name]!r}, expected {value!r}"


# --- on some networks ------------------------------------------------------------------------


def check_bytes(backend: Backend, case: NetworkCase) -> None:
    """uint8 observations give the bits that the same real numbers give."""
    for dtype in ("float64", "float32"):
        learner = _learner(backend, case, dtype)  # type: ignore[arg-type]
        batch = case.batch()
        real = batch | {key: batch[key].astype(dtype) for key in ("observation", "next")}
        got, expected = (learner.outputs(b["observation"]) for b in (batch, real))
        _same_bits(got, expected, f"{dtype} output of uint8 observations")
        _same_bits(learner.loss(batch), learner.loss(real), f"{dtype} loss of uint8 observations")


def _learn(learner: Learner, batch: Batch, count: int) -> list[float]:
    return [float(learner.update(batch)) for _ in range(count)]


def _adam(backend: Backend, case: NetworkCase, params: Params, seed: int) -> Learner:
    return backend.learner(
        case.network,
        params,
        objective=Bootstrapped(),
        rule=Adam(constant(0.01)),
        dtype="float64",
        seed=seed,
        target=True,
    )


def check_restore(backend: Backend, case: NetworkCase) -> None:
    """Another learner that restores a state goes on bit for bit, dropout masks included."""
    learner, batch = _adam(backend, case, case.params(), seed=1), case.batch()
    _learn(learner, batch, 3)
    state = learner.state()
    kept = _copy(state)
    losses = _learn(learner, batch, 3)
    _same_bits(state, kept, "a state taken before further updates")
    other = _adam(backend, case, {n: p + 1.0 for n, p in case.params().items()}, seed=2)
    other.restore(state)
    _same_bits(other.state(), kept, "restored state")
    _same_bits(_learn(other, batch, 3), losses, "losses after restore()")
    _same_bits(other.state(), learner.state(), "state reached after restore()")


def check_repeat(backend: Backend, case: NetworkCase) -> None:
    """Two equal learners are bit-identical after 20 updates; another seed drops other units."""
    one, two = (_adam(backend, case, case.params(), seed=1) for _ in range(2))
    batch = case.batch()
    _same_bits(_learn(one, batch, 20), _learn(two, batch, 20), "losses of an equal learner")
    _same_bits(two.state(), one.state(), "state of an equal learner")
    if case.network.nodes_of(Dropout):
        other = _adam(backend, case, case.params(), seed=2)
        first = _adam(backend, case, case.params(), seed=1).loss(batch)
        assert other.loss(batch) != first, "the seed does not change the dropout masks"


def check_mistakes(backend: Backend, case: NetworkCase) -> None:
    """Wrong names and shapes raise BatchError, and change nothing."""
    learner, batch = _learner(backend, case), case.batch()
    before = _copy(learner.state())
    for what, attempt in _mistakes(learner, case.params(), batch).items():
        try:
            attempt()
        except BatchError as error:
            assert str(error), f"{what}: the BatchError has no sentence"
        except Exception as error:
            raise AssertionError(f"{what} raises {error!r}, expected a BatchError") from error
        else:
            raise AssertionError(f"{what} is accepted, expected a BatchError")
    _same_bits(learner.state(), before, "state after refused mistakes")


def _mistakes(
    learner: Learner, params: Params, batch: dict[str, np.ndarray]
) -> dict[str, Callable[[], Any]]:
    name, *rest = learner.network.trainable
    grads = {n: params[n] for n in learner.network.trainable}
    slots = learner.slots()
    slot = next(iter(slots.values))
    wide = np.concatenate([params[name], params[name]], axis=-1)
    x = batch["observation"]
    return {
        "params that lack one": lambda: learner.load_params({n: params[n] for n in rest}),
        "params with one too many": lambda: learner.load_params(params | {"no/such": params[name]}),
        "params of a wrong shape": lambda: learner.load_params(params | {name: wide}),
        "gradients that lack one": lambda: learner.apply_gradients({n: grads[n] for n in rest}),
        "gradients of a wrong shape": lambda: learner.apply_gradients(grads | {name: wide}),
        "slots that lack one": lambda: learner.load_slots(Slots(1, {})),
        "slots of a wrong shape": lambda: learner.load_slots(
            Slots(1, {slot: slots.values[slot] | {name: wide}})
        ),
        "observations of a wrong shape": lambda: learner.outputs(x[:, :-1]),
        "one observation without a batch axis": lambda: learner.outputs(x[0]),
        "layer_outputs of a wrong shape": lambda: learner.layer_outputs(x[:, :-1]),
        "a batch of a wrong shape": lambda: learner.update(batch | {"observation": x[:, :-1]}),
        "a batch that lacks 'next'": lambda: learner.loss(
            {key: batch[key] for key in ("observation", "target")}
        ),
    }


# --- on rules, functions, corners and names --------------------------------------------------


def _on_rule(backend: Backend, case: RuleCase) -> Learner:
    return backend.learner(case.network, case.params(), rule=case.rule, dtype="float64")


def check_rule(backend: Backend, case: RuleCase) -> None:
    """Params and slots after 1, 2 and 60 updates with given gradients are the oracle's."""
    learner, oracle = _on_rule(backend, case), _on_rule(registry.get("numpy"), case)
    for count, grads in enumerate(case.gradients(UPDATES), start=1):
        given = _copy(grads)
        learner.apply_gradients(grads)
        _same_bits(grads, given, "gradients handed to apply_gradients()")
        oracle.apply_gradients(grads)
        if count in (1, 2, UPDATES):
            _all_close(learner.params(), oracle.params(), EXACT, f"value at t = {count}")
            for slot, arrays in oracle.slots().values.items():
                _all_close(
                    learner.slots().values[slot], arrays, EXACT, f"slot {slot!r} at t = {count}"
                )


def check_slots(backend: Backend, case: RuleCase) -> None:
    """Slots come back bit for bit, and the next update goes on from them and their count."""
    learner, oracle = _on_rule(backend, case), _on_rule(registry.get("numpy"), case)
    start = learner.slots()
    assert start.updates == 0, f"a new learner counts {start.updates} updates"
    for slot, arrays in oracle.slots().values.items():
        _same_bits(start.values[slot], arrays, f"first slot {slot!r}")
    for one in (learner, oracle):
        for grads in case.gradients(7):
            one.apply_gradients(grads)
    loaded = Slots(7, {s: {n: a / 3.0 for n, a in v.items()} for s, v in oracle.slots().values.items()})
    fresh = _on_rule(backend, case)
    for one in (fresh, oracle):
        one.load_params(case.params())
        one.load_slots(loaded)
    assert fresh.slots().updates == 7, f"slots after 7 updates count {fresh.slots().updates}"
    _same_bits(fresh.slots().values, loaded.values, "slots")
    grads = case.gradients(8)[-1]
    fresh.apply_gradients(grads)
    oracle.apply_gradients(grads)
    _all_close(fresh.params(), oracle.params(), EXACT, "value after loaded slots")


def check_rule_factors(backend: Backend, case: RuleCase) -> None:
    """The constants read back from the live optimizer are the spec's."""
    _same_factors(_on_rule(backend, case).factors(), case.rule.factors(), "optimizer")
