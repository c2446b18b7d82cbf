"""What a recognizer hands to the loop: its loss against formulas, what is trained, and what is refused."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from muybridge.data.clips.sampling import SamplingConfig
from muybridge.errors import ModelError, ModelMismatch, OptionError
from muybridge.models.backbones import create_backbone
from muybridge.models.st_adapter.video_vit import AdapterConfig
from muybridge.recognize.objective import (
    RecognizerObjective,
    balance_classes,
    balance_draws,
    build_recognizer,
    classification_loss,
    describe_training,
    to_probabilities,
)
from muybridge.recognize.options import RecognizerConfig

SAMPLING = SamplingConfig(frames=3, size=(32, 48), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with weights of timm's smallest ViT (64 channels, patches of 16)."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(
        {k: v.contiguous() for k, v in create_backbone("test_vit", pretrained=False).state_dict().items()}, path
    )
    return path


def config(weights, **changes) -> RecognizerConfig:
    return RecognizerConfig(**{"backbone": "test_vit", "backbone_weights": weights, "dropout": 0.0, **changes})


def batch(classes: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    frames = torch.randint(256, (4, 3, 3, 32, 48), dtype=torch.uint8, generator=generator)
    return {"frames": frames, "labels": torch.tensor([0, 1, 2, 1]) % classes, "index": torch.arange(4)}


def logits_in_float64(model, frames: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (SAMPLING.mean, SAMPLING.std))
    with torch.no_grad():
        return model.double().eval()((frames.double() / 255 - mean) / std)


def test_the_loss_is_the_weighted_mean_of_minus_log_probabilities(weights):
    model, _ = build_recognizer(config(weights), 3)
    class_weights = torch.tensor([3.0, 1.0, 0.5])
    parts = RecognizerObjective(model, SAMPLING, class_weights=class_weights)(batch())
    logits, labels = logits_in_float64(model, batch()["frames"]), batch()["labels"].tolist()
    expected = [
        -class_weights[k].item() * (row[k] - math.log(sum(math.exp(v) for v in row)))
        for row, k in zip(logits.tolist(), labels, strict=True)
    ]
    assert parts["loss"].item() == pytest.approx(sum(expected) / 4, rel=1e-4)
    right = [max(range(3), key=row.__getitem__) == k for row, k in zip(logits.tolist(), labels, strict=True)]
    assert parts["accuracy"].item() == pytest.approx(sum(right) / 4)


def test_the_loss_of_several_labels_is_binary_for_each(weights):
    model, _ = build_recognizer(config(weights), 3)
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]]).float()
    positive_weights = torch.tensor([2.0, 1.0, 5.0])
    objective = RecognizerObjective(model, SAMPLING, class_weights=positive_weights, multi_label=True)
    loss = objective(batch() | {"labels": labels})["loss"].item()
    total = 0.0
    for row, truth in zip(logits_in_float64(model, batch()["frames"]).tolist(), labels.tolist(), strict=True):
        for value, has, weight in zip(row, truth, positive_weights.tolist(), strict=True):
            p = 1 / (1 + math.exp(-value))
            total -= weight * math.log(p) if has else math.log(1 - p)
    assert loss == pytest.approx(total / 12, rel=1e-4)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_clip_of_weight_3_counts_as_three_clips(weights, multi_label):
    model, _ = build_recognizer(config(weights), 3)
    objective = RecognizerObjective(
        model, SAMPLING, class_weights=torch.tensor([3.0, 1.0, 0.5]), multi_label=multi_label
    )
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.1, -1.0]])
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]) if multi_label else torch.tensor([2, 1])
    rows = torch.tensor([0, 0, 0, 1])
    weighted = objective.loss(logits, labels, weights=torch.tensor([1.5, 0.5]))
    torch.testing.assert_close(weighted, objective.loss(logits[rows], labels[rows]))


@pytest.mark.parametrize("blocks", [2, 3])
def test_a_frozen_prefix_gives_the_same_loss_as_its_frames(weights, blocks):
    adapters = AdapterConfig(width=8, blocks=blocks)
    model, _ = build_recognizer(config(weights, adapters=adapters), 3)
    with torch.no_grad():
        for parameter in model.adapters.parameters():
            parameter.normal_(std=0.1)
    objective = RecognizerObjective(model, SAMPLING).eval()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (SAMPLING.mean, SAMPLING.std))
    prefix = model.forward_prefix((batch()["frames"].float() / 255 - mean) / std)
    from_prefix = objective({"prefix": prefix, "labels": batch()["labels"]})
    torch.testing.assert_close(from_prefix["loss"], objective(batch())["loss"])


@pytest.mark.parametrize(
    ("method", "trained"), [("adapters", {"adapters", "head"}), ("head", {"head"}), ("full", {"backbone", "head"})]
)
def test_what_each_method_trains(weights, method, trained):
    model, identity = build_recognizer(config(weights, method=method), 3)
    assert {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad} == trained
    lines = describe_training(model, identity)
    assert ("frozen" in lines[0]) == (method != "full")
    assert identity.hash[:12] in lines[0]
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert f"{count:,} of" in lines[-1]


def test_the_default_width_is_half_of_the_backbone_s_as_in_the_paper():
    assert AdapterConfig().for_channels(768).width == 384
    model, _ = build_recognizer(RecognizerConfig(backbone="muybridge_vit"), 3)
    assert model.config is not None and model.config.width == 96


def test_missing_backbone_weights_stop_the_training():
    with pytest.raises(ModelError, match="vit_tiny_patch16_224"):
        build_recognizer(RecognizerConfig(backbone="vit_tiny_patch16_224"), 3)
    with pytest.raises(ModelError, match=r"gone\.safetensors"):
        build_recognizer(config("gone.safetensors"), 3)


def test_weights_of_another_architecture_are_refused(weights):
    with pytest.raises(ModelMismatch, match="does not fit"):
        build_recognizer(RecognizerConfig(backbone="muybridge_vit", backbone_weights=weights), 3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "lora"}, "method='lora'"),
        ({"method": "head", "adapters": AdapterConfig()}, "method='head' has no adapters"),
        ({"dropout": 1.0}, r"dropout=1\.0"),
    ],
)
def test_values_that_break_their_rule_are_refused(changes, says):
    with pytest.raises(OptionError, match=says):
        RecognizerConfig(**changes)


def test_balanced_weights_make_each_class_count_the_same():
    labels = torch.eye(3)[[0, 0, 0, 0, 0, 0, 1, 1, 2]]
    weights = balance_classes(labels, multi_label=False)
    assert weights.tolist() == pytest.approx([0.5, 1.5, 3.0])
    assert (labels.sum(0) * weights).tolist() == pytest.approx([3, 3, 3])


def test_balanced_weights_of_several_labels_are_negatives_to_positives():
    labels = torch.tensor([[1, 0, 1], [1, 1, 1], [1, 0, 0], [0, 0, 1]]).float()
    assert balance_classes(labels, multi_label=True).tolist() == pytest.approx([1, 3, 1])
    rare = torch.zeros(1000, 1)
    rare[0] = 1
    assert balance_classes(rare, multi_label=True).item() == 100


def test_balanced_draws_see_each_class_as_often():
    labels = torch.eye(3)[[0, 0, 0, 0, 1, 1, 2]]
    frequencies = balance_draws(labels)
    assert (labels * frequencies[:, None]).sum(0).tolist() == pytest.approx([1, 1, 1])
    several = balance_draws(torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
    assert several.tolist() == pytest.approx([(1 / 2 + 1) / 2, 1 / 2, 1 / 2])


def test_probabilities():
    logits = torch.tensor([[0.0, math.log(3)]])
    assert to_probabilities(logits, multi_label=False).tolist()[0] == pytest.approx([0.25, 0.75])
    assert to_probabilities(logits, multi_label=True).tolist()[0] == pytest.approx([0.5, 0.75])


def test_a_clip_may_have_shares_of_labels() -> None:
    draw = torch.Generator().manual_seed(3)
    logits, weights = torch.randn(4, 3, generator=draw), torch.tensor([0.5, 1.0, 2.0])
    shares = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.25, 0.75]])
    found = classification_loss(logits, shares, multi_label=False, class_weights=weights)
    exact, targets = logits.double().numpy(), shares.double().numpy()
    log_shares = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    of_clips = -(targets * log_shares).sum(axis=1) * (targets @ np.array([0.5, 1.0, 2.0]))
    assert float(found) == pytest.approx(of_clips.mean(), rel=1e-5)
    # Of whole labels it is the loss that they have by number.
    by_number = classification_loss(logits[:2], torch.tensor([0, 2]), multi_label=False, class_weights=weights)
    assert float(by_number) == pytest.approx(of_clips[:2].mean(), rel=1e-5)
