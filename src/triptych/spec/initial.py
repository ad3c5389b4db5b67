"""Initial params: distributions drawn in NumPy, so that every framework starts alike.

Each parameter has a random stream of its own (``init/<name>``), so that adding a layer shifts no
other. Values are drawn in float64; float32 runs start from the same values rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from triptych.spec.fields import brief, hint, number, option
from triptych.spec.layers import Parameter
from triptych.spec.network import Network
from triptych.spec.randomness import generator

Params = dict[str, np.ndarray]
Draw = Callable[[np.random.Generator, Parameter], np.ndarray]
Distribution = str | tuple[str, float]
"""A name of :data:`DISTRIBUTIONS`, or one of :data:`SIZED` with its number."""

# Standard deviation of a unit normal cut at 2 sigma; dividing by it restores the variance.
_CUT = 0.87962566103423978


def _uniform(limit: Callable[[Parameter], float]) -> Draw:
    return lambda rng, item: rng.uniform(-limit(item), limit(item), item.shape)


def _normal(deviation: Callable[[Parameter], float]) -> Draw:
    """Normal cut at two standard deviations, rescaled to the wanted deviation."""

    def draw(rng: np.random.Generator, item: Parameter) -> np.ndarray:
        values = rng.standard_normal(item.shape)
        while (outside := np.abs(values) > 2.0).any():
            values[outside] = rng.standard_normal(int(outside.sum()))
        return values * (deviation(item) / _CUT)

    return draw


def _orthogonal(rng: np.random.Generator, item: Parameter) -> np.ndarray:
    """Rows or columns orthonormal, over (all other axes, last axis) (Saxe et al. 2014).

    The signs of R's diagonal go into Q, which makes Q uniform over the orthogonal matrices.
    """
    rows, columns = item.size // item.shape[-1], item.shape[-1]
    flat = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(flat)
    q = q * np.where(np.diag(r) < 0.0, -1.0, 1.0)
    return (q if rows >= columns else q.T).reshape(item.shape)


DISTRIBUTIONS: dict[str, Draw] = {
    "zeros": lambda rng, item: np.zeros(item.shape),
    "ones": lambda rng, item: np.ones(item.shape),
    # Glorot and Bengio 2010
    "glorot_uniform": _uniform(lambda p: math.sqrt(6.0 / (p.fan_in + p.fan_out))),
    "glorot_normal": _normal(lambda p: math.sqrt(2.0 / (p.fan_in + p.fan_out))),
    # He et al. 2015
    "he_uniform": _uniform(lambda p: math.sqrt(6.0 / p.fan_in)),
    "he_normal": _normal(lambda p: math.sqrt(2.0 / p.fan_in)),
    # LeCun et al. 1998
    "lecun_uniform": _uniform(lambda p: math.sqrt(3.0 / p.fan_in)),
    "lecun_normal": _normal(lambda p: math.sqrt(1.0 / p.fan_in)),
    # What PyTorch draws for dense and convolution layers, weights and biases alike
    "fan_in_uniform": _uniform(lambda p: math.sqrt(1.0 / p.fan_in)),
    "orthogonal": _orthogonal,
}


SIZED: dict[str, Callable[[float], Draw]] = {
    # Between plus and minus a limit
    "uniform": lambda limit: _uniform(lambda item: limit),
    # Of a standard deviation, not cut
    "normal": lambda deviation: lambda rng, item: rng.standard_normal(item.shape) * deviation,
    "constant": lambda value: lambda rng, item: np.full(item.shape, value),
}


def _parse(value: Any, where: str) -> Distribution:
    """Return a distribution from its name or from ``{uniform: 0.05}``, ``{normal: 0.01}``, ..."""
    if isinstance(value, str) and value in DISTRIBUTIONS:
        return value
    if isinstance(value, tuple) and len(value) == 2:
        value = dict([value])
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in SIZED:
        name, size = next(iter(value)), number(next(iter(value.values())))
        if size < 0.0 and name != "constant":
            raise ValueError(f"{name} needs a number of at least 0 but found {size}")
        return (name, size)
    if isinstance(value, str) and value in SIZED:
        raise ValueError(f"{value} needs a number; write for example {{{value}: 0.05}}")
    known = [*DISTRIBUTIONS, "{uniform: limit}", "{normal: deviation}", "{constant: value}"]
    raise ValueError(f"unknown initialiser {brief(value)}{hint(value, known)}")


def _parse_if_given(value: Any, where: str) -> Distribution | None:
    return None if value is None else _parse(value, where)


def _draw(distribution: Distribution) -> Draw:
    if isinstance(distribution, str):
        return DISTRIBUTIONS[distribution]
    name, size = distribution
    return SIZED[name](size)


def _kind(default: str) -> Any:
    return option(default, parse=_parse)


@dataclass(frozen=True)
class Initial:
    """Which distribution each parameter is drawn from, by its role, which is most often its local
    name.

    Recurrent layers draw every gate's matrices alone: ``kernel``, and ``recurrent`` for those that
    take the state. Their biases, on both sides, are ``bias``, except that an LSTM's ``bias_forget``
    is ``forget_bias`` where that is given.
    """

    kernel: str | tuple[str, float] = _kind("glorot_uniform")
    bias: str | tuple[str, float] = _kind("zeros")
    scale: str | tuple[str, float] = _kind("ones")
    offset: str | tuple[str, float] = _kind("zeros")
    mean: str | tuple[str, float] = _kind("zeros")
    variance: str | tuple[str, float] = _kind("ones")
    recurrent: str | tuple[str, float] = _kind("orthogonal")
    forget_bias: str | tuple[str, float] | None = option(None, parse=_parse_if_given)

    def of(self, role: str) -> Distribution:
        """Return the distribution of a role."""
        own = getattr(self, role)
        return self.bias if own is None else own

    def factors(self) -> dict[str, Any]:
        """The distributions by role."""
        return {item.name: self.of(item.name) for item in fields(self)}

    def draw(self, network: Network, seed: int) -> Params:
        """Return the initial params of a network, float64, in the canonical layout.

        Raises:
            ValueError: a distribution is unknown; recipes report that when they are read.
        """
        return {
            name: _draw(_parse(self.of(item.role or name.rsplit("/", 1)[1]), name))(
                generator(seed, f"init/{name}"), item
            )
            for name, item in network.parameters.items()
        }
