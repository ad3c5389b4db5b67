"""Whether the parts of a recipe fit each other: one sentence for each that does not.

Each part is checked by itself where it is read; parts that were wrong are None here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triptych.errors import NetworkError, did_you_mean
from triptych.spec.algorithms import DQN, Fit
from triptych.spec.layers.base import show
from triptych.spec.network import Network
from triptych.spec.objective import Objective, SparseAutoencoder, TDHuber, TDSquared
from triptych.spec.rules import Rule

_CHANGING = ("dropout", "batch_norm")
"""Layers that compute otherwise each time: the losses of a search could not be compared."""


def check_output(network: Network, algorithm: DQN | Fit | None) -> None:
    """Raise NetworkError where the network's output is none that the algorithm can read."""
    output = network.shapes[network.output.name]
    if len(output) != 1 and not isinstance(algorithm, Fit):
        raise NetworkError(
            f"deep Q-learning needs one output for each action but the output is "
            f"{show(output)}; put a flatten before the last dense"
        )


def of_objective(objective: Objective, algorithm: DQN | Fit | None) -> list[str]:
    """Return a sentence where an algorithm has nothing that an objective reads."""
    needs_actions = isinstance(objective, (TDSquared, TDHuber))
    if isinstance(algorithm, DQN) and not needs_actions:
        return [
            f"objective.name: {objective.name!r} needs given targets, which deep Q-learning has "
            "not; use td_squared or td_huber"
        ]
    if isinstance(algorithm, Fit) and needs_actions:
        return [
            f"objective.name: {objective.name!r} needs actions and rewards, which a dataset has "
            "not; use squared_error, cross_entropy or sparse_autoencoder"
        ]
    return []


def of_parts(parts: Mapping[str, Any]) -> list[str]:
    """Return what does not fit between task, algorithm, objective, rule, budgets and outcome."""
    algorithm = parts["algorithm"]
    found = []
    if parts["task"] and algorithm is not None:
        found += _of_task(parts["task"], algorithm)
    if algorithm is not None:
        found += [s for name, own in parts["budgets"].items() for s in _of_budget(name, own, parts)]
        found += _of_metric(parts)
    if isinstance(algorithm, DQN):
        found += _of_games(algorithm, parts)
    if isinstance(parts["objective"], SparseAutoencoder) and isinstance(algorithm, Fit):
        found += _of_sparsity(parts["objective"], algorithm, parts["network"])
    if parts["optimizer"] is not None and parts["optimizer"].searches:
        found += _of_search(parts["optimizer"], algorithm, parts["network"])
    return found


def _of_task(task: Mapping[str, Any], algorithm: DQN | Fit) -> list[str]:
    wanted = "dataset" if isinstance(algorithm, Fit) else "environment"
    if wanted in task:
        return []
    return [f"task: algorithm {algorithm.name!r} learns from {_a(wanted)}; give task.{wanted}"]


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _of_budget(name: str, budget: Any, parts: Mapping[str, Any]) -> list[str]:
    fit = isinstance(parts["algorithm"], Fit)
    playing = budget.episodes is not None or budget.steps is not None
    if (budget.epochs is not None) == fit and playing != fit:
        return []
    unit = "epochs alone" if fit else "episodes or steps"
    return [f"budgets.{name}: algorithm {parts['algorithm'].name!r} counts {unit}; give those"]


def _of_games(algorithm: DQN, parts: Mapping[str, Any]) -> list[str]:
    """Games played side by side make their steps together: whatever is due at a step must not fall
    between them."""
    games = algorithm.games
    counts = {f"budgets.{name}.steps": own.steps for name, own in parts["budgets"].items()}
    if parts["verify"] is not None:
        counts["verify.free_steps"] = parts["verify"].free_steps
    if parts["logging"] is not None:
        counts["logging.checkpoint"] = parts["logging"].checkpoint
    return [
        f"algorithm.games: {games} games side by side make {games} steps at a time, which "
        f"{where} {count} is no multiple of; change one of them"
        for where, count in counts.items()
        if count is not None and count % games
    ]


def _of_metric(parts: Mapping[str, Any]) -> list[str]:
    outcome = parts["outcome"]
    fit = isinstance(parts["algorithm"], Fit)
    if outcome is None or fit == (outcome.metric == "validation_error"):
        return []
    fitting = "validation_error" if fit else "greedy_return or success_rate"
    return [
        f"outcome.metric: {outcome.metric!r} cannot be had from algorithm "
        f"{parts['algorithm'].name!r}; use {fitting}"
    ]


def _of_sparsity(
    objective: SparseAutoencoder, algorithm: Fit, network: Network | None
) -> list[str]:
    found = []
    if algorithm.batch is not None:
        found.append(
            "algorithm.batch: 'sparse_autoencoder' takes the mean activation over all examples, "
            "which a smaller batch has not; use null"
        )
    return found if network is None else found + wrong_names(objective, network)


def wrong_names(objective: SparseAutoencoder, network: Network) -> list[str]:
    """Return a sentence for each name of a node or an array that the network has not."""
    found = []
    node = network.by_name.get(objective.hidden)
    if node is None or node.layer.kind != "sigmoid" or len(network.shapes[node.name]) != 1:
        units = [n.name for n in network.nodes if n.layer.kind == "sigmoid"]
        found.append(
            f"objective.hidden: {objective.hidden!r} is no sigmoid node with one axis, whose mean "
            f"lies between 0 and 1{did_you_mean(objective.hidden, units)}"
        )
    for name in objective.l2_on or ():
        if name not in network.trainable:
            close = did_you_mean(name, network.trainable)
            found.append(f"objective.l2_on: the network has no array {name!r} that learns{close}")
    return found


def _of_search(rule: Rule, algorithm: DQN | Fit | None, network: Network | None) -> list[str]:
    found = []
    if algorithm is not None and not (isinstance(algorithm, Fit) and algorithm.batch is None):
        found.append(
            f"optimizer.name: {rule.name!r} compares losses on one batch that never changes; use "
            "algorithm fit with batch null"
        )
    kinds = [n.layer.kind for n in network.nodes] if network is not None else []
    found += [
        f"optimizer.name: {rule.name!r} compares losses, which {kind} makes differ at one point; "
        "use another rule, or leave the layer out"
        for kind in _CHANGING
        if kind in kinds
    ]
    return found
