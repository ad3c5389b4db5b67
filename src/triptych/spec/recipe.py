"""A recipe: one experiment as data, checked as a whole, every mistake reported at once.

Task options are checked where environments are known (``envs``), since nothing here knows one.
Shipped recipes are the YAML files in ``triptych/recipes``; finding them is in ``shelf.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from triptych.errors import NetworkError, RecipeError, did_you_mean
from triptych.spec.fields import build, option
from triptych.spec.initial import Initial
from triptych.spec.network import Network, dueling
from triptych.spec.notation import parse
from triptych.spec.objective import Objective, parse_objective
from triptych.spec.rules import Rule, parse_rule
from triptych.spec.schedules import Schedule, parse_schedule


@dataclass(frozen=True)
class DQN:
    """Deep Q-learning (Mnih et al. 2015). Every count is in agent steps, not emulator frames.

    discount: of future rewards. batch: transitions an update. replay: transitions kept.
    learning_starts: steps before the first update. random_steps: steps played at random first.
    update_every: steps between updates. target_sync: steps between copies into the target
    network, ``null`` for none. double: van Hasselt et al. 2016. dueling: Wang et al. 2016.
    exploration: probability of a random action, a schedule over steps.
    """

    discount: float = option(low=0.0, high=1.0)
    batch: int = option(low=1)
    replay: int = option(low=1)
    exploration: Schedule = option(parse=parse_schedule)
    learning_starts: int = option(1, low=1)
    random_steps: int = option(0, low=0)
    update_every: int = option(1, low=1)
    target_sync: int | None = option(None, low=1)
    double: bool = False
    dueling: bool = False

    def __post_init__(self) -> None:
        if self.replay < self.batch:
            raise ValueError(f"replay {self.replay} is smaller than batch {self.batch}")


@dataclass(frozen=True)
class Budget:
    """How long a training lasts: whole episodes or agent steps, whichever comes first."""

    episodes: int | None = option(None, low=1)
    steps: int | None = option(None, low=1)

    def __post_init__(self) -> None:
        if self.episodes is None and self.steps is None:
            raise ValueError("give episodes, steps, or both")


@dataclass(frozen=True)
class Outcome:
    """How a trained agent is judged: the metric and the margin that counts as equal."""

    metric: str = option("greedy_return", choices=("greedy_return", "success_rate"))
    margin: float = option(0.05, above=0.0)
    episodes: int | None = option(10, low=1)
    """Greedy episodes played; ``null`` plays every start state once, where a task lists them."""
    exploration: float = option(0.0, low=0.0, high=1.0)


@dataclass(frozen=True)
class Verify:
    """What the ladder does for this recipe: lockstep updates and the free run's length."""

    lockstep: int = option(1000, low=1)
    free_episodes: int | None = option(None, low=1)
    free_steps: int | None = option(None, low=1)
    free_learning_starts: int | None = option(None, low=1)
    """Overrides learning_starts, random_steps in the free run, so that a short one learns."""


@dataclass(frozen=True)
class Logging:
    """Rows of metrics.csv every ``episodes``, means over ``window``; checkpoints in steps."""

    episodes: int = option(10, low=1)
    window: int = option(100, low=1)
    checkpoint: int = option(5000, low=1)


@dataclass(frozen=True)
class Recipe:
    """One checked experiment; ``data`` is the plain mapping it was read from."""

    name: str
    about: str
    task: Mapping[str, Any]
    network: Network
    initial: Initial
    algorithm: DQN
    objective: Objective
    optimizer: Rule
    budgets: Mapping[str, Budget]
    outcome: Outcome = field(default_factory=Outcome)
    verify: Verify = field(default_factory=Verify)
    logging: Logging = field(default_factory=Logging)
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def budget(self) -> Budget:
        """The first budget: the one meant when none is named."""
        return next(iter(self.budgets.values()))

    def budget_named(self, name: str | None) -> Budget:
        """Return a budget by name; raise RecipeError for an unknown one."""
        if name is None:
            return self.budget
        if name not in self.budgets:
            known = ", ".join(self.budgets)
            hint = did_you_mean(name, self.budgets)
            raise RecipeError(f"recipe {self.name!r} has no budget {name!r}; it has {known}{hint}")
        return self.budgets[name]


CheckTask = Callable[[Mapping[str, Any]], list[str]]
"""Given a task, returns a sentence for each mistake in it."""

_PARTS = ("about", "task", "network", "initial", "algorithm", "objective", "optimizer")
_PARTS += ("budgets", "outcome", "verify", "logging")
_REQUIRED = ("task", "network", "algorithm", "objective", "optimizer", "budgets")


def parse_recipe(name: str, data: Any, check_task: CheckTask | None = None) -> Recipe:
    """Return the recipe of a mapping.

    Raises:
        RecipeError: with one line per mistake, all of them.
    """
    mistakes: list[str] = []
    if not isinstance(data, Mapping):
        raise RecipeError(f"recipe {name!r} is not a mapping of parts; see 'triptych recipes'")
    for part in data:
        if part not in _PARTS:
            hint = did_you_mean(str(part), _PARTS) or f"; known are {', '.join(_PARTS)}"
            mistakes.append(f"{part}: unknown part{hint}")
    mistakes += [f"{part}: is missing" for part in _REQUIRED if part not in data]
    parts = _parts(_interpolate(data, data, mistakes), mistakes)
    if check_task is not None and parts["task"]:
        mistakes += [f"task: {sentence}" for sentence in check_task(parts["task"])]
    if mistakes:
        listed = "".join(f"\n  {mistake}" for mistake in mistakes)
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        raise RecipeError(f"recipe {name!r} has {count}:{listed}")
    return Recipe(name=name, data=data, **parts)


def _parts(data: Mapping[str, Any], mistakes: list[str]) -> dict[str, Any]:
    def part(cls: type, key: str) -> Any:
        return build(cls, data.get(key) or {}, key, mistakes)

    algorithm = _algorithm(data["algorithm"], mistakes) if "algorithm" in data else None
    return {
        "about": str(data.get("about", "")),
        "task": _task(data.get("task"), mistakes) if "task" in data else {},
        "network": _network(data["network"], algorithm, mistakes) if "network" in data else None,
        "initial": part(Initial, "initial"),
        "algorithm": algorithm,
        "objective": parse_objective(data["objective"], "objective", mistakes)
        if "objective" in data
        else None,
        "optimizer": parse_rule(data["optimizer"], "optimizer", mistakes)
        if "optimizer" in data
        else None,
        "budgets": _budgets(data["budgets"], mistakes) if "budgets" in data else {},
        "outcome": part(Outcome, "outcome"),
        "verify": part(Verify, "verify"),
        "logging": part(Logging, "logging"),
    }


def _algorithm(data: Any, mistakes: list[str]) -> DQN | None:
    if not isinstance(data, Mapping) or data.get("name") != "dqn":
        found = data.get("name") if isinstance(data, Mapping) else data
        mistakes.append(f"algorithm.name: unknown algorithm {found!r}; known is dqn")
        return None
    rest = {key: value for key, value in data.items() if key != "name"}
    return build(DQN, rest, "algorithm", mistakes)


def _task(data: Any, mistakes: list[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping) or not isinstance(data.get("environment"), str):
        mistakes.append("task.environment: is missing; write for example triptych/Fruit-v0")
        return {}
    return data


def _network(data: Any, algorithm: DQN | None, mistakes: list[str]) -> Network | None:
    try:
        network = parse(data)
        return dueling(network) if algorithm is not None and algorithm.dueling else network
    except NetworkError as error:
        mistakes.append(f"network: {error}")
    except (TypeError, AttributeError):
        mistakes.append(f"network: expected text such as '84x84x4 -> dense 6' but found {data!r}")
    return None


def _budgets(data: Any, mistakes: list[str]) -> dict[str, Budget]:
    if not isinstance(data, Mapping) or not data:
        mistakes.append("budgets: expected names with budgets, such as {published: {episodes: 500}}")
        return {}
    built = {name: build(Budget, item, f"budgets.{name}", mistakes) for name, item in data.items()}
    return {name: budget for name, budget in built.items() if budget is not None}


def _interpolate(value: Any, root: Mapping[str, Any], mistakes: list[str]) -> Any:
    """Replace ``{task.grid}`` in texts by the value that stands there in the recipe."""
    if isinstance(value, Mapping):
        return {key: _interpolate(item, root, mistakes) for key, item in value.items()}
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        found: Any = root
        for key in match.group(1).split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        if found is None:
            mistakes.append(f"{{{match.group(1)}}}: refers to a value that the recipe lacks")
            return "1"
        return str(found)

    return re.sub(r"\{(\w+(?:\.\w+)+)\}", look_up, value)
