"""One layer written in words: ``conv 32 8x8/4 pad same relu`` becomes a Conv and a ReLU.

Positional sizes come first, then options by name, then at most one activation. Chains, repeats and
graphs are in ``notation.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

from triptych.errors import NetworkError, did_you_mean
from triptych.spec.layers import LAYERS, Activation, Input, Layer

Pair = tuple[int, int]
_INPUT = re.compile(r"^\d+(x\d+)*$")
_FLAGS = {"no_bias": ("bias", False), "count_padding": ("count_padding", True)}
_FLAGS |= {"unbiased": ("unbiased", True), "approximate": ("approximate", True)}
_SHORT = {"fc": "dense", "maxpool": "max_pool", "avgpool": "average_pool", "pool": "max_pool"}
_SHORT |= {"batchnorm": "batch_norm", "layernorm": "layer_norm", "deconv": "conv_transpose"}
_SHORT |= {"concat": "concatenate", "swish": "silu", "scale": "rescale"}


def layers_of(text: str) -> list[Layer]:
    """Return the layers one item names: one, or a layer and the activation after it.

    Raises:
        NetworkError: an unknown word, a missing size, or a number that cannot be read.
    """
    words = text.replace("no bias", "no_bias").replace("count padding", "count_padding").split()
    if words and words[0].lower() == "input":
        words = words[1:]
    if not words:
        raise NetworkError("a network's layer is empty; write for example 'dense 10'")
    if _INPUT.match(words[0]):
        values = words[1] if len(words) > 1 else "real"
        if values not in ("real", "index") or len(words) > 2:
            raise NetworkError(f"input {text!r}: after the size only 'real' or 'index' may follow")
        return [Input(tuple(int(part) for part in words[0].split("x")), values)]  # type: ignore[arg-type]
    kind = _kind(words[0], text)
    after: list[Layer] = []
    if len(words) > 1 and not issubclass(LAYERS[kind], Activation):
        last = LAYERS.get(_SHORT.get(words[-1].lower(), words[-1].lower()))
        if last is not None and issubclass(last, Activation):
            after, words = [last()], words[:-1]
    return [_build(kind, words[1:], text), *after]


def _kind(word: str, text: str) -> str:
    kind = _SHORT.get(word.lower(), word.lower())
    if kind not in LAYERS or kind == "input":
        hint = did_you_mean(kind, [*LAYERS, *_SHORT])
        raise NetworkError(f"unknown layer {word!r} in {text!r}{hint}")
    return kind


def _build(kind: str, words: list[str], text: str) -> Layer:
    values: dict[str, Any] = {}
    rest = words
    for read in _POSITIONAL.get(kind, ()):
        taken, values_here = read(rest, text)
        rest = rest[taken:]
        values |= values_here
    values |= _options(kind, rest, text)
    needed = [f.name for f in fields(LAYERS[kind]) if f.default is MISSING]
    lacking = [name for name in needed if name not in values]
    if lacking:
        raise NetworkError(f"{text!r}: {lacking[0]} is missing; {_EXAMPLE.get(kind, '')}".strip())
    return LAYERS[kind](**values)


def _options(kind: str, words: list[str], text: str) -> dict[str, Any]:
    known = {field.name for field in fields(LAYERS[kind])}
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in _FLAGS and _FLAGS[word][0] in known:
            name, value = _FLAGS[word]
            values[name] = value
            continue
        name = {"pad": "padding"}.get(word, word)
        if name not in known:
            raise NetworkError(f"{text!r}: {word!r} is no option of {kind}{did_you_mean(word, known)}")
        if not rest:
            raise NetworkError(f"{text!r}: {word} needs a value")
        values[name] = _value(name, rest.pop(0), text)
    return values


def _value(name: str, word: str, text: str) -> Any:
    if name == "padding":
        return _padding(word, text)
    if name in ("dilation", "stride"):
        return _pair(word, text)
    if name == "groups":
        return _whole(word, text)
    return _number(word, text)


def _number(word: str, text: str) -> float:
    """Read a number or a fraction such as 1/255."""
    over, _, under = word.partition("/")
    try:
        return float(over) / float(under) if under else float(over)
    except (ValueError, ZeroDivisionError):
        raise NetworkError(f"{text!r}: expected a number but found {word!r}") from None


def _whole(word: str, text: str) -> int:
    if not word.isdigit():
        raise NetworkError(f"{text!r}: expected a whole number but found {word!r}")
    return int(word)


def _pair(word: str, text: str) -> Pair:
    """Read ``3x5`` (height by width) or ``3`` for both."""
    parts = [_whole(part, text) for part in word.split("x")]
    if len(parts) > 2:
        raise NetworkError(f"{text!r}: expected a size such as 3x3 but found {word!r}")
    return (parts[0], parts[-1])


def _padding(word: str, text: str) -> Any:
    """Read ``valid``, ``same``, ``2``, or ``top,bottom,left,right``."""
    if word in ("valid", "same"):
        return word
    parts = [_whole(part, text) for part in word.split(",")]
    if len(parts) == 1:
        return ((parts[0], parts[0]), (parts[0], parts[0]))
    if len(parts) != 4:
        raise NetworkError(f"{text!r}: pad takes valid, same, N or top,bottom,left,right")
    return ((parts[0], parts[1]), (parts[2], parts[3]))


Read = Callable[[list[str], str], tuple[int, dict[str, Any]]]


def _take(name: str, convert: Callable[[str, str], Any]) -> Read:
    def read(words: list[str], text: str) -> tuple[int, dict[str, Any]]:
        return (1, {name: convert(words[0], text)}) if words else (0, {})

    return read


def _window(size: str, stride_is_size: bool) -> Read:
    """Read ``8x8/4``: a window and, after the slash, its stride."""

    def read(words: list[str], text: str) -> tuple[int, dict[str, Any]]:
        if not words:
            return 0, {}
        window, _, step = words[0].partition("/")
        values: dict[str, Any] = {size: _pair(window, text)}
        if step:
            values["stride"] = _pair(step, text)
        elif stride_is_size:
            values["stride"] = values[size]
        return 1, values

    return read


_CONV = (_take("filters", _whole), _window("kernel", stride_is_size=False))
_POOL = (_window("size", stride_is_size=True),)
_POSITIONAL: dict[str, tuple[Read, ...]] = {
    "conv": _CONV,
    "conv_transpose": _CONV,
    "max_pool": _POOL,
    "average_pool": _POOL,
    "dense": (_take("units", _whole),),
    "dropout": (_take("rate", _number),),
    "embedding": (_take("size", _whole), _take("features", _whole)),
    "rescale": (_take("scale", _number),),
}
_EXAMPLE = {
    "conv": "write for example 'conv 32 8x8/4'",
    "conv_transpose": "write for example 'conv_transpose 32 4x4/2'",
    "max_pool": "write for example 'max_pool 2x2'",
    "average_pool": "write for example 'average_pool 2x2'",
    "dense": "write for example 'dense 100'",
    "embedding": "write for example 'embedding 1000 16'",
}
