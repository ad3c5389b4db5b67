"""The printed table of a network: output shape, parameters, multiply-adds, receptive field.

Everything is derived from the network; drawing the page is the report's work.
"""

from __future__ import annotations

from typing import Any

from triptych.spec.layers import (
    ConvTranspose,
    Dense,
    LayerNorm,
    LogSoftmax,
    Permute,
    Reshape,
    Shape,
    Softmax,
)
from triptych.spec.layers.base import show
from triptych.spec.network import Network, Node

Field = tuple[tuple[int, int], tuple[int, int]]
"""(size, jump): pixels that a unit sees, and pixels between neighbours; each (height, width)."""

_MIXING = (Dense, LayerNorm, Softmax, LogSoftmax)
"""Layers whose outputs each depend on the whole last axis: after a flatten, on everything."""
_WINDOWLESS = (ConvTranspose, Reshape, Permute)
"""Layers behind which what a unit sees is no window of (height, width)."""


def rows(network: Network) -> list[dict[str, Any]]:
    """Return one row per node.

    Keys: name, kind, inputs, output (shape), parameters and multiply_adds (counts), and
    receptive_field ((height, width) in input pixels, ``None`` where it is not a window).
    """
    fields = receptive_fields(network)
    return [
        {
            "name": node.name,
            "kind": node.layer.kind,
            "inputs": list(node.inputs),
            "output": list(network.shapes[node.name]),
            "parameters": _count(network, node),
            "multiply_adds": node.layer.multiply_adds(*network.input_shapes(node)),
            "receptive_field": None if (seen := fields[node.name]) is None else list(seen),
        }
        for node in network.nodes
    ]


def receptive_fields(network: Network) -> dict[str, tuple[int, int] | None]:
    """Return the input pixels (height, width) that one output unit of each node can see.

    r' = r + (extent - 1) * jump and jump' = jump * stride along a path; the largest over paths.
    It is that of a unit far from the edges, and may exceed the input. A dense layer after a flatten
    sees the whole input; a transposed convolution's is not a window.
    """
    fields: dict[str, Field | None] = {}
    whole = network.shapes[network.input.name]
    for node in network.nodes:
        before = [fields[name] for name in node.inputs]
        fields[node.name] = _field(node, network.input_shapes(node), before, whole)
    return {name: field[0] if field else None for name, field in fields.items()}


def _field(
    node: Node, inputs: tuple[Shape, ...], before: list[Field | None], whole: Shape
) -> Field | None:
    if len(whole) != 3 or isinstance(node.layer, _WINDOWLESS):
        return None
    if not before:
        return ((1, 1), (1, 1))
    if isinstance(node.layer, _MIXING) and len(inputs[0]) == 1:
        return ((whole[0], whole[1]), (1, 1))
    known = [field for field in before if field is not None]
    if len(known) < len(before):
        return None
    size = (max(f[0][0] for f in known), max(f[0][1] for f in known))
    jump = (max(f[1][0] for f in known), max(f[1][1] for f in known))
    window = node.layer.window()
    if window is None:
        return (size, jump)
    (height, width), stride = window
    grown = (size[0] + (height - 1) * jump[0], size[1] + (width - 1) * jump[1])
    return (grown, (jump[0] * stride[0], jump[1] * stride[1]))


def _count(network: Network, node: Node) -> int:
    if node.shares is not None:
        return 0
    own = node.layer.parameters(*network.input_shapes(node))
    return sum(parameter.size for parameter in own.values() if parameter.trainable)


def text(network: Network) -> str:
    """Return the table as text with a line of totals."""
    heads = ("node", "layer", "output", "parameters", "multiply-adds", "sees")
    found = rows(network)
    body = [
        (
            row["name"],
            row["kind"],
            show(tuple(row["output"])),
            f"{row['parameters']:,}",
            f"{row['multiply_adds']:,}",
            show(tuple(row["receptive_field"])) if row["receptive_field"] else "",
        )
        for row in found
    ]
    work = sum(row["multiply_adds"] for row in found)
    body.append(("total", "", "", f"{network.parameter_count:,}", f"{work:,}", ""))
    widths = [max(len(line[i]) for line in [heads, *body]) for i in range(len(heads))]
    lines = [_line(heads, widths), "  ".join("-" * width for width in widths)]
    return "\n".join([*lines, *(_line(line, widths) for line in body)])


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    numeric = (3, 4)
    padded = [
        cell.rjust(width) if place in numeric else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
