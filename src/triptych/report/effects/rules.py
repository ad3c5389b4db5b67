"""Pictures of adaptive update rules: Adam, RMSprop, Adagrad and what differs within one name.

Steps are in units of the rate. Momentum, decay and clipping are in ``motion.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from triptych.report.effects.style import curves, key, label, panels, shared_key
from triptych.spec.randomness import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from triptych.report.effects.style import Plot

SMALL = np.logspace(-10, -2, 161)
"""Sizes of a gradient."""


def adam(
    gradients: np.ndarray,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 0.0,
    place: str = "after",
    corrected: bool = True,
) -> np.ndarray:
    """Return Adam's step at each update, in rates, for gradients (updates, ...).

    ``place`` of epsilon: after (the correction), before (it), inside (the root).
    Source: Kingma and Ba 2015, algorithm 1 and the end of section 2.
    """
    first = second = np.zeros(gradients.shape[1:])
    made = []
    for count, gradient in enumerate(gradients, start=1):
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        short1, short2 = (1 - beta1**count, 1 - beta2**count) if corrected else (1.0, 1.0)
        if place == "before":
            made.append(np.sqrt(short2) / short1 * first / (np.sqrt(second) + epsilon))
        elif place == "inside":
            made.append(first / short1 / np.sqrt(second / short2 + epsilon))
        else:
            made.append(first / short1 / (np.sqrt(second / short2) + epsilon))
    return np.array(made)


def rmsprop(
    gradients: np.ndarray,
    decay: float = 0.9,
    epsilon: float = 0.0,
    inside: bool = False,
    centred: bool = False,
) -> np.ndarray:
    """Return RMSprop's step at each update, in rates, for gradients (updates, ...)."""
    square = mean = np.zeros(gradients.shape[1:])
    made = []
    for gradient in gradients:
        square = decay * square + (1 - decay) * gradient**2
        mean = decay * mean + (1 - decay) * gradient
        spread = np.maximum(square - mean**2, 0.0) if centred else square
        root = np.sqrt(spread + epsilon) if inside else np.sqrt(spread) + epsilon
        made.append(gradient / root)
    return np.array(made)


def adam_epsilon_places() -> Figure:
    """Left: Adam's first step for the same ε = 1e-7 in its three places; RMSprop has the same two.

    Right: a gradient of 1e-6 that does not change. The place before the correction meets the one
    after it only when the correction has faded, after thousands of updates.
    """
    figure, (left, right) = panels(2)
    places = {"after (PyTorch, Optax)": "after", "before (Keras)": "before", "inside": "inside"}
    first = {name: adam(SMALL[None], epsilon=1e-7, place=p)[0] for name, p in places.items()}
    curves(left, SMALL, _coloured(first))
    left.set_xscale("log")
    label(left, "size of the gradient", "first step [rates]", "t = 1")
    count = np.arange(1, 5001)
    steady = np.full(5000, 1e-6)
    later = {name: adam(steady, epsilon=1e-7, place=p) for name, p in places.items()}
    some = np.unique(np.geomspace(1, 5000, 150).astype(int)) - 1
    curves(right, count[some], {n: v[some] for n, v in _coloured(later).items()})
    shared_key(figure, left)
    right.set_xscale("log")
    right.set_ylim(0, 1.05)
    label(right, "update t", "step [rates]", "gradient of 1e-6")
    return figure


def _coloured(series: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Let a name begin with the framework whose colour the line has."""
    names = {"after (PyTorch, Optax)": "PyTorch, Optax: after", "before (Keras)": "Keras: before"}
    return {names.get(name, "ε inside the root"): line for name, line in series.items()}


def adam_epsilons() -> Figure:
    """Adam's first step against the size of the gradient: below ε the rule stops normalising."""
    figure, (axes,) = panels()
    sizes = np.logspace(-10, 1, 161)
    lines = {
        "PyTorch, Optax 1e-8": adam(sizes[None], epsilon=1e-8)[0],
        "Keras 1e-7, its place": adam(sizes[None], epsilon=1e-7, place="before")[0],
        "Rainbow 1.5e-4": adam(sizes[None], epsilon=1.5e-4)[0],
        "0.01": adam(sizes[None], epsilon=0.01)[0],
    }
    curves(axes, sizes, lines, loc="lower right")
    axes.set_xscale("log")
    label(axes, "size of the gradient", "first step [rates]")
    return figure


def bias_correction() -> Figure:
    """Adam's step for a steady gradient with and without the correction of its averages."""
    figure, (axes,) = panels()
    some = np.unique(np.geomspace(1, 5000, 160).astype(int)) - 1
    steady = np.ones(5000)
    lines = {
        "corrected": adam(steady)[some],
        "not corrected": adam(steady, corrected=False)[some],
        "not corrected, β₂ = 0.99": adam(steady, beta2=0.99, corrected=False)[some],
    }
    curves(axes, some + 1, lines)
    axes.set_xscale("log")
    axes.set_ylim(0, None)
    label(axes, "update t", "step [rates]")
    return figure


def adam_betas() -> Figure:
    """A gradient of 1 falls to 0.1 after 100 updates: how soon the step is one rate again."""
    figure, (axes,) = panels()
    gradient = np.where(np.arange(400) < 100, 1.0, 0.1)
    pairs = {"β₂ = 0.9": (0.9, 0.9), "β₂ = 0.99": (0.9, 0.99), "β₂ = 0.999": (0.9, 0.999)}
    pairs |= {"β₁ = 0.5, β₂ = 0.999": (0.5, 0.999)}
    lines = {name: adam(gradient, *betas) for name, betas in pairs.items()}
    curves(axes, np.arange(1, 401), lines)
    label(axes, "update t", "step [rates]")
    return figure


def rmsprop_decay() -> Figure:
    """RMSprop's step for a steady gradient: the average starts at zero and is not corrected."""
    figure, (axes,) = panels()
    steady = np.ones(400)
    some = np.unique(np.geomspace(1, 400, 120).astype(int)) - 1
    lines = {
        "PyTorch 0.99": rmsprop(steady, 0.99)[some],
        "Keras, Optax 0.9": rmsprop(steady, 0.9)[some],
    }
    curves(axes, some + 1, lines)
    axes.set_xscale("log")
    axes.set_ylim(0, None)
    label(axes, "update t", "step [rates]")
    return figure


def centered() -> Figure:
    """RMSprop's usual step, centred or not, as the gradient's mean grows beside noise of 1."""
    figure, (axes,) = panels()
    means = np.linspace(0, 5, 41)
    noise = generator(0, "centred").standard_normal((3000, 1))
    gradients = means + noise
    lines = {
        "not centred": np.median(np.abs(rmsprop(gradients, 0.95)[500:]), axis=0),
        "centred": np.median(np.abs(rmsprop(gradients, 0.95, centred=True)[500:]), axis=0),
    }
    curves(axes, means, lines)
    axes.set_ylim(0, None)
    label(axes, "mean of the gradient [its deviation]", "median step [rates]")
    return figure


def adagrad_start() -> Figure:
    """Adagrad's first step against the size of the gradient, for a sum that starts at 0 or 0.1."""
    figure, (axes,) = panels()
    sizes = np.logspace(-4, 1, 121)
    lines = {
        "PyTorch, from 0": sizes / np.sqrt(sizes**2),
        "Keras, Optax from 0.1": sizes / np.sqrt(0.1 + sizes**2),
    }
    curves(axes, sizes, lines)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.08)
    label(axes, "size of the gradient", "first step [rates]")
    return figure


def nadam_momentum() -> Figure:
    """NAdam's momentum at update t: how it is warmed up."""
    figure, (axes,) = panels()
    count = np.unique(np.geomspace(1, 30_000, 160).astype(int))
    lines = {
        "PyTorch 0.96^(0.004 t)": 0.9 * (1 - 0.5 * 0.96 ** (0.004 * count)),
        "Keras 0.96^t": 0.9 * (1 - 0.5 * 0.96**count),
        "Optax, none": np.full(len(count), 0.9),
    }
    curves(axes, count, lines, loc="lower right")
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    label(axes, "update t", "momentum μₜ")
    return figure


def rule_paths() -> Figure:
    """Sixty updates down a valley, 25 times steeper across than along, each at a good rate."""
    figure, (axes,) = panels(height=3.6)
    x, y = np.meshgrid(np.linspace(-10.5, 3.6, 32), np.linspace(-2.4, 2.4, 24))
    axes.contour(x, y, (x**2 + 25 * y**2) / 2, levels=5, colors="#c9d0d8", linewidths=0.8)
    rates = {"SGD": 0.07, "SGD, momentum 0.9": 0.02, "RMSprop": 0.15, "Adam": 0.4}
    for (name, rate), paint in zip(
        rates.items(), ("#59636e", "#2b8a8a", "#c96a00", "#7a5bbf"), strict=True
    ):
        path = _path(name, rate)
        axes.plot(*path.T, color=paint, label=name, marker="o", markersize=2.2, linewidth=1.4)
    axes.plot(0, 0, marker="*", markersize=11, color="#c0272d", linestyle="none")
    key(axes, loc="upper right", ncols=2, fontsize=9)
    label(axes, "parameter 1", "parameter 2")
    return figure


def _path(rule: str, rate: float) -> np.ndarray:
    """Sixty-one places (61, 2) of a rule on (x² + 25 y²)/2 from (-10, 2)."""
    place, buffer, gradients = np.array([-10.0, 2.0]), np.zeros(2), []
    places = [place]
    for _ in range(60):
        gradients.append(place * [1.0, 25.0])
        if rule == "Adam":
            step = adam(np.array(gradients))[-1]
        elif rule == "RMSprop":
            step = rmsprop(np.array(gradients), 0.9, 1e-7)[-1]
        else:
            step = buffer = (0.9 if "momentum" in rule else 0.0) * buffer + gradients[-1]
        place = place - rate * step
        places.append(place)
    return np.array(places)


def rates() -> Figure:
    """What is left of a quadratic loss after 60 updates, for each rate, in a valley as 1 to 25."""
    figure, (axes,) = panels()
    tried = np.geomspace(1e-3, 1.0, 61)
    lines = {}
    for rule in ("SGD", "SGD, momentum 0.9", "Adam"):
        ends = np.array([_path(rule, rate)[-1] for rate in tried])
        loss = (ends[:, 0] ** 2 + 25 * ends[:, 1] ** 2) / 100.0 / 2
        lines[rule] = np.minimum(loss, 1e3)
    curves(axes, tried, lines, loc="lower left")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-6, 1e2)
    label(axes, "rate", "loss after 60 updates [initial]")
    return figure


PLOTS: tuple[Plot, ...] = (
    *(adam_epsilon_places, adam_epsilons, bias_correction, adam_betas, rmsprop_decay, centered),
    *(adagrad_start, nadam_momentum, rule_paths, rates),
)
