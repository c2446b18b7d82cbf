"""Measuring a recognizer: against counts done by hand, in any order of frames, on the right split."""

import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from muybridge.artifacts import Artifact, load_artifact
from muybridge.data.clips.lists import ClipEntry, ClipList, read_clip_list
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig
from muybridge.data.clips.splits import split_by_group
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError, MissingInput, ModelMismatch, OptionError
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import load_backbone
from muybridge.recognize import evaluate as evaluate_recognizer
from muybridge.recognize.evaluate import ClipViews, evaluate_views, indicator, predict, truth_of
from muybridge.recognize.options import EvaluateConfig
from muybridge.recognize.recognizer import Recognizer
from tests.recognize.labelled_clips import write_backbone, write_folders, write_list

SAMPLING = SamplingConfig(frames=4, size=(32, 32))
CLASSES = LabelMap(("up", "down"), (0, 1))


class Ramps(ClipViews):
    """Clips in memory: grey rises over time for "up", falls for "down"; view v begins v levels higher."""

    def __init__(self, labels: list[int], views: int = 1, *, multi_label: bool = False) -> None:
        entries = tuple(ClipEntry(Path(f"{i}.mp4"), (label,), str(i)) for i, label in enumerate(labels))
        super().__init__(ClipList(entries, CLASSES, multi_label), SAMPLING, ViewConfig(temporal=views))

    def __getitem__(self, index: int) -> Tensor:
        rising = torch.arange(4, dtype=torch.uint8) * 10
        levels = rising.flip(0) if self.clips.entries[index].labels[0] else rising
        views = torch.arange(self.views.temporal, dtype=torch.uint8)
        return (levels + views[:, None])[:, :, None, None, None].expand(-1, -1, 3, 32, 32) + 100


def reads_order(frames: Tensor) -> Tensor:
    """Logits of a model that compares the last frame with the first."""
    rise = frames[:, -1].float().mean(dim=(1, 2, 3)) - frames[:, 0].float().mean(dim=(1, 2, 3))
    return torch.stack([rise, -rise], dim=1)


def test_the_order_report_of_a_model_that_reads_order():
    evaluation = evaluate_views(reads_order, Ramps([0, 1] * 10), orders=True, batch_size=3, quiet=True)
    order = evaluation.order
    assert order is not None
    assert (order.accuracy, order.reversed) == (1.0, 0.0)
    assert order.single_frame == 0.5  # equal logits: the first class is taken
    assert 0 < order.shuffled < 1
    assert order.order_gap == pytest.approx(1.0 - order.shuffled)
    assert evaluation.numbers()["order_gap"] == pytest.approx(order.order_gap)


def test_the_order_report_of_a_model_that_does_not():
    def looks_alone(frames: Tensor) -> Tensor:
        mean = frames.float().mean(dim=(1, 2, 3, 4))
        return torch.stack([mean - 115, 115 - mean], dim=1)

    order = evaluate_views(looks_alone, Ramps([0, 1] * 5), orders=True, quiet=True).order
    assert order is not None
    assert order.order_gap == 0
    assert order.accuracy == order.reversed == 0.5


def test_probabilities_are_averaged_over_views_not_logits():
    def by_level(frames: Tensor) -> Tensor:
        first = frames[:, 0, 0, 0, 0].float() - 100
        return torch.stack([first * 3, torch.zeros_like(first)], dim=1)

    answers = predict(by_level, Ramps([0, 0], views=3), multi_label=False, quiet=True)["accuracy"]
    expected = torch.tensor([0.0, 3.0, 6.0]).sigmoid().mean()
    torch.testing.assert_close(answers[:, 0], expected.expand(2))
    # Batches of other sizes give the same.
    again = predict(by_level, Ramps([0, 0], views=3), multi_label=False, batch_size=1, quiet=True)["accuracy"]
    torch.testing.assert_close(answers, again)


def test_truth_of_one_label_and_of_several():
    entries = tuple(ClipEntry(Path("x"), labels, "g") for labels in ((1,), (0, 1), ()))
    several = ClipList(entries, CLASSES, multi_label=True)
    assert indicator(several).tolist() == [[0, 1], [1, 1], [0, 0]]
    assert torch.equal(truth_of(several), indicator(several))
    assert truth_of(ClipList(entries[:1], CLASSES)).tolist() == [1]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("data") / "clips", {"red": 4, "blue": 4})


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_backbone(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def model(weights, tmp_path_factory):
    """An untrained recognizer of red and blue, as a file."""
    torch.manual_seed(1)
    backbone, identity = load_backbone("test_vit", weights=weights)
    network = VideoViT(backbone, 2, adapters=AdapterConfig(width=8))
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    provenance = {"held_out": 0.25, "split_seed": 3}
    labels = LabelMap(("blue", "red"), (0, 1))
    Recognizer(network, labels, SAMPLING, backbone=identity, device="cpu", provenance=provenance).save(path)
    return path


def evaluate(model, data, **options):
    return evaluate_recognizer.evaluate(EvaluateConfig(data, model=model, **{"device": "cpu", **options}))


def test_a_file_is_measured_as_the_recognizer_answers(clips, model, weights, tmp_path):
    views = ViewConfig(temporal=2, spatial=3)
    measured = evaluate(
        model,
        clips,
        temporal_views=2,
        spatial_views=3,
        device="cpu",
        backbone_weights=weights,
        report=tmp_path / "r.html",
    )
    recognizer = Recognizer.from_pretrained(model, device="cpu", backbone_weights=weights)
    for entry, probabilities in zip(measured.clips.entries, measured.probabilities, strict=True):
        torch.testing.assert_close(recognizer(entry.path, views=views).probabilities, probabilities)
    guesses = measured.probabilities.argmax(1)
    right = [e.labels[0] == g for e, g in zip(measured.clips.entries, guesses.tolist(), strict=True)]
    assert measured.report.numbers["top1"] == pytest.approx(sum(right) / 8)
    page = (tmp_path / "r.html").read_text()
    assert "Is the order of frames read?" in page and "http" not in page


def test_other_orders_from_what_frozen_blocks_made_once_are_those_of_the_frames(clips, model, weights, monkeypatch):
    recognizer = Recognizer.from_pretrained(model, device="cpu", backbone_weights=weights)
    with torch.no_grad():
        for parameter in recognizer.model.adapters.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 0.3)
    views = ClipViews(read_clip_list(clips)["all"], SAMPLING, ViewConfig(focus=True))
    plain = predict(recognizer.logits, views, multi_label=False, orders=True, quiet=True)
    runs: list[int] = []
    prefix = recognizer.model.forward_prefix
    monkeypatch.setattr(recognizer.model, "forward_prefix", lambda f: (runs.append(len(f)), prefix(f))[1])
    once = predict(
        recognizer.logits_of, views, each_frame=recognizer.each_frame, multi_label=False, orders=True, quiet=True
    )
    assert sum(runs) == 2 * len(views)  # the two views of each clip, and no more for three further orders
    assert plain.keys() == once.keys() and len(once) == 4
    for name, probabilities in plain.items():
        torch.testing.assert_close(once[name], probabilities, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(once["accuracy"], once["reversed"], atol=1e-3)


def test_kept_views_are_not_read_again_and_do_not_change(clips, monkeypatch):
    listing = read_clip_list(clips)["all"]
    reads: list[Path] = []
    original = evaluate_recognizer.load_views
    monkeypatch.setattr(
        evaluate_recognizer, "load_views", lambda path, *a, **k: (reads.append(path), original(path, *a, **k))[1]
    )
    kept = ClipViews(listing, SAMPLING, ViewConfig(), keep_bytes=5 * 4 * 3 * 32 * 32)
    first = [kept[i].clone() for i in range(8)]
    again = [kept[i] for i in range(8)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(reads) == 8 + 3  # there is room for five
    assert kept.num_bytes == sum(view.nbytes for view in first)


def test_held_out_clips_are_those_that_training_held_out(clips, model, weights):
    measured = evaluate(model, clips, split="held-out", order=False, device="cpu", backbone_weights=weights)
    labels = LabelMap(("blue", "red"), (0, 1))
    expected = split_by_group(read_clip_list(clips, labels=labels)["all"], fraction=0.25, seed=3)[1]
    assert [e.path for e in measured.clips.entries] == [e.path for e in expected.entries]
    assert len(measured.clips) < 8
    assert measured.order is None


def trained_on(model, path, fingerprint, **provenance):
    """The same model, said to have been trained on clips of this fingerprint."""
    artifact = load_artifact(model, task="recognize")
    known = {"held_out": 0.25, "split_seed": 3, "data_fingerprint": fingerprint, **provenance}
    replace(artifact, provenance={**artifact.provenance, **known}).save(path)
    return path


def test_clips_that_were_trained_on_are_not_measured_unless_asked_for(clips, model, weights, tmp_path):
    shutil.copytree(clips, tmp_path / "elsewhere")
    whole = read_clip_list(tmp_path / "elsewhere")["all"]
    drawn = split_by_group(whole, fraction=0.25, seed=3)[1].fingerprint()
    own = trained_on(model, tmp_path / "own.safetensors", whole.fingerprint(), held_out_fingerprint=drawn)
    arguments = {"order": False, "backbone_weights": weights}
    with pytest.warns(UserWarning, match="measured are the clips that were held out"):
        measured = evaluate(own, clips, report=tmp_path / "r.html", **arguments)
    assert "measured are the clips that were held out" in (tmp_path / "r.html").read_text()
    held_out = evaluate(own, clips, split="held-out", **arguments)
    assert [e.path for e in measured.clips.entries] == [e.path for e in held_out.clips.entries]
    assert 0 < len(measured.clips) < len(whole)
    with pytest.warns(UserWarning, match="trained on most of these clips.*--split held-out"):
        assert len(evaluate(own, clips, split="all", **arguments).clips) == len(whole)
    grouped = trained_on(model, tmp_path / "g.safetensors", whole.fingerprint(), group_pattern="(a+)+$")
    with pytest.warns(UserWarning, match="trained on most of these clips"):
        assert len(evaluate(grouped, clips, **arguments).clips) == len(whole)
    # Searched for in a path, that pattern would take years; the file's owner alone may want it searched for.
    with pytest.raises(OptionError, match=r"If you trust it, give it: --group-pattern '\(a\+\)\+\$'"):
        evaluate(grouped, clips, split="held-out", **arguments)
    everything = trained_on(model, tmp_path / "e.safetensors", whole.fingerprint(), held_out=0)
    with pytest.warns(UserWarning, match="trained on these clips; how good it is on others, they do not tell$"):
        evaluate(everything, clips, **arguments)
    other = trained_on(model, tmp_path / "o.safetensors", "0123456789abcdef")
    assert len(evaluate(other, clips, **arguments).clips) == len(whole)


@pytest.mark.parametrize(("steps", "told"), [(0, False), (40, True)])
def test_held_out_clips_chose_a_step_only_where_there_were_steps(clips, model, weights, tmp_path, steps, told):
    file = tmp_path / "own.safetensors"
    whole = read_clip_list(clips)["all"]
    held_out = split_by_group(whole, fraction=0.25, seed=3)[1].fingerprint()
    own = trained_on(model, file, whole.fingerprint(), held_out_fingerprint=held_out, steps=steps)
    with pytest.warns(UserWarning, match="measured are the clips that were held out") as said:
        evaluate(own, clips, order=False, backbone_weights=weights)
    assert ("best step was chosen" in str(said[0].message)) == told


def test_held_out_clips_of_groups_need_the_users_own_pattern(clips, model, weights, tmp_path):
    pattern = r"(\d)\.mp4"
    whole = read_clip_list(clips, group_pattern=pattern)["all"]
    drawn = split_by_group(whole, fraction=0.25, seed=3)[1]
    known = {"group_pattern": pattern, "held_out_fingerprint": drawn.fingerprint()}
    grouped = trained_on(model, tmp_path / "g.safetensors", whole.fingerprint(), **known)
    arguments = {"order": False, "device": "cpu", "backbone_weights": weights}
    for split in (None, "held-out"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if split is None else "error")
            measured = evaluate(grouped, clips, split=split, group_pattern=pattern, **arguments)
        assert [e.path for e in measured.clips.entries] == [e.path for e in drawn.entries]
    for given in (None, r"(\d)\.mp\d"):
        with pytest.raises(OptionError, match="If you trust it, give it: --group-pattern"):
            evaluate(grouped, clips, split="held-out", group_pattern=given, **arguments)
    with pytest.raises(OptionError, match="trained without a --group-pattern"):
        evaluate(model, clips, split="held-out", group_pattern=pattern, **arguments)
    for strange in (["a"], "a" * 1000, "\x1b[2J"):
        odd = trained_on(model, tmp_path / "o.safetensors", whole.fingerprint(), group_pattern=strange)
        with pytest.raises(OptionError, match=r"group_pattern is no regular expression\. Choose another --split$"):
            evaluate(odd, clips, split="held-out", **arguments)


def test_a_test_split_comes_first(model, weights, tmp_path):
    write_folders(tmp_path / "train", {"red": 1, "blue": 1})
    write_folders(tmp_path / "test", {"red": 1, "blue": 2})
    arguments = {"device": "cpu", "backbone_weights": weights, "order": False}
    assert len(evaluate(model, tmp_path, **arguments).clips) == 3
    assert len(evaluate(model, tmp_path, split="train", **arguments).clips) == 2
    with pytest.raises(OptionError, match=r"split='val' is not one of .*test, train"):
        evaluate(model, tmp_path, split="val", **arguments)


def test_a_broken_clip_is_named_and_does_not_count(model, weights, tmp_path):
    data = write_folders(tmp_path / "clips", {"red": 2, "blue": 2})
    (data / "red" / "broken.mp4").write_bytes(b"not a film")
    measured = evaluate(model, data, device="cpu", backbone_weights=weights, order=False, report=tmp_path / "r.html")
    assert [e.path.name for e in measured.left_out] == ["broken.mp4"]
    assert len(measured.truth) == 4
    assert "broken.mp4" in (tmp_path / "r.html").read_text()


def test_data_with_a_class_that_the_model_does_not_know_is_refused(model, weights, tmp_path):
    data = write_folders(tmp_path / "clips", {"red": 1, "green": 1})
    with pytest.raises(AnnotationError, match="'green' is no class"):
        evaluate(model, data, device="cpu", backbone_weights=weights)


def test_clips_of_several_labels_are_refused_by_a_model_of_one(clips, model, weights, tmp_path):
    rows = [("red/red clip 0.mp4", "red|blue"), ("blue/blue clip 0.mp4", "blue")]
    listing = write_list(tmp_path / "list.csv", rows)
    with pytest.raises(ModelMismatch, match="one label"):
        evaluate(model, listing, root=clips, device="cpu", backbone_weights=weights)


def test_a_model_file_for_another_task_is_refused(clips, tmp_path):
    path = tmp_path / "style.safetensors"
    Artifact("stylize", {}, {"x": torch.zeros(1)}).save(path)
    with pytest.raises(ModelMismatch, match="'stylize', but 'recognize'"):
        evaluate(path, clips, device="cpu")
    with pytest.raises(MissingInput, match="no_such_model"):
        evaluate("no_such_model", clips, device="cpu")


def test_another_backbone_is_refused(clips, model, tmp_path):
    other = write_backbone(tmp_path / "other.safetensors", seed=5)
    with pytest.raises(ModelMismatch, match="hash"):
        evaluate(model, clips, device="cpu", backbone_weights=other)


def test_clips_of_another_split_than_trainings_are_not_said_to_be_held_out(clips, model, weights, tmp_path):
    whole = read_clip_list(clips)["all"]
    other = split_by_group(whole, fraction=0.25, seed=4)[1].fingerprint()
    assert other != split_by_group(whole, fraction=0.25, seed=3)[1].fingerprint()
    moved = trained_on(model, tmp_path / "m.safetensors", whole.fingerprint(), held_out_fingerprint=other)
    arguments = {"order": False, "backbone_weights": weights}
    with pytest.warns(UserWarning, match="trained on most of these clips"):
        assert len(evaluate(moved, clips, **arguments).clips) == len(whole)
    with pytest.warns(UserWarning, match="other clips were held out"):
        evaluate(moved, clips, split="held-out", **arguments)


@pytest.mark.parametrize("lie", [{"split_seed": -1}, {"held_out": "0.2"}, {"held_out": 2.0}, {"split_seed": [1]}])
def test_what_a_stranger_says_of_the_split_ends_in_one_line(clips, model, weights, tmp_path, lie):
    whole = read_clip_list(clips)["all"]
    liar = trained_on(model, tmp_path / "l.safetensors", whole.fingerprint(), **lie)
    with pytest.raises(OptionError, match="held-out"):
        evaluate(liar, clips, split="held-out", order=False, backbone_weights=weights)


def test_a_share_that_is_next_to_nothing_holds_out_one_clip_of_a_class(clips, model, weights, tmp_path):
    liar = trained_on(model, tmp_path / "l.safetensors", "x", held_out=1e-320)
    measured = evaluate(liar, clips, split="held-out", order=False, backbone_weights=weights)
    assert len(measured.clips) == 1
