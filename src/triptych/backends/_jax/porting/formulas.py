"""What lies between a Flax model's layers: elementwise formulas, told by their values.

A formula is a tree of JAX's elementwise primitives over one value of the network. It is evaluated
on a grid of numbers: what has the values of a spec's activation is that activation, whether it is
``nnx.silu(x)`` or ``x * jax.nn.sigmoid(x)``. What has no name is taken apart: ``x * tanh(x)`` is a
multiply of two branches. Primitives that move numbers are in ``moves.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from triptych.backends.graph import Value
from triptych.backends.native_parts import GRID, activation_name
from triptych.spec import layers as spec

if TYPE_CHECKING:
    from triptych.backends._jax.porting.graph import Walk


@dataclass(frozen=True)
class Seen:
    """A value of the network as the program has it: which of its axes is the batch."""

    value: Value
    batch: int = 0


@dataclass(frozen=True, eq=False)
class Known:
    """A constant of the program."""

    array: Any


@dataclass(eq=False)
class Part:
    """Something on its way to a layer: a sum that will be a mean, a window, an exponential, ...

    Attributes:
        what: a key of :data:`WORDS`.
        of: the value it is made from.
        axes: the program's axes it is over.
        keep: whether those axes are still there, of size 1.
        params: what else belongs to it.
    """

    what: str
    of: Seen
    axes: tuple[int, ...] = ()
    keep: bool = False
    params: Any = None
    settled: Seen | None = None


@dataclass(eq=False)
class Formula:
    """An elementwise equation over one value of the network."""

    equation: Any
    operands: tuple[Item, ...]
    base: Seen
    place: str
    settled: Seen | None = None


Item = Seen | Known | Part | Formula

WORDS = {
    "sum": "a sum",
    "max": "a maximum",
    "windows": "sums under a window",
    "shifted": "a difference to a maximum",
    "exp": "exponentials of a difference to a maximum",
    "exp sum": "a sum of exponentials",
    "log": "the logarithm of a sum of exponentials",
    "repeat": "a value repeated along an axis",
    "steps": "all states",
    "last step": "the last state",
    "cell": "a cell state",
}
"""Parts by name, for messages."""

ELEMENTWISE = (
    *("abs", "add", "add_any", "ceil", "clamp", "copy", "div", "floor", "integer_pow", "max"),
    *("min", "mul", "neg", "pow", "round", "rsqrt", "select_n", "sign", "sqrt", "square", "sub"),
    *("and", "eq", "ge", "gt", "le", "lt", "ne", "not", "or"),
    *("erf", "erfc", "exp", "exp2", "expm1", "log", "log1p", "logistic", "tan", "tanh"),
)


def formula(walk: Walk, equation: Any, given: Sequence[Item]) -> Item:
    """Return what an elementwise equation gives: a layer, a part of one, or a formula."""
    items = [_seen_already(item) for item in given]
    found = _part(walk, equation, items)
    if found is not None:
        return found
    where = walk.place(equation)
    items = [walk.settle(item, where) if isinstance(item, Part) else item for item in items]
    for item in items:
        if isinstance(item, Known) and not _uniform(item.array):
            shape = np.shape(item.array)
            raise walk.refuse(equation, f"takes a constant array {shape} that is no layer's own")
    bases = [base for base in dict.fromkeys(map(_base, items)) if base is not None]
    if len(bases) == 1:
        return Formula(equation, tuple(items), bases[0], where)
    return _merge(walk, equation, [walk.settle(item, where) for item in items], where)


def settle(walk: Walk, item: Formula) -> Seen:
    """Return a formula as a value of the network, once and for all."""
    if item.settled is None:
        layers = _named(_values(item, GRID))
        if layers is None:
            item.settled = _apart(walk, item)
        else:
            item.settled = _chain(walk, item.base, layers, item.place)
    return item.settled


def _seen_already(item: Item) -> Item:
    settled = getattr(item, "settled", None)
    return item if settled is None else settled


def _base(item: Item) -> Seen | None:
    if isinstance(item, Known):
        return None
    return item.base if isinstance(item, Formula) else item  # type: ignore[return-value]


def _uniform(array: Any) -> bool:
    values = np.asarray(array).ravel()
    return values.size > 0 and bool(np.all(values == values[0]))


def _chain(walk: Walk, x: Seen, layers: Sequence[spec.Layer], where: str) -> Seen:
    value = x.value
    for layer in layers:
        value = walk.builder.add(layer, [value], where)
    return replace(x, value=value)


# --- values and names ----------------------------------------------------------------------------


def _values(item: Item, grid: np.ndarray) -> np.ndarray:
    """What a formula gives for numbers in the place of its base."""
    if isinstance(item, Formula):
        return _bound(item, [_values(operand, grid) for operand in item.operands])
    if isinstance(item, Known):
        number = np.asarray(item.array).ravel()[0]
        # A program that rounds to float32 has constants of that type, all the same numbers here.
        return np.full(grid.shape, number, np.float64 if number.dtype.kind == "f" else None)
    return grid


def _bound(item: Formula, operands: Sequence[np.ndarray]) -> np.ndarray:
    arrays = [jnp.asarray(operand) for operand in operands]
    return np.asarray(item.equation.primitive.bind(*arrays, **item.equation.params))


def _named(values: np.ndarray) -> list[spec.Layer] | None:
    """The layers that have these values on the grid: none for the identity, None for no name."""
    if values.dtype.kind != "f" or not np.all(np.isfinite(values)):
        return None
    at = dict(zip(GRID.tolist(), values.tolist(), strict=True))
    offset = _tidy(at[0.0])
    scale = _tidy(at[1.0] - at[0.0], 4e-16 * (abs(at[1.0]) + abs(offset)))
    if np.allclose(values, scale * GRID + offset, rtol=1e-13, atol=1e-13 * abs(offset)):
        return [] if (scale, offset) == (1.0, 0.0) else [spec.Rescale(scale, offset)]
    make = _ACTIVATIONS.get(_kind(activation_name(values)))
    return None if make is None else [make(at)]


def _kind(name: str) -> str:
    return name if name == "gelu approximate" else name.split()[0]


_ACTIVATIONS: dict[str, Callable[[dict[float, float]], spec.Layer]] = {
    "relu": lambda at: spec.ReLU(),
    "relu6": lambda at: spec.ReLU6(),
    "sigmoid": lambda at: spec.Sigmoid(),
    "tanh": lambda at: spec.Tanh(),
    "selu": lambda at: spec.SELU(),
    "gelu": lambda at: spec.GELU(),
    "gelu approximate": lambda at: spec.GELU(approximate=True),
    "silu": lambda at: spec.SiLU(),
    "softplus": lambda at: spec.Softplus(),
    "leaky_relu": lambda at: spec.LeakyReLU(_tidy(-at[-1.0])),
    "elu": lambda at: spec.ELU(_tidy(at[-1.0] / np.expm1(-1.0))),
    "hard_sigmoid": lambda at: spec.HardSigmoid(_tidy(at[1.0] - at[0.0])),
}


def _tidy(number: float, slack: float = 0.0) -> float:
    """A constant without what rounding left: a short decimal, or one over one, if one is near."""
    slack = slack or 1e-15 * abs(number)
    short = [float(f"{number:.{digits}g}") for digits in range(1, 13)]
    inverse = [1.0 / float(f"{1.0 / number:.{digits}g}") for digits in range(1, 13) if number]
    close = (near for near in [*short, *inverse] if abs(near - number) <= slack)
    return float(next(close, number))


# --- taking apart --------------------------------------------------------------------------------


def _apart(walk: Walk, item: Formula) -> Seen:
    """A formula without a name as what it does to its operands."""
    name, where = item.equation.primitive.name, item.place
    varying = [operand for operand in item.operands if not isinstance(operand, Known)]
    if len(varying) == 1:
        operands = [GRID if o is varying[0] else _values(o, GRID) for o in item.operands]
        layers = _named(_bound(item, operands))
        if layers is not None:
            return _chain(walk, walk.settle(varying[0], where), layers, where)
    power = item.equation.params.get("y") if name == "integer_pow" else 2 if name == "square" else 0
    if power and power > 1:
        x = walk.settle(varying[0], where)
        return _add(walk, spec.Multiply(), [x] * power, where)
    return _merge(walk, item.equation, [walk.settle(operand, where) for operand in varying], where)


def _merge(walk: Walk, equation: Any, values: Sequence[Seen], where: str) -> Seen:
    """Two values of the network added, subtracted or multiplied."""
    name = equation.primitive.name
    if len(values) != 2 or name not in ("add", "add_any", "sub", "mul"):
        raise walk.builder.refuse(f"{where}: {name}", "has no canonical form")
    if name == "sub":
        values = [values[0], _chain(walk, values[1], [spec.Rescale(-1.0)], where)]
    return _add(walk, spec.Multiply() if name == "mul" else spec.Add(), values, where)


def _add(walk: Walk, layer: spec.Layer, values: Sequence[Seen], where: str) -> Seen:
    if len({x.batch for x in values}) > 1:
        raise walk.builder.refuse(where, "mixes the batch with other axes")
    return replace(values[0], value=walk.builder.add(layer, [x.value for x in values], where))


# --- what several equations make together --------------------------------------------------------


def _part(walk: Walk, equation: Any, items: list[Item]) -> Item | None:
    """What an equation makes of a part: a mean, a pooling, a softmax, or the next part of one."""
    for left, right in (items, items[::-1]) if len(items) == 2 else ():
        swapped = left is not items[0]
        if isinstance(left, Part):
            found = _with_part(walk, equation, left, right, swapped)
            if found is not None:
                return found
    if len(items) == 1 and isinstance(items[0], Part):
        step = _NEXT.get((equation.primitive.name, items[0].what))
        return replace(items[0], what=step) if step else None
    return None


_NEXT = {("exp", "shifted"): "exp", ("log", "exp sum"): "log", ("copy", "max"): "max"}


def _with_part(walk: Walk, equation: Any, part: Part, other: Item, swapped: bool) -> Item | None:
    """A part and something else under one equation; ``swapped``: the part is second."""
    name, where = equation.primitive.name, walk.place(equation)
    pair = (name, part.what)
    if isinstance(other, Known) and _uniform(other.array):
        number = float(np.asarray(other.array).ravel()[0])
        if pair == ("max", "max") and number == -np.inf:
            return part
        if part.what == "sum" and (name == "mul" or (pair == ("div", "sum") and not swapped)):
            return _mean(walk, part, number if name == "mul" else 1.0 / number, where)
    if pair == ("div", "windows") and isinstance(other, Known) and not swapped:
        return walk.average(part, np.asarray(other.array), where)
    if pair == ("mul", "repeat") and not isinstance(other, Known):
        return _add(walk, spec.Multiply(), [walk.settle(other, where), part.of], where)
    if pair == ("sub", "max") and swapped and not isinstance(other, (Known, Part)):
        same = walk.settle(other, where) == part.of and _is_last(walk, part)
        return replace(part, what="shifted") if same else None
    if isinstance(other, Part) and not swapped and part.of == other.of:
        layer = _SOFTMAX.get((name, part.what, other.what))
        return None if layer is None else _chain(walk, part.of, [layer], where)
    return None


_SOFTMAX: dict[tuple[str, str, str], spec.Layer] = {
    ("div", "exp", "exp sum"): spec.Softmax(),
    ("sub", "shifted", "log"): spec.LogSoftmax(),
}


def _is_last(walk: Walk, part: Part) -> bool:
    rank = len(walk.builder.shape(part.of.value)) + 1
    return part.keep and tuple(part.axes) == (rank - 1,) and part.of.batch != rank - 1


def _mean(walk: Walk, part: Part, factor: float, where: str) -> Seen:
    mean = walk.mean(part, where)
    scale = _tidy(factor * prod(walk.sizes(part)))
    return mean if scale == 1.0 else _chain(walk, mean, [spec.Rescale(scale)], where)
