"""Small figures as SVG within HTML: rows of points and intervals, and step lines with bands.

The SVG is stretched to the page's width and holds no text: strokes keep their width, and labels
are HTML around it, so that a figure can be read on a telephone. Positions are in percent of the
figure, from its top left corner. What is drawn is decided in :mod:`triptych.report.outcome`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from triptych.report.markup import Html, element, join


@dataclass(frozen=True)
class Scale:
    """From values to percent of a figure's width; ``low < high``."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Return a value's place, 0 to 100, cut at the edges."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 3)


def ticks(scale: Scale, count: int = 5) -> list[float]:
    """Return about ``count`` round values within a scale: steps of 1, 2 or 5 times ten."""
    rough = (scale.high - scale.low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def short(value: float) -> str:
    """Return a number as it is written on an axis or in a table: three digits."""
    if value == 0:
        return "0"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def figure(
    labels: Sequence[Html | str],
    marks: Sequence[Html],
    scale: Scale,
    along: Sequence[float],
    *,
    axis: str,
    height: float,
    described: str,
    rows: bool = True,
) -> Html:
    """Return a figure: labels on the left, marks in the middle, an axis below.

    Args:
        labels: from top to bottom; one in the middle of each row, or spread from edge to edge.
        marks: SVG of :func:`line`, :func:`dot`, :func:`area`, :func:`path`.
        scale: of the axis.
        along: values that the axis names, each with a line through the figure.
        axis: what the axis shows.
        height: of the marks' part, in rem.
        described: the figure in words, for those who cannot see it.
        rows: whether the labels name rows.
    """
    grid = [line(scale(v), 0, scale(v), 100, "grid") for v in along]
    names = [element("span", short(v), style=f"left:{scale(v)}%") for v in along]
    drawing = element(
        "svg",
        *grid,
        *marks,
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=described,
    )
    kind = "plot-rows" if rows else "plot-ends"
    return element(
        "div",
        element("div", *(element("span", each) for each in labels), class_=kind),
        element("div", drawing, class_="plot-area", style=f"height:{height}rem"),
        element("div", *names, class_="plot-ticks", aria_hidden="true"),
        element("div", axis, class_="plot-axis"),
        class_="plot",
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def dot(x: float, y: float, class_: str) -> Html:
    """Return a dot: a stroke without length and with round ends, since circles would stretch."""
    return element("path", d=f"M{x} {y}h0", class_=class_)


def area(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    """Return a rectangle from its upper left to its lower right corner."""
    return element("rect", x=x1, y=y1, width=round(x2 - x1, 3), height=y2 - y1, class_=class_)


def steps(xs: Sequence[float], ys: Sequence[float], end: float, class_: str) -> Html:
    """Return a line that keeps each y from its x to the next, the last one until ``end``."""
    return element("path", d=_along(xs, ys, end), class_=class_)


def step_band(
    xs: Sequence[float], low: Sequence[float], high: Sequence[float], end: float, class_: str
) -> Html:
    """Return the area between two lines of steps."""
    edges = [*zip(xs, low, strict=True)]
    stops = [*xs[1:], end]
    back = "".join(
        f"L{stop} {y}L{x} {y}" for (x, y), stop in reversed([*zip(edges, stops, strict=True)])
    )
    return element("path", d=f"{_along(xs, high, end)}{back}Z", class_=class_)


def legend(entries: Sequence[Html]) -> Html:
    """Return entries side by side above a figure."""
    return element("div", join(*entries), class_="plot-legend")


def _along(xs: Sequence[float], ys: Sequence[float], end: float) -> str:
    stops = [*xs[1:], end]
    pieces = [f"L{x} {y}L{stop} {y}" for x, y, stop in zip(xs, ys, stops, strict=True)]
    return "M" + "".join(pieces)[1:]
