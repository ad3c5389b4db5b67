"""Update rules of three frameworks, named with all constants from their moves alone."""

import os

import numpy as np
import probing_adapters as adapters
import pytest

from triptych.errors import BatchError
from triptych.parity.probing.rules import describe, factors, identify

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def expect(found, rule, **constants):
    """Every constant to 3 digits (of 1 - x too), everything not named neutral, rates included."""
    assert found.rule == rule, describe(found)
    rates = constants.pop("rates")
    wanted = {key.replace("__", "."): value for key, value in constants.items()}
    for key, value in (found.constants | wanted).items():
        neutral = False if isinstance(value, bool) else 0.0
        want = wanted.get(key, NEUTRAL.get(key, neutral))
        assert value_is(found.constants.get(key), want), f"{key}: {describe(found)}"
    for count, rate in rates.items():
        assert found.rates[count] == pytest.approx(rate, rel=1e-3, abs=1e-12), (count, found.rates)


NEUTRAL = {"clip.global_norm": None, "clip.norm": None, "clip.value": None, "bias_correction": True}


def value_is(value, want):
    if isinstance(want, bool) or want is None or want == 0:
        return value == want
    complement = abs(value - want) <= 1e-2 * abs(1 - want)
    return value == pytest.approx(want, rel=1e-3) and (want >= 1 or complement)


def constant(rate):
    return dict.fromkeys((0, 1, 10, 100, 1000), rate)


def optax_cases():
    import optax as o

    rate, shrink = o.scale_by_learning_rate, o.add_decayed_weights
    cosine = o.cosine_decay_schedule(0.1, 300)
    steps = o.piecewise_constant_schedule(2e-3, {700: 0.1})
    warm, line = o.linear_schedule(0, 4e-3, 20), o.linear_schedule(1e-2, 1e-3, 40)
    moments = {"beta1": 0.85, "beta2": 0.98, "epsilon": 1e-5}
    adam = o.scale_by_adam(0.85, 0.98, 1e-5)
    return {
        "sgd": (o.sgd(0.07), "sgd", {"rates": constant(0.07)}),
        "nesterov": (
            o.sgd(0.02, momentum=0.85, nesterov=True),
            "sgd", {"momentum": 0.85, "nesterov": True, "rates": constant(0.02)},
        ),
        "sgd, cosine, global clip": (
            o.chain(o.clip_by_global_norm(1.3), o.sgd(cosine, momentum=0.7)),
            "sgd", {"momentum": 0.7, "clip__global_norm": 1.3, "rates": rates(cosine)},
        ),
        "rate in the buffer, cosine": (
            o.chain(rate(cosine), o.trace(0.6)),
            "sgd", {"momentum": 0.6, "rate_in_buffer": True, "rates": rates(cosine)},
        ),
        "adam": (
            o.adam(3e-3, 0.7, 0.97, eps=2e-7),
            "adam", {"beta1": 0.7, "beta2": 0.97, "epsilon": 2e-7, "rates": constant(3e-3)},
        ),
        "adam inside the root, warm-up": (
            o.adam(warm, 0.7, 0.97, eps=0.0, eps_root=3e-9),
            "adam", {"beta1": 0.7, "beta2": 0.97, "epsilon": 3e-9, "epsilon_inside_root": True,
                     "rates": rates(warm)},
        ),
        "adamw": (
            o.adamw(line, weight_decay=0.02),
            "adamw", {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.02,
                      "rates": rates(line)},
        ),
        "decay without the rate": (
            o.chain(adam, rate(line), shrink(-1e-4)),
            "adamw", {**moments, "weight_decay": 1e-4, "weight_decay_without_rate": True,
                      "rates": rates(line)},
        ),
        "l2, then clip": (
            o.chain(shrink(0.03), o.clip_by_global_norm(0.4), adam, o.scale(-0.004)),
            "adam", {**moments, "l2": 0.03, "clip__global_norm": 0.4, "clip__after_l2": True,
                     "rates": constant(0.004)},
        ),
        "clip, then l2": (
            o.chain(o.clip(0.3), shrink(0.004), adam, o.scale(-0.004)),
            "adam", {**moments, "l2": 0.004, "clip__value": 0.3, "rates": constant(0.004)},
        ),
        "amsgrad": (
            o.amsgrad(2e-3, 0.8, 0.9, 1e-6),
            "amsgrad", {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-6, "max_after_correction": True,
                        "rates": constant(2e-3)},
        ),
        "nadam": (
            o.nadam(5e-3, 0.85, 0.99),
            "nadam", {"beta1": 0.85, "beta2": 0.99, "epsilon": 1e-8, "momentum_decay": None,
                      "rates": constant(5e-3)},
        ),
        "rmsprop": (
            o.rmsprop(2e-3, 0.95, 1e-6, momentum=0.5),
            "rmsprop", {"decay": 0.95, "epsilon": 1e-6, "epsilon_inside_root": True,
                        "momentum": 0.5, "rates": constant(2e-3)},
        ),
        "rmsprop, centred, from 0.2, steps": (
            o.rmsprop(steps, 0.92, 1e-5, eps_in_sqrt=False, centered=True, initial_scale=0.2,
                      momentum=0.8),
            "rmsprop", {"decay": 0.92, "epsilon": 1e-5, "momentum": 0.8, "centered": True,
                        "initial": 0.2, "rate_in_buffer": True, "rates": rates(steps)},
        ),
        "adagrad": (
            o.adagrad(0.05, 0.3, 1e-9),
            "adagrad", {"initial": 0.3, "rates": constant(0.05)},
        ),
        "adadelta": (
            o.adadelta(0.5, 0.93, 1e-5),
            "adadelta", {"decay": 0.93, "epsilon": 1e-5, "rates": constant(0.5)},
        ),
        "adamax": (
            o.adamax(0.004, 0.8, 0.95, 1e-5),
            "adamax", {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-5, "epsilon_inside_max": True,
                       "rates": constant(0.004)},
        ),
        "lion": (
            o.lion(3e-4, 0.88, 0.97, weight_decay=0.1),
            "lion", {"beta1": 0.88, "beta2": 0.97, "weight_decay": 0.1, "rates": constant(3e-4)},
        ),
        "sign": (o.sign_sgd(0.003), "sign", {"rates": constant(0.003)}),
        "yogi": (
            o.yogi(0.01, 0.85, 0.98, 1e-3),
            "yogi", {"beta1": 0.85, "beta2": 0.98, "epsilon": 1e-3, "initial": 1e-6,
                     "rates": constant(0.01)},
        ),
        "adabelief": (
            o.adabelief(2e-3, 0.8, 0.97, eps=1e-9, eps_root=1e-14),
            "adabelief", {"beta1": 0.8, "beta2": 0.97, "epsilon": 1e-9,
                          "epsilon_accumulated": 1e-14, "rates": constant(2e-3)},
        ),
        "radam": (
            o.radam(0.004, 0.9, 0.97),
            "radam", {"beta1": 0.9, "beta2": 0.97, "epsilon": 1e-8, "rates": constant(0.004)},
        ),
    }  # fmt: skip


def rates(schedule):
    return {count: float(schedule(count)) for count in (0, 1, 10, 100, 1000)}


def torch_cases():
    import torch

    t, clips, schedules = torch.optim, torch.nn.utils, torch.optim.lr_scheduler

    class Halved(t.Optimizer):
        """A user's own rule: heavy ball whose rate is halved, written without a library's help."""

        def __init__(self, params):
            super().__init__(params, {})

        def step(self, closure=None):
            for param in self.param_groups[0]["params"]:
                buffer = self.state[param].setdefault("ball", torch.zeros_like(param))
                buffer.mul_(0.65).add_(param.grad)
                param.sub_(0.5 * 0.08 * buffer)

    return {
        "dampening": (
            (lambda p: t.SGD(p, 0.03, momentum=0.8, dampening=0.3, weight_decay=2e-3),),
            "sgd", {"momentum": 0.8, "dampening": 0.3, "l2": 2e-3, "rates": constant(0.03)},
        ),
        "nesterov, clip_grad_norm_": (
            (lambda p: t.SGD(p, 0.03, momentum=0.8, nesterov=True, weight_decay=2e-3),
             lambda p: clips.clip_grad_norm_(p, 2.5)),
            "sgd", {"momentum": 0.8, "nesterov": True, "l2": 2e-3, "clip__global_norm": 2.5,
                    "clip__guard": 1e-6, "rates": constant(0.03)},
        ),
        "adam, coupled decay": (
            (lambda p: t.Adam(p, 2e-3, (0.8, 0.99), 3e-7, weight_decay=3e-3),),
            "adam", {"beta1": 0.8, "beta2": 0.99, "epsilon": 3e-7, "l2": 3e-3,
                     "rates": constant(2e-3)},
        ),
        "adamw, amsgrad, clip by value": (
            (lambda p: t.AdamW(p, 2e-3, (0.8, 0.99), weight_decay=0.03, amsgrad=True),
             lambda p: clips.clip_grad_value_(p, 0.7)),
            "amsgrad", {"beta1": 0.8, "beta2": 0.99, "epsilon": 1e-8, "weight_decay": 0.03,
                        "clip__value": 0.7, "rates": constant(2e-3)},
        ),
        "rmsprop, centred, momentum": (
            (lambda p: t.RMSprop(p, 2e-3, 0.95, 1e-4, centered=True, momentum=0.7),),
            "rmsprop", {"decay": 0.95, "epsilon": 1e-4, "momentum": 0.7, "centered": True,
                        "rates": constant(2e-3)},
        ),
        "adagrad, its own decay": (
            (lambda p: t.Adagrad(p, 0.02, lr_decay=0.1, initial_accumulator_value=0.05),),
            "adagrad", {"initial": 0.05,
                        "rates": {n: 0.02 / (1 + 0.1 * n) for n in (0, 1, 10, 100, 1000)}},
        ),
        "adadelta, climbing": (
            (lambda p: t.Adadelta(p, 0.7, 0.85, 1e-5, maximize=True, weight_decay=1e-3),),
            "adadelta", {"decay": 0.85, "epsilon": 1e-5, "l2": 1e-3, "maximize": True,
                         "rates": constant(0.7)},
        ),
        "adamax": (
            (lambda p: t.Adamax(p, 0.01, (0.8, 0.97)),),
            "adamax", {"beta1": 0.8, "beta2": 0.97, "epsilon": 1e-8, "epsilon_inside_max": True,
                       "rates": constant(0.01)},
        ),
        "nadam, steps": (
            (lambda p: t.NAdam(p, 0.01, (0.8, 0.97), momentum_decay=0.02), None,
             lambda o: schedules.StepLR(o, 400, 0.3)),
            "nadam", {"beta1": 0.8, "beta2": 0.97, "epsilon": 1e-8, "momentum_decay": 0.02,
                      "rates": {0: 0.01, 1: 0.01, 10: 0.01, 100: 0.01, 1000: 0.0009}},
        ),
        "a user's own": ((Halved,), "sgd", {"momentum": 0.65, "rates": constant(0.04)}),
    }  # fmt: skip


def keras_cases():
    import keras

    o, s = keras.optimizers, keras.optimizers.schedules
    exponential, cosine = s.ExponentialDecay(0.05, 20, 0.8), s.CosineDecay(2e-2, 200)
    steps = s.PiecewiseConstantDecay([90], [1e-2, 1e-3])
    moments = {"beta1": 0.85, "beta2": 0.99, "epsilon": 1e-5, "epsilon_before_correction": True}
    return {
        "sgd, exponential, clipnorm": (
            lambda: o.SGD(exponential, momentum=0.8, nesterov=True, clipnorm=0.5),
            "sgd", {"momentum": 0.8, "nesterov": True, "rate_in_buffer": True, "clip__norm": 0.5,
                    "rates": rates(exponential)},
        ),
        "sgd, decay": (
            lambda: o.SGD(0.05, momentum=0.4, weight_decay=0.003),
            "sgd", {"momentum": 0.4, "weight_decay": 0.003, "rates": constant(0.05)},
        ),
        "adam, global_clipnorm": (
            lambda: o.Adam(3e-3, 0.85, 0.99, 1e-5, global_clipnorm=2.0),
            "adam", {**moments, "clip__global_norm": 2.0, "rates": constant(3e-3)},
        ),
        "adamw, steps, clipvalue": (
            lambda: o.AdamW(steps, 0.02, 0.85, 0.99, 1e-5, clipvalue=0.6),
            "adamw", {**moments, "weight_decay": 0.02, "clip__value": 0.6, "rates": rates(steps)},
        ),
        "amsgrad": (
            lambda: o.Adam(3e-3, 0.85, 0.99, 1e-5, amsgrad=True),
            "amsgrad", {**moments, "rates": constant(3e-3)},
        ),
        "rmsprop, cosine": (
            lambda: o.RMSprop(cosine, 0.9, momentum=0.6),
            "rmsprop", {"decay": 0.9, "epsilon": 1e-7, "epsilon_inside_root": True,
                        "momentum": 0.6, "rate_in_buffer": True, "rates": rates(cosine)},
        ),
        "adagrad": (lambda: o.Adagrad(0.02, 0.3, 1e-9),
                    "adagrad", {"initial": 0.3, "rates": constant(0.02)}),
        "adadelta": (
            lambda: o.Adadelta(0.5, 0.9, 1e-6),
            "adadelta", {"decay": 0.9, "epsilon": 1e-6, "rates": constant(0.5)},
        ),
        "adamax": (
            lambda: o.Adamax(0.004, 0.8, 0.95, 1e-5),
            "adamax", {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-5, "rates": constant(0.004)},
        ),
        "nadam": (
            lambda: o.Nadam(0.004, 0.85, 0.99, 1e-6),
            "nadam", {"beta1": 0.85, "beta2": 0.99, "epsilon": 1e-6, "momentum_decay": 1.0,
                      "rates": constant(0.004)},
        ),
    }  # fmt: skip


def _named(cases, name):
    if name not in cases:
        raise KeyError(f"{name!r} is not one of {list(cases)}")
    return cases[name]


OPTAX = (
    "sgd", "nesterov", "sgd, cosine, global clip", "rate in the buffer, cosine", "adam",
    "adam inside the root, warm-up", "adamw", "decay without the rate", "l2, then clip",
    "clip, then l2", "amsgrad", "nadam", "rmsprop", "rmsprop, centred, from 0.2, steps", "adagrad",
    "adadelta", "adamax", "lion", "sign", "yogi", "adabelief", "radam",
)  # fmt: skip
TORCH = (
    "dampening", "nesterov, clip_grad_norm_", "adam, coupled decay",
    "adamw, amsgrad, clip by value", "rmsprop, centred, momentum", "adagrad, its own decay",
    "adadelta, climbing", "adamax", "nadam, steps", "a user's own",
)  # fmt: skip
KERAS = (
    "sgd, exponential, clipnorm", "sgd, decay", "adam, global_clipnorm", "adamw, steps, clipvalue",
    "amsgrad", "rmsprop, cosine", "adagrad", "adadelta", "adamax", "nadam",
)  # fmt: skip


@pytest.mark.parametrize("name", OPTAX)
def test_an_optax_chain_is_named(name):
    pytest.importorskip("optax")
    transform, rule, constants = _named(optax_cases(), name)
    expect(identify(adapters.optax_play(transform)), rule, **constants)


@pytest.mark.parametrize("name", TORCH)
def test_a_torch_optimizer_is_named(name):
    pytest.importorskip("torch")
    parts, rule, constants = _named(torch_cases(), name)
    expect(identify(adapters.torch_play(*parts)), rule, **constants)


@pytest.mark.parametrize("name", KERAS)
def test_a_keras_optimizer_is_named(name):
    pytest.importorskip("keras")
    make, rule, constants = _named(keras_cases(), name)
    expect(identify(adapters.keras_play(make)), rule, **constants)


@pytest.mark.parametrize("name", ("adam, global_clipnorm", "nadam", "adagrad"))
def test_a_keras_optimizer_in_float32_is_named(name):
    pytest.importorskip("keras")
    make, rule, constants = _named(keras_cases(), name)
    found = identify(adapters.keras_play(make, "float32"), dtype="float32")
    expect(found, rule, **constants)
    assert any("float32" in note for note in found.notes)


def numpy_adam(beta2=0.99, power=0.5, change=10**9):
    """Adam by hand: ``power`` 1/2 takes the root, anything else is a rule nobody has."""

    def play(gradients, start, first):
        params, after = {k: np.array(v) for k, v in start.items()}, []
        m, v = ({k: 0.0 * p for k, p in params.items()} for _ in range(2))
        for t, gradient in enumerate(gradients, first + 1):
            rate = 1e-3 if t <= change else 5e-4
            for k, g in gradient.items():
                m[k], v[k] = 0.9 * m[k] + 0.1 * g, beta2 * v[k] + (1 - beta2) * g * g
                scale = (v[k] / (1 - beta2**t)) ** power + 1e-8
                params[k] = params[k] - rate * m[k] / (1 - 0.9**t) / scale
            after.append(dict(params))
        return after

    return play


def test_a_changed_constant_is_seen():
    one, other = (factors(identify(numpy_adam(beta2))) for beta2 in (0.99, 0.9905))
    assert {key for key in one if one[key] != other[key]} == {"optimizer.beta2"}
    with pytest.raises(AssertionError, match="beta2"):
        expect(identify(numpy_adam(0.9905)), "adam", beta1=0.9, beta2=0.99, epsilon=1e-8,
               rates=constant(1e-3))  # fmt: skip


def test_an_unknown_rule_is_called_unknown():
    found = identify(numpy_adam(power=0.4))
    assert found.rule == "unknown" and found.residual > 1e-3
    assert found.constants == {} and "unknown" in describe(found)


def test_the_first_change_of_the_rate_is_found():
    found = identify(numpy_adam(change=437))
    assert found.changes_at == 437
    assert found.rates[100] == pytest.approx(1e-3) and found.rates[1000] == pytest.approx(5e-4)


def test_factors_are_the_audits_keys():
    found = factors(identify(numpy_adam()))
    assert found["optimizer.rule"] == "adam" and found["optimizer.rate at update 0"] == 1e-3
    assert found["optimizer.l2"] == 0.0 and found["optimizer.clip.global_norm"] is None
    assert found["optimizer.epsilon_inside_root"] is False


def test_another_dtype_is_refused():
    with pytest.raises(BatchError, match="float16"):
        identify(numpy_adam(), dtype="float16")
