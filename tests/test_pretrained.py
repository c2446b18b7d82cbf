"""Backbones by name, and the check that a model meets the weights it was trained on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from muybridge.errors import ModelError, ModelMismatch, OptionError
from muybridge.pretrained import load_backbone, reload_backbone


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    backbone, _ = load_backbone("test_vit", random=True)
    path = tmp_path / "tiny.safetensors"
    save_file(backbone.state_dict(), path)
    return path


def test_a_file_brings_its_weights_and_its_hash(saved: Path) -> None:
    first, identity = load_backbone("test_vit", weights=saved)
    again = reload_backbone(identity, weights=saved)
    assert identity.source == "tiny.safetensors"
    frame = torch.rand(1, 3, 160, 160)
    torch.testing.assert_close(first(frame), again(frame), rtol=0, atol=0)


def test_other_weights_are_refused(saved: Path, tmp_path: Path) -> None:
    _, identity = load_backbone("test_vit", weights=saved)
    torch.manual_seed(4)
    other, _ = load_backbone("test_vit", random=True)
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ModelMismatch, match="--backbone-weights"):
        reload_backbone(identity, weights=tmp_path / "other.safetensors")


@pytest.mark.parametrize("source", ["tiny.safetensors", "random"])
def test_weights_that_no_name_brings_must_be_given(saved: Path, source: str) -> None:
    _, identity = load_backbone("test_vit", weights=saved)
    with pytest.raises(ModelError, match="--backbone-weights"):
        reload_backbone(replace(identity, source=source))


def test_an_unknown_backbone_is_a_clear_error() -> None:
    with pytest.raises(OptionError, match="Did you mean"):
        load_backbone("vit_base_patch16_242")


def test_another_picture_size_is_remembered(saved: Path) -> None:
    _, identity = load_backbone("test_vit", weights=saved, img_size=96)
    assert identity.options == {"img_size": 96}
    assert reload_backbone(identity, weights=saved).patch_embed.img_size == (96, 96)
