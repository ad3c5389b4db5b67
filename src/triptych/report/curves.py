"""From the metrics of runs to lines with interval bands.

Pure NumPy on columns; one :class:`Line` per backend. Drawing is the page's script's business, and
judging whether two outcomes are equal belongs to ``triptych.parity``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triptych.errors import RunError

X_COLUMNS = ("epoch", "episode", "frame", "update")
POINTS = 400  # a line on a screen shows no more
WINDOW_SHARE = 20  # the rolling window is a twentieth of the shortest run
CONFIDENCE = 0.95

Runs = Sequence[Mapping[str, Any]]
Curve = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Line:
    """One backend's line over a grid of G points: ``mean``, ``low``, ``high`` of shape (G,).

    NaN stands where there is nothing to draw: outside the run, or no band.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: int


def charts(runs: Runs) -> dict[str, Any]:
    """Return all lines as plain JSON data, or an empty dict where there is nothing to draw.

    Args:
        runs: mappings with ``backend`` and ``metrics`` (``{column: numbers}``, equal lengths; NaN
            or None where a row has no value) and optionally ``metric``, the column shown first.

    Returns:
        ``{"x": [names], "y": [names], "first": name, "charts": {x: {"grid": [...], "y": {column:
        {"lines": {backend: {"mean", "low", "high"}}, "note": text}}}}}``.

    Raises:
        RunError: a column is not numeric or columns differ in length.
    """
    tables = [(str(run["backend"]), _columns(run)) for run in runs]
    drawn = [(backend, table) for backend, table in tables if table]
    present = list(dict.fromkeys(name for _, table in drawn for name in table))
    xs = [x for x in X_COLUMNS if drawn and all(x in table for _, table in drawn)] or ["row"]
    ys = [name for name in present if name not in X_COLUMNS and _has_values(drawn, name)]
    if not ys:
        return {}
    first = next((run["metric"] for run in runs if run.get("metric") in ys), ys[0])
    return {"x": xs, "y": ys, "first": first, "charts": {x: _chart(drawn, x, ys) for x in xs}}


def rolling(values: np.ndarray, window: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard error of the last ``window`` values, at the given rows.

    The standard error of a single value is NaN.

    Args:
        values: (N,), finite.
        window: 1 to N.
        rows: (R,) indices into ``values``, none before the first whole window's end.
    """
    windows = np.lib.stride_tricks.sliding_window_view(values, window)[rows - window + 1]
    return _mean_and_error(windows, axis=1)


def line(curves: Sequence[Curve], grid: np.ndarray, window: int) -> Line:
    """Return one backend's line over ``grid`` from one curve (x, y) per seed.

    One seed: rolling mean, band of one standard error of the rolling window on each side. Several:
    each seed's rolling mean, then their mean with a 95% Student t interval.
    """
    rolled = [_on_grid(x, y, grid, window) for x, y in curves]
    means = np.stack([mean for mean, _ in rolled])
    if len(curves) == 1:
        mean, error = rolled[0]
        return Line(mean, mean - error, mean + error, 1)
    mean, error = _mean_and_error(means, axis=0)
    counts = np.isfinite(means).sum(axis=0)
    reach = error * np.array([t_quantile(max(int(count) - 1, 1)) for count in counts])
    return Line(mean, mean - reach, mean + reach, len(curves))


def t_quantile(freedom: int) -> float:
    """Return t such that Student's distribution holds 95% between -t and t.

    Args:
        freedom: degrees of freedom, >= 1.
    """
    low, high = 0.0, 100.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_mass(middle, freedom) < CONFIDENCE else (low, middle)
    return high


def _t_mass(t: float, freedom: int) -> float:
    """Student's probability between -t and t (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    return (angle + sine * total) * 2 / math.pi if odd else sine * total


def _columns(run: Mapping[str, Any]) -> dict[str, np.ndarray]:
    where = f"the metrics of {run['backend']}, seed {run.get('seed')}"
    table = {}
    for name, values in run.get("metrics", {}).items():
        try:
            table[str(name)] = np.asarray(values, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise RunError(
                f"column {name!r} in {where} holds something that is not a number"
            ) from error
    if len({len(column) for column in table.values()}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in table.items())
        raise RunError(
            f"{where} have columns of different lengths ({lengths}); expected equal ones"
        )
    return table


def _has_values(tables: Sequence[tuple[str, dict[str, np.ndarray]]], name: str) -> bool:
    return any(np.isfinite(table[name]).any() for _, table in tables if name in table)


def _chart(tables: Sequence[tuple[str, dict[str, np.ndarray]]], x: str, ys: list[str]) -> dict:
    curves = {y: _curves(tables, x, y) for y in ys}
    grid = _grid([_positions(table, x) for _, table in tables])
    return {"grid": _numbers(grid), "y": {y: _drawn(curves[y], grid) for y in ys}}


def _curves(
    tables: Sequence[tuple[str, dict[str, np.ndarray]]], x: str, y: str
) -> dict[str, list[Curve]]:
    """Return each backend's curves (x, y), one per run, in order and without missing values."""
    found: dict[str, list[Curve]] = {}
    for backend, table in tables:
        if y in table:
            place, values = _positions(table, x), table[y]
            known = np.isfinite(place) & np.isfinite(values)
            order = np.argsort(place[known], kind="stable")
            if known.any():
                found.setdefault(backend, []).append((place[known][order], values[known][order]))
    return found


def _positions(table: dict[str, np.ndarray], x: str) -> np.ndarray:
    rows = len(next(iter(table.values())))
    return table[x] if x in table else np.arange(1.0, rows + 1)


def _grid(places: Sequence[np.ndarray]) -> np.ndarray:
    """Return the runs' own positions where they agree and are few, else POINTS even steps."""
    first = places[0]
    if len(first) <= POINTS and all(np.array_equal(first, place) for place in places):
        return np.unique(first[np.isfinite(first)])
    every = np.concatenate(places)
    every = every[np.isfinite(every)]
    return np.unique(np.linspace(every.min(), every.max(), POINTS))


def _drawn(curves: Mapping[str, Sequence[Curve]], grid: np.ndarray) -> dict[str, Any]:
    shortest = min(len(y) for backend in curves.values() for _, y in backend)
    window = max(1, shortest // WINDOW_SHARE)
    lines = {backend: line(found, grid, window) for backend, found in curves.items()}
    return {
        "lines": {
            backend: {
                "mean": _numbers(one.mean),
                "low": _numbers(one.low),
                "high": _numbers(one.high),
            }
            for backend, one in lines.items()
        },
        "note": _note(lines, window),
    }


def _on_grid(x: np.ndarray, y: np.ndarray, grid: np.ndarray, window: int) -> Curve:
    count = min(len(y), 2 * POINTS)
    rows = np.unique(np.linspace(window - 1, len(y) - 1, count).round().astype(int))
    mean, error = rolling(y, window, rows)
    places = x[rows]
    return (
        np.interp(grid, places, mean, left=np.nan, right=np.nan),
        np.interp(grid, places, error, left=np.nan, right=np.nan),
    )


def _mean_and_error(values: np.ndarray, axis: int) -> Curve:
    """Return mean and standard error along an axis, leaving NaN out; NaN where undefined."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, values, 0.0).sum(axis=axis) / count
        gaps = np.where(known, values - np.expand_dims(mean, axis), 0.0)
        variance = (gaps**2).sum(axis=axis) / (count - 1)
        error = np.sqrt(variance / count)
    return mean, np.where(count > 1, error, np.nan)


def _note(lines: Mapping[str, Line], window: int) -> str:
    """Return which line and which band is drawn, and whether the backends' lines coincide."""
    groups: dict[int, list[str]] = {}
    for backend, one in lines.items():
        groups.setdefault(one.seeds, []).append(backend)
    notes = []
    for seeds, backends in groups.items():
        prefix = f"{', '.join(backends)}: " if len(groups) > 1 else ""
        notes.append(prefix + _band_note(seeds, window))
    if len(lines) > 1 and _coincide(list(lines.values())):
        notes.append("The lines coincide to nine digits.")
    return " ".join(notes)


def _band_note(seeds: int, window: int) -> str:
    if seeds > 1:
        smooth = f", each smoothed over its last {window} values" if window > 1 else ""
        return f"Line: mean of {seeds} seeds{smooth}. Band: 95% t interval over the seeds."
    if window > 1:
        return (
            f"Line: mean of the last {window} values, one seed. "
            "Band: one standard error of that window on each side."
        )
    return "Line: the values as they are, one seed; too few for a band."


def _coincide(lines: Sequence[Line]) -> bool:
    first = lines[0].mean
    return all(
        np.allclose(first, other.mean, rtol=1e-9, atol=0.0, equal_nan=True) for other in lines[1:]
    )


def _numbers(values: np.ndarray) -> list[float | None]:
    """Return six significant digits of each value (a screen shows fewer), None for NaN."""
    return [_short(float(value)) if np.isfinite(value) else None for value in values]


def _short(value: float) -> float:
    if value.is_integer() and abs(value) < 2**53:
        return int(value)
    return float(f"{value:.6g}")
