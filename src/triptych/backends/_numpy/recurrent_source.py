"""The words of recurrent layers in the NumPy definition; ``source.py`` has the others'."""

from __future__ import annotations

from collections.abc import Sequence

from triptych.backends.sourcing import Site, Step, recurrent_options

HELPERS = {
    "over_time": '''
def over_time(
    step, x: np.ndarray, units: int, states=1, sequences=False, mask=None, reverse=False
) -> np.ndarray:
    """(batch, time, features) -> (batch, time, units), or (batch, units) after the last step."""
    state = (np.zeros((len(x), units)),) * states
    hidden = np.zeros((*x.shape[:2], units))
    for time in range(x.shape[1])[:: -1 if reverse else 1]:
        after = step(x[:, time], *state)
        if mask is not None:
            seen = np.any(x[:, time] != mask, axis=-1, keepdims=True)
            after = tuple(np.where(seen, new, old) for new, old in zip(after, state))
        state = after
        hidden[:, time] = state[0]
    return hidden if sequences else state[0]
''',
    "sums": '''
def sums(params: dict, node: str, end: str, x: np.ndarray, h: np.ndarray) -> tuple:
    """What a gate takes from the input and from the state, each with its bias."""
    taken = x @ params[f"{node}/kernel{end}"] + params.get(f"{node}/bias{end}", 0.0)
    inner = h @ params[f"{node}/recurrent_kernel{end}"]
    return taken, inner + params.get(f"{node}/recurrent_bias{end}", 0.0)
''',
    "elman": '''
def elman(x: np.ndarray, params: dict, node: str, units: int, bend, **options) -> np.ndarray:
    """h' = bend(x W + b + h R + c)."""

    def step(x: np.ndarray, h: np.ndarray) -> tuple:
        return (bend(sum(sums(params, node, "", x, h))),)

    return over_time(step, x, units, **options)
''',
    "lstm": '''
def lstm(x: np.ndarray, params: dict, node: str, units: int, bend, gate, **options) -> np.ndarray:
    """c' = f c + i bend(g); h' = o bend(c')."""

    def step(x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple:
        ends = ("_input", "_forget", "_cell", "_output")
        i, f, g, o = (sum(sums(params, node, end, x, h)) for end in ends)
        c = gate(f) * c + gate(i) * bend(g)
        return gate(o) * bend(c), c

    return over_time(step, x, units, states=2, **options)
''',
    "gru": '''
def gru(
    x: np.ndarray, params: dict, node: str, units: int, bend, gate, reset_after=True, **options
) -> np.ndarray:
    """h' = z h + (1 - z) n, with the reset after the product with h, or before it."""

    def step(x: np.ndarray, h: np.ndarray) -> tuple:
        z, r = (gate(sum(sums(params, node, end, x, h))) for end in ("_update", "_reset"))
        taken, held = sums(params, node, "_candidate", x, h if reset_after else r * h)
        if reset_after:
            held = r * (held + params.get(f"{node}/candidate_bias", 0.0))
        return (z * h + (1.0 - z) * bend(taken + held),)

    return over_time(step, x, units, **options)
''',
}
_FUNCTIONS = {
    "tanh": "np.tanh",
    "relu": "lambda v: np.maximum(v, 0.0)",
    "sigmoid": "lambda v: sigmoid(v)",
    "hard_sigmoid": "lambda v: hard_sigmoid(v, slope=1 / 6)",
}


def apply(site: Site, args: Sequence[str]) -> Step:
    """``lstm(x, params, "lstm1", 16, bend=np.tanh, ..., sequences=True)``."""
    layer = site.layer
    own = f'{args[0]}, params, "{site.node.owner}", {layer.units}'
    options = recurrent_options(layer, _FUNCTIONS, "bend", "gate", "mask", "reverse", "reset_after")
    sequences = ", sequences=True" if layer.sequences else ""
    return Step(f"{layer.kind}({own}, {options}{sequences})")
