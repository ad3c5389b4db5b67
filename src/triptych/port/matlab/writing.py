"""A network as a plain ``.m`` function beside its ``.mat`` file: one statement for each layer.

The functions that a statement calls are copied from ``run_network.m`` as far as they are needed, so
that what is written needs neither a toolbox nor Triptych. The ``.mat`` file's form is in
``structs.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any

from triptych.backends.carried import Trained
from triptych.errors import PortError, Unsupported
from triptych.port.matlab import structs
from triptych.port.matlab.reading import RUNNER
from triptych.spec.layers import ConvTranspose
from triptych.spec.layers.base import show
from triptych.spec.network import Network, Node

_FUNCTION = re.compile(r"^function (?:\[?[\w, ]+\]? = )?(\w+)", re.MULTILINE)
_BRACKETS = re.compile(r"\[[^]]*\]")
_WORD = re.compile(r"[A-Za-z]\w*")
_KEYWORDS = set(
    """break case catch classdef continue do else elseif end end_try_catch end_unwind_protect endfor
    endfunction endif endparfor endswitch endwhile enumeration events for function global if methods
    otherwise parfor persistent properties return spmd switch try until unwind_protect
    unwind_protect_cleanup while""".split()  # noqa: SIM905
)
_CALLED = set(
    """arrayfun cast cat cellfun class double erf error exp expm1 false fieldnames fileparts fliplr
    floor fullfile ipermute isa isempty isfield load log log1p mat2str max mfilename min ndims numel
    ones permute repmat reshape single size sprintf sqrt struct structfun sum tanh true zeros
    """.split()  # noqa: SIM905
)
"""MATLAB's own functions that written files use, which neither they nor variables may be called."""
_OWN = {"arrays", "net", "varargin", "x", "y"}
"""The written function's other variables."""


# --- one statement for each layer ------------------------------------------------------------


class _Site:
    """What a statement is made of: a node, its shapes, and the variables of its inputs."""

    def __init__(self, network: Network, node: Node, variables: dict[str, str]) -> None:
        self.layer: Any = node.layer
        self.inputs = [variables[name] for name in node.inputs]
        self.shape = network.input_shapes(node)[0]
        self.rank = len(self.shape)
        self.x = self.inputs[0]
        self.net = f"net.{variables[node.owner]}"

    @property
    def bias(self) -> str:
        return f"{self.net}.bias" if self.layer.bias else "0"


def _conv(site: _Site) -> str:
    layer = site.layer
    return (
        f"convolution({site.x}, {site.net}.weights, {site.bias}, {_row(layer.stride)}, "
        f"{_edges(layer.pixels(site.shape))}, {_row(layer.dilation)}, {layer.groups})"
    )


def _conv_transpose(site: _Site) -> str:
    layer: ConvTranspose = site.layer
    return (
        f"transposed_convolution({site.x}, {site.net}.weights, {site.bias}, {_row(layer.stride)}, "
        f"{_edges(layer.crop())}, {_row(layer.dilation)})"
    )


def _pool(site: _Site) -> str:
    layer = site.layer
    windows = f"{_row(layer.size)}, {_row(layer.stride)}, {_edges(layer.pixels(site.shape))}"
    more = f", {_number(layer.count_padding)}" if layer.kind == "average_pool" else ""
    return f"{layer.kind}({site.x}, {windows}{more})"


def _batch_norm(site: _Site) -> str:
    net = site.net
    return (
        f"batch_norm({site.x}, {net}.mean, {net}.variance, {_number(site.layer.epsilon)}, "
        f"{net}.scale, {net}.offset, {site.rank})"
    )


def _layer_norm(site: _Site) -> str:
    epsilon = _number(site.layer.epsilon)
    return f"layer_norm({site.x}, {epsilon}, {site.net}.scale, {site.net}.offset, {site.rank})"


def _recurrent(site: _Site) -> str:
    options = structs.options_of(site.layer)
    used = {name: value for name, value in options.items() if name not in ("biases",)}
    text = ", ".join(f"'{name}', {_number(value)}" for name, value in used.items())
    return f"{site.layer.kind}({site.x}, {site.net}, struct({text}))"


def _rescale(site: _Site) -> str:
    layer = site.layer
    offset = f" + {_number(layer.offset)}" if layer.offset >= 0 else f" - {_number(-layer.offset)}"
    return f"{site.x} * {_number(layer.scale)}{offset if layer.offset else ''}"


def _permute(site: _Site) -> str:
    axes = (*(axis + 1 for axis in site.layer.axes), site.rank + 1)
    return f"permute({site.x}, {_row(axes)})"


def _call(*options: str) -> Callable[[_Site], str]:
    """A function of the layer's kind, of x and of some of its fields."""

    def write(site: _Site) -> str:
        values = [_number(getattr(site.layer, name)) for name in options]
        return f"{site.layer.kind}({', '.join([*site.inputs, *values])})"

    return write


_STATEMENTS: dict[str, Callable[[_Site], str]] = {
    "rescale": _rescale,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": lambda site: f"dense({site.x}, {site.net}.weights, {site.bias}, {site.rank})",
    "flatten": lambda site: f"flatten_rows({site.x}, {site.rank})",
    "max_pool": _pool,
    "average_pool": _pool,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "dropout": lambda site: f"{site.x}",
    "embedding": lambda site: f"embedding({site.x}, {site.net}.weights, {site.rank})",
    "add": lambda site: " + ".join(site.inputs),
    "multiply": lambda site: " .* ".join(site.inputs),
    "concatenate": lambda site: f"cat({site.rank}, {', '.join(site.inputs)})",
    "dueling": _call(),
    "reshape": lambda site: f"reshape_rows({site.x}, {site.rank}, {_row(site.layer.size)})",
    "permute": _permute,
    "pad": lambda site: f"padded({site.x}, {_edges(site.layer.amounts)}, 0)",
    "relu": lambda site: f"max({site.x}, 0)",
    "relu6": lambda site: f"min(max({site.x}, 0), 6)",
    "leaky_relu": _call("slope"),
    "elu": _call("alpha"),
    "gelu": _call("approximate"),
    "hard_sigmoid": _call("slope"),
    "softmax": lambda site: f"softmax({site.x}, {site.rank})",
    "log_softmax": lambda site: f"log_softmax({site.x}, {site.rank})",
    **dict.fromkeys(("selu", "silu", "sigmoid", "tanh", "softplus"), _call()),
    **dict.fromkeys(("elman", "lstm", "gru"), _recurrent),
}
_COMMENTS = {"dropout": "acts in training only", "embedding": "indices count from 0"}


def _number(value: Any) -> str:
    """A value as MATLAB's text, every digit of it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}'"
    text = repr(float(value))
    return text.removesuffix(".0")


def _row(values: tuple[int, ...]) -> str:
    return f"[{' '.join(map(str, values))}]"


def _edges(pad: Any) -> str:
    return f"[{pad[0][0]} {pad[0][1]}; {pad[1][0]} {pad[1][1]}]"


# --- the whole file --------------------------------------------------------------------------


def variables_of(network: Network, name: str) -> dict[str, str]:
    """Return a variable for each node: its name, or with a number where MATLAB needs another."""
    taken = {*_KEYWORDS, *_CALLED, *_OWN, *library(), name}
    found: dict[str, str] = {}
    for node in network.nodes:
        word, number = node.name[:50], 1
        while word in taken:
            number += 1
            word = f"{node.name[:50]}_{number}"
        found[node.name] = word
        taken.add(word)
    return found


def _printable(text: str) -> str:
    """A text that stays on the line of its comment."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def function_text(trained: Trained, path: Path, title: str) -> str:
    """Return the text of the function that reads the ``.mat`` file at ``path`` beside it.

    Raises:
        Unsupported: a layer has no statement yet.
    """
    network, name = trained.network, function_name(path)
    variables = variables_of(network, name)
    lines = [_statement(network, node, variables, trained) for node in network.nodes[1:]]
    body = "\n".join(lines)
    start, end = (network.shapes[node.name] for node in (network.input, network.output))
    text = _TEMPLATE.format(
        name=name,
        upper=name.upper(),
        title=_printable(title),
        file=path.name.replace("'", "''"),
        input=show(start).replace("x", " x "),
        output=show(end).replace("x", " x "),
        size=_row(start),
        first=variables[network.input.name],
        last=variables[network.output.name],
        body=body,
    )
    return text + "\n" + "\n".join(_needed(text))


def _statement(network: Network, node: Node, variables: dict[str, str], trained: Trained) -> str:
    if node.layer.kind not in _STATEMENTS:
        raise Unsupported(f"a .m function has no layer {node.layer.kind!r} (node {node.name!r})")
    right = _STATEMENTS[node.layer.kind](_Site(network, node, variables))
    comment = f"  % {show(network.shapes[node.name]).replace('x', ' x ')}"
    place = _printable(trained.places.get(node.name, node.name))
    comment += f", {place}" if place != node.name else ""
    comment += f", {_COMMENTS[node.layer.kind]}" if node.layer.kind in _COMMENTS else ""
    line = f"  {variables[node.name]} = {right};"
    if len(line) <= 96:
        return line + comment
    whole = _BRACKETS.sub(lambda found: found.group().replace(" ", "\0"), line.strip())
    parts = wrap(whole, 88, break_long_words=False, break_on_hyphens=False)
    return " ...\n    ".join(["  " + parts[0], *parts[1:]]).replace("\0", " ") + comment


_TEMPLATE = """\
function y = {name}(x)
% {upper}  {title}, written by Triptych.
%
%   y = {name}(x) takes {input} x samples and gives {output} x samples.
%
% Single x is computed in single precision, everything else in double. The weights are in
% {file} beside this file.
%
% No toolbox is needed: runs in MATLAB (R2016b or later) and in GNU Octave.
  persistent arrays
  if isempty(arrays)
    arrays = arrays_of(fullfile(fileparts(mfilename('fullpath')), '{file}'));
  end
  if ~isa(x, 'single')
    x = double(x);
  end
  net = structfun(@(own) in_class(own, class(x)), arrays, 'UniformOutput', false);
  check_size(x, {size});
  {first} = x;
{body}
  y = {last};
end

function net = arrays_of(file)
% Each layer's arrays by the name of its variable.
  stored = load(file);
  net = struct();
  for k = 1:numel(stored.layers)
    layer = stored.layers{{k}};
    net.(layer.variable) = layer.arrays;
  end
end
"""


def library() -> dict[str, str]:
    """Return the text of every function of ``run_network.m`` by name, in its order."""
    text = RUNNER.read_text(encoding="utf-8")
    starts = [match.start() for match in _FUNCTION.finditer(text)] + [len(text)]
    parts = [_to_its_end(text[a:b]) for a, b in pairwise(starts)]
    return {_name(part): part for part in parts}


def _to_its_end(part: str) -> str:
    return part[: part.rindex("\nend") + 5]


def _name(part: str) -> str:
    match = _FUNCTION.match(part)
    assert match is not None
    return match.group(1)


def _needed(text: str) -> list[str]:
    """Return the functions that a text calls, and those that these call."""
    known = library()
    found: set[str] = set()
    waiting = [text]
    while waiting:
        words = set(_WORD.findall(_code(waiting.pop())))
        fresh = {word for word in words if word in known} - found
        found |= fresh
        waiting += [known[name] for name in fresh]
    return [part for name, part in known.items() if name in found]


def _code(text: str) -> str:
    """A text without its comments."""
    return "\n".join(line.split("%")[0] for line in text.split("\n"))


def function_name(path: Path) -> str:
    """Return the function's name for a ``.mat`` file: its own, as near as MATLAB allows.

    Raises:
        PortError: the file ends in something else.
    """
    if path.suffix != ".mat":
        raise PortError(f"{path.name} can't be written for matlab, whose files end in .mat")
    name = re.sub(r"[^A-Za-z0-9_]", "_", path.stem)[:59]
    name = name if name[0].isalpha() else f"net{name}"
    return f"{name}_net" if name in {*_KEYWORDS, *_CALLED, *library(), "arrays_of"} else name


def file_structs(trained: Trained, path: Path) -> dict[str, Any]:
    """Return the variables of the ``.mat`` file, each layer with its variable of the function."""
    found = structs.to_structs(trained)
    variables = variables_of(trained.network, function_name(path))
    for layer in found["layers"]:
        layer["variable"] = variables[layer["name"]]
    return found
