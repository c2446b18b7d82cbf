"""Adapters in timm models: nothing changes at the start, everything trained is reached, nothing frozen moves."""

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from muybridge.errors import ModelMismatch, OptionError
from muybridge.models.backbones import backbone_hash
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT

SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 2, "num_classes": 0}
# One architecture a family, made small; the numbers of prefix tokens run from 0 to 10.
FAMILIES: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"img_size": 48},  # AugReg, MAE
    "vit_base_patch16_clip_quickgelu_224": {"img_size": 48},  # CLIP
    "vit_base_patch16_siglip_224": {"img_size": 48},  # SigLIP: no prefix token
    "vit_small_patch14_reg4_dinov2": {"img_size": 42},  # DINOv2: class token and registers, layer scale
    "vit_little_patch16_reg4_gap_256": {"img_size": 48},  # registers without a class token
    "deit_tiny_distilled_patch16_224": {"img_size": 48},  # class and distillation token
    "deit3_small_patch16_224": {"img_size": 48},
    "vit_base_patch16_rpn_224": {"img_size": 48},  # post-norm blocks
    "vit_base_patch16_radio_v3": {"img_size": 48},
    "beit_base_patch16_224": {"img_size": 48},
    "eva02_tiny_patch14_224": {"img_size": 42},  # EVA-02: rotary positions, SwiGLU
    "eva02_enormous_patch14_clip_224": {"img_size": 42},  # EVA with post-norm blocks
    "vit_small_patch16_dinov3": {"img_size": 48},  # DINOv3
    "vit_pe_core_tiny_patch16_384": {"img_size": 48},  # Perception Encoder
    "vit_small_patch16_rope_mixed_224": {"img_size": 48},  # a rotary embedding of its own in each block
}

OF_LATER_TIMM = {"vit_base_patch16_radio_v3"}  # than the oldest that this package takes


def stir(module: nn.Module, seed: int = 0, size: float = 0.1) -> None:
    """Move every parameter, so that no zero, one or tiny layer scale can hide a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)


def build(name: str, **options: Any) -> nn.Module:
    if name in OF_LATER_TIMM and not timm.is_model(name):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    torch.manual_seed(0)
    backbone = timm.create_model(name, **{**SMALL, **FAMILIES.get(name, {}), **options}).eval()
    stir(backbone)
    return backbone


def clips(backbone: Any, *, batch: int = 2, frames: int = 3) -> Tensor:
    height, width = backbone.patch_embed.img_size
    return torch.randn(batch, frames, 3, height, width, generator=torch.Generator().manual_seed(1))


def features_by_timm(backbone: Any, images: Tensor, *, class_token: bool) -> Tensor:
    """One vector an image before the final norm, by timm's own forward."""
    seen: list[Tensor] = []
    handle = backbone.blocks[-1].register_forward_hook(lambda block, inputs, output: seen.append(output))
    backbone.forward_features(images)
    handle.remove()
    return seen[0][:, 0] if class_token else seen[0][:, backbone.num_prefix_tokens :].mean(dim=1)


@pytest.fixture(scope="module")
def vit() -> Iterator[nn.Module]:
    yield build("vit_tiny_patch16_224", depth=3, dynamic_img_size=True)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_every_family_starts_equal_to_its_image_model(name: str) -> None:
    backbone = build(name)
    frames = clips(backbone)
    class_token = name not in WITHOUT_CLASS_TOKEN
    expected = features_by_timm(backbone, frames.flatten(0, 1), class_token=class_token).reshape(2, 3, -1)
    for placement in ("mlp", "attention+mlp"):
        model = VideoViT(backbone, 4, adapters=AdapterConfig(width=6, placement=placement)).eval()
        assert model.readout == ("class_token" if class_token else "patch_mean")
        torch.testing.assert_close(model.frame_features(frames), expected, rtol=1e-4, atol=1e-5)
        mean = backbone.fc_norm(backbone.norm(expected.mean(dim=1)))
        torch.testing.assert_close(model(frames), model.head(mean), rtol=1e-4, atol=1e-5)
        stir(model.adapters, size=0.5)
        assert (model.frame_features(frames) - expected).abs().max() > 1e-2, "adapters have no effect"
        model.release_backbone()
    again = features_by_timm(backbone, frames.flatten(0, 1), class_token=class_token).reshape(2, 3, -1)
    assert torch.equal(again, expected), "the backbone did not come back as it was"


WITHOUT_CLASS_TOKEN = {
    "vit_base_patch16_siglip_224",
    "vit_little_patch16_reg4_gap_256",
    "vit_base_patch16_rpn_224",
}


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in WITHOUT_CLASS_TOKEN])
@torch.no_grad()
def test_leaving_out_what_is_not_read_changes_nothing(name: str) -> None:
    backbone = build(name)
    frames = clips(backbone)
    config = AdapterConfig(width=6, placement="attention+mlp")
    short = VideoViT(backbone, 4, adapters=config).eval()
    full = VideoViT(
        backbone, 4, adapters=AdapterConfig(width=6, placement="attention+mlp", keep_dead=True), trim_last_block=False
    ).eval()
    stir(full.adapters, size=0.5)
    assert {n for n, _ in full.adapters.named_parameters()} - {n for n, _ in short.adapters.named_parameters()} == {
        f"1.mlp.{layer}.{kind}" for layer in ("down", "conv", "up") for kind in ("weight", "bias")
    }
    short.adapters.load_state_dict(full.adapters.state_dict(), strict=False)
    # The dead adapter is never run by VideoViT; running it by a hook of the test's own must not matter either.
    dead: Any = full.adapters["1"]["mlp"]

    def run_dead(norm: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        tokens = inputs[0].clone()
        prefix, (rows, columns) = full.backbone.num_prefix_tokens, full.backbone.patch_embed.grid_size
        patches = tokens[:, prefix:].reshape(2, 3, rows, columns, -1)
        tokens[:, prefix:] += dead(patches).flatten(2, 3).flatten(0, 1)
        return tokens

    trimmed = short.frame_features(frames)
    reader = full.tower.blocks[-1].mlp if name == "eva02_enormous_patch14_clip_224" else full.tower.blocks[-1].norm2
    handle = reader.register_forward_pre_hook(run_dead)
    torch.testing.assert_close(trimmed, full.frame_features(frames), rtol=1e-4, atol=1e-5)
    handle.remove()


def test_the_last_block_is_trimmed_for_the_common_families() -> None:
    for name, expected in [
        ("vit_tiny_patch16_224", True),
        ("vit_small_patch16_dinov3", True),
        ("eva02_tiny_patch14_224", True),
        ("beit_base_patch16_224", False),
        ("vit_base_patch16_siglip_224", False),
    ]:
        assert VideoViT(build(name), 2, adapters=AdapterConfig(width=4)).tower.trims_last_block is expected


@pytest.mark.parametrize(
    ("name", "placement", "classes", "adapters", "with_head", "share"),
    [
        ("vit_base_patch16_clip_quickgelu_224", "mlp", 400, 7_110_144, 7_417_744, 0.0829),
        ("vit_base_patch16_clip_quickgelu_224", "attention+mlp", 174, 14_220_288, 14_354_094, 0.166),
        ("vit_large_patch14_clip_quickgelu_224", "mlp", 400, 18_945_024, 19_355_024, 0.0625),
    ],
)
def test_parameter_counts_are_the_published_ones(
    name: str, placement: Any, classes: int, adapters: int, with_head: int, share: float
) -> None:
    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0)
        tower = sum(parameter.numel() for parameter in backbone.parameters())
        model = VideoViT(backbone, classes, adapters=AdapterConfig(width=384, placement=placement, keep_dead=True))
        count = sum(parameter.numel() for parameter in model.adapters.parameters())
        head = sum(parameter.numel() for parameter in model.head.parameters())
        assert (count, count + head) == (adapters, with_head)
        assert count / tower == pytest.approx(share, rel=2e-3)
        without_dead = VideoViT(backbone, classes, adapters=AdapterConfig(width=384, placement=placement))
    one = 2 * model.dim * 384 + 384 + model.dim + 384 * 4
    assert sum(parameter.numel() for parameter in without_dead.adapters.parameters()) == adapters - one


@pytest.mark.parametrize(("placement", "published"), [("mlp", 455e9), ("attention+mlp", 488e9)])
def test_multiply_adds_are_the_published_ones_and_fewer_when_trimmed(placement: Any, published: float) -> None:
    """ViT-B/16, 8 frames, 3 views; the published figures run every token through the last block and adapter."""

    def multiply_adds(**options: Any) -> float:
        with torch.device("meta"):
            backbone = timm.create_model("vit_base_patch16_clip_quickgelu_224", num_classes=0)
            model = VideoViT(backbone, 400, adapters=AdapterConfig(placement=placement), **options).eval()
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                model(torch.empty(1, 8, 3, 224, 224))
        return 3 * counter.get_total_flops() / 2

    dead = 3 * 8 * 196 * 2 * 768 * 384
    assert multiply_adds(trim_last_block=False) + dead == pytest.approx(published, rel=5e-3)
    saved = 1 - multiply_adds() / published
    assert 0.06 < saved < 0.09


@torch.no_grad()
def test_any_size_grid_and_length(vit: nn.Module) -> None:
    model = VideoViT(vit, 4, adapters=AdapterConfig(width=6)).eval()
    stir(model.adapters)
    for height, width, frames in [(48, 48, 1), (32, 80, 3), (64, 48, 7), (16, 16, 2)]:
        clip = torch.randn(2, frames, 3, height, width)
        assert model.forward_prefix(clip).shape[2] == 1 + (height // 16) * (width // 16)
        assert model(clip).isfinite().all()
    wide = torch.randn(1, 3, 3, 32, 80)
    still = VideoViT(vit, 4).eval()
    expected = features_by_timm(vit, wide.flatten(0, 1), class_token=True)[None]
    torch.testing.assert_close(still.frame_features(wide), expected, rtol=1e-4, atol=1e-5)
    for each in (model, still):
        each.release_backbone()


def test_a_model_that_is_given_up_leaves_the_backbone_without_hooks(vit: nn.Module) -> None:
    def hooks() -> int:
        return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in vit.modules())

    before = hooks()
    model = VideoViT(vit, 4, adapters=AdapterConfig(width=6, placement="attention+mlp"))
    assert hooks() > before
    del model
    assert hooks() == before


@torch.no_grad()
def test_a_non_square_grid_keeps_rows_and_columns_apart(vit: nn.Module) -> None:
    """A (1, 1, 3) kernel mixes neighbours in a row only: a change in one row leaves the other rows' patches alone."""
    seen: list[Tensor] = []
    model = VideoViT(vit, 4, adapters=AdapterConfig(width=6, kernel=(1, 1, 3)), readout="patch_mean").eval()
    stir(model.adapters)
    adapter: Any = model.adapters["0"]["mlp"]
    adapter.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    frames = torch.randn(1, 2, 3, 32, 80)
    model(frames)
    changed = seen[0].clone()
    changed[:, :, 1] += 1
    difference = (adapter(changed) - adapter(seen[0])).abs().amax(dim=(0, 1, 4))
    assert difference.shape == (2, 5)
    assert not difference[0].any()
    assert difference[1].all()
    model.release_backbone()


@torch.no_grad()
def test_only_a_temporal_kernel_reads_the_order_of_frames(vit: nn.Module) -> None:
    frames = torch.randn(2, 5, 3, 48, 48)
    for kernel, reads_order in [((1, 1, 1), False), ((1, 3, 3), False), ((3, 1, 1), True)]:
        model = VideoViT(vit, 4, adapters=AdapterConfig(width=6, kernel=kernel)).eval()
        stir(model.adapters, size=0.5)
        difference = (model(frames) - model(frames.flip(1))).abs().max()
        assert bool(difference > 1e-3) is reads_order
        model.release_backbone()


def train_a_step(model: VideoViT, frames: Tensor) -> None:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(frames), torch.tensor([0, 1])).backward()
        optimizer.step()


def test_training_leaves_every_frozen_byte_alone(vit: nn.Module) -> None:
    before = backbone_hash(vit)
    frames = torch.randn(2, 3, 3, 48, 48)
    for config in (AdapterConfig(width=6), None):
        model = VideoViT(vit, 2, adapters=config).train()
        heads = model.head.weight.clone()
        train_a_step(model, frames)
        assert not torch.equal(model.head.weight, heads)
        assert backbone_hash(vit) == before
        model.release_backbone()


@pytest.mark.parametrize(
    ("name", "config", "train_backbone"),
    [
        ("vit_tiny_patch16_224", AdapterConfig(width=6), False),
        ("vit_tiny_patch16_224", AdapterConfig(width=6, placement="attention+mlp", blocks=1), False),
        ("vit_tiny_patch16_224", AdapterConfig(width=6, frequency_scales=(1, 2)), False),
        ("vit_tiny_patch16_224", AdapterConfig(width=6, keep_dead=True), False),
        ("vit_tiny_patch16_224", None, True),
        ("vit_tiny_patch16_224", AdapterConfig(width=6), True),
        ("vit_base_patch16_siglip_224", None, True),
        ("vit_pe_core_tiny_patch16_384", None, True),
        ("eva02_tiny_patch14_224", None, True),
    ],
)
def test_gradient_reaches_every_trained_tensor(name: str, config: AdapterConfig | None, train_backbone: bool) -> None:
    backbone = build(name)
    model = VideoViT(backbone, 4, adapters=config, train_backbone=train_backbone, dropout=0).train()
    stir(model.adapters)
    model(clips(backbone)).square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.any(), parameter_name
        else:
            assert parameter.grad is None, parameter_name
    assert any(parameter.requires_grad for parameter in backbone.parameters()) is train_backbone


def test_a_frozen_backbone_stays_in_evaluation_mode(vit: nn.Module) -> None:
    assert not VideoViT(vit, 2).train().backbone.training
    assert VideoViT(vit, 2, train_backbone=True).train().backbone.training
    vit.eval()


def test_frames_are_not_written_into(vit: nn.Module) -> None:
    model = VideoViT(vit, 4, adapters=AdapterConfig(width=6, placement="attention+mlp"))
    stir(model.adapters)
    frames = torch.randn(1, 3, 3, 48, 48)
    before = frames.clone()
    seen: list[tuple[Tensor, Tensor]] = []
    for block in model.tower.blocks:
        block.register_forward_pre_hook(lambda block, inputs: seen.append((inputs[0], inputs[0].clone())))
    model(frames).sum().backward()
    assert torch.equal(frames, before)
    assert seen
    assert all(torch.equal(tokens, copy) for tokens, copy in seen)
    for block in model.tower.blocks:
        block._forward_pre_hooks.clear()
        block._forward_hooks.clear()
        block.norm2._forward_pre_hooks.clear()


@pytest.fixture
def stirred(vit: nn.Module) -> Iterator[VideoViT]:
    model = VideoViT(vit, 4, adapters=AdapterConfig(width=6, placement="attention+mlp"), dropout=0)
    stir(model.adapters, size=0.3)
    yield model.eval()
    model.release_backbone()


def gradients(model: VideoViT, run: Any, frames: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    run(frames).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_changes_no_gradient(stirred: VideoViT) -> None:
    frames = torch.randn(2, 3, 3, 48, 48)
    stirred.train()
    plain = gradients(stirred, stirred, frames)
    calls: list[int] = []
    adapter: Any = stirred.adapters["0"]["attention"]
    handle = adapter.register_forward_hook(lambda module, inputs, output: calls.append(1))
    stirred.gradient_checkpointing = True
    kept = gradients(stirred, stirred, frames)
    handle.remove()
    assert len(calls) == 2, "the first block was not run again for its gradient"
    assert plain.keys() == kept.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(kept[name], gradient)


def test_compile_as_one_graph_changes_nothing(stirred: VideoViT) -> None:
    frames = torch.randn(2, 3, 3, 48, 48)
    stirred.train()
    compiled = torch.compile(stirred, fullgraph=True, backend="aot_eager", dynamic=False)
    torch.testing.assert_close(compiled(frames), stirred(frames))
    expected = gradients(stirred, stirred, frames)
    for name, gradient in gradients(stirred, compiled, frames).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [AdapterConfig(width=6), AdapterConfig(width=6, frequency_scales=(1, 2))])
def test_export_takes_any_batch(vit: nn.Module, config: AdapterConfig) -> None:
    model = VideoViT(vit, 4, adapters=config).eval()
    stir(model.adapters)
    example = (torch.randn(2, 3, 3, 48, 48),)
    program = torch.export.export(model, example, dynamic_shapes={"frames": {0: torch.export.Dim("clips")}})
    frames = torch.randn(5, 3, 3, 48, 48)
    torch.testing.assert_close(program.module()(frames), model(frames))
    model.release_backbone()


def test_autocast_stays_near_float32_and_trains_in_float32(stirred: VideoViT) -> None:
    frames = torch.randn(2, 3, 3, 48, 48)
    expected = stirred(frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = stirred(frames)
    assert out.dtype == torch.bfloat16
    assert (out - expected).norm() / expected.norm() < 0.05
    out.float().sum().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in stirred.parameters())


def test_half_precision_backbone_with_float32_adapters(vit: nn.Module) -> None:
    backbone = copy.deepcopy(vit)
    model = VideoViT(backbone, 4, adapters=AdapterConfig(width=6), dropout=0).eval()
    stir(model.adapters)
    frames = torch.randn(2, 3, 3, 48, 48)
    expected = model(frames)
    backbone.to(torch.bfloat16)
    out = model(frames.to(torch.bfloat16))
    assert out.dtype == torch.float32
    assert (out - expected).norm() / expected.norm() < 0.05
    out.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.adapters.parameters())


@torch.no_grad()
def test_copies_and_pickles_are_whole_and_apart(stirred: VideoViT) -> None:
    frames = torch.randn(1, 3, 3, 48, 48)
    expected = stirred(frames)
    for twin in (copy.deepcopy(stirred), pickle.loads(pickle.dumps(stirred))):
        assert torch.equal(twin(frames), expected)
        stir(twin.adapters, seed=5)
        assert not torch.equal(twin(frames), expected)
        assert torch.equal(stirred(frames), expected)


@torch.no_grad()
def test_state_dict_keeps_timms_names(vit: nn.Module) -> None:
    model = VideoViT(vit, 4, adapters=AdapterConfig(width=6))
    names = {n.removeprefix("backbone.") for n in model.state_dict() if n.startswith("backbone.")}
    assert names == set(vit.state_dict())
    model.release_backbone()


@torch.no_grad()
def test_several_models_share_one_backbone(vit: nn.Module) -> None:
    frames = torch.randn(1, 3, 3, 48, 48)
    plain = vit(frames[0])
    first = VideoViT(vit, 4, adapters=AdapterConfig(width=6)).eval()
    stir(first.adapters)
    alone = first(frames)
    second = VideoViT(vit, 2, adapters=AdapterConfig(width=3, kernel=(3, 3, 3), placement="attention+mlp")).eval()
    stir(second.adapters)
    second(frames)
    assert torch.equal(first(frames), alone)
    assert torch.equal(vit(frames[0]), plain)
    for model in (first, second):
        model.release_backbone()


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3", "vit_base_patch16_siglip_224"])
@pytest.mark.parametrize("blocks", [1, 2, None])
def test_prefix_and_rest_equal_the_whole(name: str, blocks: int | None) -> None:
    backbone = build(name)
    config = AdapterConfig(width=6, placement="attention+mlp", blocks=blocks) if blocks else None
    model = VideoViT(backbone, 4, adapters=config, dropout=0).train()
    stir(model.adapters)
    frames = clips(backbone)
    prefix = model.forward_prefix(frames)
    assert prefix.shape[:2] == (2, 3)
    assert prefix.shape[2] == (1 if blocks is None else backbone.patch_embed.num_patches + backbone.num_prefix_tokens)
    assert not prefix.requires_grad
    assert torch.equal(model.forward_from_prefix(prefix, tuple(frames.shape[-2:])), model(frames))
    whole = gradients(model, model, frames)
    rest = gradients(model, lambda _: model.forward_from_prefix(prefix, tuple(frames.shape[-2:])), frames)
    assert whole.keys() == rest.keys()
    for parameter_name, gradient in whole.items():
        torch.testing.assert_close(rest[parameter_name], gradient)


def test_what_cannot_be_adapted_says_so_by_name(vit: nn.Module) -> None:
    config = AdapterConfig(width=6)
    with pytest.raises(ModelMismatch, match=r"'mixer_s32_224' cannot be adapted: MlpMixer is not"):
        VideoViT(timm.create_model("mixer_s32_224", num_classes=0), 4, adapters=config)
    with pytest.raises(ModelMismatch, match=r"'vit_base_patch16_xp_224' .* block 0: .*ParallelScalingBlock"):
        VideoViT(build("vit_base_patch16_xp_224", img_size=48), 4, adapters=config)
    with pytest.raises(ModelMismatch, match=r"drops patches.*patch_drop_rate=0"):
        VideoViT(build("vit_tiny_patch16_224", patch_drop_rate=0.5), 4, adapters=config)
    with pytest.raises(ModelMismatch, match=r"no class token.*patch_mean"):
        VideoViT(build("vit_base_patch16_siglip_224"), 4, adapters=config, readout="class_token")
    with pytest.raises(ModelMismatch, match=r"was built for 48 x 48 pixels, but got 64 x 64.*dynamic_img_size=True"):
        VideoViT(build("vit_tiny_patch16_224"), 4, adapters=config)(torch.randn(1, 2, 3, 64, 64))
    with pytest.raises(ModelMismatch, match=r"multiples of its patch, 16 x 16 pixels, but got 48 x 50"):
        VideoViT(vit, 4)(torch.randn(1, 2, 3, 48, 50))


def test_wrong_values_are_named(vit: nn.Module) -> None:
    with pytest.raises(OptionError, match="blocks=9 is more than the backbone's 3"):
        VideoViT(vit, 4, adapters=AdapterConfig(width=6, blocks=9))
    with pytest.raises(OptionError, match="blocks=1 with placement='mlp' adapts nothing"):
        VideoViT(vit, 4, adapters=AdapterConfig(width=6, blocks=1))
    with pytest.raises(OptionError, match="num_classes=0"):
        VideoViT(vit, 0)
    with pytest.raises(OptionError, match="readout='last'"):
        VideoViT(vit, 4, readout="last")  # pyright: ignore[reportArgumentType]
    with pytest.raises(OptionError, match=r"shape \(2, 3, 48, 48\)"):
        VideoViT(vit, 4)(torch.randn(2, 3, 48, 48))
    with pytest.raises(OptionError, match="train_backbone=True"):
        VideoViT(copy.deepcopy(vit), 4, train_backbone=True).forward_prefix(torch.randn(1, 2, 3, 48, 48))


@torch.no_grad()
def test_a_failed_run_leaves_the_backbone_usable(stirred: VideoViT) -> None:
    frames = torch.randn(1, 3, 3, 48, 48)
    expected = stirred(frames)
    plain = stirred.backbone(frames[0])

    def fail(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise KeyboardInterrupt

    handle = stirred.tower.blocks[0].mlp.register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        stirred(frames)
    handle.remove()
    assert torch.equal(stirred.backbone(frames[0]), plain)
    assert torch.equal(stirred(frames), expected)


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "vit_little_patch16_reg4_gap_256", "eva02_tiny_patch14_224"]
)
def test_patch_tokens_are_those_of_the_image_model_in_rows_and_columns(name: str) -> None:
    backbone: Any = build(name)
    model = VideoViT(backbone, 2, adapters=AdapterConfig(width=4), readout="patch_mean").eval()
    frames = clips(backbone)
    with torch.no_grad():
        found = model.patch_tokens(frames)
        # Adapters start at zero, so that the image model of timm is the truth.
        expected = backbone.forward_features(frames.flatten(0, 1))[:, backbone.num_prefix_tokens :]
    rows, columns = backbone.patch_embed.grid_size
    assert found.shape == (2, 3, rows, columns, backbone.embed_dim)
    torch.testing.assert_close(found.flatten(2, 3).flatten(0, 1), expected)


def test_patch_tokens_know_of_other_frames_through_the_last_block_too() -> None:
    backbone = build("vit_tiny_patch16_224")
    model = VideoViT(backbone, 2, adapters=AdapterConfig(width=4, blocks=1), readout="patch_mean").eval()
    stir(model.adapters)
    frames = clips(backbone)
    other = frames.clone()
    other[:, 2] = 0
    with torch.no_grad():
        change = (model.patch_tokens(frames) - model.patch_tokens(other)).abs().amax((0, 2, 3, 4))
    assert change[1] > 1e-4
    assert change[0] == 0  # a kernel of three frames does not reach from the last one to the first


def test_patch_tokens_need_a_model_that_reads_patches() -> None:
    model = VideoViT(build("vit_tiny_patch16_224"), 2, readout="class_token")
    with pytest.raises(OptionError, match="patch_mean"):
        model.patch_tokens(torch.zeros(1, 2, 3, 48, 48))
