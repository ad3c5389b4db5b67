"""Keras' files and models, read and written: ``PORTER``.

A source is read from the live model, whichever way it came (``files.py``), by its graph
(``graph.py``); what ran it runs it again, in other types by ``twin.py``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from triptych.backends._keras.porting import files, graph, optimizers, writing
from triptych.backends._keras.porting.matching import NetworkSource
from triptych.backends._keras.porting.twin import Twin, by_name, canonical
from triptych.backends.carried import Given, Source, Trained, Written
from triptych.backends.protocol import DType, Params
from triptych.errors import NetworkError, PortError, in_one_line
from triptych.spec.network import Network
from triptych.spec.plain import from_plain

RUNTIME = f"keras {keras.__version__} on tensorflow {tf.__version__}"
_MOST = 1 << 28
"""The most numbers that a node may give for one example."""


class KerasSource:
    """See :class:`triptych.backends.carried.Source`.

    Args:
        model: what is called, in the type it has at home.
        read: the model as a network.
        function: the graph that was walked.
        optimizer: what it was trained with, if anything.
        where: what the model is called in messages.
    """

    kind = "keras"
    runtime = RUNTIME
    dtypes: tuple[DType, ...] = ("float32", "float64")

    def __init__(
        self, model: Any, read: graph.Read, function: Any, optimizer: Any, where: str
    ) -> None:
        self._model, self._read, self._function, self._where = model, read, function, where
        self._twins: dict[DType, Twin] = {}
        network = read.network
        self._shape = network.shapes[network.input.name]
        self._index = network.input.layer.values == "index"  # type: ignore[attr-defined]
        self.trained = self._gather(optimizer)

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return the model's own output in inference mode."""
        x = self._typed(observations, dtype)
        try:
            if dtype == "float32" and self._is_at_home:
                given = tf.constant(x)
                if isinstance(self._function.input, dict) and self._model is self._function:
                    given = {name: given for name in self._function.input}
                found = keras.tree.flatten(self._model(given, training=False))[0]
            else:
                found = self._twin(dtype).outputs(x)
        except Exception as error:
            raise PortError(f"{self._where}: Keras can't run it: {in_one_line(error)}") from None
        return canonical(np.asarray(found), self._read.output.axes)

    def layer_outputs(self, observations: np.ndarray, dtype: DType) -> Params:
        """Return what its layers give, by node."""
        found = self._twin(dtype).layer_outputs(self._typed(observations, dtype))
        return by_name(self._read, found)

    def gradients(
        self, observations: np.ndarray, weights: np.ndarray, dtype: DType
    ) -> Params | None:
        """Return the gradient of ``sum(output * weights)`` by the arrays that learn."""
        axes = self._read.output.axes
        weights = np.transpose(weights, (0, *(axis + 1 for axis in axes)))
        x = self._typed(observations, dtype)
        found = self._twin(dtype).gradients(x, np.ascontiguousarray(weights))
        origins, held = self._read.reading.build.origins, self._read.reading.variables
        return {
            name: origins[name].turn(found[id(held[origins[name].key])])
            for name in self.trained.network.trainable
            if origins[name].key in held
        }

    def _typed(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        return np.asarray(observations, "int32" if self._index else dtype)

    def _twin(self, dtype: DType) -> Twin:
        if dtype not in self._twins:
            self._twins[dtype] = Twin(self._function, self._shape, dtype, self._index)
        return self._twins[dtype]

    @cached_property
    def _is_at_home(self) -> bool:
        """Whether the model itself computes in float32, from inputs of float32 or indices."""
        start = self._function.inputs[0].dtype
        policies = {part.compute_dtype for part in self._function._flatten_layers()}
        return policies == {"float32"} and (self._index or start == "float32")

    def _gather(self, optimizer: Any) -> Trained:
        reading, network = self._read.reading, self._read.network
        params, homes, constant = {}, {}, []
        for name, parameter in network.parameters.items():
            origin = reading.build.origins[name]
            variable = reading.variables.get(origin.key)
            own = reading.constants[origin.key] if variable is None else np.array(variable)
            params[name] = np.array(origin.turn(own), order="C")
            if params[name].shape != parameter.shape:
                raise PortError(
                    f"{self._where}: {origin.key} is {own.shape}, of which {name} can't be made: "
                    f"it is {parameter.shape}"
                )
            if parameter.trainable and variable is not None:
                homes[name] = (variable, origin.turn)
            elif parameter.trainable:
                constant.append(name)
        kind = next((a.dtype for a in params.values() if a.dtype.kind == "f"), np.dtype("float32"))
        params = {name: array.astype(kind, copy=False) for name, array in params.items()}
        found = (
            optimizers.Found() if optimizer is None else optimizers.read(optimizer, homes, constant)
        )
        notes = (*reading.notes, *self._frozen(), *(f"{self._where}: {n}" for n in found.notes))
        return Trained(network, params, found.rule, found.slots, reading.build.places, notes)

    def _frozen(self) -> list[str]:
        learnt = {
            id(v) for part in self._function._flatten_layers() for v in part.weights if v.trainable
        }
        origins, held = self._read.reading.build.origins, self._read.reading.variables
        still = [
            name
            for name in self._read.network.trainable
            if origins[name].key in held and id(held[origins[name].key]) not in learnt
        ]
        if not still:
            return []
        return [
            f"{self._where}: {len(still)} arrays, {still[0]} first, do not learn in the source "
            "(trainable=False); the port has no such mark"
        ]


class KerasPorter:
    """See :class:`triptych.backends.carried.Porter`."""

    def read(self, path: Path, given: Given) -> Source:
        """Return the source in a ``.keras``, ``.h5`` or ``.weights.h5`` file."""
        found = files.opened(path)
        if given.make is not None:
            return self._into(path, found, given)
        if given.network is None and found.structure is not None:
            given = replace(given, network=_structure(path, found))
        if given.network is not None:
            return NetworkSource(path, found, given)
        if found.config is None:
            raise PortError(
                f"{path} holds arrays and no structure; say the structure beside it: --network "
                "RECIPE_OR_FILE, or your own model as file.py:function"
            )
        model = files.model_of(path, found)
        return self._source(model, str(path), given, *optimizers.of_file(model, path, found))

    def _into(self, path: Path, found: files.Opened, given: Given) -> Source:
        """The source that a user's own model is with a file's arrays."""
        assert given.make is not None
        model = given.make()
        if not isinstance(model, keras.Model):
            raise PortError(f"{given.where} gives a {type(model).__name__}, not a keras.Model")
        graph.read(model, given.where, given)  # so that it is built
        files.fill(model, path, found)
        return self._source(model, given.where, given, *optimizers.of_file(model, path, found))

    def read_object(self, model: Any, given: Given, optimizer: Any = None) -> Source:
        """Return the source that a live ``keras.Model`` is."""
        where = given.where or getattr(model, "name", "the model")
        if not isinstance(model, keras.Model):
            raise PortError(f"{where} is a {type(model).__name__}, not a keras.Model")
        return self._source(model, where, given, optimizer or getattr(model, "optimizer", None))

    def _source(
        self, model: Any, where: str, given: Given, optimizer: Any, note: str = ""
    ) -> Source:
        read, function = graph.read(model, where, given)
        for name, shape in read.network.shapes.items():
            if int(np.prod(shape, dtype=object)) > _MOST:
                raise PortError(f"{where}: {name} gives {shape} for one example, more than is run")
        if note:
            read.reading.leave(note)
        return KerasSource(model, read, function, optimizer, where)

    def write(self, trained: Trained, path: Path, title: str) -> list[Path]:
        """Write ``net.keras`` (or ``net.h5``) and ``net.py``."""
        return writing.write(trained, path, title)

    def load(self, trained: Trained, path: Path, title: str) -> Written:
        """Return what :meth:`write` wrote, loaded by Keras."""
        return writing.KerasWritten(trained, path)


def _structure(path: Path, found: files.Opened) -> Network:
    """The network that we left in a file of ours."""
    try:
        return from_plain(found.structure)
    except NetworkError as error:
        raise PortError(f"{path}: {files.METADATA}: {error}") from None


PORTER = KerasPorter()
