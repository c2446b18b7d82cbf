"""The square that follows what moves, on drawn clips whose figure's place is known, and on real film."""

import pytest
import torch

from muybridge.data.clips.dataset import read_clip
from muybridge.data.clips.focus import focus_on_motion
from muybridge.data.clips.sampling import SamplingConfig

RED = torch.tensor([220, 30, 30], dtype=torch.uint8).view(3, 1, 1)


def background(height: int, width: int) -> torch.Tensor:
    return torch.randint(60, 120, (3, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def walker(places: list[tuple[int, int]], *, size: int = 24, height: int = 144, width: int = 180) -> torch.Tensor:
    """A red square of `size` at each (top, left)."""
    frames = background(height, width).repeat(len(places), 1, 1, 1)
    for frame, (top, left) in zip(frames, places, strict=True):
        frame[:, top : top + size, left : left + size] = RED
    return frames


def redness(frames: torch.Tensor) -> torch.Tensor:
    """(T, H, W) of 0 and 1, where the figure is."""
    return ((frames[:, 0] > 200) & (frames[:, 1] < 60)).float()


@pytest.mark.parametrize("step", [18, -18])
def test_who_walks_through_the_picture_is_followed_and_enlarged(step):
    start = 4 if step > 0 else 144
    clip = walker([(70, start + step * t) for t in range(8)])
    focused = focus_on_motion(clip)
    assert focused.shape[2] == focused.shape[3] < 144 / 2
    figure = redness(focused)
    assert figure.sum(dim=(1, 2)).min() > 0.9 * 24 * 24
    middle = figure.sum(dim=1).argmax(dim=1)  # a column of the figure
    assert ((middle > 0) & (middle < focused.shape[3])).all()
    # Enlarged: the figure has a far larger share of the square than of the picture.
    assert figure.mean() > 3 * redness(clip).mean()


def test_a_clip_in_which_nothing_moves_is_shown_from_its_centre():
    still = background(100, 160).repeat(5, 1, 1, 1)
    assert torch.equal(focus_on_motion(still), still[..., :, 30:130])


def test_noise_alone_is_no_motion():
    noise = torch.randint(-4, 5, (6, 3, 100, 160), generator=torch.Generator().manual_seed(1))
    clip = (background(100, 160).int() + noise).clamp(0, 255).to(torch.uint8)
    assert torch.equal(focus_on_motion(clip), clip[..., :, 30:130])


def test_under_a_moving_camera_the_square_is_as_large_as_it_can_be():
    wide = torch.nn.functional.interpolate(background(10, 60)[None].float(), (120, 720)).to(torch.uint8)[0]
    clip = torch.stack([wide[:, :, 40 * t : 40 * t + 160] for t in range(8)])
    assert focus_on_motion(clip).shape[-1] > 0.8 * 120


@pytest.mark.parametrize("shape", [(1, 3, 40, 60), (2, 3, 1, 1), (3, 3, 5, 300), (8, 3, 700, 9)])
def test_any_shape_gives_a_square_within_the_picture(shape):
    clip = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    focused = focus_on_motion(clip)
    assert focused.shape[:2] == shape[:2]
    assert focused.shape[2] == focused.shape[3] <= min(shape[2:])


@pytest.mark.parametrize("action", ["run", "walk", "jack", "bend"])
def test_on_real_film_of_one_person_before_a_wall_the_square_is_smaller_than_the_picture(real_data, action):
    path = sorted((real_data / "clips/weizmann" / action).iterdir())[0]
    frames = read_clip(path, SamplingConfig(mode="segments"))
    assert focus_on_motion(frames).shape[-1] < 0.95 * min(frames.shape[-2:])
