"""A recipe: one experiment as data, checked as a whole, every mistake reported at once.

Task options are checked where environments are known (``envs``), since nothing here knows one.
Shipped recipes are the YAML files in ``triptych/recipes``; finding them is in ``shelf.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from triptych.errors import NetworkError, RecipeError, TriptychError, did_you_mean
from triptych.spec import agreement
from triptych.spec.algorithms import ALGORITHMS, DQN, Fit
from triptych.spec.fields import brief, build, build_named, hint, option, place
from triptych.spec.initial import Initial
from triptych.spec.network import Network, dueling
from triptych.spec.notation import parse
from triptych.spec.objective import Objective, parse_objective
from triptych.spec.rules import Rule, parse_rule


@dataclass(frozen=True)
class Budget:
    """How long a training lasts: whole episodes or agent steps, whichever comes first; or epochs,
    each of which shows every example of a dataset once."""

    episodes: int | None = option(None, low=1)
    steps: int | None = option(None, low=1)
    epochs: int | None = option(None, low=1)

    def __post_init__(self) -> None:
        if self.episodes is None and self.steps is None and self.epochs is None:
            raise ValueError("give episodes, steps, or both; or epochs for a dataset")


_METRICS = ("greedy_return", "success_rate", "validation_error")


@dataclass(frozen=True)
class Outcome:
    """How a trained agent is judged, and how many seeds' scores are (rung 8).

    metric: the score of one run; ``validation_error`` is the mean squared difference of outputs and
    targets on a dataset's validation examples. margin: the difference of mean scores that still
    counts as equal, in the metric's units; rung 8 needs it, and has no default for it. alpha: the
    chance of a wrong verdict on a pair. deviation: the standard deviation between seeds that is
    expected, from which power is computed before training. solved: a run with this score or more
    solves the task.
    """

    metric: str = option("greedy_return", choices=_METRICS)
    margin: float | None = option(None, above=0.0)
    episodes: int | None = option(10, low=1)
    """Greedy episodes played; ``null`` plays every start state once, where a task lists them."""
    exploration: float = option(0.0, low=0.0, high=1.0)
    deviation: float | None = option(None, above=0.0)
    solved: float | None = None
    alpha: float = option(0.05, above=0.0, below=0.5)

    def __post_init__(self) -> None:
        rate = self.metric == "success_rate"
        if rate and self.solved is not None and not 0 <= self.solved <= 1:
            raise ValueError(f"solved {self.solved:g} is no success_rate, which is 0 to 1")


@dataclass(frozen=True)
class Verify:
    """What the ladder does for this recipe: lockstep updates and the free run's length."""

    lockstep: int = option(1000, low=1)
    batch: int | None = option(None, low=1)
    """Examples in each batch of rungs 2 to 6, where the algorithm's own takes too long."""
    free_episodes: int | None = option(None, low=1)
    free_steps: int | None = option(None, low=1)
    free_epochs: int | None = option(None, low=1)
    free_learning_starts: int | None = option(None, low=1)
    """Overrides learning_starts, random_steps in the free run, so that a short one learns."""


@dataclass(frozen=True)
class Logging:
    """Rows of metrics.csv every ``episodes``, means over ``window``; checkpoints in steps.

    Where a dataset is learned from: rows every ``epochs``, checkpoints in updates.
    """

    episodes: int = option(10, low=1)
    window: int = option(100, low=1)
    checkpoint: int = option(5000, low=1)
    epochs: int = option(1, low=1)


@dataclass(frozen=True)
class Recipe:
    """One checked experiment; ``data`` is the plain mapping it was read from."""

    name: str
    about: str
    task: Mapping[str, Any] = field(hash=False)
    network: Network
    initial: Initial
    algorithm: DQN | Fit
    objective: Objective
    optimizer: Rule
    budgets: Mapping[str, Budget] = field(hash=False)
    outcome: Outcome = field(default_factory=Outcome)
    verify: Verify = field(default_factory=Verify)
    logging: Logging = field(default_factory=Logging)
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def budget(self) -> Budget:
        """The first budget: the one meant when none is named."""
        return next(iter(self.budgets.values()))

    @property
    def has_target(self) -> bool:
        """Whether the algorithm keeps a target network."""
        return isinstance(self.algorithm, DQN) and self.algorithm.target_sync is not None

    def budget_named(self, name: str | None) -> Budget:
        """Return a budget by name; raise RecipeError for an unknown one."""
        if name is None:
            return self.budget
        if name not in self.budgets:
            known, close = ", ".join(self.budgets), did_you_mean(name, self.budgets)
            raise RecipeError(f"recipe {self.name!r} has no budget {name!r}; it has {known}{close}")
        return self.budgets[name]


CheckTask = Callable[[Mapping[str, Any]], list[str]]
"""Given a task, returns a sentence for each mistake in it."""

CountActions = Callable[[Mapping[str, Any]], int | None]
"""Given a task, returns how many actions it has; None where its mistakes are told elsewhere."""

_REQUIRED = ("task", "network", "algorithm", "objective", "optimizer", "budgets")
_PARTS = ("about", *_REQUIRED, "initial", "outcome", "verify", "logging")
_REFERENCE = re.compile(r"\{(\w+(?:\.\w+)+)\}")
_ACTIONS = "{task.actions}"


def parse_recipe(
    name: str,
    data: Any,
    check_task: CheckTask | None = None,
    count_actions: CountActions | None = None,
) -> Recipe:
    """Return the recipe of a mapping.

    Args:
        name: what the recipe is called in messages and run folders.
        data: the parts as read from a file; texts may hold references such as ``{task.grid}``.
        check_task: says what is wrong with a task's options.
        count_actions: finds what a network says as ``{task.actions}``; asked only where it does.

    Raises:
        RecipeError: with one line per mistake, all of them.
    """
    mistakes: list[str] = []
    if not isinstance(data, Mapping):
        raise RecipeError(f"recipe {name!r} is not a mapping of parts; see 'triptych recipes'")
    for part in data:
        if part not in _PARTS:
            mistakes.append(f"{place(part)}: unknown part{hint(part, _PARTS)}")
    mistakes += [f"{part}: is missing" for part in _REQUIRED if part not in data]
    parts = _parts(_filled(data, count_actions, mistakes), mistakes)
    if check_task is not None and parts["task"]:
        mistakes += [f"task: {sentence}" for sentence in check_task(parts["task"])]
    mistakes += agreement.of_parts(parts)
    if mistakes:
        listed = "".join(f"\n  {mistake}" for mistake in mistakes)
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
        raise RecipeError(f"recipe {name!r} has {count}:{listed}")
    return Recipe(name=name, data=data, **parts)


def _parts(data: Mapping[str, Any], mistakes: list[str]) -> dict[str, Any]:
    """Return the checked parts; those that are missing or wrong are None or empty."""

    def checked(key: str, check: Callable[[Any, list[str]], Any]) -> Any:
        return check(data[key], mistakes) if key in data else None

    def options(cls: type, key: str) -> Any:
        given = data.get(key)
        return build(cls, {} if given is None else given, key, mistakes)

    return {
        "about": checked("about", _about) or "",
        "task": checked("task", _task) or {},
        "algorithm": (algorithm := checked("algorithm", _algorithm)),
        "network": checked("network", lambda part, found: _network(part, algorithm, found)),
        "initial": options(Initial, "initial"),
        "objective": checked("objective", lambda part, found: _objective(part, algorithm, found)),
        "optimizer": checked("optimizer", lambda part, found: parse_rule(part, "optimizer", found)),
        "budgets": checked("budgets", _budgets) or {},
        "outcome": options(Outcome, "outcome"),
        "verify": options(Verify, "verify"),
        "logging": options(Logging, "logging"),
    }


def _about(data: Any, mistakes: list[str]) -> str:
    if data is not None and not isinstance(data, str):
        mistakes.append(f"about: expected text but found {brief(data)}")
    return data if isinstance(data, str) else ""


def _task(data: Any, mistakes: list[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        mistakes.append(f"task: expected a mapping of options but found {brief(data)}")
        return {}
    key = "dataset" if "dataset" in data else "environment"
    if key == "dataset" and "environment" in data:
        mistakes.append("task: has both an environment and a dataset; leave one out")
        return {}
    if not isinstance(data.get(key), str):
        found = f"is {brief(data[key])}" if key in data else "is missing"
        example = "triptych/bars" if key == "dataset" else "triptych/Fruit-v0"
        mistakes.append(f"task.{key}: {found}; write for example {example}")
        return {}
    return data


def _algorithm(data: Any, mistakes: list[str]) -> DQN | Fit | None:
    return build_named(ALGORITHMS, data, "algorithm", mistakes)


def _network(data: Any, algorithm: DQN | Fit | None, mistakes: list[str]) -> Network | None:
    try:
        network = parse(data)
        agreement.check_output(network, algorithm)
        duel = isinstance(algorithm, DQN) and algorithm.dueling
        return dueling(network) if duel else network
    except NetworkError as error:
        mistakes.append(f"network: {error}")
    return None


def _objective(data: Any, algorithm: DQN | Fit | None, mistakes: list[str]) -> Objective | None:
    objective = parse_objective(data, "objective", mistakes)
    if objective is not None:
        mistakes += agreement.of_objective(objective, algorithm)
    return objective


def _budgets(data: Any, mistakes: list[str]) -> dict[str, Budget]:
    if not isinstance(data, Mapping) or not data:
        mistakes.append(
            "budgets: expected names with budgets, such as {published: {episodes: 500}}, but found "
            f"{brief(data)}"
        )
        return {}
    for name in data:
        if not isinstance(name, str):
            mistakes.append(f"budgets: the name {brief(name)} must be a word")
    built = {key: build(Budget, data[key], place("budgets", key), mistakes) for key in data}
    return {name: budget for name, budget in built.items() if budget is not None}


def _filled(
    data: Mapping[str, Any], count_actions: CountActions | None, mistakes: list[str]
) -> dict[str, Any]:
    """Return the parts with all references replaced, without those where that fails."""
    filled: dict[str, Any] = {}
    root = data
    if count_actions is not None and _ACTIONS in str(data.get("network")):
        root = _with_actions(data, count_actions, mistakes)
    for part in (part for part in _PARTS if part in root):
        before = len(mistakes)
        try:
            found = _interpolate(data[part], part, root, mistakes)
        except RecursionError:
            mistakes.append(f"{part}: holds itself; write its values out")
        if len(mistakes) == before:
            filled[part] = found
    return filled


def _with_actions(
    data: Mapping[str, Any], count_actions: CountActions, mistakes: list[str]
) -> Mapping[str, Any]:
    """Return the data with the number of the task's actions in it, without network if there is
    none."""
    without = {part: value for part, value in data.items() if part != "network"}
    before = len(mistakes)
    task = _interpolate(data.get("task"), "task", data, mistakes)
    if not isinstance(task, Mapping) or len(mistakes) > before:
        del mistakes[before:]  # told where the task itself is read
        return without
    try:
        actions = count_actions(task)
    except TriptychError as error:
        mistakes.append(f"task: {error}")
        return without
    return without if actions is None else {**data, "task": {**task, "actions": actions}}


def _interpolate(value: Any, where: str, root: Mapping[str, Any], mistakes: list[str]) -> Any:
    """Replace ``{task.grid}`` in texts by the value that stands there in the recipe.

    A text that is one reference and nothing else becomes that value, a number as a number.
    """
    if isinstance(value, Mapping):
        return {k: _interpolate(v, place(where, k), root, mistakes) for k, v in value.items()}
    if isinstance(value, list):
        return [_interpolate(v, f"{where}[{i}]", root, mistakes) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value
    if match := _REFERENCE.fullmatch(value):
        return _look_up(match.group(1), where, root, mistakes)
    return _REFERENCE.sub(lambda m: str(_look_up(m.group(1), where, root, mistakes)), value)


def _look_up(path: str, where: str, root: Mapping[str, Any], mistakes: list[str]) -> Any:
    found: Any = root
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            known = [k for k in found if isinstance(k, str)] if isinstance(found, Mapping) else []
            close = did_you_mean(key, known)
            mistakes.append(f"{where}: {{{path}}} refers to a value that the recipe lacks{close}")
            return None
        found = found[key]
    plain = type(found) in (int, float) or (isinstance(found, str) and "{" not in found)
    if not plain or len(brief(found)) > 60:
        mistakes.append(
            f"{where}: {{{path}}} must refer to a number or a plain word but stands for "
            f"{brief(found)}"
        )
        return None
    return found
