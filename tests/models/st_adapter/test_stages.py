"""Adapters in convolutional image models: what holds for transformers holds here."""

import copy
from typing import Any, cast

import pytest
import timm
import torch
from torch import Tensor, nn

from muybridge.errors import ModelMismatch, OptionError
from muybridge.models.backbones import backbone_hash
from muybridge.models.st_adapter.sets import AdapterBank, load_trained_state, trained_state
from muybridge.models.st_adapter.stages import StagedTower
from muybridge.models.st_adapter.stream import CausalStream
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT

FAMILIES = (
    "tf_efficientnet_lite0",
    "efficientnet_b0",
    "mobilenetv3_small_050",  # a layer after pooling
    "mobilenetv4_conv_small",
    "resnet18",
    "resnet26d",  # bottlenecks, another stem
    "regnety_002",
    "convnext_atto",  # a layer that changes resolution before each stage's first block
)
SIZE = (64, 96)


def stir(module: nn.Module, size: float = 0.05) -> None:
    """Move every parameter, so that no zero can hide a mistake."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)


def build(name: str = "tf_efficientnet_lite0") -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0).eval()


def clips(batch: int = 2, frames: int = 4) -> Tensor:
    return torch.randn(batch, frames, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def lite() -> nn.Module:
    return build()


def adapted(backbone: nn.Module, classes: int = 3, **options: Any) -> VideoViT:
    config = {"width": 8, "blocks": 6} | {k: options.pop(k) for k in ("causal", "kernel", "blocks") if k in options}
    model = VideoViT(backbone, classes, adapters=AdapterConfig(**cast(Any, config)), **options).eval()
    stir(model.adapters)
    return model


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_every_family_starts_equal_to_its_image_model(name: str) -> None:
    backbone = build(name)
    frames = clips()
    expected = cast(Tensor, backbone(frames.flatten(0, 1))).unflatten(0, (2, 4))
    close = {"rtol": 1e-4, "atol": 1e-4 * float(expected.abs().max())}
    model = VideoViT(backbone, 3, adapters=AdapterConfig(blocks=StagedTower(backbone).depth)).eval()
    torch.testing.assert_close(model.frame_features(frames), expected, **close)
    # Each adapter is run: with weights of its own it changes what is read.
    for index, places in model.adapters.items():
        before = copy.deepcopy(places.state_dict())
        stir(places, 0.5)
        assert not torch.allclose(model.frame_features(frames), expected, **close), index
        places.load_state_dict(before)
    model.release_backbone()
    torch.testing.assert_close(backbone(frames.flatten(0, 1)).unflatten(0, (2, 4)), expected, rtol=0, atol=0)


def test_training_moves_adapters_and_neither_weights_nor_statistics_of_the_backbone(lite: nn.Module) -> None:
    model = adapted(lite).train()
    before = backbone_hash(lite)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(clips()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.adapters.parameters())
    optimizer.step()
    assert backbone_hash(lite) == before
    assert not any(module.training for module in lite.modules())
    model.release_backbone()


def test_full_training_moves_weights_and_statistics() -> None:
    backbone = build()
    model = VideoViT(backbone, 3, train_backbone=True).train()
    state = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    model(clips()).sum().backward()
    assert backbone.get_parameter("conv_stem.weight").grad is not None
    assert not torch.equal(backbone.state_dict()["bn1.running_mean"], state["bn1.running_mean"])


@pytest.mark.parametrize("over_time", ["mean", "change"])
@torch.no_grad()
def test_training_from_the_prefix_equals_training_from_frames(lite: nn.Module, over_time: Any) -> None:
    model = adapted(lite, over_time=over_time)
    prefix = model.forward_prefix(clips())
    assert prefix.shape == (2, 4, 4, 6, 112)  # stride 16, what enters the last six blocks
    torch.testing.assert_close(model.forward_from_prefix(prefix, SIZE), model(clips()), rtol=0, atol=1e-6)
    head = VideoViT(lite, 3, over_time=over_time).eval()
    still = head.forward_prefix(clips())
    assert still.shape == (2, 4, 1, 1280)
    torch.testing.assert_close(head.forward_from_prefix(still, SIZE), head(clips()), rtol=0, atol=1e-6)
    model.release_backbone()


def test_gradient_checkpointing_changes_no_gradient(lite: nn.Module) -> None:
    model = adapted(lite, dropout=0.0).train()
    gradients: list[list[Tensor]] = []
    for keep in (False, True):
        model.gradient_checkpointing = keep
        model.zero_grad()
        model(clips()).square().sum().backward()
        gradients.append([cast(Tensor, p.grad).clone() for p in model.adapters.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    model.release_backbone()


@pytest.mark.parametrize("over_time", ["mean", "change"])
@torch.no_grad()
def test_a_causal_stream_equals_the_whole_clip(lite: nn.Module, over_time: Any) -> None:
    model = adapted(lite, causal=True, over_time=over_time)
    frames = clips(batch=1, frames=5)
    stream = CausalStream(model, window=3)
    features = model.frame_features(frames)
    for count in range(1, 6):
        answer = stream(frames[:, count - 1])
        torch.testing.assert_close(
            answer, model.classify(features[:, max(0, count - 3) : count]), rtol=1e-4, atol=1e-5
        )
    model.release_backbone()


def test_change_over_time_has_no_unbounded_stream(lite: nn.Module) -> None:
    with pytest.raises(OptionError, match="needs a window"):
        CausalStream(VideoViT(lite, 2, over_time="change"), window=None)


@pytest.mark.parametrize("over_time", ["mean", "change"])
@torch.no_grad()
def test_each_sample_of_a_batch_uses_a_set_of_its_own(lite: nn.Module, over_time: Any) -> None:
    first, second = adapted(lite, over_time=over_time), adapted(lite, over_time=over_time)
    stir(second.adapters, 0.2)
    stir(second.head)
    states = [trained_state(model) for model in (first, second)]
    second.release_backbone()
    frames = clips()
    mixed = first(frames, AdapterBank(first, states).select(torch.tensor([1, 0])))
    torch.testing.assert_close(mixed[1], first(frames)[1], rtol=1e-4, atol=1e-5)
    load_trained_state(first, states[1])
    torch.testing.assert_close(mixed[0], first(frames)[0], rtol=1e-4, atol=1e-5)
    first.release_backbone()


@torch.no_grad()
def test_the_context_map_has_a_place_for_every_32_pixels(lite: nn.Module) -> None:
    model = adapted(lite)
    expected = lite.get_submodule("blocks")(model.tower.embed(clips().flatten(0, 1)))
    assert model.patch_tokens(clips()).shape == (2, 4, 2, 3, 320)
    still = VideoViT(lite, 3).eval()
    torch.testing.assert_close(
        still.patch_tokens(clips()).flatten(0, 1), expected.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-4
    )
    model.release_backbone()


@torch.no_grad()
def test_the_order_of_frames_is_read_by_change_and_by_adapters_alone(lite: nn.Module) -> None:
    backwards = clips().flip(1)
    mean = VideoViT(lite, 3).eval()
    torch.testing.assert_close(mean(clips()), mean(backwards), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(VideoViT(lite, 3, over_time="change").eval()(clips()).sub(0), mean(clips()))
    for model in (VideoViT(lite, 3, over_time="change").eval(), adapted(lite)):
        assert (model(clips()) - model(backwards)).abs().max() > 1e-4
        model.release_backbone()


def test_there_is_no_attention_and_no_class_token(lite: nn.Module) -> None:
    with pytest.raises(ModelMismatch, match="no attention"):
        VideoViT(lite, 2, adapters=AdapterConfig(placement="attention+mlp"))
    with pytest.raises(ModelMismatch, match="no class token"):
        VideoViT(lite, 2, readout="class_token")


def test_a_pickled_copy_and_a_compiled_program_give_the_same(lite: nn.Module) -> None:
    model = adapted(lite, over_time="change")
    copied = copy.deepcopy(model)
    program = torch.export.export(
        copied, (clips(),), dynamic_shapes={"frames": {0: torch.export.Dim("batch", min=1, max=64)}}, strict=False
    )
    with torch.no_grad():
        for batch in (1, 3):
            frames = clips(batch)
            expected = model(frames)
            torch.testing.assert_close(copied(frames), expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(program.module()(frames), expected, rtol=1e-3, atol=1e-4)
    model.release_backbone()


def test_compile_as_one_graph_changes_nothing(lite: nn.Module) -> None:
    model = adapted(lite, over_time="change").train()
    model.dropout.p = 0.0
    frames = clips()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # What was compiled before in other sizes would make sizes symbols, whose algebra goes on for hours here.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    torch.testing.assert_close(compiled(frames), model(frames), rtol=1e-4, atol=1e-5)
    expected = torch.autograd.grad(model(frames).square().sum(), trained)
    found = torch.autograd.grad(compiled(frames).square().sum(), trained)
    # As a whole: single numbers are sums of many that cancel.
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() <= 2e-3 * theirs.norm() + 1e-4
    model.release_backbone()


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet10t", "mobilenetv4_conv_small", "regnetx_002"])
def test_batch_norms_are_folded_without_loss_and_anew_when_weights_change(name: str) -> None:
    torch.manual_seed(0)
    backbone = timm.create_model(name, pretrained=False).eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    model = VideoViT(backbone, 2, adapters=None).eval()
    frames = torch.randn(1, 3, 3, 64, 64)
    with torch.no_grad():
        for factor in (1.0, 1.7):
            first = next(module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d))
            first.weight.mul_(factor)
            # timm's own forward, which knows of no folding.
            wanted = backbone.forward_head(backbone.forward_features(frames[0]), pre_logits=True)
            found = model.frame_features(frames)[0]
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))
    changed = [key for key, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[key])]
    assert len(changed) == 1


def test_batch_norms_left_in_training_mode_by_mistake_learn_nothing() -> None:
    torch.manual_seed(0)
    backbone = timm.create_model("resnet10t", num_classes=0)  # as timm hands it out: in training mode
    assert backbone.training
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    frames = torch.randn(2, 3, 3, 64, 64)
    for adapters in (None, AdapterConfig(width=8, blocks=2)):
        model = VideoViT(backbone, 2, adapters=adapters).train()
        alone = model.frame_features(frames[:1])
        backbone.train()  # the mistake, once more
        together = model.frame_features(frames)
        torch.testing.assert_close(together[:1], alone)  # a batch's other clips have no say
        backbone.train()
        prefix = model.forward_prefix(frames)
        torch.testing.assert_close(model.features_from_prefix(prefix, (64, 64)), together)
        model.release_backbone()
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())
