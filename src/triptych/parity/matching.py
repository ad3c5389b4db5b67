"""Which array of one user's model is which of another's: by kind and order, or as the user says.

Nodes are named by their kind and a counter, so that equal names are the same place in the order of
execution. Pure functions of descriptions; nothing here runs a framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from triptych.backends.native import NativeNode
from triptych.errors import SetupError, did_you_mean

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Match:
    """Left names to right names, of nodes and of arrays, and what is in the way.

    ``problems`` holds a sentence for each array that has no partner or another shape; with any of
    them the params of one side can't be put into the other.
    """

    nodes: dict[str, str]
    arrays: dict[str, str]
    problems: tuple[str, ...]


def shapes_of(nodes: Sequence[NativeNode]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array by its full name."""
    return {
        f"{node.name}/{local}": tuple(shape)
        for node in nodes
        for local, shape in node.parameters.items()
    }


def match(
    left: Sequence[NativeNode], right: Sequence[NativeNode], weights: Mapping[str, str]
) -> Match:
    """Match two models' nodes and arrays.

    Args:
        left: nodes in the order of execution.
        right: the other side's.
        weights: left name to right name, of nodes or of arrays, instead of the automatic match.

    Raises:
        SetupError: ``weights`` names what is not there, or one array twice.
    """
    theirs, given = {node.name for node in right}, dict(weights)
    own, others = shapes_of(left), shapes_of(right)
    _check_names(given, [node.name for node in left], own, "left")
    _check_names({b: a for a, b in given.items()}, list(theirs), others, "right")
    taken = {name for name in given.values() if "/" not in name}
    nodes = {}
    for node in left:
        partner = given.get(node.name)
        if partner is None and node.name in theirs - taken:
            partner = node.name
        if partner is not None:
            nodes[node.name] = partner
    arrays = _arrays(own, others, nodes, given)
    return Match(nodes, arrays, _problems(own, others, arrays))


def _arrays(
    own: Shapes, others: Shapes, nodes: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """Match arrays of matched nodes by local name, those of unknown layers by their order."""
    said = {a: b for a, b in given.items() if "/" in a}
    taken, found = set(said.values()), {}
    for name in own:
        node, local = name.rsplit("/", 1)
        partner = said.get(name)
        if partner is None and node in nodes and f"{nodes[node]}/{local}" in set(others) - taken:
            partner = f"{nodes[node]}/{local}"
        if partner is not None:
            found[name] = partner
            taken.add(partner)
    left = [name for name in own if name not in found and name.startswith("unknown")]
    right = [name for name in others if name not in taken and name.startswith("unknown")]
    if [own[name] for name in left] == [others[name] for name in right]:
        found |= dict(zip(left, right, strict=True))
    return {name: found[name] for name in own if name in found}


def _problems(own: Shapes, others: Shapes, arrays: Mapping[str, str]) -> tuple[str, ...]:
    matched = set(arrays.values())
    alone = [f"left {name} {own[name]} has no partner" for name in own if name not in arrays]
    alone += [f"right {name} {others[name]} has none" for name in others if name not in matched]
    unlike = [
        f"left {a} is {own[a]} but right {b} is {others[b]}"
        for a, b in arrays.items()
        if own[a] != others[b]
    ]
    return (*unlike, *alone)


def explain(problems: Sequence[str], left: Shapes, right: Shapes) -> str:
    """Return the sentence on arrays that don't match, with both lists."""
    lists = [
        f"{side}: {', '.join(f'{name} {shape}' for name, shape in shapes.items())}"
        for side, shapes in (("left", left), ("right", right))
    ]
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return f"{'; '.join(problems[:3])}{more}; {'; '.join(lists)}"


def read_weights(path: Path) -> dict[str, str]:
    """Return a map of names from a YAML file of ``left name: right name``.

    Raises:
        SetupError: it is missing, no YAML, or no map of names.
    """
    if not path.is_file():
        raise SetupError(f"--weights: there is no file {path}")
    try:
        found: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SetupError(f"--weights: {path} is no YAML: {str(error).splitlines()[0]}") from error
    plain = isinstance(found, dict) and all(
        isinstance(word, str) for pair in found.items() for word in pair
    )
    if not plain:
        raise SetupError(
            f"--weights: {path} must hold lines such as 'dense1/kernel: dense2/kernel', "
            "the left name first"
        )
    return dict(found)


def _check_names(given: Mapping[str, str], nodes: Sequence[str], arrays: Shapes, side: str) -> None:
    for name in given:
        known = list(arrays) if "/" in name else list(nodes)
        if name not in known:
            hint = did_you_mean(name, known)
            raise SetupError(
                f"--weights: the {side} has no {name!r}{hint}; it has {', '.join(known)}"
            )
    if len(set(given.values())) < len(given):
        twice = next(name for name in given.values() if list(given.values()).count(name) > 1)
        raise SetupError(f"--weights: {twice!r} stands there twice; each name has one partner")
