"""GIFs, read back by Pillow."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from muybridge.media.gif import gif_loops
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter, rewriting
from tests.media.numbered_clips import number_in, picture_of, write_clip


def made(path: Path, delays: list[int], *, loop: int | None = None) -> Path:
    """A GIF of numbered frames by Pillow; delays in milliseconds."""
    frames = [Image.fromarray(picture_of(number)) for number in range(len(delays))]
    more = {} if loop is None else {"loop": loop}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=delays, **more)
    return path


def read(path: Path) -> list[tuple[int, np.ndarray]]:
    """Delay in milliseconds and pixels of each frame."""
    frames: list[tuple[int, np.ndarray]] = []
    with Image.open(path) as image:
        for number in range(image.n_frames):
            image.seek(number)
            frames.append((image.info["duration"], np.asarray(image.convert("RGB"))))
    return frames


def rewrite(source: Path, target: Path) -> list[str]:
    with VideoReader(source) as reader:
        size = reader.info.width, reader.info.height
        with rewriting(target, str(source), reader.info, size=size) as writer:
            for frame in reader:
                writer.write(frame.image, frame.pts_seconds, frame.duration_seconds)
    return writer.notes


@pytest.mark.parametrize("loop", [None, 0, 3])
@pytest.mark.parametrize("delays", [[40, 80, 120, 200, 3000], [100, 100], [20, 650_000, 30]])
def test_a_gif_keeps_its_times_and_repetitions(tmp_path: Path, delays: list[int], loop: int | None) -> None:
    source = made(tmp_path / "in.gif", delays, loop=loop)
    assert rewrite(source, tmp_path / "out.gif") == []
    frames = read(tmp_path / "out.gif")
    assert [delay for delay, _ in frames] == delays
    assert [number_in(image) for _, image in frames] == list(range(len(delays)))
    assert gif_loops(tmp_path / "out.gif") == gif_loops(source) == loop


def test_the_last_frame_of_a_gif_keeps_its_time_in_a_video(tmp_path: Path) -> None:
    source = made(tmp_path / "in.gif", [100, 100, 100, 100, 3000])
    for name in ("out.mp4", "out.mov", "out.mkv"):
        rewrite(source, tmp_path / name)
        with av.open(str(tmp_path / name)) as container:
            assert container.duration == 3_400_000


def test_a_film_becomes_a_gif_that_runs_for_ever(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "film.mp4", 30, rate=Fraction(30000, 1001))
    assert rewrite(source, tmp_path / "out.gif") == []
    frames = read(tmp_path / "out.gif")
    assert [number_in(image) for _, image in frames] == list(range(30))
    starts = np.cumsum([0, *(delay for delay, _ in frames)])
    np.testing.assert_allclose(starts, np.arange(31) * 1001 / 30, atol=5.01)  # rounded, and never more
    assert gif_loops(tmp_path / "out.gif") == 0


def test_frames_that_no_browser_shows_in_time_are_left_out_and_counted(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "film.mp4", 120, rate=Fraction(120))
    (note,) = rewrite(source, tmp_path / "out.gif")
    frames = read(tmp_path / "out.gif")
    assert f"shows {len(frames)} of 120 frames" in note
    assert min(delay for delay, _ in frames) >= 20
    assert sum(delay for delay, _ in frames) == pytest.approx(1000, abs=25)


def test_colours_are_the_frames_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (5, 7, 3), dtype=np.uint8) for _ in range(3)]
    images = [np.asarray(Image.fromarray(c).resize((96, 64), Image.Resampling.BICUBIC)) for c in coarse]
    with VideoWriter(tmp_path / "out.gif", width=96, height=64, rate=Fraction(10)) as writer:
        for image in images:
            writer.write(image)
    for (_, shown), image in zip(read(tmp_path / "out.gif"), images, strict=True):
        difference = shown.astype(float) - image
        best = np.asarray(Image.fromarray(image).quantize(256, Image.Quantize.MEDIANCUT, kmeans=2).convert("RGB"))
        assert np.abs(difference).mean() < 1.5 * np.abs(best.astype(float) - image).mean()
        assert np.abs(difference.mean(axis=(0, 1))).max() < 1.5


@pytest.mark.parametrize(("width", "height"), [(1, 1), (33, 17), (300, 2)])
def test_any_size(tmp_path: Path, width: int, height: int) -> None:
    with VideoWriter(tmp_path / "out.gif", width=width, height=height, rate=Fraction(10)) as writer:
        for level in (0, 128, 255):
            writer.write(np.full((height, width, 3), level, np.uint8))
    assert [int(image.mean()) for _, image in read(tmp_path / "out.gif")] == pytest.approx([0, 128, 255], abs=2)
    with Image.open(tmp_path / "out.gif") as image:
        assert image.size == (width, height)
