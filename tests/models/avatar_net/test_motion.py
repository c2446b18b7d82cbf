"""Motion from features, on pictures moved by a known amount."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from muybridge.models.avatar_net.motion import feature_flow, resize_flow, visibility, warp


def blobs(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.interpolate(
        torch.rand(1, 3, height // 4, width // 4, generator=generator), (height, width), mode="bicubic"
    )


def pyramid(picture: torch.Tensor) -> list[torch.Tensor]:
    return [F.avg_pool2d(picture, stride) for stride in (8, 4, 2)]


def test_warp_is_a_bilinear_look_up():
    torch.manual_seed(0)
    image, flow = torch.randn(2, 6, 7, dtype=torch.float64), torch.randn(2, 6, 7, dtype=torch.float64) * 2
    expected = np.empty((2, 6, 7))
    for y in range(6):
        for x in range(7):
            v, u = np.clip(y + flow[1, y, x].item(), 0, 5), np.clip(x + flow[0, y, x].item(), 0, 6)
            v0, u0 = int(min(v, 4)), int(min(u, 5))
            a, b = v - v0, u - u0
            expected[:, y, x] = (
                image[:, v0, u0] * (1 - a) * (1 - b)
                + image[:, v0, u0 + 1] * (1 - a) * b
                + image[:, v0 + 1, u0] * a * (1 - b)
                + image[:, v0 + 1, u0 + 1] * a * b
            )
    np.testing.assert_allclose(warp(image, flow).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (6, 0), (-4, 10), (3, -5)])
def test_feature_flow_finds_a_shift(dx, dy):
    canvas = blobs(160, 192)
    earlier = canvas[:, :, 32:-32, 32:-32]
    later = canvas[:, :, 32 + dy : 128 + dy, 32 + dx : 160 + dx]  # what is at p now was at p + (dx, dy)
    flow = resize_flow(feature_flow(pyramid(later), pyramid(earlier)), 96, 128)[:, 16:-16, 16:-16]
    assert (flow[0] - dx).abs().median() < 0.5
    assert (flow[1] - dy).abs().median() < 0.5


def test_still_pictures_do_not_move():
    still = blobs(64, 64)
    assert feature_flow(pyramid(still), pyramid(still)).abs().max() < 0.02


def test_resized_flow_scales_its_displacements():
    flow = torch.stack([torch.full((4, 6), 3.0), torch.full((4, 6), -2.0)])
    larger = resize_flow(flow, 8, 18)
    assert larger.shape == (2, 8, 18)
    torch.testing.assert_close(larger[0], torch.full((8, 18), 9.0))
    torch.testing.assert_close(larger[1], torch.full((8, 18), -4.0))


def test_visibility_refuses_what_left_or_does_not_return():
    backward = torch.zeros(2, 10, 20)
    forward = torch.zeros(2, 10, 20)
    assert visibility(backward, forward).all()
    backward[0, :, :5] = -8  # points outside
    forward[0, 3:6, 10:14] = 4  # does not lead home
    seen = visibility(backward, forward)
    assert not seen[:, :5].any()
    assert not seen[3:6, 10:14].any()
    assert seen[8, 15] == 1
