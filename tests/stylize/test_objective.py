"""The objectives against the paper's formula in float64, and the network around training."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from muybridge.models.avatar_net.network import AvatarNet, AvatarNetConfig
from muybridge.stylize.objective import (
    DistillationObjective,
    ReconstructionObjective,
    ReconstructionWeights,
    add_normalisation,
    fold_normalisation,
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


def test_distillation_reaches_every_trainable_tensor_and_spares_the_teacher():
    torch.manual_seed(0)
    network = AvatarNet(SMALL)
    add_normalisation(network)
    objective = DistillationObjective(network, Teacher(), (4, 5, 6, 7)).train()
    losses = objective({"photo": torch.rand(2, 3, 48, 48) * 255, "style": torch.rand(2, 3, 48, 48) * 255})
    losses["loss"].backward()
    assert torch.isfinite(losses["loss"])
    # A bias before a batch normalisation is subtracted again: its gradient is zero by construction.
    weights = [(n, p) for n, p in objective.named_parameters() if p.requires_grad and p.ndim > 1]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for _, p in weights), [n for n, p in weights]
    assert all(p.grad is None for p in objective.teacher.parameters())


def test_folding_normalisation_changes_nothing():
    torch.manual_seed(0)
    network = AvatarNet(SMALL)
    add_normalisation(network)
    network.train()
    for _ in range(3):
        network.reconstruct(torch.rand(2, 3, 32, 32) * 255)
    network.eval()
    picture = torch.rand(1, 3, 32, 32) * 255
    with torch.no_grad():
        before = network.reconstruct(picture)[0]
        fold_normalisation(network)
        torch.testing.assert_close(network.reconstruct(picture)[0], before, atol=1e-2, rtol=1e-4)
    AvatarNet(SMALL).load_state_dict(network.state_dict())  # a plain network again


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
