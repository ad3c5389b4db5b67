"""Datasets: the same examples always, maps fitted to what is learned from, mistakes named."""

from __future__ import annotations

import numpy as np
import pytest

from triptych import data
from triptych.data.maps import minmax
from triptych.errors import TaskError

BARS = {"dataset": "triptych/bars", "size": 5, "examples": 40, "validation": 20}


def test_examples_are_the_same_in_every_process_and_differ_by_seed() -> None:
    first, again = data.make(BARS), data.make(BARS)
    assert first.train["observation"].shape == (40, 25) and first.size == 40
    assert first.validation["observation"].shape == (20, 25)
    assert first.train["observation"].tobytes() == again.train["observation"].tobytes()
    other = data.make(BARS | {"seed": 1})
    assert not np.array_equal(first.train["observation"], other.train["observation"])
    assert first.train["target"] is first.train["observation"]


def test_a_picture_is_bars_and_noise() -> None:
    clean = data.make(BARS | {"noise": 0, "examples": 400}).train["observation"]
    pictures = clean.reshape(-1, 5, 5) > 0
    rows, columns = pictures.all(axis=2), pictures.all(axis=1)
    assert np.array_equal(pictures, rows[:, :, None] | columns[:, None, :])
    assert 0.1 < rows.mean() < 0.22 and 0.1 < columns.mean() < 0.22
    assert not data.make(BARS | {"noise": 0, "chance": 0}).train["observation"].any()


def test_minmax_takes_features_of_the_training_examples_to_the_range_and_back() -> None:
    made, raw = data.make(BARS | {"minmax": [-1, 1]}), data.make(BARS)
    seen = made.train["observation"]
    assert np.allclose(seen.min(axis=0), -1.0) and np.allclose(seen.max(axis=0), 1.0)
    held = made.validation["observation"]
    assert np.array_equal(held, made.map(raw.validation["observation"]))
    assert np.abs(made.map.back(held) - raw.validation["observation"]).max() <= 1e-15
    assert set(made.map.constants()) == {"low", "gain", "least"}
    assert raw.map.constants() == {"low": [], "gain": [], "least": []}


def test_a_feature_that_never_changes_is_left_as_it_is() -> None:
    x = np.array([[1.0, 7.0], [3.0, 7.0], [2.0, 7.0]])
    assert np.array_equal(minmax(x, 0.0, 1.0)(x), [[0.0, 7.0], [1.0, 7.0], [0.5, 7.0]])


def test_a_task_is_completed() -> None:
    full = data.complete({"dataset": "triptych/bars"})
    assert full["size"] == 8 and full["minmax"] is None
    assert set(full) == {"dataset", *data.options("triptych/bars")}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dataset": "triptych/bras"}, "there is no dataset 'triptych/bras' (did you mean"),
        ({"sise": 5}, "bars.sise: unknown option (did you mean 'size'?)"),
        ({"size": 1}, "bars.size: must be at least 2 but is 1"),
        ({"chance": 2}, "bars.chance: must be at most 1.0 but is 2.0"),
        ({"minmax": [1, 0]}, "bars.minmax: expected two rising numbers such as [0, 1] but found"),
        ({"minmax": 5}, "bars.minmax: expected two rising numbers"),
    ],
)
def test_mistakes_are_named(change: dict[str, object], says: str) -> None:
    (found,) = data.problems(BARS | change)
    assert found.startswith(says)
    with pytest.raises(TaskError):
        data.make(BARS | change)
