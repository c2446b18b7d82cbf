"""What is read of moving pictures: which frames are neighbours, whatever the rate, and which a stretch has."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

import muybridge
from muybridge.data.clips.motion import MotionReader, motion_of_clip, motion_of_frames, motion_vector
from muybridge.errors import InputError
from muybridge.media.images import read_image, resize_image
from muybridge.media.optical_flow import GreyFlow, to_grey
from muybridge.media.video_reader import Frame, VideoReader
from muybridge.models.dense_motion.descriptors import LENGTH, MotionConfig, blocks_that_move, cell_histograms
from tests.data.clips.drawn_motion import SMALL, small_codebook, wandering, write_film

CODEBOOK = small_codebook()


def looked_at(
    film: NDArray[np.uint8], places: list[tuple[int, int]], seconds: list[float], config: MotionConfig = SMALL
) -> Tensor:
    """Descriptors of the named pairs of frames, each looked at alone."""
    cells = []
    for before, after in places:
        earlier, later = (to_grey(film[i], config.short_side) for i in (before, after))
        flow = torch.from_numpy(GreyFlow()(earlier, later))[None]
        faster = torch.tensor([(seconds[after] - seconds[before]) * config.rate])
        grey = torch.from_numpy(earlier).float()[None]
        cells.append(cell_histograms(grey, flow, config, faster=faster)[0])
    return blocks_that_move(torch.stack(cells), config)


def seen(
    film: NDArray[np.uint8], seconds: list[Fraction] | list[float], config: MotionConfig = SMALL
) -> MotionReader:
    reader = MotionReader(config)
    for number, (image, time) in enumerate(zip(film, seconds, strict=True)):
        reader.see(Frame(image, Fraction(time), number))
    return reader


def close(found: Tensor, wanted: Tensor) -> None:
    assert len(wanted) and wanted.any()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("rate", "apart"),
    [(Fraction(25), 1), (Fraction(24), 1), (Fraction(30000, 1001), 1), (Fraction(30), 1), (Fraction(25, 2), 1),
     (Fraction(5), 1), (Fraction(50), 2), (Fraction(60), 2), (Fraction(60000, 1001), 2), (Fraction(120), 4)],
)  # fmt: skip
def test_neighbours_are_about_a_25th_of_a_second_apart(rate: Fraction, apart: int) -> None:
    film = wandering("right", 13, speed=min(5.0, 2.0 * float(25 / rate)))
    seconds = [i / rate for i in range(len(film))]
    reader = seen(film, seconds)
    places = list(pairwise(range(0, len(film), apart)))
    close(reader.between(0, 100), looked_at(film, places, [float(s) for s in seconds]))


def test_frames_of_a_variable_rate_are_taken_as_they_come() -> None:
    film = wandering("down", 8)
    seconds = [0.0, 0.02, 0.05, 0.06, 0.10, 0.20, 0.21, 0.25]
    # The second comes too early after the first, the fourth after the third, the seventh after the sixth.
    wanted = looked_at(film, [(0, 2), (2, 4), (4, 5), (5, 7)], seconds)
    close(seen(film, seconds).between(0, 1), wanted)


def test_a_stretch_has_the_pairs_that_lie_in_it() -> None:
    film = wandering("left", 20)
    seconds = [i / 25 for i in range(20)]
    reader = seen(film, seconds)
    close(reader.between(0.2, 0.44), looked_at(film, list(pairwise(range(5, 12))), seconds))
    close(reader.between(0.19, 0.45), looked_at(film, list(pairwise(range(5, 12))), seconds))
    close(reader.between(0.21, 0.43), looked_at(film, list(pairwise(range(6, 11))), seconds))
    close(reader.between(0.2, 0.44), looked_at(film, list(pairwise(range(5, 12))), seconds))  # asked again
    for start, end in ((0.2, 0.23), (5.0, 6.0), (0.4, 0.2)):
        assert reader.between(start, end).shape == (0, LENGTH)


def test_what_was_forgotten_is_not_told_and_the_rest_is_the_same() -> None:
    film = wandering("left", 20)
    seconds = [i / 25 for i in range(20)]
    reader = seen(film, seconds)
    reader.between(0.2, 0.6)
    reader.forget(0.4)
    close(reader.between(0, 1), looked_at(film, list(pairwise(range(10, 20))), seconds))
    reader.forget(10.0)
    assert len(reader.between(0, 1)) == 0
    reader.see(Frame(film[0], Fraction(20, 25), 20))
    close(reader.between(0, 1), looked_at(np.concatenate([film, film[:1]]), [(19, 20)], [*seconds, 0.8]))


def test_of_a_long_stretch_the_middle() -> None:
    film = wandering("up", 12)
    seconds = [i / 25 for i in range(12)]
    few = replace(SMALL, most_pairs=4)
    close(seen(film, seconds, few).between(0, 1), looked_at(film, list(pairwise(range(3, 8))), seconds, few))


def test_where_pictures_change_their_size_what_comes_after_is_told() -> None:
    wide, tall = wandering("up", 6, size=(48, 64)), wandering("left", 6, size=(64, 48))
    reader = seen([*wide, *tall], [i / 25 for i in range(12)])
    close(reader.between(0, 1), looked_at(tall, list(pairwise(range(6))), [i / 25 for i in range(6)]))


def test_directions_are_told_apart() -> None:
    """Vectors of films that move alike are nearer than those that do not, whatever they look like."""
    ways = ("left", "right", "up", "down")
    vectors = torch.stack([motion_of_frames(wandering(way, seed=s), CODEBOOK) for way in ways for s in range(3)])
    near = (vectors @ vectors.mT).view(4, 3, 4, 3)
    for a in range(4):
        own = near[a, :, a][~torch.eye(3, dtype=torch.bool)].mean()
        assert all(near[a, :, b].mean() < own - 0.005 for b in range(4) if b != a)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.2 s at 25 frames a second: right, then down. As small as it is looked at, so that nothing is scaled."""
    pictures = np.concatenate([wandering(way, 15, size=(48, 48)) for way in ("right", "down")])
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", pictures)


@pytest.fixture(scope="module")
def pictures(film: Path) -> NDArray[np.uint8]:
    """As they are read from the file."""
    with VideoReader(film) as reader:
        return np.stack([frame.image for frame in reader])


def of_frames(film: NDArray[np.uint8], **changes: float) -> Tensor:
    return motion_of_frames(film, small_codebook(replace(SMALL, **changes)))


def test_a_file_a_folder_of_frames_and_the_frames_say_the_same(film, pictures, tmp_path) -> None:
    wanted = of_frames(pictures)
    assert float(wanted.norm()) == pytest.approx(1, abs=1e-5)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    near = {"rtol": 1e-3, "atol": 1e-3}
    torch.testing.assert_close(motion_of_clip(film, CODEBOOK), wanted, **near)
    torch.testing.assert_close(motion_of_clip(tmp_path, CODEBOOK), wanted, **near)
    for clip in (film, str(film), tmp_path, pictures, torch.from_numpy(pictures)):
        torch.testing.assert_close(motion_vector(clip, CODEBOOK), wanted, **near)


@pytest.mark.parametrize(("start", "end"), [(None, 0.6), (0.6, None), (0.4, 0.8), (0.39, 0.79), (0.28, 0.72)])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_clip_within_a_file_has_its_own_frames(film, pictures, tmp_path, start, end, kind) -> None:
    """From its start on, and before its end, as windows of a film."""
    clip = film
    if kind == "folder":
        clip = tmp_path
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / f"{number}.png")
    first, last = start or 0.0, 1.2 if end is None else end
    own = [i for i in range(len(pictures)) if first - 1e-6 <= i / 25 < last - 1e-6]
    found = motion_of_clip(clip, CODEBOOK, start=start, end=end)
    torch.testing.assert_close(found, of_frames(pictures[own]), rtol=1e-3, atol=1e-3)


def test_of_a_long_file_the_middle_is_read(film, pictures) -> None:
    codebook = small_codebook(replace(SMALL, most_pairs=10))  # 0.4 s
    found = motion_of_clip(film, codebook)
    torch.testing.assert_close(found, of_frames(pictures[10:20], most_pairs=10), rtol=1e-3, atol=1e-3)
    of_part = motion_of_clip(film, codebook, start=0.4, end=1.2)
    torch.testing.assert_close(of_part, of_frames(pictures[15:25], most_pairs=10), rtol=1e-3, atol=1e-3)


def test_a_file_that_breaks_off_tells_what_is_there(film, pictures, tmp_path) -> None:
    whole = write_film(tmp_path / "whole.mkv", np.concatenate([pictures] * 2))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    with VideoReader(cut) as reader:
        there = np.stack([frame.image for frame in reader])
    assert 10 < len(there) < 60
    torch.testing.assert_close(motion_of_clip(cut, CODEBOOK), of_frames(there), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("frames", [1, 2])
def test_very_short_films(tmp_path, frames) -> None:
    path = write_film(tmp_path / "short.mp4", wandering("right", frames))
    vector = motion_of_clip(path, CODEBOOK)
    assert vector.isfinite().all()
    assert float(vector.norm()) == pytest.approx(frames - 1, abs=1e-5)


def test_nothing_moves_and_yet_it_is_a_vector() -> None:
    vector = motion_of_frames(np.full((4, 32, 32, 3), 90, np.uint8), CODEBOOK)
    assert vector.isfinite().all()
    assert float(vector.norm()) == pytest.approx(1, abs=1e-5)


def test_mistakes_are_told(tmp_path) -> None:
    (tmp_path / "no film.mp4").write_bytes(b"nothing")
    for clip in (tmp_path / "none.mp4", tmp_path / "no film.mp4", np.zeros((4, 32, 32), np.uint8)):
        with pytest.raises(InputError):
            motion_vector(clip, CODEBOOK)


def test_a_decoded_frame_in_grey_is_that_of_its_picture(tmp_path) -> None:
    """Scaled before it is made RGB, by another library."""
    photo = read_image(Path(muybridge.__file__).parent / "pictures" / "coffee.jpg").rgb
    photo = resize_image(photo, 640, 480)
    path = write_film(tmp_path / "film.mp4", [photo] * 2)
    with VideoReader(path) as reader:
        for frame in reader.convertible():
            grey = frame.grey(160)
            wanted = to_grey(frame.image, 160)
            assert grey.shape == wanted.shape == (160, 213)
            difference = np.abs(grey.astype(int) - wanted.astype(int))
            assert difference.mean() < 1.5 and np.quantile(difference, 0.99) < 8


@pytest.mark.parametrize(("height", "width"), [(64, 64), (480, 640), (45, 37), (1, 1), (8, 50)])
def test_grey_pictures_keep_their_aspect(height: int, width: int) -> None:
    grey = to_grey(np.full((height, width, 3), (255, 0, 0), np.uint8), 60)
    assert grey.dtype == np.uint8
    assert min(grey.shape) == 60
    assert grey.shape[1] / grey.shape[0] == pytest.approx(width / height, rel=0.02)
    assert (grey == 76).all()  # 0.299 of 255


@pytest.mark.parametrize("shape", [(2, 16384), (4096, 8)])
def test_a_strip_takes_no_more_than_other_pictures(shape: tuple[int, int]) -> None:
    """A film one pixel high is not made a film of a hundred million pixels."""
    assert to_grey(np.zeros((*shape, 3), np.uint8), 160).size < 2_000_000


def test_flow_says_where_pixels_went() -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(120, 160)), 2, mode="wrap")
    picture = (127 + 50 * noise / noise.std()).clip(0, 255).astype(np.uint8)
    flow = GreyFlow()(picture, np.roll(picture, (2, 5), axis=(0, 1)))
    assert flow.shape == (2, 120, 160)
    assert flow.dtype == np.float32
    inner = flow[:, 20:-20, 20:-20]
    assert np.median(inner[0]) == pytest.approx(5, abs=0.1)
    assert np.median(inner[1]) == pytest.approx(2, abs=0.1)
