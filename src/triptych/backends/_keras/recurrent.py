"""The recurrent layers as Keras layers.

``SimpleRNN``, ``LSTM`` and ``GRU`` are used where they have as many biases as the spec asks for;
elsewhere ``keras.layers.RNN`` runs the cell that stands here, with the attributes and layouts of
Keras' own. The mask is made from the layer's own input, so that it ends where the layer ends;
Keras would hand it on to every layer behind.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from triptych.backends._keras.layers import Build, _hard_sigmoid
from triptych.backends.reading import Reader
from triptych.spec import layers as spec
from triptych.spec.layers import Shape

State = dict[str, Any]
_UNROLLED = 16
"""The most steps that are laid out in the graph: for a few, TensorFlow's loop costs more than they
do, above all its gradient."""


def _sixth(x: Any) -> Any:
    return _hard_sigmoid(x, 1 / 6)


FUNCTIONS = {"tanh": tf.tanh, "relu": tf.nn.relu, "sigmoid": tf.sigmoid, "hard_sigmoid": _sixth}
GATES = {"elman": spec.Elman.gates, "lstm": spec.LSTM.gates, "gru": spec.GRU.gates}
"""The gates in the order in which Keras puts them side by side: the spec's own."""


class OverTime(keras.layers.RNN):
    """What all share: masks by value, time reversed and turned back, single steps."""

    cell: Any

    def arrange(self, layer: Any) -> Any:
        """Take over how the spec's layer runs over time."""
        self.kind, self.reverse, self.mask_value = layer.kind, layer.reverse, layer.mask_value
        return self

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        """(batch, time, features) -> (batch, time, units) or (batch, units)."""
        x = tf.reverse(sequences, [1]) if self.reverse else sequences
        y = super().call(x, initial_state=initial_state, mask=self._seen(x), training=training)
        return tf.reverse(y, [1]) if self.reverse and self.return_sequences else y

    def step(self, x: Any, state: State) -> State:
        """Return the state after one step of (batch, features)."""
        after = self.cell(x, list(state.values()))[1]
        if self.mask_value is not None:
            seen = tf.expand_dims(self._seen(x), -1)
            after = [tf.where(seen, a, b) for a, b in zip(after, state.values(), strict=True)]
        return dict(zip(state, after, strict=True))

    def _seen(self, x: Any) -> Any:
        if self.mask_value is None:
            return None
        return tf.reduce_any(x != tf.constant(self.mask_value, x.dtype), axis=-1)


class RNN(OverTime):
    """``keras.layers.RNN`` around a :class:`Cell`."""


class SimpleRNN(OverTime, keras.layers.SimpleRNN):
    """``keras.layers.SimpleRNN``."""


class LSTM(OverTime, keras.layers.LSTM):
    """``keras.layers.LSTM``."""


class GRU(OverTime, keras.layers.GRU):
    """``keras.layers.GRU``."""


class Cell(keras.layers.Layer):
    """A cell for what Keras' own do not compute: two biases, or a GRU's bias of the candidate.

    ``bias`` is (gates * units,), or (2, gates * units) with the input's side first, as in a GRU.
    """

    def __init__(self, layer: Any, **options: Any) -> None:
        super().__init__(**options)
        self.kind, self.units, self.biases = layer.kind, layer.units, layer.biases
        self.activation = FUNCTIONS[layer.activation]
        self.recurrent_activation = FUNCTIONS[getattr(layer, "gate_activation", "sigmoid")]
        self.reset_after = getattr(layer, "reset_after", False)
        self.has_candidate_bias = getattr(layer, "candidate_bias", False)
        self.state_size = [layer.units] * len(layer.states)
        self.output_size = layer.units

    def build(self, input_shape: Any) -> None:
        """Create the arrays for (batch, features)."""
        wide = len(GATES[self.kind]) * self.units

        def zeros(name: str, *shape: int) -> Any:
            return self.add_weight(shape=shape, initializer="zeros", name=name)

        self.kernel = zeros("kernel", input_shape[-1], wide)
        self.recurrent_kernel = zeros("recurrent_kernel", self.units, wide)
        if self.biases:
            self.bias = zeros("bias", *([wide] if self.biases == 1 else [2, wide]))
        if self.has_candidate_bias:
            self.candidate_bias = zeros("candidate_bias", self.units)

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """(batch, features) and the states before -> the output and the states after."""
        bias = [self.bias] if self.biases == 1 else tf.unstack(self.bias) if self.biases else []
        taken = tf.matmul(inputs, self.kernel) + (bias[0] if bias else 0.0)
        after = getattr(self, f"_{self.kind}")(taken, states, bias[1] if len(bias) > 1 else 0.0)
        return after[0], after

    def _elman(self, taken: Any, states: Any, bias: Any) -> list[Any]:
        return [self.activation(taken + (tf.matmul(states[0], self.recurrent_kernel) + bias))]

    def _lstm(self, taken: Any, states: Any, bias: Any) -> list[Any]:
        gate, (hidden, cell) = self.recurrent_activation, states
        total = taken + (tf.matmul(hidden, self.recurrent_kernel) + bias)
        i, f, c, o = tf.split(total, 4, axis=-1)
        cell = gate(f) * cell + gate(i) * self.activation(c)
        return [gate(o) * self.activation(cell), cell]

    def _gru(self, taken: Any, states: Any, bias: Any) -> list[Any]:
        gate, (hidden,) = self.recurrent_activation, states
        x_update, x_reset, x_candidate = tf.split(taken, 3, axis=-1)
        held = tf.matmul(hidden, self.recurrent_kernel) + bias
        h_update, h_reset, h_candidate = tf.split(held, 3, axis=-1)
        update, reset = gate(x_update + h_update), gate(x_reset + h_reset)
        if self.reset_after:
            inner = reset * (h_candidate + (self.candidate_bias if self.has_candidate_bias else 0))
        else:
            wide = 2 * self.units
            inner = tf.matmul(reset * hidden, self.recurrent_kernel[:, wide:])
            inner += bias[wide:] if self.biases == 2 else 0.0
        return [update * hidden + (1.0 - update) * self.activation(x_candidate + inner)]


def is_native(layer: Any) -> bool:
    """Return whether Keras' own layer has the biases that a layer asks for."""
    if layer.kind == "gru":
        return not layer.candidate_bias and layer.biases in (0, 2 if layer.reset_after else 1)
    return bool(layer.biases < 2)


def _build(layer: Any, shape: Shape, options: dict[str, Any]) -> Any:
    over_time = {
        "return_sequences": layer.sequences,
        "zero_output_for_mask": False,
        "unroll": shape[0] <= _UNROLLED,
    }
    if not is_native(layer):
        cell = Cell(layer, dtype=options["dtype"])
        return RNN(cell, **over_time, **options).arrange(layer)
    own: dict[str, Any] = {
        "activation": FUNCTIONS[layer.activation],
        "use_bias": layer.biases > 0,
        **{f"{what}_initializer": "zeros" for what in ("kernel", "recurrent", "bias")},
    }
    if layer.kind == "elman":
        return SimpleRNN(layer.units, **own, **over_time, **options).arrange(layer)
    own |= {"recurrent_activation": FUNCTIONS[layer.gate_activation], "use_cudnn": False}
    if layer.kind == "lstm":
        own["unit_forget_bias"] = False
        return LSTM(layer.units, **own, **over_time, **options).arrange(layer)
    own["reset_after"] = layer.reset_after
    return GRU(layer.units, **own, **over_time, **options).arrange(layer)


BUILDERS: dict[str, Build] = {kind: _build for kind in GATES}


# --- reading back --------------------------------------------------------------------------------


def _read(layer: Any) -> dict[str, Any]:
    cell = layer.cell
    words = {function: word for word, function in FUNCTIONS.items()}
    bias = getattr(cell, "bias", None)
    found = {
        "kind": layer.kind,
        "units": cell.units,
        "activation": words.get(cell.activation, repr(cell.activation)),
        "biases": 0 if bias is None else len(bias.shape),
        "sequences": layer.return_sequences,
        "reverse": layer.reverse,
        "mask_value": layer.mask_value,
    }
    if layer.kind != "elman":
        gate = cell.recurrent_activation
        found["gate_activation"] = words.get(gate, repr(gate))
    if layer.kind == "gru":
        found["reset_after"] = cell.reset_after
        found["candidate_bias"] = getattr(cell, "candidate_bias", None) is not None
    return found


READERS: dict[type, Reader] = {kind: _read for kind in (RNN, SimpleRNN, LSTM, GRU)}
