"""What a recipe says, in the words of a script: settings, environment, schedules, objective.

Each function gives the values that a template below ``templates`` asks for. Which sections there
are is in ``script.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triptych import envs
from triptych.backends.sourcing import fold
from triptych.backends.templating import schedule, whole
from triptych.errors import Unsupported
from triptych.spec.objective import Objective, TDHuber, TDSquared
from triptych.spec.recipe import DQN, Budget, Recipe
from triptych.spec.schedules import Constant

FRUIT = "triptych/Fruit-v0"


def algorithm_of(recipe: Recipe) -> DQN:
    """Return the recipe's algorithm; raise Unsupported where it is not deep Q-learning."""
    if not isinstance(recipe.algorithm, DQN):
        name = recipe.data["algorithm"]["name"]
        raise Unsupported(
            f"recipe {recipe.name!r} trains by {name!r}, and only deep Q-learning ('dqn') can be "
            "ejected; its network can: triptych show RECIPE --backend B"
        )
    return recipe.algorithm


def flags(recipe: Recipe, budget: Budget) -> set[str]:
    """Return what the templates ask about a recipe."""
    own, task = algorithm_of(recipe), task_of(recipe)
    asked: Mapping[str, object] = {
        "target": own.target_sync is not None,
        "double": own.double,
        "random_steps": own.random_steps > 0,
        "update_every": own.update_every > 1,
        "stacked": envs.stack(recipe.task) > 1,
        "scheduled": not isinstance(recipe.optimizer.rate, Constant),
        "clips": recipe.optimizer.clip != type(recipe.optimizer.clip)(),
        "modes": any(node.layer.kind == "batch_norm" for node in recipe.network.nodes),
        "steps": budget.steps is not None,
        "episodes": budget.episodes is not None,
        **{name: task.get(name) for name in ("life_loss", "fire_on_reset", "reward_clipping")},
    }
    return {name for name, value in asked.items() if value}


def task_of(recipe: Recipe) -> dict[str, Any]:
    """Return the task's options, those that the recipe leaves out included."""
    return envs.complete(recipe.task)


def settings(recipe: Recipe) -> list[str]:
    """Return the constants at the top of a script, each with what it is."""
    own, task = algorithm_of(recipe), task_of(recipe)
    lines = [f"GRID = {task['grid']}"] if task["environment"] == FRUIT else []
    if envs.stack(recipe.task) > 1:
        lines.append(f"STACK = {task['stack']}  # screens in an observation")
    lines += [
        f"DISCOUNT = {own.discount!r}",
        f"BATCH = {own.batch}  # transitions an update",
        f"REPLAY = {whole(own.replay)}  # transitions kept",
    ]
    if own.random_steps:
        lines.append(f"RANDOM_STEPS = {whole(own.random_steps)}  # steps played at random first")
    first = max(own.learning_starts, own.batch)
    lines.append(f"LEARNING_STARTS = {whole(first)}  # steps before the first update")
    if own.update_every > 1:
        lines.append(f"UPDATE_EVERY = {own.update_every}  # steps from update to update")
    if own.target_sync is not None:
        what = "steps from copy to copy into the target network"
        lines.append(f"TARGET_SYNC = {whole(own.target_sync)}  # {what}")
    log = recipe.logging
    lines.append(f"LOG_EVERY = {log.episodes}  # episodes from row to row of metrics.csv")
    lines.append(f"WINDOW = {log.window}  # episodes that running_reward is the mean of")
    return lines


def epsilon(recipe: Recipe) -> str:
    """Return the body of ``epsilon(step)``."""
    return _body(schedule(algorithm_of(recipe).exploration, "step"))


def environment(recipe: Recipe) -> tuple[str, dict[str, str]]:
    """Return the name of the environment's template and its values."""
    task = task_of(recipe)
    name = task["environment"]
    if name == FRUIT:
        return "fruit", {}
    if name.startswith("ALE/"):
        own = {key: repr(value) for key, value in task.items() if key != "environment"}
        colours = "grayscale" if task["grayscale"] else "rgb"
        frames = whole(task["max_frames"])
        return "atari", own | {"environment": name, "colours": colours, "max_frames": frames}
    # What the recipe does not give is the environment's own, as in gymnasium.make.
    given = {key: value for key, value in recipe.task.items() if key != "environment"}
    options = "".join(f", {key}={value!r}" for key, value in given.items())
    call = f'gymnasium.make("{name}", disable_env_checker=True{options})'
    return "gymnasium", {"make": "\n".join(fold(f"    return {call}"))}


def value(recipe: Recipe) -> str:
    """Return what the objective takes as the value of the next state."""
    own = algorithm_of(recipe)
    later = "Q'" if own.target_sync is not None else "Q"
    return f"{later}(s', argmax Q(s', .))" if own.double else f"max {later}(s', .)"


def loss(objective: Objective, framework: str) -> str:
    """Return the expression of a loss of ``chosen`` and ``wanted`` in a framework's words."""
    is_sum = objective.reduction == "sum"
    if isinstance(objective, TDHuber):
        return _HUBER[framework](repr(objective.delta), is_sum)
    assert isinstance(objective, TDSquared)
    text = _SQUARED[framework](is_sum)
    return text if objective.factor == 1.0 else f"{objective.factor!r} * {text}"


def _torch(name: str, more: str, is_sum: bool) -> str:
    reduction = ', reduction="sum"' if is_sum else ""
    return f"F.{name}(chosen, wanted{more}{reduction})"


def _jax(name: str, more: str, is_sum: bool) -> str:
    return f"jnp.{'sum' if is_sum else 'mean'}(optax.{name}(chosen, wanted{more}))"


def _keras_huber(delta: str, is_sum: bool) -> str:
    if is_sum:
        return f"ops.sum(keras.losses.huber(wanted[:, None], chosen[:, None], delta={delta}))"
    return f"keras.losses.huber(wanted, chosen, delta={delta})"


_HUBER = {
    "torch": lambda delta, is_sum: _torch("huber_loss", f", delta={delta}", is_sum),
    "jax": lambda delta, is_sum: _jax("huber_loss", f", delta={delta}", is_sum),
    "keras": _keras_huber,
}
_SQUARED = {
    "torch": lambda is_sum: _torch("mse_loss", "", is_sum),
    "jax": lambda is_sum: _jax("squared_error", "", is_sum),
    "keras": lambda is_sum: (
        "ops.sum(ops.square(chosen - wanted))"
        if is_sum
        else "keras.losses.mean_squared_error(wanted, chosen)"
    ),
}


def loop(budget: Budget, lives: bool) -> dict[str, str]:
    """Return the conditions of the training loop: whether to go on, and whether to log.

    Args:
        budget: how long it lasts.
        lives: whether games have several episodes, so that a loop counts both.
    """
    lasts = {"episode < args.episodes": budget.episodes, "agent.steps < args.steps": budget.steps}
    ends = {"episode == args.episodes": budget.episodes, "agent.steps == args.steps": budget.steps}
    due = "episode % LOG_EVERY == 0" if budget.steps is None and not lives else "due"
    finished = [text for text, most in ends.items() if most is not None]
    return {
        "unspent": " and ".join(text for text, most in lasts.items() if most is not None),
        "due": " or ".join([due, *finished]),
    }


def arguments(budget: Budget, seed: int, dtype: str, out: str) -> list[str]:
    """Return the lines that declare a script's options."""
    lines = [f'parser.add_argument("--seed", type=int, default={seed})']
    types = '("float32", "float64")'
    lines.append(f'parser.add_argument("--dtype", choices={types}, default="{dtype}")')
    for name in ("episodes", "steps"):
        most = getattr(budget, name)
        if most is not None:
            number = whole(most)
            lines.append(f'parser.add_argument("--{name}", type=int, default={number})')
    lines.append(f'parser.add_argument("--out", type=Path, default=Path("{out}"))')
    return lines


def _body(lines: list[str]) -> str:
    return "\n".join(part for line in lines for part in fold(f"    {line}"))
