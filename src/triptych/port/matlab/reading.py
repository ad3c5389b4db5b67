"""A ``.mat`` file in the plain-struct form as a source, computed by ``run_network.m``.

The structs are run as they are, in MATLAB's layouts, so that the source knows nothing of the
network and the arrays that were made of it. What a file is made of is in ``files.py`` and
``structs.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from triptych.backends.carried import Given, Trained
from triptych.backends.protocol import DType, Params, Slots
from triptych.errors import PortError
from triptych.port.matlab import files, graph, octave, structs
from triptych.spec.layers import Shape

RUNNER = Path(__file__).parent / "run_network.m"
_BARS = {"single": 1e-4, "double": 1e-10}
"""How far MATLAB's own outputs may be from ours, as a share of the largest."""


class MatlabSource:
    """See :class:`triptych.backends.carried.Source`; MATLAB gives no gradients here."""

    kind = "matlab"
    dtypes: tuple[DType, ...] = ("float32", "float64")

    def __init__(self, path: Path, given: Given) -> None:
        self.path = path
        self.data = files.read(path)
        self.layers = structs.from_structs(self.data, path.name)
        self.reader = graph.Reader(self.layers, path.name, given)
        network = self.reader.read()
        self.names = graph.names_for(network, self.reader.builder.places)
        self.trained = self._trained(graph.renamed(network, self.names), given)
        self.runtime = f"{octave.runtime()} (run_network.m)"
        if "check" in self.data:
            self._check_against_matlab()

    def _trained(self, network: Any, given: Given) -> Trained:
        places = {self.names[node]: at for node, at in self.reader.builder.places.items()}
        slots = {slot: None for layer in self.layers for slot in layer.slots or {}}
        updates = np.ravel(self.data.get("updates", []))
        rule = structs.rule_from(self.data, self.path.name)
        held = None
        if updates.size == 1 and updates.dtype.kind == "f" and 0 <= updates[0] < 2**53:
            arrays = {slot: self._carried(slot) for slot in slots}
            held = Slots(int(updates[0]), arrays, structs.numbers_from(self.data, self.path.name))
        return Trained(
            network, self._carried(), rule or given.rule, held, places, tuple(self.reader.notes)
        )

    def _carried(self, slot: str | None = None) -> Params:
        """Return the params, or the arrays of one slot, canonical."""
        own = {layer.name: layer for layer in self.layers}
        found: Params = {}
        for name, origin in self.reader.builder.origins.items():
            layer, array = origin.key.rsplit(".", 1)
            arrays = own[layer].arrays if slot is None else (own[layer].slots or {}).get(slot, {})
            if array in arrays:
                found[name] = self._turned(name, origin.turn, arrays[array], slot)
        return graph.rename_keys(found, self.names)

    def _turned(self, name: str, turn: Any, array: np.ndarray, slot: str | None) -> np.ndarray:
        try:
            return np.ascontiguousarray(turn(array))
        except ValueError:
            what = name if slot is None else f"slot {slot} of {name}"
            sizes = "x".join(map(str, array.shape))
            raise PortError(f"{self.path.name}: {what} has the wrong sizes {sizes}") from None

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return the output, (samples, ...)."""
        shape = self.trained.network.shapes[self.trained.network.output.name]
        return self._run(octave.samples_last(_typed(observations, dtype)), len(observations), shape)

    def _run(self, x: np.ndarray, count: int, shape: Shape) -> np.ndarray:
        with octave.workplace() as folder:
            self._execute(folder, x, "y = run_network(net, in.x);", "y")
            y = files.read(folder / "out.mat").get("y")
        return octave.samples_first(y, count, shape, self.path.name)

    def _execute(self, folder: Path, x: np.ndarray, statement: str, result: str) -> None:
        files.write(folder / "net.mat", self.data, "5")
        files.write(folder / "in.mat", {"x": x}, "5")
        script = (
            f"addpath({octave.quoted(RUNNER.parent)});\n"
            f"net = load('net.mat'); in = load('in.mat');\n{statement}\n"
            f"save('out.mat', '{result}', '-v6');"
        )
        octave.run(f"cd({octave.quoted(folder)});\n{script}", folder)

    def layer_outputs(self, observations: np.ndarray, dtype: DType) -> Params:
        """Return what each of the file's layers gives, by the node that gives the same."""
        x = octave.samples_last(_typed(observations, dtype))
        with octave.workplace() as folder:
            self._execute(folder, x, "[y, values] = run_network(net, in.x);", "values")
            values = files.read(folder / "out.mat")["values"]
        found = {}
        for layer, array in zip(self.layers, values, strict=True):
            value = self.reader.values[layer.name]
            if value.node not in self.names:
                continue
            shape = self.reader.builder.shape(value)
            if value.order is None and not value.is_plain:
                continue
            ours = octave.samples_first(array, len(observations), shape, layer.name)
            found[self.names[value.node]] = value.to_canonical(ours)
        return found

    def gradients(
        self, observations: np.ndarray, weights: np.ndarray, dtype: DType
    ) -> Params | None:
        """Return None: MATLAB's gradients need its toolboxes."""
        return None

    def _check_against_matlab(self) -> None:
        """Compare with the outputs that MATLAB itself gave when it wrote the file."""
        check = self.data["check"]
        x, expected = (check.get(name) for name in ("inputs", "outputs")) if isinstance(
            check, dict
        ) else (None, None)  # fmt: skip
        if not isinstance(x, np.ndarray) or not isinstance(expected, np.ndarray):
            raise PortError(f"{self.path.name}: check must hold inputs and outputs")
        network = self.trained.network
        shape, given = network.shapes[network.output.name], network.shapes[network.input.name]
        count = x.size // max(int(np.prod(given)), 1)
        ours = self._run(x, count, shape)
        theirs = octave.samples_first(expected, count, shape, "check.outputs")
        bar = _BARS["single" if expected.dtype == np.float32 else "double"]
        apart = float(np.abs(ours - theirs).max(initial=0.0))
        apart /= float(np.abs(theirs).max(initial=0.0)) or 1.0
        if not apart <= bar:
            raise PortError(
                f"{self.path.name}: the structs give outputs that differ by {apart:.2g} of their "
                f"scale from those that MATLAB gave (at most {bar:.0e} is rounding); the network "
                "has something that export_network.m does not know"
            )


def _typed(observations: np.ndarray, dtype: DType) -> np.ndarray:
    """Indices stay whole, however many digits the type has."""
    return np.asarray(observations).astype(dtype)
