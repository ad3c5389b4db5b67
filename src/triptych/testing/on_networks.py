"""The promises a backend keeps about networks: outputs, losses, gradients, updates, states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from triptych.backends.protocol import Backend, Batch, DType, Learner, Params, Slots
from triptych.errors import BatchError
from triptych.spec.layers import Dropout
from triptych.spec.rules import Adam, constant
from triptych.testing.cases import Bootstrapped, NetworkCase
from triptych.testing.comparing import (
    DIFFERENCES,
    EXACT,
    SINGLE,
    all_close,
    close,
    copy_of,
    judged_update,
    learner_of,
    oracle_of,
    same_bits,
    same_factors,
)

_DTYPES: tuple[DType, ...] = ("float64", "float32")


def check_forward(backend: Backend, case: NetworkCase) -> None:
    """Every node's output in inference mode, float64, is the oracle's."""
    x, learner = case.observations("now"), learner_of(backend, case)
    expected = oracle_of(case).layer_outputs(x)
    all_close(learner.layer_outputs(x), expected, EXACT, "output")
    close(learner.outputs(x), expected[case.network.output.name], EXACT, "outputs()")
    target = oracle_of(case).outputs(x, "target")
    close(learner.outputs(x, "target"), target, EXACT, "outputs() of the target network")


def check_forward_float32(backend: Backend, case: NetworkCase) -> None:
    """Every node's output in inference mode, float32, is near the oracle's."""
    x, learner = case.observations("now"), learner_of(backend, case, "float32")
    got = learner.layer_outputs(x)
    all_close(got, oracle_of(case).layer_outputs(x), SINGLE, "float32 output")
    inner = [node.name for node in case.network.nodes[1:]]
    wrong = [f"{name}: {got[name].dtype}" for name in inner if got[name].dtype != np.float32]
    assert not wrong, f"a float32 learner computes in other types: {', '.join(wrong)}"


def check_training_outputs(backend: Backend, case: NetworkCase) -> None:
    """Every node's output in training mode (masks, batch statistics) is the oracle's."""
    x = case.observations("now")
    expected = oracle_of(case).layer_outputs(x, training=True)
    got = learner_of(backend, case).layer_outputs(x, training=True)
    all_close(got, expected, EXACT, "training output")


def check_loss(backend: Backend, case: NetworkCase) -> None:
    """The loss on a batch, in training mode and with a target network, is the oracle's."""
    close(learner_of(backend, case).loss(case.batch()), judged_update(case)[0], EXACT, "loss")


def check_gradients(backend: Backend, case: NetworkCase) -> None:
    """Every parameter's gradient is the oracle's by finite differences."""
    expected = judged_update(case)[1]
    got = learner_of(backend, case).gradients(case.batch())
    assert set(got) == set(expected), f"gradients of {sorted(got)}, expected {sorted(expected)}"
    largest = max(float(np.abs(grad).max()) for grad in expected.values())
    for name, grad in expected.items():
        scale = max(float(np.abs(grad).max()), 1e-2 * largest)
        close(got[name], grad, DIFFERENCES, f"gradient of {name!r}", scale)


def check_update(backend: Backend, case: NetworkCase) -> None:
    """One update gives the oracle's loss, reports, params and running statistics; it is counted."""
    loss, _, expected, reported = judged_update(case)
    learner = learner_of(backend, case)
    close(float(learner.update(case.batch())), loss, EXACT, "loss returned by update()")
    all_close(dict(learner.reported), reported, EXACT, "what update() reported")
    assert learner.updates == 1, f"after one update the learner counts {learner.updates}"
    got, start = learner.params(), case.params()
    moved = max(float(np.abs(expected[n] - start[n]).max()) for n in case.network.trainable)
    for name in expected:
        if name in case.network.trainable:
            close(got[name], expected[name], DIFFERENCES, f"{name!r} after an update", moved)
        else:
            close(got[name], expected[name], EXACT, f"running {name!r} after an update")


def check_looking(backend: Backend, case: NetworkCase) -> None:
    """Outputs, losses and gradients leave params, statistics and random streams as they were."""
    learner, batch = learner_of(backend, case), case.batch()
    before = copy_of(learner.state())
    learner.outputs(batch["observation"])
    learner.layer_outputs(batch["observation"], training=True)
    first, second = learner.loss(batch), learner.loss(batch)
    learner.gradients(batch)
    same_bits(learner.state(), before, "state after looking only")
    assert first == second, f"the loss of one batch is {first!r}, then {second!r}"


def check_params(backend: Backend, case: NetworkCase) -> None:
    """Params in the canonical layout come back bit for bit, in both types and networks."""
    for dtype in _DTYPES:
        learner = learner_of(backend, case, dtype)
        given = {name: (1.0 / 3.0 * array).astype(dtype) for name, array in case.params().items()}
        for network in ("online", "target"):
            learner.load_params(given, network)
            same_bits(learner.params(network), given, f"{dtype} {network} params")


def check_target(backend: Backend, case: NetworkCase) -> None:
    """The target network stays through updates, and is the online one after sync_target."""
    learner = learner_of(backend, case)
    before = learner.params("target")
    learner.update(case.batch())
    same_bits(learner.params("target"), before, "target params after an update")
    learner.sync_target()
    same_bits(learner.params("target"), learner.params(), "target params after sync_target()")
    synced = copy_of(learner.params())
    learner.update(case.batch())
    same_bits(learner.params("target"), synced, "synced target params after an update")


def check_factors(backend: Backend, case: NetworkCase) -> None:
    """The constants read back from the live layers are the spec's."""
    found = learner_of(backend, case).factors()
    for node in case.network.nodes[1:]:
        expected = {"inputs": list(node.inputs), "kind": node.layer.kind}
        expected |= {"shares": node.shares} if node.shares else {}
        expected |= node.layer.factors(*case.network.input_shapes(node))
        same_factors(found, expected, node.name)


def check_steps(backend: Backend, case: NetworkCase) -> None:
    """Step by step, each from the state before, the outputs are those of the whole sequence."""
    x, learner = case.observations("now"), learner_of(backend, case)
    whole = oracle_of(case).outputs(x)
    timed = len(case.network.shapes[case.network.output.name]) == 2
    state = learner.start(len(x))
    for time in range(x.shape[1]):
        given = copy_of(state)
        output, state = learner.step(x[:, time], given)
        assert state.keys() == given.keys(), f"states {list(given)} became {list(state)}"
        if timed:
            close(output, whole[:, time], EXACT, f"output of step {time}")
    if not timed:
        close(output, whole, EXACT, "output of the last step")
    assert all(state[name].shape == (len(x), *shape) for name, shape in case.network.states.items())


def check_bytes(backend: Backend, case: NetworkCase) -> None:
    """uint8 observations give the bits that the same real numbers give."""
    for dtype in _DTYPES:
        learner = learner_of(backend, case, dtype)
        batch = case.batch()
        real = batch | {key: batch[key].astype(dtype) for key in ("observation", "next")}
        got, expected = (learner.outputs(b["observation"]) for b in (batch, real))
        same_bits(got, expected, f"{dtype} output of uint8 observations")
        same_bits(learner.loss(batch), learner.loss(real), f"{dtype} loss of uint8 observations")


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
    kept = copy_of(state)
    losses = _learn(learner, batch, 3)
    same_bits(state, kept, "a state taken before further updates")
    other = _adam(backend, case, {n: p + 1.0 for n, p in case.params().items()}, seed=2)
    other.restore(state)
    same_bits(other.state(), kept, "restored state")
    same_bits(_learn(other, batch, 3), losses, "losses after restore()")
    same_bits(other.state(), learner.state(), "state reached after restore()")


def check_repeat(backend: Backend, case: NetworkCase) -> None:
    """Two equal learners are bit-identical after 20 updates; another seed drops other units."""
    one, two = (_adam(backend, case, case.params(), seed=1) for _ in range(2))
    batch = case.batch()
    same_bits(_learn(one, batch, 20), _learn(two, batch, 20), "losses of an equal learner")
    same_bits(two.state(), one.state(), "state of an equal learner")
    if case.network.nodes_of(Dropout):
        other = _adam(backend, case, case.params(), seed=2)
        first = _adam(backend, case, case.params(), seed=1).loss(batch)
        assert other.loss(batch) != first, "the seed does not change the dropout masks"


def check_mistakes(backend: Backend, case: NetworkCase) -> None:
    """Wrong names and shapes raise BatchError, and change nothing."""
    learner, batch = learner_of(backend, case), case.batch()
    before = copy_of(learner.state())
    for what, attempt in _mistakes(learner, case.params(), batch).items():
        try:
            attempt()
        except BatchError as error:
            assert str(error), f"{what}: the BatchError has no sentence"
        except Exception as error:
            raise AssertionError(f"{what} raises {error!r}, expected a BatchError") from error
        else:
            raise AssertionError(f"{what} is accepted, expected a BatchError")
    same_bits(learner.state(), before, "state after refused mistakes")


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
