"""Painted training clips: who is painted, how evenly over time, and that seeds alone decide."""

import numpy as np
import pytest
import torch
from torch import nn

from muybridge.data.clips.painting import ClipPainter, PaintedClips, PaintingConfig
from muybridge.data.sampling import Draw
from muybridge.errors import OptionError
from muybridge.models.avatar_net.network import AvatarNet, AvatarNetConfig, Decoration, StyleCode, encode_style


def small_painter(config: PaintingConfig | None = None, styles: int = 2) -> ClipPainter:
    torch.manual_seed(0)
    network = AvatarNet(AvatarNetConfig(widths=(6, 8, 10, 12))).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    codes: list[StyleCode] = []
    for _ in range(styles):
        with torch.no_grad():
            codes.append(encode_style(network.encoder(torch.rand(1, 3, 40, 48) * 255)))
    return ClipPainter(network, codes, config or PaintingConfig(("a", "b")))


def clip(frames: int = 3, height: int = 48, width: int = 40, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((frames, 3, 6, 5), generator=generator) * 255
    return nn.functional.interpolate(coarse, (height, width), mode="bilinear").to(torch.uint8)


def test_one_frame_is_painted_as_the_network_paints_a_picture():
    painter, frames = small_painter(), clip(1)
    how = Decoration(0.6, "biased", painter.config.patch_size)
    expected = painter.network(frames.float(), [(1.0, painter.styles[0])], how).add(0.5).clamp(0, 255).to(torch.uint8)
    assert torch.equal(painter.paint(frames, painter.styles[0], strength=0.6), expected)


def test_frames_that_are_alike_are_painted_alike():
    frames = clip(1).expand(4, -1, -1, -1)
    painter = small_painter()
    painted = painter.paint(frames, painter.styles[1], strength=0.7)
    assert all(torch.equal(frame, painted[0]) for frame in painted)
    assert (painted.float() - frames.float()).abs().mean() > 10


@pytest.mark.parametrize(("height", "width"), [(48, 40), (37, 50), (12, 20), (90, 200)])
def test_any_size_keeps_its_size(height, width):
    painter = small_painter(PaintingConfig(("a",), largest_side=64))
    painted = painter.paint(clip(2, height, width), painter.styles[0], strength=0.5)
    assert painted.shape == (2, 3, height, width) and painted.dtype == torch.uint8


def test_the_share_of_painted_clips_is_the_probability_and_seeds_decide():
    painter, frames = small_painter(PaintingConfig(("a", "b"), probability=0.3)), clip(1, 32, 32)
    painted = [painter(frames, seed) for seed in range(200)]
    changed = [not torch.equal(each, frames) for each in painted]
    assert 40 < sum(changed) < 80  # binomial: mean 60, deviation 6.5
    again = [painter(frames, seed) for seed in range(0, 200, 20)]
    assert all(torch.equal(one, other) for one, other in zip(again, painted[::20], strict=True))


class Clips(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, draw: Draw) -> dict[str, torch.Tensor]:
        number = int(np.random.default_rng(draw.seed).integers(100))
        return {"frames": clip(2, 32, 32, seed=number), "labels": torch.tensor(draw.index)}


def test_only_frames_change_and_only_those_of_painted_items():
    config = PaintingConfig(("a", "b"), probability=0.5)
    plain, painted = Clips(), PaintedClips(Clips(), small_painter(config))
    assert len(painted) == 5
    same = 0
    for seed in range(20):
        before, after = plain[Draw(3, seed)], painted[Draw(3, seed)]
        assert after["labels"] == before["labels"]
        same += torch.equal(before["frames"], after["frames"])
    assert 3 < same < 17


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"styles": ()}, "at least one"),
        ({"styles": ("a",), "probability": 0.0}, "probability=0.0"),
        ({"styles": ("a",), "probability": 1.5}, "probability=1.5"),
        ({"styles": ("a",), "strength": (0.8, 0.2)}, "must rise"),
        ({"styles": ("a",), "largest_side": 8}, "largest_side=8"),
    ],
)
def test_values_out_of_range(options, says):
    with pytest.raises(OptionError, match=says):
        PaintingConfig(**options)
