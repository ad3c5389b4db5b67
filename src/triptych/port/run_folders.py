"""A run's folder as a source: its recipe's network, its newest params and the optimizer's state."""

from __future__ import annotations

import numpy as np

from triptych.backends import registry
from triptych.backends.carried import Trained
from triptych.backends.protocol import DType, Learner, Params, Slots
from triptych.errors import CheckpointError
from triptych.port.proof import Weighted
from triptych.runs import checkpoints, trees
from triptych.runs.folder import RunFolder
from triptych.spec.recipe import Recipe


class RunSource:
    """See :class:`triptych.backends.carried.Source`; computes on the backend that trained."""

    kind = "triptych"

    def __init__(self, folder: RunFolder, recipe: Recipe) -> None:
        self.backend = str(folder.header.get("backend"))
        self.trained = _trained(folder, recipe)
        self.runtime = f"the {self.backend} backend"
        self.dtypes: tuple[DType, ...] = ("float32", "float64")
        registry.check_names([self.backend])

    def _learner(self, dtype: DType) -> Learner:
        own = self.trained
        return registry.get(self.backend).learner(
            own.network, own.params, objective=Weighted(), dtype=dtype
        )

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


def _trained(folder: RunFolder, recipe: Recipe) -> Trained:
    """What the run's newest checkpoint holds; the final params alone where none is left."""
    try:
        newest = checkpoints.load_latest(folder.checkpoints)
    except CheckpointError:
        return Trained(recipe.network, folder.params())
    state = trees.join(newest.arrays, newest.state)["training"]["agent"]["learner"]
    slots = Slots(int(state["updates"]), state["slots"])
    return Trained(recipe.network, state["params"], recipe.optimizer, slots)
