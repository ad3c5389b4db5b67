from __future__ import annotations

import json
import math

import numpy as np
import pytest

from triptych.errors import RunError
from triptych.report import curves


def a_run(backend="torch", metric=None, **columns):
    return {"backend": backend, "seed": 0, "metric": metric, "metrics": columns}


def line_of(result, y, backend="torch", x=None):
    chart = result["charts"][x or result["x"][0]]
    return chart["grid"], chart["y"][y]["lines"][backend]


def test_rolling_is_mean_and_standard_error_of_the_last_values():
    values = np.random.default_rng(0).normal(size=30)
    rows = np.array([6, 7, 29])
    mean, error = curves.rolling(values, 7, rows)
    for k, row in enumerate(rows):
        window = values[row - 6 : row + 1]
        assert mean[k] == pytest.approx(window.mean(), rel=1e-14)
        assert error[k] == pytest.approx(window.std(ddof=1) / math.sqrt(7), rel=1e-13)


def test_rolling_is_exact_after_a_huge_value():
    values = np.concatenate([[1e12], np.full(20, 1e-9)])
    mean, error = curves.rolling(values, 5, np.array([20]))
    assert mean[0] == pytest.approx(1e-9, rel=1e-12)
    assert error[0] == pytest.approx(0, abs=1e-20)


# 97.5% points of Student's distribution, from the usual printed table.
@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980)],
)
def test_t_quantile_agrees_with_the_table(freedom, value):
    assert curves.t_quantile(freedom) == pytest.approx(value, abs=6e-4)


def test_several_seeds_give_a_t_interval():
    x = np.arange(1.0, 6.0)
    samples = np.random.default_rng(1).normal(size=(4, 5))
    got = curves.line([(x, y) for y in samples], x, window=1)
    reach = 3.1824463 * samples.std(axis=0, ddof=1) / 2
    assert got.seeds == 4
    assert np.allclose(got.mean, samples.mean(axis=0), rtol=1e-12)
    assert np.allclose(got.low, samples.mean(axis=0) - reach, rtol=1e-6)
    assert np.allclose(got.high, samples.mean(axis=0) + reach, rtol=1e-6)


def test_a_seed_that_ended_early_counts_only_where_it_is():
    grid = np.arange(1.0, 5.0)
    long, short = np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0])
    got = curves.line([(grid, long), (grid[:2], short)], grid, window=1)
    assert got.mean.tolist() == [2, 3, 3, 4]
    assert np.isfinite(got.low).tolist() == [True, True, False, False]


def test_one_seed_gets_a_rolling_mean_that_starts_with_the_first_whole_window():
    values = np.arange(100.0)
    result = curves.charts([a_run(episode=np.arange(1, 101), loss=values)])
    grid, line = line_of(result, "loss")
    assert grid == list(range(1, 101))
    assert line["mean"][:4] == [None] * 4
    assert line["mean"][4] == 2 and line["mean"][99] == 97
    error = np.arange(5).std(ddof=1) / math.sqrt(5)
    assert line["high"][50] - line["mean"][50] == pytest.approx(error, rel=1e-4)
    assert "last 5 values, one seed" in result["charts"]["episode"]["y"]["loss"]["note"]
    assert "standard error" in result["charts"]["episode"]["y"]["loss"]["note"]


def test_the_note_tells_seeds_of_each_backend():
    columns = {"episode": range(40), "loss": np.linspace(1, 0, 40)}
    runs = [a_run("torch", **columns), a_run("jax", **columns), a_run("jax", **columns)]
    note = curves.charts(runs)["charts"]["episode"]["y"]["loss"]["note"]
    assert "torch: Line: mean of the last 2 values, one seed." in note
    assert "jax: Line: mean of 2 seeds" in note and "95% t interval" in note


@pytest.mark.parametrize(("change", "says"), [(0.0, True), (1e-6, False)])
def test_lines_that_coincide_are_said_to(change, says):
    values = np.linspace(1, 2, 50)
    runs = [a_run("torch", loss=values), a_run("jax", loss=values * (1 + change))]
    note = curves.charts(runs)["charts"]["row"]["y"]["loss"]["note"]
    assert ("coincide" in note) is says


def test_missing_values_are_left_out():
    loss = [None, float("nan"), 4.0, 2.0, float("inf"), 6.0]
    grid, line = line_of(curves.charts([a_run(episode=range(6), loss=loss)]), "loss")
    assert dict(zip(grid, line["mean"], strict=True)) == {
        0: None,
        1: None,
        2: 4,
        3: 2,
        4: 4,  # between its neighbours
        5: 6,
    }


def test_long_runs_are_thinned_and_keep_their_ends():
    count = 20_000
    x = 4 * np.arange(count)
    result = curves.charts([a_run(frame=x, value=np.ones(count))])
    grid, line = line_of(result, "value")
    assert len(grid) == len(line["mean"]) == curves.POINTS
    assert (grid[0], grid[-1]) == (0, 4 * (count - 1))


def test_runs_of_different_length_share_a_grid():
    short = a_run("torch", frame=[0, 10], value=[0, 10])
    long = a_run("jax", frame=[0, 20], value=[0, 20])
    result = curves.charts([short, long])
    grid, torch = line_of(result, "value", "torch")
    _, jax = line_of(result, "value", "jax")
    assert grid[-1] == 20 and torch["mean"][-1] is None and jax["mean"][-1] == 20
    middle = len(grid) // 4
    assert torch["mean"][middle] == pytest.approx(grid[middle], rel=1e-5)


def test_choices_of_x_and_y():
    runs = [a_run(metric="score", episode=[1], frame=[9], loss=[1], score=[2], empty=[None])]
    result = curves.charts(runs)
    assert (result["x"], result["y"], result["first"]) == (
        ["episode", "frame"],
        ["loss", "score"],
        "score",
    )


def test_the_first_column_needs_no_metric_and_a_number_is_none():
    assert curves.charts([a_run(metric=0.97, loss=[1, 2])])["first"] == "loss"


def test_nothing_to_draw_is_empty():
    assert curves.charts([]) == {}
    assert curves.charts([a_run()]) == {}
    assert curves.charts([a_run(episode=[], loss=[])]) == {}


def test_a_backend_without_the_column_has_no_line():
    result = curves.charts([a_run("torch", a=[1, 2]), a_run("jax", b=[1, 2])])
    assert list(result["charts"]["row"]["y"]["a"]["lines"]) == ["torch"]


def test_a_run_without_rows_does_not_stop_the_others():
    runs = [a_run("torch", episode=[], loss=[]), a_run("jax", episode=[1, 2], loss=[3, 4])]
    lines = curves.charts(runs)["charts"]["episode"]["y"]["loss"]["lines"]
    assert list(lines) == ["jax"]


def test_the_result_is_json(build_runs):
    json.dumps(curves.charts(build_runs(2)), allow_nan=False)


def test_bad_columns_are_refused_in_a_sentence():
    with pytest.raises(RunError, match="column 'loss' in the metrics of torch, seed 0"):
        curves.charts([a_run(loss=["much"])])
    with pytest.raises(RunError, match="different lengths"):
        curves.charts([a_run(episode=[1, 2], loss=[1])])
