"""The promises a backend keeps about rules, namespace functions, corners and node names."""

from __future__ import annotations

import numpy as np

from triptych.backends import registry
from triptych.backends.protocol import Backend, Learner, Slots
from triptych.errors import TriptychError
from triptych.spec.rules import SGD, constant
from triptych.testing.cases import CornerCase, FunctionCase, NameCase, RuleCase
from triptych.testing.comparing import (
    DIFFERENCES,
    EXACT,
    all_close,
    close,
    copy_of,
    same_bits,
    same_factors,
)

UPDATES = 60


def _on_rule(backend: Backend, case: RuleCase) -> Learner:
    return backend.learner(case.network, case.params(), rule=case.rule, dtype="float64")


def check_rule(backend: Backend, case: RuleCase) -> None:
    """Params and slots after 1, 2 and 60 updates with given gradients are the oracle's."""
    learner, oracle = _on_rule(backend, case), _on_rule(registry.get("numpy"), case)
    for count, grads in enumerate(case.gradients(UPDATES), start=1):
        given = copy_of(grads)
        learner.apply_gradients(grads)
        same_bits(grads, given, "gradients handed to apply_gradients()")
        oracle.apply_gradients(grads)
        if count in (1, 2, UPDATES):
            all_close(learner.params(), oracle.params(), EXACT, f"value at t = {count}")
            for slot, arrays in oracle.slots().values.items():
                all_close(
                    learner.slots().values[slot], arrays, EXACT, f"slot {slot!r} at t = {count}"
                )


def check_slots(backend: Backend, case: RuleCase) -> None:
    """Slots come back bit for bit, and the next update goes on from them and their count."""
    learner, oracle = _on_rule(backend, case), _on_rule(registry.get("numpy"), case)
    start = learner.slots()
    assert start.updates == 0, f"a new learner counts {start.updates} updates"
    for slot, arrays in oracle.slots().values.items():
        same_bits(start.values[slot], arrays, f"first slot {slot!r}")
    for grads in case.gradients(7):
        oracle.apply_gradients(grads)
    values = oracle.slots().values
    loaded = Slots(7, {s: {n: a / 3.0 for n, a in v.items()} for s, v in values.items()})
    for one in (learner, oracle):
        one.load_params(case.params())
        one.load_slots(loaded)
    assert learner.slots().updates == 7, f"slots after 7 updates count {learner.slots().updates}"
    same_bits(learner.slots().values, loaded.values, "slots")
    grads = case.gradients(8)[-1]
    learner.apply_gradients(grads)
    oracle.apply_gradients(grads)
    all_close(learner.params(), oracle.params(), EXACT, "value after loaded slots")


def check_rule_factors(backend: Backend, case: RuleCase) -> None:
    """The constants read back from the live optimizer are the spec's."""
    same_factors(_on_rule(backend, case).factors(), case.rule.factors(), "optimizer")


def check_function(backend: Backend, case: FunctionCase) -> None:
    """A namespace function gives NumPy's value, and the oracle's gradient by differences."""
    batch, params = case.batch(), case.params()
    learner, oracle = (
        one.learner(case.network, params, objective=case, dtype="float64")
        for one in (backend, registry.get("numpy"))
    )
    y = batch["observation"] @ params["dense1/kernel"] + params["dense1/bias"]
    expected = float(np.square(case.expected(y, batch)).sum())
    close(learner.loss(batch), expected, EXACT, f"the loss by {case.name}")
    got, grads = learner.gradients(batch), oracle.gradients(batch)
    scale = max(float(np.abs(grad).max()) for grad in grads.values())
    for name, grad in grads.items():
        close(got[name], grad, DIFFERENCES, f"gradient of {name!r} through {case.name}", scale)


def check_corners(backend: Backend, case: CornerCase) -> None:
    """At its corners an activation has the formula's value and the flatter side's slope."""
    learner = backend.learner(case.network, case.params(), objective=case, dtype="float64")
    batch = case.batch()
    values = learner.outputs(batch["observation"])[0]
    slopes = learner.gradients(batch)["dense1/bias"]
    for (x, y, slope), value, found in zip(case.corners, values, slopes, strict=True):
        close(value, y, EXACT, f"{case.name} at {x}", scale=1.0)
        close(found, slope, EXACT, f"slope of {case.name} at {x}", scale=1.0)


def check_node_name(backend: Backend, case: NameCase) -> None:
    """A node named like something native works, or is refused with an error that says so."""
    params = case.params()
    try:
        learner = backend.learner(
            case.network, params, objective=case, rule=SGD(constant(0.1)), dtype="float64"
        )
    except TriptychError as error:
        assert case.name in str(error), f"refused without naming {case.name!r}: {error}"
        return
    except Exception as error:
        raise AssertionError(f"a node named {case.name!r} raises {error!r}") from error
    oracle = registry.get("numpy").learner(case.network, params, objective=case, dtype="float64")
    batch = case.batch()
    all_close(
        learner.layer_outputs(batch["observation"]),
        oracle.layer_outputs(batch["observation"]),
        EXACT,
        "output",
    )
    close(float(learner.update(batch)), oracle.loss(batch), EXACT, "loss")
