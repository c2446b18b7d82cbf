"""Cuts in films put together of real ones, and none where a camera turns or a picture dims."""

import numpy as np
import pytest
from PIL import Image

from muybridge.media.video_reader import VideoReader
from muybridge.people.cuts import CutTest


@pytest.fixture(scope="module")
def photos(real_data):
    """Twelve photographs of 320 x 200."""
    paths = sorted((real_data / "photos/natural").glob("*.jpg"))[:12]
    return [np.asarray(Image.open(path).convert("RGB").resize((320, 200))) for path in paths]


def test_every_photograph_is_another_shot(photos) -> None:
    cuts = CutTest()
    found = [cuts(image) for image in photos for _ in range(5)]
    assert not any(cut for place, cut in enumerate(found) if place % 5)
    assert not found[0] and sum(found) >= 10


def test_a_camera_that_turns_and_a_light_that_dims_are_none(photos) -> None:
    cuts = CutTest()
    assert not any(cuts(photos[0][:, left : left + 160]) for left in range(0, 161, 20))
    cuts = CutTest()
    assert not any(cuts((photos[1] * light).astype(np.uint8)) for light in (1.0, 0.8, 0.6, 0.4, 0.3))


def between_bars(image: np.ndarray, *, above: int = 0, beside: int = 0) -> np.ndarray:
    """The picture between bars of a black that is not quite black, as encoders leave it."""
    return np.pad(image, ((above, above), (beside, beside), (0, 0)), constant_values=17)


@pytest.mark.parametrize("bars", [{"above": 120}, {"beside": 240}, {"above": 60, "beside": 100}])
def test_bars_that_stay_hide_no_cut(photos, bars) -> None:
    cuts = CutTest()
    found = [cuts(between_bars(image, **bars)) for image in photos for _ in range(5)]
    assert not any(cut for place, cut in enumerate(found) if place % 5)
    assert sum(found) >= 10


def test_a_camera_that_turns_between_bars_is_none(photos) -> None:
    cuts = CutTest()
    assert not any(cuts(between_bars(photos[0][:, left : left + 160], above=60)) for left in range(0, 161, 20))


def test_the_cut_to_a_close_up_between_bars(real_data) -> None:
    cuts = CutTest()
    with VideoReader(real_data / "people/test1.mp4", short_side=144) as reader:
        looks = [(float(frame.pts_seconds), frame.image) for number, frame in enumerate(reader) if number % 6 == 0]
    found = [seconds for seconds, image in looks if cuts(image)]
    assert len(found) == 1 and 1.7 < found[0] < 2.1  # seen by eye


def test_black_film_has_none() -> None:
    cuts = CutTest()
    assert not any(cuts(np.full((9, 16, 3), value, np.uint8)) for value in (0, 0, 255, 0))


@pytest.mark.parametrize("name", ["TUD-Campus", "TUD-Stadtmitte"])
def test_people_who_walk_past_a_camera_are_none(real_data, name) -> None:
    cuts = CutTest()
    with VideoReader(real_data / f"boxes/mot/{name}/{name}.mp4", short_side=96) as reader:
        assert not any(cuts(frame.image) for number, frame in enumerate(reader) if number % 5 == 0)
