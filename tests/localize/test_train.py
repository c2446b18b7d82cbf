"""From annotated videos to a model file, measured; and what annotations may do wrong."""

import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from muybridge.data.annotations.ava import write_ava
from muybridge.data.annotations.coco import write_coco
from muybridge.data.annotations.cvat import write_cvat
from muybridge.data.annotations.files import read_annotated_videos, read_boxes
from muybridge.data.annotations.mot import write_mot
from muybridge.data.annotations.via import write_via
from muybridge.data.label_maps import write_label_map
from muybridge.data.localization import BankSpan, BoxAugmentation
from muybridge.errors import AnnotationError, MissingInput, ModelMismatch, TrainingError
from muybridge.localize import train as train_module
from muybridge.localize.evaluate import evaluate, truth_of
from muybridge.localize.localizer import Localizer
from muybridge.localize.options import BankPlan, BoxData, EvaluateConfig, LocalizerConfig, LocalizerPlan
from muybridge.localize.train import read_data, split_key_frames, train
from muybridge.media.video_writer import VideoWriter
from muybridge.training.fit_config import ClipFitConfig
from muybridge.training.history import read_history
from tests.localize.localized_videos import LABELS, SLOWFAST, annotations_of

SECONDS = (0.0, 0.5, 1.0)


def rows(video: str, seconds=SECONDS):
    """A bright one at the left stands, a dark one at the right walks and carries."""
    found = []
    for time in seconds:
        found.append((video, time, (0.05, 0.2, 0.35, 0.9), 3, 0))
        found += [(video, time, (0.55, 0.1, 0.85, 0.9), label, 1) for label in (7, 12)]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four videos of 1.6 s, their annotations in AVA form, and labels."""
    folder = tmp_path_factory.mktemp("people")
    (folder / "videos").mkdir()
    random = np.random.default_rng(0)
    for name in "abcd":
        with VideoWriter(folder / "videos" / f"{name}.mp4", width=96, height=64, rate=Fraction(10)) as writer:
            for _ in range(16):
                image = random.integers(90, 150, (64, 96, 3), dtype=np.uint8)
                image[13:58, 5:34] = 250
                image[6:58, 53:82] = 5
                writer.write(image)
    write_ava(folder / "truth.csv", annotations_of([row for name in "abcd" for row in rows(name)]))
    write_label_map(folder / "labels.pbtxt", LABELS)
    return folder


def plan_of(folder, **data) -> LocalizerPlan:
    options = {"annotations": folder / "truth.csv", "videos": folder / "videos", "labels": folder / "labels.pbtxt"}
    return LocalizerPlan(
        data=BoxData(**{**options, "held_out": 0.25, **data}),
        model=LocalizerConfig(slowfast=SLOWFAST, reduced=16, hidden=8, depth=1, rate=5.0),
        augmentation=BoxAugmentation(scales=(1.0, 1.0)),
        config=ClipFitConfig(steps=16, batch_size=4, learning_rate=5e-3, validations=1, workers=0),
    )


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "model.safetensors"
    outcome = train(plan_of(folder), out, device="cpu", tell=lambda line: None)
    return out, outcome


def test_a_few_steps_tell_bright_from_dark(trained) -> None:
    out, outcome = trained
    assert outcome.evaluation.numbers()["frame_mAP"] > 0.99
    assert outcome.evaluation.numbers()["video_mAP@0.5"] > 0.99
    localizer = Localizer.from_pretrained(out, device="cpu")
    assert localizer.scores["frame_mAP"] == outcome.evaluation.numbers()["frame_mAP"]
    assert localizer.labels == LABELS
    page = out.with_suffix(".html").read_text()
    for part in ("Classes, worst first", "Worst errors", "Loss", "Frame-mAP", "Protocol ava-2019"):
        assert part in page


def test_what_cannot_be_resumed_is_told_before_videos_are_read(trained, folder, tmp_path, monkeypatch) -> None:
    out, _ = trained
    shutil.copytree(out.with_suffix(".training"), tmp_path / "m.training")
    monkeypatch.setattr(train_module, "read_data", None)
    for plan, name, says in (
        (plan_of(folder), "nothing", "Start without --resume"),
        (plan_of(folder, held_out=0.5), "m", r"data\.held_out was 0\.25, now 0\.5"),
        (replace(plan_of(folder), focal_gamma=1.5), "m", r"focal_gamma was .*, now 1\.5"),
    ):
        with pytest.raises(TrainingError, match=says):
            train(plan, tmp_path / f"{name}.safetensors", device="cpu", resume=True, tell=lambda line: None)


def test_a_training_with_painted_clips(trained, folder, tmp_path) -> None:
    plan = replace(plan_of(folder, held_out=0.0), augment=("stylize=ember:1",))
    plan = replace(plan, config=replace(plan.config, steps=1))
    train(plan, tmp_path / "painted.safetensors", device="cpu", tell=lambda line: None)
    plain = replace(plan, augment=())
    train(plain, tmp_path / "plain.safetensors", device="cpu", tell=lambda line: None)
    losses = [read_history(tmp_path / f"{name}.training")[0]["loss"] for name in ("plain", "painted")]
    assert losses[0] != losses[1]
    stored = Localizer.from_pretrained(tmp_path / "painted.safetensors", device="cpu").provenance["configuration"]
    assert stored["augment"] == ["stylize=ember:1"]


def test_the_file_measures_as_the_training_said(trained, folder, tmp_path) -> None:
    out, outcome = trained
    held_out = truth_of(outcome.evaluation.truth, LABELS)
    write_ava(tmp_path / "held_out.csv", held_out)
    here = {"model": out, "videos": folder / "videos", "device": "cpu"}
    found = evaluate(EvaluateConfig(tmp_path / "held_out.csv", **here, report=tmp_path / "page.html"))
    assert found.numbers() == pytest.approx(outcome.evaluation.numbers())
    assert (tmp_path / "page.html").is_file()


def test_measured_with_detections_a_missed_person_costs(trained, folder, tmp_path) -> None:
    out, _ = trained
    kept = [row for row in annotation_rows() if row[4] == 0 or row[0] != "a"]
    found = annotations_of(kept, scores=[0.9] * len(kept))
    write_ava(tmp_path / "found.csv", replace(found, person=None), eighth="score")
    here = {"model": out, "videos": folder / "videos", "device": "cpu"}
    measured = evaluate(EvaluateConfig(folder / "truth.csv", **here, boxes=tmp_path / "found.csv"))
    assert measured.boxes == "detections scored 0.85 or more"
    by_name = {one.name: one for one in measured.frames.classes}
    assert by_name["stand"].average_precision > 0.99
    assert by_name["walk"].average_precision == pytest.approx(0.75, abs=0.01)
    assert by_name["walk"].num_found == 9


def annotation_rows():
    return [row for name in "abcd" for row in rows(name)]


def test_a_bank_is_trained_with_and_belongs_to_its_model(trained, folder, tmp_path) -> None:
    out, _ = trained
    writer = Localizer.from_pretrained(out, device="cpu")
    boxes = read_boxes(folder / "truth.csv", [])
    for name in "abcd":
        writer.write_bank(
            folder / "videos" / f"{name}.mp4",
            tmp_path / f"{name}.safetensors",
            boxes=boxes.of_video(name),
            every=0.5,
        )
    plan = plan_of(folder)
    plan = replace(plan, bank=BankPlan(tmp_path, BankSpan(0.5, 0.5)), config=replace(plan.config, steps=2))
    plan = replace(plan, model=replace(plan.model, hidden=0, reduced=24))
    target = tmp_path / "second" / "model.safetensors"
    train(plan, target, device="cpu", tell=lambda line: None)
    again = Localizer.from_pretrained(target, bank_writer=writer, device="cpu")
    assert again.bank_span == BankSpan(0.5, 0.5)
    assert again.config.head.hidden == 8  # as the bank's maps
    with pytest.raises(ModelMismatch, match="banks of model"):
        Localizer.from_pretrained(target, bank_writer=again, device="cpu")
    with pytest.raises(ModelMismatch, match="--hidden"):
        train(replace(plan, model=replace(plan.model, hidden=12)), target, device="cpu", tell=lambda line: None)
    other = replace(plan, model=replace(plan.model, head="baseline"))
    with pytest.raises(TrainingError, match="baseline"):
        train(other, target, device="cpu", tell=lambda line: None)
    writer.network.head.fc2.weight.data += 1
    writer.write_bank(folder / "videos" / "a.mp4", tmp_path / "a.safetensors", boxes=boxes.of_video("a"), every=0.5)
    with pytest.raises(ModelMismatch, match="banks of 2 models"):
        read_data(plan)


def test_a_training_may_start_from_another(trained, folder, tmp_path) -> None:
    out, _ = trained
    plan = plan_of(folder)
    plan = replace(plan, initialize=out, config=replace(plan.config, steps=1, warmup=0))
    outcome = train(plan, tmp_path / "model.safetensors", device="cpu", tell=lambda line: None)
    assert outcome.fit.step == 1
    image_model = replace(plan, model=LocalizerConfig(trunk="muybridge_vit"))
    with pytest.raises(ModelMismatch, match="another trunk"):
        train(image_model, tmp_path / "model.safetensors", device="cpu", tell=lambda line: None)


# --- annotations ---


@pytest.mark.parametrize("form", ["cvat", "coco", "via", "folder of cvat"])
def test_other_formats_lead_to_the_same_key_frames(folder, tmp_path, form) -> None:
    sizes = dict.fromkeys("abcd", (96, 64))
    expected = read_data(plan_of(folder, held_out=0.0)).train
    annotations = replace(annotations_of(annotation_rows()), frame_sizes=sizes).in_pixels()
    names = "abcd"
    if form == "coco":
        write_coco(tmp_path / "truth.json", annotations, LABELS)
        path = tmp_path / "truth.json"
    elif form == "via":
        write_via(tmp_path / "truth.json", annotations, LABELS)
        path = tmp_path / "truth.json"
    else:
        names = "a" if form == "cvat" else names
        for name in names:
            mine = replace(annotations.of_video(name), frame_sizes=sizes)
            write_cvat(tmp_path / f"{name}.xml", mine, rate_fps=10, labels=LABELS)
        path = tmp_path / "a.xml" if form == "cvat" else tmp_path
    found = read_data(plan_of(folder, annotations=path, held_out=0.0)).train
    wanted = [frame for frame in expected if frame.video in names]
    assert [(f.video, f.seconds) for f in found] == [(f.video, f.seconds) for f in wanted]
    for one, other in zip(found, wanted, strict=True):
        order, order_other = np.argsort(one.boxes[:, 0]), np.argsort(other.boxes[:, 0])
        np.testing.assert_allclose(one.boxes[order], other.boxes[order_other], atol=1e-4)
        np.testing.assert_array_equal(one.targets[order], other.targets[order_other])


CVAT = """<annotations><version>1.1</version><meta><task><name>a</name><size>16</size>
<original_size><width>96</width><height>64</height></original_size><source>a.mp4</source></task></meta>
<track id="4" label="walk">
 <box frame="0" outside="0" occluded="0" keyframe="1" xtl="0" ytl="10" xbr="20" ybr="50"/>
 <box frame="10" outside="0" occluded="1" keyframe="1" xtl="40" ytl="10" xbr="60" ybr="50"/>
 <box frame="11" outside="1" occluded="0" keyframe="1" xtl="40" ytl="10" xbr="60" ybr="50"/>
</track></annotations>"""


def test_cvat_with_interpolated_occluded_and_outside_boxes(folder, tmp_path) -> None:
    (tmp_path / "a.xml").write_text(CVAT)
    frames = read_data(plan_of(folder, annotations=tmp_path / "a.xml", held_out=0.0, every_seconds=0.5)).train
    found = {frame.seconds: (frame.boxes[0] * [96, 64, 96, 64]).round(3).tolist() for frame in frames}
    # Moves evenly from 0 to 40 in ten frames; the occluded box counts, the outside one does not.
    assert found == {0.0: [0, 10, 20, 50], 0.5: [20, 10, 40, 50], 1.0: [40, 10, 60, 50]}


@pytest.mark.parametrize(
    ("eighths", "people", "scores"),
    [
        (("0", "0"), [0, 0], None),
        (("3", "1"), [3, 1], None),
        (("1", "1"), None, [1, 1]),
        (("0.5", "1"), None, [0.5, 1]),
    ],
)
def test_the_eighth_column_of_boxes_is_a_person_or_a_score(tmp_path, eighths, people, scores) -> None:
    rows_of_file = [f"a,{time},0.1,0.1,0.5,0.9,3,{last}" for time, last in enumerate(eighths)]
    (tmp_path / "boxes.csv").write_text("\n".join(rows_of_file))
    boxes = read_boxes(tmp_path / "boxes.csv", [])
    assert (None if boxes.person is None else boxes.person.tolist()) == people
    assert (None if boxes.score is None else boxes.score.tolist()) == scores


def test_boxes_may_come_as_mot(folder, tmp_path) -> None:
    annotations = replace(annotations_of(rows("a")), frame_sizes={"a": (96, 64)}).in_pixels()
    write_mot(tmp_path / "a.txt", annotations, rate_fps=10)
    boxes = read_boxes(tmp_path / "a.txt", [folder / "videos" / "a.mp4"])
    assert sorted(set(boxes.time_seconds.tolist())) == list(SECONDS)
    assert set(boxes.person.tolist()) == {0, 1}
    with pytest.raises(AnnotationError, match="times are not known"):
        read_boxes(tmp_path / "a.txt", [folder / "videos" / "b.mp4", folder / "videos" / "c.mp4"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("gone", 0.0, (0, 0, 1, 1), 3, 0), "lacks 1 of the 5 annotated videos: 'gone'"),
        (("a", 70.0, (0, 0, 1, 1), 3, 0), "annotated at 70.00 s"),
        (("a", 0.0, (0, 0, 1, 1), 44, 0), "class id 44 is not in the label map"),
    ],
)
def test_annotations_that_name_what_is_not_there(folder, tmp_path, row, message) -> None:
    write_ava(tmp_path / "truth.csv", annotations_of([*annotation_rows(), row]))
    out = tmp_path / "model.safetensors"
    with pytest.raises(AnnotationError, match=message):
        train(plan_of(folder, annotations=tmp_path / "truth.csv"), out, device="cpu", tell=lambda line: None)
    assert not out.exists()


def test_no_people_to_train_on(folder, tmp_path) -> None:
    (tmp_path / "truth.csv").write_text("a,0000\nb,0001\n")
    with pytest.raises(TrainingError, match="no box"):
        read_data(plan_of(folder, annotations=tmp_path / "truth.csv"))
    with pytest.raises(MissingInput):
        read_annotated_videos(tmp_path / "none.csv", LABELS, folder / "videos")


def test_no_video_is_trained_on_and_measured_with(folder) -> None:
    frames = read_data(plan_of(folder, held_out=0.0)).train
    for seed in range(5):
        kept, held_out = split_key_frames(frames, fraction=0.3, seed=seed)
        assert len(kept) + len(held_out) == len(frames)
        assert not {f.video for f in kept} & {f.video for f in held_out}
        assert held_out
    lone = [frame for frame in frames if frame.video == "a"]
    kept, held_out = split_key_frames(lone, fraction=0.3, seed=0)
    assert max(f.seconds for f in kept) < min(f.seconds for f in held_out)
