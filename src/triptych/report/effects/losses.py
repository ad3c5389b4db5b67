"""Pictures of losses: their shapes, their gradients, and what limits them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, log_softmax, softmax

from triptych.report.effects.style import curves, label, panels, shared_key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from triptych.report.effects.style import Plot

ERROR = np.linspace(-3, 3, 181)


def _huber(error: np.ndarray, delta: float) -> np.ndarray:
    size = np.abs(error)
    return np.where(size <= delta, error**2 / 2, delta * (size - delta / 2))


def _both(lines: dict[str, np.ndarray]) -> Figure:
    """Draw losses at the left and their gradients at the right."""
    figure, (left, right) = panels(2)
    curves(left, ERROR, lines)
    left.set_ylim(-0.1, 6.5)
    label(left, "error", "loss")
    curves(right, ERROR, {name: np.gradient(line, ERROR) for name, line in lines.items()})
    shared_key(figure, left)
    label(right, "error", "gradient")
    return figure


def loss_kinds() -> Figure:
    """Losses of one error, and their gradients: the factor 1/2 halves the slope."""
    lines = {"squared e²": ERROR**2, "half e²/2": ERROR**2 / 2, "Huber, δ = 1": _huber(ERROR, 1.0)}
    return _both(lines | {"absolute": np.abs(ERROR)})


def huber_deltas() -> Figure:
    """Huber's loss for two δ, and PyTorch's SmoothL1Loss, which is Huber's divided by its beta."""
    lines = {f"Huber, δ = {delta}": _huber(ERROR, delta) for delta in (1.0, 2.0, 0.5)}
    return _both(lines | {"SmoothL1, beta = 0.5": _huber(ERROR, 0.5) / 0.5})


def loss_reduction() -> Figure:
    """The length of the gradient for errors of one size, four outputs, in three reductions."""
    figure, (axes,) = panels()
    batch = 2 ** np.arange(0, 9)
    outputs = 4
    # Each output's gradient is 1 / count of what is averaged; they add up as one direction.
    total = batch * outputs
    lines = {
        "mean over all (PyTorch, Keras)": total / total,
        "mean over batch, sum over outputs": total / batch,
        "sum": total / 1.0,
    }
    curves(axes, batch, lines)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(batch[::2], labels=[str(size) for size in batch[::2]])
    label(axes, "batch size [examples]", "gradient [mean over all]")
    return figure


def loss_clipping() -> Figure:
    """The loss of a positive example against its logit, in float64 and not compiled."""
    figure, (axes,) = panels()
    logit = np.linspace(-120, 5, 251)
    chance = expit(logit)
    lines = {
        "Optax, from logits": np.logaddexp(0, -logit),
        "PyTorch, BCELoss": np.minimum(np.logaddexp(0, -logit), 100),
        "Keras, from probabilities": -np.log(np.clip(chance, 1e-7, 1 - 1e-7)),
    }
    curves(axes, logit, lines)
    label(axes, "logit", "loss")
    return figure


def _margin() -> tuple[np.ndarray, np.ndarray]:
    """Logits (points, 10) of which the first, the right class, leads by a margin (points,)."""
    margin = np.linspace(-5, 15, 161)
    logits = np.zeros((len(margin), 10))
    logits[:, 0] = margin
    return margin, logits


def softmax_twice() -> Figure:
    """The loss of ten classes against the lead of the right logit, with one softmax or two."""
    figure, (axes,) = panels()
    margin, logits = _margin()
    twice = softmax(logits, axis=1)
    lines = {
        "once": -log_softmax(logits, axis=1)[:, 0],
        "twice": -log_softmax(twice, axis=1)[:, 0],
    }
    curves(axes, margin, lines)
    axes.set_ylim(0, None)
    label(axes, "lead of the right logit", "loss")
    return figure


def label_smoothing() -> Figure:
    """The loss of ten classes against the lead of the right logit, for three α."""
    figure, (axes,) = panels()
    margin, logits = _margin()
    lines = {}
    for alpha in (0.0, 0.1, 0.2):
        target = np.full(10, alpha / 10)
        target[0] += 1 - alpha
        lines[f"α = {alpha}"] = -(log_softmax(logits, axis=1) * target).sum(axis=1)
    curves(axes, margin, lines)
    axes.set_ylim(0, None)
    label(axes, "lead of the right logit", "loss")
    return figure


PLOTS: tuple[Plot, ...] = (
    *(loss_kinds, huber_deltas, loss_reduction, loss_clipping, softmax_twice, label_smoothing),
)
