"""The factors of a user's own native code, by audit key: what can be read, and what is probed.

Reading live objects is in ``backends/_*/native.py``, the probes are in ``parity/probing``. Where
both answer, the probe counts, since it saw what the object does and not what it says; a
contradiction is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triptych.backends.native import Native, NativeNode
from triptych.backends.protocol import Params
from triptych.errors import TriptychError
from triptych.parity.probing import initialisers, losses, rules
from triptych.parity.probing.initialisers import Found
from triptych.parity.probing.rules import Identified, Play
from triptych.parity.sides import asking
from triptych.spec.layers import Parameter

Factors = dict[str, Any]

_MOST = 20_000
"""Entries of an array that its initialiser is told from."""


@dataclass(frozen=True)
class Facts:
    """What is known of a side.

    Attributes:
        factors: by audit key.
        rule: the identified update rule, where it was probed.
        norm: the gradient's global norm on the side's own batch, where there is one.
        notes: what could not be seen, and what contradicts itself.
        framework: in whose words the side is changed: a framework's, or a recipe's.
        schedule: the rate by the count of updates made, where it is known as a function.
        drawn: what was told of each initialiser that was told from values, by audit key.
    """

    factors: Factors
    rule: Identified | None = None
    norm: float | None = None
    notes: tuple[str, ...] = ()
    framework: str = "triptych"
    schedule: Callable[[int], float] | None = None
    drawn: Mapping[str, Found] = field(default_factory=dict)


def of_native(native: Native) -> Facts:
    """Return every factor of a user's setup."""
    read = native.read()
    rule, notes = _rule(native)
    probed = rules.factors(rule) if rule.rule != "unknown" else {}
    notes += _contradictions(read, probed)
    drawn = _initial(native)
    with asking(native.where, "'loss' of chosen outputs"):
        loss, norm = _loss(native, read), _norm(native)
    found = read | loss | probed | {key: own.text for key, own in drawn.items()}
    told = tuple(f"{native.where}: {note}" for note in notes)
    return Facts(found, rule, norm, told, native.framework, drawn=drawn)


def trained_by(native: Native) -> Factors:
    """Return the factors that a ladder judges: both sides have the left's params and batch.

    What the live objects show counts; an optimizer or a loss of the user's own is probed.
    """
    given = ("batch.low", "batch.high")
    read = {key: value for key, value in native.read().items() if key not in given}
    if str(read.get("optimizer.rule", "unknown")).startswith("unknown"):
        rule, _ = _rule(native)
        if rule.rule != "unknown":
            kept = {key: own for key, own in read.items() if not key.startswith("optimizer.")}
            read = kept | rules.factors(rule)
    read = {
        key: _to_three_digits(own) if key.startswith("optimizer.") else own
        for key, own in read.items()
    }
    return read if "loss.kind" in read else read | _loss(native, read)


def _to_three_digits(value: Any) -> Any:
    """A constant as far as probing tells it, so that one that was read can equal it."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _rule(native: Native) -> tuple[Identified, tuple[str, ...]]:
    with asking(native.where, "'optimizer' given chosen gradients"):
        rule = rules.identify(embedded(native), dtype=native.dtype)
    if rule.rule == "unknown":
        return rule, (f"the update rule is {rules.describe(rule)}",)
    return rule, rule.notes


def _contradictions(read: Mapping[str, Any], probed: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sentence for each constant that an optimizer shows and does not use."""
    return tuple(
        f"{key} reads {read[key]} but acts as {value}"
        for key, value in probed.items()
        if key in read and not key.startswith("optimizer.rule") and not close(read[key], value)
    )


def close(left: Any, right: Any) -> bool:
    """Whether two values of a factor are equal, numbers as far as probing tells them (1e-3)."""
    numbers = (int, float)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, numbers) and isinstance(right, numbers):
        return math.isclose(left, right, rel_tol=1e-3, abs_tol=1e-30)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(close, left, right))
    return bool(left == right)


def embedded(native: Native) -> Play:
    """Return a way to play a probe's small arrays to an optimizer that knows the model's only.

    Each is laid into an array of its own, as far as they are large enough, so that norms by
    variable and norms of all differ; every other entry is zero and has no gradient.
    """
    own = {name: array for name, array in native.params().items() if name in _trainable(native)}

    def play(gradients: Sequence[Params], start: Params, first: int) -> list[Params]:
        places = _places({name: array.size for name, array in own.items()}, start)
        sent = [_laid(gradient, own, places) for gradient in gradients]
        answers = native.play(sent, _laid(start, own, places), first)
        return [
            {
                name: answer[home]
                .reshape(-1)[at : at + start[name].size]
                .reshape(start[name].shape)
                for name, (home, at) in places.items()
            }
            for answer in answers
        ]

    return play


def _trainable(native: Native) -> set[str]:
    return {f"{node.name}/{local}" for node in native.nodes for local in node.trainable}


def _places(sizes: Mapping[str, int], arrays: Params) -> dict[str, tuple[str, int]]:
    """Return for each array of a probe the model's array it lies in, and where.

    Raises:
        TriptychError: the model has too few numbers to learn to probe its optimizer.
    """
    rest, used = dict(sizes), dict.fromkeys(sizes, 0)
    found = {}
    for name in sorted(arrays, key=lambda name: -arrays[name].size):
        size = arrays[name].size
        free = [home for home in rest if rest[home] >= size]
        if not free:
            raise TriptychError(
                f"the model learns {sum(sizes.values())} numbers, too few to probe its optimizer; "
                "give it a layer with 50 or more"
            )
        home = min(free, key=lambda home: (used[home] > 0, rest[home]))
        found[name] = (home, used[home])
        used[home] += size
        rest[home] -= size
    return found


def _laid(
    arrays: Params, own: Mapping[str, np.ndarray], places: Mapping[str, tuple[str, int]]
) -> Params:
    laid = {name: np.zeros(array.shape, array.dtype) for name, array in own.items()}
    for name, (home, at) in places.items():
        laid[home].reshape(-1)[at : at + arrays[name].size] = arrays[name].reshape(-1)
    return laid


def _loss(native: Native, read: Mapping[str, Any]) -> Factors:
    outputs = native.layer_outputs(native.batch["input"])["output"]
    found = losses.identify(native.loss_of, outputs, native.batch["target"])
    if found.kind == "unknown":
        return {} if "loss.kind" in read else losses.factors(found)
    return losses.factors(found)


def _norm(native: Native) -> float:
    gradients = native.gradients(native.batch)
    return math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients.values()))


def alike(left: Found, right: Found) -> bool:
    """Whether two initialisers told from values may be one.

    Names without numbers are compared as names; others in shape, and in scale within errors.
    """
    if left.scale == 0.0 or right.scale == 0.0:
        return left.text == right.text
    if left.told and right.told and not (left.constants or right.constants):
        return left.text in right.alternatives or right.text in left.alternatives
    shapes = [set(map(initialisers.shape_of, found.alternatives)) for found in (left, right)]
    apart = abs(left.scale - right.scale)
    return bool(shapes[0] & shapes[1]) and apart <= 4.0 * math.hypot(left.error, right.error)


def _initial(native: Native) -> dict[str, Found]:
    """Return the distribution of every trainable array, told from one or two draws of it."""
    draws = [params for params in (native.params(), native.redraw()) if params is not None]
    found = {}
    for node in native.nodes:
        for local in node.trainable:
            name = f"{node.name}/{local}"
            sample = [_some(draw[name]) for draw in draws]
            found[f"{name}.initial"] = initialisers.identify(sample, parameter_of(node, local))
    return found


def _some(array: np.ndarray) -> np.ndarray:
    """An array, or if it is large as many whole rows as are enough."""
    if array.size <= _MOST or array.ndim < 2:
        return array
    flat = array.reshape(-1, array.shape[-1])
    return flat[:: math.ceil(array.size / _MOST)]


def parameter_of(node: NativeNode, local: str) -> Parameter:
    """Return a parameter's shape and fans, of a bias those of its kernel."""
    shape = tuple(node.parameters[local])
    kernel = shape if len(shape) > 1 else _kernel(node) or shape
    if len(kernel) < 2:
        return Parameter(shape)
    field = math.prod(kernel[:-2])
    return Parameter(shape, field * kernel[-2], field * kernel[-1])


def _kernel(node: NativeNode) -> tuple[int, ...] | None:
    found = [tuple(shape) for local, shape in node.parameters.items() if len(shape) > 1]
    return found[0] if found else None
