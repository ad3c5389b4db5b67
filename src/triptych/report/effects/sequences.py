"""Pictures of recurrent layers, of rounding, and of batches: what happens over many steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from triptych.report.effects.style import bare, colour, curves, key, label, panels
from triptych.spec.randomness import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from triptych.report.effects.style import Plot


def gate_order() -> Figure:
    """The gates' matrices side by side in one array, as each framework keeps them."""
    from matplotlib.patches import Rectangle

    figure, (axes,) = panels(height=2.7)
    paints = {"input": "#a8c6ec", "forget": "#f0c48f", "cell": "#a9d6b4", "output": "#d9bfe8"}
    paints |= {"update": "#a8c6ec", "reset": "#f0c48f", "candidate": "#a9d6b4"}
    rows = {
        "LSTM: all three": ["input", "forget", "cell", "output"],
        "GRU: Keras": ["update", "reset", "candidate"],
        "GRU: PyTorch, Flax": ["reset", "update", "candidate"],
    }
    for line, (name, gates) in enumerate(rows.items()):
        for column, gate in enumerate(gates):
            axes.add_patch(Rectangle((2 * column, -line), 1.94, 0.8, color=paints[gate]))
            axes.text(2 * column + 0.97, 0.4 - line, gate, ha="center", va="center")
        axes.text(-0.2, 0.4 - line, name, ha="right", va="center")
    bare(axes, "")
    axes.set_xlim(-3.6, 8.1)
    axes.set_ylim(-2.2, 1.0)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def forget_bias() -> Figure:
    """The part of an LSTM's memory that is left after some steps, before anything is learnt."""
    figure, (axes,) = panels()
    step = np.arange(0, 21)
    starts = {"Keras: 1": 1.0, "PyTorch, Flax: about 0": 0.0, "2": 2.0}
    curves(axes, step, {name: expit(bias) ** step for name, bias in starts.items()})
    label(axes, "step", "memory left")
    return figure


def _gru(inputs: np.ndarray, after: bool) -> np.ndarray:
    """States (steps, 8) of a GRU without biases; weights are the same for both places."""
    stream = generator(0, "gru")
    w = stream.standard_normal((3, inputs.shape[1], 8))
    u = stream.standard_normal((3, 8, 8)) * 0.8
    state, states = np.zeros(8), []
    for x in inputs:
        z, r = expit(x @ w[0] + state @ u[0]), expit(x @ w[1] + state @ u[1])
        inner = r * (state @ u[2]) if after else (r * state) @ u[2]
        state = (1 - z) * np.tanh(x @ w[2] + inner) + z * state
        states.append(state)
    return np.array(states)


def reset_place() -> Figure:
    """A unit of a GRU over 30 steps with the same weights, reset before or after the matrix."""
    figure, (axes,) = panels()
    inputs = generator(0, "gru inputs").standard_normal((30, 3))
    lines = {"reset after": _gru(inputs, True)[:, 0], "reset before": _gru(inputs, False)[:, 0]}
    curves(axes, np.arange(1, 31), lines)
    label(axes, "step", "state of unit 1")
    return figure


def masked_state() -> Figure:
    """A state over ten real steps and twenty padded ones: held by a mask, or run on with zeros."""
    figure, (axes,) = panels()
    real = generator(0, "mask").standard_normal((10, 3))
    run_on = _gru(np.concatenate([real, np.zeros((20, 3))]), True)[:, 1]
    held = np.where(np.arange(30) < 10, run_on, run_on[9])
    axes.axvspan(10, 30, color="#f0f2f5")
    curves(axes, np.arange(1, 31), {"masked": held, "not masked": run_on})
    axes.text(20, axes.get_ylim()[1], "padding", ha="center", va="top", color="#5a6572")
    label(axes, "step", "state of unit 2")
    return figure


def _train(dtype: Any, nudge: bool, seed: int, updates: int = 600) -> np.ndarray:
    """Params (updates, n) of a relu network under SGD with momentum; a last bit may be nudged."""
    stream = generator(seed, "precision")
    x, y = stream.standard_normal((256, 6)).astype(dtype), stream.standard_normal((256, 1))
    shapes = {(6, 24): 0.5, (24, 24): 0.3, (24, 1): 0.3}
    w = [(stream.standard_normal(shape) * size).astype(dtype) for shape, size in shapes.items()]
    if nudge:
        w[0][0, 0] = np.nextafter(w[0][0, 0], dtype(9))
    y, speed, path = y.astype(dtype), [np.zeros_like(array) for array in w], []
    for batch in stream.integers(0, 256, (updates, 32)):
        slopes = _slopes(w, x[batch], y[batch])
        speed = [dtype(0.9) * s + g for s, g in zip(speed, slopes, strict=True)]
        w = [array - dtype(0.04) * s for array, s in zip(w, speed, strict=True)]
        path.append(np.concatenate([array.ravel() for array in w]).astype(float))
    return np.array(path)


def _slopes(w: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """The mean squared error's gradients for two relu layers and a linear one."""
    first = np.maximum(x @ w[0], 0)
    second = np.maximum(first @ w[1], 0)
    error = (second @ w[2] - y) / y.dtype.type(len(y) / 2)
    inner = error @ w[2].T * (second > 0)
    outer = inner @ w[1].T * (first > 0)
    return [x.T @ outer, first.T @ inner, second.T @ error]


def precision_paths() -> Figure:
    """How far one changed last bit moves a network, relative to the way travelled: six networks.

    Two relu layers, batches of 32, SGD with momentum at a high rate. In float32 some part ways.
    """
    figure, (axes,) = panels()
    count = np.arange(4, 600, 4)
    for number, (name, dtype) in enumerate((("float32", np.float32), ("float64", np.float64))):
        for seed in range(6):
            base, other = _train(dtype, False, seed), _train(dtype, True, seed)
            way = np.linalg.norm(base - base[0], axis=1)[count]
            apart = np.linalg.norm(base - other, axis=1)[count] / way
            look: dict[str, Any] = {"color": colour("", number + 1), "linewidth": 1.2}
            axes.plot(count, apart, label=None if seed else name, **look)
    key(axes, loc="center right")
    axes.set_yscale("log")
    axes.set_ylim(1e-17, 10)
    label(axes, "update", "distance [way travelled]")
    return figure


def float32_constants() -> Figure:
    """The relative error of common constants that have passed through float32."""
    figure, (axes,) = panels()
    constants = [0.5, 0.75, 0.8, 0.9, 0.95, 0.99, 0.999, 1e-3, 1e-5, 1e-7]
    errors = [abs(float(np.float32(c)) - c) / c for c in constants]
    axes.bar(range(len(constants)), np.array(errors) * 1e8, color=colour("Keras"), width=0.6)
    axes.set_xticks(range(len(constants)), labels=[f"{c:g}" for c in constants])
    axes.grid(axis="x", visible=False)
    label(axes, "constant", "relative error [1e-8]")
    return figure


def summation_order() -> Figure:
    """The sum of the same 10,000 float32 numbers in 400 orders, as an error of the exact sum."""
    figure, (axes,) = panels()
    stream = generator(0, "summation")
    numbers = stream.standard_normal(10_000).astype(np.float32)
    exact = float(numbers.astype(np.float64).sum())
    sums = [np.add.accumulate(stream.permutation(numbers))[-1] for _ in range(400)]
    errors = (np.array(sums, float) - exact) / abs(exact) * 1e6
    axes.hist(errors, bins=40, color=colour("", 1))
    label(axes, "relative error [1e-6]", "orders of 400")
    return figure


def batch_noise() -> Figure:
    """The error of a mean gradient, in deviations of one example's, against the batch size."""
    figure, (axes,) = panels()
    sizes = 2 ** np.arange(0, 11)
    drawn = generator(0, "batch noise").standard_normal((200, 1024))
    seen = [np.sqrt(np.mean(drawn[:, :size].mean(axis=1) ** 2)) for size in sizes]
    axes.plot(sizes, 1 / np.sqrt(sizes), color=colour("", 0), label="1/√batch")
    axes.plot(sizes, seen, "o", color=colour("", 1), label="200 draws")
    key(axes)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes[::2], labels=[str(size) for size in sizes[::2]])
    label(axes, "batch size [examples]", "error of the mean gradient")
    return figure


PLOTS: tuple[Plot, ...] = (
    *(gate_order, forget_bias, reset_place, masked_state, precision_paths, float32_constants),
    *(summation_order, batch_noise),
)
