"""The recurrent layers as one NNX module, run over time by ``jax.lax.scan``.

Not ``nnx.LSTMCell`` and its kin: they have one bias on one side, the reset gate behind the product
and no masks. Here every gate's matrix is a parameter of its own, as in Flax's cells, under its
canonical name; for the product they are laid side by side.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from triptych.backends._jax.layers import _PRECISION, Build, _hard_sigmoid
from triptych.backends.reading import Reader
from triptych.spec import layers as spec
from triptych.spec.layers import Shape

State = dict[str, Array]
FUNCTIONS = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": lambda x: _hard_sigmoid(x, 1 / 6),
}


class Recurrent(nnx.Module):
    """What the three have in common; a subclass says how a state follows from the one before."""

    kind = ""
    gates: tuple[str, ...] = ()
    states: tuple[str, ...] = ("hidden",)

    def __init__(self, layer: Any, shape: Shape, dtype: Any) -> None:
        self.units, self.biases = layer.units, layer.biases
        self.sequences, self.reverse = layer.sequences, layer.reverse
        self.mask_value, self.activation = layer.mask_value, layer.activation
        for name, parameter in layer.parameters(shape).items():
            setattr(self, name, nnx.Param(jnp.zeros(parameter.shape, dtype)))

    def __call__(self, x: Array) -> Array:
        """(batch, time, features) -> (batch, time, units) or (batch, units)."""
        start = {name: jnp.zeros((len(x), self.units), x.dtype) for name in self.states}

        def move(state: State, part: tuple[Array, Array]) -> tuple[State, Array]:
            state = self._keep(part[0], state, self.advance(part[1], state))
            return state, state["hidden"]

        parts = (jnp.swapaxes(x, 0, 1), jnp.swapaxes(self._taken(x), 0, 1))
        last, hidden = jax.lax.scan(move, start, parts, reverse=self.reverse)
        return jnp.swapaxes(hidden, 0, 1) if self.sequences else last["hidden"]

    def step(self, x: Array, state: State) -> State:
        """Return the state after one step of (batch, features)."""
        return self._keep(x, state, self.advance(self._taken(x), state))

    def advance(self, taken: Array, state: State) -> State:
        """Return the state that follows, given what the gates take from the input."""
        raise NotImplementedError

    def _keep(self, x: Array, before: State, after: State) -> State:
        """The state before where a step is masked."""
        if self.mask_value is None:
            return after
        seen = (x != self.mask_value).any(-1, keepdims=True)
        return {name: jnp.where(seen, after[name], before[name]) for name in after}

    def _side(self, what: str, gates: tuple[str, ...] | None = None) -> Array:
        """The arrays of all gates, or of some, side by side."""
        names = [spec.Recurrent.local(what, gate) for gate in gates or self.gates]
        return jnp.concatenate([getattr(self, name)[...] for name in names], axis=-1)

    def _taken(self, x: Array) -> Array:
        product = jnp.matmul(x, self._side("kernel"), precision=_PRECISION)
        return product + self._side("bias") if self.biases else product

    def _held(self, h: Array, gates: tuple[str, ...] | None = None) -> Array:
        product = jnp.matmul(h, self._side("recurrent_kernel", gates), precision=_PRECISION)
        return product + self._side("recurrent_bias", gates) if self.biases == 2 else product


class Elman(Recurrent):
    """See :class:`triptych.spec.layers.Elman`."""

    kind, gates = "elman", spec.Elman.gates

    def advance(self, taken: Array, state: State) -> State:
        """h' = activation(x W + b + h R + c)."""
        return {"hidden": FUNCTIONS[self.activation](taken + self._held(state["hidden"]))}


class LSTM(Recurrent):
    """See :class:`triptych.spec.layers.LSTM`."""

    kind, gates, states = "lstm", spec.LSTM.gates, spec.LSTM.states

    def __init__(self, layer: spec.LSTM, shape: Shape, dtype: Any) -> None:
        super().__init__(layer, shape, dtype)
        self.gate_activation = layer.gate_activation

    def advance(self, taken: Array, state: State) -> State:
        """cell' = forget * cell + input * activation(s_cell); h' = output * activation(cell')."""
        bend, gate = FUNCTIONS[self.activation], FUNCTIONS[self.gate_activation]
        i, f, g, o = jnp.split(taken + self._held(state["hidden"]), 4, axis=-1)
        cell = gate(f) * state["cell"] + gate(i) * bend(g)
        return {"hidden": gate(o) * bend(cell), "cell": cell}


class GRU(Recurrent):
    """See :class:`triptych.spec.layers.GRU`."""

    kind, gates = "gru", spec.GRU.gates

    def __init__(self, layer: spec.GRU, shape: Shape, dtype: Any) -> None:
        super().__init__(layer, shape, dtype)
        self.gate_activation, self.reset_after = layer.gate_activation, layer.reset_after
        self.has_candidate_bias = layer.candidate_bias

    def advance(self, taken: Array, state: State) -> State:
        """h' = update * h + (1 - update) * n."""
        h, bend, gate = state["hidden"], FUNCTIONS[self.activation], FUNCTIONS[self.gate_activation]
        x_update, x_reset, x_candidate = jnp.split(taken, 3, axis=-1)
        h_update, h_reset = jnp.split(self._held(h, ("update", "reset")), 2, axis=-1)
        update, reset = gate(x_update + h_update), gate(x_reset + h_reset)
        if self.reset_after:
            inner = self._held(h, ("candidate",))
            inner = inner + self.candidate_bias[...] if self.has_candidate_bias else inner
            inner = reset * inner
        else:
            inner = self._held(reset * h, ("candidate",))
        return {"hidden": update * h + (1.0 - update) * bend(x_candidate + inner)}


BUILDERS: dict[str, Build] = {"elman": Elman, "lstm": LSTM, "gru": GRU}


# --- reading back --------------------------------------------------------------------------------


def _read(module: Any) -> dict[str, Any]:
    side = f"_{module.gates[0]}" if module.gates[0] else ""
    names = ("units", "activation", "sequences", "reverse", "mask_value")
    found = {"kind": module.kind} | {name: getattr(module, name) for name in names}
    found["biases"] = sum(hasattr(module, f"{what}{side}") for what in ("bias", "recurrent_bias"))
    if module.kind != "elman":
        found["gate_activation"] = module.gate_activation
    if module.kind == "gru":
        found["reset_after"] = module.reset_after
        found["candidate_bias"] = hasattr(module, "candidate_bias")
    return found


READERS: dict[type, Reader] = {Elman: _read, LSTM: _read, GRU: _read}
