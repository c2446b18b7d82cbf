"""The trunk of a frozen convolutional model: its maps are the model's own, over time as numpy works it out."""

import math

import numpy as np
import pytest
import timm
import torch

from muybridge.errors import ModelMismatch, OptionError
from muybridge.localize.objective import NetworkConfig, build_localizer
from muybridge.localize.options import LocalizerConfig
from muybridge.models.acar.actors import Actors, ContextMap
from muybridge.models.acar.head import ACARConfig, BaselineConfig, BaselineHead, actor_vectors
from muybridge.models.acar.image_trunk import ImageTrunk, joined, over_time


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0).eval()


@torch.no_grad()
def test_its_two_scales_are_the_models_own(backbone) -> None:
    pictures = torch.randn(2, 3, 64, 96)
    fine, coarse = ImageTrunk(backbone).tower.two_scales(pictures)
    torch.testing.assert_close(coarse, backbone.forward_features(pictures))
    # timm's own way to take maps out of the middle: stride 16 is its fourth reduction.
    own = backbone.forward_intermediates(pictures, indices=(3,), intermediates_only=True)[0]
    torch.testing.assert_close(fine, own)
    assert fine.shape[1:] == (112, 4, 6) and coarse.shape[1:] == (1280, 2, 3)


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
def test_over_time_as_worked_out_by_hand(frames) -> None:
    maps = torch.randn(2, frames, 3, 4, 5, dtype=torch.float64)
    x = maps.numpy()
    roots = np.sign(x) * (np.sqrt(np.abs(x) + 1e-4) - math.sqrt(1e-4))
    half = max(1, frames // 2)
    mean = sum(roots[:, t] for t in range(frames)) / frames
    later = sum(roots[:, -1 - t] for t in range(half)) / half
    earlier = sum(roots[:, t] for t in range(half)) / half
    variance = sum((roots[:, t] - mean) ** 2 for t in range(frames)) / frames
    expected = np.concatenate([mean, later - earlier, np.sqrt(variance + 1e-4) - 1e-2], axis=1)
    np.testing.assert_allclose(over_time(maps).numpy(), expected, atol=1e-12)


def test_reversed_clips_differ_in_the_sign_of_change_alone() -> None:
    maps = torch.randn(1, 8, 2, 3, 3)
    forth, back = over_time(maps), over_time(maps.flip(1))
    torch.testing.assert_close(forth[:, 2:4], -back[:, 2:4])
    torch.testing.assert_close(forth[:, [0, 1, 4, 5]], back[:, [0, 1, 4, 5]])


@torch.no_grad()
def test_a_batch_is_its_clips(backbone) -> None:
    trunk = ImageTrunk(backbone)
    clips = torch.randn(2, 3, 3, 64, 64)
    maps = trunk(clips)
    assert maps.shape == (2, trunk.context_channels, 4, 4) and trunk.context_channels == 3 * (112 + 1280)
    torch.testing.assert_close(maps[1:], trunk(clips[1:]), atol=1e-5, rtol=1e-4)
    fine, coarse = zip(*(trunk.tower.two_scales(clip) for clip in clips), strict=True)
    torch.testing.assert_close(
        maps, joined(over_time(torch.stack(fine)), over_time(torch.stack(coarse))), atol=1e-5, rtol=1e-4
    )


def test_nothing_of_it_is_trained(backbone) -> None:
    trunk = ImageTrunk(backbone).train()
    assert not any(parameter.requires_grad for parameter in trunk.parameters())
    assert not any(module.training for module in backbone.modules())


def test_a_transformer_is_refused() -> None:
    with pytest.raises(ModelMismatch, match="no stages"):
        ImageTrunk(timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32))
    with pytest.raises(OptionError, match="context=change"):
        LocalizerConfig("slowfast", context="change")


def test_a_margin_is_a_larger_box() -> None:
    features = torch.randn(1, 5, 8, 10)
    box = torch.tensor([[0.4, 0.3, 0.6, 0.8], [0.0, 0.1, 0.2, 0.95]])
    # By hand: 0.3 of each side; what lies beyond the frame is cut.
    grown = torch.tensor([[0.34, 0.15, 0.66, 0.95], [0.0, 0.0, 0.26, 1.0]])
    torch.testing.assert_close(
        actor_vectors(features, Actors.from_clips([box]), 7, margin=0.3),
        actor_vectors(features, Actors.from_clips([grown]), 7),
    )
    torch.manual_seed(0)
    wide, plain = (BaselineHead(BaselineConfig(5, 3, roi_margin=margin)) for margin in (0.3, 0.0))
    wide.load_state_dict(plain.state_dict())
    context = ContextMap(features)
    torch.testing.assert_close(wide(context, Actors.from_clips([box])), plain(context, Actors.from_clips([grown])))


@pytest.mark.parametrize("head", ["acar", "baseline"])
def test_its_numbers_rebuild_it(head) -> None:
    built = build_localizer(
        LocalizerConfig("efficientnet_lite0", context="change", head=head, roi_margin=0.2, head_bias=True), 4
    )
    again = NetworkConfig.from_json(built.config.to_json())
    assert again == built.config and again.context == "change"
    trained = [name for name, parameter in built.network.named_parameters() if parameter.requires_grad]
    assert trained and all(name.startswith("head.") for name in trained)
    older = built.config.to_json()
    del older["context"], older["head"]["roi_margin"], older["head"]["bias"]
    read = NetworkConfig.from_json(older)
    assert read.context == "last" and read.head.roi_margin == 0 and not read.head.bias
    assert isinstance(read.head, ACARConfig if head == "acar" else BaselineConfig)
