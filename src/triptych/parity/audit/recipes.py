"""The factors of a recipe, or of a run of one, by audit key.

Main layers are named by kind and counter in the order of the graph, and an activation belongs to
the layer it follows, as in users' native code, so that the two can be set beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from triptych.engines.setup import full_task, header_of, recipe_of
from triptych.runs.folder import RunFolder
from triptych.spec.algorithms import DQN
from triptych.spec.layers import Activation, Input, Layer
from triptych.spec.network import Network, Node
from triptych.spec.objective import Objective
from triptych.spec.recipe import Recipe
from triptych.spec.rules import Rule
from triptych.spec.schedules import FAR_COUNTS, Schedule

Factors = dict[str, Any]

_LOSSES = {
    "td_squared": "squared",
    "squared_error": "squared",
    "td_huber": "huber",
    "sparse_autoencoder": "squared",
    "cross_entropy": "cross_entropy",
}
"""What an objective does with its errors, in the words of ``probing/losses.py``."""


def of_recipe(recipe: Recipe, budget: str | None = None) -> Factors:
    """Return every factor of a recipe; ``budget`` names one of its budgets (the first)."""
    names = _names(recipe.network)
    found = {f"task.{key}": value for key, value in full_task(recipe).items()}
    found |= _input_factors(recipe.network) | _layer_factors(recipe.network, names)
    found |= _initial_factors(recipe, names)
    found |= of_rule(recipe.optimizer) | _loss_factors(recipe.objective)
    found |= _plain(asdict(recipe.algorithm), "algorithm")
    if isinstance(recipe.algorithm, DQN):
        found["algorithm.exploration"] = _schedule(recipe.algorithm.exploration)
        found |= _replay_factors(recipe.algorithm)
    return found | _plain(asdict(recipe.budget_named(budget)), "budget")


def _replay_factors(algorithm: DQN) -> Factors:
    """Return whether transitions are drawn by priority, and by which."""
    own = algorithm.prioritised
    if own is None:
        return {"algorithm.prioritised": False}
    told = {"alpha": own.alpha, "beta": _schedule(own.beta), "epsilon": own.epsilon}
    return {"algorithm.prioritised": True} | _plain(told, "algorithm.prioritised")


def of_run(folder: RunFolder) -> Factors:
    """Return the factors of a run: its recipe's, and how it was begun."""
    header = header_of(folder)
    own = {"backend": folder.trained_by, "seed": header.seed, "dtype": header.dtype}
    versions = folder.header.get("versions")
    named = versions.items() if isinstance(versions, Mapping) else ()
    return (
        of_recipe(recipe_of(folder), header.budget)
        | own
        | {f"version.{package}": text for package, text in named}
    )


def of_rule(rule: Rule) -> Factors:
    """Return an update rule's constants, its clip and its rates."""
    own: Factors = dict(rule.factors())
    own.setdefault("weight_decay", 0.0)
    if own["rule"] == "sgd":
        own |= {"rate_in_buffer": False, "dampening": 0.0}
    own |= {f"clip.{key}": value for key, value in asdict(rule.clip).items()}
    own |= {f"rate at update {count}": rule.rate.value(count) for count in FAR_COUNTS}
    return {f"optimizer.{key}": value for key, value in own.items()}


def _names(network: Network) -> dict[str, str]:
    """Return the audit's name of every main node by its own name."""
    counts: dict[str, int] = {}
    found = {}
    for node in network.nodes:
        if isinstance(node.layer, (Input, Activation)):
            continue
        kind = node.layer.kind
        counts[kind] = counts.get(kind, 0) + 1
        found[node.name] = f"{kind}{counts[kind]}"
    return found


def _input_factors(network: Network) -> Factors:
    layer = network.input.layer
    return {f"input.{key}": value for key, value in layer.factors().items()}


def _layer_factors(network: Network, names: Mapping[str, str]) -> Factors:
    found: Factors = {}
    for node in network.nodes:
        if node.name not in names:
            continue
        shapes = [network.shapes[name] for name in node.inputs]
        own = {"kind": node.layer.kind} | node.layer.factors(*shapes)
        own["activation"] = _following(network, node)
        own["inputs"] = _sources(network, node, names)
        own |= {"shares": names[node.shares]} if node.shares else {}
        found |= {f"{names[node.name]}.{key}": value for key, value in own.items()}
    return found


def _following(network: Network, node: Node) -> str:
    """Return the text of the activation that is all that reads a node, or ``linear``."""
    readers = [other for other in network.nodes if node.name in other.inputs]
    if len(readers) == 1 and isinstance(readers[0].layer, Activation):
        return activation_text(readers[0].layer)
    return "linear"


def activation_text(layer: Layer) -> str:
    """Return an activation as the audit writes it: ``relu``, ``leaky_relu slope 0.2``, ..."""
    words = [layer.kind]
    for field in fields(layer):
        value = getattr(layer, field.name)
        if isinstance(value, bool):
            words += [field.name] if value else []
        else:
            words.append(f"{field.name} {float(f'{value:.5g}')}")
    return " ".join(words)


def _sources(network: Network, node: Node, names: Mapping[str, str]) -> str:
    """Return what a node reads, by the audit's names; activations are looked through."""
    found = []
    for name in node.inputs:
        while name not in names and (before := _node(network, name).inputs):
            name = before[0]
        found.append(names.get(name, name))
    return ", ".join(found)


def _node(network: Network, name: str) -> Node:
    return next(node for node in network.nodes if node.name == name)


def _initial_factors(recipe: Recipe, names: Mapping[str, str]) -> Factors:
    """Return the distribution of every trainable array."""
    found = {}
    for name in recipe.network.trainable:
        node, _, local = name.rpartition("/")
        drawn = recipe.initial.of(recipe.network.parameters[name].role or local)
        text = drawn if isinstance(drawn, str) else f"{drawn[0]} {drawn[1]:g}"
        found[f"{names[node]}/{local}.initial"] = text
    return found


def _loss_factors(objective: Objective) -> Factors:
    own = {key: value for key, value in asdict(objective).items() if key != "name"}
    found: Factors = {
        "objective": objective.name,
        "loss.kind": _LOSSES[objective.name],
        "loss.factor": 1.0,
    }
    if objective.name == "cross_entropy":
        found["loss.from_logits"] = True
    return found | {f"loss.{key}": value for key, value in own.items()}


def _plain(data: Mapping[str, Any], prefix: str) -> Factors:
    return {f"{prefix}.{key}": value for key, value in data.items()}


def _schedule(schedule: Schedule) -> str:
    """Return a schedule as text: ``linear: start 1.0, end 0.1, count 1000000``."""
    if schedule.name == "constant":
        return f"{schedule.value(0):g}"
    told = ", ".join(f"{key} {value}" for key, value in asdict(schedule).items())
    return f"{schedule.name}: {told}"
