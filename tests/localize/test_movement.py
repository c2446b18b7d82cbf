"""People's movement against the camera's, on made clips in which both are known."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from muybridge.data.label_maps import LabelMap
from muybridge.localize.movement import boxes_over_time, doubted_by_speed, ground_speeds, with_velocity
from muybridge.localize.results import Moment, People
from muybridge.media.camera_motion import camera_shifts, steadied

WIDTH, HEIGHT, COUNT, KEY, RATE = 320, 240, 8, 4, 5
TIMES = (np.arange(COUNT) - KEY) / RATE
TALL, WIDE = 80, 30


def wall(seed: int = 0) -> np.ndarray:
    """A large picture with structure of every size, (3 HEIGHT, 3 WIDTH, 3)."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(random.integers(0, 256, (3 * HEIGHT // size, 3 * WIDTH // size, 3), dtype=np.uint8))
            .resize((3 * WIDTH, 3 * HEIGHT), Image.Resampling.BICUBIC)
            .filter(ImageFilter.GaussianBlur(1))
        ).astype(np.float64)
        for size in (40, 16, 6)
    ]
    return (sum(layers) / 3).astype(np.uint8)


def filmed(camera: np.ndarray, person: np.ndarray, *, background: np.ndarray | None = None):
    """A clip (T, 3, H, W), and boxes (T, 4) in pixels, of somebody before a wall.

    Args:
        camera: (T, 2) of the frame's corner on the wall, pixels right and down.
        person: (T, 2) of their corner on the wall.
    """
    scene = wall() if background is None else background
    clip, boxes = [], []
    for (left, top), (x, y) in zip(np.rint(camera).astype(int), np.rint(person).astype(int), strict=True):
        picture = scene.copy()
        picture[y : y + TALL, x : x + WIDE] = (200, 40, 30)
        picture[y + 10 : y + 20, x + 8 : x + 20] = (20, 220, 90)
        clip.append(picture[top : top + HEIGHT, left : left + WIDTH])
        boxes.append([x - left, y - top, x - left + WIDE, y - top + TALL])
    return torch.from_numpy(np.stack(clip)).permute(0, 3, 1, 2).contiguous(), np.array(boxes, np.float32)


def way(pixels_a_second: tuple[float, float], start: tuple[float, float]) -> np.ndarray:
    return np.array(start) + TIMES[:, None] * np.array(pixels_a_second)


def looks_of(boxes: np.ndarray) -> tuple[People, list[Moment]]:
    """Looks at the times of the clip's pictures, and the people of the key picture."""
    looks: list[Moment] = []
    for time, box in zip(TIMES.tolist(), boxes / [WIDTH, HEIGHT, WIDTH, HEIGHT], strict=True):
        people = People(
            box[None].astype(np.float32), np.array([7]), np.ones(1, np.float32), np.zeros((1, 2), np.float32)
        )
        looks.append(Moment(time, people))
    return looks[KEY].people, looks


def shares(boxes: np.ndarray) -> np.ndarray:
    """(T, 1, 4) of the frame."""
    return boxes[:, None] / [WIDTH, HEIGHT, WIDTH, HEIGHT]


STARTS = (WIDTH, HEIGHT), (WIDTH + 150, HEIGHT + 90)


@pytest.mark.parametrize(
    ("camera", "person", "heights"),
    [
        ((0, 0), (0, 0), 0.0),  # nothing moves
        ((75, 0), (0, 0), 0.0),  # a pan over somebody who stands
        ((60, 35), (0, 0), 0.0),  # and a tilt
        ((0, 0), (60, 0), 0.75),  # somebody walks before a camera at rest
        ((60, 0), (60, 0), 0.75),  # somebody walks and the camera goes along
        ((-50, 20), (40, 0), 0.5),
    ],
)
def test_speed_is_against_the_wall_whatever_the_camera_does(camera, person, heights) -> None:
    clip, boxes = filmed(way(camera, STARTS[0]), way(person, STARTS[1]))
    people, looks = looks_of(boxes)
    people = with_velocity(people, looks, 0.0)
    shifts = camera_shifts(clip, KEY, boxes_over_time(people, TIMES))
    np.testing.assert_allclose(shifts, -np.outer(TIMES, camera), atol=2.5)
    speeds = ground_speeds(people, TIMES, shifts, (WIDTH, HEIGHT))
    assert speeds == pytest.approx([heights], abs=0.05)


def test_a_steadied_pan_over_somebody_who_stands_is_a_still_picture() -> None:
    clip, boxes = filmed(way((75, -25), STARTS[0]), way((0, 0), STARTS[1]))
    steady = steadied(clip, camera_shifts(clip, KEY, shares(boxes)), KEY)
    assert torch.equal(steady[KEY], clip[KEY])
    moved = (clip.float() - clip[KEY].float()).abs().mean()
    assert (steady.float() - clip[KEY].float()).abs().mean() < 0.25 * moved


def test_a_steadied_clip_keeps_what_a_person_does() -> None:
    clip, boxes = filmed(way((75, 0), STARTS[0]), way((90, 0), STARTS[1]))
    expected, _ = filmed(way((0, 0), STARTS[0]), way((90, 0), STARTS[1]))
    steady = steadied(clip, camera_shifts(clip, KEY, shares(boxes)), KEY)
    inside = np.s_[..., 20:-20, 90:-90]  # what all pictures show
    assert (steady.float() - expected.float()).abs()[inside].mean() < 8
    assert (clip.float() - expected.float()).abs()[inside].mean() > 25


@pytest.mark.parametrize("kind", ["cut", "blank", "noise", "person alone"])
def test_what_no_shift_explains_counts_as_not_moved(kind) -> None:
    still, boxes = filmed(way((0, 0), STARTS[0]), way((0, 0), STARTS[1]))
    if kind == "cut":
        other, _ = filmed(way((0, 0), STARTS[0]), way((0, 0), STARTS[1]), background=wall(5))
        clip = torch.cat([still[:3], other[3:]])
    elif kind == "blank":
        clip = torch.full_like(still, 90)
    elif kind == "noise":
        clip = torch.from_numpy(np.random.default_rng(1).integers(0, 256, still.shape, dtype=np.uint8))
    else:
        clip, boxes = filmed(way((0, 0), STARTS[0]), way((90, 0), STARTS[1]), background=np.full_like(wall(), 120))
    shifts = camera_shifts(clip, KEY, shares(boxes))
    assert np.abs(shifts).max() < 1.5
    assert torch.equal(steadied(clip, np.zeros((COUNT, 2)), KEY), clip)


@pytest.mark.parametrize("size", [(3, 3), (8, 300), (240, 320)])
def test_pictures_of_any_size_and_a_clip_of_one(size) -> None:
    clip = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, *size), dtype=np.uint8))
    assert camera_shifts(clip, 1, np.zeros((3, 0, 4))).shape == (3, 2)
    assert camera_shifts(clip[:1], 0, np.array([[[0, 0, 1, 1]]])).tolist() == [[0, 0]]
    far = np.array([[-1000.0, 500.0], [0, 0], [3, 3]])
    assert torch.equal(steadied(clip, far, 1)[0], clip[1])


def test_velocity_is_known_of_those_who_were_there_long_enough() -> None:
    _, looks = looks_of(filmed(way((0, 0), STARTS[0]), way((60, 30), STARTS[1]))[1])
    known = with_velocity(looks[KEY].people, looks[: KEY + 1], 0.0).velocity
    assert known is not None
    np.testing.assert_allclose(known[0], [60 / WIDTH, 30 / HEIGHT], rtol=0.02)
    for few in (looks[KEY : KEY + 1], looks[KEY - 1 : KEY + 1], []):
        velocity = with_velocity(looks[KEY].people, few, 0.0).velocity
        assert velocity is not None and np.isnan(velocity).all()
    assert np.isnan(ground_speeds(looks[KEY].people, TIMES, np.zeros((COUNT, 2)), (WIDTH, HEIGHT))).all()


@pytest.mark.parametrize(("tall", "known"), [(0.45, True), (0.55, False)])
def test_nothing_is_told_of_who_is_near(tall: float, known: bool) -> None:
    box = np.array([[0.2, 0.9 - tall, 0.4, 0.9]], np.float32)
    people = People(
        box, np.array([0]), np.ones(1, np.float32), np.zeros((1, 2), np.float32), np.array([[0.3, 0]], np.float32)
    )
    assert np.isfinite(ground_speeds(people, TIMES, np.zeros((COUNT, 2)), (WIDTH, HEIGHT))).tolist() == [known]


LABELS = LabelMap(("stand", "walk", "jump", "wave"), (1, 2, 3, 4), ((0, 1, 2),))
USUAL = {"stand": (-2.0, 0.5), "walk": (-0.4, 0.6)}


def test_a_pose_is_doubted_where_its_speed_is_another_and_none_becomes_likelier() -> None:
    actions = np.array([[0.3, 0.6, 0.1, 0.7]] * 4, np.float32)
    doubted = doubted_by_speed(actions, LABELS, USUAL, np.array([0.02, 0.23, 0.8, np.nan]))
    assert (doubted <= actions).all()
    np.testing.assert_array_equal(doubted[:, 2:], actions[:, 2:])
    np.testing.assert_array_equal(doubted[3], actions[3])
    np.testing.assert_allclose(doubted[0, :2], [0.3, 0.6 / 8], rtol=1e-6)  # stands still
    np.testing.assert_allclose(doubted[2, :2], [0.3 / 8, 0.6], rtol=1e-6)  # goes along
    # By hand, between the two: densities of the normal distribution at the logarithm of 0.33.
    z = np.array([(np.log(0.33) + 2) / 0.5, (np.log(0.33) + 0.4) / 0.6])
    density = np.exp(-(z**2) / 2) / [0.5, 0.6]
    np.testing.assert_allclose(doubted[1, :2], actions[1, :2] * density / density.max(), rtol=1e-5)


def test_without_two_poses_of_known_speed_nothing_changes() -> None:
    actions = np.array([[0.3, 0.6, 0.1, 0.7]], np.float32)
    for usual in ({}, {"walk": (-0.4, 0.6)}, {"fly": (-0.4, 0.6), "swim": (0.0, 1.0)}):
        np.testing.assert_array_equal(doubted_by_speed(actions, LABELS, usual, np.array([0.1])), actions)
    assert doubted_by_speed(actions[:0], LABELS, USUAL, np.zeros(0)).shape == (0, 4)
