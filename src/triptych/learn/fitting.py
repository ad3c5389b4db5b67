"""Learning from a dataset: epoch by epoch, to be stopped and resumed anywhere.

It knows no files, no clock and no dataset's name: examples are handed in, rows of metrics handed
out. Agents that act are in ``training.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from triptych.backends.protocol import Batch, Learner, Objective
from triptych.spec.algorithms import Fit
from triptych.spec.randomness import generator, get_state, set_state
from triptych.spec.recipe import Budget, Logging


class Order:
    """Which examples each update sees: all, or parts of a permutation drawn for every epoch.

    Args:
        size: how many examples there are.
        batch: how many an update sees; None for all of them, in their own order.
        seed: of the stream ``order``.
    """

    def __init__(self, size: int, batch: int | None, seed: int) -> None:
        self.size, self.batch = size, size if batch is None else min(batch, size)
        self.shuffled = batch is not None
        self._stream = generator(seed, "order")
        self._left = np.zeros(0, np.int64)

    @property
    def epoch_ended(self) -> bool:
        """Whether every example was seen since the epoch began."""
        return not len(self._left)

    def next(self) -> np.ndarray:
        """Return the numbers of the examples of the next update; the last of an epoch may be
        fewer."""
        if self.epoch_ended:
            fresh = self._stream.permutation(self.size) if self.shuffled else np.arange(self.size)
            self._left = fresh.astype(np.int64)
        chosen, self._left = self._left[: self.batch], self._left[self.batch :]
        return chosen

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on exactly."""
        return {"stream": get_state(self._stream), "left": self._left.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a state from :meth:`state` back."""
        set_state(self._stream, state["stream"])
        self._left = np.array(state["left"], np.int64)


class Fitting:
    """A learner fitted to examples until its budget is spent or its gradient is next to nothing.

    A row holds, after whole epochs: the loss on all training examples, the objective's terms where
    it has any, the length of the gradient of that loss, and the validation error.

    Args:
        algorithm: the recipe's parameters.
        learner: the network that learns.
        objective: the learner's own, for its terms.
        train, validation: examples as the objective reads them, ``observation`` and ``target``.
        budget: when to stop, in epochs.
        logging: how often a row is made.
        seed: of the stream ``order``.
    """

    counts = ("epoch", "update")
    """The columns of metrics.csv that count; the second is the checkpoints' step."""

    def __init__(
        self,
        algorithm: Fit,
        learner: Learner,
        objective: Objective,
        train: Batch,
        validation: Batch,
        budget: Budget,
        logging: Logging,
        seed: int,
    ) -> None:
        self.algorithm, self.learner, self.objective = algorithm, learner, objective
        self.train, self.validation = train, validation
        self.budget, self.logging = budget, logging
        self.order = Order(len(train["observation"]), algorithm.batch, seed)
        self.epochs = 0
        self.steps = 0
        """Updates made."""
        self.gradient = np.inf
        self.trace: list[tuple[int, Any]] | None = None
        """Set to a list to keep (first example, loss) of every update."""
        self._terms: tuple[str, ...] = getattr(objective, "term_names", ())

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of metrics.csv."""
        return (*self.counts, "loss", *self._terms, "gradient", "validation_error")

    @property
    def finished(self) -> bool:
        """Whether the budget is spent, or there is nothing left to learn."""
        still = self.gradient <= self.algorithm.min_gradient
        return still or self.epochs >= (self.budget.epochs or 0)

    def progress(self) -> tuple[int, int, str]:
        """Return (how far, of how much, the unit) for a progress bar."""
        return self.epochs, self.budget.epochs or 0, "epoch"

    def rows(self) -> Iterator[dict[str, float] | None]:
        """Make updates until there is an end; yield after each, a row where one is due."""
        while not self.finished:
            self._update()
            if not self.order.epoch_ended:
                yield None
                continue
            self.epochs += 1
            if self.algorithm.min_gradient > 0.0:
                self.gradient = self._gradient()
            due = self.epochs % self.logging.epochs == 0 or self.finished
            yield self._row() if due else None

    def _update(self) -> None:
        chosen = self.order.next()
        batch = self.train
        if self.order.shuffled:
            batch = {name: array[chosen] for name, array in self.train.items()}
        loss = self.learner.update(batch)
        self.steps += 1
        if self.trace is not None:
            self.trace.append((int(chosen[0]), loss))

    def _gradient(self) -> float:
        """The length of the gradient of all parameters together, on all training examples."""
        found = self.learner.gradients(self.train).values()
        return float(np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in found)))

    def _row(self) -> dict[str, float]:
        row = {"epoch": self.epochs, "update": self.steps, "loss": self.learner.loss(self.train)}
        row |= self._row_of_terms()
        length = self.gradient if self.algorithm.min_gradient > 0.0 else self._gradient()
        return row | {"gradient": length, "validation_error": self.validation_error()}

    def _row_of_terms(self) -> dict[str, float]:
        """The objective's terms, from the framework's outputs but summed by NumPy."""
        if not self._terms:
            return {}
        nodes = self.learner.layer_outputs(self.train["observation"])
        outputs: dict[str, Any] = dict(self.learner.params())
        for item in self.objective.evaluations:
            outputs[item.name] = nodes[self.learner.network.output.name]
            outputs |= {f"{item.name}/{node}": nodes[node] for node in item.nodes}
        terms = self.objective.terms(np, outputs, self.train)  # type: ignore[attr-defined]
        return {name: float(terms[name]) for name in self._terms}

    def validation_error(self) -> float:
        """The mean squared difference of outputs and targets over the validation examples."""
        outputs = self.learner.outputs(self.validation["observation"]).astype(np.float64)
        return float(np.mean(np.square(outputs - self.validation["target"])))

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on exactly, between two updates."""
        return {
            "epochs": self.epochs,
            "steps": self.steps,
            "gradient": self.gradient,
            "agent": {"order": self.order.state(), "learner": self.learner.state()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a state from :meth:`state` back."""
        self.epochs, self.steps = int(state["epochs"]), int(state["steps"])
        self.gradient = float(state["gradient"])
        self.order.restore(state["agent"]["order"])
        self.learner.restore(state["agent"]["learner"])

    def close(self) -> None:
        """Nothing to close: examples are arrays."""
