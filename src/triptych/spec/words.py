"""One layer written in words: ``conv 32 8x8/4 pad same relu`` becomes a Conv and a ReLU.

Positional sizes come first, then options by name, then at most one activation. Chains, repeats and
graphs are in ``notation.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from triptych.errors import NetworkError, did_you_mean
from triptych.spec.fields import number, whole
from triptych.spec.layers import LAYERS, Activation, Input, Layer
from triptych.spec.layers.base import Shape
from triptych.spec.layers.convolution import Amounts, Padding, Pair
from triptych.spec.layers.recurrent import Bend, Gate

_INPUT = re.compile(r"[0-9]+(x[0-9]+)*")
_FLAGS = {"no_bias": ("bias", False), "count_padding": ("count_padding", True)}
_FLAGS |= {"unbiased": ("unbiased", True), "approximate": ("approximate", True)}
_FLAGS |= {"sequences": ("sequences", True), "reverse": ("reverse", True)}
_FLAGGED = {name for name, _ in _FLAGS.values()}
_OTHER_NAMES = {"pad": "padding", "mask": "mask_value", "gate": "gate_activation"}
_TAKE_WORDS = ("activation", "gate_activation", "gate")
_SHORT = {"fc": "dense", "maxpool": "max_pool", "avgpool": "average_pool", "pool": "max_pool"}
_SHORT |= {"batchnorm": "batch_norm", "layernorm": "layer_norm", "deconv": "conv_transpose"}
_SHORT |= {"concat": "concatenate", "swish": "silu", "scale": "rescale", "rnn": "elman"}


def layers_of(text: str) -> list[Layer]:
    """Return the layers one item names: one, or a layer and the activation after it.

    Raises:
        NetworkError: an unknown word, a missing size, or a number that cannot be read.
    """
    words = " ".join(text.split()).replace("no bias", "no_bias")
    first, *rest = words.replace("count padding", "count_padding").split() or [""]
    if first.lower() == "input" or _INPUT.fullmatch(first):
        return [_input(rest if first.lower() == "input" else [first, *rest], text)]
    if not first:
        raise NetworkError("a network's layer is empty; write for example 'dense 10'")
    kind = _kind(first, text)
    after: list[Layer] = []
    if rest and not issubclass(LAYERS[kind], Activation):
        last = _activation(rest[-1])
        if last is not None and rest[-2:-1] not in ([word] for word in _TAKE_WORDS):
            after, rest = [last()], rest[:-1]
    return [_build(kind, rest, text), *after]


def _input(words: list[str], text: str) -> Input:
    """Read ``84x84x4``, ``10 real`` or ``10 index``."""
    size, *rest = words or [""]
    if not _INPUT.fullmatch(size):
        raise NetworkError(f"{text!r}: an input needs a size; write for example 'input 84x84x4'")
    values = rest[0] if rest else "real"
    if values not in ("real", "index") or len(rest) > 1:
        raise NetworkError(
            f"{text!r}: only 'real' or 'index' may follow an input's size; layers come after '->'"
        )
    return Input(_size(size, text), "index" if values == "index" else "real")


def _activation(word: str) -> type[Activation] | None:
    found = LAYERS.get(_SHORT.get(word.lower(), word.lower()))
    return found if found is not None and issubclass(found, Activation) else None


def _kind(word: str, text: str) -> str:
    kind = _SHORT.get(word.lower(), word.lower())
    if kind not in LAYERS or kind == "input":
        hint = did_you_mean(kind, [*LAYERS, *_SHORT])
        known = ", ".join(name for name in LAYERS if name != "input")
        raise NetworkError(f"unknown layer {word!r} in {text!r}{hint or f'; known are {known}'}")
    return kind


def _build(kind: str, words: list[str], text: str) -> Layer:
    values: dict[str, Any] = {}
    rest = words
    for read in _POSITIONAL.get(kind, ()):
        taken, sizes = read(rest, text)
        rest = rest[taken:]
        values |= sizes
    values |= _options(kind, rest, set(values), text)
    if kind in _POOLS and "size" in values:
        values.setdefault("stride", values["size"])
    needed = [f.name for f in fields(LAYERS[kind]) if f.default is MISSING]
    lacking = [name for name in needed if name not in values]
    if lacking:
        raise NetworkError(f"{text!r}: {lacking[0]} is missing; {_EXAMPLE[kind]}")
    return LAYERS[kind](**values)


def _options(kind: str, words: list[str], given: set[str], text: str) -> dict[str, Any]:
    """Read ``name value`` pairs and flags; ``given`` are the names that stand first, as sizes."""
    types = get_type_hints(LAYERS[kind])
    known = {field.name for field in fields(LAYERS[kind])}
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, flag = _FLAGS.get(word, (_OTHER_NAMES.get(word, word), None))
        if name not in known or (name in _FLAGGED) != (flag is not None):
            raise NetworkError(
                f"{text!r}: {word!r} is no option of {kind}{_hint(word, known - given)}"
            )
        if name in values or name in given:
            raise NetworkError(f"{text!r}: {word!r} is given twice")
        if flag is None and not rest:
            raise NetworkError(f"{text!r}: {word!r} needs a value after it")
        values[name] = _READERS[types[name]](rest.pop(0), text) if flag is None else flag
    return values


def _hint(word: str, known: set[str]) -> str:
    if _activation(word) is not None:
        return f"; an activation with options is a layer of its own, '-> {word} ...'"
    flags = {flag.replace("_", " ") for flag, (name, _) in _FLAGS.items() if name in known}
    options = sorted((known - _FLAGGED) | flags)
    listed = f"; its options are {', '.join(options)}" if options else "; it has none here"
    return did_you_mean(word, options) or listed


def _number(word: str, text: str) -> float:
    """Read a number or a fraction such as 1/255."""
    over, _, under = word.partition("/")
    try:
        return number(number(over) / number(under)) if under else number(word)
    except (ValueError, ZeroDivisionError):
        raise NetworkError(f"{text!r}: expected a number but found {word!r}") from None


def _whole(word: str, text: str) -> int:
    try:
        return whole(int(word) if word.isascii() and word.isdecimal() else None)
    except ValueError:
        raise NetworkError(f"{text!r}: expected a whole number but found {word!r}") from None


def _pair(word: str, text: str) -> Pair:
    """Read ``3x5`` (height by width) or ``3`` for both."""
    parts = [_whole(part, text) for part in word.split("x")]
    if len(parts) > 2:
        raise NetworkError(f"{text!r}: expected a size such as 3x3 but found {word!r}")
    return (parts[0], parts[-1])


def _size(word: str, text: str) -> Shape:
    """Read ``84x84x4``."""
    return tuple(_whole(part, text) for part in word.split("x"))


def _axes(word: str, text: str) -> tuple[int, ...]:
    """Read ``1,0``."""
    return tuple(_whole(part, text) for part in word.split(","))


def _padding(word: str, text: str) -> Any:
    """Read ``valid``, ``same``, ``2``, or ``top,bottom,left,right``."""
    if word in ("valid", "same"):
        return word
    return _amounts(word, text, "valid, same, N")


def _amounts(word: str, text: str, known: str = "N") -> Amounts:
    """Read ``2`` or ``top,bottom,left,right``."""
    parts = [_whole(part, text) for part in word.split(",")]
    if len(parts) == 1:
        return ((parts[0], parts[0]), (parts[0], parts[0]))
    if len(parts) != 4:
        raise NetworkError(
            f"{text!r}: pad takes {known} or top,bottom,left,right but found {word!r}"
        )
    return ((parts[0], parts[1]), (parts[2], parts[3]))


def _truth(word: str, text: str) -> bool:
    if word not in ("true", "false"):
        raise NetworkError(f"{text!r}: expected true or false but found {word!r}")
    return word == "true"


_READERS: dict[Any, Callable[[str, str], Any]] = {
    int: _whole,
    float: _number,
    float | None: _number,
    bool: _truth,
    Bend: lambda word, text: word,
    Gate: lambda word, text: word,
    Pair: _pair,
    Shape: _size,
    Amounts: _amounts,
    Padding: _padding,
}
Read = Callable[[list[str], str], tuple[int, dict[str, Any]]]


def _take(name: str, convert: Callable[[str, str], Any]) -> Read:
    def read(words: list[str], text: str) -> tuple[int, dict[str, Any]]:
        return (1, {name: convert(words[0], text)}) if words else (0, {})

    return read


def _window(size: str) -> Read:
    """Read ``8x8/4``: a window and, after the slash, its stride."""

    def read(words: list[str], text: str) -> tuple[int, dict[str, Any]]:
        if not words:
            return 0, {}
        window, slash, step = words[0].partition("/")
        values: dict[str, Any] = {size: _pair(window, text)}
        if slash and not step:
            raise NetworkError(f"{text!r}: {words[0]!r} needs a stride after '/'")
        if step:
            values["stride"] = _pair(step, text)
        return 1, values

    return read


_CONV = (_take("filters", _whole), _window("kernel"))
_POOLS = ("max_pool", "average_pool")
_POSITIONAL: dict[str, tuple[Read, ...]] = {
    "conv": _CONV,
    "conv_transpose": _CONV,
    "max_pool": (_window("size"),),
    "average_pool": (_window("size"),),
    "dense": (_take("units", _whole),),
    "elman": (_take("units", _whole),),
    "lstm": (_take("units", _whole),),
    "gru": (_take("units", _whole),),
    "dropout": (_take("rate", _number),),
    "embedding": (_take("size", _whole), _take("features", _whole)),
    "rescale": (_take("scale", _number),),
    "reshape": (_take("size", _size),),
    "permute": (_take("axes", _axes),),
    "pad": (_take("amounts", _amounts),),
}
_EXAMPLE = {
    "conv": "write for example 'conv 32 8x8/4'",
    "conv_transpose": "write for example 'conv_transpose 32 4x4/2'",
    "max_pool": "write for example 'max_pool 2x2'",
    "average_pool": "write for example 'average_pool 2x2'",
    "dense": "write for example 'dense 100'",
    "elman": "write for example 'elman 16'",
    "lstm": "write for example 'lstm 16 sequences'",
    "gru": "write for example 'gru 16'",
    "embedding": "write for example 'embedding 1000 16'",
    "reshape": "write for example 'reshape 4x4x8'",
    "permute": "write for example 'permute 1,0', which counts axes from 0 without the batch",
    "pad": "write for example 'pad 1' or 'pad 0,1,0,1'",
}
