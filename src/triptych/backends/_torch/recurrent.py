"""The recurrent layers as PyTorch modules.

``nn.RNN``, ``nn.LSTM`` and ``nn.GRU`` are used where they compute the spec's formula. Other
functions, masks, a reset before the product and Flax's single bias of a GRU's candidate are loops
over time on weights of the same names and layouts. PyTorch always has two biases or none: where
the spec has one, ``bias_hh_l0`` is zero and does not learn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.backends._torch.layers import Build
from triptych.backends.reading import Reader
from triptych.spec import layers as spec
from triptych.spec.layers import Shape

State = dict[str, Tensor]
GATES = {
    "elman": spec.Elman.gates,
    "lstm": spec.LSTM.gates,
    "gru": ("reset", "update", "candidate"),
}
"""The gates in the order in which PyTorch stacks their rows."""
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": F.hardsigmoid,
}


class _Native(nn.RNNBase):
    """What the three native modules share: one tensor as output, and single steps."""

    sequences: bool
    reverse: bool

    @classmethod
    def of(cls, layer: Any, size: int, dtype: torch.dtype, **options: Any) -> Any:
        """Build the module of a layer that takes ``size`` features."""
        bias = layer.biases > 0
        module = cls(size, layer.units, bias=bias, batch_first=True, dtype=dtype, **options)
        module.sequences, module.reverse = layer.sequences, layer.reverse
        if layer.biases == 1:
            nn.init.zeros_(module.bias_hh_l0)
            module.bias_hh_l0.requires_grad_(False)
        return module

    def forward(self, x: Tensor, hx: Any = None) -> Tensor:
        """(batch, time, features) -> (batch, time, units) or (batch, units)."""
        hidden: Tensor = super().forward(x.flip(1) if self.reverse else x, hx)[0]
        if not self.sequences:
            return hidden[:, -1]
        return hidden.flip(1) if self.reverse else hidden

    def step(self, x: Tensor, state: State) -> State:
        """Return the state after one step of (batch, features)."""
        held = tuple(value.unsqueeze(0) for value in state.values())
        after = super().forward(x.unsqueeze(1), held if len(held) > 1 else held[0])[1]
        parts = after if len(held) > 1 else (after,)
        return {name: part[0] for name, part in zip(state, parts, strict=True)}


class RNN(_Native, nn.RNN):
    """``nn.RNN`` with tanh or relu."""


class LSTM(_Native, nn.LSTM):
    """``nn.LSTM``."""


class GRU(_Native, nn.GRU):
    """``nn.GRU``."""


class Loop(nn.Module):
    """A recurrent layer as a loop over time, for what PyTorch's modules do not compute."""

    def __init__(self, layer: Any, size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.kind, self.hidden_size = layer.kind, layer.units
        self.activation, self.gate_activation = layer.activation, _of(layer, "gate_activation")
        self.sequences, self.reverse = layer.sequences, layer.reverse
        self.mask_value, self.reset_after = layer.mask_value, _of(layer, "reset_after")
        rows = len(GATES[layer.kind]) * layer.units

        def zeros(*shape: int, wanted: bool = True) -> nn.Parameter | None:
            return nn.Parameter(torch.zeros(*shape, dtype=dtype)) if wanted else None

        self.weight_ih_l0, self.weight_hh_l0 = zeros(rows, size), zeros(rows, layer.units)
        self.bias_ih_l0 = zeros(rows, wanted=layer.biases > 0)
        self.bias_hh_l0 = zeros(rows, wanted=layer.biases == 2)
        self.candidate_bias = zeros(layer.units, wanted=bool(_of(layer, "candidate_bias")))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, features) -> (batch, time, units) or (batch, units)."""
        state = {name: x.new_zeros(len(x), self.hidden_size) for name in self._states()}
        hidden = []
        for part in reversed(x.unbind(1)) if self.reverse else x.unbind(1):
            state = self.step(part, state)
            hidden.append(state["hidden"])
        if not self.sequences:
            return state["hidden"]
        return torch.stack(hidden[::-1] if self.reverse else hidden, dim=1)

    def step(self, x: Tensor, state: State) -> State:
        """Return the state after one step of (batch, features)."""
        taken = F.linear(x, self.weight_ih_l0, self.bias_ih_l0)
        after: State = getattr(self, f"_{self.kind}")(taken, state)
        if self.mask_value is None:
            return after
        seen = (x != self.mask_value).any(-1, keepdim=True)
        return {name: torch.where(seen, after[name], state[name]) for name in after}

    def _states(self) -> tuple[str, ...]:
        return ("hidden", "cell") if self.kind == "lstm" else ("hidden",)

    def _held(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight_hh_l0, self.bias_hh_l0)

    def _elman(self, taken: Tensor, state: State) -> State:
        return {"hidden": FUNCTIONS[self.activation](taken + self._held(state["hidden"]))}

    def _lstm(self, taken: Tensor, state: State) -> State:
        bend, gate = FUNCTIONS[self.activation], FUNCTIONS[self.gate_activation]
        i, f, g, o = (taken + self._held(state["hidden"])).chunk(4, dim=-1)
        cell = gate(f) * state["cell"] + gate(i) * bend(g)
        return {"hidden": gate(o) * bend(cell), "cell": cell}

    def _gru(self, taken: Tensor, state: State) -> State:
        bend, gate = FUNCTIONS[self.activation], FUNCTIONS[self.gate_activation]
        h = state["hidden"]
        x_reset, x_update, x_candidate = taken.chunk(3, dim=-1)
        h_reset, h_update, h_candidate = self._held(h).chunk(3, dim=-1)
        reset, update = gate(x_reset + h_reset), gate(x_update + h_update)
        if not self.reset_after:
            # The product is with the state that the gate has scaled.
            bias = None if self.bias_hh_l0 is None else self.bias_hh_l0.chunk(3)[2]
            inner = F.linear(reset * h, self.weight_hh_l0.chunk(3)[2], bias)  # type: ignore[union-attr]
        else:
            if self.candidate_bias is not None:
                h_candidate = h_candidate + self.candidate_bias
            inner = reset * h_candidate
        return {"hidden": update * h + (1.0 - update) * bend(x_candidate + inner)}


def _of(layer: Any, name: str) -> Any:
    return getattr(layer, name, None)


def is_native(layer: Any) -> bool:
    """Return whether PyTorch's own module computes a layer's formula."""
    if layer.mask_value is not None:
        return False
    if layer.kind == "elman":
        return layer.activation in ("tanh", "relu")
    usual = layer.activation == "tanh" and layer.gate_activation == "sigmoid"
    return usual and (layer.kind == "lstm" or (layer.reset_after and not layer.candidate_bias))


def _build(layer: Any, shape: Shape, dtype: torch.dtype) -> nn.Module:
    if not is_native(layer):
        return Loop(layer, shape[-1], dtype)
    if layer.kind == "elman":
        return RNN.of(layer, shape[-1], dtype, nonlinearity=layer.activation)
    return (LSTM if layer.kind == "lstm" else GRU).of(layer, shape[-1], dtype)


BUILDERS: dict[str, Build] = {kind: _build for kind in GATES}
MODULES = (RNN, LSTM, GRU, Loop)


# --- reading back --------------------------------------------------------------------------------


def _biases(module: Any) -> int:
    own = [getattr(module, name, None) for name in ("bias_ih_l0", "bias_hh_l0")]
    return sum(bias is not None and bias.requires_grad for bias in own)


def _common(module: Any) -> dict[str, Any]:
    return {
        "units": module.hidden_size,
        "biases": _biases(module),
        "sequences": module.sequences,
        "reverse": module.reverse,
    }


def _native(kind: str, **facts: Any) -> Reader:
    """A reader of a native module; ``facts`` are what its class computes."""
    return lambda module: (
        {"kind": kind, "activation": "tanh", "mask_value": None} | _common(module) | facts
    )


def _loop(module: Loop) -> dict[str, Any]:
    found = {"kind": module.kind, "activation": module.activation, "mask_value": module.mask_value}
    if module.kind != "elman":
        found["gate_activation"] = module.gate_activation
    if module.kind == "gru":
        found["reset_after"] = module.reset_after
        found["candidate_bias"] = module.candidate_bias is not None
    return found | _common(module)


READERS: dict[type[nn.Module], Reader] = {
    RNN: lambda module: _native("elman", activation=module.nonlinearity)(module),
    LSTM: _native("lstm", gate_activation="sigmoid"),
    GRU: _native("gru", gate_activation="sigmoid", reset_after=True, candidate_bias=False),
    Loop: _loop,
}
