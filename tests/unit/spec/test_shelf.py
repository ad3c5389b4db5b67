"""Finding recipes: by name, by path, with overrides; whatever the file holds."""

from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.engines import setup
from triptych.errors import RecipeError
from triptych.spec import shelf
from triptych.spec.recipe import Recipe
from triptych.spec.shelf import load_recipe, shipped

FRUIT = (files("triptych.recipes") / "fruit.yaml").read_text(encoding="utf-8")


@pytest.fixture
def write(tmp_path):
    def written(content: str | bytes, name: str = "mine.yaml") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return written


def test_every_shipped_recipe_loads():
    assert {"fruit", "space-invaders"} <= set(shipped())
    assert all(setup.load_recipe(name).name == name for name in shipped())


def test_a_file_of_ones_own(write):
    recipe = load_recipe(write(FRUIT))
    assert recipe.name == "mine"
    assert recipe.network == load_recipe("fruit").network
    assert load_recipe(write(FRUIT, "short.yml")).name == "short"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("friut", r"unknown recipe 'friut' \(did you mean 'fruit'\?\); shipped are .*fruit"),
        ("nothing", "unknown recipe 'nothing'; shipped are .*; your own: give its .yaml path"),
        ("nowhere.yaml", "recipe file 'nowhere.yaml' cannot be read: No such file or directory"),
        ("a\0b.yaml", "cannot be read"),
    ],
)
def test_recipes_that_cannot_be_found(name, says):
    with pytest.raises(RecipeError, match=says):
        load_recipe(name)


def test_a_folder_is_no_recipe(tmp_path):
    folder = tmp_path / "x.yaml"
    folder.mkdir()
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        load_recipe(str(folder))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "recipe 'mine' is not a mapping of parts"),
        ("- a\n- b\n", "is not a mapping of parts"),
        ("just text", "is not a mapping of parts"),
        (b"\xff\xfe\x00", "cannot be read: it is no UTF-8 text"),
        ("a: 'open", "recipe 'mine': line 1 cannot be read: found unexpected end of stream"),
        ("a: 1\nb: [1, 2\n", "recipe 'mine': line 3 cannot be read: "),
        ("a: \x07", "recipe 'mine': the text cannot be read: it holds characters that YAML"),
        ("about: a\ntask: {}\nabout: b\n", "line 3 cannot be read: key 'about' is written twice"),
        (
            "task:\n  environment: a\n  grid: 3\n  grid: 4\n",
            "line 4 cannot be read: key 'grid' is written twice",
        ),
        ("a: &x {b: *x}", "line 1 cannot be read: aliases .* are not allowed"),
        ("task: &x {b: 1}\nabout: *x", "line 2 cannot be read: aliases"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: 2001-99-99", "it holds a value that YAML cannot read; put it into quotes"),
        ("a: !!int ''", "holds a value that YAML cannot read"),
        ("a: !!timestamp x", "holds a value that YAML cannot read"),
        ("a: !!bool x", "holds a value that YAML cannot read"),
        ("a: " + "9" * 5000, "holds a value that YAML cannot read"),
        ("a: " + "[" * 2000, "holds a value that YAML cannot read"),
        ("{[1]: 2}", "recipe 'mine': line 1 cannot be read: "),
        ("about: 2001-01-01", "about: expected text but found datetime.date"),
    ],
)
def test_files_that_cannot_be_read(write, content, says):
    with pytest.raises(RecipeError, match=says):
        load_recipe(write(content))


def test_overrides():
    recipe = load_recipe(
        "fruit",
        [
            "task.grid=10",
            "algorithm.exploration={schedule: linear, start: 1, end: 0.1, steps: 50}",
            "budgets.mine.steps=7",
            "optimizer.clip.norm = 2",
            "initial.bias={constant: 0.1}",
            "algorithm.target_sync=null",
            "algorithm.target_sync=30",
            "about=a = b",
        ],
    )
    assert recipe.network.shapes["input"] == (10, 10, 1)
    assert recipe.algorithm.exploration.value(50) == pytest.approx(0.1)
    assert recipe.budget_named("mine").steps == 7
    assert recipe.optimizer.clip.norm == 2.0
    assert recipe.algorithm.target_sync == 30
    assert recipe.about == "a = b"
    assert recipe.data["task"]["grid"] == 10
    assert load_recipe("fruit").network.shapes["input"] == (15, 15, 1)


def test_an_override_may_fill_what_is_null(write):
    path = write(FRUIT.replace("initial: {kernel: glorot_uniform, bias: zeros}", "initial: null"))
    assert load_recipe(path, ["initial.kernel=he_normal"]).initial.kernel == "he_normal"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("task.grid", "--set 'task.grid': expected part.option=value, such as task.grid=10"),
        ("=3", "expected part.option=value"),
        ("task..grid=3", "expected part.option=value"),
        (".grid=3", "expected part.option=value"),
        ("network.depth=3", "--set 'network.depth=3': 'network' holds a value, not options"),
        ("task.grid.x=3", "'grid' holds a value, not options"),
        ("task.grid=[", "--set 'task.grid=\\[': line 1 cannot be read"),
        ("task={a: 1, a: 2}", "key 'a' is written twice"),
        ("about=2001-99-99", "holds a value that YAML cannot read"),
        ("algorthm.batch=3", r"algorthm: unknown part \(did you mean 'algorithm'"),
        ("algorithm.bacth=3", r"algorithm.bacth: unknown option \(did you mean 'batch'"),
    ],
)
def test_overrides_that_cannot_be_read(override, says):
    with pytest.raises(RecipeError, match=says):
        load_recipe("fruit", [override])


def test_tasks_are_checked_by_who_knows_them():
    seen = []
    load_recipe("fruit", ["task.grid=9"], check_task=lambda task: seen.append(task) or [])
    assert seen == [{"environment": "triptych/Fruit-v0", "grid": 9}]
    with pytest.raises(RecipeError, match="task: too small"):
        load_recipe("fruit", check_task=lambda task: ["too small"])


pieces = st.sampled_from(["{", "}", "[", "]", ":", ": ", "\n", "  ", "- ", "&a ", "*a", "!!int "])
pieces |= st.sampled_from(["#", "'", '"', "|", ">", "? ", "%", "@", "\t", "~", "<<: ", "=", ".nan"])


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(FRUIT)), st.integers(0, 30), st.one_of(pieces, st.text(max_size=3))
        ),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_a_file_holds_gives_a_recipe_or_a_recipe_error(cuts):
    text = FRUIT
    for start, length, piece in cuts:
        text = text[:start] + piece + text[start + length :]
    try:
        data = shelf._read("mine", text)
        assert isinstance(shelf.parse_recipe("mine", data), Recipe)
    except RecipeError as error:
        assert str(error).startswith("recipe 'mine'")
