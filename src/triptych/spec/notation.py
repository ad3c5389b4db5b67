"""Networks written as text: ``84x84x4 -> conv 32 8x8/4 relu -> flatten -> dense 6``.

A notation is a chain of items joined by ``->``. An item is a layer with its sizes and options, and
may end in an activation; ``[...]*N`` repeats, a trailing ``?`` makes an item optional. The same
grammar reads the classical pattern ``INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K ->
FC``: its capital words are looked up in ``sizes``, its letters in ``counts``. Graphs with branches
are mappings of node names to notations, ``advantage: dense 6 <- dense1``.

The words of one layer are read in ``words.py``; layers themselves live in ``layers/``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from triptych.errors import NetworkError
from triptych.spec.layers import Input, Layer
from triptych.spec.network import Network, Node, fresh_name
from triptych.spec.words import layers_of

_TOKEN = re.compile(r"\s*(->|\[|\]|\*\s*\w+|\?|[^\[\]?*>]+?(?=\s*(?:->|\[|\]|\*|\?|$)))")
_ALIASES = {"FC": "dense", "CONV": "conv", "POOL": "max_pool", "RELU": "relu", "INPUT": "input"}


def parse(
    notation: str | Mapping[str, Any],
    counts: Mapping[str, int] | None = None,
    sizes: Mapping[str, Any] | None = None,
) -> Network:
    """Return the network that a notation describes.

    Args:
        notation: a chain as text, a mapping of node names to notations, or a mapping with the key
            ``pattern`` whose other keys are the pattern's counts and sizes.
        counts: values of a pattern's letters, such as ``{"N": 2, "M": 1, "K": 1}``.
        sizes: for each capital word of a pattern its sizes: one text for all its uses, a list with
            one for each use in order, or for an optional word ``False`` to leave it out.

    Raises:
        NetworkError: the text cannot be read, or sizes do not fit; the message shows where.
    """
    if isinstance(notation, str):
        return _chain(notation, dict(counts or {}), dict(sizes or {}))
    if "pattern" in notation:
        rest = {key: value for key, value in notation.items() if key != "pattern"}
        given = {key: value for key, value in rest.items() if key not in _ALIASES}
        return _chain(str(notation["pattern"]), given, {k: rest[k] for k in rest if k in _ALIASES})
    return _graph(notation)


def _chain(text: str, counts: Mapping[str, Any], sizes: Mapping[str, Any]) -> Network:
    expander = _Expander(text, counts, sizes)
    layers = [layer for item in expander.items() for layer in layers_of(item)]
    return Network.sequential(*layers)


def _graph(notation: Mapping[str, Any]) -> Network:
    nodes: list[Node] = []
    for name, text in notation.items():
        words, _, sources = str(text).partition("<-")
        layers = layers_of(words.strip())
        inputs: tuple[str, ...] = tuple(part.strip() for part in sources.split(",") if part.strip())
        if not inputs and nodes and not isinstance(layers[0], Input):
            inputs = (nodes[-1].name,)
        for position, layer in enumerate(layers):
            nodes.append(Node(_node_name(str(name), position, layer, nodes), layer, inputs))
            inputs = (nodes[-1].name,)
    return Network(tuple(nodes))


def _node_name(name: str, position: int, layer: Layer, nodes: Sequence[Node]) -> str:
    """The first layer of a line bears its name; an activation that follows gets a fresh one."""
    return name if position == 0 else fresh_name(layer, [node.name for node in nodes])


class _Expander:
    """Recursive descent over the tokens of a chain; repeats and options are expanded as read."""

    def __init__(self, text: str, counts: Mapping[str, Any], sizes: Mapping[str, Any]) -> None:
        self.text, self.counts, self.sizes = text, counts, sizes
        self.tokens = list(_tokens(text))
        self.uses: dict[str, int] = {}

    def items(self) -> list[str]:
        """Return the words of every layer in order."""
        tree, end = self._sequence(0)
        if end != len(self.tokens):
            raise NetworkError(f"network {self.text!r}: unexpected {self.tokens[end]!r}")
        return [words for item in self._expand(tree) for words in self._resolve(item)]

    def _sequence(self, at: int) -> tuple[list[Any], int]:
        parts: list[Any] = []
        while True:
            part, at = self._item(at)
            parts.append(part)
            if at >= len(self.tokens) or self.tokens[at] != "->":
                return parts, at
            at += 1

    def _item(self, at: int) -> tuple[Any, int]:
        if at >= len(self.tokens) or self.tokens[at] in ("->", "]", "?"):
            raise NetworkError(f"network {self.text!r}: a layer is missing after a '->' or '['")
        body: Any = self.tokens[at]
        if body == "[":
            body, at = self._sequence(at + 1)
            if at >= len(self.tokens) or self.tokens[at] != "]":
                raise NetworkError(f"network {self.text!r}: a '[' is never closed by ']'")
        at += 1
        optional, times = False, 1
        while at < len(self.tokens) and (self.tokens[at] == "?" or self.tokens[at][0] == "*"):
            if self.tokens[at] == "?":
                optional = True
            else:
                times = self._count(self.tokens[at][1:].strip())
            at += 1
        return (body, optional, times), at

    def _count(self, word: str) -> int:
        value = int(word) if word.isdigit() else self.counts.get(word)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise NetworkError(
                f"network {self.text!r}: '*{word}' needs a whole number; give {word}, e.g. {word}=2"
            )
        return value

    def _expand(self, tree: Sequence[Any]) -> Iterator[tuple[str, bool]]:
        for body, optional, times in tree:
            for _ in range(times):
                if isinstance(body, str):
                    yield body, optional
                else:
                    yield from self._expand(body)

    def _resolve(self, item: tuple[str, bool]) -> list[str]:
        """Return a capital word of a pattern with its sizes; other words as they are.

        The pattern does not write the flatten that its first FC implies.
        """
        word, optional = item
        if word not in _ALIASES:
            return [word]
        flatten = ["flatten"] if word == "FC" and not self.uses.get("FC") else []
        size = self._size(word, optional)
        if size is False:
            return []
        if word == "INPUT":
            return [str(size)]
        return [*flatten, f"{_ALIASES[word]} {size}".strip()]

    def _size(self, word: str, optional: bool) -> Any:
        if word == "RELU":
            return ""
        given = self.sizes.get(word, False if optional else None)
        if given is None:
            raise NetworkError(f"network {self.text!r}: the sizes of {word} are not given")
        use = self.uses.get(word, 0)
        self.uses[word] = use + 1
        if isinstance(given, (list, tuple)):
            if use >= len(given):
                raise NetworkError(
                    f"network {self.text!r}: {word} is used more than the {len(given)} times "
                    "that sizes are given for"
                )
            return given[use]
        return given


def _tokens(text: str) -> Iterator[str]:
    at, text = 0, text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NetworkError(f"network {text!r}: cannot read from {text[at : at + 12]!r}")
        token = match.group(1).strip()
        if token:
            yield token
        at = match.end()
