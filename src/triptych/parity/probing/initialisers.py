"""Naming the distribution that drawn values come from, by the names of ``spec/initial.py``.

Three shapes are told apart by their likelihood (uniform, normal, normal cut at two standard
deviations) and checked by the Kolmogorov-Smirnov distance; then the scale is compared with what the
parameter's fans would give. Where the sample is too small to decide, the answer says so. How values
are drawn from a live setup is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from scipy import special

from triptych.parity.probing.rounding import shortest

MARGIN = 9.0
"""By how many natural logs of likelihood a shape must lead to be named: odds of 8,000 to 1."""
CHANCE = 1e-5
"""What is rarer than this under a hypothesis rejects it."""
DEVIATIONS = 4.5
"""Standard errors within which a scale fits; beyond them lies a chance of 7e-6."""
_CUT = 0.87962566103423978
"""Standard deviation of a unit normal cut at two standard deviations."""
_INSIDE = math.erf(math.sqrt(2.0))
"""Share of a normal within two standard deviations."""
_ROUNDING = 1e-6
"""Values drawn in float32 may stand this far outside a limit."""


class Fans(Protocol):
    """What must be known of an array: :class:`triptych.spec.layers.Parameter` has it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in the canonical layout."""

    @property
    def fan_in(self) -> int:
        """Connections of one output unit."""

    @property
    def fan_out(self) -> int:
        """Connections of one input unit."""


@dataclass(frozen=True)
class Found:
    """A distribution, named from values.

    Attributes:
        name: a name of ``spec/initial.py``, ``truncated``, ``not told apart`` or ``unknown``.
        constants: ``limit`` of ``uniform``; ``deviation`` of ``normal`` and of ``truncated``
            (there before the cut); ``value`` of ``constant``; ``low`` and ``high``, or ``mean``, of
            what is not centred.
        scale: the sample's standard deviation, and ``error``, its standard error.
        count: how many values were seen.
        alternatives: the texts of all that fits, the named one among them; several beside a name
            that is told mean the same for these fans.
        distance: the Kolmogorov-Smirnov distance to what is named; 1.0 where nothing is.
        rough: whether the sample is too small to know the constant to a fifth.
    """

    name: str
    constants: Mapping[str, float] = field(default_factory=dict)
    scale: float = 0.0
    error: float = 0.0
    count: int = 0
    alternatives: tuple[str, ...] = ()
    distance: float = 1.0
    rough: bool = False

    @property
    def told(self) -> bool:
        """Whether one distribution is named."""
        return self.name not in ("unknown", "not told apart")

    @property
    def text(self) -> str:
        """As the audit writes it: ``glorot_uniform``, ``uniform 0.05``, ..."""
        about = f"scale about {self.scale:.2g}"
        if self.name == "not told apart":
            names = self.alternatives
            if len(names) > 3:
                names = tuple(dict.fromkeys(shape_of(name) for name in names))
            return f"not told apart: {' or '.join(names)}, {about}"
        if self.name == "unknown":
            return f"unknown, {about}"
        numbers = [f"{value:.4g}" for value in self.constants.values()]
        return " ".join([self.name, *(["about"] if self.rough else []), *numbers])


def shape_of(text: str) -> str:
    """Return the shape of a named distribution: ``uniform``, ``normal``, ``truncated normal``, or
    the first word of what is none of these."""
    if "uniform" in text:
        return "uniform"
    if text.startswith("normal"):
        return "normal"
    return "truncated normal" if "normal" in text or "truncated" in text else text.split()[0]


@dataclass(frozen=True)
class _Shape:
    """A family of distributions around zero with one scale."""

    name: str
    fit: Callable[[np.ndarray], float]
    likelihood: Callable[[np.ndarray, float], float]
    below: Callable[[np.ndarray], np.ndarray]
    range: Callable[[np.ndarray, float], tuple[float, float]]


def _uniform_range(values: np.ndarray, limit: float) -> tuple[float, float]:
    """No value lies outside, and n values all within a share q of it have the chance q^n."""
    return limit * (1.0 - _ROUNDING), limit * CHANCE ** (-1.0 / len(values))


def _normal_range(values: np.ndarray, deviation: float) -> tuple[float, float]:
    error = DEVIATIONS / math.sqrt(2.0 * len(values))
    return deviation * (1.0 - error), deviation / max(1.0 - error, 0.1)


def _cut_range(values: np.ndarray, deviation: float) -> tuple[float, float]:
    """The mean square fits and nothing lies outside the cut.

    A unit normal cut at 2 has mean square ``_CUT**2`` and mean fourth power 3 m - 8 d, with d the
    density at the cut times two, since E x^4 = 3 E x^2 - 2 * 2^3 * density(2).
    """
    square = _CUT**2
    edge = math.exp(-2.0) / math.sqrt(2.0 * math.pi) / _INSIDE
    spread = math.sqrt(3.0 * square - 16.0 * edge - square**2) / square
    error = DEVIATIONS * spread / 2.0 / math.sqrt(len(values))
    seen = math.sqrt(float(np.mean(values**2))) / _CUT
    low = max(seen * (1.0 - error), float(np.abs(values).max()) / 2.0 * (1.0 - _ROUNDING))
    return low, seen / max(1.0 - error, 0.1)


def _cut_below(x: np.ndarray) -> np.ndarray:
    inside = (special.ndtr(x) - special.ndtr(-2.0)) / _INSIDE
    return np.clip(inside, 0.0, 1.0)


def _normal_likelihood(x: np.ndarray, s: float) -> float:
    return -len(x) * (math.log(s) + 0.5 * math.log(2.0 * math.pi)) - float(x @ x) / (2.0 * s * s)


_SHAPES = (
    _Shape(
        "uniform",
        lambda x: float(np.abs(x).max()),
        lambda x, s: -len(x) * math.log(2.0 * s),
        lambda x: np.clip((x + 1.0) / 2.0, 0.0, 1.0),
        _uniform_range,
    ),
    _Shape(
        "normal",
        lambda x: math.sqrt(float(np.mean(x**2))),
        _normal_likelihood,
        special.ndtr,
        _normal_range,
    ),
    _Shape(
        "truncated",
        lambda x: max(math.sqrt(float(np.mean(x**2))), float(np.abs(x).max()) / 2.0),
        lambda x, s: _normal_likelihood(x, s) - len(x) * math.log(_INSIDE),
        _cut_below,
        _cut_range,
    ),
)

Scale = Callable[[Fans], float]

_NAMED: dict[str, tuple[tuple[str, Scale], ...]] = {
    "uniform": (
        ("glorot_uniform", lambda p: math.sqrt(6.0 / (p.fan_in + p.fan_out))),
        ("he_uniform", lambda p: math.sqrt(6.0 / p.fan_in)),
        ("lecun_uniform", lambda p: math.sqrt(3.0 / p.fan_in)),
        ("fan_in_uniform", lambda p: math.sqrt(1.0 / p.fan_in)),
    ),
    "normal": (),
    "truncated": (
        ("glorot_normal", lambda p: math.sqrt(2.0 / (p.fan_in + p.fan_out)) / _CUT),
        ("he_normal", lambda p: math.sqrt(2.0 / p.fan_in) / _CUT),
        ("lecun_normal", lambda p: math.sqrt(1.0 / p.fan_in) / _CUT),
    ),
}
"""Shape: names with the limit, or the deviation before the cut, that the fans give."""

_USUAL: dict[str, tuple[Scale, ...]] = {
    "uniform": (lambda p: math.sqrt(1.0 / p.fan_out),),
    "normal": (
        lambda p: 1.0,
        lambda p: math.sqrt(2.0 / p.fan_in),
        lambda p: math.sqrt(1.0 / p.fan_in),
        lambda p: math.sqrt(2.0 / (p.fan_in + p.fan_out)),
        lambda p: math.sqrt(1.0 / p.fan_out),
        lambda p: math.sqrt(2.0 / p.fan_out),
    ),
    "truncated": (),
}
"""Scales that have no name in the spec but are drawn by some framework's default."""


def identify(sample: np.ndarray | Sequence[np.ndarray], parameter: Fans) -> Found:
    """Name the distribution of drawn values.

    Args:
        sample: one draw of the array, or several independent ones (each in the array's shape,
            where orthogonality is to be seen).
        parameter: the array's shape and fans, in the canonical layout.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    draws = [np.asarray(draw, np.float64) for draw in _listed(sample)]
    values = np.concatenate([draw.ravel() for draw in draws]) if draws else np.zeros(0)
    if not values.size or not np.isfinite(values).all():
        raise ValueError("a distribution is named from finite values; found none, or infinite ones")
    if (values == values[0]).all():
        return _constant(float(values[0]), values.size)
    if all(_orthogonal(draw, parameter) for draw in draws):
        return _measured(values, "orthogonal", {}, ("orthogonal",), 0.0)
    middle = values.mean()
    if abs(middle) > DEVIATIONS * values.std() / math.sqrt(values.size):
        return _off_centre(values)
    return _centred(values, parameter)


def _listed(sample: np.ndarray | Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    return [sample] if isinstance(sample, np.ndarray) else sample


def _constant(value: float, count: int) -> Found:
    names = {0.0: "zeros", 1.0: "ones"}
    if value in names:
        return Found(names[value], {}, 0.0, 0.0, count, (names[value],), 0.0)
    found = Found("constant", {"value": value}, 0.0, 0.0, count, (), 0.0)
    return Found("constant", {"value": value}, 0.0, 0.0, count, (found.text,), 0.0)


def _orthogonal(draw: np.ndarray, parameter: Fans) -> bool:
    """Whether rows or columns over (all other axes, last axis) are orthonormal."""
    if draw.ndim < 2 or draw.shape != tuple(parameter.shape):
        return False
    flat = draw.reshape(-1, draw.shape[-1])
    flat = flat.T if flat.shape[0] < flat.shape[1] else flat
    return bool(np.abs(flat.T @ flat - np.eye(flat.shape[1])).max() < 1e-4)


def _measured(
    values: np.ndarray,
    name: str,
    constants: Mapping[str, float],
    alternatives: Sequence[str],
    distance: float,
    rough: bool = False,
) -> Found:
    """Return a finding with the sample's scale; its error from the sample's own fourth moment."""
    variance = float(np.mean(values**2))
    fourth = float(np.mean(values**4))
    scale = math.sqrt(variance)
    error = math.sqrt(max(fourth - variance**2, 0.0) / values.size) / (2.0 * scale)
    return Found(name, constants, scale, error, values.size, tuple(alternatives), distance, rough)


def _centred(values: np.ndarray, parameter: Fans) -> Found:
    """Keep the shapes that the sample allows, then name the scale of each."""
    fits = {shape.name: shape.fit(values) for shape in _SHAPES}
    heights = {shape.name: shape.likelihood(values, fits[shape.name]) for shape in _SHAPES}
    kept = [
        shape
        for shape in _SHAPES
        if heights[shape.name] > max(heights.values()) - MARGIN
        and _likely(values, shape, fits[shape.name])
    ]
    answers = [
        answer for shape in kept for answer in _scales(values, shape, fits[shape.name], parameter)
    ]
    if not answers:
        return _measured(values, "unknown", {}, (), 1.0)
    texts = [text for answer in answers for text in (answer.text, *answer.aliases)]
    if len(answers) > 1:
        return _measured(values, "not told apart", {}, texts, 1.0)
    found = answers[0]
    distance = _distance(values / found.size, found.shape)
    name = found.name or found.shape.name
    return _measured(values, name, found.constants, texts, distance, found.rough)


@dataclass(frozen=True)
class _Answer:
    """A shape with a scale that fits; without a name the scale is a number as people write it."""

    shape: _Shape
    size: float
    name: str = ""
    rough: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def constants(self) -> dict[str, float]:
        if self.name:
            return {}
        return {"limit" if self.shape.name == "uniform" else "deviation": self.size}

    @property
    def text(self) -> str:
        about = "about " if self.rough else ""
        return self.name or f"{self.shape.name} {about}{self.size:.4g}"


def _scales(values: np.ndarray, shape: _Shape, fitted: float, parameter: Fans) -> list[_Answer]:
    """Return every name whose scale fits; where none does, the scale itself.

    Names that mean the same scale here are one answer under the first, the others its aliases.
    """
    low, high = shape.range(values, fitted)
    found: list[_Answer] = []
    for name, scale in _NAMED[shape.name]:
        size = scale(parameter)
        same = [i for i, other in enumerate(found) if math.isclose(size, other.size)]
        if same:
            found[same[0]] = replace(found[same[0]], aliases=(*found[same[0]].aliases, name))
        elif low <= size <= high and _likely(values, shape, size):
            found.append(_Answer(shape, size, name))
    if found or low > high:
        return found
    usual = [size(parameter) for size in _USUAL[shape.name]]
    fitting = [size for size in usual if low <= size <= high]
    if fitting:
        return [_Answer(shape, fitting[0])]
    rough = high - low > 0.4 * fitted
    size = float(f"{fitted:.1e}") if rough else shortest(low, high, fitted)
    return [_Answer(shape, size, rough=rough)]


def _distance(scaled: np.ndarray, shape: _Shape) -> float:
    """Return the Kolmogorov-Smirnov distance of values in units of the scale."""
    heights = shape.below(np.sort(scaled))
    steps = np.arange(len(scaled) + 1) / len(scaled)
    return float(max((steps[1:] - heights).max(), (heights - steps[:-1]).max()))


def _likely(values: np.ndarray, shape: _Shape, size: float) -> bool:
    """Whether the distance is no larger than chance makes it (asymptotic distribution)."""
    distance = _distance(values / size, shape)
    return bool(special.kolmogorov(distance * math.sqrt(len(values))) >= CHANCE)


def _off_centre(values: np.ndarray) -> Found:
    """Name a uniform or normal distribution that isn't centred on zero."""
    low, high = float(values.min()), float(values.max())
    uniform, normal = _SHAPES[0], _SHAPES[1]
    middle, half = (low + high) / 2.0, (high - low) / 2.0
    mean, deviation = float(values.mean()), float(values.std())
    around, shifted = values - middle, values - mean
    lead = uniform.likelihood(around, half) - normal.likelihood(shifted, deviation)
    slack = half * (CHANCE ** (-1.0 / len(values)) - 1.0)
    if lead > MARGIN and _likely(around, uniform, half):
        edges = {
            "low": shortest(low - slack, low + _ROUNDING * half),
            "high": shortest(high - _ROUNDING * half, high + slack),
        }
        return _measured(values, "uniform", edges, (), _distance(around / half, uniform))
    if lead < -MARGIN and _likely(shifted, normal, deviation):
        error = DEVIATIONS * deviation / math.sqrt(len(values))
        size = shortest(*normal.range(shifted, deviation), deviation)
        constants = {"deviation": size, "mean": shortest(mean - error, mean + error)}
        return _measured(values, "normal", constants, (), _distance(shifted / deviation, normal))
    close = abs(lead) <= MARGIN
    texts = ("uniform", "normal") if close else ()
    return _measured(values, "not told apart" if close else "unknown", {}, texts, 1.0)
