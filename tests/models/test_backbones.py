"""Backbones are what their name says, or an error."""

import dataclasses
import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from muybridge.errors import ModelError, ModelMismatch, OptionError, UnsafeModelFile
from muybridge.models.backbones import (
    BackboneInput,
    BackboneOptions,
    backbone_hash,
    backbone_input,
    create_backbone,
    load_backbone_state,
    openai_clip_to_timm,
    sketch_backbone,
)

TINY = {"depth": 2, "embed_dim": 48, "num_heads": 2, "img_size": 48}


def test_without_weights_asked_for_it_is_a_timm_model_for_any_size() -> None:
    backbone = create_backbone("vit_tiny_patch16_224", pretrained=False, **TINY)
    assert not backbone.training
    assert isinstance(backbone.head, torch.nn.Identity)
    with torch.no_grad():
        assert backbone(torch.randn(1, 3, 32, 64)).shape == (1, 48)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "muybridge_vit", "efficientnet_lite0"])
def test_an_option_that_is_none_is_as_the_name_says(name: str) -> None:
    unsaid = dict.fromkeys(field.name for field in dataclasses.fields(BackboneOptions))
    found, expected = (sketch_backbone(name, **options) for options in (unsaid, {}))
    shapes = [{key: tensor.shape for key, tensor in model.state_dict().items()} for model in (found, expected)]
    assert shapes[0] == shapes[1]


def test_a_class_that_cannot_resize_is_still_built() -> None:
    create_backbone("beit_base_patch16_224", pretrained=False, **TINY)


def test_weights_that_cannot_be_had_are_one_line_and_never_random(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"weights of backbone 'vit_tiny_patch16_224' cannot be had") as error:
        create_backbone("vit_tiny_patch16_224")
    assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match="No pretrained weights exist"):
        create_backbone("vit_small_patch16_36x1_224", depth=1)
    with pytest.raises(ModelError, match=r"local-dir:.*cannot be had: Config file not found"):
        create_backbone(f"local-dir:{tmp_path / 'nothing'}")


def test_an_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(OptionError, match=r"'vit_tini_patch16_224'.*Did you mean .*vit_tiny_patch16_224"):
        create_backbone("vit_tini_patch16_224", pretrained=False)
    with pytest.raises(OptionError, match="colour is not an option"):
        create_backbone("vit_tiny_patch16_224", pretrained=False, colour=1)


def test_a_local_folder_loads_as_timm_saved_it(tmp_path: Path) -> None:
    saved = timm.create_model("vit_tiny_patch16_224", num_classes=3, **TINY)
    timm.models.save_for_hf(saved, tmp_path, model_args=TINY, safe_serialization=True)
    backbone = create_backbone(f"local-dir:{tmp_path}")
    saved.reset_classifier(0)
    assert backbone_hash(backbone) == backbone_hash(saved)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_checkpoint_file_loads_whole_or_not(tmp_path: Path, suffix: str) -> None:
    saved = timm.create_model("vit_tiny_patch16_224", num_classes=3, **TINY)
    path = tmp_path / f"weights{suffix}"

    def write(state: dict[str, torch.Tensor]) -> None:
        safetensors.torch.save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)

    write(saved.state_dict())
    backbone = create_backbone("vit_tiny_patch16_224", checkpoint_path=path, **TINY)
    saved.reset_classifier(0)
    assert backbone_hash(backbone) == backbone_hash(saved)

    state = dict(saved.state_dict())
    del state["blocks.1.mlp.fc1.bias"]
    write({**state, "extra": torch.zeros(1)})
    with pytest.raises(ModelMismatch, match=r"missing blocks\.1\.mlp\.fc1\.bias; unknown extra"):
        create_backbone("vit_tiny_patch16_224", checkpoint_path=path, **TINY)


def test_a_file_that_is_no_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        create_backbone("vit_tiny_patch16_224", checkpoint_path=tmp_path / "none.pt", **TINY)
    path = tmp_path / "evil.pt"
    marker = tmp_path / "executed"
    torch.save({"weight": _Evil(str(marker))}, path)
    with pytest.raises(UnsafeModelFile, match=r"evil\.pt"):
        create_backbone("vit_tiny_patch16_224", checkpoint_path=path, **TINY)
    assert not marker.exists()
    for name in ("broken.safetensors", "broken.pt", "empty.pt"):
        (tmp_path / name).write_bytes(b"" if name == "empty.pt" else b"no weights at all, only a line of text")
        with pytest.raises(ModelError, match=name):
            create_backbone("vit_tiny_patch16_224", checkpoint_path=tmp_path / name, **TINY)


class _Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def test_the_hash_is_sha256_over_sorted_names_dtypes_shapes_and_bytes() -> None:
    model = torch.nn.Module()
    model.register_buffer("b", torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16))
    model.register_buffer("a", torch.tensor(3, dtype=torch.int64))
    expected = hashlib.sha256()
    expected.update(b"a\0torch.int64\0()\0" + (3).to_bytes(8, "little"))
    expected.update(b"b\0torch.bfloat16\0(1, 2)\0" + bytes.fromhex("803f0040"))
    assert backbone_hash(model) == expected.hexdigest()


def test_the_hash_sees_every_change() -> None:
    backbone = create_backbone("vit_tiny_patch16_224", pretrained=False, **TINY)
    seen = {backbone_hash(backbone)}
    with torch.no_grad():
        backbone.blocks[1].mlp.fc2.bias[3] += 1e-6
    seen.add(backbone_hash(backbone))
    seen.add(backbone_hash(backbone.half()))
    assert len(seen) == 3


def test_the_expected_input_is_that_of_the_weights() -> None:
    clip = create_backbone("vit_base_patch16_clip_quickgelu_224", pretrained=False, depth=1)
    assert backbone_input(clip) == BackboneInput(
        height=224,
        width=224,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        interpolation="bicubic",
    )


def openai_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's CLIP tower under OpenAI's names, by the table of the published model."""
    table = {
        "cls_token": "class_embedding", "pos_embed": "positional_embedding", "patch_embed.proj.": "conv1.",
        "norm_pre.": "ln_pre.", "attn.qkv.weight": "attn.in_proj_weight", "attn.qkv.bias": "attn.in_proj_bias",
        "attn.proj.": "attn.out_proj.", "norm1.": "ln_1.", "norm2.": "ln_2.", "mlp.fc1.": "mlp.c_fc.",
        "mlp.fc2.": "mlp.c_proj.",
    }  # fmt: skip
    out: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        target = "ln_post." + name.removeprefix("norm.") if name.startswith("norm.") else name
        for ours, theirs in table.items():
            target = target.replace(ours, theirs)
        target = target.replace("blocks.", "transformer.resblocks.")
        out[target] = tensor.squeeze() if target == "class_embedding" else tensor
        out[target] = tensor[0] if target == "positional_embedding" else out[target]
    return out


@pytest.mark.parametrize("whole", [True, False])
def test_openai_clip_names_become_timms(whole: bool) -> None:
    source = create_backbone("vit_base_patch16_clip_quickgelu_224", pretrained=False, **TINY)
    state = openai_names(source.state_dict())
    if whole:
        state = {f"visual.{name}": tensor for name, tensor in state.items()}
        state["visual.proj"] = torch.zeros(48, 4)
        state["transformer.resblocks.0.ln_1.weight"] = torch.zeros(4)
    converted = openai_clip_to_timm(state)
    assert converted.unused == (("transformer.resblocks.0.ln_1.weight", "visual.proj") if whole else ())
    target = create_backbone("vit_base_patch16_clip_quickgelu_224", pretrained=False, **TINY)
    assert backbone_hash(target) != backbone_hash(source)
    load_backbone_state(target, state, source="the test")
    assert backbone_hash(target) == backbone_hash(source)
