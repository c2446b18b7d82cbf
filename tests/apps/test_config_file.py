"""`--config`: options from a file, and a training repeated from a model file."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from muybridge.apps.cli import main
from muybridge.artifacts import load_artifact
from muybridge.localize.options import BankPlan, BoxData, LocalizerConfig, LocalizerPlan
from muybridge.models.st_adapter.config import AdapterConfig
from muybridge.options import configuration
from muybridge.recognize import train as recognizer
from muybridge.recognize.options import ClipData, RecognizerConfig, RecognizerFitConfig, TrainingPlan
from tests.recognize.labelled_clips import write_backbone, write_folders


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def planned(monkeypatch, *arguments: str, verb: str = "recognizer"):
    """The plan that a command line makes, without training."""
    import muybridge.localize.train as localizer

    class Planned(Exception):
        pass

    def stop(plan, *_, **__):
        raise Planned(plan)

    for module in (recognizer, localizer):
        monkeypatch.setattr(module, "train", stop)
    with pytest.raises(Planned) as planned:
        main(["train", verb, "-o", "x.safetensors", *arguments])
    return planned.value.args[0]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_values_come_from_the_file_and_flags_come_before_them(here, monkeypatch):
    Path("run.yaml").write_text(
        "data: clips\nepochs: 3\nbatch-size: 5\nlearning_rate: 1e-3\nkernel: [3, 3, 3]\ncausal: true\n"
        "sampling: segments\nmirror: [left=right, up=down]\nstride: null\n"
    )
    plan = planned(monkeypatch, "--config", "run.yaml", "--batch-size", "7")
    assert plan.data == ClipData(Path("clips"))
    assert plan.config == RecognizerFitConfig(epochs=3, batch_size=7, learning_rate=1e-3)
    assert plan.model.adapters == AdapterConfig(kernel=(3, 3, 3), causal=True)
    assert (plan.sampling.mode, plan.augmentation.mirror) == ("segments", ("left=right", "up=down"))
    assert planned(monkeypatch, "other", "--config", "run.yaml").data == ClipData(Path("other"))


@pytest.mark.parametrize(
    ("verb", "plan"),
    [
        (
            "recognizer",
            TrainingPlan(
                ClipData(Path("clips"), balance="draws", root=Path("..")),
                model=RecognizerConfig(adapters=AdapterConfig(frequency_scales=(1, 2))),
                augment=("stylize=ember:0.3",),
            ),
        ),
        (
            "localizer",
            LocalizerPlan(
                BoxData(Path("a.csv"), videos=Path("v"), labels=Path("l.txt"), every_seconds=0.25, balance=True),
                model=LocalizerConfig(trunk="muybridge_vit", adapter_width=4),
                bank=BankPlan(Path("banks")),
            ),
        ),
    ],
)
def test_a_configuration_that_is_written_is_read_as_the_same_plan(here, monkeypatch, verb, plan):
    lines = [f"{name}: {json.dumps(value)}" for name, value in configuration(plan).items()]
    Path("run.yaml").write_text("\n".join(lines))
    assert planned(monkeypatch, "--config", "run.yaml", verb=verb) == plan


def test_a_model_file_tells_nothing_of_this_machine_s_folders(tmp_path):
    plan = TrainingPlan(
        ClipData(tmp_path / "clips", root=Path("clips/all"), group_pattern="/(s[0-9]+)/"),
        initialize=str(tmp_path),
        augment=(f"stylize=ember,{tmp_path}:0.3",),
    )
    flags = configuration(plan, folders=False)
    assert (flags["data"], flags["root"], flags["group-pattern"]) == ("clips", "clips/all", "/(s[0-9]+)/")
    assert flags["initialize"] == tmp_path.name and flags["augment"] == [f"stylize=ember,{tmp_path.name}:0.3"]
    assert configuration(plan)["data"] == str(tmp_path / "clips")


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("epohcs: 3", "Did you mean epochs"),
        ("config: other.yaml", "no option 'config'"),
        ("epochs: many", "epochs"),
        ("epochs: {a: 1}", "line 1: a file of options has no values within values"),
        ("kernel: [[3], 1, 1]", "no values within values"),
        ("batch-size: 3\n\nbatch-size: 4", "line 3: batch-size is given twice"),
        ("held-out: 1.5", "held_out=1.5"),
        ("data: !!python/object/apply:os.system ['touch trap']", "plain values alone"),
        ("data: !!python/name:os.system", "plain values alone"),
        (BOMB, "plain values alone"),
        ("[" * 5000, "no values within values"),
        ("a: " + "{a: " * 5000, "no values within values"),
        ("- epochs\n- 3", "holds no options"),
        ("3", "holds no options"),
        ("", "holds no options"),
        ("epochs: 2024-01-01", "plain value"),
        ("3: 4", "3 is no option"),
        ("epochs: 'x", "is no YAML"),
        ("epochs:\t- 3\n\tx", "is no YAML"),
        ("a: 1\n" * 400_000, "larger than"),
        (b"\xff\xfe\x00epochs", "is no YAML"),
        (b"epochs: \x00", "is no YAML"),
    ],
)
def test_a_broken_or_hostile_file_is_one_line(here, capsys, content, says):
    Path("run.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run("train", "recognizer", "clips", "-o", "x.safetensors", "--config", "run.yaml") == 2
    shown = capsys.readouterr()
    assert says in shown.err and shown.err.count("\n") == 1 and "Traceback" not in shown.err
    assert not Path("trap").exists()


def test_a_file_that_is_missing_or_is_no_file_is_named(here, capsys):
    for name in ("gone.yaml", ".", "gone.safetensors"):
        assert run("train", "recognizer", "clips", "-o", "x.safetensors", "--config", name) == 2
        assert name in capsys.readouterr().err


def test_evaluations_take_a_file_too(here, capsys):
    Path("run.yaml").write_text("truth: a.csv\npredictions: b.csv\nlabels: c.txt\n")
    assert run("evaluate", "ava", "--config", "run.yaml") == 2
    assert "a.csv is not a file" in capsys.readouterr().err
    Path("run.yaml").write_text("model: gone.safetensors\nview: 3\n")
    assert run("evaluate", "recognizer", "clips", "--config", "run.yaml") == 2
    assert "no option 'view'" in capsys.readouterr().err


SMALL = ["--backbone", "test_vit", "--backbone-weights", "tiny.safetensors", "--frames", "3", "--size", "32",
         "--batch-size", "4", "--width", "8", "--steps", "2"]  # fmt: skip
ON_THIS_MACHINE = ["--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_backbone(folder / "tiny.safetensors")
    write_folders(folder / "clips", {"red": 4, "blue": 4})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("train", "recognizer", "clips", "-o", "mine.safetensors", *SMALL, *ON_THIS_MACHINE) == 0
    return folder


def test_a_training_is_repeated_from_its_model_file(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert (
        run("train", "recognizer", "--config", "mine.safetensors", "-o", "again.safetensors", *ON_THIS_MACHINE) == 0
    )
    first, second = (load_artifact(f"{name}.safetensors", task="recognize") for name in ("mine", "again"))
    assert first.provenance["configuration"] == second.provenance["configuration"]
    assert all(bool((first.tensors[name] == second.tensors[name]).all()) for name in first.tensors)
    page = Path("mine.html").read_text()
    for name in first.provenance["configuration"]:
        assert f"{name}: " in page


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backbone": "hf-hub:someone/model"}, "Give --backbone yourself"),
        ({"backbone": "vit_tiny_patch16_224", "backbone-weights": None}, "Give --backbone yourself"),
        ({"initialize": "someone/model"}, "Give --initialize yourself"),
        ({"cache": "/tmp/elsewhere"}, "Give --cache yourself"),
        ({"root": "../../secrets"}, "Give --root yourself"),
        ({"backbone-weights": "~/weights.pth"}, "Give --backbone-weights yourself"),
        ({"augment": ["stylize=/etc/picture.png"]}, "Give --augment yourself"),
        ({"group-pattern": "([a-z]+)+!"}, "Give --group-pattern yourself"),
        ({"batch-size": 10**9}, "batch_size=1000000000 is out of range"),
        ({"frames": 10**9}, "frames=1000000000 is out of range"),
        ({"frames": 4096, "size": 4096}, "pixels are too large"),
        ({"size": 10**7}, "size=10000000 is out of range"),
        ({"width": 10**9}, "width=1000000000 is out of range"),
        ({"blocks": 10**9}, "blocks=1000000000 is out of range"),
        ({"cache-views": 10**12}, "is out of range"),
        ({"keep-views": 10**12}, "is out of range"),
        ({"kernel": [10**9 + 1, 1, 1]}, "is out of range"),
        ({"frequency-scales": [1] * 1000}, "frequency_scales has 1000 numbers"),
        ({"rand-augment": 10**9}, "rand_augment=1000000000 is out of range"),
        ({"epohcs": 3}, "Did you mean epochs"),
        ({"out": {"a": 3}}, "no option with a plain value"),
        (None, "holds no options"),
    ],
)
def test_a_stranger_s_model_file_chooses_nothing_far_away(trained, tmp_path, monkeypatch, capsys, changes, says):
    monkeypatch.chdir(tmp_path)
    artifact = load_artifact(trained / "mine.safetensors", task="recognize")
    theirs = None if changes is None else {**artifact.provenance["configuration"], **changes}
    artifact.provenance["configuration"] = theirs
    artifact.save("theirs.safetensors")
    assert run("train", "recognizer", "clips", "-o", "x.safetensors", "--config", "theirs.safetensors") == 2
    shown = capsys.readouterr().err
    assert says in shown and shown.count("\n") == 1


def test_a_model_file_s_machine_is_not_taken_for_this_one(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained / "tiny.safetensors", tmp_path)
    artifact = load_artifact(trained / "mine.safetensors", task="recognize")
    theirs = {"workers": 100_000, "device": "cuda:99", "save-every": 1, "tensorboard": True, "compile": True}
    artifact.provenance["configuration"] = {**artifact.provenance["configuration"], **theirs}
    artifact.save("theirs.safetensors")
    plan = planned(monkeypatch, "clips", "--config", "theirs.safetensors")
    assert plan.config.batch_size == 4
    ours = RecognizerFitConfig()
    for name in ("workers", "save_every", "tensorboard", "compile"):
        assert getattr(plan.config, name) == getattr(ours, name)
    assert planned(monkeypatch, "clips", "--config", "theirs.safetensors", "--workers", "1").config.workers == 1


@pytest.mark.parametrize(
    ("verb", "flags", "says"),
    [
        ("recognizer", ["--workers", "100000"], "workers=100000 is out of range"),
        ("recognizer", ["--batch-size", "1000000000"], "batch_size=1000000000 is out of range"),
        ("localizer", ["--frames", "1000000000"], "frames=1000000000 is out of range"),
        ("localizer", ["--short-side", "10000000"], "short_side=10000000 is out of range"),
        ("localizer", ["--frames", "4096", "--short-side", "4096"], "pixels are too large"),
        ("localizer", ["--hidden", "1000000000"], "hidden=1000000000 is out of range"),
        ("localizer", ["--depth", "1000000000"], "depth=1000000000 is out of range"),
        ("localizer", ["--adapter-width", "1000000000", "--trunk", "muybridge_vit"], "is out of range"),
        ("stylizer", ["--short-side", "100000000"], "short_side=100000000 is out of range"),
    ],
)
def test_absurd_sizes_are_one_line(here, capsys, verb, flags, says):
    source = ["clips"] if verb != "localizer" else ["--annotations", "a.csv", "--videos", "v", "--labels", "l.txt"]
    assert run("train", verb, *source, "-o", "x.safetensors", *flags) == 2
    shown = capsys.readouterr().err
    assert says in shown and shown.count("\n") == 1


def test_readers_and_batches_of_an_evaluation_have_limits(here, capsys):
    for name in ("workers", "batch-size"):
        assert run("evaluate", "recognizer", "clips", "-m", "m.safetensors", f"--{name}", "1000000000") == 2
        assert "is out of range" in capsys.readouterr().err


def test_memory_that_is_not_there_is_one_line(here, monkeypatch, capsys):
    monkeypatch.setattr(recognizer, "train", lambda *_, **__: torch.empty(1 << 60))
    assert run("train", "recognizer", "clips", "-o", "x.safetensors") == 2
    shown = capsys.readouterr().err
    assert "out of memory" in shown and shown.count("\n") == 1


def test_files_that_are_no_model_of_this_kind_are_refused(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_file(load_file(trained / "tiny.safetensors"), "tensors.safetensors")
    for verb, name in (("localizer", trained / "mine.safetensors"), ("recognizer", "tensors.safetensors")):
        assert run("train", verb, "clips", "-o", "x.safetensors", "--config", name) == 2
        assert Path(name).name in capsys.readouterr().err
