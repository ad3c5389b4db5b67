"""Update rules and objectives as data: defaults pinned, slots, clipping, and every complaint."""

from __future__ import annotations

import pickle

import pytest

from triptych.spec.objective import (
    OBJECTIVES,
    CrossEntropy,
    SquaredError,
    TDHuber,
    TDSquared,
    parse_objective,
)
from triptych.spec.rules import (
    RULES,
    SCG,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Clip,
    RMSprop,
    constant,
    parse_rule,
)
from triptych.spec.schedules import Constant, Linear

RATE = Constant(0.1)


def rule(**data):
    mistakes: list[str] = []
    found = parse_rule(data, "optimizer", mistakes)
    assert mistakes == []
    return found


def complaints(data) -> list[str]:
    mistakes: list[str] = []
    assert parse_rule(data, "optimizer", mistakes) is None
    return mistakes


def test_every_constant_is_pinned():
    assert rule(name="sgd", rate=0.1) == SGD(RATE, 0.0, Clip(None, None, None), 0.0, False)
    assert rule(name="adam", rate=0.1).factors() == {
        "rule": "adam",
        "l2": 0.0,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "epsilon_inside_root": False,
        "epsilon_before_correction": False,
    }
    assert rule(name="adamw", rate=0.1).factors()["weight_decay"] == 0.01
    assert rule(name="rmsprop", rate=0.1).factors() == {
        "rule": "rmsprop",
        "l2": 0.0,
        "decay": 0.9,
        "epsilon": 1e-7,
        "epsilon_inside_root": False,
        "momentum": 0.0,
        "centered": False,
    }
    assert rule(name="adagrad", rate=0.1).factors() == {
        "rule": "adagrad",
        "l2": 0.0,
        "epsilon": 1e-10,
        "epsilon_inside_root": False,
        "initial": 0.0,
    }


def test_options_are_read():
    found = rule(
        name="sgd",
        rate={"schedule": "linear", "start": 1, "end": 0, "steps": 5},
        momentum="9e-1",
        nesterov=True,
        l2=1,
        clip={"norm": 2},
    )
    assert found == SGD(Linear(1.0, 0.0, 5), 1.0, Clip(norm=2.0), 0.9, True)
    assert isinstance(found.l2, float)
    assert rule(name="adam", rate=0.1, clip=None).clip == Clip()
    assert rule(name="adam", rate=0.1, clip={}).clip == Clip()
    assert rule(name="adam", rate=0.1, clip=Clip(value=1.0)).clip == Clip(value=1.0)
    assert constant(0.1) == RATE


def test_slots():
    assert SGD(RATE).slots == ()
    assert SGD(RATE, momentum=0.9).slots == ("momentum",)
    assert Adam(RATE).slots == AdamW(RATE).slots == ("first_moment", "second_moment")
    assert RMSprop(RATE).slots == ("second_moment",)
    assert RMSprop(RATE, momentum=0.5).slots == ("second_moment", "momentum")
    both = RMSprop(RATE, momentum=0.5, centered=True).slots
    assert both == ("second_moment", "first_moment", "momentum")
    assert Adagrad(RATE).slots == ("accumulator",)
    assert SCG().slots == ("direction", "residual")
    assert SCG().numbers["damping"] == 5e-7 and not Adagrad(RATE).numbers


def test_scg_has_no_rate_no_clip_and_no_l2():
    assert (one := rule(name="scg")) == SCG(constant(1.0), sigma=5e-5, damping=5e-7)
    assert pickle.loads(pickle.dumps(one)) == one and one.searches and not Adam(RATE).searches
    for given, says in (
        ({"rate": 0.1}, "optimizer: scg finds the length of its steps itself: leave rate out"),
        ({"clip": {"value": 1}}, "optimizer: scg compares losses"),
        ({"l2": 0.1}, "optimizer: scg compares losses"),
        ({"sigma": 0}, "optimizer.sigma: must be above 0.0 but is 0.0"),
    ):
        mistakes: list[str] = []
        assert parse_rule({"name": "scg"} | given, "optimizer", mistakes) is None
        assert len(mistakes) == 1 and mistakes[0].startswith(says)


@pytest.mark.parametrize("name", [name for name in RULES if name != "scg"])
def test_rules_are_frozen_hashable_and_pickle(name):
    one = rule(name=name, rate=0.1, clip={"value": 1})
    assert one == rule(name=name, rate=0.1, clip={"value": 1}) != rule(name=name, rate=0.2)
    assert hash(one) == hash(rule(name=name, rate=0.1, clip={"value": 1}))
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.rate = RATE


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "optimizer: expected options such as {name: sgd, ...} but found None"),
        ("adam", "optimizer: expected options such as {name: sgd, ...} but found 'adam'"),
        ({}, "optimizer.name: is missing; known are sgd, adam, adamw, rmsprop, adagrad, scg"),
        ({"name": "adan"}, "optimizer.name: 'adan' is unknown (did you mean 'adam'?)"),
        (
            {"name": 5},
            "optimizer.name: 5 is unknown; known are sgd, adam, adamw, rmsprop, adagrad, scg",
        ),
        ({"name": ["sgd"]}, "optimizer.name: ['sgd'] is unknown; known are sgd, adam, adamw, "),
        ({"name": "sgd"}, "optimizer.rate: is missing"),
        ({"name": "sgd", "rate": -1}, "optimizer.rate: must be at least 0 but is -1"),
        ({"name": "sgd", "rate": True}, "optimizer.rate: expected a finite number but found True"),
        (
            {"name": "sgd", "rate": 1, "momentum": 1},
            "optimizer.momentum: must be below 1.0 but is 1.0",
        ),
        (
            {"name": "sgd", "rate": 1, "nesterov": True},
            "optimizer: nesterov needs a momentum above 0",
        ),
        (
            {"name": "sgd", "rate": 1, "nesterov": "yes"},
            "optimizer.nesterov: expected true or false but found 'yes'",
        ),
        ({"name": "sgd", "rate": 1, "l2": -1}, "optimizer.l2: must be at least 0.0 but is -1.0"),
        (
            {"name": "adam", "rate": 1, "beta2": "nan"},
            "optimizer.beta2: expected a finite number but found 'nan'",
        ),
        (
            {"name": "adam", "rate": 1, "epsilon": None},
            "optimizer.epsilon: expected a finite number but found None",
        ),
        (
            {
                "name": "adam",
                "rate": 1,
                "epsilon_inside_root": True,
                "epsilon_before_correction": True,
            },
            "optimizer: epsilon is either inside the root or before the correction, not both",
        ),
        (
            {"name": "adam", "rate": 1, "weight_decay": 0.1},
            "optimizer.weight_decay: unknown option; known are rate, l2, clip, beta1, beta2, ",
        ),
        (
            {"name": "sgd", "rate": 1, "clip": 5},
            "optimizer.clip: expected a mapping of options but found 5",
        ),
        (
            {"name": "sgd", "rate": 1, "clip": False},
            "optimizer.clip: expected a mapping of options but found False",
        ),
        (
            {"name": "sgd", "rate": 1, "clip": {"norm": 1, "value": 1}},
            "optimizer.clip: only one of global_norm, norm and value may be given",
        ),
        (
            {"name": "sgd", "rate": 1, "clip": {"norm": 0}},
            "optimizer.clip.norm: must be above 0.0 but is 0.0",
        ),
        (
            {"name": "sgd", "rate": 1, "clip": {"global_norm": float("inf")}},
            "optimizer.clip.global_norm: expected a finite number but found inf",
        ),
        (
            {"name": "sgd", "rate": 1, "clip": {"nrm": 1}},
            "optimizer.clip.nrm: unknown option (did you mean 'norm'?)",
        ),
    ],
)
def test_one_sentence_for_one_mistake(data, says):
    (found,) = complaints(data)
    assert found.startswith(says)


def test_all_mistakes_at_once_each_with_its_place():
    assert complaints(
        {
            "name": "sgd",
            "rate": {"schedule": "linear", "start": "x"},
            "clip": {"norm": -1, "foo": 2},
            "momentun": 0.9,
        }
    ) == [
        "optimizer.momentun: unknown option (did you mean 'momentum'?)",
        "optimizer.rate.start: expected a finite number but found 'x'",
        "optimizer.rate.end: is missing",
        "optimizer.rate.steps: is missing",
        "optimizer.clip.foo: unknown option; known are global_norm, norm, value",
        "optimizer.clip.norm: must be above 0.0 but is -1.0",
    ]


@pytest.mark.parametrize(
    ("data", "objective"),
    [
        ({"name": "td_squared"}, TDSquared("mean", 1.0)),
        ({"name": "td_huber", "delta": 2}, TDHuber("mean", 2.0)),
        ({"name": "squared_error", "factor": "5e-1"}, SquaredError("mean", 0.5)),
        ({"name": "cross_entropy", "reduction": "sum"}, CrossEntropy("sum")),
    ],
)
def test_objectives(data, objective):
    mistakes: list[str] = []
    assert parse_objective(data, "objective", mistakes) == objective
    assert mistakes == []
    assert hash(objective) == hash(type(objective)(**vars(objective)))
    assert OBJECTIVES[data["name"]] is type(objective)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("td_huber", "objective: expected options such as {name: td_squared, ...} but found"),
        ({"delta": 1}, "objective.name: is missing; known are td_squared, td_huber, squared_error"),
        ({"name": "td_hubr"}, "objective.name: 'td_hubr' is unknown (did you mean 'td_huber'?)"),
        ({"name": "td_huber", "delta": 0}, "objective.delta: must be above 0.0 but is 0.0"),
        (
            {"name": "td_huber", "reduction": "avg"},
            "objective.reduction: 'avg' is none of mean, sum",
        ),
        (
            {"name": "td_huber", "reduction": ["mean"]},
            "objective.reduction: expected a word but found ['mean']",
        ),
        (
            {"name": "td_huber", "factor": 1},
            "objective.factor: unknown option; known are reduction",
        ),
    ],
)
def test_what_is_no_objective(data, says):
    mistakes: list[str] = []
    assert parse_objective(data, "objective", mistakes) is None
    (found,) = mistakes
    assert found.startswith(says)
