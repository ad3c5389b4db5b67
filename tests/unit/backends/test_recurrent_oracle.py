"""The oracle's recurrent layers against numbers worked out by hand, and its steps' mistakes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from triptych.backends import registry
from triptych.backends.layout import Home, gates, join
from triptych.errors import BatchError
from triptych.spec.notation import parse


def learner(notation: str, **values: float) -> Any:
    """An oracle's learner of one unit: params by local name, 0 where not given."""
    network = parse(notation)
    params = {
        name: np.full(item.shape, values.get(name.split("/")[1], 0.0))
        for name, item in network.parameters.items()
    }
    return registry.get("numpy").learner(network, params)


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


X = np.array([[[1.0], [-2.0], [0.5]]])


def test_elman_by_hand() -> None:
    values = {"kernel": 0.5, "recurrent_kernel": -1.5, "bias": 0.1, "recurrent_bias": 0.2}
    h, expected = 0.0, []
    for x in X.ravel():
        h = math.tanh(0.5 * x - 1.5 * h + 0.3)
        expected.append(h)
    got = learner("3x1 -> elman 1 biases 2 sequences", **values).outputs(X)
    np.testing.assert_allclose(got.ravel(), expected, rtol=1e-14)


def test_lstm_by_hand() -> None:
    gate = {"input": 0.3, "forget": -0.4, "cell": 0.8, "output": 1.1}
    values = {f"kernel_{name}": value for name, value in gate.items()}
    values |= {f"recurrent_kernel_{name}": 2.0 * value for name, value in gate.items()}
    values |= {"bias_forget": 1.0}
    h = c = 0.0
    for x in X.ravel():
        s = {name: value * (x + 2.0 * h) for name, value in gate.items()}
        c = sigmoid(s["forget"] + 1.0) * c + sigmoid(s["input"]) * math.tanh(s["cell"])
        h = sigmoid(s["output"]) * math.tanh(c)
    np.testing.assert_allclose(learner("3x1 -> lstm 1", **values).outputs(X), [[h]], rtol=1e-14)


@pytest.mark.parametrize("after", [True, False])
def test_gru_by_hand(after: bool) -> None:
    values = {"kernel_update": 0.3, "kernel_reset": -0.4, "kernel_candidate": 0.8}
    values |= {"recurrent_kernel_reset": 0.7, "recurrent_kernel_candidate": -1.2}
    values |= {"recurrent_bias_candidate": 0.6, "bias_candidate": 0.2}
    h = 0.0
    for x in X.ravel():
        update, reset = sigmoid(0.3 * x), sigmoid(-0.4 * x + 0.7 * h)
        held = reset * (-1.2 * h + 0.6) if after else reset * h * -1.2 + 0.6
        h = update * h + (1.0 - update) * math.tanh(0.8 * x + 0.2 + held)
    got = learner(f"3x1 -> gru 1 reset_after {str(after).lower()}", **values).outputs(X)
    np.testing.assert_allclose(got, [[h]], rtol=1e-14)


def test_candidate_bias_is_inside_the_reset() -> None:
    own = {"kernel_candidate": 0.8, "recurrent_kernel_candidate": -1.2, "kernel_reset": 0.5}
    one = learner("3x1 -> gru 1 biases 1 candidate_bias true", candidate_bias=0.6, **own)
    two = learner("3x1 -> gru 1", recurrent_bias_candidate=0.6, **own)
    np.testing.assert_array_equal(one.outputs(X), two.outputs(X))


def test_masked_steps_leave_the_state() -> None:
    values = {"kernel": 0.5, "recurrent_kernel": -1.5}
    x = np.array([[[1.0], [9.0], [0.5], [9.0]], [[9.0], [1.0], [9.0], [0.5]]])
    got = learner("4x1 -> elman 1 sequences mask 9", **values).outputs(x)[:, :, 0]
    short = learner("2x1 -> elman 1 sequences", **values).outputs(np.array([[[1.0], [0.5]]]))
    first, last = short.ravel()
    np.testing.assert_array_equal(got, [[first, first, last, last], [0.0, first, first, last]])


def test_reversed_outputs_stand_at_their_inputs() -> None:
    values = {"kernel": 0.5, "recurrent_kernel": -1.5}
    forward = learner("3x1 -> elman 1 sequences", **values).outputs(X[:, ::-1])
    backward = learner("3x1 -> elman 1 sequences reverse", **values).outputs(X)
    np.testing.assert_array_equal(backward, forward[:, ::-1])
    end = learner("3x1 -> elman 1 reverse", **values).outputs(X)
    np.testing.assert_array_equal(end, backward[:, 0])


def test_wrong_states_and_steps_are_sentences() -> None:
    one = learner("3x2 -> lstm 4")
    state = one.start(5)
    x = np.zeros((5, 2))
    with pytest.raises(BatchError, match=r"states do not belong.*lacking lstm1/cell"):
        one.step(x, {"lstm1/hidden": state["lstm1/hidden"]})
    with pytest.raises(BatchError, match=r"'lstm1/hidden' has shape \(4, 4\).*begin with start"):
        one.step(x, {name: array[:4] for name, array in state.items()})
    with pytest.raises(BatchError, match="observation"):
        one.step(np.zeros((5, 3)), state)


def test_parts_of_a_native_array_come_apart_and_together() -> None:
    homes = gates(("a", "b", "c"), "bias", "bias", axis=-1, row=1)
    native = np.arange(24.0).reshape(2, 12)
    np.testing.assert_array_equal(homes["bias_b"].piece(native), native[1, 4:8])
    parts = [(home, home.piece(native)) for home in homes.values()]
    joined = join(native.shape, "float64", parts)
    np.testing.assert_array_equal(joined[1], native[1])
    assert not joined[0].any()
    rows = Home("weight", (1, 0), (1, 2))
    np.testing.assert_array_equal(
        rows.piece(np.arange(8.0).reshape(4, 2)), [[4.0, 5.0], [6.0, 7.0]]
    )
