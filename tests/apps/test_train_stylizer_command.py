"""`muybridge train stylizer`: from photographs to a file that paints."""

import json
import sys
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

from muybridge.apps.cli import main
from muybridge.artifacts import load_artifact
from muybridge.stylize.stylizer import Stylizer
from tests.stylize.conftest import random_vgg19_state, smooth_picture


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i in range(4):
        Image.fromarray(smooth_picture(70, 90, i)).save(f"photos/photo {i}.png")
    return tmp_path


def run(*arguments: str) -> int:
    small = ["--short-side", "48", "--crop", "32", "--batch-size", "2", "--workers", "0", "--device", "cpu"]
    with pytest.raises(SystemExit) as stopped:
        main(["train", "stylizer", *arguments, *small])
    return stopped.value.code


def test_a_decoder_learns_to_reconstruct_and_a_stopped_run_goes_on(photos, capsys):
    arguments = ["photos", "--encoder", "builtin", "-o", "mine.safetensors", "--learning-rate", "1e-3"]
    assert run(*arguments, "--steps", "20", "--save-every", "10") == 0
    assert "psnr" in capsys.readouterr().out
    assert run(*arguments, "--steps", "60", "--save-every", "10", "--resume") == 0
    rows = [json.loads(line) for line in Path("mine.training/history.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    stylizer = Stylizer.from_pretrained("mine.safetensors", device="cpu")
    assert stylizer(smooth_picture(40, 50), "ember", style_size=48).shape == (40, 50, 3)
    built_in = Stylizer.from_pretrained(device="cpu")
    for name, tensor in built_in.network.encoder.state_dict().items():
        assert torch.equal(stylizer.network.encoder.state_dict()[name], tensor)  # frozen
    assert load_artifact("mine.safetensors", task="stylize").provenance["photographs"] == 3


def test_vgg19_from_disk_trains_and_is_named_not_copied(photos):
    torch.save(random_vgg19_state(), "vgg19.pth")
    assert run("photos", "--encoder", "vgg19.pth", "-o", "vgg.safetensors", "--steps", "1") == 0
    artifact = load_artifact("vgg.safetensors", task="stylize")
    assert artifact.contract["encoder"]["source"] == "torchvision/vgg19"
    assert all(name.startswith("decoder.") for name in artifact.tensors)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere"),
        (["photos/photo 1.png"], "too few"),
        (["photos", "--encoder", "resnet"], "encoder='resnet'"),
        (["photos", "--encoder", "gone.pth"], "gone.pth"),
        (["photos", "--encoder", "trap.pth"], "refused"),
        (["photos", "--resume"], "Start without --resume"),
    ],
)
def test_mistakes_are_one_line(photos, capsys, arguments, says):
    import pickle

    Path("trap.pth").write_bytes(pickle.dumps(Image.new))
    encoder = [] if "--encoder" in arguments else ["--encoder", "builtin"]
    assert run(*arguments, *encoder, "-o", "out.safetensors") == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
    assert not Path("out.safetensors").exists()


def test_a_crop_larger_than_the_photograph_is_refused(photos, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "stylizer", "photos", "-o", "x.safetensors", "--short-side", "64", "--crop", "96"])
    assert stopped.value.code == 2
    assert "crop=96" in capsys.readouterr().err


def test_a_warning_is_a_line_for_the_user(photos, capsys, monkeypatch):
    monkeypatch.setattr("warnings.showwarning", _shown)  # pytest keeps warnings to itself
    Path("noise.tar").write_bytes(b"x" * 2000)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run("noise.tar", "photos", "--encoder", "builtin", "-o", "out.safetensors", "--steps", "1") == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("muybridge: note: noise.tar cannot be read to its end")


def _shown(*warning: object) -> None:
    sys.stderr.write(warnings.formatwarning(*warning[:4]))
