"""The sparse autoencoder against the same algorithm in real Octave, written apart from ours."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from triptych.backends import registry
from triptych.backends.protocol import Learner
from triptych.engines import setup
from triptych.learn.objectives import Sparse
from triptych.spec.recipe import Recipe

BACKENDS = [name for name in registry.installed() if name != "numpy"]
SMALL = ["task.size=4", "task.examples=80", "network=16 -> dense 4 sigmoid -> dense 16 sigmoid"]
EPOCHS = {"recipe": 30, "small": 400}
Answers = Mapping[str, np.ndarray]


def recipe(name: str) -> Recipe:
    return setup.load_recipe("sparse-autoencoder", SMALL if name == "small" else [])


def learner(name: str, backend: str = "torch") -> Learner:
    return setup.make_learner(recipe(name), backend, 0, "float64")


def given(name: str) -> dict[str, Any]:
    """What Octave is given: samples in columns, weights (out, in)."""
    own, made, params = recipe(name), setup.make_data(recipe(name)), learner(name).params()
    x, v = (part["observation"].T for part in (made.train, made.validation))
    weights = {"W1": params["dense1/kernel"].T, "W2": params["dense2/kernel"].T}
    biases = {"b1": params["dense1/bias"][:, None], "b2": params["dense2/bias"][:, None]}
    constants = {"l2": own.objective.l2, "beta": own.objective.sparsity}  # type: ignore[attr-defined]
    constants |= {"rho": own.objective.proportion, "sigma": own.optimizer.sigma}  # type: ignore[attr-defined]
    constants |= {"lambda": own.optimizer.damping, "epochs": float(EPOCHS[name])}  # type: ignore[attr-defined]
    return {"X": x, "T": x, "V": v, **weights, **biases, **constants}


@pytest.fixture(scope="module")
def octave(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answers]:
    """What Octave made of both problems, in one process."""
    program = shutil.which("octave-cli") or shutil.which("octave")
    if program is None:
        pytest.fail("GNU Octave is not installed; on Debian: apt-get install octave")
    folder = tmp_path_factory.mktemp("octave")
    calls = [f"addpath('{Path(__file__).parent}')"]
    for name in EPOCHS:
        savemat(folder / f"{name}-in.mat", given(name))
        calls.append(f"trainscg_autoencoder('{folder}/{name}-in.mat', '{folder}/{name}-out.mat')")
    command = [program, "--no-gui", "--no-init-file", "--eval", "; ".join(calls)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {name: loadmat(folder / f"{name}-out.mat") for name in EPOCHS}


def train(one: Learner, name: str, epochs: int) -> np.ndarray:
    """The loss after each epoch."""
    batch, losses = setup.make_data(recipe(name)).train, []
    for _ in range(epochs):
        one.update(batch)
        losses.append(one.slots().numbers["loss"])
    return np.array(losses)


def apart(losses: np.ndarray, answers: Answers) -> float:
    """The largest relative difference of losses."""
    theirs = answers["losses"][: len(losses), 0]
    return float(np.max(np.abs(losses - theirs) / theirs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_losses_are_those_of_octave(octave: dict[str, Answers], backend: str) -> None:
    """SCG makes a rounding 1 / sigma = 20,000 times as large at every update: nine digits are left
    after 15 epochs, eight after 30."""
    one, answers = learner("recipe", backend), octave["recipe"]
    batch = setup.make_data(recipe("recipe")).train
    assert abs(one.loss(batch) / answers["first_loss"].item() - 1.0) <= 1e-14
    losses = train(one, "recipe", 30)
    assert apart(losses[:15], answers) <= 1e-9
    assert apart(losses, answers) <= 1e-6
    assert losses[-1] < 0.35 * answers["first_loss"].item()


def test_the_end_of_training_is_that_of_octave(octave: dict[str, Answers]) -> None:
    one, answers = learner("small"), octave["small"]
    losses = train(one, "small", EPOCHS["small"])
    seen = setup.make_data(recipe("small")).validation["observation"]
    assert answers["lengths"][-1] < 1e-6
    assert abs(losses[-1] - answers["losses"][-1, 0]) <= 1e-12 * losses[-1]
    assert np.abs(one.outputs(seen).T - answers["Y"]).max() <= 1e-6


def test_terms_and_outputs_at_octaves_weights(octave: dict[str, Answers]) -> None:
    """With Octave's weights the network gives Octave's outputs, terms and gradient's length."""
    one, answers = learner("recipe"), octave["recipe"]
    kernels = {f"dense{i}/kernel": answers[f"W{i}"].T for i in (1, 2)}
    one.load_params(kernels | {f"dense{i}/bias": answers[f"b{i}"][:, 0] for i in (1, 2)})
    made = setup.make_data(recipe("recipe"))
    assert np.abs(one.outputs(made.validation["observation"]).T - answers["Y"]).max() <= 1e-13
    fitting = setup.make_training(recipe("recipe"), one, 0)
    fitting.gradient = fitting._gradient()
    row = fitting._row()
    for column, name in enumerate(("error", "weights", "sparsity")):
        assert row[name] == pytest.approx(answers["terms"][-1, column], rel=1e-12)
    assert row["gradient"] == pytest.approx(answers["lengths"][-1, 0], rel=1e-9)


class BiasesWeigh(Sparse):
    """L2 on biases too."""

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("dense1/kernel", "dense1/bias", "dense2/kernel", "dense2/bias")

    @reads.setter
    def reads(self, value: Any) -> None:
        pass


class HalfSparse(Sparse):
    """Sparsity of a minibatch: the first half of the examples."""

    def terms(self, xp: Any, outputs: Any, batch: Any) -> dict[str, Any]:
        hidden = outputs["output/sigmoid1"]
        half = {"output/sigmoid1": hidden[: len(hidden) // 2]}
        fewer = super().terms(xp, {**outputs, **half}, batch)["sparsity"]
        return super().terms(xp, outputs, batch) | {"sparsity": fewer}


class WithoutHalf(Sparse):
    """L2 without its factor 1/2."""

    def terms(self, xp: Any, outputs: Any, batch: Any) -> dict[str, Any]:
        found = super().terms(xp, outputs, batch)
        return found | {"weights": 2.0 * found["weights"]}


@pytest.mark.parametrize("kind", [Sparse, BiasesWeigh, HalfSparse, WithoutHalf])
def test_octave_catches_a_mistaken_objective(octave: dict[str, Answers], kind: type) -> None:
    own, drawn = recipe("small"), learner("small").params()
    objective = kind(own.objective, own.network)
    one = registry.get("torch").learner(
        own.network, drawn, objective=objective, rule=own.optimizer, dtype="float64"
    )
    assert (apart(train(one, "small", 8), octave["small"]) <= 1e-9) == (kind is Sparse)


@pytest.mark.parametrize("change", [{"sigma": 5e-4}, {"damping": 5e-6}])
def test_octave_catches_a_mistaken_constant(octave: dict[str, Answers], change: Any) -> None:
    own, drawn = recipe("small"), learner("small").params()
    rule = replace(own.optimizer, **change)
    objective = setup.make_objective(own)
    one = registry.get("torch").learner(
        own.network, drawn, objective=objective, rule=rule, dtype="float64"
    )
    assert apart(train(one, "small", 8), octave["small"]) > 1e-8
