"""Pictures of what a factor does, computed and not sketched; one function for each, by its name.

``style`` has the look; ``rules`` and ``motion`` draw update rules, ``layers`` layouts and windows,
``values`` functions of one number, ``sequences`` recurrent layers and rounding, ``losses`` losses,
``agents`` deep Q-learning. A function's docstring is its picture's caption. Which factor has which
picture is said in the factor's page. matplotlib (the extra ``report``) is imported on first use.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

from triptych.errors import TriptychError, did_you_mean
from triptych.report.effects import agents, layers, losses, motion, rules, sequences, values
from triptych.report.effects.style import svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROOMS = (rules, motion, layers, values, sequences, losses, agents)
PLOTS: dict[str, Callable[[], Figure]] = {
    plot.__name__: plot for room in _ROOMS for plot in room.PLOTS
}


def draw(name: str) -> str:
    """Return a picture as SVG text, the same in every run.

    Raises:
        TriptychError: there is no picture of this name.
        MissingDependency: matplotlib is not installed.
    """
    return svg(_plot(name)())


def caption(name: str) -> str:
    """Return what a picture shows, as one paragraph; errors as in :func:`draw`."""
    return " ".join((inspect.getdoc(_plot(name)) or "").split())


def _plot(name: str) -> Callable[[], Figure]:
    if name not in PLOTS:
        raise TriptychError(f"there is no picture {name!r}{did_you_mean(name, PLOTS)}")
    return PLOTS[name]
