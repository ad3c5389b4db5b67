"""The words of recurrent layers in Keras' native definitions; ``source.py`` has the others'."""

from __future__ import annotations

from collections.abc import Sequence

from triptych.backends._keras.recurrent import is_native
from triptych.backends.sourcing import Site, Step, number, recurrent_options

_CELL = '''
class Cell(layers.Layer):
    """A cell with as many biases as Keras' own has not: two are two rows, the input's first."""

    gates, states = 1, 1

    def __init__(
        self,
        units: int,
        bend: str,
        gate: str | None = None,
        biases: int = 0,
        reset_after: bool = True,
        candidate_bias: bool = False,
        **options,
    ) -> None:
        super().__init__(**options)
        self.own = {"units": units, "bend": bend, "gate": gate, "biases": biases}
        self.own |= {"reset_after": reset_after, "candidate_bias": candidate_bias}
        self.bend, self.gate = keras.activations.get(bend), keras.activations.get(gate)
        self.units, self.biases = units, biases
        self.reset_after, self.biased = reset_after, candidate_bias
        self.state_size, self.output_size = [units] * self.states, units

    def build(self, shape: tuple) -> None:
        wide = self.gates * self.units
        self.kernel = self.add_weight((shape[-1], wide), "glorot_uniform", name="kernel")
        self.recurrent_kernel = self.add_weight((self.units, wide), "orthogonal", name="recurrent")
        rows = [wide] if self.biases == 1 else [2, wide]
        self.bias = self.add_weight(rows, "zeros", name="bias") if self.biases else None
        if self.biased:
            self.candidate_bias = self.add_weight([self.units], "zeros", name="candidate_bias")

    def call(self, x: keras.KerasTensor, states: list) -> tuple:
        taken = ops.matmul(x, self.kernel)
        held = ops.matmul(states[0], self.recurrent_kernel)
        if self.biases == 1:
            taken = taken + self.bias
        elif self.biases == 2:
            taken, held = taken + self.bias[0], held + self.bias[1]
        after = self.step(taken, held, *states)
        return after[0], after

    def get_config(self) -> dict:
        return super().get_config() | self.own
'''
_ELMAN = """
class ElmanCell(Cell):
    def step(self, taken: keras.KerasTensor, held: keras.KerasTensor, h: keras.KerasTensor) -> list:
        return [self.bend(taken + held)]
"""
_LSTM = """
class LSTMCell(Cell):
    gates, states = 4, 2

    def step(self, taken, held, h, c) -> list:
        i, f, g, o = ops.split(taken + held, 4, axis=-1)
        c = self.gate(f) * c + self.gate(i) * self.bend(g)
        return [self.gate(o) * self.bend(c), c]
"""
_GRU = """
class GRUCell(Cell):
    gates = 3

    def step(self, taken, held, h) -> list:
        x_z, x_r, x_n = ops.split(taken, 3, axis=-1)
        h_z, h_r, h_n = ops.split(held, 3, axis=-1)
        z, r = self.gate(x_z + h_z), self.gate(x_r + h_r)
        if self.reset_after:
            n = r * (h_n + self.candidate_bias if self.biased else h_n)
        else:
            wide = 2 * self.units
            n = ops.matmul(r * h, self.recurrent_kernel[:, wide:])
            n = n + self.bias[1, wide:] if self.biases == 2 else n
        return [z * h + (1.0 - z) * self.bend(x_n + n)]
"""
HELPERS = {
    "Cell": _CELL,
    "ElmanCell": _ELMAN,
    "LSTMCell": _LSTM,
    "GRUCell": _GRU,
    "seen": '''
def seen(x: keras.KerasTensor, value: float) -> keras.KerasTensor:
    """The steps of which not every feature equals the value; Keras would round it to float32."""
    return ops.any(x != ops.convert_to_tensor(value, dtype=x.dtype), axis=-1)
''',
}
_NATIVE = {"elman": "layers.SimpleRNN", "lstm": "layers.LSTM", "gru": "layers.GRU"}
_CELLS = {"elman": "ElmanCell", "lstm": "LSTMCell", "gru": "GRUCell"}
_FUNCTIONS = {name: f'"{name}"' for name in ("tanh", "relu", "sigmoid", "hard_sigmoid")}


def define(site: Site) -> str:
    """``layers.LSTM(16, activation="tanh", ..., return_sequences=True, name="lstm1")``."""
    layer = site.layer
    options = f'return_sequences={layer.sequences}, dtype=dtype, name="{site.node.name}"'
    if not is_native(layer):
        return f"layers.RNN({_cell(site)}, {options})"
    parts = [f'{layer.units}, activation="{layer.activation}"']
    if layer.kind != "elman":
        parts.append(f'recurrent_activation="{layer.gate_activation}"')
    if not layer.biases:
        parts.append("use_bias=False")
    if layer.kind == "gru":
        parts.append(f"reset_after={layer.reset_after}")
    return f"{_NATIVE[layer.kind]}({', '.join(parts)}, {options})"


def _cell(site: Site) -> str:
    layer = site.layer
    names = ("bend", "gate", "biases", "reset_after", "candidate_bias")
    options = recurrent_options(layer, _FUNCTIONS, *names)
    return f"{_CELLS[layer.kind]}({layer.units}, {options}, dtype=dtype)"


def apply(site: Site, args: Sequence[str]) -> Step:
    """``lstm1(x)``; what is masked is said in the call, so that no other layer is."""
    layer = site.layer
    x = f"ops.flip({args[0]}, axis=1)" if layer.reverse else args[0]
    mask = "" if layer.mask_value is None else f", mask=seen({x}, {number(layer.mask_value)})"
    call = f"{site.callee}({x}{mask})"
    return Step(f"ops.flip({call}, axis=1)" if layer.reverse and layer.sequences else call)
