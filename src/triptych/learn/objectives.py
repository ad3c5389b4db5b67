"""Objectives as pure functions over the array namespace, written once for all frameworks.

Their parameters are data in ``spec/objective.py``. An objective says which forward passes it
reads (``evaluations``) and computes a loss from their outputs and the batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from triptych.backends.protocol import Evaluation, Namespace
from triptych.backends.protocol import Objective as ObjectiveProtocol
from triptych.errors import RecipeError
from triptych.spec.agreement import wrong_names
from triptych.spec.algorithms import DQN, Fit
from triptych.spec.network import Network
from triptych.spec.objective import (
    CrossEntropy,
    Objective,
    SparseAutoencoder,
    SquaredError,
    TDHuber,
    TDSquared,
)


def squared(xp: Namespace, error: Any, factor: float) -> Any:
    """factor * error^2."""
    return factor * xp.square(error)


def huber(xp: Namespace, error: Any, delta: float) -> Any:
    """error^2 / 2 where |error| <= delta, else delta * (|error| - delta / 2) (Huber 1964)."""
    size = xp.abs(error)
    return xp.where(size <= delta, 0.5 * xp.square(error), delta * (size - 0.5 * delta))


def reduce(xp: Namespace, values: Any, reduction: str) -> Any:
    """Mean or sum over the examples of a batch."""
    return xp.mean(values) if reduction == "mean" else xp.sum(values)


class QLearning:
    """The temporal-difference error of Q-learning under a squared or a Huber loss.

    target = reward + discount * (1 - terminated) * value(next observation); a truncated episode
    goes on in its value. With ``n_step`` n > 1 the reward is that of n steps, and the discount is
    each transition's own. The value is the largest of the target network's (or, without one, the
    online network's own) outputs; with ``double`` it is the target network's output for the action
    that the online network prefers. No gradient flows through the target.
    Source: Mnih et al. 2015; van Hasselt et al. 2016.

    Batch: observation, action (int), reward, next_observation, terminated (bool); with several
    steps ``discount``.
    """

    def __init__(self, objective: TDSquared | TDHuber, algorithm: DQN) -> None:
        self.objective, self.discount = objective, algorithm.discount
        self.double, self.n_step = algorithm.double, algorithm.n_step
        later = "target" if algorithm.target_sync is not None else "online"
        self.evaluations: tuple[Evaluation, ...] = (
            Evaluation("q"),
            Evaluation("next_q", later, "next_observation", gradient=False),  # type: ignore[arg-type]
        )
        if self.double:
            chooser = Evaluation("next_choice", "online", "next_observation", gradient=False)
            self.evaluations += (chooser,)

    def factors(self) -> dict[str, Any]:
        """The objective's parameters, the discount, and which passes feed the target."""
        passes = [f"{own.network} on {own.input}" for own in self.evaluations]
        return (
            {"name": self.objective.name}
            | asdict(self.objective)
            | {
                "discount": self.discount,
                "double": self.double,
                "n_step": self.n_step,
                "weighted": isinstance(self, PrioritisedQLearning),
                "passes": passes,
            }
        )

    def loss(self, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return the loss of a batch of transitions."""
        return reduce(xp, self.losses(xp, outputs, batch), self.objective.reduction)

    def losses(self, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return the loss of each transition, (batch,)."""
        error = self.errors(xp, outputs, batch)
        if isinstance(self.objective, TDHuber):
            return huber(xp, error, self.objective.delta)
        return squared(xp, error, self.objective.factor)

    def errors(self, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return how far each chosen output is above its target, (batch,)."""
        chosen = take(xp, outputs["q"], batch["action"])
        return chosen - xp.stop_gradient(self.target(xp, outputs, batch))

    def target(self, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return what each chosen output should have been, (batch,)."""
        later = outputs["next_q"]
        if self.double:
            value = take(xp, later, xp.argmax(outputs["next_choice"], axis=1))
        else:
            value = xp.max(later, axis=1)
        goes_on = 1.0 - xp.astype(batch["terminated"], like=later)
        discount = batch["discount"] if self.n_step > 1 else self.discount
        return batch["reward"] + discount * goes_on * value


class PrioritisedQLearning(QLearning):
    """Q-learning from transitions that were not drawn evenly (Schaul et al. 2016).

    Each transition's loss is multiplied by its weight before the mean or sum, and its error is
    reported, from which its priority is made. Batch: as of ``QLearning``, and ``weight``.
    """

    def losses(self, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return the weighted loss of each transition, (batch,)."""
        return batch["weight"] * super().losses(xp, outputs, batch)

    def reports(
        self, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return ``error``, (batch,)."""
        return {"error": self.errors(xp, outputs, batch)}


class Supervised:
    """Outputs against given targets, for datasets. Batch: observation, target."""

    evaluations = (Evaluation("output"),)

    def __init__(self, objective: SquaredError | CrossEntropy) -> None:
        self.objective = objective

    def factors(self) -> dict[str, Any]:
        """The objective's parameters."""
        return {"name": self.objective.name} | asdict(self.objective)

    def loss(self, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return the loss of a batch of examples."""
        output, target = outputs["output"], batch["target"]
        if isinstance(self.objective, CrossEntropy):
            values = -take(xp, xp.log_softmax(output, axis=1), target)
        else:
            values = xp.sum(squared(xp, output - target, self.objective.factor), axis=1)
        return reduce(xp, values, self.objective.reduction)


def take(xp: Namespace, x: Any, indices: Any) -> Any:
    """x (batch, n) at one index of each row, (batch,)."""
    return xp.squeeze(xp.take_along_axis(x, xp.expand_dims(indices, axis=1), axis=1), axis=1)


class Sparse:
    """The objective of a sparse autoencoder; formulas in the spec's ``SparseAutoencoder``.

    All training examples must be in the batch. Batch: observation, target, both (batch, outputs).

    Args:
        objective: its parameters.
        network: whose kernels weigh, unless the parameters name some.

    Raises:
        RecipeError: the network lacks a node or an array that the parameters name.
    """

    term_names = ("error", "weights", "sparsity")

    def __init__(self, objective: SparseAutoencoder, network: Network) -> None:
        if wrong := wrong_names(objective, network):
            raise RecipeError("; ".join(wrong))
        self.objective = objective
        kernels = (name for name in network.trainable if name.endswith("/kernel"))
        self.reads = tuple(kernels) if objective.l2_on is None else objective.l2_on
        self.evaluations = (Evaluation("output", nodes=(objective.hidden,)),)

    def factors(self) -> dict[str, Any]:
        """The objective's parameters, and the arrays whose squares are summed."""
        own = {"name": self.objective.name} | asdict(self.objective)
        return own | {"l2_on": list(self.reads)}

    def loss(self, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return the loss of all examples."""
        terms = self.terms(xp, outputs, batch)
        own = self.objective
        return terms["error"] + own.l2 * terms["weights"] + own.sparsity * terms["sparsity"]

    def terms(
        self, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return error, weights and sparsity, each before it is multiplied."""
        squares = xp.square(outputs["output"] - batch["target"])
        combine = xp.mean if self.objective.mean_over_outputs else xp.sum
        weights = sum(xp.sum(xp.square(outputs[name])) for name in self.reads)
        mean = xp.mean(outputs[f"output/{self.objective.hidden}"], axis=0)
        return {
            "error": reduce(xp, combine(squares, axis=1), self.objective.reduction),
            "weights": 0.5 * weights,
            "sparsity": xp.sum(divergence(xp, mean, self.objective.proportion)),
        }


def divergence(xp: Namespace, mean: Any, rho: float) -> Any:
    """Kullback-Leibler divergence of a coin with mean m from one with mean rho, for each unit."""
    shown = rho * (math.log(rho) - xp.log(mean))
    return shown + (1.0 - rho) * (math.log(1.0 - rho) - xp.log(1.0 - mean))


def build(
    objective: Objective, algorithm: DQN | Fit, network: Network | None = None
) -> ObjectiveProtocol:
    """Return the function of an objective's parameters.

    Args:
        objective: the parameters.
        algorithm: whose discount and target network the function may use.
        network: needed by an objective that names nodes or arrays.
    """
    if isinstance(objective, (TDSquared, TDHuber)) and isinstance(algorithm, DQN):
        kind = QLearning if algorithm.prioritised is None else PrioritisedQLearning
        return kind(objective, algorithm)
    if isinstance(objective, (SquaredError, CrossEntropy)):
        return Supervised(objective)
    if isinstance(objective, SparseAutoencoder) and network is not None:
        return Sparse(objective, network)
    raise TypeError(f"no function for {type(objective).__name__} beside {type(algorithm).__name__}")
