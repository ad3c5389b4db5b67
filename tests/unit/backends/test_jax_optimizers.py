"""Optax chains read as rules, their state carried by meaning, and 50 updates more either side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, serialization
from zoo import jax_zoo

from triptych.backends import registry
from triptych.backends.carried import Given
from triptych.errors import PortError
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule
from triptych.spec.schedules import Constant, Cosine, Exponential, Linear, Piecewise

registry.get("jax")
PORTER = registry.porter("jax")
RATE = Constant(0.01)
BEFORE, AFTER = 3, 50


@pytest.fixture(autouse=True, scope="module")
def quick_compiler() -> Iterator[None]:
    """Compile in two thirds of the time; the programs are run once or twice."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        real = {"param_dtype": jnp.float64, "rngs": rngs}
        self.one, self.two = nnx.Linear(3, 4, **real), nnx.Linear(4, 2, **real)

    def __call__(self, x: Any) -> Any:
        return self.two(nnx.tanh(self.one(x)))


def net() -> Net:
    model: Net = jax_zoo.filled(lambda: Net(nnx.Rngs(0)))
    return model


def gradients(count: int) -> list[dict[str, np.ndarray]]:
    stream, shapes = np.random.default_rng(7), {}
    for place, variable in nnx.to_flat_state(nnx.state(net())):
        shapes[".".join(map(str, place))] = variable.shape
    return [{key: stream.normal(size=s) for key, s in shapes.items()} for _ in range(count)]


def tree(arrays: dict[str, np.ndarray]) -> Any:
    found: dict[str, Any] = {}
    for key, array in arrays.items():
        layer, name = key.split(".")
        found.setdefault(layer, {})[name] = jnp.asarray(array)
    return found


def state_of(arrays: Any) -> nnx.State:
    return nnx.State(jax.tree.map(nnx.Param, arrays))


RULES: dict[str, tuple[Any, Rule]] = {
    "sgd": (lambda: optax.sgd(0.01), SGD(RATE)),
    "nesterov": (
        lambda: optax.sgd(0.01, momentum=0.9, nesterov=True),
        SGD(RATE, momentum=0.9, nesterov=True),
    ),
    "momentum under a schedule": (
        lambda: optax.sgd(optax.exponential_decay(0.1, 10, 0.5, staircase=True), momentum=0.8),
        SGD(Exponential(0.1, 0.5, 10, True), momentum=0.8),
    ),
    "adam": (
        lambda: optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.01, b2=0.99, eps=1e-5)),
        Adam(RATE, l2=0.1, beta2=0.99, epsilon=1e-5),
    ),
    "adam, epsilon inside": (
        lambda: optax.adam(0.01, eps=0.0, eps_root=1e-6),
        Adam(RATE, epsilon=1e-6, epsilon_inside_root=True),
    ),
    "adamw": (
        lambda: optax.chain(
            optax.clip_by_global_norm(0.5),
            optax.adamw(optax.cosine_decay_schedule(0.01, 30, 0.2), weight_decay=0.02),
        ),
        AdamW(Cosine(0.01, 0.002, 30), clip=Clip(global_norm=0.5), weight_decay=0.02),
    ),
    "adamw under a schedule": (
        lambda: optax.adamw(optax.linear_schedule(0.01, 0.001, 30)),
        AdamW(Linear(0.01, 0.001, 30), weight_decay=1e-4),
    ),
    "rmsprop, the rate in its momentum": (
        lambda: optax.rmsprop(0.01, momentum=0.9),
        RMSprop(RATE, epsilon=1e-8, epsilon_inside_root=True, momentum=0.9),
    ),
    "rmsprop, centred": (
        lambda: optax.rmsprop(
            optax.cosine_decay_schedule(0.01, 40), decay=0.95, eps=1e-4, centered=True,
            eps_in_sqrt=False,
        ),
        RMSprop(Cosine(0.01, 0.0, 40), decay=0.95, epsilon=1e-4, centered=True),
    ),
    "adagrad": (
        lambda: optax.chain(
            optax.clip(0.7),
            optax.adagrad(optax.piecewise_constant_schedule(0.1, {5: 0.5, 20: 0.1})),
        ),
        Adagrad(
            Piecewise((5, 20), (0.1, 0.05, 0.005)), clip=Clip(value=0.7), epsilon=1e-7,
            epsilon_inside_root=True, initial=0.1,
        ),
    ),
}  # fmt: skip


ROUNDED = {"adamw under a schedule", "momentum under a schedule"}
"""Rules whose rate Optax computes in float32."""


def at_home(make: Any) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """A source read after some updates; and the params that the native optimizer reaches."""
    model = net()
    optimizer = nnx.Optimizer(model, make(), wrt=nnx.Param)
    step = nnx.jit(lambda optimizer, model, grads: optimizer.update(model, grads))
    every = gradients(BEFORE + AFTER)
    for grads in every[:BEFORE]:
        step(optimizer, model, state_of(tree(grads)))
    source = PORTER.read_object(model, Given(shape=(3,)), optimizer)
    for grads in every[BEFORE:]:
        step(optimizer, model, state_of(tree(grads)))
    flat = nnx.to_flat_state(nnx.state(model))
    return source, optimizer, {".".join(p): np.asarray(v[...]) for p, v in flat}


def goes_on(trained: Any, expected: dict[str, np.ndarray], bar: float = 1e-11) -> None:
    """Make the further updates by a learner and compare, relative to the way travelled."""
    learner = registry.get("jax").learner(
        trained.network, trained.params, rule=trained.rule, dtype="float64"
    )
    learner.load_slots(trained.slots)
    names = {"dense1": "one", "dense2": "two"}
    keys = {n: f"{names[n.split('/')[0]]}.{n.split('/')[1]}" for n in trained.network.trainable}
    for grads in gradients(BEFORE + AFTER)[BEFORE:]:
        learner.apply_gradients({name: grads[key] for name, key in keys.items()})
    after = learner.params()
    for name, key in keys.items():
        way = np.abs(expected[key] - trained.params[name]).max()
        assert np.abs(after[name] - expected[key]).max() <= bar * way


@pytest.mark.parametrize("name", RULES)
def test_fifty_updates_more_are_the_same_elsewhere(name: str) -> None:
    make, rule = RULES[name]
    source, _, expected = at_home(make)
    trained = source.trained
    rounded = "Optax rounds this schedule's rate to float32; from now on it is exact"
    assert trained.notes == ((rounded,) if name in ROUNDED else ())
    assert_close(trained.rule, rule)
    assert trained.slots.updates == BEFORE
    goes_on(trained, expected, 1e-6 if name in ROUNDED else 1e-11)


def assert_close(found: Any, expected: Any) -> None:
    """Equal rules, but for the last digits of piecewise rates, which Optax multiplies up."""
    rates = [[rule.rate.value(count) for count in range(60)] for rule in (found, expected)]
    assert np.allclose(*rates, rtol=1e-12, atol=0.0)
    assert type(found) is type(expected)
    assert found.factors() | {"clip": found.clip} == expected.factors() | {"clip": expected.clip}


@pytest.mark.parametrize("name", ["adamw", "rmsprop, the rate in its momentum"])
def test_a_written_optimizer_goes_on_natively(name: str, tmp_path: Path) -> None:
    source, _, expected = at_home(RULES[name][0])
    path = tmp_path / "net.safetensors"
    files = PORTER.write(source.trained, path, "net")
    assert [file.name for file in files][2:] == ["net.optimizer.safetensors"]
    again = PORTER.read(path, Given(network=source.trained.network)).trained
    assert again.rule == source.trained.rule
    assert again.slots.updates == BEFORE
    for slot, arrays in source.trained.slots.values.items():
        assert all(np.array_equal(again.slots.values[slot][key], a) for key, a in arrays.items())
    goes_on(again, expected)
    module = PORTER.load(source.trained, path, "net").module
    model = module.load(str(path), jnp.float64)
    optimizer = module.load_optimizer(str(files[2]), model)
    scheduled = hasattr(module, "rate")
    step = nnx.jit(lambda optimizer, model, grads, given: optimizer.update(model, grads, **given))
    named = {"one": "dense1", "two": "dense2"}
    for count, grads in enumerate(gradients(BEFORE + AFTER)[BEFORE:], BEFORE):
        given = {"rate": jnp.asarray(module.rate(count))} if scheduled else {}
        natives = {named[layer]: own for layer, own in tree(grads).items()}
        step(optimizer, model, state_of(natives), given)
    for key, array in expected.items():
        layer, name = key.split(".")
        found = np.asarray(getattr(getattr(model, named[layer]), name)[...])
        assert np.abs(found - array).max() <= 1e-11 * np.abs(array).max()


LEFT: dict[str, tuple[Any, str]] = {
    "nadam": (lambda: optax.nadam(0.01), "Nesterov"),
    "lion": (
        lambda: optax.lion(0.01),
        "a chain of scale_by_lion, add_decayed_weights is no update rule",
    ),
    "corrected rmsprop": (lambda: optax.rmsprop(0.01, bias_correction=True), "corrects RMSprop"),
    "a rate that changes inside": (
        lambda: optax.rmsprop(optax.linear_schedule(0.1, 0.0, 9), momentum=0.9),
        "a rate that changes",
    ),
    "a schedule of its own": (lambda: optax.sgd(lambda count: 0.1 / (1 + count)), "schedule"),
    "another's name": (lambda: optax.chain(scale_by_rms(), optax.scale(-0.1)), "moves params"),
}


def scale_by_rms() -> Any:
    """Something else under the name, and with the constants, of Optax' own."""
    decay, eps, eps_in_sqrt = 0.9, 1e-8, True

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        factor = decay + eps * eps_in_sqrt
        return jax.tree.map(lambda g: factor * g, grads), state

    update.__qualname__ = "scale_by_rms.<locals>.update_fn"
    return optax.GradientTransformation(optax.init_empty_state, update)


@pytest.mark.parametrize("name", LEFT)
def test_an_optimizer_without_a_rule_is_left_behind_and_said(name: str) -> None:
    make, message = LEFT[name]
    model = net()
    trained = PORTER.read_object(
        model, Given(shape=(3,)), nnx.Optimizer(model, make(), wrt=nnx.Param)
    ).trained
    assert (trained.rule, trained.slots) == (None, None)
    (note,) = trained.notes
    assert note.startswith("the optimizer was left behind: ")
    assert message in note


def test_a_train_state_is_read_with_the_rule_that_is_given(tmp_path: Path) -> None:
    """A file holds no constants: msgpack of Flax' own kind, Linen's names, Optax' state."""
    source, _, _ = at_home(RULES["rmsprop, the rate in its momentum"][0])
    chain, model = optax.rmsprop(0.01, momentum=0.9), net()
    params = {
        f"Dense_{number}": {"kernel": layer.kernel[...], "bias": layer.bias[...]}
        for number, layer in enumerate((model.one, model.two))
    }
    state, every, update = chain.init(params), gradients(BEFORE), jax.jit(chain.update)
    for grads in every:
        own = {"Dense_0": tree(grads)["one"], "Dense_1": tree(grads)["two"]}
        steps, state = update(own, state, params)
        params = optax.apply_updates(params, steps)
    path = tmp_path / "state.msgpack"
    whole = {"step": BEFORE, "params": params, "opt_state": state}
    path.write_bytes(serialization.to_bytes(whole))
    given = Given(network=source.trained.network, rule=source.trained.rule)
    trained = PORTER.read(path, given).trained
    assert trained.slots.updates == BEFORE
    for slot, arrays in source.trained.slots.values.items():
        assert all(
            np.allclose(trained.slots.values[slot][k], a, rtol=1e-12) for k, a in arrays.items()
        )
    alone = PORTER.read(path, Given(network=source.trained.network)).trained
    assert alone.slots is None
    assert "does not hold its constants" in alone.notes[0]


def test_a_state_of_other_params_is_refused(tmp_path: Path) -> None:
    model = net()
    chain = optax.adam(0.01)
    with pytest.raises(PortError, match=r"no 'mu' for one\.kernel"):
        PORTER.read_object(model, Given(shape=(3,)), (chain, chain.init({"a": jnp.ones(2)})))
    with pytest.raises(PortError, match=r"expected an nnx\.Optimizer"):
        PORTER.read_object(model, Given(shape=(3,)), "adam")
