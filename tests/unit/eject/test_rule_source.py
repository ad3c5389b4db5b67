"""The written update rules, executed by themselves, against the learners' own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from triptych.backends import registry
from triptych.errors import Unsupported
from triptych.spec.initial import Initial
from triptych.spec.notation import parse
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule
from triptych.spec.schedules import Constant, Cosine, Exponential, Linear, Piecewise

BACKENDS = ("torch", "jax", "keras")
NETWORK = parse("6x6x2 -> conv 3 3x3 tanh -> flatten -> dense 4")
UPDATES = 50
RATE = Constant(0.01)
LINEAR = Linear(0.02, 0.001, 30)
RULES: dict[str, Rule] = {
    "sgd": SGD(RATE),
    "sgd-l2": SGD(RATE, l2=0.1, clip=Clip(value=0.7)),
    "sgd-momentum": SGD(LINEAR, momentum=0.9, clip=Clip(norm=0.3)),
    "sgd-nesterov": SGD(RATE, momentum=0.9, nesterov=True, l2=0.1),
    "adam": Adam(RATE, clip=Clip(global_norm=0.3)),
    "adam-inside": Adam(RATE, epsilon=1e-3, epsilon_inside_root=True),
    "adam-before": Adam(RATE, epsilon=1e-3, epsilon_before_correction=True, clip=Clip(norm=0.3)),
    "adam-l2": Adam(Exponential(0.01, 0.5, 7, staircase=True), beta1=0.8, l2=0.1),
    "adamw": AdamW(RATE, weight_decay=0.2),
    "adamw-l2": AdamW(RATE, weight_decay=0.2, l2=0.1, clip=Clip(value=0.7)),
    "adamw-before": AdamW(Cosine(0.01, 0.001, 40), epsilon=1e-3, epsilon_before_correction=True),
    "rmsprop": RMSprop(RATE, epsilon_inside_root=True, clip=Clip(global_norm=0.3)),
    "rmsprop-outside": RMSprop(LINEAR, epsilon=1e-3),
    "rmsprop-centered": RMSprop(RATE, epsilon=1e-3, centered=True, epsilon_inside_root=True),
    "rmsprop-all": RMSprop(
        RATE, epsilon=1e-3, centered=True, momentum=0.9, l2=0.1, epsilon_inside_root=True
    ),
    "rmsprop-momentum": RMSprop(RATE, epsilon=1e-3, momentum=0.9),
    "adagrad": Adagrad(RATE),
    "adagrad-inside": Adagrad(RATE, epsilon=1e-3, epsilon_inside_root=True, initial=0.1),
    "adagrad-l2": Adagrad(Piecewise((20, 30), (0.1, 0.05, 0.01)), initial=0.1, l2=0.1),
}


def write(backend, rule):
    registry.get(backend)
    module = import_module(f"triptych.backends._{backend}.rule_source")
    return module.write_rule(rule)


def learner_of(backend, rule):
    params = Initial(bias={"normal": 0.1}).draw(NETWORK, 0)
    return registry.get(backend).learner(NETWORK, params, rule=rule, dtype="float64")


def draw_gradients():
    rng = np.random.default_rng(3)
    sizes = {name: NETWORK.parameters[name].shape for name in NETWORK.trainable}
    return [{n: rng.normal(size=s) for n, s in sizes.items()} for _ in range(UPDATES)]


def names_of(text):
    names = {"__name__": "written"}
    exec(compile(text, "<written>", "exec"), names)
    return names


def train_torch(names, learner, batches):
    import torch

    model, optimizer = learner.model, names["make_optimizer"](learner.model)
    for update, gradients in enumerate(batches):
        for name, gradient in gradients.items():
            node, home = learner._home(name)
            param = getattr(model.get_submodule(node), home.attribute)
            # As backward() leaves it: fused optimizers read raw memory, in the parameter's strides.
            native = torch.from_numpy(np.ascontiguousarray(home.to_native(gradient)))
            param.grad = torch.empty_like(param, requires_grad=False).copy_(native)
        if "clip_gradients" in names:
            names["clip_gradients"](model)
        if "rate" in names:
            optimizer.param_groups[0]["lr"] = names["rate"](update)
        optimizer.step()
    return learner.params()


def train_jax(names, learner, batches):
    import jax.numpy as jnp
    from flax import nnx

    model = learner.model
    optimizer = names["make_optimizer"](model)

    @nnx.jit
    def change(model, optimizer, gradients, rate):
        options = {"rate": rate} if "rate" in names else {}
        optimizer.update(model, nnx.State(gradients), **options)

    for update, gradients in enumerate(batches):
        tree: dict = {}
        for name, gradient in gradients.items():
            node, home = learner._home(name)
            tree.setdefault(node, {})[home.attribute] = nnx.Param(jnp.asarray(gradient))
        rate = jnp.asarray(names["rate"](update) if "rate" in names else 0.0)
        change(model, optimizer, tree, rate)
    return {name: np.asarray(getattr(getattr(model, name.split("/")[0]), name.split("/")[1])[...])
            for name in NETWORK.trainable}  # fmt: skip


def train_keras(names, learner, batches):
    import keras
    import tensorflow as tf

    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        optimizer = names["make_optimizer"](learner.model)
        variables = learner.model.trainable_variables
        change = tf.function(lambda gradients: optimizer.apply(gradients, variables))
        for update, gradients in enumerate(batches):
            if "rate" in names:
                optimizer.learning_rate.assign(names["rate"](update))
            change([tf.constant(gradients[name]) for name in NETWORK.trainable])
    finally:
        keras.config.set_floatx(before)
    return learner.params()


TRAIN = {"torch": train_torch, "jax": train_jax, "keras": train_keras}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_written_rule_trains_as_the_learner_does(backend, name):
    rule, batches = RULES[name], draw_gradients()
    ours = learner_of(backend, rule)
    for gradients in batches:
        ours.apply_gradients(gradients)
    text = write(backend, rule)
    theirs = TRAIN[backend](names_of(text), learner_of(backend, None), batches)
    begin = learner_of(backend, None).params()
    for param, expected in ours.params().items():
        travelled = np.abs(expected - begin[param]).max()
        np.testing.assert_allclose(theirs[param], expected, rtol=0, atol=1e-11 * travelled)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_changed_constant_is_seen(backend):
    rule, batches = RULES["adam-before"], draw_gradients()
    ours = learner_of(backend, rule)
    for gradients in batches:
        ours.apply_gradients(gradients)
    text = write(backend, rule).replace("0.999", "0.9990001")
    theirs = TRAIN[backend](names_of(text), learner_of(backend, None), batches)
    apart = max(np.abs(theirs[name] - value).max() for name, value in ours.params().items())
    assert apart > 1e-9


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_texts_are_formatted(backend, tmp_path):
    for name, rule in RULES.items():
        (tmp_path / f"{name}.py").write_text(write(backend, rule))
    ruff = shutil.which("ruff") or f"{sys.prefix}/bin/ruff"
    command = [ruff, "format", "--line-length=100", "--diff", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    lint = [ruff, "check", "--isolated", "--line-length=100", "--select=E,F,I,B", str(tmp_path)]
    found = subprocess.run(lint, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


class Searching(Rule):
    name = "searching"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_rule_without_words_is_named(backend):
    with pytest.raises(Unsupported, match="'searching'"):
        write(backend, Searching(RATE))
