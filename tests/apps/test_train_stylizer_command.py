"""`muybridge train stylizer`: from photographs to a file that paints."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

from muybridge.apps.cli import main
from muybridge.artifacts import load_artifact
from muybridge.stylize import train as stylizer_training
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


def test_a_run_goes_on_with_the_same_photographs_alone(photos, capsys):
    arguments = ["photos", "--encoder", "builtin", "-o", "mine.safetensors", "--steps", "2"]
    assert run(*arguments) == 0
    Image.fromarray(smooth_picture(70, 90, 9)).save("photos/photo 9.png")
    assert run(*arguments, "--resume") == 2
    assert "photographs was 3, now 4" in capsys.readouterr().err


def test_what_cannot_be_resumed_is_told_before_photographs_are_looked_for(photos, capsys, monkeypatch):
    arguments = ["photos", "--encoder", "builtin", "--steps", "2"]
    assert run(*arguments, "-o", "mine.safetensors") == 0
    monkeypatch.setattr(stylizer_training, "find_photographs", None)
    assert run(*arguments, "-o", "other.safetensors", "--resume") == 2
    assert "Start without --resume" in capsys.readouterr().err
    assert run("photos", "--encoder", "vgg19", "-o", "mine.safetensors", "--resume") == 2
    assert "encoder was 'builtin', now 'vgg19'" in capsys.readouterr().err


def test_of_processes_that_train_together_only_the_first_speaks_and_writes(photos, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")  # as torchrun tells the second
    assert run("photos", "--encoder", "builtin", "-o", "mine.safetensors", "--steps", "1") == 0
    assert capsys.readouterr().out == ""
    assert not Path("mine.safetensors").exists()
    monkeypatch.setenv("RANK", "0")
    assert run("photos", "--encoder", "builtin", "-o", "mine.safetensors", "--steps", "1") == 0
    assert capsys.readouterr().out.startswith("mine.safetensors: psnr ")
    assert Path("mine.safetensors").is_file()


def test_photographs_that_cannot_be_read_are_named_and_left_out(photos):
    """The first would be held out, and the others be trained on."""
    Path("photos/a.jpg").write_bytes(b"hello")
    whole = Path("photos/photo 1.png").read_bytes()
    Path("photos/photo 1.png").write_bytes(whole[: len(whole) // 2])
    Path("photos/z.png").write_bytes(b"")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "muybridge.apps.cli", "train", "stylizer", "photos", "--encoder", "builtin"),
            *("-o", "mine.safetensors", "--steps", "6", "--short-side", "48", "--crop", "32", "--batch-size", "2"),
            *("--workers", "2", "--device", "cpu"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("a.jpg", "photo 1.png", "z.png"):
        lines = [line for line in done.stderr.splitlines() if name in line]
        assert len(lines) == 1 and lines[0].startswith("muybridge: note: left out: photos/"), done.stderr
    assert Path("mine.safetensors").is_file()


@pytest.mark.parametrize(
    ("sound", "says"),
    [
        (slice(0), "none of the 4 photographs can be read"),
        (slice(0, 1), "none of the 3 photographs can be read"),  # beside the one that is held out
        (slice(3, 4), "1 of 4 photographs can be read, too few"),
    ],
)
def test_too_few_photographs_that_can_be_read_are_refused(photos, capsys, sound, says):
    paths = sorted(Path("photos").iterdir())
    for path in set(paths) - set(paths[sound]):
        path.write_bytes(b"hello")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run("photos", "--encoder", "builtin", "-o", "out.safetensors", "--steps", "2") == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
    assert not Path("out.safetensors").exists()


def test_a_group_of_processes_that_is_ended_says_one_line(photos):
    """As a service manager ends it: those that read are ended with the one that trains."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "muybridge.apps.cli", "train", "stylizer", "photos", "--encoder", "builtin"),
            *("-o", "mine.safetensors", "--steps", "100000", "--short-side", "48", "--crop", "32"),
            *("--batch-size", "2", "--workers", "2", "--device", "cpu"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    history, deadline = Path("mine.training/history.jsonl"), time.monotonic() + 120
    while not (history.exists() and history.stat().st_size):
        assert process.poll() is None and time.monotonic() < deadline, "it never began to train"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "muybridge: interrupted, nothing half-written is left"
    assert "Traceback" not in error and "Exception" not in error


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
        (["photos/photo 1.png"], "1 photograph: too few to train on and hold one out. Give at least 2"),
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
