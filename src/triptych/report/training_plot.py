"""The picture of training logs: running and maximum reward over episodes and over agent steps.

:func:`training_lines` says what is drawn, as numbers; :func:`draw` draws it with matplotlib (the
extra ``report``); :func:`plot_model_stats` does all. Reading logs is in
:mod:`triptych.report.training_logs`, the page's curves are in :mod:`triptych.report.curves`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from triptych.errors import RunError
from triptych.report import curves
from triptych.report.effects import style
from triptych.report.files import write_bytes
from triptych.report.sections import backend_order
from triptych.report.training_logs import COUNTS, TrainingLog, join, read_logs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REWARDS = ("running_reward", "max_reward")
ENDINGS = (".png", ".svg")
INTERVAL = "Student's t over the seeds, 95%"
_AXES = {
    "episode": "episodes",
    "frame": "agent steps",
    "running_reward": "running reward (points)",
    "max_reward": "best episode so far (points)",
    "loss": "loss",
    "epsilon": "exploration (epsilon)",
}
_SHORT = {"running_reward": "running", "max_reward": "best so far"}
# Those of the page; colour-blind people can tell them apart, and the dashes differ too.
_COLOURS = {"torch": "#c96a00", "jax": "#0072b2", "keras": "#8e1f5e", "numpy": "#59636e"}
_OTHERS = ("#2b8a8a", "#7a5bbf", "#b8860b", "#16794a", "#59636e", "#c0272d")


@dataclass(frozen=True)
class TrainingLine:
    """One quantity of one kind of training over one count, G points.

    Attributes:
        label: who trained.
        logs: how many trainings, of different seeds.
        x, y: names of the columns.
        grid, mean, low, high: (G,); several seeds are drawn where all of them have values; low and
            high are NaN for one.
        joints: places on x where another log was joined.
    """

    label: str
    logs: int
    x: str
    y: str
    grid: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    joints: tuple[float, ...] = ()

    def data(self) -> dict[str, Any]:
        """Return the line as JSON values."""
        arrays = {name: getattr(self, name).tolist() for name in ("grid", "mean", "low", "high")}
        names = {"label": self.label, "seeds": self.logs, "x": self.x, "y": self.y}
        return names | arrays | {"joints": list(self.joints)}


def plot_model_stats(
    paths: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    join_logs: bool = False,
    side_by_side: bool = False,
    more: Sequence[str] = (),
) -> Figure:
    """Draw training logs and return the figure.

    Args:
        paths: run folders, ``metrics.csv`` files or folders of runs.
        out: a file to write, ending in ``.png`` or ``.svg``; None for none.
        join_logs: draw the logs as one training, one after the other.
        side_by_side: a column of panels for each line instead of all lines in one.
        more: of ``loss`` and ``epsilon``, what to draw besides rewards.

    Raises:
        RunError: a path is no log, see ``read_logs``, or the logs don't fit together.
        MissingDependency: matplotlib is not installed.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    logs = read_logs(given)
    lines = training_lines(logs, join_logs=join_logs, more=more)
    figure = draw(lines, side_by_side=side_by_side, notes=notes(logs, lines))
    if out is not None:
        save(figure, out)
    return figure


def save(figure: Figure, out: str | Path) -> Path:
    """Write a figure as PNG or SVG, by the file's ending, and return its path.

    Raises:
        RunError: another ending; StorageError: the file cannot be written.
    """
    path = check_ending(Path(out))
    data = style.png(figure) if path.suffix == ".png" else style.svg(figure).encode()
    return write_bytes(path, data)


def check_ending(path: Path) -> Path:
    """Return the path of a picture; raise RunError unless it ends in ``.png`` or ``.svg``."""
    if path.suffix not in ENDINGS:
        raise RunError(f"a picture's name must end in {' or '.join(ENDINGS)}, but is {path}")
    return path


def training_lines(
    logs: Sequence[TrainingLog], *, join_logs: bool = False, more: Sequence[str] = ()
) -> list[TrainingLine]:
    """Return what is drawn: a line for each kind of training, count and quantity.

    Raises:
        RunError: two logs are of one seed, or a quantity stands in none of the logs.
    """
    wanted = (*REWARDS, *more)
    groups = _groups([join(logs)] if join_logs else logs)
    lines = [
        line
        for label, group in groups.items()
        for y in wanted
        for x in COUNTS
        if (line := _line(label, group, x, y)) is not None
    ]
    absent = [y for y in wanted if y not in {line.y for line in lines}]
    if absent:
        raise RunError(
            f"there is no {absent[0]} to draw in {', '.join(str(log.path) for log in logs)}"
        )
    return lines


def _groups(logs: Sequence[TrainingLog]) -> dict[str, list[TrainingLog]]:
    """Return the logs of each kind by a label of its own, known backends first."""
    kinds: dict[Hashable, list[TrainingLog]] = {}
    for log in logs:
        others = kinds.setdefault(log.kind, [])
        twin = next((o for o in others if o.seed == log.seed), None)
        if twin is not None:
            raise RunError(
                f"{twin.path} and {log.path} are the same training, seed {log.seed}: an interval "
                "takes different seeds; leave one out, or draw them one after the other with --join"
            )
        others.append(log)
    many = len({group[0].recipe for group in kinds.values()}) > 1
    labelled: dict[str, list[TrainingLog]] = {}
    for group in kinds.values():
        labelled[_label(group[0], many, labelled)] = group
    return {label: labelled[label] for label in backend_order(list(labelled))}


def _label(log: TrainingLog, with_recipe: bool, taken: dict[str, Any]) -> str:
    label = f"{log.recipe} {log.label}".strip() if with_recipe else log.label
    if label in taken:  # the same recipe and backend with other values
        label = f"{label} ({log.path.parent.name})"
    return label if label not in taken else f"{label} {len(taken) + 1}"


def _line(label: str, group: Sequence[TrainingLog], x: str, y: str) -> TrainingLine | None:
    found = [_curve(log, x, y) for log in group if y in log.columns]
    each = [curve for curve in found if len(curve[0])]
    if not each:
        return None
    window = max(1, min(len(xs) for xs, _ in each) // curves.WINDOW_SHARE) if y == "loss" else 1
    start, stop = max(xs[0] for xs, _ in each), min(xs[-1] for xs, _ in each)
    if stop < start:
        raise RunError(
            f"the {y.replace('_', ' ')} of the {label} trainings has no {_AXES[x]} in common: one "
            f"begins at {start:g}, where another ended at {stop:g} already; plot them apart"
        )
    grid = np.unique(np.concatenate([xs for xs, _ in each]))
    grid = grid[(grid >= start) & (grid <= stop)].astype(float)
    if len(grid) > 2 * curves.POINTS:
        grid = np.linspace(start, stop, 2 * curves.POINTS)
    line = curves.line(each, grid, window)
    none = np.full(len(grid), np.nan)
    low, high = (line.low, line.high) if len(each) > 1 else (none, none)
    joints = tuple(float(group[0].columns[x][row - 1]) for row in group[0].joints)
    return TrainingLine(label, len(each), x, y, grid, line.mean, low, high, joints)


def _curve(log: TrainingLog, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    places, values = log.columns[x].astype(float), log.columns[y].astype(float)
    known = np.isfinite(values)
    return places[known], values[known]


def notes(logs: Sequence[TrainingLog], lines: Sequence[TrainingLine]) -> str:
    """Return what the lines and bands are, for under the picture."""
    words = []
    windows = {log.window for log in logs}
    if len(windows) == 1 and None not in windows:
        words.append(f"running reward: mean return of the last {windows.pop()} episodes")
    if any(line.y == "loss" for line in lines):
        words.append("loss: mean of the last twentieth of the rows")
    if any(line.logs > 1 for line in lines):
        words.append("line: mean over seeds, band: 95% t interval over seeds")
    if any(line.joints for line in lines):
        words.append("dotted: where the next log begins")
    return "; ".join(words)


def draw(lines: Sequence[TrainingLine], *, side_by_side: bool = False, notes: str = "") -> Figure:
    """Return the figure of lines; overlaid, or with a column of panels for each label.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    labels = list(dict.fromkeys(line.label for line in lines))
    quantities = list(dict.fromkeys(line.y for line in lines))
    if side_by_side:
        return _draw_beside(lines, labels, quantities, notes)
    return _draw_over(lines, labels, quantities, notes)


def _draw_over(
    lines: Sequence[TrainingLine], labels: list[str], quantities: list[str], notes: str
) -> Figure:
    """A row for each quantity, a column for each count, a colour for each label."""
    height = 2.5 * len(quantities) + 0.7
    figure, axes = style.table_of_panels(
        len(quantities), len(COUNTS), height, 10.0, "a plot", sharex="col", sharey="row"
    )
    colours = _colours(labels)
    for line in lines:
        row, column = quantities.index(line.y), COUNTS.index(line.x)
        look = {
            "color": colours[line.label],
            "linestyle": style.DASHES[labels.index(line.label) % 4],
        }
        _draw_line(axes[row][column], line, _named(line), look)
    for row, y in enumerate(quantities):
        axes[row][0].set_ylabel(_AXES[y])
    for column, x in enumerate(COUNTS):
        _count_axis(axes[-1][column], x)
    _key(figure, axes[0][0], notes)
    return figure


def _draw_beside(
    lines: Sequence[TrainingLine], labels: list[str], quantities: list[str], notes: str
) -> Figure:
    """A column for each label, rows for each count with both rewards, then with what is more."""
    rows = [
        (x, ys) for ys in (REWARDS, *((y,) for y in quantities if y not in REWARDS)) for x in COUNTS
    ]
    figure, axes = style.table_of_panels(
        len(rows),
        len(labels),
        2.5 * len(rows) + 0.7,
        1.4 + 3.3 * len(labels),
        "a plot",
        sharex="row",
        sharey="row",
    )
    colours = _colours(labels)
    for line in lines:
        row = next(k for k, (x, ys) in enumerate(rows) if line.x == x and line.y in ys)
        panel = axes[row][labels.index(line.label)]
        dashes = style.DASHES[REWARDS.index(line.y) if line.y in REWARDS else 0]
        name = _SHORT.get(line.y, line.y)
        _draw_line(panel, line, name, {"color": colours[line.label], "linestyle": dashes})
        _count_axis(panel, line.x)
        axes[0][labels.index(line.label)].set_title(_named(line), loc="left")
    for row, (_, ys) in enumerate(rows):
        axes[row][0].set_ylabel("reward (points)" if ys == REWARDS else _AXES[ys[0]])
    _key(figure, axes[0][0], notes)
    return figure


def _draw_line(panel: Axes, line: TrainingLine, name: str, look: dict[str, Any]) -> None:
    panel.plot(line.grid, line.mean, label=name, linewidth=1.8, **look)
    if np.isfinite(line.low).any():
        band = {"color": look["color"], "alpha": 0.18, "linewidth": 0}
        panel.fill_between(line.grid, line.low, line.high, **band)
    for place in line.joints:
        panel.axvline(place, color=style.MUTED, linewidth=0.9, linestyle=":")


def _named(line: TrainingLine) -> str:
    return f"{line.label} ({line.logs} seeds)" if line.logs > 1 else line.label


def _colours(labels: Sequence[str]) -> dict[str, str]:
    """Return a colour for each label: a backend's own for the first that names it."""
    free, found = dict(_COLOURS), {}
    others = iter(_OTHERS * len(labels))
    for label in labels:
        named = next((word for word in re.split(r"\W+", label) if word in free), None)
        found[label] = free.pop(named) if named else next(others)
    return found


def _count_axis(panel: Axes, x: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    panel.set_xlabel(_AXES[x])
    panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))


def _key(figure: Figure, panel: Axes, notes: str) -> None:
    """Name the lines once, under all panels, with the notes under them."""
    lines, names = panel.get_legend_handles_labels()
    look = {"frameon": False, "handlelength": 2.6, "fontsize": 9.5, "ncols": min(len(names), 4)}
    if notes:
        figure.supxlabel(notes, fontsize=8.5, color=style.MUTED)
    figure.legend(lines, names, loc="outside upper center", **look)
