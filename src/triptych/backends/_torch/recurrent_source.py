"""The words of recurrent layers in PyTorch's native definitions; ``source.py`` has the others'."""

from __future__ import annotations

from collections.abc import Sequence

from triptych.backends._torch.recurrent import is_native
from triptych.backends.sourcing import Site, Step, recurrent_options

_LOOP = '''
class Loop(nn.Module):
    """A recurrent layer step by step, for what nn.RNN, nn.LSTM and nn.GRU do not compute.

    As there, the gates lie below each other, and a call gives all outputs and the last state.
    """

    gates, states = 1, 1

    def __init__(
        self, size: int, units: int, bend, gate=None, biases=0, mask=None, dtype=None, **options
    ) -> None:
        super().__init__()
        rows = self.gates * units
        self.weight_ih_l0 = nn.Parameter(torch.randn(rows, size, dtype=dtype) / units**0.5)
        self.weight_hh_l0 = nn.Parameter(torch.randn(rows, units, dtype=dtype) / units**0.5)
        self.bias_ih_l0 = nn.Parameter(torch.zeros(rows, dtype=dtype)) if biases > 0 else None
        self.bias_hh_l0 = nn.Parameter(torch.zeros(rows, dtype=dtype)) if biases > 1 else None
        self.units, self.bend, self.gate, self.mask = units, bend, gate, mask
        self.set(dtype, **options)

    def set(self, dtype) -> None:
        """Take further options."""

    def forward(self, x: Tensor) -> tuple:
        """(batch, time, size) -> (batch, time, units), and the state after the last step."""
        state = (x.new_zeros(len(x), self.units),) * self.states
        hidden = []
        for part in x.unbind(1):
            taken = F.linear(part, self.weight_ih_l0, self.bias_ih_l0)
            after = self.step(taken, *state)
            if self.mask is not None:
                seen = (part != self.mask).any(-1, keepdim=True)
                after = tuple(torch.where(seen, new, old) for new, old in zip(after, state))
            state = after
            hidden.append(state[0])
        return torch.stack(hidden, dim=1), state

    def held(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight_hh_l0, self.bias_hh_l0)
'''
_ELMAN = """
class ElmanLoop(Loop):
    def step(self, taken: Tensor, h: Tensor) -> tuple:
        return (self.bend(taken + self.held(h)),)
"""
_LSTM = """
class LSTMLoop(Loop):
    gates, states = 4, 2

    def step(self, taken: Tensor, h: Tensor, c: Tensor) -> tuple:
        i, f, g, o = (taken + self.held(h)).chunk(4, dim=-1)
        c = self.gate(f) * c + self.gate(i) * self.bend(g)
        return self.gate(o) * self.bend(c), c
"""
_GRU = '''
class GRULoop(Loop):
    """With the reset after the product as in nn.GRU, or before it as in the paper."""

    gates = 3

    def set(self, dtype, reset_after: bool = True, candidate_bias: bool = False) -> None:
        self.reset_after = reset_after
        zeros = torch.zeros(self.units, dtype=dtype)
        self.candidate_bias = nn.Parameter(zeros) if candidate_bias else None

    def step(self, taken: Tensor, h: Tensor) -> tuple:
        x_r, x_z, x_n = taken.chunk(3, dim=-1)
        h_r, h_z, h_n = self.held(h).chunk(3, dim=-1)
        r, z = self.gate(x_r + h_r), self.gate(x_z + h_z)
        if self.reset_after:
            n = r * (h_n if self.candidate_bias is None else h_n + self.candidate_bias)
        else:
            bias = None if self.bias_hh_l0 is None else self.bias_hh_l0.chunk(3)[2]
            n = F.linear(r * h, self.weight_hh_l0.chunk(3)[2], bias)
        return (z * h + (1.0 - z) * self.bend(x_n + n),)
'''
HELPERS = {
    "Loop": _LOOP,
    "ElmanLoop": _ELMAN,
    "LSTMLoop": _LSTM,
    "GRULoop": _GRU,
    "one_bias": '''
def one_bias(layer: nn.RNNBase) -> nn.RNNBase:
    """PyTorch adds two biases, which train as two; this leaves one."""
    nn.init.zeros_(layer.bias_hh_l0)
    layer.bias_hh_l0.requires_grad_(False)
    return layer
''',
}
_NAMES = {"elman": ("nn.RNN", "ElmanLoop"), "lstm": ("nn.LSTM", "LSTMLoop")}
_NAMES |= {"gru": ("nn.GRU", "GRULoop")}
_FUNCTIONS = {"tanh": "torch.tanh", "relu": "torch.relu", "sigmoid": "torch.sigmoid"}
_FUNCTIONS |= {"hard_sigmoid": "F.hardsigmoid"}


def define(site: Site) -> str:
    """``nn.LSTM(4, 16, batch_first=True, dtype=dtype)``."""
    layer = site.layer
    native, loop = _NAMES[layer.kind]
    sizes = f"{site.channels}, {layer.units}"
    if not is_native(layer):
        return f"{loop}({sizes}, {_options(site)}, dtype=dtype)"
    more = f', nonlinearity="{layer.activation}"' if layer.kind == "elman" else ""
    more += "" if layer.biases else ", bias=False"
    call = f"{native}({sizes}, batch_first=True{more}, dtype=dtype)"
    return f"one_bias({call})" if layer.biases == 1 else call


def _options(site: Site) -> str:
    biases = ("biases",) if site.layer.biases else ()
    names = ("bend", "gate", *biases, "mask", "reset_after", "candidate_bias")
    return recurrent_options(site.layer, _FUNCTIONS, *names)


def apply(site: Site, args: Sequence[str]) -> Step:
    """``self.lstm1(x)[0]``, all outputs, or the last."""
    layer = site.layer
    call = f"{site.callee}({args[0]}{'.flip(1)' if layer.reverse else ''})[0]"
    if not layer.sequences:
        return Step(f"{call}[:, -1]")
    return Step(f"{call}.flip(1)" if layer.reverse else call)
