"""Algorithms' parameters as frozen data: how an agent, or a fit to a dataset, learns.

What they do is in ``learn``. Whether one fits the other parts of a recipe is in ``agreement.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from triptych.spec.fields import brief, build_strictly, option
from triptych.spec.schedules import Linear, Schedule, parse_schedule


def _probability(value: Any, where: str) -> Schedule:
    schedule = parse_schedule(value, where)
    if schedule.highest() > 1.0:
        raise ValueError(f"must stay between 0 and 1 but {brief(value)} goes above 1")
    return schedule


_GROWING = Linear(start=0.4, end=1.0, steps=1_000_000)


@dataclass(frozen=True)
class Prioritised:
    """Transitions drawn by their last error, the proportional variant of Schaul et al. 2016.

    A transition is drawn with a probability in proportion to (size of error + epsilon)^alpha, its
    loss is multiplied by (transitions * probability)^-beta, divided by the largest in the batch.

    alpha: how much errors count; 0 draws uniformly. beta: how much the weights make up for drawing
    unevenly, a schedule over agent steps; the paper's grows to 1 by the end of its training.
    epsilon: added to every error, so that no transition is lost.
    """

    alpha: float = option(0.6, low=0.0)
    beta: Schedule = option(_GROWING, parse=_probability)  # noqa: RUF009
    epsilon: float = option(1.0e-6, above=0.0)


def _prioritised(value: Any, where: str) -> Prioritised | None:
    if value is None or isinstance(value, Prioritised):
        return value
    return build_strictly(Prioritised, value, where)


@dataclass(frozen=True)
class DQN:
    """Deep Q-learning (Mnih et al. 2015). Every count is in agent steps, not emulator frames.

    discount: of future rewards. batch: transitions an update. replay: transitions kept, of all
    games. learning_starts: steps before the first update. random_steps: steps played at random
    first. update_every: steps between updates. target_sync: steps between copies into the target
    network, ``null`` for none. double: van Hasselt et al. 2016. dueling: Wang et al. 2016.
    exploration: probability of a random action, a schedule over steps. replay_storage: where
    frames are kept, in the computer's ``memory`` or on its ``disk``; it changes no number.
    n_step: rewards that a target sums up before it takes the network's word (Sutton 1988), without
    correction for actions that were explored. prioritised: ``null`` draws from the replay
    uniformly. games: played side by side, a step in each at a time, which all are counted.
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
    n_step: int = option(1, low=1)
    prioritised: Prioritised | None = option(None, parse=_prioritised)  # noqa: RUF009
    games: int = option(1, low=1)

    def __post_init__(self) -> None:
        if self.replay < self.batch + self.waiting:
            raise ValueError(self._too_small())

    @property
    def waiting(self) -> int:
        """Transitions that cannot be drawn yet, because their ``n_step`` steps are not all made."""
        return (self.n_step - 1) * self.games

    @property
    def first_update(self) -> int:
        """The step from which on updates are made: a whole batch can be drawn."""
        return max(self.learning_starts, self.batch + self.waiting)

    def _too_small(self) -> str:
        if not self.waiting:
            return f"replay {self.replay} is smaller than batch {self.batch}"
        return (
            f"replay {self.replay} is smaller than batch {self.batch} and the {self.waiting} "
            f"transitions that n_step {self.n_step} cannot draw yet in {self.games} "
            f"game{'s' if self.games > 1 else ''}; make it larger"
        )


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
