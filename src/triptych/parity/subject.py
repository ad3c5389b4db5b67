"""What is compared: a network with params, an objective, an update rule, and real batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from triptych.backends.protocol import Batch, DType, Objective, Params
from triptych.engines import setup
from triptych.learn.fitting import Order
from triptych.learn.game import Game
from triptych.learn.prioritised import PrioritisedMemory
from triptych.learn.replay import ReplayMemory
from triptych.spec.algorithms import DQN
from triptych.spec.network import Network
from triptych.spec.randomness import generator, integer_seed
from triptych.spec.recipe import Recipe
from triptych.spec.rules import Rule

_PLAYED = 1000
"""Steps of random play that the batches are drawn from."""


@dataclass(frozen=True)
class Subject:
    """One learning problem, independent of a backend.

    Attributes:
        network, params, objective, rule: as a learner takes them; params are float64.
        batches: yields the same batches every time it is iterated.
        seed: of the dropout masks.
        target: whether there is a target network.
        lockstep: how many updates rung 6 makes.
        scheduled: whether rung 5 looks at a falling rate too; a user's own optimizer has its own.
    """

    network: Network
    params: Params
    objective: Objective
    rule: Rule
    batches: Iterable[Batch]
    seed: int = 0
    target: bool = False
    lockstep: int = 1000
    scheduled: bool = True

    def by_envelope(self, dtype: DType) -> bool:
        """Whether trainings are judged by how far a last-bit change leads astray.

        In float32 always. In float64 where the rule searches: it takes a curvature from gradients a
        small distance sigma apart, which makes a rounding error 1 / sigma times as large.
        """
        return dtype == "float32" or self.searches

    @property
    def searches(self) -> bool:
        """Whether the update rule searches; of users' own code the rule is not known as data."""
        return bool(self.rule and self.rule.searches)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of what rung 2 compares, in order."""
        return tuple(node.name for node in self.network.nodes)

    @property
    def trainable(self) -> tuple[str, ...]:
        """The names of the arrays that learn, in order."""
        return self.network.trainable


@dataclass(frozen=True)
class ReplayBatches:
    """Batches drawn without end from a filled memory, the same ones each time."""

    memory: ReplayMemory
    batch: int
    seed: int

    def __iter__(self) -> Iterator[Batch]:
        stream = generator(self.seed, "lockstep")
        while True:
            batch = self.memory.sample(self.batch, stream)
            batch.pop("index", None)  # which no objective reads
            yield batch


@dataclass(frozen=True)
class DataBatches:
    """Batches of a dataset without end, epoch after epoch, the same ones each time."""

    examples: Batch
    batch: int | None
    seed: int

    def __iter__(self) -> Iterator[Batch]:
        order = Order(len(self.examples["observation"]), self.batch, self.seed)
        while True:
            chosen = order.next()
            yield {name: array[chosen] for name, array in self.examples.items()}


def of_recipe(recipe: Recipe, seed: int) -> Subject:
    """Return a recipe's subject, with batches as in its training; an environment is really played,
    at random."""
    return Subject(
        network=recipe.network,
        params=shake(recipe.initial.draw(recipe.network, seed), seed),
        objective=setup.make_objective(recipe),
        rule=recipe.optimizer,
        batches=_batches(recipe, seed),
        seed=seed,
        target=recipe.has_target,
        lockstep=recipe.verify.lockstep,
        scheduled=not recipe.optimizer.searches,
    )


def _batches(recipe: Recipe, seed: int) -> Iterable[Batch]:
    size = recipe.verify.batch or recipe.algorithm.batch
    if isinstance(recipe.algorithm, DQN):
        return ReplayBatches(random_play(recipe, seed), size or 1, seed)
    # All examples are the batch where the algorithm says so: a smaller one is another loss.
    whole = recipe.algorithm.batch is None
    return DataBatches(setup.make_data(recipe).train, None if whole else size, seed)


def shake(params: Params, seed: int) -> Params:
    """Return params whose zeros are small numbers: zero biases would hide a wrong bias."""
    stream = generator(seed, "shake")
    return {
        name: array if np.any(array) else stream.normal(0.0, 0.01, array.shape)
        for name, array in params.items()
    }


def random_play(recipe: Recipe, seed: int) -> ReplayMemory:
    """Return a memory of random play in the recipe's games; priorities, if any, are random too."""
    assert isinstance(recipe.algorithm, DQN)
    games = [_game(recipe, seed, k) for k in range(recipe.algorithm.games)]
    memory = setup.make_memory(recipe, games[0].env)
    stream = generator(seed, "random_play")
    for _ in range(_PLAYED // len(games)):
        for lane, game in enumerate(games):
            if game.observation is None:
                memory.begin(game.begin()[0], lane)
            action = int(stream.integers(game.env.action_space.n))  # type: ignore[attr-defined]
            step = game.step(action)
            ends = step.terminated, step.truncated
            memory.append(action, step.reward, step.observation, *ends, lane)
    if isinstance(memory, PrioritisedMemory):
        _prioritise(memory, stream)
    return memory


def _game(recipe: Recipe, seed: int, number: int) -> Game:
    name = f"random_play/{number}" if number else "random_play"
    return Game(setup.make_env(recipe), integer_seed(seed, name))


def _prioritise(memory: PrioritisedMemory, stream: np.random.Generator) -> None:
    """Give transitions errors that differ: with equal ones all weights are 1, which hides them."""
    for _ in range(10):
        index = memory.sample(100, stream)["index"]
        memory.set_priorities(index, stream.normal(size=len(index)))
