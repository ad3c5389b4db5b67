"""Small learning problems for the ladder's own tests: awkward on purpose, quick to compute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from triptych.learn import objectives
from triptych.parity.subject import Subject, shake
from triptych.spec.initial import Initial
from triptych.spec.network import Network
from triptych.spec.notation import parse
from triptych.spec.objective import Objective, TDHuber, TDSquared
from triptych.spec.recipe import DQN
from triptych.spec.rules import Rule
from triptych.spec.schedules import Constant


@dataclass(frozen=True)
class Transitions:
    """Random transitions that fit a network, the same ones each time."""

    shape: tuple[int, ...]
    actions: int
    size: int
    seed: int

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        rng = np.random.default_rng(self.seed)
        pool = rng.integers(0, 256, (64, *self.shape), dtype=np.uint8)
        while True:
            now, later = rng.integers(0, 64, (2, self.size))
            yield {
                "observation": pool[now],
                "action": rng.integers(0, self.actions, self.size).astype(np.int32),
                "reward": rng.normal(size=self.size),
                "next_observation": pool[later],
                "terminated": rng.random(self.size) < 0.3,
            }


NETWORK = (
    "9x7x2 -> rescale 1/255 -> conv 4 4x3/2 pad same -> batch_norm -> leaky_relu slope 0.2 "
    "-> flatten -> dropout 0.3 -> dense 11 elu -> dense 3"
)


def deep_q(
    rule: Rule,
    network: str | Network = NETWORK,
    objective: Objective | None = None,
    lockstep: int = 120,
    seed: int = 0,
    **options: object,
) -> Subject:
    """A deep Q-learning problem on random transitions, with a target network."""
    graph = parse(network) if isinstance(network, str) else network
    algorithm = DQN(
        **({"discount": 0.8, "target_sync": 10} | options),  # type: ignore[arg-type]
        batch=16,
        replay=64,
        exploration=Constant(0.1),
    )
    actions = graph.shapes[graph.output.name][0]
    initial = Initial(scale={"normal": 1.0}, offset={"normal": 0.1})
    return Subject(
        network=graph,
        params=shake(initial.draw(graph, seed), seed),
        objective=objectives.build(objective or TDSquared(), algorithm),
        rule=rule,
        batches=Transitions(graph.shapes["input"], actions, 16, seed),
        seed=seed,
        target=algorithm.target_sync is not None,
        lockstep=lockstep,
    )


__all__ = ["NETWORK", "TDHuber", "TDSquared", "Transitions", "deep_q"]
