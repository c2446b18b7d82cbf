"""Woven fields of a moving bar, whose place in each field the test knows."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from muybridge.media.video_reader import VideoReader

WIDTH, HEIGHT, COUNT, STEP = 96, 64, 12, 6


def field(number: int) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) with a white bar that moves by STEP pixels a field."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, STEP * number % (WIDTH - 16) :][:, :16] = 255
    return image


def write_film(path: Path, *, woven: bool) -> Path:
    """Lower lines of a frame are of even fields, upper ones of the next, as x264 marks it; or all of one."""
    with av.open(str(path), "w") as container:
        options = {"qp": "0", "flags": "+ilme+ildct"} if woven else {"qp": "0"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        for number in range(COUNT):
            image = field(2 * number)
            if woven:
                image[::2] = field(2 * number + 1)[::2]
            container.mux(stream.encode(VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def combs(image: np.ndarray) -> float:
    """How much neighbouring lines differ more than lines of one field do."""
    rows = image.astype(float).mean(axis=2)
    return np.abs(np.diff(rows, axis=0)).mean() - np.abs(rows[2:] - rows[:-2]).mean()


def test_combs_are_gone_and_said_to_be(tmp_path: Path) -> None:
    with VideoReader(write_film(tmp_path / "woven.mp4", woven=True)) as reader:
        frames = list(reader)
        at_times = reader.frames_at_seconds([Fraction(3, 25), Fraction(9, 25)])
        notes = reader.notes
    assert [frame.pts_seconds for frame in frames] == [Fraction(n, 25) for n in range(COUNT)]
    assert {frame.duration_seconds for frame in frames} == {Fraction(1, 25)}
    assert len(notes) == 1
    assert "woven.mp4 is interlaced" in notes[0]
    raw = field(6)
    raw[::2] = field(7)[::2]
    assert combs(raw) > 25
    for number, frame in enumerate(frames[1:-1], 1):
        assert combs(frame.image) < 5
        # The lines of the first field are kept.
        assert np.abs(frame.image[1::2].astype(int) - field(2 * number)[1::2]).mean() < 4
    for frame, number in zip(at_times, (3, 9), strict=True):
        np.testing.assert_array_equal(frame.image, frames[number].image)


def test_whole_pictures_are_left_alone(tmp_path: Path) -> None:
    with VideoReader(write_film(tmp_path / "whole.mp4", woven=False)) as reader:
        frames = list(reader)
        assert not reader.notes
    assert len(frames) == COUNT
    for number, frame in enumerate(frames):
        assert np.abs(frame.image.astype(int) - field(2 * number)).max() <= 3


@pytest.mark.parametrize("count", [1, 2])
def test_very_short_films_lose_no_frame(tmp_path: Path, count: int) -> None:
    path = write_film(tmp_path / "woven.mp4", woven=True)
    with av.open(str(path)) as whole, av.open(str(tmp_path / "short.mp4"), "w") as short:
        stream = short.add_stream_from_template(whole.streams.video[0])
        for packet in list(whole.demux(video=0))[:count]:
            packet.stream = stream
            short.mux(packet)
    with VideoReader(tmp_path / "short.mp4") as reader:
        assert len(list(reader)) == count
