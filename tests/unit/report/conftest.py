"""Realistic page data, made up for the tests of the report and never shipped."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from triptych.engines.setup import load_recipe
from triptych.parity import outcome
from triptych.report.media import animated_webp, upscale
from triptych.report.page import Page
from triptych.spec.randomness import generator

HOSTILE = "</script><script>document.documentElement.dataset.pwned=1</script>\"'><img src=x>"
BACKENDS = ("torch", "jax", "keras")
BOUNDS = {
    0: {None: (0, 0)},
    1: {None: (0, 0)},
    2: {"float64": (3.1e-15, 1e-12), "float32": (4.4e-7, 1e-5)},
    3: {"float64": (1.2e-15, 1e-12), "float32": (6.0e-8, 1e-6)},
    4: {"float64": (8.8e-14, 1e-11), "float32": (2.3e-6, 1e-4)},
    5: {"float64": (5.1e-13, 1e-11), "float32": (0.82, 3)},
    6: {"float64": (2.4e-12, 1e-10), "float32": (1.3, 3)},
    7: {"float64": (4e-14, 1e-9)},
}

TORCH = '''"""The fruit network, as PyTorch sees it."""

import torch
from torch import nn


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, stride=1, padding=0)
        self.conv2 = nn.Conv2d(16, 16, kernel_size=3, stride=1, padding=0)
        self.dense1 = nn.Linear(1936, 100)
        self.dense2 = nn.Linear(100, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2)  # channels last to first
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        x = x.permute(0, 2, 3, 1).flatten(1)  # the canonical order
        return self.dense2(torch.relu(self.dense1(x)))
'''
JAX = '''"""The fruit network, as Flax NNX sees it."""

import jax
from flax import nnx


class Network(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, 16, (3, 3), padding="VALID", rngs=rngs)
        self.conv2 = nnx.Conv(16, 16, (3, 3), padding="VALID", rngs=rngs)
        self.dense1 = nnx.Linear(1936, 100, rngs=rngs)
        self.dense2 = nnx.Linear(100, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(self.conv1(x))
        x = jax.nn.relu(self.conv2(x))
        x = x.reshape(x.shape[0], -1)
        return self.dense2(jax.nn.relu(self.dense1(x)))
'''
KERAS = '''"""The fruit network, as Keras sees it."""

import keras
from keras import layers

network = keras.Sequential(
    [
        keras.Input((15, 15, 1)),
        layers.Conv2D(16, 3, padding="valid", activation="relu", name="conv1"),
        layers.Conv2D(16, 3, padding="valid", activation="relu", name="conv2"),
        layers.Flatten(),
        layers.Dense(100, activation="relu", name="dense1"),
        layers.Dense(3, name="dense2"),
    ]
)
'''
RECIPE = """about: Catch falling fruit from pixels.
task: {environment: triptych/Fruit-v0, grid: 15}
network: 15x15x1 -> [conv 16 3x3 relu]*2 -> flatten -> dense 100 relu -> dense 3
initial: {kernel: glorot_uniform, bias: zeros}
algorithm: {name: dqn, discount: 0.8, batch: 128, replay: 10000, exploration: 0.8}
optimizer: {name: rmsprop, rate: 1.0e-3, decay: 0.9, epsilon: 1.0e-7}
budget: {episodes: 500}
"""


def make_ladder() -> list[dict]:
    return [
        {
            "rung": rung,
            "pair": f"{a}-{b}",
            "dtype": dtype,
            "passed": True,
            "value": value,
            "bound": bound,
            "culprit": None,
        }
        for a, b in combinations(BACKENDS, 2)
        for rung, cases in BOUNDS.items()
        for dtype, (value, bound) in cases.items()
    ]


def make_metrics(seed: int, episodes: int = 500) -> dict[str, list]:
    draw = np.random.default_rng(seed)
    episode = np.arange(1, episodes + 1)
    skill = 1 / (1 + np.exp(-(episode - 0.4 * episodes) / (0.1 * episodes)))
    caught = np.where(draw.random(episodes) < 0.2 + 0.8 * skill, 1.0, -1.0)
    loss = 0.05 * np.exp(-episode / 150) * draw.lognormal(0, 0.3, episodes)
    loss[:10] = np.nan
    columns = {
        "episode": episode,
        "frame": 13 * episode,
        "greedy_return": caught,
        "loss": loss,
        "epsilon": np.full(episodes, 0.8),
        "running_reward": np.cumsum(caught) / episode,
        "time": np.cumsum(draw.uniform(0.04, 0.06, episodes)),
    }
    return {name: values.tolist() for name, values in columns.items()}


def make_runs(seeds: int = 1) -> list[dict]:
    return [
        {
            "backend": backend,
            "seed": seed,
            "folder": f"runs/fruit/{backend}-{seed}",
            "metric": "greedy_return",
            "metrics": make_metrics(100 * number + seed),
        }
        for number, backend in enumerate(BACKENDS)
        for seed in range(seeds)
    ]


def make_frames(grid: int = 15) -> np.ndarray:
    frames = np.zeros((3 * (grid - 1), grid, grid), np.uint8)
    for t, frame in enumerate(frames):
        y, game = t % (grid - 1), t // (grid - 1)
        frame[y, 3 + 4 * game] = 255
        frame[-1, 2 + 3 * game : 5 + 3 * game] = 255
    return frames


def make_outcome(keras: float = 0.9, *changes: str, deviation: float = 0.03) -> dict:
    recipe = load_recipe("fruit", list(changes))
    means = {"torch": 0.9, "jax": 0.9, "keras": keras}
    scores = {
        name: dict(enumerate(generator(1, name).normal(mean, deviation, 20).tolist()))
        for name, mean in means.items()
    }
    told = outcome.forecast(recipe, 20).as_dict()
    return outcome.judge(recipe, scores, told)[1]


def make_evaluations() -> list[dict]:
    row = {"exploration": 0.05, "seed": 7, "episodes": 1000, "median": 270.0, "min": 60.0}
    row |= {"max": 1120.0, "human_normalised": 10.51, "standard_error": 6.04}
    shown = [
        row | {"trained_by": b, "folder": f"{b}-seed0", "step": 250_000, "mean": 300.5 + k}
        for k, b in enumerate(BACKENDS)
    ]
    random = row | {"trained_by": None, "folder": None, "step": None, "mean": 150.25}
    random |= {"exploration": 1.0, "standard_error": float("nan"), "human_normalised": None}
    return [each | {"above_random": 17.84} for each in shown] + [random | {"above_random": None}]


def make_page(seeds: int = 1, **changes) -> Page:
    webp = animated_webp(upscale(make_frames(), 12), fps=8)
    rows = [
        ("conv1", "conv", (13, 13, 16), 160, 24336, 3),
        ("conv2", "conv", (11, 11, 16), 2320, 278784, 5),
        ("flatten", "flatten", (1936,), 0, 0, None),
        ("dense1", "dense", (100,), 193700, 193600, None),
        ("dense2", "dense", (3,), 303, 300, None),
    ]
    keys = ("name", "kind", "output", "parameters", "multiply_adds", "receptive_field")
    page = {
        "title": "fruit",
        "about": "Catch falling fruit from pixels.",
        "recipe_text": RECIPE,
        "commands": ["triptych compare fruit --backends torch jax keras", "triptych report fruit"],
        "versions": {"triptych": "0.1.0", "torch": "2.13.0", "jax": "0.10.2", "keras": "3.15.0"},
        "created": "2026-01-31T12:00:00+00:00",
        "ladder": make_ladder(),
        "runs": make_runs(seeds),
        "evaluations": make_evaluations(),
        "replays": [
            {"backend": b, "data": webp, "mime": "image/webp", "caption": "10 of 10 caught"}
            for b in BACKENDS
        ],
        "definitions": {"torch": TORCH, "jax": JAX, "keras": KERAS},
        "network": [dict(zip(keys, row, strict=True)) for row in rows],
        "factors": {b: {"epsilon": 1e-7, "discount": 0.8, "padding": "valid"} for b in BACKENDS},
        "certificate": '{"passed": true, "recipe": "fruit"}',
    }
    return Page(**(page | changes))


@pytest.fixture
def page() -> Page:
    return make_page()


@pytest.fixture
def build_page():
    return make_page


@pytest.fixture
def judged():
    """The function that judges made-up scores of three backends."""
    return make_outcome


@pytest.fixture
def build_runs():
    return make_runs


@pytest.fixture
def ladder_entries() -> list[dict]:
    return make_ladder()


@pytest.fixture
def hostile() -> str:
    return HOSTILE


@pytest.fixture
def hostile_page(page) -> Page:
    run = page.runs[0] | {"backend": HOSTILE, "folder": HOSTILE, "seed": HOSTILE}
    run["metrics"] = {HOSTILE: [1, 2, 3], "__proto__": [1, 2, 3]}
    rung = page.ladder[0] | {"pair": HOSTILE, "passed": False, "culprit": HOSTILE}
    return Page(
        title=HOSTILE,
        about=HOSTILE,
        recipe_text=HOSTILE,
        commands=[HOSTILE],
        versions={HOSTILE: HOSTILE},
        created=HOSTILE,
        ladder=[rung | {"detail": HOSTILE, "dtype": HOSTILE}],
        runs=[run, run | {"backend": "torch", "metric": HOSTILE}],
        evaluations=[page.evaluations[0] | {"trained_by": HOSTILE, "folder": HOSTILE}],
        replays=[dict(page.replays[0]) | {"backend": HOSTILE, "caption": HOSTILE}],
        definitions={HOSTILE: HOSTILE, "jax": f"x = '{HOSTILE}'  # {HOSTILE}"},
        network=[{"name": HOSTILE, "kind": HOSTILE, "output": HOSTILE, "parameters": 1}],
        factors={HOSTILE: {HOSTILE: HOSTILE}},
        certificate=HOSTILE,
    )
