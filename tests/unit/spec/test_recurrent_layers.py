"""Recurrent layers as data: names, shapes, words, initial params, and what can be run in steps."""

from __future__ import annotations

import numpy as np
import pytest

from triptych.errors import NetworkError
from triptych.spec.initial import Initial
from triptych.spec.layers import GRU, LSTM, Elman
from triptych.spec.notation import parse


def test_words() -> None:
    network = parse(
        "8x4 -> lstm 16 sequences -> gru 8 reset_after false gate hard_sigmoid mask -1 "
        "-> dense 3 relu"
    )
    kinds = [node.layer for node in network.nodes[1:3]]
    assert kinds == [
        LSTM(16, sequences=True),
        GRU(8, reset_after=False, gate_activation="hard_sigmoid", mask_value=-1.0),
    ]
    assert network.shapes["lstm1"] == (8, 16)
    assert network.shapes["gru1"] == (8,)
    assert parse("8x4 -> rnn 3 activation relu biases 2 reverse").output.layer == Elman(
        3, "relu", biases=2, reverse=True
    )
    assert [node.layer.kind for node in parse("8x4 -> elman 3 relu").nodes[1:]] == ["elman", "relu"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("8x4 -> lstm", "units is missing; write for example 'lstm 16 sequences'"),
        ("8 -> lstm 3", r"takes \(time, features\) but its input is 8"),
        ("8x4 -> lstm 0", "units must be 1 or more"),
        ("8x4 -> lstm 3 activation gelu", "activation must be one of tanh, sigmoid, relu"),
        ("8x4 -> gru 3 gate tanh", "gate_activation must be one of sigmoid, hard_sigmoid"),
        ("8x4 -> gru 3 reset_after", "'reset_after' needs a value after it"),
        ("8x4 -> gru 3 reset_after maybe", "expected true or false but found 'maybe'"),
        ("8x4 -> gru 3 biases 3", "biases must be 0, 1 or 2 but is 3"),
        ("8x4 -> gru 3 mask x", "expected a number but found 'x'"),
        ("8x4 -> gru 3 candidate_bias true", "goes with biases 1 and reset_after only"),
        ("8x4 -> gru 3 sequence", "did you mean 'sequences'"),
        ("8x4 -> elman 3 gate sigmoid", "is no option of elman"),
    ],
)
def test_mistakes_are_sentences(text: str, sentence: str) -> None:
    with pytest.raises(NetworkError, match=sentence):
        parse(text)


@pytest.mark.parametrize("biases", [0, 1, 2])
def test_every_gate_has_its_own_arrays(biases: int) -> None:
    found = LSTM(5, biases=biases).parameters((7, 3))
    assert len(found) == 4 * (2 + biases)
    for gate in LSTM.gates:
        assert found[f"kernel_{gate}"].shape == (3, 5)
        assert found[f"recurrent_kernel_{gate}"].shape == (5, 5)
        assert (f"bias_{gate}" in found) == (biases > 0)
        assert (f"recurrent_bias_{gate}" in found) == (biases == 2)
    assert list(Elman(5, biases=1).parameters((7, 3))) == ["kernel", "recurrent_kernel", "bias"]
    own = GRU(5, biases=1, candidate_bias=True).parameters((7, 3))
    assert len(own) == 3 * 3 + 1 and own["candidate_bias"].shape == (5,)
    assert LSTM(5).multiply_adds((7, 3)) == 7 * 4 * (3 + 5) * 5


def test_initial_params_by_role() -> None:
    network = parse("6x4 -> lstm 5 biases 2 sequences -> gru 3")
    drawn = Initial(forget_bias=("constant", 1.0), bias=("constant", 0.25)).draw(network, 1)
    for gate in LSTM.gates:
        inner = drawn[f"lstm1/recurrent_kernel_{gate}"]
        np.testing.assert_allclose(inner @ inner.T, np.eye(5), atol=1e-12)
        limit = np.sqrt(6.0 / (4 + 5))
        assert 0.7 * limit < np.abs(drawn[f"lstm1/kernel_{gate}"]).max() <= limit
        assert (drawn[f"lstm1/bias_{gate}"] == (1.0 if gate == "forget" else 0.25)).all()
        assert (drawn[f"lstm1/recurrent_bias_{gate}"] == 0.25).all()
    plain = Initial(bias=("constant", 0.5)).draw(network, 1)
    assert (plain["lstm1/bias_forget"] == 0.5).all()
    wide = Initial(recurrent=("uniform", 0.1)).draw(network, 1)
    assert np.abs(wide["gru1/recurrent_kernel_reset"]).max() <= 0.1
    gates = [drawn[f"lstm1/kernel_{gate}"] for gate in LSTM.gates]
    assert not np.array_equal(gates[0], gates[1]), "every gate has a stream of its own"


def test_states() -> None:
    network = parse("6x4 -> dense 3 tanh -> lstm 5 sequences -> gru 2 -> flatten -> dense 1")
    assert network.states == {"lstm1/hidden": (5,), "lstm1/cell": (5,), "gru1/hidden": (2,)}
    assert parse("6 index -> embedding 9 4 -> elman 2").states == {"elman1/hidden": (2,)}


@pytest.mark.parametrize(
    ("notation", "sentence"),
    [
        ("6x4x2 -> conv 2 2x2 -> flatten", r"over \(time, features\).*takes \(6, 4, 2\)"),
        ("6x4 -> flatten -> dense 2", "'flatten1'.*needs all steps at once"),
        ("6x4 -> lstm 3 sequences -> flatten", "'flatten1'.*needs all steps at once"),
        ("6x4 -> gru 3 reverse", "'gru1' reads the last step first"),
    ],
)
def test_networks_that_cannot_be_run_in_steps(notation: str, sentence: str) -> None:
    with pytest.raises(NetworkError, match=sentence):
        _ = parse(notation).states
