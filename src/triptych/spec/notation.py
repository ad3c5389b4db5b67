"""Networks written as text: ``84x84x4 -> conv 32 8x8/4 relu -> flatten -> dense 6``.

A notation is a chain of items joined by ``->``. An item is a layer with its sizes and options, and
may end in an activation; ``[...]*N`` repeats. The same grammar reads the classical pattern ``INPUT
-> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC``: its capital words are looked up in
``sizes``, its letters in ``counts``, and a trailing ``?`` marks a word that may be left out. Graphs
with branches are mappings of names to one layer each, ``advantage: dense 6 <- dense1``; there
``right: shares left <- b`` puts the layer of ``left``, with its params, at a second place.

The words of one layer are read in ``words.py``; layers themselves live in ``layers/``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triptych.errors import NetworkError, did_you_mean
from triptych.spec.fields import brief
from triptych.spec.layers import Input, Layer
from triptych.spec.network import Network, Node, fresh_name
from triptych.spec.words import layers_of

_MARK = re.compile(r"(->|\[|\]|\?|\*\s*\w*)")
_ALIASES = {"FC": "dense", "CONV": "conv", "POOL": "max_pool", "RELU": "relu", "INPUT": "input"}
_MOST_LAYERS = 5000
_DEEPEST = 20


def parse(
    notation: str | Mapping[str, Any],
    counts: Mapping[str, int] | None = None,
    sizes: Mapping[str, Any] | None = None,
) -> Network:
    """Return the network that a notation describes.

    Args:
        notation: a chain as text, a mapping of names to layers, or a mapping with the key
            ``pattern`` whose other keys are the pattern's counts and sizes.
        counts: values of a pattern's letters, such as ``{"N": 2, "M": 1, "K": 1}``.
        sizes: for each capital word of a pattern its sizes: one text for all its uses, a list with
            one for each use in order, or for an optional word ``False`` to leave it out.

    Raises:
        NetworkError: the text cannot be read, or sizes do not fit; the message shows where.
    """
    if isinstance(notation, str):
        return _chain(notation, dict(counts or {}), dict(sizes or {}))
    if not isinstance(notation, Mapping):
        raise NetworkError(
            f"expected text such as '84x84x4 -> dense 6', or names with a layer each, but found "
            f"{brief(notation)}"
        )
    if "pattern" not in notation:
        return _graph(notation)
    rest = {key: value for key, value in notation.items() if key != "pattern"}
    known = {key: value for key, value in rest.items() if key in _ALIASES}
    given = {key: value for key, value in rest.items() if key not in _ALIASES}
    return _chain(notation["pattern"], given | dict(counts or {}), known | dict(sizes or {}))


def _chain(text: Any, counts: Mapping[str, Any], sizes: Mapping[str, Any]) -> Network:
    if not isinstance(text, str):
        raise NetworkError(f"a pattern is text such as 'INPUT -> FC' but found {brief(text)}")
    expander = _Expander(text, counts, sizes)
    layers = [layer for words in expander.items() for layer in layers_of(words)]
    return Network.sequential(*layers)


def _graph(notation: Mapping[Any, Any]) -> Network:
    """Read one layer and its activation a line; a line's name means the output of the whole line.

    A line without ``<-`` takes the line before.
    """
    nodes: list[Node] = []
    ends: dict[str, str] = {}
    for line, text in notation.items():
        words, sources = _line(line, text)
        layers, owner = _layers(words, line, nodes)
        inputs = tuple(ends.get(source, source) for source in sources)
        if not inputs and nodes and not isinstance(layers[0], Input):
            inputs = (nodes[-1].name,)
        for position, layer in enumerate(layers):
            taken = {str(name) for name in notation} | {node.name for node in nodes}
            name = str(line) if position == 0 else fresh_name(layer, taken)
            nodes.append(Node(name, layer, inputs, owner if position == 0 else None))
            inputs = (name,)
        ends[str(line)] = nodes[-1].name
    return Network(tuple(nodes))


def _layers(words: str, line: str, nodes: list[Node]) -> tuple[list[Layer], str | None]:
    """Read a line's layers; ``shares left relu`` is the layer of line ``left``, then a relu.

    Returns:
        The layers, and the node whose params the first one shares.
    """
    first, *rest = words.split() or [""]
    if first != "shares":
        return layers_of(words), None
    known = {node.name: node.layer for node in nodes if node.shares is None}
    if not rest or rest[0] not in known:
        found = f"{rest[0]!r}{did_you_mean(rest[0], known)}" if rest else "nothing"
        raise NetworkError(
            f"line {line!r}: 'shares' needs the name of a line before it that has a layer of its "
            f"own, but found {found}"
        )
    after = layers_of(" ".join(rest[1:])) if rest[1:] else []
    return [known[rest[0]], *after], rest[0]


def _line(name: Any, text: Any) -> tuple[str, list[str]]:
    """Return the words of a graph's line and the names after its ``<-``."""
    if not isinstance(name, str) or not isinstance(text, str):
        raise NetworkError(
            f"line {brief(name)}: expected a layer such as 'dense 6' but found {brief(text)}"
        )
    words, arrow, sources = text.partition("<-")
    names = [source.strip() for source in sources.split(",")] if arrow else []
    if not all(names):
        raise NetworkError(f"line {name!r}: names of nodes must follow '<-', separated by commas")
    if "->" in words:
        raise NetworkError(f"line {name!r}: holds a chain; give each layer a line of its own")
    return words.strip(), names


@dataclass(frozen=True)
class _Item:
    """A layer's words, or a bracket's items, with what is written behind it."""

    body: str | list[_Item]
    times: int = 1
    optional: bool = False


class _Expander:
    """Recursive descent over the tokens of a chain; repeats and patterns' words are filled in."""

    def __init__(self, text: str, counts: Mapping[str, Any], sizes: Mapping[str, Any]) -> None:
        self.text, self.counts, self.sizes = text, counts, sizes
        self.tokens = [token.strip() for token in _MARK.split(text) if token.strip()]
        self.uses: dict[str, int] = {}
        self.counted: set[str] = set()
        self.flat = False

    def items(self) -> list[str]:
        """Return the words of every layer in order."""
        tree, end = self._sequence(0, 0)
        if end != len(self.tokens):
            raise self._error(f"unexpected {self.tokens[end]!r}")
        words = [words for item in self._expand(tree) for words in self._resolve(item)]
        self._check_given()
        return words

    def _error(self, problem: str) -> NetworkError:
        return NetworkError(f"network {self.text!r}: {problem}")

    def _token(self, at: int) -> str:
        return self.tokens[at] if at < len(self.tokens) else ""

    def _sequence(self, at: int, depth: int) -> tuple[list[_Item], int]:
        parts: list[_Item] = []
        while True:
            part, at = self._item(at, depth)
            parts.append(part)
            if self._token(at) != "->":
                return parts, at
            at += 1

    def _item(self, at: int, depth: int) -> tuple[_Item, int]:
        body: Any = self._token(at)
        if body in ("", "->", "]", "?") or body[0] == "*":
            before = f"after {self.tokens[at - 1]!r}" if at else "at the beginning"
            raise self._error(f"a layer such as 'dense 10' is missing {before}")
        if body == "[":
            if depth == _DEEPEST:
                raise self._error(f"more than {_DEEPEST} brackets inside each other")
            body, at = self._sequence(at + 1, depth + 1)
            if self._token(at) != "]":
                found = repr(self._token(at)) if self._token(at) else "the end"
                raise self._error(f"expected '->' or ']' but found {found}")
        return self._marked(body, at + 1)

    def _marked(self, body: Any, at: int) -> tuple[_Item, int]:
        """Read the repeat and the question mark behind an item."""
        times, optional = 1, False
        if self._token(at).startswith("*"):
            times = self._count(self._token(at)[1:].strip())
            at += 1
        if self._token(at) == "?":
            if not isinstance(body, str) or body not in _ALIASES:
                raise self._error("'?' may follow a pattern's word only, such as POOL?")
            optional = True
            at += 1
        return _Item(body, times, optional), at

    def _count(self, word: str) -> int:
        self.counted.add(word)
        written = word.isascii() and word.isdecimal() and len(word) < 10
        value = int(word) if written else self.counts.get(word)
        if type(value) is not int or value < 0:
            found = f" but {word} is {brief(value)}" if value is not None else ""
            wanted = f"; give {word}, such as {word}=2" if word.isalpha() else ", such as *2"
            raise self._error(f"'*{word}' needs a whole number{found}{wanted}")
        return value

    def _expand(self, tree: list[_Item]) -> list[_Item]:
        """Return the items that are layers, repeated as often as they and their brackets say."""
        flat: list[_Item] = []
        for item in tree:
            inner = [item] if isinstance(item.body, str) else self._expand(item.body)
            if len(flat) + len(inner) * item.times > _MOST_LAYERS:
                raise self._error(f"its repeats make more than {_MOST_LAYERS} layers")
            flat += inner * item.times
        return flat

    def _resolve(self, item: _Item) -> list[str]:
        """Return a capital word of a pattern with its sizes; other words as they are.

        The pattern does not write the flatten that its first FC implies.
        """
        word = str(item.body)
        if word not in _ALIASES:
            return [word]
        size = self._size(word, item.optional)
        if size is False:
            return []
        flatten = ["flatten"] if word == "FC" and not self.flat else []
        self.flat = self.flat or word == "FC"
        return [*flatten, f"{_ALIASES[word]} {size}".strip()]

    def _size(self, word: str, optional: bool) -> Any:
        if word == "RELU":
            return ""
        use = self.uses.get(word, 0)
        self.uses[word] = use + 1
        given = self.sizes.get(word, False if optional else None)
        if isinstance(given, (list, tuple)):
            if use >= len(given):
                raise self._error(f"{word} is used more often than its {len(given)} sizes")
            given = given[use]
        if given is None or (given is False and not optional):
            raise self._error(f"the sizes of {word} are missing; give {word} as text, or a list")
        return given

    def _check_given(self) -> None:
        """Refuse counts and sizes that were given but are used nowhere."""
        for name, size in self.sizes.items():
            if name == "RELU" or name not in self.tokens:
                raise self._error(f"{brief(name)} is given, but the pattern has no sizes for it")
            if isinstance(size, (list, tuple)) and len(size) != self.uses.get(name, 0):
                uses = self.uses.get(name, 0)
                raise self._error(f"{name} has {len(size)} sizes but is used {uses} time(s)")
        for name in self.counts:
            if name not in self.counted:
                hint = did_you_mean(str(name), [*self.counted, *_ALIASES])
                raise self._error(f"{brief(name)} is given, but nothing in it is called so{hint}")
