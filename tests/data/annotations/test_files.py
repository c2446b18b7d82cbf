"""Boxes of any format: whom they are about, VIA without its actions, JSON of wrong shapes."""

import json

import pytest

from muybridge.data.annotations.coco import write_coco
from muybridge.data.annotations.files import read_boxes
from muybridge.data.annotations.mot import write_mot
from muybridge.data.annotations.table import NO_LABEL, AnnotationRows
from muybridge.data.annotations.via import write_via
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError
from tests.media.numbered_clips import write_clip

LABELS = LabelMap(("walk", "sit, down"), (1, 2))


def two_people():
    rows = AnnotationRows("pixel", {"film": (72, 48)})
    for person in (0, 1):
        rows.add("film", 0.5, (10 + person, 5, 30, 40), label=person + 1, person=person)
    return rows.annotations()


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_boxes_of_a_via_file_need_no_labels(tmp_path, suffix):
    path = tmp_path / f"via.{suffix}"
    write_via(path, two_people(), LABELS)
    boxes = read_boxes(path, [])
    assert boxes.boxes_xyxy.tolist() == [[10, 5, 30, 40], [11, 5, 30, 40]]
    assert boxes.person.tolist() == [0, 1]
    assert boxes.label.tolist() == [NO_LABEL] * 2


def test_boxes_of_one_video_are_another_ones_only_where_it_is_the_only_one(tmp_path):
    videos = [write_clip(tmp_path / name, 3) for name in ("yard.mp4", "det.mp4")]
    write_mot(tmp_path / "det.txt", two_people(), rate_fps=25)
    write_mot(tmp_path / "none.txt", two_people().select([]), rate_fps=25)
    assert read_boxes(tmp_path / "det.txt", videos, rename_lone=True).videos == ("det",)
    lone = read_boxes(tmp_path / "det.txt", videos[:1], rename_lone=True)
    assert lone.videos == ("yard",) and len(lone) == 2
    assert read_boxes(tmp_path / "none.txt", videos[:1], rename_lone=True).videos == ("yard",)


def coco(tmp_path):
    write_coco(tmp_path / "good.json", two_people(), LABELS)
    return json.loads((tmp_path / "good.json").read_text())


def via(tmp_path):
    write_via(tmp_path / "good.json", two_people(), LABELS)
    return json.loads((tmp_path / "good.json").read_text())


def tubes(tmp_path):
    del tmp_path
    tube = [[1, 10, 5, 25, 60], [2, 11, 5, 26, 60]]
    return {"labels": ["walk"], "gttubes": {"film": {"0": [tube]}}, "resolution": {"film": [48, 72]}}


@pytest.mark.parametrize(
    ("good", "place"),
    [
        (coco, ["images"]),
        (coco, ["images", 0]),
        (coco, ["images", 0, "id"]),
        (coco, ["annotations", 0]),
        (coco, ["annotations", 0, "image_id"]),
        (coco, ["annotations", 0, "category_id"]),
        (coco, ["annotations", 0, "score"]),
        (coco, ["annotations", 0, "track_id"]),
        (coco, ["categories"]),
        (coco, ["videos"]),
        (via, ["attribute", "1"]),
        (via, ["view", "1"]),
        (via, ["file", "1"]),
        (via, ["metadata", "1_1"]),
        (via, ["metadata", "1_1", "vid"]),
        (tubes, ["labels"]),
        (tubes, ["gttubes", "film"]),
        (tubes, ["gttubes", "film", "0"]),
        (tubes, ["resolution"]),
        (tubes, ["resolution", "film"]),
        (tubes, ["train_videos"]),
    ],
)
@pytest.mark.parametrize("wrong", [[[]], {"a": {}}, "abc", 10**30, True], ids=repr)
def test_json_of_another_shape_is_refused_or_read(tmp_path, good, place, wrong):
    content = good(tmp_path)
    video = write_clip(tmp_path / "film.mp4", 3)
    *way, last = place
    inner = content
    for step in way:
        inner = inner[step]
    inner[last] = wrong
    (tmp_path / "wrong.json").write_text(json.dumps(content))
    try:
        boxes = read_boxes(tmp_path / "wrong.json", [video])
    except AnnotationError as error:
        assert "wrong.json" in str(error) or "64 bits" in str(error)
    else:  # a name may be any text, a flag any number
        assert len(boxes) <= 2
