"""A stream says after each frame what the whole clip so far would have said."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from muybridge.errors import ModelMismatch, OptionError
from muybridge.models.st_adapter.stream import CausalStream
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT


def build(name: str = "vit_tiny_patch16_224", *, causal: bool = True, **config: Any) -> VideoViT:
    torch.manual_seed(0)
    backbone = timm.create_model(name, depth=3, embed_dim=48, num_heads=2, num_classes=0, img_size=32)
    model = VideoViT(backbone, 4, adapters=AdapterConfig(width=6, causal=causal, **config)).eval()
    for parameter in model.adapters.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


FRAMES = torch.randn(2, 7, 3, 32, 32, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("vit_tiny_patch16_224", {}),
        ("vit_tiny_patch16_224", {"placement": "attention+mlp", "activation": "gelu"}),
        ("vit_tiny_patch16_224", {"kernel": (4, 1, 1)}),
        ("vit_tiny_patch16_224", {"kernel": (3, 3, 3), "blocks": 2}),
        ("vit_tiny_patch16_224", {"kernel": (1, 1, 1), "causal": False}),
        ("vit_base_patch16_siglip_224", {}),
        ("vit_small_patch16_dinov3", {}),
    ],
)
@torch.no_grad()
def test_every_frame_equals_the_clip_so_far(name: str, config: dict[str, Any]) -> None:
    model = build(name, **config)
    stream = CausalStream(model)
    for count in range(1, FRAMES.shape[1] + 1):
        torch.testing.assert_close(stream(FRAMES[:, count - 1]), model(FRAMES[:, :count]), rtol=1e-4, atol=1e-4)
    assert stream.frames_seen == FRAMES.shape[1]


@torch.no_grad()
def test_the_window_is_the_mean_of_the_last_frames() -> None:
    model = build()
    features = model.frame_features(FRAMES)
    stream = CausalStream(model, window=3)
    for count in range(1, FRAMES.shape[1] + 1):
        expected = model.classify(features[:, max(0, count - 3) : count])
        torch.testing.assert_close(stream(FRAMES[:, count - 1]), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_causal_adapters_never_look_ahead_and_centred_ones_do() -> None:
    changed = FRAMES.clone()
    changed[:, 4:] += 1
    for causal in (True, False):
        model = build(causal=causal)
        before = model.frame_features(FRAMES)[:, :4]
        after = model.frame_features(changed)[:, :4]
        assert torch.equal(before, after) is causal


@torch.no_grad()
def test_streams_over_one_model_do_not_mix_and_reset_forgets() -> None:
    model = build()
    first, second = CausalStream(model), CausalStream(model, window=2)
    for index in range(3):
        out = first(FRAMES[:1, index])
        second(FRAMES[1:, index])
    torch.testing.assert_close(out, model(FRAMES[:1, :3]), rtol=1e-4, atol=1e-4)
    first.reset()
    torch.testing.assert_close(first(FRAMES[:1, 5]), model(FRAMES[:1, 5:6]), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_one_frame_costs_one_image_forward() -> None:
    """Counted, not timed: a frame runs each block once, over one image's tokens."""
    model = build()
    stream = CausalStream(model)
    shapes: list[torch.Size] = []
    for block in model.tower.blocks[:-1]:
        block.register_forward_hook(lambda block, inputs, output: shapes.append(output.shape))
    for index in range(3):
        stream(FRAMES[:1, index])
    assert shapes == [torch.Size([1, 5, 48])] * 6


def test_a_model_without_adapters_streams() -> None:
    model = VideoViT(build().backbone, 4).eval()
    stream = CausalStream(model)
    stream(FRAMES[:, 0])
    with torch.no_grad():
        torch.testing.assert_close(stream(FRAMES[:, 1]), model(FRAMES[:, :2]))


def test_what_cannot_stream_says_so() -> None:
    with pytest.raises(ModelMismatch, match=r"looks at later frames.*causal=True"):
        CausalStream(build(causal=False))
    with pytest.raises(ModelMismatch, match="frequency branch looks at whole clips"):
        CausalStream(build(causal=False, kernel=(1, 1, 1), frequency_scales=(1,)))
    with pytest.raises(OptionError, match="window=0"):
        CausalStream(build(), window=0)
