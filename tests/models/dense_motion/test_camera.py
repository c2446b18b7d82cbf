"""What the camera does, as numbers: against moves of known size, made by a crop of this test's own."""

import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import muybridge
from muybridge.data.clips.motion import CameraReader
from muybridge.media.images import read_image
from muybridge.media.video_reader import Frame
from muybridge.models.dense_motion.camera import CameraMotion, camera_steps

PHOTO = read_image(next(iter(muybridge.__path__)) + "/pictures/coffee.jpg").rgb


def textured() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3)).astype(np.float32)
    return np.clip(128 + 5 * (cv2.GaussianBlur(noise, (0, 0), 2) - 128), 0, 255).astype(np.uint8)


# In the flat parts of a photograph flow falls short: of a roll by a fifth.
TEXTURE = textured()


def film(
    height: int,
    width: int,
    frames: int,
    *,
    pan: float = 0,
    tilt: float = 0,
    zoom: float = 1,
    degrees: float = 0,
    picture: np.ndarray = PHOTO,
) -> list[np.ndarray]:
    """Crops of the middle of a picture: what is seen goes `pan` and `tilt` pixels right and down over the film,
    grows by a factor, and turns clockwise."""
    middle = np.array([picture.shape[1] / 2, picture.shape[0] / 2])
    made = []
    for share in np.linspace(-0.5, 0.5, frames):
        angle, scale = math.radians(degrees) * share, zoom**share
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        at = np.array([width / 2 + pan * share, height / 2 + tilt * share]) - turn @ middle
        made.append(cv2.warpAffine(picture, np.hstack([turn, at[:, None]]), (width, height)))
    return made


def ways(pictures: list[np.ndarray], rate: float = 12.5) -> Tensor:
    """Pan, tilt, zoom and roll of the whole film, in widths."""
    reader = CameraReader(CameraMotion().config)
    for number, picture in enumerate(pictures):
        reader.see(Frame(picture, Fraction(number) / Fraction(rate), number))
    return reader.between(0, float("inf")).sum(dim=0)


@pytest.mark.parametrize(("height", "width"), [(160, 240), (240, 160), (200, 200)])
@pytest.mark.parametrize("sign", [1, -1])
def test_moves_of_known_size_in_widths_of_the_picture(height: int, width: int, sign: int) -> None:
    from_middle = math.sqrt((1 + (height / width) ** 2) / 12)
    turned, grown = 12, 1.2
    wanted = {
        0: (film(height, width, 8, pan=40 * sign, picture=TEXTURE), 40 / width),
        1: (film(height, width, 8, tilt=40 * sign, picture=TEXTURE), 40 / width),
        2: (film(height, width, 8, zoom=grown**sign, picture=TEXTURE), math.log(grown) * from_middle),
        3: (film(height, width, 8, degrees=turned * sign, picture=TEXTURE), math.radians(turned) * from_middle),
    }
    for which, (pictures, way) in wanted.items():
        found = ways(pictures)
        expected = torch.zeros(4)
        expected[which] = sign * way
        torch.testing.assert_close(found, expected, rtol=0, atol=0.12 * way)


def test_a_way_is_as_long_at_any_rate() -> None:
    pictures = film(160, 240, 33, pan=48)
    for rate, every in ((25, 1), (50, 1), (12.5, 2), (6.25, 4)):
        torch.testing.assert_close(ways(pictures[::every], rate)[0], torch.tensor(0.2), rtol=0, atol=0.02)


def test_steps_are_those_of_a_map_and_not_of_who_walks_by() -> None:
    height, width = 90, 130
    y, x = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij"
    )
    growth, clockwise = 0.02, 0.01
    flow = torch.stack([3 + growth * x - clockwise * y, -2 + growth * y + clockwise * x])[None]
    flow[:, 0, 30:60, 20:60] -= 9
    from_middle = math.sqrt((1 + (height / width) ** 2) / 12)
    wanted = torch.tensor([[3 / width, -2 / width, growth * from_middle, clockwise * from_middle]])
    torch.testing.assert_close(camera_steps(flow), wanted, rtol=0, atol=2e-4)


def test_a_vector_is_the_logarithms_of_the_ways() -> None:
    steps = torch.tensor([[0.02, -0.05, 0.0, 0.01], [0.01, -0.04, 0.0, -0.02]])
    far = [math.log(1 + way / 0.01) for way in (0.03, 0.09, 0.0, 0.01)]
    wanted = torch.tensor([1.0, far[0], -far[1], 0.0, -far[3], *far])
    torch.testing.assert_close(CameraMotion().vector(steps), wanted)


def test_nothing_seen_is_not_a_still_camera() -> None:
    assert not CameraMotion().vector(torch.zeros(0, 4)).any()
    assert not CameraMotion().vector(CameraReader(CameraMotion().config).between(0, 1)).any()
    still = CameraMotion().vector(camera_steps(torch.zeros(3, 2, 60, 80)))
    assert still[0] == 1 and not still[1:].any()


def test_a_stretch_is_that_of_a_film_that_begins_and_ends_there() -> None:
    pictures = film(160, 240, 20, pan=60, tilt=-20)
    reader = CameraReader(CameraMotion().config)
    for number, picture in enumerate(pictures):
        reader.see(Frame(picture, Fraction(number) / Fraction(12.5), number))
    for first, last in ((3, 9), (0, 19), (12, 15), (3, 9)):
        found = reader.between(first / 12.5, last / 12.5)
        assert found.shape == (last - first, 4)
        torch.testing.assert_close(found.sum(dim=0), ways(pictures[first : last + 1]), rtol=0, atol=1e-5)
