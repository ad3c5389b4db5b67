"""Keras' files and source text of a network, written and loaded again without Triptych's layers.

The text alone builds the model; Keras' own calls save it and load it. What reads a file that is not
our own is in ``files.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from triptych.backends._keras import source
from triptych.backends._keras.layouts import HOMES
from triptych.backends._keras.native import _floatx
from triptych.backends._keras.porting import files, optimizers
from triptych.backends.carried import Trained
from triptych.backends.layout import Home, join
from triptych.backends.protocol import DType, Params, Slots
from triptych.errors import Unsupported, in_one_line
from triptych.spec.network import Network
from triptych.spec.plain import to_plain
from triptych.spec.rules import Rule

_LOAD = '''
def load(path: str, dtype: str = "{dtype}") -> keras.Model:
    """Return the model with the params of a file that ``model.save`` wrote."""
    model = {function}(dtype)
    model.load_weights(path)
    return model
'''
_TRAINING = '''
def load_training(path: str) -> keras.Model:
    """Return the model with its params, compiled with its optimizer, whose state is the file's."""
    return keras.saving.load_model(path{objects})
'''


def text(network: Network, rule: Rule | None, title: str, dtype: str) -> str:
    """Return the source text: the model, its loading, and its optimizer where there is a rule."""
    model = source.write(network, title)
    function = re.findall(r"^def (\w+)\(dtype", model, re.M)[-1]
    own = "" if rule is None else optimizers.text(rule)
    parts = [model, _LOAD.format(function=function, dtype=dtype)]
    if rule is not None:
        names = re.findall(r"^class (\w+)", model + own, re.M)
        objects = ", ".join(f'"{name}": {name}' for name in names)
        said = f", custom_objects={{{objects}}}" if objects else ""
        parts += [own, _TRAINING.format(objects=said)]
    return _together(parts)


def _together(parts: list[str]) -> str:
    """One file of several texts: their imports first, each once."""
    found: dict[str, None] = {}
    bodies = []
    for part in parts:
        lines = part.strip("\n").split("\n")
        imports = [line for line in lines if re.match(r"(import|from) ", line)]
        found |= dict.fromkeys(imports)
        bodies.append("\n".join(line for line in lines if line not in imports).strip("\n"))
    plain = sorted(line for line in found if line.split()[1].split(".")[0] in ("math",))
    others = sorted((line for line in found if line not in plain), key=_import_order)
    named = [line for line in others if line.startswith("from keras import")]
    if len(named) > 1:
        words = sorted(
            {word for line in named for word in line[len("from keras import ") :].split(", ")}
        )
        others = [line for line in others if line not in named]
        others.append(f"from keras import {', '.join(words)}")
    head = "\n".join(plain) + ("\n\n" if plain else "") + "\n".join(others)
    return "\n\n\n".join([head, *bodies]) + "\n"


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line


def run(written: str) -> dict[str, Any]:
    """Return what a text of ours defines."""
    names: dict[str, Any] = {"__name__": "written"}
    exec(compile(written, "<the written source>", "exec"), names)
    return names


def write(trained: Trained, path: Path, title: str) -> list[Path]:
    """Write the model's file and beside it its source text.

    Raises:
        Unsupported: the text, or Keras, has no words for a layer or the rule.
    """
    dtype = dtype_of(trained.params)
    lines = text(trained.network, trained.rule, title, dtype)
    with _floatx(dtype):
        model = _function(run(lines))(dtype)
        put(model, trained.network, trained.params)
        if trained.rule is not None:
            optimizer = optimizers.build(trained.rule, model, dtype)
            if trained.slots is not None:
                _put_slots(optimizer, model, trained.network, trained.rule, trained.slots)
            model.compile(optimizer=optimizer)
        _save(model, path, run(lines))
    if path.suffix == ".keras":
        files.add_structure(path, to_plain(trained.network))
    beside = _beside(path)
    beside.write_text(lines, encoding="utf-8")
    return [path, beside]


def _beside(path: Path) -> Path:
    """The source text's file: ``net.py`` beside ``net.keras`` and ``net.weights.h5``."""
    return path.with_name(f"{path.stem.removesuffix('.weights')}.py")


def _save(model: Any, path: Path, names: Mapping[str, Any]) -> None:
    """Save a model by Keras; of an old ``.h5`` see that Keras can load it, which it may not."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
        return
    own = {name: value for name, value in names.items() if isinstance(value, type)}
    try:
        model.save(path)
        if path.suffix == ".h5":
            keras.saving.load_model(path, custom_objects=own, compile=False, safe_mode=True)
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        path.unlink(missing_ok=True)
        hint = (
            "; an old .h5 can't hold keras.ops: write .keras or .weights.h5"
            if path.suffix == ".h5"
            else ""
        )
        raise Unsupported(
            f"Keras can't keep this network in {path.name}: {in_one_line(error)}{hint}"
        ) from None


def _function(names: Mapping[str, Any]) -> Any:
    """The function of a text that builds the model."""
    return next(
        value
        for value in reversed(names.values())  # type: ignore[call-overload]
        if getattr(value, "__code__", None) and value.__code__.co_varnames[:1] == ("dtype",)
    )


def dtype_of(params: Params) -> DType:
    """Return the type that holds every array as it is."""
    return "float64" if any(a.dtype == np.float64 for a in params.values()) else "float32"


# --- arrays --------------------------------------------------------------------------------------


def homes(network: Network) -> dict[str, tuple[str, Home]]:
    """Return the node and the home of every array by name."""
    found = {}
    for name in network.parameters:
        node, local = name.rsplit("/", 1)
        found[name] = (node, HOMES[network.by_name[node].layer.kind][local])
    return found


def variable(model: Any, node: str, home: Home) -> Any:
    """Return the variable of a written model that an array lives in."""
    return attrgetter(home.attribute)(model.get_layer(node))


def put(model: Any, network: Network, params: Mapping[str, np.ndarray]) -> None:
    """Put canonical arrays into a written model."""
    for own, names in _by_variable(model, network, list(network.parameters)):
        own.assign(_whole(own, network, names, params))


def _by_variable(model: Any, network: Network, names: list[str]) -> list[tuple[Any, list[str]]]:
    """The variables of a model with the arrays that live in them."""
    found: dict[int, tuple[Any, list[str]]] = {}
    places = homes(network)
    for name in names:
        own = variable(model, *places[name])
        found.setdefault(id(own), (own, []))[1].append(name)
    return list(found.values())


def _whole(
    own: Any, network: Network, names: list[str], values: Mapping[str, np.ndarray]
) -> np.ndarray:
    places = homes(network)
    pieces = [(places[name][1], places[name][1].to_native(values[name])) for name in names]
    return join(tuple(own.shape), own.dtype, pieces)


def get(model: Any, network: Network) -> Params:
    """Return a written model's arrays, canonical."""
    return {
        name: np.array(home.to_canonical(home.piece(np.array(variable(model, node, home)))))
        for name, (node, home) in homes(network).items()
    }


def learning(model: Any, network: Network) -> optimizers.Homes:
    """Return where the arrays live that a written model trains."""

    def turned(home: Home) -> Any:
        return lambda array: home.to_canonical(home.piece(array))

    places = homes(network)
    return {
        name: (variable(model, *places[name]), turned(places[name][1]))
        for name in network.trainable
    }


def _put_slots(optimizer: Any, model: Any, network: Network, rule: Rule, slots: Slots) -> None:
    owners = {
        id(own): names for own, names in _by_variable(model, network, list(network.trainable))
    }
    values = {
        slot: [
            _whole(own, network, owners[id(own)], slots.values[slot])
            for own in model.trainable_variables
        ]
        for slot in rule.slots
    }
    optimizers.load(optimizer, rule, slots.updates, values)


# --- running -------------------------------------------------------------------------------------


class Native:
    """A model that a text of ours builds, in either type, with the same arrays.

    Args:
        written: the source text.
        network: what it describes.
        fill: loads arrays into a model.
    """

    runtime = f"keras {keras.__version__} on tensorflow {tf.__version__}"
    dtypes: tuple[DType, ...] = ("float32", "float64")

    def __init__(self, written: str, network: Network, fill: Any) -> None:
        self.network, self._fill = network, fill
        self._build = _function(run(written))
        self._models: dict[str, Any] = {}

    def model(self, dtype: str) -> Any:
        """Return the model in a type."""
        if dtype not in self._models:
            with _floatx(dtype):
                self._models[dtype] = self._build(dtype)
                self._fill(self._models[dtype])
        return self._models[dtype]

    def tensor(self, observations: np.ndarray, dtype: str) -> Any:
        """Return observations in the type that the model takes."""
        index = self.network.input.layer.values == "index"  # type: ignore[attr-defined]
        return tf.constant(np.asarray(observations, "int32" if index else dtype))

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return its output in inference mode."""
        with _floatx(dtype):
            x = self.tensor(observations, dtype)
            return np.asarray(self.model(dtype)(x, training=False))


class KerasWritten(Native):
    """See :class:`triptych.backends.carried.Written`."""

    def __init__(self, trained: Trained, path: Path) -> None:
        lines = _beside(path).read_text(encoding="utf-8")
        super().__init__(lines, trained.network, lambda model: model.load_weights(path))
        self._own = dtype_of(trained.params)

    def params(self) -> Params:
        """Return the arrays of the file."""
        return get(self.model(self._own), self.network)
