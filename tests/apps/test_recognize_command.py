"""`muybridge recognize` and `muybridge export` from the command line: answers, files, live sources, mistakes."""

import csv
import io
import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from muybridge.apps.cli import main
from muybridge.artifacts import Artifact
from muybridge.data.clips.sampling import SamplingConfig
from muybridge.data.label_maps import LabelMap
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import load_backbone
from muybridge.recognize.recognizer import Recognizer
from tests.recognize.labelled_clips import write_backbone

NAMES = ("run", "sit", "wave")


def write_model(path: Path, weights: Path, *, causal: bool = False) -> Path:
    backbone, identity = load_backbone("test_vit", weights=weights)
    model = VideoViT(backbone, len(NAMES), adapters=AdapterConfig(width=8, causal=causal))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (*model.adapters.parameters(), *model.head.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    sampling = SamplingConfig(frames=4, rate=5.0, size=(32, 48))
    Recognizer(model, LabelMap(NAMES, (0, 1, 2)), sampling, backbone=identity, device="cpu").save(path)
    return path


def write_noise(path: Path, seconds: float = 2.0, *, rate: int = 10, size: tuple[int, int] = (64, 48)) -> Path:
    random = np.random.default_rng(3)
    with VideoWriter(path, width=size[0], height=size[1], rate=Fraction(rate)) as writer:
        for _ in range(round(seconds * rate)):
            coarse = random.integers(0, 256, (size[1] // 8, size[0] // 8, 3))
            writer.write(np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with a model, a causal one, their backbone's weights, and another backbone's."""
    folder = tmp_path_factory.mktemp("models")
    write_backbone(folder / "vit.safetensors")
    write_backbone(folder / "other.safetensors", seed=1)
    write_model(folder / "model.safetensors", folder / "vit.safetensors")
    write_model(folder / "causal.safetensors", folder / "vit.safetensors", causal=True)
    return folder


@pytest.fixture
def run(models, tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder with the model; gives code, output and what was said beside it."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, model: str = "model", command: str = "recognize") -> tuple[int, str, str]:
        name = str(models / f"{model}.safetensors")
        given = [name] if command == "export" else [] if "--model" in arguments else ["--model", name]
        if "--backbone-weights" not in arguments:
            given += ["--backbone-weights", str(models / "vit.safetensors")]
        with pytest.raises(SystemExit) as stopped:
            main([command, *given, *arguments])
        printed = capsys.readouterr()
        return stopped.value.code, printed.out, printed.err

    return call


def test_a_short_clip_has_its_label_and_the_runners_up(run):
    write_noise(Path("clip.mp4"), 0.7)
    code, out, _ = run("clip.mp4")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "clip.mp4"
    assert lines[1].startswith("   0:00.00 -  0:00.70")
    assert sorted(line.split()[-1] for line in lines[1:]) == sorted(NAMES)
    assert len(run("clip.mp4", "--top", "2")[1].splitlines()) == 3


def test_json_holds_spans_and_every_window_with_its_scores(run, models):
    clip = write_noise(Path("clip.mp4"))
    code, out, _ = run("clip.mp4", "--format", "json", "--window", "1s", "--step", "500ms", "--top", "2")
    (told,) = json.loads(out)
    assert code == 0
    assert told["file"] == "clip.mp4"
    assert [(w["start"], w["end"]) for w in told["windows"]] == [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)]
    assert all(len(window["top"]) == 2 for window in told["windows"])
    assert told["spans"][0]["start"] == 0.0 and told["spans"][-1]["end"] == 2.0

    # The first window is 1 s, of which the model sees the middle .8 s: frames at .1, .3, .5 and .7 s.
    own = Recognizer.from_pretrained(
        models / "model.safetensors", backbone_weights=models / "vit.safetensors", device="cpu"
    )
    with VideoReader(clip) as reader:
        frames = np.stack([frame.image for frame in reader])[[1, 3, 5, 7]]
    (label, score), _ = own(frames).top(2)
    assert told["windows"][0]["top"][0] == {"label": label, "score": pytest.approx(score, abs=2e-4)}


def test_csv_of_several_files_is_one_table_in_a_file(run):
    write_noise(Path("a.mp4"))
    write_noise(Path("b, c.mp4"))
    code, out, _ = run("a.mp4", "b, c.mp4", "--format", "csv", "-o", "answers/all.csv")
    assert (code, out) == (0, "answers/all.csv\n")
    rows = list(csv.DictReader(io.StringIO(Path("answers/all.csv").read_text())))
    assert {row["file"] for row in rows} == {"a.mp4", "b, c.mp4"}
    for name in ("a.mp4", "b, c.mp4"):
        own = [row for row in rows if row["file"] == name]
        assert float(own[0]["start_seconds"]) == 0.0 and float(own[-1]["end_seconds"]) == 2.0
        assert all(row["label"] in NAMES and 0 < float(row["score"]) <= 1 for row in own)
    assert [path.name for path in Path("answers").iterdir()] == ["all.csv"]


def test_names_that_strangers_chose_do_no_harm(run):
    names = ["=1+1.mp4", "\x1b[2J.mp4", os.fsdecode(b"caf\xe9.mp4")]
    for name in names:
        write_noise(Path(name), 0.5)
    code, out, err = run(*names)
    assert code == 0
    assert [line for line in out.splitlines() if "mp4" in line] == ["=1+1.mp4", r"\x1b[2J.mp4", r"caf\udce9.mp4"]
    code, out, err = run(*names, "--format", "csv")
    cells = {row["file"] for row in csv.DictReader(io.StringIO(out))}
    assert cells == {"'=1+1.mp4", r"\x1b[2J.mp4", r"caf\udce9.mp4"}
    code, out, err = run(*names, "--format", "json")
    assert {answer["file"] for answer in json.loads(out)} == set(names)
    (code, out, err) = run("\x1b[2Jnowhere.mp4")
    assert code == 2 and r"\x1b[2Jnowhere.mp4" in err and "\x1b" not in err


def test_a_threshold_nobody_reaches_leaves_no_span(run):
    write_noise(Path("clip.mp4"))
    assert "no span is above the threshold" in run("clip.mp4", "--threshold", "1")[1]


def test_an_overlay_is_written_beside_the_answers(run):
    write_noise(Path("clip.mp4"), size=(320, 240))
    code, out, _ = run("clip.mp4", "--overlay", "over.mp4")
    assert code == 0
    assert "over.mp4" in out.splitlines()
    with VideoReader("clip.mp4") as before, VideoReader("over.mp4") as after:
        assert [f.pts_seconds for f in before] == [f.pts_seconds for f in after]
    assert sorted(path.name for path in Path().iterdir()) == ["clip.mp4", "over.mp4"]


def test_shots_are_asked_for_by_a_flag(run):
    pytest.importorskip("scenedetect")
    write_noise(Path("clip.mp4"))
    code, out, _ = run("clip.mp4", "--shots")
    assert code == 0 and out.startswith("clip.mp4")


def test_one_broken_file_is_named_and_the_rest_goes_on(run):
    Path("films").mkdir()
    write_noise(Path("films/a.mp4"))
    write_noise(Path("films/c.mp4"))
    Path("films/b.mp4").write_bytes(b"\0" * 500)
    code, out, err = run("films", "--format", "csv")
    assert code == 2
    assert {row["file"] for row in csv.DictReader(io.StringIO(out))} == {"films/a.mp4", "films/c.mp4"}
    assert "films/b.mp4" in err and "1 of 3 inputs failed" in err


# ---- live ----


def live(path: Path) -> str:
    """An address, which is read as a stream that nobody knows the end of."""
    return f"async:file://{path.resolve()}"  # for FFmpeg the same film, for us an address


def test_a_live_source_has_a_line_a_window(run):
    address = live(write_noise(Path("clip.mp4"), 3.0))
    code, out, _ = run(address, "--window", "1s", "--step", "1s", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [round(float(row["end_seconds"])) for row in rows] == [1, 2, 3]
    assert all(row["file"] == address and row["label"] in NAMES for row in rows)


def test_a_causal_model_answers_after_every_frame(run):
    address = live(write_noise(Path("clip.mp4"), 2.0))
    code, out, _ = run(address, "--format", "json", model="causal")
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [answer["start"] for answer in told] == pytest.approx([0.2 * i for i in range(10)], abs=0.11)
    assert len(run(address, model="causal")[1].splitlines()) == 10
    assert len(run(address, "--window", "1s", "--step", "1s", model="causal")[1].splitlines()) == 2


def test_ctrl_c_ends_a_live_source_without_a_fuss(run, monkeypatch):
    address = live(write_noise(Path("clip.mp4"), 2.0))
    real = VideoReader.__iter__

    def interrupted(reader):
        for frame in real(reader):
            if frame.index == 12:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(VideoReader, "__iter__", interrupted)
    code, out, err = run(address, model="causal")
    assert (code, err) == (0, "")
    assert 5 <= len(out.splitlines()) <= 7


# ---- mistakes ----


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.mp4"], "nowhere.mp4"),
        (["empty"], "no pictures and no videos"),
        (["text.mp4"], "text.mp4"),
        (["still.png"], "is a picture"),
        (["clip.mp4", "--window", "soon"], "--window: 'soon' is no length of time"),
        (["clip.mp4", "--window", "1s", "--step", "2s"], "passes over"),
        (["clip.mp4", "--top", "0"], "top=0"),
        (["clip.mp4", "--threshold", "3"], "threshold=3"),
        (["clip.mp4", "--overlay", "clip.mp4"], "would replace"),
        (["clip.mp4", "-o", "clip.mp4"], "clip.mp4 would be replaced"),
        (["clip.mp4", "-o", "painter.safetensors", "--model", "./painter.safetensors"], "would be replaced"),
        (["clip.mp4", "-o", "over.mp4", "--overlay", "over.mp4"], "would be replaced"),
        (["clip.mp4", "--window", "1e999"], "window_seconds=inf"),
        (["clip.mp4", "--overlay", "over.txt"], "over.txt"),
        (["clip.mp4", "--batch-size", "100000000"], "batch_size=100000000 windows at once needs"),
        (["clip.mp4", "--step", "0.0000001s"], "step_seconds=1e-07"),
        (["clip.mp4", "-o", "text.mp4/answers.csv"], "cannot write"),
        (["clip.mp4", "--model", "painter.safetensors"], "'stylize'"),
        (["clip.mp4", "--model", "pickled.pt"], "pickle"),
        (["clip.mp4", "--backbone-weights", "OTHER"], "hash"),
        (["async:file://x.mp4", "--overlay", "over.mp4"], "--overlay needs a file"),
        (["async:file://x.mp4", "--shots"], "--shots needs a file"),
        (["async:file://x.mp4", "-o", "answers.csv"], "--out needs a file"),
        (["/dev/video97"], "/dev/video97 cannot be opened"),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(run, models, arguments, says):
    Path("empty").mkdir()
    Path("text.mp4").write_text("not a video\n" * 40)
    write_noise(Path("clip.mp4"), 0.5)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save("still.png")
    Artifact("stylize", {}, {"x": torch.zeros(1)}).save("painter.safetensors")
    torch.save({"a": torch.zeros(1)}, "pickled.pt")
    before = sorted(Path().iterdir())
    code, out, err = run(*[argument.replace("OTHER", str(models / "other.safetensors")) for argument in arguments])
    assert code == 2
    assert says in err
    assert err.startswith("muybridge: ") and err.count("\n") == 1
    assert out == ""
    assert sorted(Path().iterdir()) == before


def test_too_little_memory_says_which_flag_helps(run, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(VideoViT, "forward_prefix", full)
    write_noise(Path("clip.mp4"))
    code, _, err = run("clip.mp4")
    assert code == 2
    assert "--batch-size" in err and "Traceback" not in err


def test_a_missing_extra_names_the_command_that_installs_it(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scenedetect", None)
    write_noise(Path("clip.mp4"))
    code, _, err = run("clip.mp4", "--shots")
    assert code == 2
    assert "pip install 'muybridge[shots]'" in err


# ---- export ----


@pytest.mark.slow
def test_export_writes_a_program_and_says_how_near_it_is(run, models):
    code, out, _ = run("-o", "model.pt2", command="export")
    assert code == 0
    assert out.startswith("model.pt2: ") and "logits differ by" in out
    program = torch.export.load("model.pt2").module()
    clips = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 4, 3, 32, 48), np.uint8))
    own = Recognizer.from_pretrained(
        models / "model.safetensors", backbone_weights=models / "vit.safetensors", device="cpu"
    )
    torch.testing.assert_close(program(clips)[0], own.logits(clips), rtol=0, atol=1e-4)


def test_export_to_an_unknown_kind_of_file_is_refused(run):
    code, _, err = run("-o", "model.tflite", command="export")
    assert code == 2
    assert ".onnx or .pt2" in err
    assert list(Path().iterdir()) == []
