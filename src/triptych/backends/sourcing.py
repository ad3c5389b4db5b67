"""What the writers of native definitions share: names, numbers, the order of lines, their length.

A writer (``source.py`` of a backend) has two tables by a layer's kind. One puts a layer's
construction into words, ``nn.Linear(16, 3)``; the other its use in the forward pass,
``self.dense1(x)``. This file walks the network and turns their answers into lines. It knows no
framework; the words of one belong in its own writer.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triptych.errors import Unsupported
from triptych.spec.layers import Activation, Input, Shape
from triptych.spec.layers.convolution import Amounts, Pair
from triptych.spec.network import Network, Node

WIDTH = 100
"""The longest line, as this project's own."""


@dataclass(frozen=True)
class Site:
    """A node where it stands.

    Attributes:
        node: the layer and its name.
        inputs: the shapes it takes, without the batch axis, channels last.
        output: the shape it gives.
        callee: the text that calls the node's layer, its own or shared: ``self.conv1``.
        planar: whether the network slides windows over images, so that a framework that wants
            channels first keeps every (height, width, channels) value that way.
    """

    node: Node
    inputs: tuple[Shape, ...]
    output: Shape
    callee: str
    planar: bool

    @property
    def layer(self) -> Any:
        """The layer of the spec, with the fields of its own kind."""
        return self.node.layer

    @property
    def channels(self) -> int:
        """The size of the last axis it takes."""
        return self.inputs[0][-1]


@dataclass(frozen=True)
class Step:
    """An expression of the forward pass, and a comment where a framework has a trap there."""

    expression: str
    comment: str = ""


Define = Callable[[Site], str]
Apply = Callable[[Site, Sequence[str]], Step]
"""Inputs are variables, except that an activation may get a whole expression: it must use its
input once, as the argument of a function."""
Imports = Sequence[tuple[str, str]]
"""(what to look for in the text, the import it needs), in the order of the imports."""


def named(expression: str) -> Apply:
    """Return an Apply that puts the layer (``{layer}``) and its input (``{x}``) into a text."""
    return lambda site, args: Step(
        re.sub(r"{layer\.(\w+)}", lambda m: number(getattr(site.layer, m[1])), expression)
        .replace("{layer}", site.callee)
        .replace("{x}", args[0])
    )


def rescale(site: Site, args: Sequence[str]) -> Step:
    """``x * (1 / 255) - 0.5``: the same words everywhere."""
    scale, offset = number(site.layer.scale), site.layer.offset
    text = f"{args[0]} * {f'({scale})' if ' ' in scale else scale}"
    return Step(f"{text} {'-' if offset < 0 else '+'} {number(abs(offset))}" if offset else text)


def batched(axes: Iterable[int]) -> tuple[int, ...]:
    """Return a permutation of an example's axes as one of the batch's: (1, 0) -> (0, 2, 1)."""
    return (0, *(axis + 1 for axis in axes))


# --- names and numbers ---------------------------------------------------------------------------


def class_name(title: str) -> str:
    """``space-invaders`` -> ``SpaceInvaders``; ``Network`` before what is no name by itself."""
    name = "".join(word[:1].upper() + word[1:] for word in re.findall(r"[^\W_]+", title))
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"Network{name}"


def function_name(title: str, reserved: Iterable[str]) -> str:
    """``space-invaders`` -> ``space_invaders``; with ``_network`` after a name that is taken."""
    name = "_".join(word.lower() for word in re.findall(r"[^\W_]+", title))
    name = name if name.isidentifier() else f"network_{name}".rstrip("_")
    return f"{name}_network" if name in {*reserved, *keyword.kwlist} else name


def number(value: float) -> str:
    """Return a number that reads back as the same float: ``1 / 255`` where that is shorter."""
    if isinstance(value, bool):
        return repr(value)
    text = repr(float(value))
    if len(text) > 8 and abs(value) > 1e-9 and (whole := round(1 / value)) and 1 / whole == value:
        return f"1 / {whole}"
    return text


def is_even(amounts: Amounts) -> bool:
    """Return whether the amounts before and after are alike on both axes."""
    return all(before == after for before, after in amounts)


def cut(crop: Amounts) -> tuple[str, str]:
    """Return the slices that cut (before, after) pixels off each axis, such as (``:-1``, ``:``)."""
    (top, bottom), (left, right) = crop
    texts = (f"{a or ''}:{-b if b else ''}" for a, b in ((top, bottom), (left, right)))
    rows, columns = texts
    return rows, columns


def first_pixels(amounts: Amounts) -> Pair:
    """Return (top, left) of the amounts."""
    return (amounts[0][0], amounts[1][0])


def summary(network: Network) -> str:
    """Return one sentence for the docstring: shapes in and out, parameters."""
    start, end = network.shapes[network.input.name], network.shapes[network.output.name]
    what = " of indices" if is_index(network) else ""
    shapes = f"{batch(start)}{what} -> {batch(end)}"
    last = ", channels last" if len(start) == 3 or len(end) == 3 else ""
    return f"{shapes}{last}; {network.parameter_count:,} parameters."


def batch(shape: Shape) -> str:
    """Return a shape with the batch axis before it: ``(batch, 15, 15, 1)``."""
    return f"(batch, {', '.join(map(str, shape))})"


def is_index(network: Network) -> bool:
    """Return whether the input holds integer indices."""
    layer = network.input.layer
    return isinstance(layer, Input) and layer.values == "index"


def has(network: Network, *kinds: str) -> bool:
    """Return whether a node is of one of the kinds."""
    return any(node.layer.kind in kinds for node in network.nodes)


def first_with_params(network: Network) -> str | None:
    """Return the name of the first node that has params."""
    return next((name.rsplit("/", 1)[0] for name in network.parameters), None)


# --- walking the network -------------------------------------------------------------------------


def is_chain(network: Network) -> bool:
    """Return whether every node takes the one before it and nothing else."""
    pairs = zip(network.nodes, network.nodes[1:], strict=False)
    return all(node.inputs == (before.name,) for before, node in pairs)


def is_planar(network: Network) -> bool:
    """Return whether the network slides windows over images."""
    return has(network, "conv", "conv_transpose", "max_pool", "average_pool")


def sites(network: Network, callee: Callable[[str], str]) -> list[Site]:
    """Return the nodes after the input; ``callee`` says how the layer of a node is called."""
    planar, shapes = is_planar(network), network.shapes
    return [
        Site(node, network.input_shapes(node), shapes[node.name], callee(node.owner), planar)
        for node in network.nodes[1:]
    ]


def check(
    network: Network, backend: str, kinds: Iterable[str], taken: Callable[[str], bool] | None = None
) -> None:
    """Raise Unsupported for a layer or a node name that the text cannot hold.

    ``taken`` says which names an attribute of the framework's module cannot have.
    """
    for node in network.nodes[1:]:
        if node.layer.kind not in kinds:
            raise Unsupported(f"backend {backend!r} has no words for a layer {node.layer.kind!r}")
        if taken is not None and taken(node.name):
            raise Unsupported(
                f"backend {backend!r} cannot write a node called {node.name!r} as source, because "
                "its modules use that name themselves; rename the node"
            )


def variables(network: Network, reserved: Iterable[str]) -> dict[str, str]:
    """Return the variable that holds each node's value: ``x`` in a chain, else the node's name."""
    if is_chain(network):
        return {node.name: "x" for node in network.nodes}
    used = {"x", *reserved, *keyword.kwlist}
    found = {network.input.name: "x"}
    for node in network.nodes[1:]:
        name = node.name
        while name in used:
            name += "_"
        used.add(name)
        found[node.name] = name
    return found


def constructions(
    places: Sequence[Site], define: Mapping[str, Define], comments: Mapping[str, str]
) -> list[str]:
    """Return a line for every layer that is to be constructed, without indentation."""
    return [
        part
        for site in places
        if site.layer.kind in define and site.node.shares is None
        for part in comment(
            f"{site.callee} = {define[site.layer.kind](site)}", comments.get(site.layer.kind, "")
        )
    ]


def forward(
    network: Network, places: Sequence[Site], apply: Mapping[str, Apply], names: Mapping[str, str]
) -> list[str]:
    """Return the lines of the forward pass, without indentation.

    An activation joins the layer before it where nothing else reads that layer and the line stays
    short: ``x = relu(conv1(x))``.
    """
    readers = Counter(name for node in network.nodes for name in node.inputs)
    lines: list[str] = []
    waiting: Step | None = None
    for site, after in zip(places, [*places[1:], None], strict=True):
        args = (
            [names[name] for name in site.node.inputs] if waiting is None else [waiting.expression]
        )
        step = apply[site.layer.kind](site, args)
        comment = step.comment or (waiting.comment if waiting else "")
        waiting = None
        if _joins(site, after, readers) and after is not None:
            joined = apply[after.layer.kind](after, [step.expression]).expression
            if len(f"        {names[after.node.name]} = {joined}") <= WIDTH:
                waiting = Step(step.expression, comment)
                continue
        lines += _statement(names[site.node.name], Step(step.expression, comment))
    return lines


def _joins(site: Site, after: Site | None, readers: Mapping[str, int]) -> bool:
    return (
        after is not None
        and isinstance(after.layer, Activation)
        and not isinstance(site.layer, Activation)
        and after.node.inputs == (site.node.name,)
        and readers[site.node.name] == 1
    )


def _statement(name: str, step: Step) -> list[str]:
    if step.expression == name:
        return [f"# {step.comment}"] if step.comment else []
    return comment(f"{name} = {step.expression}", step.comment)


# --- lines ---------------------------------------------------------------------------------------


def comment(line: str, text: str) -> list[str]:
    """Return a line with its comment behind it, or above it where both together are too long."""
    if not text:
        return [line]
    both = f"{line}  # {text}"
    return [both] if len(both) + 8 <= WIDTH else [f"# {text}", line]


def indented(lines: Iterable[str], depth: int) -> list[str]:
    """Return lines moved right by ``depth`` spaces, calls that became too long broken."""
    return [part for line in lines for part in fold(" " * depth + line if line else "")]


def fold(line: str) -> list[str]:
    """Break a line that is too long as ruff does: a sum by its terms, a call by its arguments."""
    if len(line) <= WIDTH or line.lstrip().startswith("#"):
        return [line]
    margin = " " * (len(line) - len(line.lstrip()))
    name, equals, value = line.partition(" = ")
    terms = _split(value, re.compile(r" (?=[+-] )"))
    if equals and len(terms) > 1:
        inner = [part for term in terms for part in fold(f"{margin}    {term}")]
        return [f"{name} = (", *inner, f"{margin})"]
    return _fold_call(line, margin) if line.endswith(")") else [line]


def _fold_call(line: str, margin: str) -> list[str]:
    """Put the arguments on a line of their own, or where that is too long, each on its own."""
    start = _opening(line)
    arguments = line[start + 1 : -1]
    if len(f"{margin}    {arguments}") <= WIDTH:
        return [line[: start + 1], f"{margin}    {arguments}", f"{margin})"]
    each = [fold(f"{margin}    {part}") for part in _split(arguments, re.compile(r", "))]
    inner = [part for lines in each for part in [*lines[:-1], f"{lines[-1]},"]]
    return [line[: start + 1], *inner, f"{margin})"]


def _opening(line: str) -> int:
    """The place of the bracket that the last character closes."""
    return max(i for i, mark in enumerate(line) if mark in "([" and _depth(line[i:]) == 0)


def _depth(text: str) -> int:
    """Brackets opened and not closed."""
    return sum(text.count(mark) for mark in "([") - sum(text.count(mark) for mark in ")]")


def _split(text: str, separator: re.Pattern[str]) -> list[str]:
    """Split where the separator stands outside of all brackets."""
    places = [m for m in separator.finditer(text) if _depth(text[: m.start()]) == 0]
    starts, ends = [0, *(m.end() for m in places)], [*(m.start() for m in places), len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def assemble(imports: Imports, helpers: Mapping[str, str], definition: Sequence[str]) -> str:
    """Return the file: the imports that are used, the helpers that are called, the definition."""
    body = "\n".join(definition)
    blocks = [helpers[name].strip("\n") for name in _called(helpers, body)] + [body]
    text = "\n\n\n".join(blocks)
    lines = [line for sign, line in imports if re.search(sign, text)]
    return "\n".join(lines) + "\n\n\n" + text + "\n"


def _called(helpers: Mapping[str, str], body: str) -> list[str]:
    """The helpers that the body calls, directly or through another helper, in their order."""
    wanted: set[str] = set()
    texts = [body]
    while texts:
        text = texts.pop()
        used = r"(?<![\w.]){0}\(|\({0}\):"  # a call, or a class on top of it
        found = {name for name in helpers if re.search(used.format(name), text)} - wanted
        wanted |= found
        texts += [helpers[name] for name in found]
    return [name for name in helpers if name in wanted]


def recurrent_options(layer: Any, functions: Mapping[str, str], *names: str) -> str:
    """Return a recurrent layer's options as ``bend=jnp.tanh, gate=nnx.sigmoid, biases=1, ...``.

    Args:
        layer: whose options are told.
        functions: how the framework writes an activation.
        names: the options to tell, in this order; those at their default are left out, ``biases``
            is not.
    """
    is_gru = layer.kind == "gru"
    gate = None if layer.kind == "elman" else functions[layer.gate_activation]
    mask = None if layer.mask_value is None else number(layer.mask_value)
    said = {
        "bend": functions[layer.activation],
        "gate": gate,
        "biases": str(layer.biases),
        "mask": mask,
        "reverse": "True" if layer.reverse else None,
        "reset_after": "False" if is_gru and not layer.reset_after else None,
        "candidate_bias": "True" if is_gru and layer.candidate_bias else None,
    }
    return ", ".join(f"{name}={said[name]}" for name in names if said[name] is not None)
