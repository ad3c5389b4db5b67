"""The printed table of a network: output shape, parameters, multiply-adds, receptive field.

Everything is derived from the network; drawing the page is the report's work.
"""

from __future__ import annotations

from typing import Any

from triptych.spec.layers import ConvTranspose, Dense, Flatten
from triptych.spec.layers.base import show
from triptych.spec.network import Network, Node

Field = tuple[tuple[int, int], tuple[int, int]]


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
            "receptive_field": list(fields[node.name]) if fields[node.name] else None,
        }
        for node in network.nodes
    ]


def receptive_fields(network: Network) -> dict[str, tuple[int, int] | None]:
    """Return the input pixels (height, width) that one output unit of each node can see.

    r' = r + (extent - 1) * jump and jump' = jump * stride along a path; the largest over paths.
    Flatten and dense layers see the whole input; a transposed convolution's is not a window.
    """
    fields: dict[str, Field | None] = {}
    whole = network.shapes[network.input.name]
    for node in network.nodes:
        fields[node.name] = _field(node, [fields[name] for name in node.inputs], whole)
    return {name: field[0] if field else None for name, field in fields.items()}


def _field(node: Node, before: list[Field | None], whole: tuple[int, ...]) -> Field | None:
    if len(whole) != 3 or isinstance(node.layer, ConvTranspose) or None in before:
        return None
    if not before:
        return ((1, 1), (1, 1))
    known = [field for field in before if field]
    size = (max(f[0][0] for f in known), max(f[0][1] for f in known))
    jump = (max(f[1][0] for f in known), max(f[1][1] for f in known))
    if isinstance(node.layer, (Flatten, Dense)):
        return ((whole[0], whole[1]), (1, 1))
    window = node.layer.window()
    if window is None:
        return (size, jump)
    (height, width), stride = window
    grown = (size[0] + (height - 1) * jump[0], size[1] + (width - 1) * jump[1])
    return (grown, (jump[0] * stride[0], jump[1] * stride[1]))


def _count(network: Network, node: Node) -> int:
    prefix = f"{node.name}/"
    return sum(network.parameters[n].size for n in network.trainable if n.startswith(prefix))


def text(network: Network) -> str:
    """Return the table as text with a line of totals."""
    heads = ("node", "layer", "output", "parameters", "multiply-adds", "sees")
    body = [
        (
            row["name"],
            row["kind"],
            show(tuple(row["output"])),
            f"{row['parameters']:,}",
            f"{row['multiply_adds']:,}",
            show(tuple(row["receptive_field"])) if row["receptive_field"] else "",
        )
        for row in rows(network)
    ]
    work = sum(row["multiply_adds"] for row in rows(network))
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
