"""The objective of a localizer against its formula, and batches against single clips."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from muybridge.data.localization import collate_boxes
from muybridge.errors import ModelMismatch, OptionError
from muybridge.localize.objective import (
    LocalizerObjective,
    NetworkConfig,
    balance_actions,
    batch_logits,
    build_localizer,
    load_localizer_state,
    localizer_state,
)
from muybridge.localize.options import LocalizerConfig
from muybridge.models.acar.head import ACARConfig, ACARHead, ACARNet
from muybridge.models.acar.slowfast import SlowFastConfig

TINY = SlowFastConfig(blocks=(1, 1, 1, 1), width=8, fast_ratio=2, alpha=2, lateral_kernel=3, frames=4, short_side=64)
EXCLUSIVE = ((0, 1),)


def built(seed: int = 0, **options):
    torch.manual_seed(seed)
    return build_localizer(LocalizerConfig(slowfast=TINY, reduced=16, hidden=8, depth=1, **options), 4)


class Patches(nn.Module):
    """A trunk whose features know of nothing beyond their own 16 x 16 pixels, so that padding cannot reach them."""

    context_channels = 6

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, 6, 16, stride=16)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.project(frames.mean(1))


def item(people: int, size: tuple[int, int], seed: int = 0, bank: int | None = None) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(people, 2, generator=generator) * 0.5
    found = {
        "frames": torch.randint(0, 256, (4, 3, *size), dtype=torch.uint8, generator=generator),
        "boxes": torch.cat([corner, corner + 0.3], 1),
        "targets": torch.randint(0, 2, (people, 4), generator=generator).float(),
        "index": torch.tensor(seed),
    }
    if bank is not None:
        rows, columns = ((side // 16 - 1) // 2 for side in size)
        found["bank"] = torch.rand(bank, 8, rows, columns, generator=generator).half()
    return found


@pytest.mark.parametrize("bank", [False, True])
def test_a_batch_of_clips_of_many_sizes_equals_each_clip_alone(bank) -> None:
    sampling = built().sampling
    torch.manual_seed(0)
    network = ACARNet(Patches(), ACARHead(ACARConfig(6, 4, reduced=16, hidden=8, depth=1))).eval()
    items = [
        item(2, (64, 96), 1, 3 if bank else None),
        item(0, (64, 64), 2, 0 if bank else None),
        item(5, (96, 64), 3, 1 if bank else None),
    ]

    def logits(parts):
        with torch.no_grad():
            return batch_logits(network, sampling, collate_boxes(parts))

    together = logits(items)
    alone = torch.cat([logits([one]) for one in items])
    assert together.shape == (7, 4)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def naive_loss(logits: np.ndarray, targets: np.ndarray, weights=None, gamma: float = 0.0) -> float:
    """Binary cross-entropy of softmax (first two) and sigmoid (others), one number at a time."""
    total = 0.0
    for row, truth in zip(logits.tolist(), targets.tolist(), strict=True):
        shares = [math.exp(value) for value in row[:2]]
        probabilities = [share / sum(shares) for share in shares] + [1 / (1 + math.exp(-value)) for value in row[2:]]
        for column, (p, t) in enumerate(zip(probabilities, truth, strict=True)):
            loss = -((1 - p) ** gamma) * math.log(p) if t else -(p**gamma) * math.log(1 - p)
            total += loss * (1 if weights is None else weights[column])
    return total / targets.size


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 2.0, 4.0]])
def test_the_loss_is_its_formula(gamma, weights) -> None:
    one = built()
    objective = LocalizerObjective(
        one.network,
        one.sampling,
        exclusive=EXCLUSIVE,
        focal_gamma=gamma,
        class_weights=None if weights is None else torch.tensor(weights),
    ).eval()
    batch = collate_boxes([item(3, (64, 64), 1), item(2, (64, 64), 2)])
    with torch.no_grad():
        logits = batch_logits(one.network, one.sampling, batch)
        found = objective(batch)
    targets = batch["targets"][batch["present"]]
    assert float(found["loss"]) == pytest.approx(
        naive_loss(logits.double().numpy(), targets.numpy(), weights, gamma), rel=1e-5
    )
    assert float(found["hits"]) == pytest.approx(targets[torch.arange(5), logits.argmax(1)].mean().item())


def test_a_batch_without_people_is_no_loss_and_no_gradient() -> None:
    one = built()
    objective = LocalizerObjective(one.network, one.sampling, exclusive=EXCLUSIVE)
    found = objective(collate_boxes([item(0, (64, 64))]))
    found["loss"].backward()
    assert found["loss"].item() == 0
    gradients = [p.grad for p in objective.parameters() if p.grad is not None]
    assert all(float(gradient.abs().max()) == 0 for gradient in gradients)


def test_an_image_model_stays_frozen_and_its_adapters_learn() -> None:
    torch.manual_seed(0)
    config = LocalizerConfig(trunk="muybridge_vit", reduced=16, hidden=8, depth=1, frames=4, rate=4.0, short_side=48)
    one = build_localizer(config, 4)
    assert one.sampling.multiple == 16
    objective = LocalizerObjective(one.network, one.sampling, exclusive=EXCLUSIVE)
    objective(collate_boxes([item(2, (64, 64), 1)]))["loss"].backward()
    names = {
        name for name, p in one.network.named_parameters() if p.grad is not None and float(p.grad.abs().max()) > 0
    }
    assert not [name for name in names if "backbone" in name]
    assert any("adapters" in name and "up" in name for name in names)
    assert any(name.startswith("head.") for name in names)


@pytest.mark.parametrize("head", ["acar", "baseline"])
def test_a_network_is_rebuilt_from_its_numbers(head) -> None:
    one = built(head=head)
    again = NetworkConfig.from_json(one.config.to_json())
    assert again == one.config
    network = again.build()
    load_localizer_state(network, localizer_state(one.network), source="test")
    state = one.network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_a_file_of_another_network_is_refused() -> None:
    state = localizer_state(built().network)
    with pytest.raises(ModelMismatch, match="does not fit"):
        load_localizer_state(built(head="baseline").network, state, source="test")
    del state["head.fc1.weight"]
    with pytest.raises(ModelMismatch, match="fc1"):
        load_localizer_state(built().network, state, source="test")


def test_other_classes_may_start_from_a_trained_network() -> None:
    torch.manual_seed(1)
    other = build_localizer(LocalizerConfig(slowfast=TINY, reduced=16, hidden=8, depth=1), 7)
    before = other.network.head.fc2.weight.clone()
    load_localizer_state(other.network, localizer_state(built().network), source="test", classes=False)
    assert torch.equal(other.network.head.fc2.weight, before)
    assert torch.equal(other.network.head.fc1.weight, built().network.head.fc1.weight)


def test_head_widths_follow_the_trunk() -> None:
    large = build_localizer(LocalizerConfig(trunk="slowfast", slowfast=SlowFastConfig(blocks=(1, 1, 1, 1))), 60)
    assert isinstance(large.network.head, ACARHead)
    assert (large.network.head.config.reduced, large.network.head.config.hidden) == (1024, 512)
    assert (large.sampling.frames, large.sampling.rate, large.sampling.short_side) == (32, 15.0, 256)
    assert large.sampling.mean == pytest.approx((0.45,) * 3)


def test_rare_classes_weigh_more() -> None:
    targets = torch.zeros(100, 3)
    targets[:64, 0] = 1
    targets[:4, 1] = 1
    weights = balance_actions(targets)
    assert weights[1] / weights[0] == pytest.approx(4.0)  # the root of 64 / 4
    assert torch.isfinite(weights).all()


@pytest.mark.parametrize("options", [{"head": "none"}, {"trunk": "muybridge_vit", "slowfast": TINY}])
def test_networks_that_cannot_be_are_refused(options) -> None:
    with pytest.raises(OptionError):
        LocalizerConfig(**options)
