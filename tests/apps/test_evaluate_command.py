"""`muybridge evaluate recognizer`: tables, a JSON file, a page, and mistakes in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from muybridge.apps.cli import main
from muybridge.artifacts import Artifact
from muybridge.data.clips.sampling import SamplingConfig
from muybridge.data.label_maps import LabelMap
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.pretrained import load_backbone
from muybridge.recognize.recognizer import Recognizer
from tests.recognize.labelled_clips import write_backbone, write_folders


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three clips of two classes, and an untrained model of three that says "red" whatever it sees."""
    folder = tmp_path_factory.mktemp("made")
    weights = write_backbone(folder / "tiny.safetensors")
    write_folders(folder / "clips", {"red": 2, "blue": 1})
    (folder / "clips" / "red" / "broken.mp4").write_bytes(b"not a film")
    backbone, identity = load_backbone("test_vit", weights=weights)
    network = VideoViT(backbone, 3)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([0.0, 0.0, 5.0]))
    sampling, labels = SamplingConfig(frames=2, size=(32, 32)), LabelMap(("blue", "green", "red"), (0, 1, 2))
    recognizer = Recognizer(
        network, labels, sampling, backbone=identity, device="cpu", provenance={"made": "by a test"}
    )
    recognizer.save(folder / "m.safetensors")
    Artifact("stylize", {}, {"x": torch.zeros(1)}).save(folder / "style.safetensors")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "recognizer", *arguments, "--backbone-weights", "tiny.safetensors", "--device", "cpu"])
    return stopped.value.code


def test_tables_and_a_json_file(here, capsys):
    code = run("clips", "-m", "m.safetensors", "-o", "scores.json", "--report", "page.html", "--spatial-views", "3")
    assert code == 0
    shown = capsys.readouterr().out
    assert "66.7 %" in shown and "frames shuffled" in shown and "blue" in shown
    assert "not counted, since it cannot be read: 1 clip" in shown and "broken.mp4" in shown
    scores = json.loads(Path("scores.json").read_text())
    assert scores["top1"] == pytest.approx(2 / 3)
    assert scores["order_gap"] == 0
    assert (scores["clips"], scores["left_out"]) == (3, ["clips/red/broken.mp4"])
    assert scores["classes"]["red"] == {"clips": 2, "score": 1.0}
    assert scores["classes"]["green"] == {"clips": 0, "score": None}
    assert "Confusion" in Path("page.html").read_text()


def test_without_the_order_report(here, capsys):
    assert run("clips", "-m", "m.safetensors", "--no-order", "-o", "scores.json") == 0
    assert "shuffled" not in capsys.readouterr().out
    assert "order_gap" not in json.loads(Path("scores.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["clips", "-m", "style.safetensors"], "'stylize', but 'recognize' was asked for"),
        (["clips", "-m", "gone.safetensors"], "gone.safetensors"),
        (["nowhere", "-m", "m.safetensors"], "nowhere"),
        (["clips", "-m", "m.safetensors", "--split", "val"], "split='val'"),
        (["clips", "-m", "m.safetensors", "--split", "held-out"], "held-out"),
        (["clips", "-m", "m.safetensors", "--spatial-views", "2"], "spatial=2"),
        (["clips", "-m", "m.safetensors", "-o", "clips"], "clips"),
        (["clips", "-m", "m.safetensors", "-o", "./m.safetensors"], "m.safetensors would be replaced"),
        (["list.csv", "-m", "m.safetensors", "--report", "list.csv"], "list.csv would be replaced"),
        (["clips", "-m", "m.safetensors", "-o", "x.json", "--report", "x.json"], "x.json would be replaced"),
        (["clips", "-m", "m.safetensors", "--batch-size", "0"], "batch_size=0"),
        (["clips", "-m", "m.safetensors", "--workers", "-1"], "workers=-1"),
    ],
)
def test_mistakes_are_one_line(here, capsys, arguments, says):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error


@pytest.mark.parametrize("method", ["forward_prefix", "forward_from_prefix"])
def test_too_little_memory_says_which_flag_helps(here, capsys, monkeypatch, method):
    def full(self, *arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(VideoViT, method, full)
    assert run("clips", "-m", "m.safetensors") == 2
    assert "--batch-size" in capsys.readouterr().err
