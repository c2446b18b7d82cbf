"""COCO JSON: files written by hand, and back."""

import json

import numpy as np
import pytest

from muybridge.data.annotations import NO_LABEL
from muybridge.data.coco import read_coco, write_coco
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError, MissingInput


def content():
    return {
        "videos": [{"id": 5, "name": "walk.mp4"}],
        "images": [
            {"id": 1, "video_id": 5, "frame_id": 0, "file_name": "a.jpg", "width": 640, "height": 480},
            {"id": 2, "video_id": 5, "frame_id": 15, "file_name": "b.jpg", "width": 640, "height": 480},
            {"id": 3, "file_name": "run/frame_000030.png", "width": 100, "height": 50},
            {"id": 4, "file_name": "alone.png", "width": 100, "height": 50},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 14, "bbox": [10, 20, 30, 40], "track_id": 3},
            {"id": 2, "image_id": 1, "category_id": 80, "bbox": [10, 20, 30, 40], "track_id": 3},
            {"id": 3, "image_id": 3, "category_id": 1, "bbox": [0, 0, 50, 25]},
        ],
        "categories": [{"id": 14, "name": "walk"}, {"id": 80, "name": "watch"}, {"id": 1, "name": "person"}],
    }


def save(tmp_path, thing, name="coco.json"):
    (tmp_path / name).write_text(json.dumps(thing))
    return tmp_path / name


def test_reads_videos_frames_and_categories(tmp_path):
    rows, labels = read_coco(save(tmp_path, content()), rate=30)
    assert rows.videos == ("walk.mp4", "run", "alone")
    assert rows.video.tolist() == [0, 0, 1]
    assert rows.time_seconds.tolist() == [0, 0, 1]
    assert rows.boxes_xyxy.tolist() == [[10, 20, 40, 60], [10, 20, 40, 60], [0, 0, 50, 25]]
    assert rows.label.tolist() == [14, 80, NO_LABEL]
    assert rows.person.tolist() == [3, 3, -1]
    assert rows.score is None
    assert (labels.names, labels.ids) == (("walk", "watch"), (14, 80))
    assert [rows.videos[i] for i in rows.empty_video] == ["walk.mp4", "alone"]
    assert rows.empty_time_seconds.tolist() == [0.5, 0]
    assert rows.normalised().boxes_xyxy[2].tolist() == [0, 0, 0.5, 0.5]


def test_label_map_given_goes_by_name(tmp_path):
    labels = LabelMap(("watch", "walk"), (2, 9))
    rows, used = read_coco(save(tmp_path, content()), rate=30, labels=labels)
    assert rows.label.tolist() == [9, 2, NO_LABEL]
    assert used is labels
    with pytest.raises(AnnotationError, match=r"categories\[1\].*'watch'.*'watches' meant"):
        read_coco(save(tmp_path, content()), rate=30, labels=LabelMap(("walk", "watches"), (1, 2)))


def test_results_point_into_the_file(tmp_path):
    results = [{"image_id": 2, "category_id": 1, "bbox": [1.5, 2, 3, 4], "score": 0.25}]
    rows, _ = read_coco(save(tmp_path, content()), rate=30, results=save(tmp_path, results, "results.json"))
    assert rows.score.tolist() == [0.25]
    assert rows.time_seconds.tolist() == [0.5]
    assert rows.boxes_xyxy.tolist() == [[1.5, 2, 4.5, 6]]


def test_only_people(tmp_path):
    rows, _ = read_coco(save(tmp_path, content()), rate=30, only_people=True)
    assert rows.boxes_xyxy.tolist() == [[0, 0, 50, 25]]


def test_round_trip(tmp_path):
    rows, labels = read_coco(save(tmp_path, content()), rate=30)
    write_coco(tmp_path / "out.json", rows, labels, rate=30)
    again, labels_again = read_coco(tmp_path / "out.json", rate=30)
    assert labels_again == labels
    assert again.videos == rows.videos
    for name in ("video", "time_seconds", "boxes_xyxy", "label", "person", "empty_video", "empty_time_seconds"):
        np.testing.assert_array_equal(getattr(again, name), getattr(rows, name), name)
    assert again.frame_sizes == rows.frame_sizes


def broken(change):
    def make():
        thing = content()
        change(thing)
        return thing

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [], "the file: it is not an object"),
        (broken(lambda c: c.pop("images")), "images: it is not a list"),
        (broken(lambda c: c["annotations"][1].update(image_id=99)), r"annotations\[1\]: there is no image 99"),
        (broken(lambda c: c["annotations"][1].update(category_id=2)), r"annotations\[1\]: there is no category 2"),
        (broken(lambda c: c["annotations"][0].update(bbox=[1, 2, 3])), r"annotations\[0\]: bbox is \[1, 2, 3\]"),
        (broken(lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4])), r"annotations\[0\]: bbox"),
        (broken(lambda c: c["annotations"][0].update(bbox=[1, 2, float("nan"), 4])), r"annotations\[0\]: bbox"),
        (broken(lambda c: c["annotations"][0].update(track_id="x")), r"annotations\[0\]: track_id is 'x'"),
        (broken(lambda c: c["images"][0].update(video_id=1)), r"images\[0\]: there is no video 1"),
        (broken(lambda c: c["images"][2].update(file_name="run/x.png")), r"images\[2\].*does not tell its frame"),
        (broken(lambda c: c["categories"][0].pop("name")), r"categories\[0\]: a category needs"),
    ],
)
def test_broken_files_are_named(tmp_path, make, message):
    with pytest.raises(AnnotationError, match=message):
        read_coco(save(tmp_path, make()), rate=30)


def test_no_json_and_no_file(tmp_path):
    (tmp_path / "x.json").write_text('{"images": [\n1,,2]}')
    with pytest.raises(AnnotationError, match="line 2: it is not JSON"):
        read_coco(tmp_path / "x.json", rate=30)
    with pytest.raises(MissingInput):
        read_coco(tmp_path / "y.json", rate=30)
