"""Tasks by environment id: which options an id has, whether a task is right, how it is made.

A new environment is one file with its options and one line in :data:`_FAMILIES`. Any other id that
Gymnasium knows works too, if it has a Box observation and Discrete actions. What the environments
do does not belong here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from triptych.envs import atari, fruit, minatar
from triptych.envs.fruit_vector import FruitVectorEnv
from triptych.envs.options import Option, unknown_names, wrong_values
from triptych.errors import TaskError, did_you_mean

Env = gymnasium.Env[Any, Any]
_REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Family:
    """Environments that share their options and the way they are made.

    Attributes:
        options: a table of the options.
        build: makes one from its id, a value for every option and a render mode.
        evaluation: options that help learning only, with the values by which an agent is judged.
        problem: given an id, a sentence where there is no such environment.
        action_count: given an id and a value for every option, how many actions there are; None
            where it must be made to know.
    """

    options: Mapping[str, Option]
    build: Callable[[str, Mapping[str, Any], str | None], Env]
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    problem: Callable[[str], str | None] = lambda environment: None
    action_count: Callable[[str, Mapping[str, Any]], int | None] = lambda environment, given: None


def _gymnasium(environment: str, given: Mapping[str, Any], render_mode: str | None) -> Env:
    try:
        return gymnasium.make(
            environment, disable_env_checker=True, render_mode=render_mode, **given
        )
    except Exception as error:  # a constructor may raise anything
        raise TaskError(
            f"environment {environment!r} cannot be made with {dict(given)}: {error}"
        ) from error


_FAMILIES: dict[str, Family] = {
    "triptych/Fruit-v0": Family(fruit.OPTIONS, _gymnasium),
    "ALE/*": Family(
        atari.OPTIONS, atari.build, atari.EVALUATION, atari.problem, atari.action_count
    ),
    "MinAtar/*": Family(minatar.OPTIONS, minatar.build, {}, minatar.problem, minatar.action_count),
}


def options(environment: str) -> dict[str, Any]:
    """Return an environment's options with their defaults, without making it.

    Raises:
        TaskError: the environment is unknown.
    """
    family = _family(environment)
    if family:
        return {name: option.default for name, option in family.options.items()}
    spec = _spec(environment)
    known = {
        name: spec.kwargs.get(name, None if parameter.default is _REQUIRED else parameter.default)
        for name, parameter in _parameters(spec).items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    return {**known, "max_episode_steps": spec.max_episode_steps}


def problems(task: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each mistake in a task; none if it is right.

    No emulator is imported for a game that is known.
    """
    environment, given = task.get("environment"), _given(task)
    if not isinstance(environment, str):
        return [f"a task needs 'environment', the id of an environment, but has {environment!r}"]
    try:
        known = options(environment)
    except TaskError as error:
        return [str(error)]
    if _takes_anything(environment):
        return []
    wrong = []
    if family := _family(environment):
        if unknown := family.problem(environment):
            return [unknown]
        wrong = wrong_values(environment, given, family.options)
    return unknown_names(environment, given, known) + wrong


def complete(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task with a value for every option.

    Raises:
        TaskError: the task holds mistakes; all are named.
    """
    mistakes = problems(task)
    if mistakes:
        raise TaskError("; ".join(mistakes))
    return {"environment": task["environment"], **options(task["environment"]), **_given(task)}


def evaluation_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task by which an agent that learned on ``task`` is judged: whole games with their
    own scores, the same start, screens and actions."""
    family = _family(task["environment"])
    return {**task, **(family.evaluation if family else {})}


def make(task: Mapping[str, Any], render_mode: str | None = None) -> Env:
    """Return the environment of a recipe's task.

    Args:
        task: ``environment``, an id, and any of that environment's options.
        render_mode: Gymnasium's, such as ``rgb_array``, or None.

    Raises:
        TaskError: the task holds mistakes (all are named), or the environment's observation is no
            Box, or its actions are not Discrete.
        MissingDependency: a package that the environment needs is not installed.
    """
    full, environment = complete(task), task["environment"]
    family = _family(environment)
    build = family.build if family else _gymnasium
    # Gymnasium's constructors may tell a value that was not given from its default.
    values = {k: v for k, v in full.items() if k != "environment"} if family else _given(task)
    env = build(environment, values, render_mode)
    _check_spaces(environment, env)
    return env


def make_vector(task: Mapping[str, Any], count: int) -> VectorEnv[Any, Any, Any]:
    """Return ``count`` environments of a task as one, autoreset mode NEXT_STEP.

    Raises:
        TaskError, MissingDependency: as :func:`make`.
    """
    if task.get("environment") == "triptych/Fruit-v0":
        return FruitVectorEnv(num_envs=count, grid=complete(task)["grid"])
    return SyncVectorEnv(
        [lambda: make(task)] * count,
        copy=True,
        observation_mode="same",
        autoreset_mode=AutoresetMode.NEXT_STEP,
    )


def observation_shape(task: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of the task's observations, channels last; makes the environment once."""
    env = make(task)
    env.close()
    return tuple(env.observation_space.shape or ())


def action_count(task: Mapping[str, Any]) -> int:
    """Return the number of the task's actions; makes the environment once if it must."""
    family, full = _family(task["environment"]), complete(task)
    known = family.action_count(task["environment"], full) if family else None
    if known is not None:
        return known
    env = make(task)
    env.close()
    return int(env.action_space.n)  # type: ignore[attr-defined]


def stack(task: Mapping[str, Any]) -> int:
    """Return how many screens the task's observations stack in their channels, 1 for none."""
    return int(complete(task).get("stack", 1))


def _given(task: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in task.items() if name != "environment"}


def _family(environment: str) -> Family | None:
    return next((f for key, f in _FAMILIES.items() if fnmatchcase(environment, key)), None)


def _spec(environment: str) -> EnvSpec:
    if environment in gymnasium.registry:
        return gymnasium.registry[environment]
    raise TaskError(
        f"there is no environment {environment!r}{_nearest(environment)}; "
        f"give an id that Gymnasium knows, with its version, such as 'triptych/Fruit-v0'"
    )


def _nearest(environment: str) -> str:
    """Return a hint at the nearest id: by its whole text, or by the game's name alone."""
    known = [*gymnasium.registry, *minatar.ids(), *atari.ids()]
    by_name = {_name(one): one for one in known}
    close = get_close_matches(_name(environment), by_name, n=1, cutoff=0.75)
    return f" (did you mean {by_name[close[0]]!r}?)" if close else did_you_mean(environment, known)


def _name(environment: str) -> str:
    """Return ``spaceinvaders`` for ``ALE/SpaceInvaders-v5``."""
    return re.sub(r"^.*/|-v\d+$", "", environment).lower()


def _parameters(spec: EnvSpec) -> dict[str, inspect.Parameter]:
    try:
        creator = spec.entry_point
        maker = load_env_creator(creator) if isinstance(creator, str) else creator
        parameters = inspect.signature(maker).parameters  # type: ignore[arg-type]
    except Exception as error:  # importing an environment's module may raise anything
        raise TaskError(f"environment {spec.id!r} cannot be loaded: {error}") from error
    return {name: p for name, p in parameters.items() if name != "render_mode"}


def _takes_anything(environment: str) -> bool:
    if _family(environment):
        return False
    parameters = _parameters(_spec(environment)).values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _check_spaces(environment: str, env: Env) -> None:
    actions, observation = env.action_space, env.observation_space
    if not isinstance(observation, gymnasium.spaces.Box):
        raise TaskError(
            f"environment {environment!r} observes {observation}, but an agent needs one array: "
            f"a Box"
        )
    if not isinstance(actions, gymnasium.spaces.Discrete) or actions.start != 0:
        raise TaskError(
            f"environment {environment!r} has the actions {actions}, but an agent needs Discrete "
            f"actions counted from 0"
        )
