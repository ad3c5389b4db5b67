"""The words of recurrent layers in Flax's native definitions; ``source.py`` has the others'."""

from __future__ import annotations

from collections.abc import Sequence

from triptych.backends.sourcing import Site, Step, recurrent_options

_LAYER = '''
class Recurrent(nnx.Module):
    """A recurrent layer under jax.lax.scan, every gate's arrays apart as in Flax's own cells."""

    gates, states = ("",), 1

    def __init__(
        self,
        size: int,
        units: int,
        bend,
        gate=None,
        biases: int = 0,
        mask=None,
        reverse: bool = False,
        dtype: type = jnp.float32,
        rngs: nnx.Rngs | None = None,
        **options,
    ) -> None:
        self.units, self.bend, self.gate, self.biases = units, bend, gate, biases
        self.mask, self.reverse, self.param_dtype = mask, reverse, dtype
        draw, square = nnx.initializers.lecun_normal(), nnx.initializers.orthogonal()
        for end in self.gates:
            kernel = nnx.Param(draw(rngs.params(), (size, units), dtype))
            setattr(self, f"kernel{end}", kernel)
            kernel = nnx.Param(square(rngs.params(), (units, units), dtype))
            setattr(self, f"recurrent_kernel{end}", kernel)
            for side in ("bias", "recurrent_bias")[:biases]:
                setattr(self, f"{side}{end}", nnx.Param(jnp.zeros(units, dtype)))
        self.set(**options)

    def set(self) -> None:
        """Take further options."""

    def __call__(self, x: Array) -> tuple[Array, tuple]:
        """(batch, time, size) -> (batch, time, units), and the state after the last step."""
        start = (jnp.zeros((len(x), self.units), x.dtype),) * self.states

        def move(state: tuple, part: Array) -> tuple[tuple, Array]:
            after = self.step(self.product(part, "kernel", "bias", self.biases > 0), *state)
            if self.mask is not None:
                seen = (part != self.mask).any(-1, keepdims=True)
                after = tuple(jnp.where(seen, new, old) for new, old in zip(after, state))
            return after, after[0]

        state, hidden = jax.lax.scan(move, start, x.swapaxes(0, 1), reverse=self.reverse)
        return hidden.swapaxes(0, 1), state

    def product(self, x: Array, what: str, bias: str, biased: bool, gates=None) -> Array:
        """All gates side by side, or some."""
        ends = gates or self.gates
        kernel = jnp.concatenate([getattr(self, f"{what}{end}")[...] for end in ends], -1)
        y = jnp.matmul(x, kernel, precision="highest")
        if not biased:
            return y
        return y + jnp.concatenate([getattr(self, f"{bias}{end}")[...] for end in ends], -1)

    def held(self, h: Array, gates=None) -> Array:
        return self.product(h, "recurrent_kernel", "recurrent_bias", self.biases > 1, gates)
'''
_ELMAN = """
class Elman(Recurrent):
    def step(self, taken: Array, h: Array) -> tuple:
        return (self.bend(taken + self.held(h)),)
"""
_LSTM = """
class LSTM(Recurrent):
    gates, states = ("_input", "_forget", "_cell", "_output"), 2

    def step(self, taken: Array, h: Array, c: Array) -> tuple:
        i, f, g, o = jnp.split(taken + self.held(h), 4, axis=-1)
        c = self.gate(f) * c + self.gate(i) * self.bend(g)
        return self.gate(o) * self.bend(c), c
"""
_GRU = '''
class GRU(Recurrent):
    """With the reset after the product, or before it as in the paper."""

    gates = ("_update", "_reset", "_candidate")

    def set(self, reset_after: bool = True, candidate_bias: bool = False) -> None:
        self.reset_after, self.biased = reset_after, candidate_bias
        if candidate_bias:
            self.candidate_bias = nnx.Param(jnp.zeros(self.units, self.param_dtype))

    def step(self, taken: Array, h: Array) -> tuple:
        x_z, x_r, x_n = jnp.split(taken, 3, axis=-1)
        h_z, h_r = jnp.split(self.held(h, ("_update", "_reset")), 2, axis=-1)
        z, r = self.gate(x_z + h_z), self.gate(x_r + h_r)
        if self.reset_after:
            n = self.held(h, ("_candidate",))
            n = r * (n + self.candidate_bias[...] if self.biased else n)
        else:
            n = self.held(r * h, ("_candidate",))
        return (z * h + (1.0 - z) * self.bend(x_n + n),)
'''
HELPERS = {
    "Recurrent": _LAYER,
    "Elman": _ELMAN,
    "LSTM": _LSTM,
    "GRU": _GRU,
    "gate_hard_sigmoid": '''
def gate_hard_sigmoid(x: Array) -> Array:
    """min(max(x / 6 + 1/2, 0), 1)."""
    y = x * (1 / 6) + 0.5
    return jnp.where(y > 0, jnp.where(y < 1, y, 1.0), 0.0)
''',
}
_NAMES = {"elman": "Elman", "lstm": "LSTM", "gru": "GRU"}
_FUNCTIONS = {"tanh": "jnp.tanh", "relu": "nnx.relu", "sigmoid": "nnx.sigmoid"}
_FUNCTIONS |= {"hard_sigmoid": "lambda x: gate_hard_sigmoid(x)"}


def define(site: Site) -> str:
    """``LSTM(4, 16, bend=jnp.tanh, gate=nnx.sigmoid, biases=1, dtype=dtype, rngs=rngs)``."""
    layer = site.layer
    biases = ("biases",) if layer.biases else ()
    names = ("bend", "gate", *biases, "mask", "reverse", "reset_after", "candidate_bias")
    options = recurrent_options(layer, _FUNCTIONS, *names)
    sizes = f"{site.channels}, {layer.units}"
    return f"{_NAMES[layer.kind]}({sizes}, {options}, dtype=dtype, rngs=rngs)"


def apply(site: Site, args: Sequence[str]) -> Step:
    """``self.lstm1(x)[0]``, all outputs, or the state after the last step."""
    return Step(f"{site.callee}({args[0]}){'[0]' if site.layer.sequences else '[1][0]'}")
