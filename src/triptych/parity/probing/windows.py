"""Sliding windows found from impulses: size, stride, dilation, padding and its side, groups.

One row (then one column) of an image is lit at a time; which outputs answer shows every window. The
arrays of a convolution are needed only to judge the result. Layers without windows are in
``layers.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from triptych.spec.layers.convolution import same_amounts
from triptych.spec.randomness import generator

Layer = Callable[[np.ndarray, bool], np.ndarray]
"""From inputs (batch, ...) in the canonical layout and whether it trains to outputs."""
Pair = tuple[int, int]


@dataclass(frozen=True)
class FoundWindow:
    """What slides over an image, each pair (height, width).

    Attributes:
        kind: ``conv``, ``max_pool``, ``average_pool`` or ``unknown``.
        size: positions of the kernel.
        padding: pixels ((top, bottom), (left, right)) for the image it was asked with; pixels at
            the end that no window reaches are counted if another image size shows them.
        rule: how padding follows the image's size: ``valid``, ``explicit``, ``same`` (the odd pixel
            after), ``same_lower`` (before), or ``one size`` where no other size was taken.
        groups: of a convolution. ``count_padding``: of an average.
        flipped: whether the kernel is turned by half a turn, as a mathematician's convolution.
        residual: relative error of the formula with the given kernel, or of the pooling.
    """

    kind: str
    size: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    rule: str = "valid"
    groups: int = 1
    count_padding: bool | None = None
    flipped: bool = False
    residual: float = math.inf


@dataclass(frozen=True)
class _Line:
    """One axis: taps, stride, dilation, and for each image size the padding seen."""

    taps: int
    stride: int
    dilation: int
    before: int
    outputs: int

    @property
    def span(self) -> int:
        return self.dilation * (self.taps - 1) + 1

    def after(self, size: int) -> int:
        """Pixels behind the image that the last window reaches; below 0 for pixels left over."""
        return (self.outputs - 1) * self.stride + self.span - size - self.before


def conv(
    layer: Layer,
    shape: tuple[int, int, int],
    kernel: np.ndarray | None = None,
    bias: np.ndarray | None = None,
) -> FoundWindow:
    """Find how a convolution slides.

    Args:
        layer: the convolution without its activation.
        shape: an image it takes (height, width, channels); at least two windows each way.
        kernel: its kernel (height, width, in / groups, out), to judge the finding; without one the
            residual stays infinite.
        bias: its bias (out,).
    """
    found = _window(layer, shape)
    if found is None:
        return FoundWindow("unknown")
    lines, padding, rule = found
    groups = _groups(layer, shape)
    answer = FoundWindow("conv", *_sizes(lines), padding, rule, groups)
    if kernel is None:
        return answer
    return _judge_conv(layer, shape, answer, kernel, 0.0 if bias is None else bias)


def pool(layer: Layer, shape: tuple[int, int, int]) -> FoundWindow:
    """Find how a pooling slides, whether it takes the largest or the mean, and over what."""
    found = _window(layer, shape)
    if found is None:
        return FoundWindow("unknown")
    lines, padding, rule = found
    image = np.abs(generator(0, "probe/pool").normal(size=(2, *shape))) + 0.1
    choices = [("max_pool", None), ("average_pool", False), ("average_pool", True)]
    best = FoundWindow("unknown")
    for kind, counted in choices:
        guess = FoundWindow(kind, *_sizes(lines), padding, rule, 1, counted)
        wanted, answer = _pooled(image, guess), layer(image, False)
        if wanted.shape == answer.shape:
            residual = float(np.abs(wanted - answer).max() / np.abs(wanted).max())
            if residual < min(best.residual, 1e-5):
                best = FoundWindow(kind, *_sizes(lines), padding, rule, 1, counted, False, residual)
    if best.kind == "average_pool" and not any(padding[0] + padding[1]):
        return FoundWindow(
            best.kind, best.size, best.stride, best.dilation, padding, rule, residual=best.residual
        )
    return best


def _sizes(lines: tuple[_Line, _Line]) -> tuple[Pair, Pair, Pair]:
    down, right = lines
    return (
        (down.taps, right.taps),
        (down.stride, right.stride),
        (down.dilation, right.dilation),
    )


def _window(
    layer: Layer, shape: tuple[int, int, int]
) -> tuple[tuple[_Line, _Line], tuple[Pair, Pair], str] | None:
    """Return both axes, the padding and its rule; None where nothing slides."""
    lines, pads, rules = [], [], []
    for axis in (0, 1):
        line = _line(layer, shape, axis)
        if line is None:
            return None
        pad, rule = _padding(layer, shape, axis, line)
        lines.append(line)
        pads.append(pad)
        rules.append(rule)
    return (lines[0], lines[1]), (pads[0], pads[1]), _joined(rules)


def _joined(rules: list[set[str]]) -> str:
    """Return the simplest rule that both axes allow."""
    for rule in ("valid", "explicit", "same", "same_lower"):
        if rule in rules[0] and rule in rules[1]:
            return rule
    return "one size" if "one size" in rules[0] | rules[1] else "unknown"


def _line(layer: Layer, shape: tuple[int, ...], axis: int) -> _Line | None:
    """Return what slides along one axis, from which outputs answer to which lit row."""
    size = shape[axis]
    lit = np.zeros((size, *shape))
    values = np.abs(generator(axis, "probe/impulse").normal(size=shape)) + 0.5
    for row in range(size):
        place = (row, slice(None)) if axis == 0 else (slice(None), row)
        lit[(row, *place)] = values[place]
    # The dark image is asked in the same batch, so that its zeros are computed in the same way.
    answers = layer(np.concatenate([lit, np.zeros((1, *shape))]), False)
    if answers.ndim != 4:
        return None
    others = (2, 3) if axis == 0 else (1, 3)
    seen = np.abs(answers[:-1] - answers[-1]).sum(axis=others)
    return _read(seen > 1e-6 * seen.max())


def _read(answers: np.ndarray) -> _Line | None:
    """Read a line from (lit row, output) -> whether it answers."""
    windows = [np.flatnonzero(column) for column in answers.T]
    taps = max(len(window) for window in windows)
    full = [place for place, window in enumerate(windows) if len(window) == taps]
    if not taps or len(full) < 2 or full[1] != full[0] + 1:
        return None
    first, second = windows[full[0]], windows[full[1]]
    gaps = set(np.diff(first).tolist())
    stride = int(second[0] - first[0])
    if len(gaps) > 1 or stride < 1:
        return None
    dilation = int(gaps.pop()) if gaps else 1
    return _Line(taps, stride, dilation, full[0] * stride - int(first[0]), len(windows))


def _padding(layer: Layer, shape: tuple[int, ...], axis: int, line: _Line) -> tuple[Pair, set[str]]:
    """Return the pixels before and behind, and the rules that explain them at every size."""
    seen = {shape[axis]: line}
    # Sizes that differ by the stride have the same amounts; with stride 1 all have.
    for more in range(1, line.stride):
        larger = tuple(size + more * (place == axis) for place, size in enumerate(shape))
        try:
            other = _line(layer, larger, axis)
        # A layer that was built for one size refuses others in its framework's own way.
        except Exception:
            break
        if other is not None:
            seen[shape[axis] + more] = other
    behind = max(0, *(other.after(size) for size, other in seen.items()))
    pad = (line.before, behind)
    rules = set()
    if all(_slid(size, other, pad) for size, other in seen.items()):
        rules |= {"explicit"} | ({"valid"} if pad == (0, 0) else set())
    same = {size: same_amounts(size, line.span, line.stride) for size in seen}
    if all(_slid(size, other, same[size]) for size, other in seen.items()):
        rules.add("same")
    if all(_slid(size, other, same[size][::-1]) for size, other in seen.items()):
        rules.add("same_lower")
    if len(seen) < line.stride and rules:
        rules = {"valid"} if pad == (0, 0) else {"one size"}
    if "explicit" not in rules:
        pad = (line.before, max(0, line.after(shape[axis])))
    return pad, rules


def _slid(size: int, line: _Line, pad: Pair) -> bool:
    """Whether a padding explains what was seen at one size."""
    outputs = (size + sum(pad) - line.span) // line.stride + 1
    return line.before == pad[0] and line.outputs == outputs


def _groups(layer: Layer, shape: tuple[int, int, int]) -> int:
    """Return the number of groups, from which filters answer to which channel."""
    channels = shape[2]
    image = generator(0, "probe/groups").normal(size=shape)
    lit = np.zeros((channels + 1, *shape))
    for channel in range(channels):
        lit[channel, :, :, channel] = image[:, :, channel]
    answers = layer(lit, False)
    seen = np.abs(answers[:-1] - answers[-1]).max(axis=(1, 2))
    feeding = (seen > 1e-6 * seen.max()).sum(axis=0)
    return int(channels // max(int(feeding.max()), 1))


def _judge_conv(
    layer: Layer,
    shape: tuple[int, int, int],
    found: FoundWindow,
    kernel: np.ndarray,
    bias: np.ndarray | float,
) -> FoundWindow:
    """Return the finding with its residual, with the kernel as it is or turned."""
    image = generator(0, "probe/conv").normal(size=(2, *shape))
    answer = np.asarray(layer(image, False), np.float64)
    residuals = []
    for turned in (kernel, kernel[::-1, ::-1]):
        wanted = _convolved(image, found, turned) + bias
        fits = wanted.shape == answer.shape
        residuals.append(
            float(np.abs(wanted - answer).max() / np.abs(wanted).max()) if fits else math.inf
        )
    flipped = residuals[1] < residuals[0]
    kind = "conv" if min(residuals) < 1e-4 else "unknown"
    return FoundWindow(
        kind, found.size, found.stride, found.dilation, found.padding, found.rule, found.groups,
        None, flipped, min(residuals),
    )  # fmt: skip


def _pixels(image: np.ndarray, found: FoundWindow, value: float = 0.0) -> list[np.ndarray]:
    """Return the pixels under each position of the window, (batch, height', width', channels)."""
    padded = np.pad(image, ((0, 0), *found.padding, (0, 0)), constant_values=value)
    places = []
    for row in range(found.size[0]):
        for column in range(found.size[1]):
            cut = [slice(None)]
            for axis, place in enumerate((row, column)):
                span = found.dilation[axis] * (found.size[axis] - 1) + 1
                count = (padded.shape[1 + axis] - span) // found.stride[axis] + 1
                start = place * found.dilation[axis]
                cut.append(slice(start, start + (count - 1) * found.stride[axis] + 1,
                                 found.stride[axis]))  # fmt: skip
            places.append(padded[tuple(cut)])
    return places


def _convolved(image: np.ndarray, found: FoundWindow, kernel: np.ndarray) -> np.ndarray:
    if kernel.shape[:2] != found.size or kernel.shape[2] * found.groups != image.shape[3]:
        return np.zeros(0)
    flat = kernel.reshape(-1, *kernel.shape[2:])
    filters = kernel.shape[3] // found.groups
    total = []
    for group in range(found.groups):
        own = slice(group * kernel.shape[2], (group + 1) * kernel.shape[2])
        out = slice(group * filters, (group + 1) * filters)
        parts = zip(_pixels(image[..., own], found), flat[..., out], strict=True)
        total.append(sum(pixels @ weights for pixels, weights in parts))
    return np.concatenate(total, axis=3)


def _pooled(image: np.ndarray, found: FoundWindow) -> np.ndarray:
    if found.kind == "max_pool":
        return np.maximum.reduce(_pixels(image, found, -np.inf))
    inside = _pixels(np.ones_like(image), found, 1.0 if found.count_padding else 0.0)
    return np.asarray(sum(_pixels(image, found)) / sum(inside))
