"""ONNX' ``PORTER``: a file as a source, and a file as what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from triptych.backends.carried import Given, Source, Trained, Written
from triptych.backends.protocol import DType, Params
from triptych.errors import PortError
from triptych.port.onnx import runtime
from triptych.port.onnx.reading import Reader
from triptych.port.onnx.writing import arrays_of, exact, model_of


class OnnxSource:
    """See :class:`triptych.backends.carried.Source`; gradients are not ONNX' business."""

    kind = "onnx"

    def __init__(self, path: Path, given: Given) -> None:
        self.reader = Reader(runtime.load(path), path, given)
        self.trained = self.reader.read()
        self.dtypes = runtime.types(self.reader.model)
        self.runtime = runtime.versions()
        self._runners = runtime.Runners(self.reader.model)

    def _native(self, observations: np.ndarray) -> np.ndarray:
        return self.reader.held[self.reader.input.name].value.to_source(observations)

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return the runtime's output, canonical layout."""
        found = self._runners.run(self._native(observations), dtype)
        return self.reader.held[self.reader.output].value.to_canonical(found)

    def layer_outputs(self, observations: np.ndarray, dtype: DType) -> Params:
        """Return every tensor of the evaluator that is a node's output."""
        every = runtime.with_all_outputs(runtime.typed(self.reader.model, dtype))
        runner = runtime.Runner(every, dtype)
        found = dict(zip(runner.outputs, runner.run(self._native(observations)), strict=True))
        seen = {}
        for name, held in self.reader.held.items():
            if name in found and held.value.node not in seen:
                array = np.moveaxis(found[name], held.batch, 0)
                seen[held.value.node] = held.value.to_canonical(array)
        return seen

    def gradients(
        self, observations: np.ndarray, weights: np.ndarray, dtype: DType
    ) -> Params | None:
        """Return None."""
        return None


class OnnxWritten:
    """See :class:`triptych.backends.carried.Written`."""

    def __init__(self, path: Path, trained: Trained) -> None:
        self.model = runtime.load(path)
        # Attributes are float32: a slope of 0.3 is another number there, which float64 shows.
        only: tuple[DType, ...] = ("float32",)
        self.dtypes = runtime.types(self.model) if exact(trained.network) else only
        self.trained = trained
        self.runtime = runtime.versions()
        self._runners = runtime.Runners(self.model)

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return the runtime's output; the file's input is channels last."""
        return self._runners.run(observations, dtype)

    def params(self) -> Params:
        """Return what the file holds, by the names that it was written under."""
        return arrays_of(self.model, self.trained.network)


class _Porter:
    def read(self, path: Path, given: Given) -> Source:
        """Return the source in an ``.onnx`` file."""
        return OnnxSource(path, given)

    def read_object(self, model: Any, given: Given, optimizer: Any = None) -> Source:
        """Raise: ONNX models are files."""
        raise PortError("an ONNX model is ported from its file; give the path of the .onnx file")

    def write(self, trained: Trained, path: Path, title: str) -> list[Path]:
        """Write the model into one file."""
        path.write_bytes(model_of(trained, title).SerializeToString())
        return [path]

    def load(self, trained: Trained, path: Path, title: str) -> Written:
        """Return the file, loaded by onnxruntime and the reference evaluator."""
        return OnnxWritten(path, trained)


PORTER = _Porter()
