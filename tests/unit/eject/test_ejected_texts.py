"""What stands in an ejected script: its sections, their parts against the library's, refusals."""

from __future__ import annotations

import ast
import dataclasses
import math
import re
import shutil
import subprocess
import sys
import types
import zlib
from pathlib import Path

import numpy as np
import pytest

from triptych import eject, envs
from triptych.backends import registry
from triptych.backends.templating import fill, schedule, whole
from triptych.eject import params as params_text
from triptych.eject import script
from triptych.engines import setup
from triptych.errors import BackendError, RecipeError, Unsupported
from triptych.learn.replay import ReplayMemory
from triptych.spec.algorithms import Prioritised
from triptych.spec.initial import Initial
from triptych.spec.notation import parse
from triptych.spec.randomness import generator, integer_seed
from triptych.spec.rules import Clip
from triptych.spec.schedules import Constant, Cosine, Exponential, Linear, Piecewise

BACKENDS = ("torch", "jax", "keras")
RECIPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fruit": ("fruit", ()),
    "space-invaders": ("space-invaders", ()),
    "games": (
        "space-invaders",
        (
            "task.life_loss=true",
            "task.fire_on_reset=true",
            "task.reward_clipping=true",
            "objective.reduction=sum",
            "algorithm.double=true",
            "algorithm.dueling=true",
            "initial={kernel: orthogonal, bias: {constant: 0.1}}",
            "optimizer={name: rmsprop, rate: {schedule: piecewise, boundaries: [10], "
            "values: [0.1, 0.01]}, momentum: 0.9, centered: true, clip: {norm: 10.0}}",
            "logging.episodes=2",
        ),
    ),
    "cart-pole": (
        "fruit",
        (
            'about=\'Balance a pole. With "quotes" and a sentence that is too long for a line, '
            "so that it has to be broken'",
            "task={environment: CartPole-v1, sutton_barto_reward: true}",
            "network='4 -> dense 20 tanh -> dense 2'",
            "objective={name: td_squared, factor: 0.5, reduction: sum}",
            "algorithm.exploration={schedule: exponential, start: 1.0, factor: 0.5, steps: 900}",
            "optimizer={name: adamw, rate: {schedule: cosine, start: 0.1, end: 0.01, steps: 50}, "
            "l2: 0.1, clip: {value: 1.0}}",
            "initial.kernel={uniform: 0.05}",
            "outcome.episodes=3",
            "budgets={short: {steps: 500}, both: {steps: 500, episodes: 9}}",
        ),
    ),
}


def recipe_of(name):
    recipe, overrides = RECIPES[name]
    return setup.load_recipe(recipe, overrides)


def sections_of(text):
    """Heading -> text."""
    parts = re.split(r"^# --- (.+?) -+$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def execute(text, **names):
    found = {"__name__": "section", "np": np, "math": math, **names}
    exec(compile(text, "<section>", "exec"), found)
    return types.SimpleNamespace(**found)


def defined(text):
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in ast.parse(text).body if isinstance(node, kinds)]


@pytest.mark.parametrize("name", RECIPES)
def test_the_three_scripts_line_up(name):
    found = {b: sections_of(eject.write(recipe_of(name), b)) for b in BACKENDS}
    assert len({tuple(sections) for sections in found.values()}) == 1
    own = {"forward", "train_step"}
    for heading in found["torch"]:
        names = [[n for n in defined(found[b][heading]) if n not in own] for b in BACKENDS]
        if heading not in ("Network", "Update rule"):
            assert names[0] == names[1] == names[2], heading
    for heading in ("Randomness", "Environment", "Replay memory", "Training"):
        assert len({found[b][heading] for b in BACKENDS}) == 1, heading
    assert all("make_optimizer" in defined(found[b]["Update rule"]) for b in BACKENDS)


@pytest.mark.parametrize("name", RECIPES)
def test_a_script_imports_nothing_of_triptych(name):
    for backend in BACKENDS:
        text = eject.write(recipe_of(name), backend)
        assert "import triptych" not in text and "from triptych" not in text
        assert "{{" not in text and "#if" not in text


def test_the_scripts_are_formatted_and_clean(tmp_path):
    for name in RECIPES:
        for backend in BACKENDS:
            text = eject.write(recipe_of(name), backend, dtype="float64", seed=7)
            (tmp_path / f"{name.replace('-', '_')}_{backend}.py").write_text(text)
    both = eject.write(recipe_of("cart-pole"), "torch", budget="both")
    (tmp_path / "both.py").write_text(both)
    ruff = shutil.which("ruff") or f"{sys.prefix}/bin/ruff"
    command = [ruff, "format", "--line-length=100", "--diff", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    # The house's rules, but for docstrings of methods whose class says it all.
    rules = "--select=E,F,W,I,B,UP,SIM,RUF,N,ANN0,ANN2"
    command = [ruff, "check", "--isolated", "--line-length=100", "--target-version=py311", rules]
    command += ["--ignore=N812,N818,SIM108,RUF100,RUF013,ANN003", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_the_options_are_the_recipes():
    text = eject.write(recipe_of("cart-pole"), "torch", budget="both", dtype="float64", seed=7)
    parser = sections_of(text)["Settings"]
    for line in ('"--seed", type=int, default=7', 'default="float64"', "default=9", "default=500"):
        assert line in parser
    assert "--steps" not in eject.write(recipe_of("fruit"), "jax")


def test_the_streams_are_the_librarys():
    text = sections_of(eject.write(recipe_of("fruit"), "torch"))["Randomness"]
    own = execute(text, zlib=zlib)
    assert own.generator(5, "replay").integers(1 << 60) == generator(5, "replay").integers(1 << 60)
    assert own.integer_seed(5, "environment") == integer_seed(5, "environment")


DISTRIBUTIONS = [
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform",
    "lecun_normal", "fan_in_uniform", "orthogonal", "zeros", "ones",
    ("uniform", 0.3), ("normal", 0.2), ("constant", -0.5),
]  # fmt: skip


@pytest.mark.parametrize("kind", DISTRIBUTIONS, ids=str)
def test_first_params_are_the_librarys(kind):
    network = parse("5x4x2 -> conv 3 2x2 -> flatten -> dense 30 -> dense 2")
    values = {"kind": "object", "framework": "PyTorch"}
    initial = Initial(kernel=kind, bias=kind if isinstance(kind, tuple) else "zeros")
    text = params_text.write(network, initial, registry.homes("torch"), values, "    pass")
    drawn = execute(text, generator=generator).initial_params(4)
    expected = initial.draw(network, 4)
    assert list(drawn) == list(expected)
    assert all(np.array_equal(drawn[name], expected[name]) for name in expected)


NETWORKS = {
    "lstm": "5x4 -> lstm 3 sequences -> lstm 3 -> dense 2",
    "gru": "5x4 -> gru 3 biases 2 -> dense 2",
    "elman": "5x4 -> elman 3 -> dense 2",
    "images": "4x4x2 -> conv_transpose 3 2x2/2 -> batch_norm -> flatten -> layer_norm -> dense 2",
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_params_come_into_the_native_model(backend, name):
    network = parse(NETWORKS[name])
    kinds = {"bias": ("normal", 0.3), "offset": ("normal", 0.3), "mean": ("normal", 0.3)}
    initial = Initial(**kinds)
    words, homes = script.WORDS[backend], registry.homes(backend)
    values = {"kind": "object", "framework": words.framework}
    loading = script._read(f"{backend}/loading")
    text = params_text.write(network, initial, homes, values, loading)
    source = registry.get(backend).source(network, "q-network")
    heads = "from operator import attrgetter\n"
    heads += "import torch\n" if backend == "torch" else ""
    heads += "import jax.numpy as jnp\n" if backend == "jax" else ""
    own = execute(f"{source}\n{heads}\n{text}", generator=generator)
    x = np.random.default_rng(0).normal(size=(3, *network.shapes["input"]))
    expected = registry.get(backend).learner(network, initial.draw(network, 1), dtype="float64")
    output = run_native(backend, own, x)
    np.testing.assert_allclose(output, expected.outputs(x), rtol=0, atol=1e-12)


def run_native(backend, own, x):
    if backend == "torch":
        import torch

        model = own.QNetwork(torch.float64).eval()
        own.load_params(model, own.initial_params(1))
        return model(torch.from_numpy(x)).detach().numpy()
    if backend == "jax":
        import jax.numpy as jnp
        from flax import nnx

        model = nnx.eval_shape(lambda: own.QNetwork(nnx.Rngs(0), jnp.float64))
        own.load_params(model, own.initial_params(1))
        return np.asarray(nnx.jit(lambda model, x: model(x))(model, x))
    model = own.q_network("float64")
    own.load_params(model, own.initial_params(1))
    return np.asarray(model(x, training=False))


SCHEDULES = [
    Constant(0.3),
    Linear(1.0, 0.1, 7),
    Exponential(0.5, 0.9, 3),
    Exponential(0.5, 0.9, 3, staircase=True),
    Cosine(1.0, 0.2, 11),
    Piecewise((3, 8), (1.0, 0.5, 0.2)),
    Piecewise((3,), (1.0, 0.5)),
]


@pytest.mark.parametrize("item", SCHEDULES, ids=lambda item: item.name)
def test_a_schedule_is_the_specs(item):
    body = "\n    ".join(schedule(item, "step"))
    own = execute(f"def value(step):\n    {body}").value
    assert [own(count) for count in range(15)] == [item.value(count) for count in range(15)]


@pytest.mark.parametrize("stack", [1, 3])
def test_the_memory_is_the_librarys(stack):
    name = "space-invaders" if stack > 1 else "fruit"
    text = sections_of(eject.write(recipe_of(name), "jax"))["Replay memory"]
    shape, rng = (4, 5, 2 * stack), np.random.default_rng(stack)
    own = execute(text, STACK=stack).ReplayMemory(20, shape, np.dtype(np.uint8))
    memory = ReplayMemory(20, shape, stack)
    for _ in range(12):
        observation = np.zeros(shape, np.uint8)
        observation[..., -2:] = rng.integers(1, 255, (4, 5, 2))
        memory.begin(observation)
        for left in reversed(range(rng.integers(1, 9))):
            later = np.roll(observation, -2, axis=-1)
            later[..., -2:] = rng.integers(1, 255, (4, 5, 2))
            ended = left == 0
            terminated = bool(ended and rng.random() < 0.5)
            step = (int(rng.integers(3)), float(rng.normal()), later, terminated)
            memory.append(*step, ended and not terminated)
            own.append(observation, *step, ended and not terminated)
            observation = later
        theirs = own.sample(30, np.random.default_rng(9))
        ours = memory.sample(30, np.random.default_rng(9))
        assert all(np.array_equal(theirs[key], ours[key]) for key in ours)
    assert len(memory) == 20 and own.count > 30


def test_the_games_are_the_librarys():
    recipe = recipe_of("games")
    text = eject.write(recipe, "torch")
    head = "import ale_py\nimport gymnasium\nfrom gymnasium import spaces\n"
    head += "from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation\n"
    own = execute(f"{head}\n{sections_of(text)['Environment']}").make_env()
    ours = envs.make(recipe.task)
    actions = np.random.default_rng(0)
    assert np.array_equal(own.reset(seed=3)[0], ours.reset(seed=3)[0])
    lives, rewards = 0, 0.0
    for _ in range(500):
        action = int(actions.integers(6))
        theirs, expected = own.step(action), ours.step(action)
        assert np.array_equal(theirs[0], expected[0]) and theirs[1:4] == expected[1:4]
        assert all(theirs[4][key] == expected[4][key] for key in ("score", "game_over"))
        rewards += theirs[1]
        if theirs[2] or theirs[3]:
            lives += 1
            (theirs, said), (expected, info) = own.reset(), ours.reset()
            assert np.array_equal(theirs, expected) and said["game_over"] == info["game_over"]
    assert lives >= 2 and rewards > 0  # life loss and clipping were met


def test_what_cannot_be_ejected_is_named():
    recipe = recipe_of("fruit")
    with pytest.raises(Unsupported, match="'numpy' is the oracle"):
        eject.write(recipe, "numpy")
    with pytest.raises(BackendError, match="did you mean 'torch'"):
        eject.write(recipe, "torhc")
    with pytest.raises(RecipeError, match="no budget 'short'"):
        eject.write(recipe, "torch", budget="short")
    dropout = dataclasses.replace(
        recipe, network=parse("15x15x1 -> flatten -> dropout 0.5 -> dense 3")
    )
    with pytest.raises(Unsupported, match="has dropout"):
        eject.write(dropout, "torch")
    rule = dataclasses.replace(recipe.optimizer, clip=Clip(norm=1.0))
    gates = dataclasses.replace(recipe, network=parse("5x4 -> lstm 3 -> dense 3"), optimizer=rule)
    with pytest.raises(Unsupported, match="clips the norm of every gate"):
        eject.write(gates, "torch")
    other = dataclasses.replace(recipe, algorithm=None, data={"algorithm": {"name": "fit"}})
    with pytest.raises(Unsupported, match="trains by 'fit'"):
        eject.write(other, "torch")


@pytest.mark.parametrize(
    ("option", "value"),
    [("n_step", 3), ("prioritised", Prioritised()), ("games", 2), ("replay_storage", "disk")],
)
def test_options_that_are_not_written_out_are_named(option, value):
    recipe = recipe_of("fruit")
    algorithm = dataclasses.replace(recipe.algorithm, **{option: value})
    with pytest.raises(Unsupported, match=f"has algorithm.{option}, which"):
        eject.write(dataclasses.replace(recipe, algorithm=algorithm), "torch")


def test_a_template_keeps_what_holds():
    text = "a\nb  #if x\nc    #if x, not y\nd {{n}}    #if not x\n"
    assert fill(text, {"n": "1"}, {"x"}) == "a\nb\nc"
    assert fill(text, {"n": "1"}, {"x", "y"}) == "a\nb"
    assert fill(text, {"n": "1"}) == "a\nd 1"
    with pytest.raises(KeyError):
        fill("{{unknown}}", {})
    assert [whole(9999), whole(100000)] == ["9999", "100_000"]


def test_every_template_is_used():
    used = set()
    read = script._read

    def noting(path):
        used.add(path)
        return read(path)

    script._read = noting
    try:
        for name in RECIPES:
            for backend in BACKENDS:
                eject.write(recipe_of(name), backend)
    finally:
        script._read = read
    folder = Path(script.__file__).parent / "templates"
    stored = {str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.txt")}
    assert used == stored


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_examples_are_up_to_date(backend):
    path = f"examples/ejected/fruit_{backend}.py"
    command = ("triptych", "eject", "fruit", "--backend", backend, "--out", path)
    kept = Path(__file__).parents[3] / path
    expected = eject.write(recipe_of("fruit"), backend, name=path, command=command)
    assert kept.read_text() == expected, f"write it anew with: {' '.join(command)} --force"
