"""Checkpoints that ST-Adapter's authors trained: their tower, their recipe, their logits."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from muybridge.data.clips.dataset import load_views
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig, normalize
from muybridge.data.label_maps import LabelMap
from muybridge.errors import MissingInput, ModelMismatch, UnsafeModelFile
from muybridge.media.video_reader import VideoReader
from muybridge.recognize.model_file import RecognizerFile
from muybridge.recognize.recognizer import CLIP_TOWERS, Recognizer, _openai_tower
from tests.media.numbered_clips import write_clip
from tests.models.st_adapter.test_checkpoint import PlainModel


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("film") / "film.mp4", 40)


def test_a_checkpoint_that_would_execute_code_is_refused(tmp_path):
    torch.save({"model": {"weight": torch.zeros(1), "hook": print}}, tmp_path / "evil.pth")
    with pytest.raises(UnsafeModelFile, match="execute code"):
        Recognizer.from_authors_checkpoint(tmp_path / "evil.pth", LabelMap(("a",), (0,)))


OPTIONS = {"depth": 3, "embed_dim": 64, "num_heads": 1, "img_size": 48}


def test_a_checkpoint_of_the_authors_becomes_a_model_file(tmp_path, film):
    theirs = PlainModel(blocks=3, attention=False, kernel=(3, 1, 1)).eval()
    names = [f"class {number}" for number in range(5)]
    torch.save({"model": theirs.state_dict()}, tmp_path / "whole.pth")
    sampling = SamplingConfig(stride=16, size=(48, 48))
    ours = Recognizer.from_authors_checkpoint(
        tmp_path / "whole.pth", names, sampling=sampling, device="cpu", **OPTIONS
    )
    with torch.no_grad():
        wanted = theirs(normalize(load_views(film, ours.sampling), ours.sampling)).softmax(-1)[0]
    torch.testing.assert_close(ours(film).probabilities, wanted, rtol=0, atol=1e-4)

    # The usual file: trained tensors only, beside CLIP's own.
    state = theirs.state_dict()
    trained = {name: tensor for name, tensor in state.items() if "adapter" in name or name.startswith("fc.")}
    torch.save(trained, tmp_path / "trained.pth")
    torch.save({f"visual.{n}": t for n, t in state.items() if n not in trained}, tmp_path / "clip.pth")
    apart = Recognizer.from_authors_checkpoint(
        tmp_path / "trained.pth",
        names,
        clip_weights=tmp_path / "clip.pth",
        sampling=sampling,
        device="cpu",
        **OPTIONS,
    )
    torch.testing.assert_close(apart(film).probabilities, wanted, rtol=0, atol=1e-4)
    apart.save(tmp_path / "model.safetensors")
    again = Recognizer.from_pretrained(
        tmp_path / "model.safetensors", backbone_weights=tmp_path / "clip.pth", device="cpu"
    )
    torch.testing.assert_close(again(film).probabilities, apart(film).probabilities, rtol=0, atol=0)


def authors_file(path, *, classes=5):
    state = PlainModel(blocks=3, attention=False, kernel=(3, 1, 1)).state_dict()
    state["fc.weight"], state["fc.bias"] = torch.randn(classes, 64), torch.randn(classes)
    torch.save(state, path)
    return path, [f"class {number}" for number in range(classes)]


@pytest.mark.parametrize(
    ("classes", "recipe", "told"),
    [
        (400, None, "recipe of kinetics was assumed"),
        (174, None, "recipe of something-something was assumed"),
        (5, None, "recipe of kinetics was assumed for 5 classes: 8 frames, every 16-th"),
        (174, "kinetics", "174 classes are those of something-something"),
        (400, "something-something", "400 classes are those of kinetics"),
        (400, "kinetics", None),
        (7, "something-something", None),
    ],
)
def test_the_authors_recipe_is_the_default_of_their_checkpoints(tmp_path, classes, recipe, told):
    path, names = authors_file(tmp_path / "whole.pth", classes=classes)
    chosen = recipe or ("something-something" if classes == 174 else "kinetics")
    with pytest.warns(UserWarning, match=told) if told else nullcontext():
        recognizer = Recognizer.from_authors_checkpoint(path, names, recipe=recipe, **OPTIONS)
    recognizer.save(tmp_path / "ours.safetensors")
    weights = tmp_path / "clip.pth"
    torch.save({n: t for n, t in torch.load(path).items() if "adapter" not in n and not n.startswith("fc.")}, weights)
    again = Recognizer.from_pretrained(tmp_path / "ours.safetensors", backbone_weights=weights)
    for each in (recognizer, again):
        sampling = each.sampling
        assert (sampling.frames, sampling.size, sampling.interpolation) == (8, (224, 224), "bicubic")
        assert sampling.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))  # OpenAI CLIP's
        assert sampling.std == pytest.approx((0.26862954, 0.26130258, 0.27577711))
        assert sampling.preprocessing == "authors"
        if chosen == "kinetics":
            assert (sampling.mode, sampling.stride, each.views) == ("dense", 16, ViewConfig(3, 1))
        else:
            assert (sampling.mode, each.views) == ("segments", ViewConfig(1, 3))
        assert each.provenance["recipe"] == chosen


def test_a_file_from_before_there_was_a_choice_has_our_own_preprocessing():
    built_in = Recognizer.from_pretrained("stage_actions", device="cpu")
    assert "preprocessing" not in RecognizerFile.open("stage_actions").file.contract["sampling"]
    assert built_in.sampling.preprocessing == "own"


def test_the_tower_is_openais(tmp_path):
    """Without the tag, timm's name stands for MetaCLIP's weights of the same shape."""
    path, names = authors_file(tmp_path / "whole.pth")
    bare = "vit_base_patch16_clip_quickgelu_224"
    for named in ({}, {"backbone": bare}):
        found = Recognizer.from_authors_checkpoint(path, names, recipe="kinetics", **named, **OPTIONS)
        assert found.backbone.name == f"{bare}.openai"
    given = Recognizer.from_authors_checkpoint(
        path, names, recipe="kinetics", backbone=f"{bare}.metaclip_400m", **OPTIONS
    )
    assert given.backbone.name == f"{bare}.metaclip_400m"
    assert _openai_tower(None, {"adapters.0.mlp.down.weight": torch.zeros(384, 1024)}) == (
        "vit_large_patch14_clip_quickgelu_224.openai"
    )
    assert set(CLIP_TOWERS.values()) <= set(timm.list_models(pretrained=True))


def archive_of(state, path):
    """A TorchScript archive with these tensors, modules nested as the names say."""
    root = torch.nn.Module()
    for name, tensor in state.items():
        *parents, last = name.split(".")
        module = root
        for parent in parents:
            if parent not in dict(module.named_children()):
                module.add_module(parent, torch.nn.Module())
            module = module.get_submodule(parent)
        module.register_parameter(last, torch.nn.Parameter(tensor))
    torch.jit.save(torch.jit.script(root), path)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_openais_own_archive_is_the_tower(tmp_path, film):
    """Published as a TorchScript program, halves in place of floats, the image tower under "visual"."""
    theirs = PlainModel(blocks=3, attention=False, kernel=(3, 1, 1)).eval().half().float()
    state = theirs.state_dict()
    trained = {n: t for n, t in state.items() if "adapter" in n or n.startswith("fc.")}
    torch.save({"model": trained}, tmp_path / "trained.pth")
    tower = {f"visual.{n}": t.half() for n, t in state.items() if n not in trained}
    archive_of({**tower, "logit_scale": torch.tensor(4.6)}, tmp_path / "ViT-B-16.pt")
    sampling = SamplingConfig(stride=16, size=(48, 48), preprocessing="authors")
    recognizer = Recognizer.from_authors_checkpoint(
        tmp_path / "trained.pth",
        list("abcde"),
        clip_weights=str(tmp_path / "ViT-B-16.pt"),
        sampling=sampling,
        device="cpu",
        **OPTIONS,
    )
    with torch.no_grad():
        wanted = theirs(normalize(load_views(film, sampling), sampling)).softmax(-1)[0]
    torch.testing.assert_close(recognizer(film).probabilities, wanted, rtol=0, atol=1e-4)
    recognizer.save(tmp_path / "model.safetensors")
    again = Recognizer.from_pretrained(
        tmp_path / "model.safetensors", backbone_weights=tmp_path / "ViT-B-16.pt", device="cpu"
    )
    assert torch.equal(again(film).probabilities, recognizer(film).probabilities)


def test_an_imported_checkpoint_has_the_authors_logits_in_float64(tmp_path, film):
    """Frames in, logits out: the same arithmetic as theirs from the decoded frames on."""
    theirs = PlainModel(blocks=3, attention=True, kernel=(3, 1, 1)).eval()
    torch.save({"model": theirs.state_dict()}, tmp_path / "whole.pth")
    sampling = SamplingConfig(stride=3, size=(48, 48), preprocessing="authors")
    ours = Recognizer.from_authors_checkpoint(
        tmp_path / "whole.pth", list("abcde"), sampling=sampling, device="cpu", **OPTIONS
    )
    with VideoReader(film) as reader:
        video = torch.from_numpy(np.stack([frame.image for frame in reader])).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (sampling.mean, sampling.std))
    height, width = video.shape[-2:]
    size = (48, width * 48 // height) if height < width else (height * 48 // width, 48)
    pixels = torch.nn.functional.interpolate((video.float() / 255 - mean) / std, size, mode="bicubic")
    top, left = (size[0] - 48) // 2, (size[1] - 48) // 2
    start = (len(pixels) - 22) // 2
    clip = pixels[start : start + 24 : 3, :, top : top + 48, left : left + 48]
    with torch.no_grad():
        wanted = theirs.double()(clip[None].double())
        found = ours.model.double()(normalize(load_views(film, sampling), sampling).double())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(ours.model(clip[None].double()), wanted, rtol=1e-12, atol=1e-12)


def test_labels_of_an_authors_checkpoint_must_be_as_many_as_its_classes(tmp_path):
    theirs = PlainModel(blocks=3, attention=False, kernel=(3, 1, 1))
    torch.save(theirs.state_dict(), tmp_path / "whole.pth")
    with pytest.raises(ModelMismatch, match="5 classes, but given: 2 labels"):
        Recognizer.from_authors_checkpoint(tmp_path / "whole.pth", ["a", "b"], **OPTIONS)
    with pytest.raises(MissingInput, match=r"nowhere\.pth"):
        Recognizer.from_authors_checkpoint(tmp_path / "nowhere.pth", ["a", "b"])
