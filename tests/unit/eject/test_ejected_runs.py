"""Ejected scripts, run without Triptych, against the library's own runs: action for action."""

from __future__ import annotations

import csv
import functools
import json
import math
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from triptych import eject
from triptych.backends import registry
from triptych.engines import setup
from triptych.spec.notation import parse

BACKENDS = ("torch", "jax", "keras")
SEED = 3
DRIVER = Path(__file__).with_name("ejected_driver.py")
EXACT = ("episode", "frame", "running_reward", "max_reward", "epsilon")

FRUIT = ("algorithm.batch=16", "algorithm.learning_starts=20", "budgets.published.episodes=30")
ALE = (
    "algorithm.batch=4",
    "algorithm.learning_starts=30",
    "algorithm.random_steps=20",
    "algorithm.replay=40",
    "algorithm.target_sync=25",
    "algorithm.exploration.steps=60",
    "budgets.long={steps: 70}",
    "task.max_frames=120",
    "task.screen=44",
)
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fruit": ("fruit", ("task.grid=10", *FRUIT)),
    # Every option of the algorithm, a schedule for the rate, a memory that wraps around.
    "options": (
        "fruit",
        (
            "task.grid=6",
            *FRUIT,
            "network='6x6x1 -> conv 4 3x3 -> batch_norm -> flatten -> dense 8 relu -> dense 3'",
            "initial={kernel: he_normal, bias: {normal: 0.1}}",
            "algorithm.double=true",
            "algorithm.dueling=true",
            "algorithm.target_sync=10",
            "algorithm.update_every=2",
            "algorithm.random_steps=15",
            "algorithm.replay=50",
            "algorithm.exploration={schedule: cosine, start: 1.0, end: 0.1, steps: 100}",
            "objective={name: td_huber, delta: 0.7, reduction: sum}",
            "optimizer={name: adam, rate: {schedule: linear, start: 0.01, end: 0.001, steps: 50}, "
            "clip: {global_norm: 0.5}, l2: 0.001}",
            "budgets.published={episodes: 40, steps: 130}",
        ),
    ),
    "space-invaders": ("space-invaders", ALE),
    # Lives that end episodes but not games, rewards that are not the score, two games at the least.
    "lives": (
        "space-invaders",
        (
            *ALE,
            "task.environment=ALE/Breakout-v5",
            "task.life_loss=true",
            "task.fire_on_reset=true",
            "task.reward_clipping=true",
            "task.max_frames=1000",
            "algorithm.update_every=10",
            "budgets.long={steps: 450}",
        ),
    ),
}
MUTANT = "DISCOUNT = 0.8", "DISCOUNT = 0.80001"


def recipe_of(case, backend):
    name, overrides = CASES[case]
    if backend == "torch" and is_broken():
        overrides = [text.replace("-> batch_norm ->", "->") for text in overrides]
    return setup.load_recipe(name, overrides)


@functools.cache
def is_broken():
    """Whether the torch writer's batch norm changes its statistics in place after its forward pass,
    for which PyTorch refuses the gradient."""
    text = registry.get("torch").source(parse("2 -> batch_norm -> dense 2"), "net")
    return "running_var.copy_(" in text


@pytest.fixture(scope="module", params=BACKENDS)
def ran(request, tmp_path_factory):
    """The folder in which a backend's scripts were run, all in one interpreter."""
    backend, folder = request.param, tmp_path_factory.mktemp(request.param)
    scripts = {case: eject.write(recipe_of(case, backend), backend) for case in CASES}
    assert scripts["fruit"].count(MUTANT[0]) == 1
    if backend == "torch":
        scripts["mutant"] = scripts["fruit"].replace(*MUTANT)
    jobs = []
    for case, text in scripts.items():
        script, out = folder / f"{case}.py", folder / case
        script.write_text(text)
        words = ["--seed", str(SEED), "--dtype", "float64", "--out", str(out)]
        actions = folder / f"{case}.json"
        jobs.append({"script": str(script), "arguments": words, "actions": str(actions)})
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-I", str(DRIVER), str(folder / "jobs.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return backend, folder


class Run:
    """What a training did: actions, rows of metrics, and the params at its end."""

    def __init__(self, actions, rows, params):
        self.actions, self.rows, self.params = actions, rows, params


def run_of_the_library(case, backend):
    recipe = recipe_of(case, backend)
    learner = setup.make_learner(recipe, backend, SEED, "float64")
    training = setup.make_training(recipe, learner, SEED)
    training.trace = []
    rows = [row for row in training.rows() if row is not None]
    training.close()
    return Run([action for action, _ in training.trace], rows, learner.params())


def run_of_the_script(folder, case, backend):
    with open(folder / case / "metrics.csv", encoding="utf-8") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    actions = json.loads((folder / f"{case}.json").read_text())
    network = recipe_of("fruit" if case == "mutant" else case, backend).network
    return Run(actions, rows, read_params(folder / case, network, backend))


def read_params(folder, network, backend):
    """The trained network that a script left, in the canonical layout."""
    if backend == "torch":
        import torch

        found = torch.load(folder / "params.pt", weights_only=True)
        native = {name: value.numpy() for name, value in found.items()}
    elif backend == "jax":
        from safetensors.numpy import load_file

        native = load_file(folder / "params.safetensors")
    params, homes = {}, registry.homes(backend)
    if backend == "keras":
        import keras

        model = keras.models.load_model(folder / "model.keras")
    for name in network.parameters:
        node, local = name.split("/")
        home = homes[network.by_name[node].layer.kind][local]
        if backend == "keras":
            array = attrgetter(home.attribute)(model.get_layer(node)).numpy()
        else:
            array = native[f"{node}.{home.attribute}"]
        params[name] = home.to_canonical(home.piece(array))
    return params


def differences(theirs, ours, begin):
    """A sentence for each way in which two runs differ."""
    found = []
    if theirs.actions != ours.actions:
        found.append("actions")
    if len(theirs.rows) != len(ours.rows):
        return [*found, "number of rows"]
    for number, (own, other) in enumerate(zip(theirs.rows, ours.rows, strict=True)):
        found += [f"row {number} {k}" for k in EXACT if not same(own[k], other[k], 0.0)]
        if not same(own["loss"], other["loss"], 1e-9):
            found.append(f"row {number} loss")
    for name, value in ours.params.items():
        travelled = np.abs(value - begin[name]).max()
        if not np.abs(theirs.params[name] - value).max() <= 1e-9 * max(travelled, 1e-3):
            found.append(f"params {name}")
    return found


def same(one, other, bound):
    return (math.isnan(one) and math.isnan(other)) or abs(one - other) <= bound * abs(other)


@pytest.mark.parametrize("case", CASES)
def test_a_script_makes_the_librarys_run(ran, case):
    backend, folder = ran
    recipe, ours = recipe_of(case, backend), run_of_the_library(case, backend)
    theirs = run_of_the_script(folder, case, backend)
    assert len(ours.actions) >= 70 and not math.isnan(ours.rows[-1]["loss"])
    assert differences(theirs, ours, recipe.initial.draw(recipe.network, SEED)) == []
    if case == "lives":
        assert ours.rows[-1]["episode"] >= 2 and ours.rows[-1]["max_reward"] > 0


def test_a_changed_discount_is_seen(ran):
    backend, folder = ran
    if backend != "torch":
        pytest.skip("once is enough")
    theirs, mutant = (run_of_the_script(folder, c, backend) for c in ("fruit", "mutant"))
    recipe = recipe_of("fruit", backend)
    found = differences(mutant, theirs, recipe.initial.draw(recipe.network, SEED))
    assert any("loss" in sentence for sentence in found)
    assert any("params" in sentence for sentence in found)
