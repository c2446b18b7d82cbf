"""What ACAR-Net's authors show their network around a key frame, against FFmpeg's fps filter and a filter by hand.

Films become 30 frames a second by FFmpeg, of which every second one is taken, 32 around the key frame; pictures are
scaled by Pillow's bilinear filter until the short side is 256, the long one rounded down.
"""

import math
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from muybridge.data.localization import KeyFrameSampling, read_key_clip, scaled_picture
from muybridge.data.video_files import video_file
from muybridge.errors import OptionError
from muybridge.localize.clips import KeyClips
from muybridge.localize.views import resized
from tests.media.numbered_clips import HEIGHT, WIDTH, number_in, picture_of, write_clip

THEIRS = KeyFrameSampling(frames=8, short_side=HEIGHT, preprocessing="authors")


def at_30_a_second(path: Path) -> list[int]:
    """The numbers of the frames that FFmpeg's `fps=30` gives of a film."""
    found: list[int] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        source, rate, sink = graph.add_buffer(template=stream), graph.add("fps", "30"), graph.add("buffersink")
        source.link_to(rate)
        rate.link_to(sink)
        graph.configure()
        for frame in [*container.decode(stream), None]:
            graph.push(frame)
            while True:
                try:
                    out = graph.pull()
                except (av.BlockingIOError, av.EOFError):
                    break
                found.append(number_in(out.to_ndarray(format="rgb24")))
    return found


@pytest.mark.parametrize("rate", [Fraction(30), Fraction(25), Fraction(24000, 1001), Fraction(50), Fraction(12)])
def test_frames_are_those_of_ffmpegs_thirty_a_second(tmp_path: Path, rate: Fraction) -> None:
    path = write_clip(tmp_path / "film.mp4", int(5 * rate), rate=rate)
    places = at_30_a_second(path)
    file = video_file(path)
    for key in (1, 2, 3):
        wanted = [places[30 * key + 2 * i] for i in range(-4, 4)]
        clip = read_key_clip(file, THEIRS.seconds(key), (WIDTH, HEIGHT), preprocessing="authors")
        assert [number_in(frame.permute(1, 2, 0).numpy()) for frame in clip] == wanted
    if rate == 25:
        own = KeyFrameSampling(frames=8, short_side=HEIGHT)
        assert not np.array_equal(np.floor(own.seconds(2) * 25 + 1e-6), [places[60 + 2 * i] for i in range(-4, 4)])


def test_a_stream_gives_the_same_clips(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "film.mp4", 125)
    clips = KeyClips(THEIRS, 1.0)
    complete = []
    for number in range(125):
        complete += clips.push(picture_of(number), number / 25)
    complete += clips.finish()
    file = video_file(path)
    for clip in complete:
        read = read_key_clip(file, THEIRS.seconds(clip.seconds), (WIDTH, HEIGHT), preprocessing="authors")
        shown, again = ([number_in(f.permute(1, 2, 0).numpy()) for f in each] for each in (clip.clip(), read))
        assert shown == again


def triangle(old: int, new: int) -> NDArray[np.float64]:
    """(new, old) weights of a triangle as wide as two new pixels."""
    scale = max(old / new, 1.0)
    weights = np.zeros((new, old))
    for place in range(new):
        centre = (place + 0.5) * old / new
        for near in range(old):
            weights[place, near] = max(0.0, 1 - abs((near + 0.5 - centre) / scale))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize(("height", "width"), [(50, 71), (121, 67), (30, 40), (48, 85)])
def test_pictures_are_scaled_by_a_triangle_filter(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    columns, rows = THEIRS.size(width, height)
    assert min(columns, rows) == HEIGHT
    assert max(columns, rows) == math.floor(HEIGHT * max(height, width) / min(height, width))
    found = scaled_picture(image, (columns, rows), preprocessing="authors")
    wide = np.einsum("xw,hwc->hxc", triangle(width, columns), image.astype(float)) + 0.5
    expected = np.einsum("yh,hxc->cyx", triangle(height, rows), np.floor(wide))
    error = np.abs(found.numpy() - expected)  # whole numbers after each of the two passes; halves may go either way
    assert error.max() < 1.6
    assert (error > 0.501).mean() < 0.01
    assert torch.equal(resized(torch.from_numpy(image).permute(2, 0, 1)[None], THEIRS)[0], found)


def test_the_published_sizes() -> None:
    theirs = KeyFrameSampling(preprocessing="authors")
    assert theirs.size(1280, 720) == (455, 256)
    assert theirs.size(340 * 16 // 9, 340) == (454, 256)
    assert KeyFrameSampling().size(1280, 720) == (455, 256)
    assert KeyFrameSampling().size(604, 340) == (455, 256)  # ours rounds to the nearest
    assert theirs.size(720, 1280) == (256, 455)
    assert theirs.size(256, 256) == (256, 256)


def test_a_wrong_choice_is_told() -> None:
    with pytest.raises(OptionError, match="preprocessing='theirs'"):
        KeyFrameSampling(preprocessing="theirs")  # type: ignore[arg-type]
