"""Triptych's own folders as sources: runs with their optimizer, and what ``inspect`` wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from triptych.backends import registry
from triptych.backends.carried import Trained
from triptych.backends.protocol import DType, Learner, Params, Slots
from triptych.errors import CheckpointError, PortError
from triptych.port.proof import Weighted
from triptych.runs import arrays, checkpoints, files, trees
from triptych.runs.folder import RunFolder
from triptych.spec.plain import from_plain
from triptych.spec.recipe import Recipe

NETWORK, PARAMS = "network.json", "params.safetensors"


class LearnerSource:
    """See :class:`triptych.backends.carried.Source`; computes by a learner of a backend."""

    kind = "triptych"
    dtypes: tuple[DType, ...] = ("float32", "float64")

    def __init__(self, trained: Trained, backend: str) -> None:
        registry.check_names([backend])
        self.trained, self.backend = trained, backend
        self.runtime = f"the {backend} backend"
        self._learners: dict[DType, Learner] = {}

    def _learner(self, dtype: DType) -> Learner:
        """The learner in a type, made once: its framework compiles for each anew."""
        if dtype not in self._learners:
            own = self.trained
            self._learners[dtype] = registry.get(self.backend).learner(
                own.network, own.params, objective=Weighted(), dtype=dtype
            )
        return self._learners[dtype]

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return the backend's own output."""
        return self._learner(dtype).outputs(observations)

    def layer_outputs(self, observations: np.ndarray, dtype: DType) -> Params:
        """Return every node's output."""
        return self._learner(dtype).layer_outputs(observations)

    def gradients(
        self, observations: np.ndarray, weights: np.ndarray, dtype: DType
    ) -> Params | None:
        """Return the gradients of the weighted sum of outputs."""
        batch = {"observation": observations, "weights": weights}
        return self._learner(dtype).gradients(batch)


def of_run(folder: RunFolder, recipe: Recipe) -> LearnerSource:
    """Return a run as a source, on the backend that trained it.

    What is carried is the newest checkpoint; the final params alone where none is left.
    """
    backend = str(folder.header.get("backend"))
    try:
        newest = checkpoints.load_latest(folder.checkpoints)
    except CheckpointError:
        return LearnerSource(Trained(recipe.network, folder.params()), backend)
    state = trees.join(newest.arrays, newest.state)["training"]["agent"]["learner"]
    slots = Slots(int(state["updates"]), state["slots"], state.get("numbers", {}))
    return LearnerSource(Trained(recipe.network, state["params"], recipe.optimizer, slots), backend)


def of_plain(folder: Path) -> LearnerSource:
    """Return a folder of ``network.json`` and ``params.safetensors``, as ``inspect`` writes it.

    Raises:
        PortError: the arrays are not the network's.
    """
    network = from_plain(files.read_json(folder / NETWORK))
    params = arrays.read(folder / PARAMS)
    found = {name: array.shape for name, array in params.items()}
    expected = {name: item.shape for name, item in network.parameters.items()}
    wrong = next((n for n in {**expected, **found} if expected.get(n) != found.get(n)), None)
    if wrong is not None:
        raise PortError(
            f"{folder / PARAMS} has {wrong} as {found.get(wrong, 'missing')}, but {NETWORK} says "
            f"{expected.get(wrong, 'that there is none')}"
        )
    return LearnerSource(Trained(network, params), registry.installed()[0])
