"""Pictures of layouts and windows: which number goes where, which pixels a layer sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from triptych.report.effects.style import bare, cells, curves, label, panels
from triptych.spec.layers.convolution import extent, same_amounts
from triptych.spec.randomness import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from triptych.report.effects.style import Plot


def dense_transposed() -> Figure:
    """A kernel of three inputs (a, b, c) and units (1, 2, 3), and what is read untransposed."""
    figure, axes = panels(3, height=2.5)
    kernel = [[f"{i}{o}" for o in "123"] for i in "abc"]
    shade = np.repeat([[0.1], [0.5], [0.9]], 3, axis=1)
    cells(axes[0], shade, kernel, "Keras, Flax: (in, out)", size=12)
    turned = [list(row) for row in zip(*kernel, strict=True)]
    cells(axes[1], shade.T, turned, "PyTorch: (out, in)", size=12)
    cells(axes[2], shade.T, turned, "PyTorch's, read as (in, out)", size=12)
    axes[0].set_xlabel("units")
    axes[0].set_ylabel("inputs")
    axes[1].set_xlabel("inputs")
    axes[1].set_ylabel("units")
    axes[2].set_xlabel("unit 1 now reads a1, a2, a3")
    return figure


def conv_axes() -> Figure:
    """A real filter for edges, and the same numbers with height and width swapped."""
    figure, axes = panels(3, height=2.5)
    image = np.zeros((24, 24))
    image[5:19, 8:20] = 1.0
    image[9:15, 12:16] = 0.3
    kernel = np.array([[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]])
    shown = {"image": image, "kernel as meant": _conv(image, kernel)}
    shown["height and width swapped"] = _conv(image, kernel.T)
    for place, (name, picture) in zip(axes, shown.items(), strict=True):
        _image(place, picture, name)
    return figure


def _conv(image: np.ndarray, kernel: np.ndarray, stride: int = 1) -> np.ndarray:
    """Cross-correlation without padding, (height, width) with (kernel, kernel)."""
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel.shape)
    result: np.ndarray = np.einsum("ijab,ab->ij", windows[::stride, ::stride], kernel)
    return result


def _image(axes: Any, picture: np.ndarray, title: str, **look: Any) -> None:
    bound = float(np.abs(picture).max()) or 1.0
    low = -bound if picture.min() < 0 else 0.0
    show = {"cmap": "PuOr" if low else "Greys", "vmin": low, "vmax": bound}
    axes.imshow(picture, interpolation="nearest", **(show | look))
    bare(axes, title)
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.set_xticks([])
    axes.set_yticks([])


def transposed_stamp() -> Figure:
    """One bright pixel through a transposed convolution, whose kernel is the numbers 0 to 8."""
    figure, axes = panels(3, height=2.5)
    image = np.zeros((3, 3))
    image[1, 1] = 1.0
    kernel = np.arange(9.0).reshape(3, 3)
    cells(axes[0], image, [[f"{v:g}" for v in row] for row in image], "input 3x3", size=11)
    stamps = {"PyTorch, Keras: output": kernel, "Flax by default": kernel[::-1, ::-1]}
    for place, (name, stamp) in zip(axes[1:], stamps.items(), strict=True):
        out = np.zeros((5, 5))
        out[1:4, 1:4] = stamp
        cells(place, out / 8, [[f"{v:g}" for v in row] for row in out], name, size=10)
    return figure


def flatten_order() -> Figure:
    """An image of 2x2 pixels a to d with three channels r, g, b, and the two rows it becomes."""
    from matplotlib.patches import Rectangle

    figure, (axes,) = panels(height=2.2)
    letters, channels = "abcd", "rgb"
    rows = {
        "channels last\n(Keras, Flax)": [p + c for p in letters for c in channels],
        "channels first\n(PyTorch)": [p + c for c in channels for p in letters],
    }
    paints = {"r": "#e9a3a3", "g": "#a9d6b4", "b": "#a8c6ec"}
    for line, (name, texts) in enumerate(rows.items()):
        for column, text in enumerate(texts):
            box = Rectangle((column, -1.5 * line), 0.94, 1.0, color=paints[text[1]])
            axes.add_patch(box)
            axes.text(column + 0.47, 0.5 - 1.5 * line, text, ha="center", va="center")
        axes.text(-0.2, 0.5 - 1.5 * line, name, ha="right", va="center", fontsize=9.5)
    for column in range(12):
        axes.text(column + 0.47, -2.0, f"{column}", ha="center", fontsize=8.5, color="#5a6572")
    axes.text(-0.2, -2.0, "row of the dense kernel", ha="right", fontsize=8.5, color="#5a6572")
    bare(axes, "")
    axes.set_xlim(-4.2, 12.1)
    axes.set_ylim(-2.3, 1.2)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def same_side() -> Figure:
    """Where the windows of a 3-wide kernel with stride 2 lie on six pixels, padding in hatches."""
    from matplotlib.patches import Rectangle

    figure, (axes,) = panels(height=2.5)
    before, after = same_amounts(6, 3, 2)
    sides = {"SAME: Keras, Flax": (before, after), "padding=1: PyTorch": (1, 1)}
    for line, (name, (left, right)) in enumerate(sides.items()):
        low = -2.6 * line
        for pixel in range(-left, 6 + right):
            real = 0 <= pixel < 6
            look: dict[str, Any] = {
                "facecolor": "#dbe7f3" if real else "white",
                "edgecolor": "#5a6572",
            }
            axes.add_patch(Rectangle((pixel, low), 1, 0.7, hatch="" if real else "////", **look))
            axes.text(
                pixel + 0.5, low + 0.35, str(pixel + 1) if real else "0", ha="center", va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1} if not real else None,
            )  # fmt: skip
        for number in range((6 + left + right - 3) // 2 + 1):
            start, high = 2 * number - left, low - 0.2 - 0.28 * (number % 2)
            paint = ("#c96a00", "#0072b2", "#8e1f5e")[number % 3]
            axes.plot([start + 0.08, start + 2.92], [high, high], color=paint, linewidth=4)
        axes.text(-1.3, low + 0.35, name, ha="right", va="center")
    bare(axes, "")
    axes.set_xlim(-5.6, 7.4)
    axes.set_ylim(-3.4, 1.0)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def window_sizes() -> Figure:
    """The size of a map after a 3-wide window, for each size before it."""
    figure, (axes,) = panels()
    sizes = np.arange(3, 25)
    lines = {
        "same, stride 1": sizes,
        "valid, stride 1": sizes - 2,
        "same, stride 2": -(-sizes // 2),
        "valid, stride 2": (sizes - 3) // 2 + 1,
    }
    curves(axes, sizes, lines)
    label(axes, "size before [pixels]", "size after [pixels]")
    return figure


def dilation_extent() -> Figure:
    """The pixels that a 3x3 kernel reads for one output, at dilation 1, 2 and 3."""
    figure, axes = panels(3, height=2.6)
    for place, dilation in zip(axes, (1, 2, 3), strict=True):
        picture = np.zeros((9, 9))
        span = extent((3, 3), (dilation, dilation))[0]
        first = (9 - span) // 2
        picture[first : first + span : dilation, first : first + span : dilation] = 1.0
        texts = [[""] * 9 for _ in range(9)]
        cells(place, picture, texts, f"dilation {dilation}: spans {span}x{span}")
    return figure


def average_edges() -> Figure:
    """A 3x3 image of ones, padded by one pixel, under 2x2 average pooling with stride 2."""
    figure, axes = panels(3, height=2.6)
    padded = np.pad(np.ones((3, 3)), 1)
    total = _conv(padded[:4, :4], np.ones((2, 2)), 2)
    cells(axes[0], padded, [[f"{v:g}" for v in row] for row in padded], "padded image", size=10)
    counted = {"PyTorch, Flax: sum / 4": total / 4, "Keras: sum / real pixels": total / total}
    for place, (name, values) in zip(axes[1:], counted.items(), strict=True):
        cells(place, values, [[f"{v:g}" for v in row] for row in values], name, size=12)
    return figure


def resized() -> Figure:
    """A thin line and a dot on 24x24 pixels, shrunk to 8x8 with bilinear weights."""
    figure, axes = panels(3, height=2.6)
    image = np.zeros((24, 24))
    image[np.arange(24), np.clip(np.arange(24) // 2 + 5, 0, 23)] = 1.0
    image[4:6, 3:5] = 1.0
    plain, smooth = _weights(24, 8, False), _weights(24, 8, True)
    shown = {
        "24x24": image,
        "antialias off: PyTorch, Keras": plain @ image @ plain.T,
        "antialias on: JAX": smooth @ image @ smooth.T,
    }
    for place, (name, picture) in zip(axes, shown.items(), strict=True):
        _image(place, picture, name, vmax=1.0)
    return figure


def _weights(before: int, after: int, smooth: bool) -> np.ndarray:
    """Bilinear weights (after, before) at half-pixel centres; ``smooth`` widens the triangle."""
    scale = before / after
    centres = (np.arange(after)[:, None] + 0.5) * scale - 0.5
    width = scale if smooth else 1.0
    weights = np.maximum(1 - np.abs(centres - np.arange(before)) / width, 0.0)
    result: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return result


def initial_depth() -> Figure:
    """The deviation of a signal behind each of ten linear layers of 256 units."""
    figure, (axes,) = panels()
    stream = generator(0, "depth")
    units = 256
    scales = {
        "Keras glorot_uniform": (1 / units) ** 0.5,
        "PyTorch within 1/√fan_in": (1 / (3 * units)) ** 0.5,
        "he_normal": (2 / units) ** 0.5,
        "orthogonal, gain 1.1": 1.1 * (1 / units) ** 0.5,
    }
    lines = {}
    for name, deviation in scales.items():
        signal, spread = stream.standard_normal((64, units)), [1.0]
        for _ in range(10):
            signal = signal @ (stream.standard_normal((units, units)) * deviation)
            spread.append(float(signal.std()))
        lines[name] = np.array(spread)
    curves(axes, np.arange(11), lines)
    axes.set_yscale("log")
    label(axes, "layer", "deviation of the signal [of the input]")
    return figure


PLOTS: tuple[Plot, ...] = (
    *(dense_transposed, conv_axes, transposed_stamp, flatten_order, same_side, window_sizes),
    *(dilation_extent, average_edges, resized, initial_depth),
)
