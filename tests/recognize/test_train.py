"""From folders of clips to a model file: what is learned, written, left out, and refused."""

import io
import json
import shutil
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from muybridge.artifacts import load_artifact
from muybridge.data.clips.augmentation import AugmentationConfig
from muybridge.data.clips.sampling import ViewConfig
from muybridge.errors import AnnotationError, MissingExtra, ModelError, ModelMismatch, OptionError, TrainingError
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.recognize import train as train_module
from muybridge.recognize.options import (
    ClipData,
    RecognizerConfig,
    RecognizerFitConfig,
    SamplingOptions,
    TrainingPlan,
)
from muybridge.recognize.recognizer import Recognizer
from muybridge.recognize.train import train
from muybridge.training.fit import FitResult
from tests.recognize.labelled_clips import COLORS, write_backbone, write_clip, write_folders, write_list


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("data") / "my clips", {"red": 6, "blue": 5})


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_backbone(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def plan_for(source: Path, weights: Path | None, *, steps: int = 4, **changes) -> TrainingPlan:
    model = RecognizerConfig(
        backbone="test_vit", backbone_weights=weights, adapters=AdapterConfig(width=8), dropout=0.0, motion=False
    )
    plan = TrainingPlan(
        data=ClipData(source, held_out=0.34),
        model=model,
        sampling=SamplingOptions(frames=3, rate=4.0, size=32),
        augmentation=AugmentationConfig(crop="center"),
        config=RecognizerFitConfig(
            steps=steps,
            batch_size=4,
            learning_rate=1e-2,
            warmup=0.0,
            validations=2,
            save_every=2,
            workers=0,
        ),
    )
    return replace(plan, **changes)


def run(plan: TrainingPlan, out: Path, **options):
    lines: list[str] = []
    return train(plan, out, device="cpu", tell=lines.append, **options), lines


def test_folders_become_a_file_that_labels_new_clips(clips, weights, tmp_path):
    out = tmp_path / "colours.safetensors"
    outcome, lines = run(plan_for(clips, weights, steps=25), out)
    assert outcome.evaluation is not None
    assert outcome.evaluation.report.numbers["top1"] == 1.0
    recognizer = Recognizer.from_pretrained(out, device="cpu", backbone_weights=weights)
    for name, color in COLORS.items():
        if name in recognizer.labels.names:
            clip = write_clip(tmp_path / f"new {name}.mp4", color, seed=99)
            assert recognizer(clip).label == name
    assert recognizer.scores["top1"] == 1.0
    assert recognizer.provenance["clips"] + len(outcome.evaluation.truth) == 11
    said = "\n".join(lines)
    assert "frozen" in said and "trained in all:" in said and "memory:" in said
    assert (tmp_path / "colours.training" / "history.jsonl").is_file()


def test_the_file_scores_what_its_header_says(clips, weights, tmp_path):
    outcome, _ = run(plan_for(clips, weights), tmp_path / "m.safetensors")
    assert outcome.evaluation is not None
    recognizer = Recognizer.from_pretrained(tmp_path / "m.safetensors", device="cpu", backbone_weights=weights)
    entries = outcome.evaluation.clips.entries
    again = torch.stack([p.probabilities for p in recognizer.batch([e.path for e in entries])])
    torch.testing.assert_close(again, outcome.evaluation.probabilities)
    right = [
        recognizer.labels.names[e.labels[0]] == p.label
        for e, p in zip(entries, recognizer.batch([e.path for e in entries]), strict=True)
    ]
    assert recognizer.scores["top1"] == pytest.approx(sum(right) / len(right))


def test_the_report_page_shows_the_run(clips, weights, tmp_path):
    outcome, _ = run(plan_for(clips, weights), tmp_path / "m.safetensors")
    page = outcome.report.read_text()
    assert outcome.report == tmp_path / "m.html"
    for text in (
        "top-1",
        "Is the order of frames read?",
        "Confusion",
        "Loss",
        "Learning rate",
        "frozen",
        "held-out clips",
    ):
        assert text in page
    assert "http" not in page


def test_backbone_bytes_stay_and_are_not_in_the_file(clips, weights, tmp_path):
    run(plan_for(clips, weights), tmp_path / "m.safetensors")
    artifact = load_artifact(tmp_path / "m.safetensors", task="recognize")
    assert all(name.startswith(("adapters.", "head.")) for name in artifact.tensors)
    # Loading checks the hash of the file's backbone against what training stood on.
    Recognizer.from_pretrained(tmp_path / "m.safetensors", device="cpu", backbone_weights=weights)
    other = write_backbone(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(ModelMismatch, match="hash"):
        Recognizer.from_pretrained(tmp_path / "m.safetensors", device="cpu", backbone_weights=other)


@pytest.mark.parametrize("method", ["head", "full"])
def test_the_other_methods(clips, weights, tmp_path, method):
    model = RecognizerConfig(backbone="test_vit", backbone_weights=weights, method=method, motion=False)
    run(plan_for(clips, weights, model=model), tmp_path / "m.safetensors")
    tensors = load_artifact(tmp_path / "m.safetensors", task="recognize").tensors
    assert any(name.startswith("backbone.") for name in tensors) == (method == "full")
    Recognizer.from_pretrained(tmp_path / "m.safetensors", device="cpu", backbone_weights=weights)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_what_is_kept_in_memory_has_a_head_fitted_to_it(clips, weights, tmp_path, precision):
    plan = plan_for(clips, weights, steps=1)
    plan = replace(
        plan,
        model=replace(plan.model, method="head", adapters=None, over_time="change"),
        config=replace(plan.config, precision=precision, learning_rate=1e-4),
    )
    outcome, lines = run(plan, tmp_path / "m.safetensors")
    assert outcome.evaluation is not None
    assert outcome.evaluation.report.numbers["top1"] == 1.0
    right = len(outcome.evaluation.truth)
    assert any(line.startswith(f"right in {right} of {right} held-out clips, 100%: ") for line in lines)


def fitted_head(path) -> dict[str, torch.Tensor]:
    return {name: t for name, t in load_artifact(path, task="recognize").tensors.items() if name.startswith("head.")}


@pytest.mark.parametrize("color", [0.0, 0.2])  # colours vary at each pass, so that nothing is kept of the clips
def test_adapters_move_below_a_head_that_was_fitted_and_stays(clips, weights, tmp_path, monkeypatch, color):
    plan = plan_for(clips, weights, steps=3)
    plan = replace(
        plan,
        data=replace(plan.data, held_out=0.0),
        model=replace(plan.model, adapters=AdapterConfig(width=8, blocks=2), over_time="change"),
        augmentation=replace(plan.augmentation, color=color),
    )
    trained: set[str] = set()

    def nothing(objective, *args, **options) -> FitResult:
        trained.update(name.split(".")[1] for name, p in objective.named_parameters() if p.requires_grad)
        return FitResult(0, 0, {}, None)

    run(plan, tmp_path / "moved.safetensors")
    monkeypatch.setattr(train_module, "fit", nothing)
    run(plan, tmp_path / "stayed.safetensors")
    assert trained == {"adapters"}
    moved, stayed = (
        load_artifact(tmp_path / f"{n}.safetensors", task="recognize").tensors for n in ("moved", "stayed")
    )
    assert moved.keys() == stayed.keys()
    for name in moved:
        assert torch.equal(moved[name], stayed[name]) == name.startswith("head."), name


@pytest.mark.parametrize("method", ["adapters", "full"])
def test_what_is_not_kept_is_read_once_for_the_head(clips, weights, tmp_path, monkeypatch, method):
    """Before any step such a head tells the made clips apart, which one at random does not."""
    model = RecognizerConfig(
        backbone="test_vit", backbone_weights=weights, method=method, over_time="change", motion=False
    )
    plan = plan_for(clips, weights, model=model)
    plan = replace(plan, augmentation=replace(plan.augmentation, color=0.2))
    monkeypatch.setattr(train_module, "fit", lambda *_, **__: FitResult(0, 0, {}, None))
    outcome, _ = run(plan, tmp_path / "m.safetensors")
    assert outcome.evaluation is not None
    assert outcome.evaluation.report.numbers["top1"] == 1.0


def test_a_fitted_head_alone_takes_no_steps(clips, weights, tmp_path):
    found = []
    for steps in (1, 50):
        plan = plan_for(clips, weights, steps=steps)
        plan = replace(plan, model=replace(plan.model, method="head", adapters=None))
        outcome, _ = run(plan, tmp_path / "m.safetensors")
        assert outcome.fit.step == 0
        assert outcome.evaluation is not None
        assert outcome.fit.metrics["top1"] == outcome.evaluation.report.numbers["top1"]
        found.append(fitted_head(tmp_path / "m.safetensors"))
    assert load_artifact(tmp_path / "m.safetensors", task="recognize").provenance["scores_on"] == "held-out clips"
    run(plan_for(clips, weights), tmp_path / "steps.safetensors")
    told = load_artifact(tmp_path / "steps.safetensors", task="recognize").provenance["scores_on"]
    assert told == "held-out clips, by which the best step was chosen too"
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_fitted_head_has_nothing_to_go_on_from(clips, weights, tmp_path):
    """Also where a checkpoint of another training lies in its place, which is not what was asked for."""
    out = tmp_path / "m.safetensors"
    plan = plan_for(clips, weights)
    run(plan, out)
    written = out.read_bytes()
    with pytest.raises(TrainingError, match="Start without --resume"):
        run(replace(plan, model=replace(plan.model, method="head", adapters=None)), out, resume=True)
    assert out.read_bytes() == written


def test_a_fitted_head_counts_classes_alike_that_are_drawn_alike(weights, tmp_path):
    """Drawing each class as often is, in the mean, weighing the loss of each alike."""
    data = write_folders(tmp_path / "clips", {"red": 6, "blue": 2})
    heads = {}
    for balance in ("none", "loss", "draws"):
        plan = plan_for(data, weights, data=ClipData(data, balance=balance, held_out=0))
        plan = replace(plan, model=replace(plan.model, method="head", adapters=None))
        run(plan, tmp_path / f"{balance}.safetensors")
        heads[balance] = fitted_head(tmp_path / f"{balance}.safetensors")["head.bias"]
    torch.testing.assert_close(heads["draws"], heads["loss"], rtol=1e-3, atol=1e-3)
    assert (heads["draws"] - heads["none"]).abs().max() > 0.1


def test_a_broken_clip_in_a_shard_gives_way_to_the_next_also_where_the_head_is_fitted(clips, weights, tmp_path):
    shard = tmp_path / "train-0.tar"
    with tarfile.open(shard, "w") as archive:
        for number, path in enumerate(sorted(clips.rglob("*.mp4"))):
            content = path.read_bytes()[: 200 if number == 2 else None]
            for suffix, data in (("mp4", content), ("cls", path.parent.name.encode())):
                member = tarfile.TarInfo(f"{number:03}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    plan = plan_for(shard, weights, data=ClipData(shard, held_out=0))
    with pytest.warns(RuntimeWarning, match=r"002\.mp4 .* The next clip takes its place"):
        run(plan, tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").is_file()


def test_in_mixed_precision_the_backbone_is_half_while_training_and_whole_afterwards(
    clips, weights, tmp_path, monkeypatch
):
    dtypes: set[torch.dtype] = set()
    forward = VideoViT.forward

    def watch(self, *arguments, **options):
        if self.training:
            dtypes.add(self.backbone.blocks[0].attn.qkv.weight.dtype)
            assert self.head.weight.dtype == torch.float32
            assert all(p.dtype == torch.float32 for p in self.adapters.parameters())
        return forward(self, *arguments, **options)

    monkeypatch.setattr(VideoViT, "forward", watch)
    plan = plan_for(clips, weights, steps=25)
    outcome, _ = run(replace(plan, config=replace(plan.config, precision="bf16-mixed")), tmp_path / "m.safetensors")
    assert dtypes == {torch.bfloat16}
    assert outcome.evaluation is not None
    assert outcome.evaluation.report.numbers["top1"] == 1.0
    recognizer = Recognizer.from_pretrained(tmp_path / "m.safetensors", device="cpu", backbone_weights=weights)
    again = recognizer.batch([entry.path for entry in outcome.evaluation.clips.entries])
    torch.testing.assert_close(torch.stack([p.probabilities for p in again]), outcome.evaluation.probabilities)


@pytest.mark.parametrize("augment", [(), ("stylize=ember,comic",)], ids=["plain", "painted"])
def test_a_stopped_run_goes_on_bit_for_bit(clips, weights, tmp_path, augment):
    class Stopped(Exception):
        pass

    plan = plan_for(clips, weights, steps=6, augmentation=AugmentationConfig(color=0.2), augment=augment)
    run(plan, tmp_path / "whole.safetensors")
    forward, calls = VideoViT.forward, []

    def stop_in_step_5(self, *arguments, **options):
        calls.append(self.training)
        if sum(calls) == 5:
            raise Stopped
        return forward(self, *arguments, **options)

    VideoViT.forward = stop_in_step_5
    try:
        with pytest.raises(Stopped):
            run(plan, tmp_path / "parts.safetensors")
    finally:
        VideoViT.forward = forward
    assert not (tmp_path / "parts.safetensors").exists()
    run(plan, tmp_path / "parts.safetensors", resume=True)
    whole, parts = (
        load_artifact(tmp_path / f"{n}.safetensors", task="recognize").tensors for n in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_without_a_checkpoint_resuming_is_refused_before_clips_are_read(clips, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "read_clip_list", None)
    with pytest.raises(TrainingError, match=r"there is no .*checkpoint\.pt\. Start without --resume"):
        run(plan_for(clips, weights), tmp_path / "m.safetensors", resume=True)


def test_resuming_with_another_network_or_other_clips_is_refused(clips, weights, tmp_path):
    plan = plan_for(clips, weights)
    run(plan, tmp_path / "m.safetensors")
    wider = replace(plan, model=replace(plan.model, adapters=AdapterConfig(width=16)))
    with pytest.raises(TrainingError, match=r"model\.adapters\.width was 8, now 16"):
        run(wider, tmp_path / "m.safetensors", resume=True)
    more = write_folders(tmp_path / "more", {"red": 3, "blue": 3})
    shutil.copytree(clips, more, dirs_exist_ok=True)
    with pytest.raises(TrainingError, match="listing was"):
        run(replace(plan, data=ClipData(more, held_out=0.34)), tmp_path / "m.safetensors", resume=True)


def test_one_broken_clip_among_many_is_named_counted_and_left_out(clips, weights, tmp_path, capsys):
    data = tmp_path / "clips"
    shutil.copytree(clips, data)
    broken = data / "red" / "not a film.mp4"
    broken.write_bytes(b"nothing that FFmpeg knows" * 100)
    outcome, _ = run(plan_for(data, weights), tmp_path / "m.safetensors")
    error = capsys.readouterr().err
    assert "left out" in error
    assert "not a film.mp4" in error
    assert "1 of " in error
    assert load_artifact(tmp_path / "m.safetensors", task="recognize").provenance["left_out"] == 1
    assert "not a film.mp4" in outcome.report.read_text()


def test_a_class_whose_clips_are_all_broken_is_named(clips, weights, tmp_path):
    data = tmp_path / "clips"
    shutil.copytree(clips, data)
    (data / "green").mkdir()
    for i in range(3):
        (data / "green" / f"{i}.mp4").write_bytes(b"nothing that FFmpeg knows" * 100)
    with pytest.raises(TrainingError, match=r"1 of 3 classes: green"):
        run(plan_for(data, weights), tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()


def test_an_empty_class_is_refused(clips, weights, tmp_path):
    data = tmp_path / "clips"
    shutil.copytree(clips, data)
    (data / "green").mkdir()
    with pytest.raises(AnnotationError, match="green"):
        run(plan_for(data, weights), tmp_path / "m.safetensors")
    (data / "green").rmdir()
    (tmp_path / "classes.txt").write_text("red\nblue\ngreen\n")
    with pytest.raises(TrainingError, match="green"):
        listed = ClipData(data, labels=tmp_path / "classes.txt", held_out=0.34)
        run(plan_for(data, weights, data=listed), tmp_path / "m.safetensors")


def test_one_class_is_refused(weights, tmp_path):
    data = write_folders(tmp_path / "clips", {"red": 3})
    with pytest.raises(TrainingError, match="one class, 'red'"):
        run(plan_for(data, weights), tmp_path / "m.safetensors")


def test_a_label_that_is_no_class_is_refused_with_its_line(clips, weights, tmp_path):
    rows = [("red/red clip 0.mp4", "red"), ("blue/blue clip 0.mp4", "purple")]
    listing = write_list(tmp_path / "list.csv", rows)
    (tmp_path / "classes.txt").write_text("red\nblue\n")
    data = ClipData(listing, labels=tmp_path / "classes.txt", root=clips)
    with pytest.raises(AnnotationError, match=r"line 3.*'purple'"):
        run(plan_for(clips, weights, data=data), tmp_path / "m.safetensors")


def test_missing_backbone_weights_stop_before_any_training(clips, tmp_path):
    model = RecognizerConfig(backbone="vit_tiny_patch16_224")
    with pytest.raises(ModelError, match="vit_tiny_patch16_224"):
        run(plan_for(clips, None, model=model), tmp_path / "m.safetensors")
    assert not (tmp_path / "m.training").exists()


def test_too_little_memory_says_which_flags_help(clips, weights, tmp_path, monkeypatch):
    def full(self, *arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(VideoViT, "forward", full)
    with pytest.raises(TrainingError, match="--accumulate 2") as caught:
        run(plan_for(clips, weights), tmp_path / "m.safetensors")
    for flag in ("--precision bf16-mixed", "--frames", "--size", "--gradient-checkpointing"):
        assert flag in str(caught.value)
    assert not (tmp_path / "m.safetensors").exists()


def test_several_labels_a_clip(clips, weights, tmp_path):
    rows = [(str(path), "red|warm" if "red" in path.name else "blue") for path in sorted(clips.rglob("*.mp4"))]
    listing = write_list(tmp_path / "list.csv", rows)
    plan = plan_for(listing, weights, steps=25)
    outcome, _ = run(plan, tmp_path / "m.safetensors")
    assert outcome.evaluation is not None
    assert outcome.evaluation.report.numbers == pytest.approx({"mAP": 1.0})
    recognizer = Recognizer.from_pretrained(tmp_path / "m.safetensors", device="cpu", backbone_weights=weights)
    assert recognizer.multi_label
    clip = write_clip(tmp_path / "new.mp4", COLORS["red"], seed=7)
    scores = dict(recognizer(clip).top(3))
    assert min(scores["red"], scores["warm"]) > 0.5 > scores["blue"]


def test_rare_classes_drawn_more_often(weights, tmp_path):
    data = write_folders(tmp_path / "clips", {"red": 6, "blue": 2})
    plan = plan_for(data, weights, data=ClipData(data, balance="draws", held_out=0))
    drawn: list[int] = []
    from muybridge.data.clips.dataset import ClipDataset

    original = ClipDataset.__getitem__

    def watch(self, draw):
        item = original(self, draw)
        drawn.append(int(item["labels"]))
        return item

    ClipDataset.__getitem__ = watch
    try:
        run(replace(plan, config=replace(plan.config, steps=15, validations=0)), tmp_path / "m.safetensors")
    finally:
        ClipDataset.__getitem__ = original
    assert len(drawn) == 60
    assert 0.35 < sum(label == 0 for label in drawn) / 60 < 0.65  # blue, a quarter of the clips


def test_all_clips_can_be_trained_on_with_nothing_held_out(clips, weights, tmp_path):
    outcome, lines = run(plan_for(clips, weights, data=ClipData(clips, held_out=0)), tmp_path / "m.safetensors")
    assert outcome.evaluation is None
    assert "11 clips of 2 classes to train on, 0 held out" in lines
    assert load_artifact(tmp_path / "m.safetensors", task="recognize").scores == {}


def test_given_splits_are_kept(clips, weights, tmp_path):
    data = tmp_path / "clips"
    write_folders(data / "train", {"red": 2, "blue": 2})
    write_folders(data / "val", {"red": 1, "blue": 1})
    outcome, lines = run(plan_for(data, weights), tmp_path / "m.safetensors")
    assert "4 clips of 2 classes to train on, 2 held out" in lines
    assert outcome.evaluation is not None
    assert {e.path.parts[-3] for e in outcome.evaluation.clips.entries} == {"val"}


def test_training_starts_from_another_recognizer_s_adapters(clips, weights, tmp_path):
    run(plan_for(clips, weights), tmp_path / "first.safetensors")
    three = write_folders(tmp_path / "three", {"red": 3, "blue": 3, "green": 3})
    plan = plan_for(three, weights, initialize=tmp_path / "first.safetensors")
    plan = replace(plan, model=replace(plan.model, adapters=None))  # as in the file
    # A learning rate of almost nothing shows what it started from.
    run(replace(plan, config=replace(plan.config, learning_rate=1e-12)), tmp_path / "second.safetensors")
    first, second = (load_artifact(tmp_path / f"{n}.safetensors", task="recognize") for n in ("first", "second"))
    for name in first.tensors:
        if name.startswith("adapters."):
            torch.testing.assert_close(first.tensors[name], second.tensors[name], atol=1e-9, rtol=0)
    assert second.architecture["num_classes"] == 3
    other = write_backbone(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(ModelMismatch, match="Choose the same --backbone"):
        run(plan_for(three, other, initialize=tmp_path / "first.safetensors"), tmp_path / "third.safetensors")


def test_tensorboard_that_is_missing_is_named_before_training(clips, weights, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    plan = plan_for(clips, weights)
    with pytest.raises(MissingExtra, match="log"):
        run(replace(plan, config=replace(plan.config, tensorboard=True)), tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        ({"adapters": AdapterConfig(width=8, blocks=2)}, "32-true"),
        ({"adapters": AdapterConfig(width=8, blocks=2)}, "bf16-mixed"),
        ({"method": "head", "adapters": None, "readout": "patch_mean"}, "32-true"),
    ],
)
def test_a_cached_prefix_trains_the_same_and_is_filled_once(clips, weights, tmp_path, monkeypatch, model, precision):
    plan = plan_for(clips, weights)
    # Three frames at three a second fill these clips of one second, so that nothing of the sampling is random.
    plan = replace(
        plan,
        model=replace(plan.model, **model),
        sampling=SamplingOptions(frames=3, mode="dense", rate=3.0, size=32, focus=False),
        augmentation=AugmentationConfig(crop="center"),
        config=replace(plan.config, precision=precision),
        keep_views=1,
    )
    cached = replace(plan, cache=tmp_path / "cache")
    run(plan, tmp_path / "plain.safetensors")
    whole_runs: list[bool] = []
    forward = VideoViT.forward
    monkeypatch.setattr(
        VideoViT, "forward", lambda self, *a, **k: (whole_runs.append(self.training), forward(self, *a, **k))[1]
    )
    _, first = run(cached, tmp_path / "cached.safetensors")
    _, second = run(cached, tmp_path / "again.safetensors")
    assert not any(whole_runs)  # the network runs whole for held-out clips alone
    made = next(line for line in first if line.startswith("cache:"))
    assert "cache: 0 of" in "\n".join(second)
    assert made.startswith(f"cache: {len(list((tmp_path / 'cache').rglob('*.npy')))} of")
    plain, filled, found = (
        load_artifact(tmp_path / f"{n}.safetensors", task="recognize").tensors for n in ("plain", "cached", "again")
    )
    # In memory, numbers are kept in half precision.
    tolerance = {"atol": 2e-2, "rtol": 0.2}
    for name in plain:
        torch.testing.assert_close(plain[name], filled[name], **tolerance)
        assert torch.equal(filled[name], found[name])


def test_what_a_cache_cannot_keep_is_refused(clips, weights, tmp_path):
    plan = plan_for(clips, weights, cache=tmp_path / "cache")
    with pytest.raises(OptionError, match="all 6 blocks"):
        run(plan, tmp_path / "m.safetensors")
    with pytest.raises(OptionError, match="all 6 blocks"):
        run(replace(plan, model=replace(plan.model, method="full", adapters=None)), tmp_path / "m.safetensors")
    with pytest.raises(OptionError, match="--crop center"):
        replace(plan, augmentation=AugmentationConfig(crop="center", flip=True))
    with pytest.raises(OptionError, match="cannot be varied"):
        replace(plan, augment=("stylize=ember",))


def test_painted_clips_train_another_model_and_are_in_the_file(clips, weights, tmp_path):
    files: dict[str, dict[str, torch.Tensor]] = {}
    for name, augment in (("plain", ()), ("painted", ("stylize=ember:1",))):
        plan = plan_for(clips, weights, augment=augment)
        # With clips held out the weights of step 0 might be kept, which have seen no paint.
        run(replace(plan, data=replace(plan.data, held_out=0.0)), tmp_path / f"{name}.safetensors")
        artifact = load_artifact(tmp_path / f"{name}.safetensors", task="recognize")
        files[name] = dict(artifact.tensors)
        assert artifact.provenance["configuration"]["augment"] == list(augment)
    assert any(not torch.equal(files["plain"][name], files["painted"][name]) for name in files["plain"])
    with pytest.raises(TrainingError, match="augment"):
        plan = plan_for(clips, weights)
        run(replace(plan, data=replace(plan.data, held_out=0.0)), tmp_path / "painted.safetensors", resume=True)


def test_the_plan_is_in_the_file(clips, weights, tmp_path):
    run(plan_for(clips, weights), tmp_path / "m.safetensors")
    provenance = load_artifact(tmp_path / "m.safetensors", task="recognize").provenance
    configuration = provenance["configuration"]
    assert (configuration["width"], configuration["frames"], configuration["data"]) == (8, 3, "my clips")
    assert str(clips.parent) not in json.dumps(provenance)  # nothing of this machine's folders


def kept_plan(clips, weights, **changes):
    """A plan whose frozen blocks' work is kept, with all that is on by default."""
    plan = plan_for(clips, weights, **changes)
    return replace(
        plan,
        model=replace(plan.model, adapters=AdapterConfig(width=8, blocks=2)),
        sampling=SamplingOptions(frames=3, size=32),
    )


def test_two_clips_a_class(weights, tmp_path):
    clips = write_folders(tmp_path / "clips", {"red": 2, "blue": 2})
    run(kept_plan(clips, weights), tmp_path / "m.safetensors")
    recognizer = Recognizer.from_pretrained(tmp_path / "m.safetensors", device="cpu", backbone_weights=weights)
    assert recognizer.views == ViewConfig(focus=True, dense_rate=12.0)
    assert recognizer(next(clips.rglob("*.mp4"))).label in ("red", "blue")


def test_clips_of_one_frame(weights, tmp_path):
    clips = tmp_path / "clips"
    for number, name in enumerate(("red", "blue")):
        for i in range(4):
            (clips / name).mkdir(parents=True, exist_ok=True)
            write_clip(clips / name / f"{i}.mp4", COLORS[name], seed=10 * number + i, frames=1)
    outcome, _ = run(kept_plan(clips, weights), tmp_path / "m.safetensors")
    assert outcome.evaluation is not None and len(outcome.evaluation.clips)
    recognizer = Recognizer.from_pretrained(tmp_path / "m.safetensors", device="cpu", backbone_weights=weights)
    assert torch.isfinite(recognizer(next(clips.rglob("*.mp4"))).probabilities).all()


@pytest.mark.parametrize("room", [True, False])
def test_what_memory_does_not_carry_is_kept_on_disk_where_there_is_room(clips, weights, tmp_path, monkeypatch, room):
    module = sys.modules[train.__module__]
    monkeypatch.setattr(module, "_KEPT_PREFIX_BYTES", 1000)
    free = type("Usage", (), {"free": 1 << 40 if room else 1 << 10})
    monkeypatch.setattr(module, "disk_usage", lambda folder: free)
    outcome, lines = run(kept_plan(clips, weights), tmp_path / "m.safetensors")
    said = "\n".join(lines)
    files = list((tmp_path / "m.training" / "cache").rglob("*.npy"))
    if room:
        views = 3 * load_artifact(tmp_path / "m.safetensors", task="recognize").provenance["clips"]
        assert "is kept in" in said and f"cache: {views} of {views} views worked out" in said
        assert len(files) == views
    else:
        assert "too much for memory and disk; clips are read at each pass" in said
        assert not files
    assert outcome.evaluation is not None
