"""Pictures of momentum, schedules, decay and clipping: what surrounds an update rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from triptych.report.effects.rules import adam
from triptych.report.effects.style import colour, curves, label, panels, steps
from triptych.spec.randomness import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from triptych.report.effects.style import Plot


def heavy(
    gradients: np.ndarray,
    momentum: float = 0.9,
    rates: np.ndarray | float = 1.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    inside: bool = False,
) -> np.ndarray:
    """Return the step at each update of SGD with momentum (updates,).

    The first gradient enters the buffer undamped, as in PyTorch; ``inside``: the rate is in the
    buffer, as in Keras.
    """
    rate = np.broadcast_to(rates, gradients.shape)
    buffer, made = 0.0, []
    for count, gradient in enumerate(gradients):
        fresh = gradient * (1.0 if count == 0 else 1.0 - dampening)
        buffer = momentum * buffer + fresh * (rate[count] if inside else 1.0)
        step = gradient + momentum * buffer if nesterov else buffer
        made.append(step if inside else rate[count] * step)
    return np.array(made)


def momentum() -> Figure:
    """The step for a steady gradient of 1: it grows to 1 / (1 - μ) rates."""
    figure, (axes,) = panels()
    steady = np.ones(40)
    lines = {f"μ = {mu}": heavy(steady, mu) for mu in (0.0, 0.5, 0.9)}
    curves(axes, np.arange(1, 41), lines)
    axes.set_ylim(0, None)
    label(axes, "update t", "step [rates]")
    return figure


def nesterov() -> Figure:
    """The gradient turns from 1 to -1 after 20 updates: Nesterov's step turns sooner."""
    figure, (axes,) = panels()
    turning = np.where(np.arange(45) < 20, 1.0, -1.0)
    lines = {"usual": heavy(turning), "Nesterov": heavy(turning, nesterov=True)}
    steps(axes, np.arange(1, 46), lines)
    label(axes, "update t", "step [rates]")
    return figure


def dampening() -> Figure:
    """The step for a steady gradient of 1 under a momentum of 0.9."""
    figure, (axes,) = panels()
    steady = np.ones(40)
    lines = {f"dampening {d}": heavy(steady, dampening=d) for d in (0.0, 0.5, 0.9)}
    curves(axes, np.arange(1, 41), lines)
    axes.set_ylim(0, None)
    label(axes, "update t", "step [rates]")
    return figure


def rate_in_buffer() -> Figure:
    """A steady gradient of 1 under a momentum of 0.9; at update 30 the rate falls to a tenth."""
    figure, (axes,) = panels()
    falling = np.where(np.arange(60) < 30, 0.1, 0.01)
    steady = np.ones(60)
    lines = {
        "PyTorch, Optax' sgd: rate outside": heavy(steady, rates=falling),
        "Keras, Optax' rmsprop: rate inside": heavy(steady, rates=falling, inside=True),
    }
    steps(axes, np.arange(60), lines)
    axes.set_ylim(0, None)
    label(axes, "updates made before", "step")
    return figure


def schedules() -> Figure:
    """Left: one decay read smoothly, as a staircase, and one update late. Right: three warm-ups."""
    figure, (left, right) = panels(2)
    count = np.arange(0, 31)
    late = np.maximum(count - 1, 0)
    decays = {
        "smooth": 0.5 ** (count / 10),
        "staircase": 0.5 ** (count // 10),
        "staircase, one update late": 0.5 ** (late // 10),
    }
    steps(left, count, decays, fontsize=9, loc="upper right")
    left.set_ylim(0, 1.6)
    label(left, "updates made before", "rate [start]", "decay")
    first = np.arange(0, 13)
    warm = {
        "from 0": np.minimum(first / 10, 1.0),
        "from 1/10": np.minimum((first + 1) / 10, 1.0),
        "none": np.ones(13),
    }
    steps(right, first, warm, loc="lower right")
    right.set_ylim(0, 1.1)
    label(right, "updates made before", "rate [full]", "warm-up over 10 updates")
    return figure


def l2_gradient() -> Figure:
    """A weight that nothing else pulls, under SGD with rate 0.1 and λ = 0.01."""
    figure, (axes,) = panels()
    count = np.arange(0, 2001, 20)
    lines = {
        "PyTorch weight_decay=λ: gradient λ·w": (1 - 0.1 * 0.01) ** count,
        "Keras L2(λ): gradient 2·λ·w": (1 - 0.1 * 0.02) ** count,
    }
    curves(axes, count, lines)
    axes.set_ylim(0, 1.05)
    label(axes, "update", "weight [start]")
    return figure


def weight_decay() -> Figure:
    """A weight of 1 under gradients that are noise alone, rate 0.01 and decay 0.1, in Adam.

    The coupled decay is divided by the gradient's size like everything else, so it vanishes beside
    large gradients; the decoupled one does not look at them.
    """
    figure, (axes,) = panels()
    noise = generator(0, "weight decay").standard_normal((2000, 48))
    lines = {}
    for size in (0.3, 3.0):
        lines[f"coupled, gradients of {size}"] = _decayed(noise * size, True)
    lines["decoupled, any gradients"] = _decayed(noise, False)
    curves(axes, np.arange(0, 2000, 20), {n: v[::20] for n, v in lines.items()}, loc="upper right")
    axes.axhline(0, color="#5a6572", linewidth=0.8)
    axes.set_ylim(-0.25, 1.08)
    label(axes, "update", "weight, mean of 48")
    return figure


def _decayed(gradients: np.ndarray, coupled: bool) -> np.ndarray:
    """Weights (updates,) averaged over columns, Adam's formula with L2 or with decoupled decay."""
    weight, first, second = np.ones(gradients.shape[1]), 0.0, 0.0
    means = []
    for count, noise in enumerate(gradients, start=1):
        means.append(weight.mean())
        gradient = noise + 0.1 * weight if coupled else noise
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        step = first / (1 - 0.9**count) / np.sqrt(second / (1 - 0.999**count))
        weight = weight - 0.01 * (step if coupled else step + 0.1 * weight)
    return np.array(means)


def clip_arrows() -> Figure:
    """The gradients of two parameters, 3 and 1.2, cut to 1: only one way keeps the direction."""
    figure, (axes,) = panels(height=3.4)
    gradient = np.array([3.0, 1.2])
    kinds = {
        "not clipped": gradient,
        "PyTorch, Optax: norm of all": gradient / np.linalg.norm(gradient),
        "Keras clipnorm: each parameter": np.minimum(gradient, 1.0),
    }
    for number, (name, arrow) in enumerate(kinds.items()):
        paint = colour(name, number)
        look = {"color": paint, "lw": 2.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 13}
        axes.annotate("", arrow, (0, 0), arrowprops={"arrowstyle": "-|>", **look})
        away = ((8, -3), (8, -14), (-12, 8))[number]
        axes.annotate(name, arrow, away, textcoords="offset points", color=paint, fontsize=9.5)
    axes.set_xlim(-0.1, 4.4)
    axes.set_ylim(-0.1, 1.6)
    axes.set_aspect("equal")
    label(axes, "gradient of parameter 1", "gradient of parameter 2")
    return figure


def clip_limits() -> Figure:
    """The gradient's norm after clipping against its norm before."""
    figure, (axes,) = panels()
    norms = np.geomspace(0.1, 100, 121)
    lines = {f"limit {limit}": np.minimum(norms, limit) for limit in (1.0, 10.0, 40.0)}
    curves(axes, norms, lines | {"none": norms})
    axes.set_xscale("log")
    axes.set_yscale("log")
    label(axes, "norm before", "norm after")
    return figure


def two_biases() -> Figure:
    """The sum of a gate's biases under a steady gradient of 1, in rates: one trained, or two."""
    figure, (axes,) = panels()
    count = np.arange(0, 21)
    one = np.concatenate([[0.0], np.cumsum(adam(np.ones(20)))])
    lines = {
        "Keras' LSTM, one bias": one,
        "PyTorch, two biases": 2 * one,
    }
    curves(axes, count, lines)
    label(axes, "updates of Adam", "sum of the biases moved [rates]")
    return figure


PLOTS: tuple[Plot, ...] = (
    *(momentum, nesterov, dampening, rate_in_buffer, schedules, l2_gradient, weight_decay),
    *(clip_arrows, clip_limits, two_biases),
)
