"""Layers that exporters write as several operators: GELU by its error function, dueling heads.

Each pattern is looked for at its first operator; what belongs to it is held or passed over.
"""

from __future__ import annotations

import math
from typing import Any

from triptych.backends.graph import Value
from triptych.port.onnx.reading import Held, Reader
from triptych.spec.layers import GELU, Dueling


def gelu(reader: Reader, node: Any) -> Value | None:
    """x / sqrt(2) -> Erf -> + 1 -> times x -> times 1/2, in the order PyTorch's exporter has it."""
    x = node.input[0]
    erf = reader.only_consumer(node.output[0])
    if node.op_type != "Div" or erf is None or erf.op_type != "Erf":
        return None
    if not reader.is_constant(node.input[1]):
        return None
    if not math.isclose(float(reader.constant(node, 1).reshape(())), math.sqrt(2), rel_tol=1e-6):
        return None
    steps, last = [erf], erf
    for kind, other in (("Add", 1.0), ("Mul", x), ("Mul", 0.5)):
        last = reader.only_consumer(last.output[0])
        if last is None or last.op_type != kind or not _with(reader, last, steps[-1], other):
            return None
        steps.append(last)
    value = reader.builder.add(GELU(), [reader.value(node)], reader.where(node))
    for step in steps:
        reader.skipped.add(step.output[0])
    reader.held[steps[-1].output[0]] = Held(value)
    return value


def _with(reader: Reader, node: Any, before: Any, other: float | str) -> bool:
    """Whether a node's other input is a tensor, or a constant number."""
    rest = [name for name in node.input if name != before.output[0]]
    if len(rest) != 1:
        return False
    if isinstance(other, str):
        return bool(rest[0] == other)
    if not reader.is_constant(rest[0]):
        return False
    array = reader.constants[rest[0]]
    return bool(array.size == 1 and float(array.reshape(())) == other)


def centres(reader: Reader, node: Any) -> bool:
    """Whether a mean is that of ``value + (advantage - mean(advantage))``."""
    less = reader.only_consumer(node.output[0])
    if less is None or less.op_type != "Sub":
        return False
    if less.input[0] != node.input[0]:
        return False
    reader.centred[less.output[0]] = reader.value(node)
    return True


def dueling(reader: Reader, node: Any) -> Value | None:
    """A dueling head at the addition of a value (1,) and an advantage (actions,)."""
    for place in (0, 1):
        if node.input[place] in reader.centred:
            both = [reader.value(node, 1 - place), reader.centred[node.input[place]]]
            return reader.builder.add(Dueling(), both, reader.where(node))
    shapes = [reader.shape_of(name) for name in node.input]
    less = reader.only_consumer(node.output[0])
    if less is None or less.op_type != "Sub" or shapes[0] == shapes[1] or len(shapes[0]) != 2:
        return None
    mean = reader.producers.get(less.input[1])
    if mean is None or mean.op_type != "ReduceMean" or mean.input[0] not in node.input:
        return None
    place = list(node.input).index(mean.input[0])
    if shapes[1 - place][1] != 1 or less.input[0] != node.output[0]:
        return None
    both = [reader.value(node, 1 - place), reader.value(node, place)]
    value = reader.builder.add(Dueling(), both, reader.where(node))
    reader.skipped |= {less.output[0], less.input[1]}
    reader.held[less.output[0]] = Held(value)
    return value
