"""One look for all pictures of factors: paper, ink, frameworks' colours, and how they are saved.

matplotlib (the extra ``report``) is imported on first use. What is drawn does not belong here.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from triptych.errors import missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Plot = Callable[[], Figure]

# White paper under dark ink can be read on a light page and on a dark one.
PAPER, INK, MUTED, LINE = "#ffffff", "#1a2027", "#5a6572", "#dfe3e8"
COLOURS = ("#59636e", "#2b8a8a", "#7a5bbf", "#b8860b", "#16794a", "#c0272d")
FRAMEWORKS = {"PyTorch": "#c96a00", "Flax": "#0072b2", "JAX": "#0072b2", "Optax": "#0072b2"}
FRAMEWORKS |= {"Keras": "#8e1f5e"}
DASHES = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)), (0, (6, 1.6, 1.4, 1.6)))

_LOOK = {
    "svg.fonttype": "none",
    "svg.hashsalt": "triptych",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "path.simplify_threshold": 0.3,
}


def panels(columns: int = 1, height: float = 3.2, width: float = 7.2) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``columns`` axes side by side; ``width`` and ``height`` in inches.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    figure, axes = table_of_panels(1, columns, height, width, "a factor's picture")
    return figure, axes[0]


def table_of_panels(
    rows: int, columns: int, height: float, width: float, purpose: str, **share: Any
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with rows of axes; ``share`` is matplotlib's ``sharex`` and ``sharey``.

    Raises:
        MissingDependency: matplotlib, which ``purpose`` needs, is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise missing("matplotlib", "report", purpose) from None
    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **share)
    return figure, [list(row) for row in axes]


def svg(figure: Figure) -> str:
    """Return a figure as SVG text that is the same in every run: no date, fixed ids, real text."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context(_LOOK):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    lines = stream.getvalue().splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def png(figure: Figure, dots: int = 150) -> bytes:
    """Return a figure as PNG, ``dots`` per inch, the same in every run."""
    import matplotlib

    stream = io.BytesIO()
    with matplotlib.rc_context(_LOOK):
        figure.savefig(stream, format="png", dpi=dots, metadata={"Software": None})
    return stream.getvalue()


def label(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Name both axes, with their units in brackets, and the panel."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title, loc="left", fontsize=10.5)


def curves(axes: Axes, x: Any, series: Mapping[str, Any], **legend: Any) -> None:
    """Draw named lines over one x; a framework's name gives a line that framework's colour."""
    for number, (name, values) in enumerate(series.items()):
        axes.plot(x, values, label=name, **_line(name, number))
    _finish(axes, x, legend)


def steps(axes: Axes, x: Any, series: Mapping[str, Any], **legend: Any) -> None:
    """Draw named lines that stay between counts, with a mark at each count."""
    for number, (name, values) in enumerate(series.items()):
        axes.plot(x, values, drawstyle="steps-post", label=name, **_line(name, number))
    _finish(axes, x, legend)


def _line(name: str, number: int) -> dict[str, Any]:
    return {"color": colour(name, number), "linestyle": DASHES[number % 4], "linewidth": 2.0}


def _finish(axes: Axes, x: Any, legend: Mapping[str, Any]) -> None:
    """Add the legend, and whole numbers on an axis that counts."""
    from matplotlib.ticker import MaxNLocator

    key(axes, **legend)
    if np.asarray(x).dtype.kind == "i":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def key(axes: Axes, **legend: Any) -> None:
    """Name an axes' lines in a legend without a frame."""
    axes.legend(**{"frameon": False, "handlelength": 2.6, "fontsize": 9.5} | legend)


def shared_key(figure: Figure, axes: Axes) -> None:
    """Name the lines that several panels share, once, under all of them."""
    lines, names = axes.get_legend_handles_labels()
    look = {"frameon": False, "handlelength": 2.6, "fontsize": 9.5}
    figure.legend(lines, names, loc="outside lower center", ncols=min(len(names), 4), **look)
    for panel in figure.axes:
        if (own := panel.get_legend()) is not None:
            own.remove()


def colour(name: str, number: int = 0) -> str:
    """Return the colour of the framework that a name begins with, or the next of the others."""
    first = re.split(r"\W", name, maxsplit=1)[0]
    return FRAMEWORKS.get(first, COLOURS[number % len(COLOURS)])


def cells(axes: Axes, values: Any, texts: Sequence[Sequence[str]], title: str, **look: Any) -> None:
    """Draw a matrix as coloured cells with a text in each; values in [0, 1] give the tint."""
    shades = np.asarray(values, float)
    axes.imshow(shades, cmap=look.get("cmap", "Blues"), vmin=-0.15, vmax=1.6, aspect="equal")
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            size = look.get("size", 9.5)
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=INK)
    bare(axes, title)
    axes.set_xticks(np.arange(shades.shape[1] + 1) - 0.5, labels=[])
    axes.set_yticks(np.arange(shades.shape[0] + 1) - 0.5, labels=[])
    axes.grid(True, color=PAPER, linewidth=1.5)
    axes.set_axisbelow(False)


def bare(axes: Axes, title: str) -> None:
    """Leave an image without frame and ticks, under its title."""
    axes.set_title(title, loc="left", fontsize=9.5)
    axes.tick_params(length=0)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
