"""Pictures of functions of one number: activations, normalisation, dropout, initial values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

from triptych.report.effects.style import colour, curves, key, label, panels, shared_key
from triptych.spec.randomness import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from triptych.report.effects.style import Plot

X = np.linspace(-4, 4, 161)


def activations() -> Figure:
    """The usual activations and, at the right, their slopes, which carry the gradient."""
    figure, (left, right) = panels(2)
    lines = {
        "relu": np.maximum(X, 0),
        "elu": np.where(X > 0, X, np.expm1(X)),
        "gelu": X * special.ndtr(X),
        "silu": X * special.expit(X),
        "tanh": np.tanh(X),
        "sigmoid": special.expit(X),
    }
    curves(left, X, lines)
    label(left, "input", "output")
    left.set_ylim(-1.3, 4)
    curves(right, X, {name: np.gradient(line, X) for name, line in lines.items()})
    shared_key(figure, left)
    label(right, "input", "slope")
    return figure


def leaky_slopes() -> Figure:
    """Leaky ReLU with the three slopes that its name stands for."""
    figure, (axes,) = panels()
    slopes = {"PyTorch, JAX 0.01": 0.01, "Keras' function 0.2": 0.2, "Keras' layer 0.3": 0.3}
    curves(axes, X, {name: np.where(X > 0, X, slope * X) for name, slope in slopes.items()})
    axes.set_ylim(-1.4, 2)
    axes.set_xlim(-4, 2)
    label(axes, "input", "output")
    return figure


def elu_alphas() -> Figure:
    """ELU for two α, and SELU, which has constants of its own."""
    figure, (axes,) = panels()
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    lines = {f"ELU, α = {a}": np.where(X > 0, X, a * np.expm1(X)) for a in (1.0, 0.5)}
    lines["SELU"] = scale * np.where(X > 0, X, alpha * np.expm1(X))
    curves(axes, X, lines)
    axes.set_ylim(-2, 2)
    axes.set_xlim(-4, 2)
    label(axes, "input", "output")
    return figure


def gelu_difference() -> Figure:
    """The tanh form of GELU minus the exact one."""
    figure, (axes,) = panels()
    x = np.linspace(-6, 6, 241)
    exact = x * special.ndtr(x)
    close = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    axes.plot(x, (close - exact) * 1e4, color=colour("", 1))
    axes.axhline(0, color="#5a6572", linewidth=0.8)
    label(axes, "input", "tanh form - exact [1e-4]")
    return figure


def hard_sigmoids() -> Figure:
    """The sigmoid and the two straight lines that stand in for it."""
    figure, (axes,) = panels()
    lines = {
        "sigmoid": special.expit(X),
        "x/6 + 1/2, today's": np.clip(X / 6 + 0.5, 0, 1),
        "x/5 + 1/2, Keras 2": np.clip(X / 5 + 0.5, 0, 1),
    }
    curves(axes, X, lines)
    label(axes, "input", "output")
    return figure


def softplus_threshold() -> Figure:
    """Softplus minus its input, which PyTorch sets to zero above 20; float32 rounds coarser."""
    figure, (axes,) = panels()
    x = np.linspace(15, 25, 201)
    rest = np.log1p(np.exp(-x))
    lines = {
        "Keras, JAX": rest,
        "PyTorch": np.where(x > 20, np.nan, rest),
        "half a last bit in float32": np.spacing(x.astype(np.float32)).astype(float) / 2,
    }
    curves(axes, x, lines)
    axes.set_yscale("log")
    label(axes, "input", "softplus(x) - x")
    return figure


def _normalised(epsilons: dict[str, float]) -> Figure:
    figure, (axes,) = panels()
    variance = np.logspace(-7, 1, 121)
    lines = {name: np.sqrt(variance / (variance + eps)) for name, eps in epsilons.items()}
    curves(axes, variance, lines)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.05)
    label(axes, "variance before", "deviation after")
    return figure


def batch_norm_epsilon() -> Figure:
    """The deviation after batch normalisation against the variance before it; 1 is meant."""
    return _normalised({"PyTorch, Flax 1e-5": 1e-5, "Keras 1e-3": 1e-3})


def layer_norm_epsilon() -> Figure:
    """The deviation after layer normalisation against the variance before it; 1 is meant."""
    return _normalised({"Flax 1e-6": 1e-6, "PyTorch 1e-5": 1e-5, "Keras 1e-3": 1e-3})


def batch_norm_keep() -> Figure:
    """How far the running mean has come towards a steady batch mean of 1."""
    figure, (axes,) = panels()
    count = np.arange(0, 301)
    lines = {
        "PyTorch momentum 0.1, keeps 0.9": 1 - 0.9**count,
        "Keras, Flax momentum 0.99, keeps 0.99": 1 - 0.99**count,
        "0.99 copied into PyTorch": 1 - 0.01**count,
    }
    curves(axes, count, lines, loc="lower right")
    label(axes, "update", "running mean [batch mean]")
    return figure


def batch_norm_variance() -> Figure:
    """How much larger the unbiased running variance is, by the numbers in a batch's channel."""
    figure, (axes,) = panels()
    count = np.unique(np.geomspace(2, 60_000, 120).astype(int))
    axes.plot(count, 100 / (count - 1), color=colour("PyTorch"))
    for number, name in ((32, "32, dense"), (3200, "32 of 10x10 pixels")):
        axes.plot(number, 100 / (number - 1), "o", color=colour("PyTorch"))
        axes.annotate(name, (number, 100 / (number - 1)), (6, 6), textcoords="offset points")
    axes.set_xscale("log")
    axes.set_yscale("log")
    label(axes, "numbers per channel: batch x pixels", "PyTorch's excess [%]")
    return figure


def batch_norm_mode() -> Figure:
    """A channel of mean 3 and deviation 2 through a fresh normalisation, in both modes."""
    figure, (axes,) = panels()
    drawn = 3 + 2 * generator(0, "batch norm").standard_normal(4000)
    modes = {
        "batch statistics": (drawn - drawn.mean()) / drawn.std(),
        "running statistics, not moved yet": drawn / np.sqrt(1 + 1e-3),
    }
    for number, (name, values) in enumerate(modes.items()):
        look: dict[str, Any] = {"color": colour("", number + 1), "label": name, "alpha": 0.65}
        axes.hist(values, bins=50, range=(-5, 10), density=True, **look)
    key(axes)
    label(axes, "output", "density")
    return figure


def dropout_noise() -> Figure:
    """The deviation that dropout adds to a mean of n equal values, relative to that mean."""
    figure, (axes,) = panels()
    rate = np.linspace(0, 0.9, 91)
    noise = np.sqrt(rate / (1 - rate))
    curves(axes, rate, {f"{n} values": 100 * noise / n**0.5 for n in (10, 100, 1000)})
    label(axes, "part dropped", "added deviation [%]")
    return figure


def dropout_scaling() -> Figure:
    """The mean of 256 ones behind dropout at rate 0.5, over 60 draws: three ways to write it."""
    figure, (axes,) = panels()
    kept = generator(0, "dropout").random((60, 256)) >= 0.5
    means = kept.mean(axis=1)
    ways = {
        "inverted (all frameworks)": (means / 0.5, 1.0),
        "paper: scaled at inference": (means, 0.5),
        "neither": (means, 1.0),
    }
    for number, (training, inference) in enumerate(ways.values()):
        draws = generator(number, "jitter").uniform(-0.16, 0.16, 60)
        paint = colour("", number + 1)
        axes.plot(training, number + draws, ".", color=paint, markersize=4, alpha=0.6)
        axes.plot([inference] * 2, [number - 0.3, number + 0.3], color="#1a2027", linewidth=2.5)
    axes.set_yticks(range(3), labels=list(ways))
    axes.set_ylim(2.6, -0.6)
    axes.set_xlim(0.3, 1.3)
    axes.set_xlabel("mean: training (dots), inference (bar)")
    return figure


def initial_densities() -> Figure:
    """Densities of one weight of a dense layer with 64 inputs and 64 outputs."""
    figure, (axes,) = panels()
    x = np.linspace(-0.45, 0.45, 361)
    deviation = (1 / 64) ** 0.5
    glorot, torch = (6 / 128) ** 0.5, (1 / 64) ** 0.5
    wide = deviation / 0.87962566103423978
    lines = {
        "Keras: uniform ±√(6/(in + out))": stats.uniform.pdf(x, -glorot, 2 * glorot),
        "PyTorch: uniform ±1/√in": stats.uniform.pdf(x, -torch, 2 * torch),
        "Flax: normal 1/√in, cut at 2σ": stats.truncnorm.pdf(x, -2, 2, scale=wide),
        "normal, not cut": stats.norm.pdf(x, scale=deviation),
    }
    curves(axes, x, lines, fontsize=8.5, loc="upper right")
    axes.set_xlim(-0.45, 0.62)
    axes.set_ylim(0, None)
    label(axes, "weight", "density")
    return figure


def bias_start() -> Figure:
    """The deviation of a dense layer's initial biases against the number of its inputs."""
    figure, (axes,) = panels()
    inputs = np.unique(np.geomspace(1, 4096, 60).astype(int))
    lines = {"PyTorch": 1 / np.sqrt(3.0 * inputs), "Keras, Flax": np.zeros(len(inputs))}
    curves(axes, inputs, lines)
    axes.set_xscale("log")
    label(axes, "inputs of the layer", "deviation of the biases")
    return figure


def input_scaling() -> Figure:
    """Outputs of a tanh layer (400 pixels, Glorot's weights) for one image scaled in three ways."""
    figure, axes = panels(3, height=2.6)
    stream = generator(0, "scaling")
    pixels = stream.integers(0, 256, 400).astype(float)
    limit = (6 / 800) ** 0.5
    sums = pixels @ stream.uniform(-limit, limit, (400, 400))
    ways = {"0 to 255": sums, "0 to 1": sums / 255, "divided twice": sums / 255**2}
    for place, (name, values) in zip(axes, ways.items(), strict=True):
        place.hist(np.tanh(values), bins=40, range=(-1, 1), color=colour("", 1))
        label(place, "output", "units of 400" if name == "0 to 255" else "", name)
    return figure


PLOTS: tuple[Plot, ...] = (
    *(activations, leaky_slopes, elu_alphas, gelu_difference, hard_sigmoids, softplus_threshold),
    *(batch_norm_epsilon, layer_norm_epsilon, batch_norm_keep, batch_norm_variance),
    *(batch_norm_mode, dropout_noise, dropout_scaling, initial_densities, bias_start),
    *(input_scaling,),
)
