"""`muybridge train recognizer`: from the words of a command to a file."""

import shutil
from pathlib import Path

import pytest

from muybridge.apps.cli import main
from muybridge.artifacts import load_artifact
from muybridge.data.clips.lists import read_clip_list
from muybridge.models.st_adapter.video_vit import AdapterConfig
from muybridge.recognize import train as task
from muybridge.recognize.options import ClipData, TrainingPlan
from tests.recognize.labelled_clips import write_backbone, write_folders

SMALL = ["--backbone", "test_vit", "--backbone-weights", "tiny.safetensors", "--frames", "3", "--size", "32",
         "--batch-size", "4", "--workers", "0", "--device", "cpu", "--no-motion", "--width", "8"]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_backbone(folder / "tiny.safetensors")
    write_folders(folder / "clips", {"red": 4, "blue": 4})
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "recognizer", *arguments])
    return stopped.value.code


def test_one_command_makes_a_file_and_a_report_and_evaluate_reads_it(here, capsys):
    assert (
        run(
            "clips",
            "-o",
            "out/mine.safetensors",
            *SMALL,
            "--steps",
            "4",
            "--patience",
            "0",
            "--frequency-scales",
            "1",
            "2",
        )
        == 0
    )
    shown = capsys.readouterr()
    assert "backbone test_vit" in shown.out and "frozen" in shown.out and "trained in all" in shown.out
    assert "memory:" in shown.out and "top1" in shown.out
    assert "recognizer: 4/4 steps" in shown.err
    assert Path("out/mine.html").is_file()
    architecture = load_artifact("out/mine.safetensors", task="recognize").architecture
    assert architecture["adapters"]["frequency_scales"] == [1, 2]

    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "recognizer", "clips", "-m", "out/mine.safetensors", "--split", "held-out",
              "--backbone-weights", "tiny.safetensors", "--device", "cpu"])  # fmt: skip
    assert stopped.value.code == 0
    assert "top-1" in capsys.readouterr().out
    data = load_artifact("out/mine.safetensors", task="recognize").provenance["data_fingerprint"]
    assert data == read_clip_list(Path("clips"))["all"].fingerprint()


def test_with_nothing_held_out_the_file_alone_is_named(here, capsys):
    small = [word for word in SMALL if word not in ("--width", "8")]
    assert run("clips", "-o", "mine.safetensors", *small, "--held-out", "0", "--method", "head") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["mine.safetensors", "report: mine.html"]


def planned(monkeypatch, *arguments: str) -> TrainingPlan:
    """The plan that a command line makes, without training."""
    plans: list[TrainingPlan] = []

    class Planned(Exception):
        pass

    def stop(plan, *_, **__):
        plans.append(plan)
        raise Planned

    monkeypatch.setattr(task, "train", stop)
    with pytest.raises(Planned):
        main(["train", "recognizer", "clips", "-o", "x.safetensors", *arguments])
    return plans[0]


def test_the_command_s_defaults_are_those_of_the_library(monkeypatch):
    assert planned(monkeypatch) == TrainingPlan(ClipData(Path("clips")))


def test_a_cache_goes_without_augmentation(monkeypatch):
    plan = planned(monkeypatch, "--cache", "kept", "--cache-views", "3", "--blocks", "2")
    assert (plan.cache, plan.cache_views) == (Path("kept"), 3)
    assert plan.resolved(None, "auto").augmentation.crop == "center"


def test_every_option_reaches_the_plan(monkeypatch):
    plan = planned(
        monkeypatch, "--kernel", "3", "3", "3", "--placement", "attention+mlp", "--blocks", "2", "--causal",
        "--activation", "gelu", "--readout", "patch_mean", "--dropout", "0.1", "--sampling", "segments",
        "--frames", "16", "--stride", "4", "--flip", "--mirror", "left=right", "--reverse", "open=close",
        "--rand-augment", "4", "--color", "0.2", "--epochs", "5", "--learning-rate-per-256", "1e-3",
        "--batch-size", "32",
        "--accumulate", "2", "--precision", "bf16-mixed", "--patience", "3", "--class-balance", "draws",
        "--held-out", "0.1", "--tensorboard", "--seed", "7", "--group-pattern", "(s\\d+)", "--no-motion",
    )  # fmt: skip
    assert plan.model.adapters == AdapterConfig(
        kernel=(3, 3, 3), placement="attention+mlp", blocks=2, causal=True, activation="gelu"
    )
    assert (plan.model.readout, plan.model.dropout, plan.model.motion) == ("patch_mean", 0.1, False)
    assert (plan.sampling.mode, plan.sampling.frames, plan.sampling.stride) == ("segments", 16, 4)
    assert plan.augmentation.mirrored_labels == {"left": "right", "right": "left"}
    assert plan.augmentation.reversed_labels == {"open": "close", "close": "open"}
    assert (plan.augmentation.flip, plan.augmentation.rand_augment, plan.augmentation.color) == (True, 4, 0.2)
    assert plan.resolved(None, "auto").config.learning_rate == pytest.approx(1e-3 * 32 / 256)
    assert (plan.config.accumulate, plan.config.precision, plan.config.patience) == (2, "bf16-mixed", 3)
    assert (plan.config.tensorboard, plan.config.seed, plan.config.epochs) == (True, 7, 5)
    assert (plan.data.balance, plan.data.held_out, plan.data.group_pattern) == ("draws", 0.1, "(s\\d+)")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere"),
        (["clips", "--method", "head", "--causal"], "method='head' has no adapters"),
        (["clips", "--causal", "--motion"], "--no-motion"),
        (["clips", "--learning-rate", "1", "--learning-rate-per-256", "1"], "Give one of them"),
        (["clips", "--mirror", "left"], "mirror 'left'"),
        (["clips", "--cache", "kept", "--flip"], "--crop center"),
        (["clips", *SMALL, "--cache", "kept"], "Give --blocks"),
        (["clips", "--backbone", "vit_hugest"], "backbone='vit_hugest'"),
        (["clips", "--backbone", "vit_tiny_patch16_224"], "vit_tiny_patch16_224"),
        (["clips", "--kernel", "2", "1", "1"], "kernel=(2, 1, 1)"),
        (["clips", "--steps", "-1"], "steps=-1"),
        (["clips", "--held-out", "1"], "held_out=1.0"),
        (["clips", *SMALL, "--resume"], "Start without --resume"),
        (["clips", *SMALL, "--precision", "64"], "64"),
    ],
)
def test_mistakes_are_one_line(here, capsys, arguments, says):
    assert run(*arguments, "-o", "out.safetensors") == 2
    error = capsys.readouterr()
    assert says in error.err + error.out and "Traceback" not in error.err
    assert not Path("out.safetensors").exists()


@pytest.mark.parametrize("name", ["out.html", "clips.csv", "out"])
def test_what_is_no_name_of_a_model_file_is_refused_before_anything_is_done(here, capsys, name):
    Path("clips.csv").write_text("path,label\n")
    assert run("clips", *SMALL, "-o", name) == 2
    error = capsys.readouterr()
    assert f"{name} is no name of a model file" in error.err + error.out
    assert Path("clips.csv").read_text() == "path,label\n" and not Path(name).with_suffix(".training").exists()
