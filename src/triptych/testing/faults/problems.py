"""Small learning problems that faults are put into: awkward sizes, no zero biases, quickly run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from triptych.learn import objectives
from triptych.parity.subject import Subject, shake
from triptych.spec.algorithms import Prioritised
from triptych.spec.initial import Initial
from triptych.spec.network import Network
from triptych.spec.notation import parse
from triptych.spec.objective import CrossEntropy, Objective, SquaredError, TDHuber, TDSquared
from triptych.spec.randomness import generator
from triptych.spec.recipe import DQN
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule, constant
from triptych.spec.schedules import Constant, Linear

LOCKSTEP = 60
"""Updates of rung 6 in every problem."""
BATCH = 16
_POOL = 64


@dataclass(frozen=True)
class Batches:
    """Random batches that fit a network, the same ones each time they are iterated.

    They hold what deep Q-learning reads (with several steps and priorities too) and what
    supervised learning reads: ``target`` is a class for cross-entropy, else a row of numbers.
    """

    shape: tuple[int, ...]
    outputs: int
    classes: bool
    seed: int

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        stream, replay = (generator(self.seed, f"faults/{name}") for name in ("batches", "replay"))
        pool = stream.integers(0, 256, (_POOL, *self.shape), dtype=np.uint8)
        if len(self.shape) == 2:  # a sequence: some end early, the steps behind are zero
            pool[: _POOL // 2, -2:] = 0
        while True:
            now, later = stream.integers(0, _POOL, (2, BATCH))
            numbers = stream.normal(size=(BATCH, self.outputs))
            yield {
                "observation": pool[now],
                "action": stream.integers(0, self.outputs, BATCH).astype(np.int32),
                "reward": 1.5 * numbers[:, 0],
                "next_observation": pool[later],
                "terminated": stream.random(BATCH) < 0.3,
                "truncated": stream.random(BATCH) < 0.3,
                "discount": 0.8 ** replay.integers(1, 4, BATCH),
                "weight": replay.uniform(0.1, 1.0, BATCH),
                "target": np.argmax(numbers, axis=1).astype(np.int32) if self.classes else numbers,
            }


def problem(
    network: str | dict[str, str] | Network,
    rule: Rule,
    objective: Objective | None = None,
    seed: int = 0,
    lockstep: int = LOCKSTEP,
    **options: Any,
) -> Subject:
    """Return a learning problem on random batches.

    Args:
        network: in one of the notations, or built.
        rule: the update rule.
        objective: deep Q-learning on squared errors unless given.
        seed: of params, batches and dropout masks.
        lockstep: updates of rung 6.
        options: of the algorithm: discount, target_sync, double, n_step, prioritised.
    """
    graph = network if isinstance(network, Network) else parse(network)
    objective = objective or TDSquared()
    chosen: dict[str, Any] = {"discount": 0.8, "target_sync": 10} | options
    algorithm = DQN(batch=BATCH, replay=_POOL, exploration=Constant(0.1), **chosen)
    outputs = graph.shapes[graph.output.name][0]
    initial = Initial(scale={"normal": 1.0}, offset={"normal": 0.1})  # type: ignore[arg-type]
    learned = isinstance(objective, (TDSquared, TDHuber))
    classes = isinstance(objective, CrossEntropy)
    return Subject(
        network=graph,
        params=shake(initial.draw(graph, seed), seed),
        objective=objectives.build(objective, algorithm),
        rule=rule,
        batches=Batches(graph.shapes[graph.input.name], outputs, classes, seed),
        seed=seed,
        target=learned and algorithm.target_sync is not None,
        lockstep=lockstep,
    )


BROAD = (
    "9x7x2 -> rescale 1/255 -> conv 4 4x3/2 pad same -> batch_norm -> leaky_relu slope 0.2 "
    "-> flatten -> dropout 0.3 -> dense 11 elu -> dense 3"
)
PLAIN = "9x7x2 -> rescale 1/255 -> conv 4 4x3/2 pad same elu -> flatten -> dense 11 elu -> dense 3"
SQUARE = (
    "8x8x3 -> rescale 1/255 -> conv 3 3x3/2 pad same tanh -> conv 3 3x3 pad same dilation 2 silu "
    "-> flatten -> dense 7 tanh -> dense 7 relu -> dense 3"
)
SHORT = "5x5x2 -> rescale 1/255 -> conv 3 2x2/3 elu -> flatten -> dense 9 silu -> dense 3"
POOLS = (
    "10x10x2 -> rescale 1/255 -> conv 3 2x2 tanh -> max_pool 3x3/2 pad same "
    "-> average_pool 2x2/3 -> flatten -> dense 8 tanh -> dense 3"
)
EDGES = (
    "9x8x2 -> rescale 1/255 -> conv 3 2x2 tanh -> average_pool 3x3/2 pad same "
    "-> flatten -> dense 8 tanh -> dense 3"
)
UPWARDS = (
    "6x5x2 -> rescale 1/255 -> conv 3 2x2/2 tanh -> conv_transpose 2 3x3/2 pad same elu "
    "-> flatten -> dense 8 tanh -> dense 3"
)
BENDS = (
    "7x5x2 -> rescale 1/255 -> conv 4 3x2 gelu -> layer_norm -> flatten -> dense 12 "
    "-> hard_sigmoid -> dense 9 -> rescale 40 -> softplus -> dense 3"
)
BRANCHES = {
    "input": "7x6x2",
    "scaled": "rescale 1/255",
    "first": "conv 4 3x3 pad same tanh",
    "second": "conv 4 3x3 pad same",
    "third": "conv 4 1x1 <- first",
    "joined": "concatenate <- second, third",
    "flat": "flatten",
    "hidden": "dense 9 tanh",
    "value": "dense 1 <- hidden",
    "advantage": "dense 3 <- hidden",
    "q": "dueling <- value, advantage",
}
LSTM = "7x5 -> rescale 1/255 -> lstm 6 -> dense 3"
GRU = "7x5 -> rescale 1/255 -> gru 6 -> dense 3"
ELMAN = "7x5 -> rescale 1/255 -> elman 6 biases 2 mask_value 0 -> dense 3"
LOUD = "6x5x2 -> rescale 1/255 -> flatten -> dense 9 tanh -> dense 4 -> rescale 8"

_MOMENTUM = SGD(constant(1e-2), momentum=0.9)
_ADAM = Adam(constant(1e-2), epsilon=1e-4, clip=Clip(global_norm=0.05))

PROBLEMS: dict[str, Callable[[], Subject]] = {
    "adam": lambda: problem(BROAD, _ADAM),
    "sgd": lambda: problem(BROAD, _MOMENTUM),
    "adamw": lambda: problem(BROAD, AdamW(constant(1e-2), weight_decay=0.1)),
    "own target": lambda: problem(PLAIN, _MOMENTUM, target_sync=None),
    "target": lambda: problem(PLAIN, _MOMENTUM),
    "huber": lambda: problem(PLAIN, _MOMENTUM, TDHuber()),
    "several steps": lambda: problem(PLAIN, _MOMENTUM, n_step=3),
    "priorities": lambda: problem(PLAIN, _MOMENTUM, TDHuber(), prioritised=Prioritised()),
    "square": lambda: problem(SQUARE, _MOMENTUM),
    "short": lambda: problem(SHORT, _MOMENTUM),
    "pools": lambda: problem(POOLS, _MOMENTUM),
    "edges": lambda: problem(EDGES, _MOMENTUM),
    "upwards": lambda: problem(UPWARDS, _MOMENTUM),
    "bends": lambda: problem(BENDS, _MOMENTUM),
    "branches": lambda: problem(BRANCHES, _MOMENTUM),
    "regression": lambda: problem(PLAIN, _MOMENTUM, SquaredError()),
    "classes": lambda: problem(LOUD, _MOMENTUM, CrossEntropy()),
    "rmsprop": lambda: problem(PLAIN, RMSprop(constant(1e-3), decay=0.9, epsilon=1e-4)),
    "adagrad": lambda: problem(PLAIN, Adagrad(constant(1e-2), epsilon=1e-6)),
    "plain adam": lambda: problem(PLAIN, Adam(constant(1e-3), epsilon=1e-5)),
    "l2": lambda: problem(PLAIN, Adam(constant(1e-3), epsilon=1e-5, l2=0.01)),
    "decay": lambda: problem(PLAIN, AdamW(constant(1e-2), epsilon=1e-5, weight_decay=0.1)),
    "lstm": lambda: problem(LSTM, _MOMENTUM),
    "gru": lambda: problem(GRU, _MOMENTUM),
    "elman": lambda: problem(ELMAN, _MOMENTUM),
    "falling": lambda: problem(PLAIN, SGD(Linear(2e-2, 1e-3, 40), momentum=0.8)),
}
"""Problem by name. Each is made once, by :func:`named`."""


@lru_cache(maxsize=64)
def named(name: str) -> Subject:
    """Return a problem of :data:`PROBLEMS`, the same one each time."""
    return PROBLEMS[name]()
