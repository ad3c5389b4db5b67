"""Elman, LSTM and GRU layers over (time, features), one matrix per gate.

Their arrays are named ``<what>_<gate>``: ``kernel`` takes the input, (in, units);
``recurrent_kernel`` takes the state before, (units, units); ``bias`` stands on the input's side and
``recurrent_bias`` on the state's, each (units,). The gates are an LSTM's ``input``, ``forget``,
``cell``, ``output`` and a GRU's ``update``, ``reset``, ``candidate``; an Elman layer has one set
without a gate's name. What a network needs to be run step by step is in ``network.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from triptych.errors import NetworkError
from triptych.spec.layers.base import Layer, Parameter, Shape, need_rank

Bend = Literal["tanh", "sigmoid", "relu"]
"""What a new state passes through."""
Gate = Literal["sigmoid", "hard_sigmoid"]
"""What a gate passes through; the hard one is min(max(x / 6 + 1/2, 0), 1)."""


@dataclass(frozen=True)
class Recurrent(Layer):
    """What the three have in common; the state before the first step is zero.

    Attributes:
        units: the size of the state.
        activation: ``tanh``, ``sigmoid`` or ``relu``.
        biases: 0, 1 (on the input's side) or 2 (one on either side, which are only added up, but
            train differently from one under any rule that is not linear in the gradient).
        sequences: whether the output is the state after every step, or after the last one only.
        reverse: from the last step to the first; with ``sequences`` every output stands at its
            input's step, and without it is the state after the first.
        mask_value: a step whose features all equal this leaves the state as it is (Keras'
            masking); its output is that state. ``None`` masks nothing.
    """

    gates: ClassVar[tuple[str, ...]] = ("",)
    states: ClassVar[tuple[str, ...]] = ("hidden",)
    units: int
    activation: Bend = "tanh"
    biases: int = 1
    sequences: bool = False
    reverse: bool = False
    mask_value: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        what = f"{self.kind} {self.units}"
        if self.units < 1:
            raise NetworkError(f"{what}: units must be 1 or more")
        if self.biases not in (0, 1, 2):
            raise NetworkError(f"{what}: biases must be 0, 1 or 2 but is {self.biases}")
        _check_word(what, "activation", self.activation, get_args(Bend))

    def shape(self, *inputs: Shape) -> Shape:
        """(time, features) -> (time, units) with ``sequences``, else (units,)."""
        need_rank(inputs[0], 2, f"{self.kind} {self.units}")
        return (inputs[0][0], self.units) if self.sequences else (self.units,)

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """The arrays of every gate; fans are those of one gate alone."""
        size, units = inputs[0][-1], self.units
        outer = Parameter((size, units), size, units, role="kernel")
        found = {self.local("kernel", gate): outer for gate in self.gates}
        inner = Parameter((units, units), units, units, role="recurrent")
        found |= {self.local("recurrent_kernel", gate): inner for gate in self.gates}
        if self.biases:
            found |= {self.local("bias", gate): self._bias(gate, size) for gate in self.gates}
        if self.biases == 2:
            held = Parameter((units,), units, units, role="bias")
            found |= {self.local("recurrent_bias", gate): held for gate in self.gates}
        return found

    def _bias(self, gate: str, size: int) -> Parameter:
        role = "forget_bias" if gate == "forget" else "bias"
        return Parameter((self.units,), size, self.units, role=role)

    @staticmethod
    def local(what: str, gate: str) -> str:
        """Return an array's local name: ``kernel_forget``, or ``kernel`` where gates have none."""
        return f"{what}_{gate}" if gate else what

    def multiply_adds(self, *inputs: Shape) -> int:
        """time * gates * (in + units) * units."""
        time, size = inputs[0]
        return time * len(self.gates) * (size + self.units) * self.units


@dataclass(frozen=True)
class Elman(Recurrent):
    """h' = activation(x W + b + h R + c) (Elman 1990)."""

    kind: ClassVar[str] = "elman"


@dataclass(frozen=True)
class LSTM(Recurrent):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    With s_g = x W_g + b_g + h R_g + c_g for each gate g:
    cell' = gate(s_forget) * cell + gate(s_input) * activation(s_cell);
    h' = gate(s_output) * activation(cell').
    """

    kind: ClassVar[str] = "lstm"
    gates: ClassVar[tuple[str, ...]] = ("input", "forget", "cell", "output")
    states: ClassVar[tuple[str, ...]] = ("hidden", "cell")
    gate_activation: Gate = "sigmoid"

    def __post_init__(self) -> None:
        super().__post_init__()
        what = f"{self.kind} {self.units}"
        _check_word(what, "gate_activation", self.gate_activation, get_args(Gate))


@dataclass(frozen=True)
class GRU(Recurrent):
    """Cho et al. 2014: u = gate(s_update), r = gate(s_reset), h' = u * h + (1 - u) * n, and n by
    ``reset_after``.

    With x_g = x W_g + b_g and s_g = x_g + h R_g + c_g for each gate g:
    after: n = activation(x_candidate + r * (h R_candidate + c_candidate)), as PyTorch has it;
    before: n = activation(x_candidate + (r * h) R_candidate + c_candidate), as the paper has it.

    ``biases`` 2 is what PyTorch and Keras (``reset_after``) have. Flax has ``biases`` 1 and
    ``candidate_bias``: of all c only c_candidate, under the name ``candidate_bias``.
    """

    kind: ClassVar[str] = "gru"
    gates: ClassVar[tuple[str, ...]] = ("update", "reset", "candidate")
    biases: int = 2
    gate_activation: Gate = "sigmoid"
    reset_after: bool = True
    candidate_bias: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        what = f"{self.kind} {self.units}"
        _check_word(what, "gate_activation", self.gate_activation, get_args(Gate))
        if self.candidate_bias and not (self.reset_after and self.biases == 1):
            raise NetworkError(
                f"{what}: candidate_bias goes with biases 1 and reset_after only; "
                "two biases hold it already, and before the product it would be a second of one"
            )

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """The arrays of every gate, and the one bias of its own."""
        own = Parameter((self.units,), self.units, self.units, role="bias")
        return super().parameters(*inputs) | (
            {"candidate_bias": own} if self.candidate_bias else {}
        )


def _check_word(what: str, name: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise NetworkError(f"{what}: {name} must be one of {', '.join(known)} but is {word!r}")
