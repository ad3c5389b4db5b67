"""Recipes: what the shipped ones say, every mistake at once, and nothing that escapes."""

from __future__ import annotations

import pickle
from copy import deepcopy
from importlib.resources import files

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triptych.engines import setup
from triptych.errors import RecipeError, TaskError
from triptych.spec.recipe import DQN, Budget, Recipe, parse_recipe
from triptych.spec.rules import Adam, Clip
from triptych.spec.schedules import Constant, Linear
from triptych.spec.shelf import load_recipe, shipped

SHIPPED = {
    name: yaml.safe_load((files("triptych.recipes") / f"{name}.yaml").read_text(encoding="utf-8"))
    for name in shipped()
}


def changed(path: str, value, base: str = "fruit"):
    data = deepcopy(SHIPPED[base])
    *parents, last = path.split(".")
    place = data
    for key in parents:
        place = place[key]
    place[last] = value
    return data


def mistakes(data, **options) -> list[str]:
    with pytest.raises(RecipeError) as found:
        parse_recipe("mine", data, **options)
    first, *rest = str(found.value).splitlines()
    assert first == f"recipe 'mine' has {len(rest)} mistake{'s' if len(rest) > 1 else ''}:"
    assert all(line.startswith("  ") for line in rest)
    return [line.strip() for line in rest]


def test_the_shipped_recipes_are_what_the_design_says():
    fruit, atari = load_recipe("fruit"), setup.load_recipe("space-invaders")
    assert fruit.network.shapes["input"] == (15, 15, 1)
    assert (fruit.algorithm.discount, fruit.algorithm.batch) == (0.8, 128)
    assert fruit.algorithm.target_sync is None
    assert fruit.algorithm.exploration == Constant(0.8)
    assert fruit.optimizer.factors() | {"l2": 0} == {
        "rule": "rmsprop",
        "l2": 0,
        "decay": 0.9,
        "epsilon": 1e-7,
        "epsilon_inside_root": True,
        "momentum": 0.0,
        "centered": False,
    }
    assert fruit.budget == Budget(episodes=500)
    assert atari.algorithm.exploration == Linear(1.0, 0.1, 1_000_000)
    assert atari.algorithm.target_sync == 10_000
    assert atari.optimizer == Adam(Constant(2.5e-4), clip=Clip(global_norm=1.0))
    assert atari.network.by_name["rescale1"].layer.scale == 1 / 255


def test_a_network_may_end_with_the_tasks_number_of_actions():
    data = deepcopy(SHIPPED["fruit"])
    data["network"] = "15x15x1 -> flatten -> dense {task.actions}"
    asked = []
    recipe = parse_recipe("mine", data, count_actions=lambda task: asked.append(task) or 7)
    assert recipe.network.shapes[recipe.network.output.name] == (7,)
    assert asked == [data["task"]] == [recipe.task]  # the task itself is as it was written
    assert recipe.data == data
    parse_recipe("mine", SHIPPED["fruit"], count_actions=lambda task: 1 / 0)  # not asked
    assert mistakes(data) == ["network: {task.actions} refers to a value that the recipe lacks"]


def test_a_task_whose_actions_cannot_be_counted_is_one_mistake():
    data = deepcopy(SHIPPED["fruit"])
    data["network"] = "15x15x1 -> flatten -> dense {task.actions}"

    def fails(task):
        raise TaskError("there is no such game")

    assert mistakes(data, count_actions=fails) == ["task: there is no such game"]
    told = mistakes(data, check_task=lambda task: ["no such game"], count_actions=lambda task: None)
    assert told == ["task: no such game"]
    assert mistakes(data | {"task": 3}, count_actions=fails) == [
        "task: expected a mapping of options but found 3"
    ]


def test_recipes_are_equal_hashable_and_pickle():
    one, other = load_recipe("fruit"), load_recipe("fruit")
    assert one == other
    assert hash(one) == hash(other)
    assert one != load_recipe("fruit", ["algorithm.discount=0.9"])
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.name = "x"


def test_only_the_required_parts_are_needed():
    needed = ("task", "network", "algorithm", "objective", "optimizer", "budgets")
    data = {part: SHIPPED["fruit"][part] for part in needed}
    recipe = parse_recipe("mine", {**data, "initial": None, "about": None, "outcome": {}})
    assert (recipe.about, recipe.outcome.metric) == ("", "greedy_return")
    assert recipe.data["network"] == data["network"]
    assert mistakes({}) == [f"{part}: is missing" for part in needed]


def test_budgets_by_name():
    recipe = load_recipe("fruit")
    assert recipe.budget_named(None) == recipe.budget == recipe.budget_named("published")
    assert recipe.budget_named("long") == Budget(episodes=2000)
    with pytest.raises(RecipeError, match=r"no budget 'logn'; it has published, long \(did you me"):
        recipe.budget_named("logn")


def test_references():
    data = changed("algorithm.batch", "{task.size}")
    data["task"] |= {"size": 16, "word": "relu"}
    data["algorithm"]["replay"] = 500
    data["network"] = "{task.grid}x7x1 -> flatten -> dense {task.size} {task.word} -> dense 3"
    data["budgets"] = {"only": {"steps": "{algorithm.replay}"}}
    recipe = parse_recipe("mine", data)
    assert recipe.algorithm.batch == 16
    assert recipe.budget.steps == 500
    assert recipe.network.shapes["input"] == (15, 7, 1)
    assert recipe.network.shapes["dense1"] == (16,)
    assert recipe.data["algorithm"]["batch"] == "{task.size}", "data is what was written"


def test_references_reach_into_lists_and_patterns():
    data = changed(
        "network",
        {
            "pattern": "INPUT -> [FC -> RELU]*K -> FC",
            "K": "{task.depth}",
            "INPUT": "{task.grid}",
            "FC": ["{task.grid}", "8", "3"],
        },
    )
    data["task"]["depth"] = 2
    shapes = parse_recipe("mine", data).network.shapes
    assert (shapes["dense1"], shapes["dense2"], shapes["dense3"]) == ((15,), (8,), (3,))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "{task.gird}x3x1",
            "network: {task.gird} refers to a value that the recipe lacks (did you mean 'grid'?)",
        ),
        ("{tsk.grid}", "network: {tsk.grid} refers to a value that the recipe lacks (did you mea"),
        ("{task.grid.x}", "network: {task.grid.x} refers to a value that the recipe lacks"),
        ("{algorithm.target_sync}", "network: {algorithm.target_sync} must refer to a number or a"),
        ("{budgets.long}", "network: {budgets.long} must refer to a number or a plain word but"),
        ("{algorithm.double}", "network: {algorithm.double} must refer to a number"),
        ("{task.loop}", "network: {task.loop} must refer to a number or a plain word"),
    ],
)
def test_references_that_lead_nowhere_are_one_mistake(text, says):
    data = changed("network", text)
    data["task"]["loop"] = "{task.grid}"
    data["algorithm"]["double"] = False
    (found,) = mistakes(data)
    assert found.startswith(says)


def test_all_mistakes_at_once():
    data = deepcopy(SHIPPED["fruit"])
    del data["objective"]
    data |= {"netwrok": "x", "budgets": {"a": {}, "b": {"episodes": 0, "stesp": 1}}}
    data["network"] = "15x15x1 -> conv 16 30x3 -> flatten -> dense 3"
    data["initial"] = {"kernel": "zeroes", "bais": "zeros"}
    data["algorithm"] |= {"discount": 2, "batch": "many", "exploration": 1.5}
    data["optimizer"] = {"name": "rmsprop", "rate": "fast", "clip": {"norm": 1, "value": 1}}
    data["outcome"] = {"metric": "greedy_returns", "margin": 0}
    data["verify"] = {"lockstep": True}
    data["logging"] = []
    assert mistakes(data, check_task=lambda task: ["no grid like that", "no such thing"]) == [
        "netwrok: unknown part (did you mean 'network'?)",
        "objective: is missing",
        "algorithm.discount: must be at most 1.0 but is 2.0",
        "algorithm.batch: expected a whole number but found 'many'",
        "algorithm.exploration: must stay between 0 and 1 but 1.5 goes above 1",
        "network: node 'conv1': conv 16 30x3 does not fit: height 15 + padding 0 = 15 is smaller "
        "than the window of 30, so (15 - 30) / 1 + 1 is below 1; use a smaller window, less stride "
        "before it, or more padding",
        "initial.bais: unknown option (did you mean 'bias'?)",
        "initial.kernel: unknown initialiser 'zeroes' (did you mean 'zeros'?)",
        "optimizer.rate: expected a finite number but found 'fast'",
        "optimizer.clip: only one of global_norm, norm and value may be given",
        "budgets.a: give episodes, steps, or both; or epochs for a dataset",
        "budgets.b.stesp: unknown option (did you mean 'steps'?)",
        "budgets.b.episodes: must be at least 1 but is 0",
        "outcome.metric: 'greedy_returns' is none of greedy_return, success_rate, "
        "validation_error "
        "(did you mean 'greedy_return'?)",
        "outcome.margin: must be above 0.0 but is 0.0",
        "verify.lockstep: expected a whole number but found True",
        "logging: expected a mapping of options but found []",
        "task: no grid like that",
        "task: no such thing",
    ]


NAN = float("nan")


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("about", 5, "about: expected text but found 5"),
        ("task", "fruit", "task: expected a mapping of options but found 'fruit'"),
        ("task", {"grid": 5}, "task.environment: is missing; write for example triptych/Fruit-v0"),
        ("task.environment", 5, "task.environment: is 5; write for example triptych/Fruit-v0"),
        ("network", 5, "network: expected text such as '84x84x4 -> dense 6', or names with a laye"),
        ("network", None, "network: expected text such as"),
        ("network", ["15x15x1"], "network: expected text such as"),
        ("network", "15x15x1 -> flatten -> dens 3", "network: unknown layer 'dens' in 'dens 3' (d"),
        ("network", "15x15x1 -> dense 3", "network: deep Q-learning needs one output for each act"),
        (
            "algorithm",
            "dqn",
            "algorithm: expected options such as {name: dqn, ...} but found 'dqn'",
        ),
        ("algorithm.name", "dqm", "algorithm.name: 'dqm' is unknown (did you mean 'dqn'?)"),
        ("algorithm.replay", 5, "algorithm: replay 5 is smaller than batch 128"),
        ("algorithm.target_sync", 0, "algorithm.target_sync: must be at least 1 but is 0"),
        ("algorithm.double", "yes", "algorithm.double: expected true or false but found 'yes'"),
        ("algorithm.discount", NAN, "algorithm.discount: expected a finite number but found nan"),
        (
            "algorithm.exploration",
            {"schedule": "linear"},
            "algorithm.exploration.start: is missing",
        ),
        ("algorithm.exploration", -0.1, "algorithm.exploration: must be at least 0 but is -0.1"),
        (
            "algorithm.exploration",
            {"schedule": "exponential", "start": 0.1, "factor": 1.1, "steps": 5},
            "algorithm.exploration: must stay between 0 and 1",
        ),
        ("objective.name", "cross_entropy", "objective.name: 'cross_entropy' needs given targets"),
        ("objective", None, "objective: expected options such as {name: td_squared, ...} but foun"),
        ("optimizer", [], "optimizer: expected options such as {name: sgd, ...} but found []"),
        ("budgets", {}, "budgets: expected names with budgets, such as {published: {episodes: 500"),
        ("budgets", 500, "budgets: expected names with budgets, such as"),
        ("budgets", {5: {"steps": 5}}, "budgets: the name 5 must be a word"),
        ("budgets", {"a": None}, "budgets.a: expected a mapping of options but found None"),
        ("budgets", {"a": {"episodes": None}}, "budgets.a: give episodes, steps, or both"),
        ("budgets", {"a": {"steps": float("inf")}}, "budgets.a.steps: expected a whole number but"),
        ("outcome", 0, "outcome: expected a mapping of options but found 0"),
        ("outcome", False, "outcome: expected a mapping of options but found False"),
        ("initial", "zeros", "initial: expected a mapping of options but found 'zeros'"),
        ("verify.free_steps", -1, "verify.free_steps: must be at least 1 but is -1"),
        ("logging.window", 0.5, "logging.window: expected a whole number but found 0.5"),
        ("budget", {"steps": 5}, "budget: unknown part (did you mean 'budgets'?)"),
    ],
)
def test_one_mistake_one_sentence(path, value, says):
    found = mistakes(changed(path, value))
    assert any(sentence.startswith(says) for sentence in found)
    assert all(len(sentence) < 330 for sentence in found)


def test_a_wrong_part_hides_no_other():
    data = changed("algorithm", {"name": "sarsa"})
    data["network"] = "15x15x1 -> dense 3"
    assert [sentence.split(":")[0] for sentence in mistakes(data)] == ["algorithm.name", "network"]


def test_dueling_is_put_into_the_network():
    recipe = load_recipe("fruit", ["algorithm.dueling=true"])
    assert recipe.network.output.name == "dueling1"
    data = changed("algorithm.dueling", True)
    data["network"] = "15x15x1 -> flatten -> dense 3 relu"
    assert mistakes(data) == ["network: dueling needs a dense output, but 'relu1' is relu"]


@pytest.mark.parametrize("data", [None, 5, "text", [], [("task", 1)]])
def test_what_is_no_mapping(data):
    with pytest.raises(RecipeError, match="is not a mapping of parts"):
        parse_recipe("mine", data)


def test_defaults_of_the_algorithm_are_pinned():
    assert DQN(0.9, 32, 100, Constant(0.1)) == DQN(
        discount=0.9,
        batch=32,
        replay=100,
        exploration=Constant(0.1),
        learning_starts=1,
        random_steps=0,
        update_every=1,
        target_sync=None,
        double=False,
        dueling=False,
    )


def places(data, before=()):
    for key, value in data.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from places(value, (*before, key))


ENDLESS: list = []
ENDLESS.append(ENDLESS)
NEVER_RIGHT = [ENDLESS, [[]], {"a": {"b": 1}}, 16**9000, -1, {16**9000: 1}, {None: {}}, b"x", ()]


@pytest.mark.parametrize("value", NEVER_RIGHT, ids=range(len(NEVER_RIGHT)))
@pytest.mark.parametrize("name", SHIPPED)
def test_values_that_are_wrong_everywhere(name, value):
    for path in places(SHIPPED[name]):
        if path[0] != "task" and not (path[0] == "budgets" and len(path) == 1):
            assert mistakes(changed(".".join(path), value, name)), path


garbage = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([0, -1, 2**63, 10**400]),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(
            ["dqn", "adam", "linear", "null", "1e-3", "{task.grid}", "{a.b}", "{task}"]
        ),
        st.sampled_from(["3x3 -> relu", "[", "conv", "-> ->", "glorot_uniform", "mean", "²"]),
        st.dates(),
        st.binary(max_size=3),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["name", "schedule", "rate", "pattern", "input", "N", "clip"]),
                st.text(max_size=4),
                st.integers(),
                st.none(),
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


@st.composite
def mangled(draw):
    data = deepcopy(SHIPPED[draw(st.sampled_from(sorted(SHIPPED)))])
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(data))
        if not found:
            break
        *parents, last = draw(st.sampled_from(found))
        inside = data
        for key in parents:
            inside = inside[key]
        change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename", "add"]))
        if change == "replace":
            inside[last] = draw(garbage)
        elif change == "add":
            inside[draw(st.text(max_size=4))] = draw(garbage)
        else:
            value = inside.pop(last)
            if change == "rename":
                inside[draw(st.one_of(st.text(max_size=5), st.integers(), st.none()))] = value
    return data


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(mangled())
def test_whatever_is_written_gives_a_recipe_or_a_recipe_error(data):
    try:
        recipe = parse_recipe("mine", data)
    except RecipeError as error:
        assert len(str(error).splitlines()) > 1
        return
    assert isinstance(recipe, Recipe)
    assert isinstance(hash(recipe), int)
    assert recipe.budget == recipe.budget_named(next(iter(recipe.budgets)))
