"""Frames to PNG, GIF, MP4 and animated WebP.

Frames are uint8 arrays of shape (T, H, W, 3), (T, H, W, 1) or (T, H, W), values 0 to 255. Pillow
and PyAV are imported on first use. Playing an agent to obtain frames, and deciding what to show,
do not belong here.
"""

from __future__ import annotations

import io
import math
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from triptych.errors import BatchError, MissingDependency, missing
from triptych.report.files import write_bytes

# Options of x264: visually lossless at a small size; one thread, so that bytes never depend on
# the number of cores.
_X264 = {"crf": "18", "preset": "medium", "tune": "animation", "threads": "1"}
_BT709 = 1  # ITU-T H.273: the code of BT.709 for primaries, transfer and matrix alike
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG: luma 16 to 235, what players expect of yuv420p


def upscale(frames: np.ndarray, factor: int) -> np.ndarray:
    """Return frames ``factor`` times as high and wide, by nearest neighbour.

    Args:
        frames: (T, H, W, 3), (T, H, W, 1) or (T, H, W), uint8.
        factor: a whole number >= 1.

    Raises:
        BatchError: the frames or the factor are not of that form.
    """
    _check(frames)
    if int(factor) != factor or factor < 1:
        raise BatchError(f"the factor of upscale is {factor!r}; expected a whole number >= 1")
    return frames.repeat(int(factor), axis=1).repeat(int(factor), axis=2)


def write_png(path: str | Path, frame: np.ndarray) -> Path:
    """Write one frame, (H, W, 3), (H, W, 1) or (H, W) uint8, as a PNG and return its path."""
    image = _images(np.asarray(frame)[None])[0]
    stream = io.BytesIO()
    image.save(stream, format="PNG", compress_level=9)
    return write_bytes(path, stream.getvalue())


def write_gif(path: str | Path, frames: np.ndarray, fps: float) -> Path:
    """Write frames as an endlessly looping GIF and return its path.

    Colours are exact for frames of up to 256 colours each. A GIF counts time in hundredths of a
    second and viewers slow down below two of them, so rates end at 50 frames per second.
    """
    _check_rate(fps)
    images = [_palette(image) for image in _images(frames)]
    duration = max(20, round(100 / fps) * 10)
    stream = io.BytesIO()
    images[0].save(
        stream,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=duration,
        loop=0,
        disposal=1,
        optimize=False,
    )
    return write_bytes(path, stream.getvalue())


def animated_webp(frames: np.ndarray, fps: float) -> bytes:
    """Return frames as an endlessly looping, lossless animated WebP: what the page embeds."""
    _check_rate(fps)
    images = _images(frames)
    stream = io.BytesIO()
    images[0].save(
        stream,
        format="WEBP",
        save_all=True,
        append_images=images[1:],
        duration=max(1, round(1000 / fps)),
        loop=0,
        lossless=True,
        quality=80,
        method=4,
        minimize_size=False,
        allow_mixed=False,
    )
    return stream.getvalue()


def write_mp4(path: str | Path, frames: np.ndarray, fps: float) -> Path:
    """Write frames as H.264 in an MP4 (yuv420p, BT.709) and return its path.

    yuv420p wants even sizes: an odd height or width gets its last row or column repeated once.

    Raises:
        MissingDependency: PyAV is not installed (:func:`write_video` then writes a WebP).
    """
    _check_rate(fps)
    pixels = _pad_to_even(_rgb(frames))
    av = _module("av", "writing an MP4")
    stream = io.BytesIO()
    with av.open(stream, mode="w", format="mp4") as container:
        _encode(av, container, pixels, fps)
    return write_bytes(path, stream.getvalue())


def write_video(path: str | Path, frames: np.ndarray, fps: float) -> Path:
    """Write an MP4, or where PyAV is not installed an animated WebP beside it; return which."""
    target = Path(path)
    try:
        return write_mp4(target.with_suffix(".mp4"), frames, fps)
    except MissingDependency:
        return write_bytes(target.with_suffix(".webp"), animated_webp(frames, fps))


def _encode(av: Any, container: Any, pixels: np.ndarray, fps: float) -> None:
    rate = Fraction(fps).limit_denominator(1000)
    video = container.add_stream("libx264", rate=rate, options=_X264)
    video.height, video.width = pixels.shape[1:3]
    video.pix_fmt = "yuv420p"
    context = video.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    for frame in pixels:
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        container.mux(video.encode(picture.reformat(format="yuv420p", dst_colorspace="ITU709")))
    container.mux(video.encode(None))


def _pad_to_even(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[1:3]
    return np.pad(pixels, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _images(frames: np.ndarray) -> list[Any]:
    image = _module("PIL.Image", "writing an image")
    return [image.fromarray(np.ascontiguousarray(frame)) for frame in _rgb(frames)]


def _palette(image: Any) -> Any:
    """Return an RGB image with a palette of its own: exact up to 256 colours."""
    median_cut = _module("PIL.Image", "writing an image").Quantize.MEDIANCUT
    return image.quantize(colors=256, method=median_cut, kmeans=0, dither=0)


def _rgb(frames: np.ndarray) -> np.ndarray:
    """Return frames as (T, H, W, 3)."""
    _check(frames)
    pixels = frames if frames.ndim == 4 else frames[..., None]
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3))


def _check(frames: np.ndarray) -> None:
    shape: tuple[int, ...] = getattr(frames, "shape", ())
    if getattr(frames, "dtype", None) != np.uint8:
        kind = getattr(frames, "dtype", type(frames).__name__)
        raise BatchError(f"frames are {kind}; expected a uint8 array with values from 0 to 255")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise BatchError(
            f"frames have shape {shape}; expected (T, H, W, 3), (T, H, W, 1), (T, H, W)"
        )
    if 0 in shape:
        raise BatchError(f"frames have shape {shape}; expected at least one frame and one pixel")


def _check_rate(fps: float) -> None:
    if not (math.isfinite(fps) and fps > 0):
        raise BatchError(f"fps is {fps!r}; expected a positive number of frames per second")


def _module(name: str, purpose: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = "pillow" if name.startswith("PIL") else name
        raise missing(package, "report", purpose) from error
