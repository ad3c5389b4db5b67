"""Losses identified by probing: those of the three frameworks, of users, and aliens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import pytest
import torch
from torch import nn
from torch.nn import functional

from triptych.backends import registry
from triptych.parity.probing.losses import FoundLoss, LossOf, factors, identify
from triptych.spec.randomness import generator

registry.get("jax")
registry.get("keras")
import keras  # noqa: E402


def of_torch(loss: Callable[..., Any]) -> LossOf:
    return lambda output, target: loss(torch.from_numpy(output), torch.from_numpy(target)).numpy()


def of_keras(loss: Callable[..., Any]) -> LossOf:
    return lambda output, target: np.asarray(loss(target, output))


def of_jax(loss: Callable[..., Any]) -> LossOf:
    return lambda output, target: np.asarray(loss(output, target))


MEAN, NONE = "mean", "none"
LOGITS = {"from_logits": True, "clip": None, "smoothing": 0.0}
KERAS = {"from_logits": False, "clip": 1e-7, "smoothing": 0.0}
TORCH = {"from_logits": False, "clip": "log at -100", "smoothing": 0.0}
LOGS = {"from_logits": "log probabilities", "clip": None, "smoothing": 0.0}
CE, BCE = "cross_entropy", "binary_cross_entropy"
k = keras.losses

LOSSES: dict[str, tuple[LossOf, str, float, str, dict[str, Any]]] = {
    "torch MSELoss": (of_torch(nn.MSELoss()), "squared", 1.0, MEAN, {}),
    "torch MSELoss sum": (of_torch(nn.MSELoss(reduction="sum")), "squared", 1.0, "sum", {}),
    "torch MSELoss none": (of_torch(nn.MSELoss(reduction="none")), "squared", 1.0, NONE, {}),
    "torch L1Loss": (of_torch(nn.L1Loss()), "absolute", 1.0, MEAN, {}),
    "torch HuberLoss": (of_torch(nn.HuberLoss(delta=0.7)), "huber", 1.0, MEAN, {"delta": 0.7}),
    "torch SmoothL1Loss": (
        of_torch(nn.SmoothL1Loss(beta=0.25)), "huber", 4.0, MEAN, {"delta": 0.25}),
    "torch CrossEntropyLoss": (of_torch(nn.CrossEntropyLoss()), CE, 1.0, MEAN, LOGITS),
    "torch CrossEntropyLoss smoothed": (
        of_torch(nn.CrossEntropyLoss(label_smoothing=0.15, reduction="sum")), CE, 1.0, "sum",
        LOGITS | {"smoothing": 0.15}),
    "torch NLLLoss": (of_torch(nn.NLLLoss()), CE, 1.0, MEAN, LOGS),
    "torch BCELoss": (of_torch(nn.BCELoss()), BCE, 1.0, MEAN, TORCH),
    "torch BCEWithLogitsLoss": (of_torch(nn.BCEWithLogitsLoss()), BCE, 1.0, MEAN, LOGITS),
    "torch PoissonNLLLoss": (
        of_torch(nn.PoissonNLLLoss(log_input=False, eps=0.0)), "poisson", 1.0, MEAN, {}),
    "keras MeanSquaredError": (of_keras(k.MeanSquaredError()), "squared", 1.0, MEAN, {}),
    "keras MeanSquaredError sum": (
        of_keras(k.MeanSquaredError(reduction="sum")), "squared", 1.0,
        "sum over batch, mean over outputs", {}),
    "keras mean_squared_error": (
        of_keras(k.mean_squared_error), "squared", 1.0, "none over batch, mean over outputs", {}),
    "keras MeanAbsoluteError": (of_keras(k.MeanAbsoluteError()), "absolute", 1.0, MEAN, {}),
    "keras Huber": (of_keras(k.Huber(delta=1.5)), "huber", 1.0, MEAN, {"delta": 1.5}),
    "keras LogCosh": (of_keras(k.LogCosh()), "log_cosh", 1.0, MEAN, {}),
    "keras CategoricalCrossentropy": (of_keras(k.CategoricalCrossentropy()), CE, 1.0, MEAN, KERAS),
    "keras CategoricalCrossentropy smoothed": (
        of_keras(k.CategoricalCrossentropy(label_smoothing=0.1)), CE, 1.0, MEAN,
        KERAS | {"smoothing": 0.1}),
    "keras CategoricalCrossentropy logits": (
        of_keras(k.CategoricalCrossentropy(from_logits=True)), CE, 1.0, MEAN, LOGITS),
    "keras SparseCategoricalCrossentropy": (
        of_keras(k.SparseCategoricalCrossentropy()), CE, 1.0, MEAN, KERAS),
    "keras SparseCategoricalCrossentropy logits": (
        of_keras(k.SparseCategoricalCrossentropy(from_logits=True)), CE, 1.0, MEAN, LOGITS),
    "keras BinaryCrossentropy": (of_keras(k.BinaryCrossentropy()), BCE, 1.0, MEAN, KERAS),
    "keras BinaryCrossentropy logits": (
        of_keras(k.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)), BCE, 1.0, MEAN,
        LOGITS | {"smoothing": 0.2}),
    "optax squared_error": (of_jax(optax.squared_error), "squared", 1.0, NONE, {}),
    "optax l2_loss": (of_jax(optax.l2_loss), "squared", 0.5, NONE, {}),
    "optax l2_loss mean": (
        of_jax(lambda o, t: optax.l2_loss(o, t).mean()), "squared", 0.5, MEAN, {}),
    "optax huber_loss": (of_jax(optax.huber_loss), "huber", 1.0, NONE, {"delta": 1.0}),
    "optax log_cosh": (of_jax(optax.log_cosh), "log_cosh", 1.0, NONE, {}),
    "optax softmax_cross_entropy": (of_jax(optax.softmax_cross_entropy), CE, 1.0, NONE, LOGITS),
    "optax integer labels": (
        of_jax(lambda o, t: optax.softmax_cross_entropy_with_integer_labels(o, t).mean()),
        CE, 1.0, MEAN, LOGITS),
    "optax sigmoid_binary_cross_entropy": (
        of_jax(optax.sigmoid_binary_cross_entropy), BCE, 1.0, NONE, LOGITS),
    "user half, summed over outputs": (
        lambda o, t: 0.5 * ((o - t) ** 2).sum(axis=-1).mean(), "squared", 0.5,
        "mean over batch, sum over outputs", {}),
    "user added epsilon": (
        lambda o, t: -(t * np.log(o + 1e-8)).sum(-1).mean(), CE, 1.0, MEAN,
        {"from_logits": False, "clip": "added 1e-08", "smoothing": 0.0}),
    "user clipped": (
        lambda o, t: -(t * np.log(np.clip(o, 1e-6, 1 - 1e-6))).sum(-1).sum(), CE, 1.0, "sum",
        {"from_logits": False, "clip": 1e-6, "smoothing": 0.0}),
    "user weighted": (lambda o, t: 3.0 * np.abs(o - t).mean(), "absolute", 3.0, MEAN, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_identified(name: str) -> None:
    loss, kind, factor, reduction, constants = LOSSES[name]
    found = identify(loss)
    assert (found.kind, found.factor, found.reduction) == (kind, factor, reduction), found
    assert dict(found.constants) == constants, found
    assert factors(found)["loss.kind"] == kind


@pytest.mark.parametrize("name", ["keras Huber", "keras SparseCategoricalCrossentropy logits",
                                  "torch BCELoss", "optax l2_loss mean"])  # fmt: skip
def test_an_example_gives_the_form(name: str) -> None:
    loss, kind, factor, reduction, constants = LOSSES[name]
    index = "Sparse" in name
    outputs = np.zeros((8, 4), np.float32)
    found = identify(loss, outputs, np.zeros(8, np.int32) if index else outputs)
    assert (found.kind, found.factor, found.reduction) == (kind, factor, reduction), found
    assert dict(found.constants) == constants, found


def test_one_output_and_no_output_axis() -> None:
    for shape in ((8, 1), (8,)):
        example = np.zeros(shape)
        found = identify(of_torch(nn.SmoothL1Loss()), example, example)
        assert found.text == "huber, delta 1.0, mean"


ALIENS: dict[str, LossOf] = {
    "quantile": lambda o, t: np.maximum(0.7 * (o - t), -0.3 * (o - t)).mean(),
    "cosine": of_jax(lambda o, t: optax.cosine_distance(o, t).mean()),
    "fourth power": lambda o, t: ((o - t) ** 4).mean(),
    "weighted classes": of_torch(
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64))
    ),
    "per cent more for large errors": lambda o, t: (
        np.square(o - t) * (1.0 + 0.01 * (np.abs(o - t) > 3.0))
    ).mean(),
    "squared and a constant": lambda o, t: np.square(o - t).mean() + 0.1,
    "raises": lambda o, t: (_ for _ in ()).throw(RuntimeError("no")),
}


@pytest.mark.parametrize("name", ALIENS)
def test_an_alien_is_unknown(name: str) -> None:
    assert identify(ALIENS[name]).kind == "unknown"
    assert factors(identify(ALIENS[name])) == {"loss.kind": "unknown"}


def test_a_constant_off_by_a_thousandth_is_seen() -> None:
    rng = generator(0, "deltas")
    for delta in 10.0 ** rng.uniform(-2, 2, 10):
        for shown in (delta, delta * 1.001):
            found = identify(of_torch(lambda o, t, d=shown: functional.huber_loss(o, t, delta=d)))
            assert found.constants["delta"] == pytest.approx(shown, rel=1e-4)


def test_found_losses_compare() -> None:
    half = identify(LOSSES["optax l2_loss mean"][0])
    whole = identify(LOSSES["torch MSELoss"][0])
    assert isinstance(half, FoundLoss)
    assert {key for key in factors(half) if factors(half)[key] != factors(whole)[key]} == {
        "loss.factor"
    }
