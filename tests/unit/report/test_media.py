from __future__ import annotations

import builtins
import io
import sys

import numpy as np
import pytest

from triptych.errors import BatchError, MissingDependency, StorageError
from triptych.report import media

PIL = pytest.importorskip("PIL.Image", exc_type=ImportError)


def colourful(count: int = 4, height: int = 12, width: int = 10) -> np.ndarray:
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def decode(data) -> list[np.ndarray]:
    image = PIL.open(data)
    frames = []
    for number in range(image.n_frames):
        image.seek(number)
        frames.append(np.asarray(image.convert("RGB")))
    return frames


def hide(monkeypatch, package: str) -> None:
    real = builtins.__import__

    def refuse(name, *rest, **options):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *rest, **options)

    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 1), (2, 3, 4, 3)])
def test_upscale_repeats_every_pixel(shape):
    frames = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    large = media.upscale(frames, 3)
    assert large.shape == (2, 9, 12, *shape[3:])
    for row in range(9):
        for column in range(12):
            assert np.array_equal(large[:, row, column], frames[:, row // 3, column // 3])


@pytest.mark.parametrize("factor", [0, -1, 1.5])
def test_upscale_refuses_a_bad_factor(factor):
    with pytest.raises(BatchError, match="whole number"):
        media.upscale(colourful(), factor)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_png_keeps_every_pixel(tmp_path, shape):
    frame = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    path = media.write_png(tmp_path / "new" / "frame.png", frame)
    expected = np.broadcast_to(frame.reshape(5, 7, -1), (5, 7, 3))
    assert np.array_equal(np.asarray(PIL.open(path).convert("RGB")), expected)


def test_gif_keeps_colours_order_and_time(tmp_path):
    frames = colourful()
    path = media.write_gif(tmp_path / "clip.gif", frames, fps=10)
    for got, expected in zip(decode(path), frames, strict=True):
        assert np.array_equal(got, expected)
    image = PIL.open(path)
    assert image.info["duration"] == 100
    assert image.info["loop"] == 0


def test_gif_of_more_than_256_colours_stays_close(tmp_path):
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    frame = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(90)), axis=-1)
    path = media.write_gif(tmp_path / "ramp.gif", frame[None], fps=10)
    error = np.abs(decode(path)[0].astype(int) - frame)
    assert 0 < error.max() < 40


def test_webp_is_lossless_and_loops():
    frames = colourful()
    data = media.animated_webp(frames, fps=20)
    assert data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    for got, expected in zip(decode(io.BytesIO(data)), frames, strict=True):
        assert np.array_equal(got, expected)
    assert PIL.open(io.BytesIO(data)).info["loop"] == 0


def test_grey_frames_become_grey_images():
    frames = np.random.default_rng(3).integers(0, 256, (2, 6, 6), dtype=np.uint8)
    got = decode(io.BytesIO(media.animated_webp(frames, fps=5)))
    assert np.array_equal(got[1], np.repeat(frames[1][..., None], 3, axis=-1))


def test_mp4_is_h264_of_even_size_with_every_frame(tmp_path):
    av = pytest.importorskip("av")
    colours = np.array([[200, 30, 30], [30, 180, 40], [40, 40, 220]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (3, 33, 47, 3))
    path = media.write_mp4(tmp_path / "clip.mp4", frames, fps=12.5)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 12.5
        decoded = [
            frame.to_ndarray(format="rgb24", src_colorspace="ITU709")
            for frame in container.decode(stream)
        ]
    assert [frame.shape for frame in decoded] == [(34, 48, 3)] * 3
    for got, expected in zip(decoded, colours, strict=True):
        assert np.abs(got.astype(int) - expected).max() <= 6


def test_mp4_has_the_same_bytes_twice(tmp_path):
    pytest.importorskip("av")
    one = media.write_mp4(tmp_path / "1.mp4", colourful(), fps=10).read_bytes()
    assert one == media.write_mp4(tmp_path / "2.mp4", colourful(), fps=10).read_bytes()


def test_without_pyav_mp4_names_its_extra_and_video_is_a_gif(tmp_path, monkeypatch):
    hide(monkeypatch, "av")
    with pytest.raises(MissingDependency, match=r"pip install 'triptych\[report\]'"):
        media.write_mp4(tmp_path / "clip.mp4", colourful(), fps=10)
    assert media.write_video(tmp_path / "clip.mp4", colourful(), fps=10).name == "clip.webp"
    assert [path.name for path in tmp_path.iterdir()] == ["clip.webp"]


def test_with_pyav_video_is_an_mp4(tmp_path):
    pytest.importorskip("av")
    assert media.write_video(tmp_path / "clip.mp4", colourful(), fps=10).name == "clip.mp4"


def test_without_pillow_images_name_their_extra(tmp_path, monkeypatch):
    hide(monkeypatch, "PIL")
    with pytest.raises(MissingDependency, match="'pillow'"):
        media.write_gif(tmp_path / "clip.gif", colourful(), fps=10)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (np.zeros((2, 3, 3), np.float32), "float32"),
        ([[1]], "list"),
        (np.zeros((3, 3), np.uint8), r"\(3, 3\)"),
        (np.zeros((2, 3, 3, 4), np.uint8), r"\(2, 3, 3, 4\)"),
        (np.zeros((0, 3, 3), np.uint8), "at least one frame"),
    ],
)
def test_bad_frames_are_refused_in_a_sentence(frames, words):
    with pytest.raises(BatchError, match=words):
        media.animated_webp(frames, fps=10)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_bad_rates_are_refused(tmp_path, fps):
    with pytest.raises(BatchError, match="fps"):
        media.write_gif(tmp_path / "clip.gif", colourful(), fps=fps)


def test_an_unwritable_place_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        media.write_png(tmp_path / "file" / "frame.png", colourful()[0])
