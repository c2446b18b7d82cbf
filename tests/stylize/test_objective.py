"""The objectives against the paper's formula in float64, and the network around training."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from muybridge.models.avatar_net.detailed import DetailedAvatarNet, DetailedConfig
from muybridge.models.avatar_net.network import AvatarNet, AvatarNetConfig
from muybridge.stylize.objective import (
    PaintingObjective,
    PaintingWeights,
    ReconstructionObjective,
    ReconstructionWeights,
    colour_distance,
    covariance_distance,
    grid_unevenness,
    self_similarity,
    style_distance,
    total_variation,
)

SMALL = AvatarNetConfig(widths=(4, 5, 6, 7))


class Teacher(nn.Module):
    """Four levels of fixed random features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((3, 4), (4, 5), (5, 6), (6, 7)))

    def forward(self, picture):
        levels, x = [], picture / 255
        for i, conv in enumerate(self.convs):
            x = conv(F.avg_pool2d(x, 2) if i else x).relu()
            levels.append(x)
        return levels


def test_reconstruction_loss_is_the_papers_formula():
    torch.manual_seed(0)
    network = AvatarNet(SMALL).double()
    network.encoder.mean = network.encoder.mean.double()
    photo = torch.rand(2, 3, 32, 40, dtype=torch.float64) * 255
    objective = ReconstructionObjective(network, ReconstructionWeights(10, 1, 10))
    with torch.no_grad():
        loss = float(objective({"photo": photo})["loss"])
        rebuilt, levels = network.reconstruct(photo)
        again = network.encoder(rebuilt)
    r, p = rebuilt.numpy(), photo.numpy()
    expected = 10 * ((r - p) ** 2).mean()
    expected += sum(((a.numpy() - b.numpy()) ** 2).mean() for a, b in zip(again, levels, strict=True))
    expected += 10 * (np.abs(np.diff(r, axis=2)).mean() + np.abs(np.diff(r, axis=3)).mean())
    assert loss == pytest.approx(expected, rel=1e-5)


def test_reconstruction_trains_the_whole_decoder_and_nothing_else():
    network = AvatarNet(SMALL)
    ReconstructionObjective(network)({"photo": torch.rand(1, 3, 32, 32) * 255})["loss"].backward()
    assert all(p.grad is None for p in network.encoder.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.decoder.parameters())


def test_painting_reaches_the_whole_decoder_and_nothing_else():
    torch.manual_seed(0)
    config = DetailedConfig(convolutions=(7, 6, 8, 8, 9, 9, 9, 9, 10), widths=(8, 9, 10, 11))
    network = DetailedAvatarNet(config)
    sizes = [torch.ones(width - 3) for width in config.widths]
    objective = PaintingObjective(network, sizes, Teacher(), copies=0.5).train()
    parts: dict[str, float] = {}
    for _ in range(3):
        losses = objective({"photo": torch.rand(3, 3, 64, 64) * 255, "style": torch.rand(3, 3, 48, 48) * 255})
        losses["loss"].backward()
        values = {name: float(value.detach()) for name, value in losses.items()}
        parts |= {name: value for name, value in values.items() if value > 0}
    weights = asdict(PaintingWeights())
    assert set(parts) == {"loss", *weights}  # each part has something to say
    assert values["loss"] == pytest.approx(sum(weights[name] * values[name] for name in weights), rel=1e-5)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.decoder.parameters())
    others = [*network.encoder.parameters(), *objective.perceptual.parameters()]
    assert all(p.grad is None for p in others)


def test_self_similarity_by_its_definition():
    features = np.random.default_rng(1).standard_normal((1, 4, 3, 5))
    centred = (features - features.mean((2, 3), keepdims=True)).reshape(4, 15)
    unit = centred / np.linalg.norm(centred, axis=0)
    np.testing.assert_allclose(self_similarity(torch.from_numpy(features))[0].numpy(), unit.T @ unit, atol=1e-9)


def test_covariance_distance_is_a_share_of_the_styles():
    random = np.random.default_rng(2)
    a, s = random.standard_normal((1, 3, 6, 7)), random.standard_normal((1, 3, 5, 5)) * 2
    ours, theirs = (np.cov(x.reshape(3, -1), bias=True) for x in (a, s))
    expected = np.linalg.norm(ours - theirs) ** 2 / np.linalg.norm(theirs) ** 2
    assert covariance_distance(torch.from_numpy(a), torch.from_numpy(s)).item() == pytest.approx(expected, rel=1e-5)


def test_colour_distance_of_flat_pictures_is_that_of_their_means():
    red, grey = torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 40.0)
    red[:, 0] = 80.0  # one and twice minus one unit of 40 away, at each of three scales
    assert colour_distance(red, grey).item() == pytest.approx((1 + 1 + 1) / 3 + 0.3 * 0.01, rel=1e-3)
    assert colour_distance(red, red).item() == pytest.approx(0.3 * 0.01, rel=1e-3)


def test_a_grid_of_eight_is_uneven_and_noise_is_not():
    torch.manual_seed(4)
    noise = torch.rand(1, 3, 256, 256) * 255
    woven = noise.clone()
    woven[..., ::8] += 200
    assert grid_unevenness(noise) < 0.02
    assert grid_unevenness(woven) > 10 * grid_unevenness(noise)
    assert grid_unevenness(woven.mT) == pytest.approx(float(grid_unevenness(woven)), rel=1e-4)


def test_total_variation_by_hand():
    picture = torch.tensor([[[[0.0, 3.0], [1.0, 8.0]]]])
    assert total_variation(picture).item() == pytest.approx((1 + 5) / 2 + (3 + 7) / 2)


def test_style_distance_by_its_definition():
    random = np.random.default_rng(0)
    a, s = random.standard_normal((2, 3, 6, 7)) + 1, random.standard_normal((2, 3, 5, 5)) * 2
    mean_a, mean_s = a.mean((2, 3)), s.mean((2, 3))
    dev_a, dev_s = (x.std((2, 3)) for x in (a, s))
    expected = ((mean_a - mean_s) ** 2 + (dev_a - dev_s) ** 2).mean(1) / (mean_s**2 + dev_s**2).mean(1)
    ours = style_distance(torch.from_numpy(a).float(), torch.from_numpy(s).float())
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4)
    assert style_distance(torch.from_numpy(s), torch.from_numpy(s)).abs().max() < 1e-12
