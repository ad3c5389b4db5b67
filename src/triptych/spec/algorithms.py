"""Algorithms' parameters as frozen data: how an agent, or a fit to a dataset, learns.

What they do is in ``learn``. Whether one fits the other parts of a recipe is in ``agreement.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from triptych.spec.fields import brief, option
from triptych.spec.schedules import Schedule, parse_schedule


def _probability(value: Any, where: str) -> Schedule:
    schedule = parse_schedule(value, where)
    if schedule.highest() > 1.0:
        raise ValueError(f"must stay between 0 and 1 but {brief(value)} goes above 1")
    return schedule


@dataclass(frozen=True)
class DQN:
    """Deep Q-learning (Mnih et al. 2015). Every count is in agent steps, not emulator frames.

    discount: of future rewards. batch: transitions an update. replay: transitions kept.
    learning_starts: steps before the first update. random_steps: steps played at random first.
    update_every: steps between updates. target_sync: steps between copies into the target
    network, ``null`` for none. double: van Hasselt et al. 2016. dueling: Wang et al. 2016.
    exploration: probability of a random action, a schedule over steps. replay_storage: where
    frames are kept, in the computer's ``memory`` or on its ``disk``; it changes no number.
    """

    name: ClassVar[str] = "dqn"
    discount: float = option(low=0.0, high=1.0)
    batch: int = option(low=1)
    replay: int = option(low=1)
    exploration: Schedule = option(parse=_probability)  # noqa: RUF009
    learning_starts: int = option(1, low=1)
    random_steps: int = option(0, low=0)
    update_every: int = option(1, low=1)
    target_sync: int | None = option(None, low=1)
    double: bool = False
    dueling: bool = False
    replay_storage: str = option("memory", choices=("memory", "disk"))

    def __post_init__(self) -> None:
        if self.replay < self.batch:
            raise ValueError(f"replay {self.replay} is smaller than batch {self.batch}")


@dataclass(frozen=True)
class Fit:
    """Learning from a dataset, epoch by epoch; an epoch shows every training example once.

    batch: examples an update, ``null`` for all of them at once, in their order. Smaller batches are
    drawn anew for every epoch; the last one holds what is left. min_gradient: training ends early
    where the gradient of all parameters together is no longer than this; 0 never ends it.
    """

    name: ClassVar[str] = "fit"
    batch: int | None = option(None, low=1)
    min_gradient: float = option(0.0, low=0.0)


ALGORITHMS: dict[str, type[DQN] | type[Fit]] = {item.name: item for item in (DQN, Fit)}
