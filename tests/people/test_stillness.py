"""People are looked for again where the picture has changed, and once a second where it has not."""

import numpy as np
import pytest

from muybridge.media.video_reader import VideoReader
from muybridge.people.detector import Detections
from muybridge.people.sightings import DetectedPeople
from muybridge.people.stillness import StillTest
from muybridge.people.tracks import Tracker

RANDOM = np.random.default_rng(0)
ROOM = RANDOM.integers(40, 200, (240, 320, 3)).astype(np.uint8)


def noisy(image: np.ndarray, deviation: float = 6.0) -> np.ndarray:
    """As a camera sees it again."""
    return (image + RANDOM.normal(0, deviation, image.shape)).clip(0, 255).astype(np.uint8)


class Counting:
    """A detector that finds one person at a fixed place, and counts how often it is asked."""

    classes = ("person",)

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, frames) -> list[Detections]:
        self.asked += len(frames)
        return [Detections(np.array([[100, 60, 140, 180]], np.float32), np.array([0.9]), np.zeros(1, np.int64))]


def test_noise_is_still_and_a_small_thing_that_moves_is_not() -> None:
    still = StillTest()
    assert not still(ROOM, 0.0)
    assert all(still(noisy(ROOM), 0.2 * number) for number in range(1, 5))
    moved = ROOM.copy()
    moved[100:130, 150:160] = 20  # as tall as an eighth of the picture
    assert not still(moved, 0.9)
    assert still(moved, 1.0)


def test_what_moves_slowly_is_seen_in_time() -> None:
    still, answers = StillTest(), []
    for number in range(5):
        image = ROOM.copy()
        image[60:180, 100 + number : 140 + number] = 0  # a pixel a look
        answers.append(still(image, 0.2 * number))
    assert answers.count(False) >= 2


@pytest.mark.parametrize(("skip", "asked"), [(True, 5), (False, 21)])
def test_a_still_picture_is_looked_at_once_a_second_and_people_stay(skip: bool, asked: int) -> None:
    detector = Counting()
    people = DetectedPeople(detector, Tracker(rate=5), min_score=0.5, still=StillTest() if skip else None)
    sightings = [people.look(noisy(ROOM), number / 5) for number in range(21)]
    assert detector.asked == asked
    for sighting in sightings:
        assert sighting is not None
        assert sighting.ids.tolist() == [0]
        np.testing.assert_allclose(sighting.boxes[0], [100 / 320, 60 / 240, 140 / 320, 180 / 240], atol=1e-3)


def test_a_detector_that_failed_is_asked_again_of_the_same_picture() -> None:
    detector = Counting()

    def fails_once(frames) -> list[Detections]:
        if detector.asked == 0:
            detector.asked += 1
            raise ValueError("no")
        return detector(frames)

    fails_once.classes = ("person",)
    people = DetectedPeople(fails_once, Tracker(rate=5), min_score=0.5, still=StillTest())
    assert people.look(ROOM, 0.0) is None
    assert people.look(ROOM, 0.2) is not None


@pytest.mark.parametrize("name", ["TUD-Campus", "TUD-Stadtmitte"])
def test_no_look_is_left_out_where_people_walk(real_data, name) -> None:
    still = StillTest()
    with VideoReader(real_data / f"boxes/mot/{name}/{name}.mp4", short_side=240) as reader:
        looks = [(frame.image, float(frame.pts_seconds)) for number, frame in enumerate(reader) if number % 5 == 0]
    assert not any(still(image, seconds) for image, seconds in looks)
