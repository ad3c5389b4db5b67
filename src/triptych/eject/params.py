"""The section of a script that draws the first params and puts them into the native model."""

from __future__ import annotations

from collections.abc import Mapping

from triptych.backends.layout import Home, Homes
from triptych.backends.sourcing import fold
from triptych.backends.templating import fill
from triptych.spec.initial import Distribution, Initial
from triptych.spec.layers import Parameter
from triptych.spec.network import Network

_UNIFORM = '''
def {{name}}(rng: np.random.Generator, shape: tuple, {{fans}}) -> np.ndarray:
    """Draw uniformly within +-sqrt({{formula}}) ({{source}})."""
    limit = math.sqrt({{formula}})
    return rng.uniform(-limit, limit, shape)
'''
_NORMAL = '''
def {{name}}(rng: np.random.Generator, shape: tuple, {{fans}}) -> np.ndarray:
    """Draw from a normal cut at two deviations, of deviation sqrt({{formula}}) ({{source}})."""
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2.0).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    # The cut has made the deviation 0.8796...
    return values * (math.sqrt({{formula}}) / 0.87962566103423978)
'''
_ORTHOGONAL = '''
def orthogonal(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Draw orthonormal rows or columns over (all other axes, last axis) (Saxe et al. 2014)."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diag(r) < 0.0, -1.0, 1.0)
    return (q if rows >= columns else q.T).reshape(shape)
'''
_BOTH, _IN = "fan_in: int, fan_out: int", "fan_in: int"
# name: (text, formula, fans, source)
_DRAWN = {
    "glorot_uniform": (_UNIFORM, "6.0 / (fan_in + fan_out)", _BOTH, "Glorot and Bengio 2010"),
    "glorot_normal": (_NORMAL, "2.0 / (fan_in + fan_out)", _BOTH, "Glorot and Bengio 2010"),
    "he_uniform": (_UNIFORM, "6.0 / fan_in", _IN, "He et al. 2015"),
    "he_normal": (_NORMAL, "2.0 / fan_in", _IN, "He et al. 2015"),
    "lecun_uniform": (_UNIFORM, "3.0 / fan_in", _IN, "LeCun et al. 1998"),
    "lecun_normal": (_NORMAL, "1.0 / fan_in", _IN, "LeCun et al. 1998"),
    "fan_in_uniform": (_UNIFORM, "1.0 / fan_in", _IN, "PyTorch's for dense layers"),
}

_SECTION = '''
def initial_params(seed: int) -> dict[str, np.ndarray]:
    """Return the first params, channels last, dense (in, out); each has a stream of its own."""

    def rng(name: str) -> np.random.Generator:    #if drawn
        return generator(seed, f"init/{name}")    #if drawn
    #if drawn
    return {
{{drawn}}
    }


def load_params(model: {{kind}}, params: dict[str, np.ndarray]) -> None:
    """Copy params into the model, in {{framework}}'s own layouts."""
    native = {
{{native}}
    }
{{loading}}
'''


def write(
    network: Network, initial: Initial, homes: Homes, values: Mapping[str, str], loading: str
) -> str:
    """Return ``initial_params(seed)``, ``load_params(model, params)`` and the draws they need.

    Args:
        network: the layers.
        initial: the distributions.
        homes: where the framework keeps the arrays.
        values: ``kind``, the type of a model, and ``framework``, its name.
        loading: the lines that put the dict ``native`` into ``model``.
    """
    chosen = {name: _distribution(initial, name, p) for name, p in network.parameters.items()}
    drawn = [
        part for name, p in network.parameters.items() for part in _draw(name, chosen[name], p)
    ]
    section = fill(
        _SECTION,
        {
            **values,
            "drawn": "\n".join(drawn),
            "native": "\n".join(_natives(network, homes)),
            "loading": loading.strip("\n"),
        },
        {"drawn"} if any("rng(" in line for line in drawn) else set(),
    )
    helpers = [_helper(name) for name in dict.fromkeys(chosen.values()) if _is_helper(name)]
    return "\n\n\n".join([*helpers, section])


def _distribution(initial: Initial, name: str, parameter: Parameter) -> Distribution:
    return initial.of(parameter.role or name.rsplit("/", 1)[1])


def _is_helper(distribution: Distribution) -> bool:
    return distribution in _DRAWN or distribution == "orthogonal"


def _helper(distribution: Distribution) -> str:
    if distribution == "orthogonal":
        return fill(_ORTHOGONAL, {})
    text, formula, fans, source = _DRAWN[str(distribution)]
    name = str(distribution)
    return fill(text, {"name": name, "formula": formula, "fans": fans, "source": source})


def _draw(name: str, distribution: Distribution, item: Parameter) -> list[str]:
    """The line of one array: ``"conv1/bias": np.zeros(16),``."""
    shape, stream = item.shape, f'rng("{name}")'
    size = str(shape[0]) if len(shape) == 1 else repr(shape)
    if isinstance(distribution, tuple):
        kind, number = distribution
        text = {
            "uniform": f"{stream}.uniform({-number!r}, {number!r}, {size})",
            "normal": f"{stream}.standard_normal({size}) * {number!r}",
            "constant": f"np.full({size}, {number!r})",
        }[kind]
    elif distribution in ("zeros", "ones"):
        text = f"np.{distribution}({size})"
    elif distribution == "orthogonal":
        text = f"orthogonal({stream}, {shape})"
    else:
        fans = f"fan_in={item.fan_in}"
        fans += f", fan_out={item.fan_out}" if _DRAWN[distribution][2] == _BOTH else ""
        text = f"{distribution}({stream}, {shape}, {fans})"
    return _entry(name, text)


def _entry(key: str, value: str) -> list[str]:
    # A space more, since a comma follows.
    lines = [line[1:] for line in fold(f'         "{key}": {value}')]
    return [*lines[:-1], f"{lines[-1]},"]


def _natives(network: Network, homes: Homes) -> list[str]:
    """The lines of the dict of native arrays: one for each, by the framework's name."""
    whole: dict[str, list[tuple[str, Home]]] = {}
    for name in network.parameters:
        node, local = name.rsplit("/", 1)
        home = homes[network.by_name[node].layer.kind][local]
        whole.setdefault(f"{node}.{home.attribute}", []).append((name, home))
    return [part for key, arrays in whole.items() for part in _entry(key, _joined(arrays))]


def _joined(arrays: list[tuple[str, Home]]) -> str:
    """The expression of a native array: one canonical array turned, or several side by side."""
    rows: dict[int, list[tuple[str, Home]]] = {}
    for name, home in arrays:
        rows.setdefault(home.row or 0, []).append((name, home))
    texts = []
    for row in sorted(rows):
        parts = sorted(rows[row], key=lambda pair: pair[1].part or (0, 1))
        turned = [_turned(name, home) for name, home in parts]
        axis = parts[0][1].axis
        joined = f"np.concatenate([{', '.join(turned)}], axis={axis})"
        texts.append(turned[0] if len(turned) == 1 else joined)
    return texts[0] if len(texts) == 1 else f"np.stack([{', '.join(texts)}])"


def _turned(name: str, home: Home) -> str:
    text = f'params["{name}"]'
    if not home.axes:
        return text
    return f"{text}.T" if home.axes == (1, 0) else f"{text}.transpose{home.axes}"
