"""The promises a backend keeps about objectives that read nodes and params, and about rules that
search for their step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from triptych.backends import registry
from triptych.backends.protocol import Backend, Learner, Params
from triptych.errors import BackendError
from triptych.learn.objectives import Sparse
from triptych.spec.initial import Initial
from triptych.spec.notation import parse
from triptych.spec.objective import SparseAutoencoder
from triptych.spec.randomness import generator
from triptych.spec.rules import SCG
from triptych.testing.comparing import DIFFERENCES, EXACT, all_close, close, copy_of, same_bits

UPDATES = 6
CURVED = 1e-4
"""Bound after updates that take curvatures from the oracle's gradients by differences."""


@dataclass(frozen=True)
class SearchCase:
    """A sparse autoencoder small enough for the oracle's differences."""

    name: str
    objective: SparseAutoencoder
    network = parse("6 -> dense 3 sigmoid -> dense 6 sigmoid")

    def params(self) -> Params:
        """Return initial params, float64; biases are no zeros."""
        return Initial(bias=("normal", 0.3)).draw(self.network, seed=3)

    def batch(self) -> dict[str, np.ndarray]:
        """Examples, and targets unlike them."""
        draw = generator(4, "search")
        return {"observation": draw.normal(size=(9, 6)), "target": draw.random((9, 6))}

    def learner(self, backend: Backend) -> Learner:
        """Return the backend's learner, float64."""
        objective = Sparse(self.objective, self.network)
        return backend.learner(
            self.network, self.params(), objective=objective, rule=SCG(), dtype="float64"
        )


SEARCHES = (
    SearchCase("all_kernels", SparseAutoencoder(hidden="sigmoid1", l2=0.1, sparsity=0.5)),
    SearchCase(
        "one_kernel",
        SparseAutoencoder(
            hidden="sigmoid1",
            l2=0.3,
            l2_on=("dense2/kernel",),
            sparsity=2.0,
            proportion=0.3,
            mean_over_outputs=True,
            reduction="sum",
        ),
    ),
)


def check_sparse(backend: Backend, case: SearchCase) -> None:
    """Loss and gradients that read a node and params are the oracle's."""
    learner, oracle = case.learner(backend), case.learner(registry.get("numpy"))
    batch = case.batch()
    close(learner.loss(batch), oracle.loss(batch), EXACT, "loss")
    all_close(learner.gradients(batch), oracle.gradients(batch), DIFFERENCES, "gradient")


def check_search(backend: Backend, case: SearchCase) -> None:
    """Params, slots and numbers after updates of a rule that searches are the oracle's."""
    learner, oracle = case.learner(backend), case.learner(registry.get("numpy"))
    batch = case.batch()
    given = copy_of(batch)
    for count in range(1, UPDATES + 1):
        losses = [float(one.update(batch)) for one in (learner, oracle)]
        close(losses[0], losses[1], CURVED, f"loss before update {count}")
        all_close(learner.params(), oracle.params(), CURVED, f"value at t = {count}")
    same_bits(batch, given, "the batch handed to update()")
    for slot, arrays in oracle.slots().values.items():
        all_close(learner.slots().values[slot], arrays, 10.0 * CURVED, f"slot {slot!r}")
    assert learner.slots().updates == UPDATES, f"slots count {learner.slots().updates} updates"
    for name, number in oracle.slots().numbers.items():
        close(learner.slots().numbers[name], number, 10.0 * CURVED, f"number {name!r}")


def check_search_state(backend: Backend, case: SearchCase) -> None:
    """A search goes on from its state as if it had never stopped; given gradients are refused."""
    learner, other, batch = case.learner(backend), case.learner(backend), case.batch()
    for _ in range(UPDATES):
        learner.update(batch)
    other.restore(copy_of(learner.state()))
    for one in (learner, other):
        one.update(batch)
    same_bits(other.params(), learner.params(), "value after restore()")
    same_bits(other.slots().values, learner.slots().values, "slots after restore()")
    numbers: Any = (other.slots().numbers, learner.slots().numbers)
    assert numbers[0] == numbers[1], f"numbers after restore() are {numbers[0]}, not {numbers[1]}"
    try:
        learner.apply_gradients(learner.gradients(batch))
    except BackendError:
        return
    raise AssertionError("a rule that searches took given gradients")
