"""MATLAB's ``PORTER``, and the comparison of a user's own ``.m`` function with a port."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from triptych.backends import registry
from triptych.backends.carried import Given, Source, Trained, Written
from triptych.backends.protocol import DType, Params
from triptych.errors import PortError
from triptych.port.matlab import files, octave, writing
from triptych.port.matlab.reading import MatlabSource


class MatlabWritten:
    """See :class:`triptych.backends.carried.Written`: the ``.m`` function, run by Octave."""

    dtypes: tuple[DType, ...] = ("float32", "float64")

    def __init__(self, trained: Trained, path: Path) -> None:
        self.path = path
        self.function = path.with_name(f"{writing.function_name(path)}.m")
        self.network = trained.network
        self.runtime = octave.runtime()

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return what the function gives."""
        network = self.network
        y = octave.call(self.function, np.asarray(observations).astype(dtype))
        shape = network.shapes[network.output.name]
        return y.reshape((len(observations), *shape))

    def params(self) -> Params:
        """Return what the ``.mat`` file holds."""
        return MatlabSource(self.path, Given()).trained.params


class _Porter:
    def read(self, path: Path, given: Given) -> Source:
        """Return the source in a ``.mat`` file of the form ``triptych-network-1``."""
        return MatlabSource(path, given)

    def read_object(self, model: Any, given: Given, optimizer: Any = None) -> Source:
        """Raise: MATLAB's objects live in MATLAB."""
        raise PortError(
            "MATLAB's objects can't be read from Python; in MATLAB write the network with "
            "export_network(net, 'net.mat') and port that file"
        )

    def write(self, trained: Trained, path: Path, title: str) -> list[Path]:
        """Write ``path`` and the function beside it, of the same name as near as MATLAB allows."""
        function = path.with_name(f"{writing.function_name(path)}.m")
        text = writing.function_text(trained, path, title)
        # Weights are noise, which compression takes seconds for and gains nothing from.
        files.write(path, writing.file_structs(trained, path), "5")
        function.write_text(text, encoding="utf-8")
        return [path, function]

    def load(self, trained: Trained, path: Path, title: str) -> Written:
        """Return the function, run by Octave."""
        return MatlabWritten(trained, path)


PORTER = _Porter()


@dataclass(frozen=True)
class Compared:
    """How far a ``.m`` function is from a network: ``apart`` is a share of the scale."""

    apart: float
    expected: np.ndarray
    found: np.ndarray


def compare(path: str | Path, trained: Trained, inputs: np.ndarray) -> Compared:
    """Run a ``.m`` function beside a network in the float64 oracle, on the same inputs.

    Args:
        path: a function of one argument, samples last; see :func:`octave.call`.
        trained: the network it is compared with.
        inputs: (samples, ...), canonical.

    Raises:
        PortError: the function fails, or gives another number of outputs.
    """
    learner = registry.get("numpy").learner(trained.network, trained.params, dtype="float64")
    expected = learner.outputs(inputs)
    found = octave.call(path, inputs)
    if found.size != expected.size:
        raise PortError(
            f"{Path(path).name} gives {found.shape[1:]} for each sample where the network gives "
            f"{expected.shape[1:]}"
        )
    found = found.reshape(expected.shape)
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    return Compared(float(np.abs(found - expected).max(initial=0.0)) / scale, expected, found)
