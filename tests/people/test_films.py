"""The built-in detector and the tracker together on film that is hard on them, with the defaults of the command."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from muybridge.localize.options import LocalizeConfig
from muybridge.localize.video_localizer import PeopleLocalizer
from muybridge.media.video_reader import Frame, VideoReader
from muybridge.people.detectors import load_detector

WIDTH, HEIGHT = 320, 240


@pytest.fixture(scope="module")
def walkers(real_data):
    """A film of people in a street: its frames of two seconds."""
    with VideoReader(real_data / "boxes/mot/TUD-Campus/TUD-Campus.mp4") as reader:
        return [frame.image for _, frame in zip(range(50), reader, strict=False)]


@pytest.fixture(scope="module")
def detector():
    return load_detector(device="cpu")


def film(images, *, rate: int = 10):
    return [Frame(image, Fraction(number, rate), number) for number, image in enumerate(images)]


def told(detector, frames, **options):
    """People of each frame, and what the run says of it."""
    return [each.people for each in PeopleLocalizer(detector, device="cpu").stream(frames, **options)]


def test_film_without_people_shows_none(real_data, detector) -> None:
    with VideoReader(real_data / "misc/nasa_13013.mp4") as reader:
        rocket = [frame.image for number, frame in zip(range(50), reader, strict=False) if number % 10 == 0]
    noise = list(np.random.default_rng(0).integers(0, 256, (5, HEIGHT, WIDTH, 3), dtype=np.uint8))
    blank = [np.full((HEIGHT, WIDTH, 3), value, np.uint8) for value in (0, 128, 255)]
    for images in (noise, blank):
        assert sum(len(people) for people in told(detector, film(images))) == 0
    # A rocket on its stand has about a person's shape.
    assert max(len(people) for people in told(detector, film(rocket))) <= 1


def test_three_hundred_people_are_counted_in_hundreds(walkers, detector) -> None:
    # Eight times eight moments, five people in each.
    small = [np.asarray(Image.fromarray(image).resize((192, 144))) for image in walkers]
    rows = [np.concatenate([small[(8 * row + column) % 50] for column in range(8)], axis=1) for row in range(8)]
    people = told(detector, film([np.concatenate(rows)] * 3, rate=5), min_score=0.25)[-1]
    assert 60 <= len(people) <= 350
    assert len(set(people.ids.tolist())) == len(people)


def test_a_body_that_fills_the_film_is_at_most_two_boxes(real_data, detector) -> None:
    with VideoReader(real_data / "people/test2.mp4") as reader:
        boy = reader.frames_at_seconds([1.0])[0].image
    for crop in (boy, boy[:160, 120:320], boy[:110, 200:300]):
        people = told(detector, film([np.array(Image.fromarray(crop).resize((WIDTH, HEIGHT)))] * 6))[-1]
        assert len(people) <= 2


def test_upside_down_some_are_found_and_none_in_the_wall(walkers, detector) -> None:
    upright = told(detector, film(walkers[::5], rate=5))
    turned = told(detector, film([image[::-1, ::-1].copy() for image in walkers[::5]], rate=5))
    assert sum(map(len, turned)) <= sum(map(len, upright)) + 5


def test_five_frames_are_enough(walkers, detector) -> None:
    people = told(detector, film(walkers[:5], rate=25))
    assert len(people) == 5 and len(people[-1]) >= 2


def test_at_a_frame_a_second_people_are_told_at_once(walkers, detector) -> None:
    people = told(detector, film(walkers[::25], rate=1))
    assert [len(each) >= 2 for each in people] == [True, True]


def test_a_cut_every_second_ends_who_was_followed(real_data, walkers, detector) -> None:
    with VideoReader(real_data / "people/test2.mp4") as reader:
        others = [
            np.array(Image.fromarray(f.image).resize((640, 480))) for _, f in zip(range(50), reader, strict=False)
        ]
    images = [*walkers[:25:5], *others[:25:5], *walkers[25::5], *others[25::5]]
    run_frames = film(images, rate=5)
    localizer = PeopleLocalizer(detector, device="cpu")
    source = localizer.people(None, LocalizeConfig())
    people = told(detector, run_frames, people=source)
    shots = [{int(i) for each in people[start : start + 5] for i in each.ids} for start in range(0, 20, 5)]
    assert all(shots)
    assert sum(map(len, shots)) == len(set().union(*shots))
    assert any("3 cuts in the film, the first at 1.00 s" in note for note in source.notes)
