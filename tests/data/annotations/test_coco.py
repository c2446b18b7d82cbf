"""COCO JSON: the three ways to name a frame, results, round trip, bad entries."""

import json

import pytest

from muybridge.data.annotations.coco import read_coco, write_coco
from muybridge.data.annotations.table import AnnotationRows
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError

CATEGORIES = [{"id": 1, "name": "walk"}, {"id": 80, "name": "wave"}]


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def minimal(**changes):
    entry = {"id": 1, "image_id": 5, "category_id": 80, "bbox": [10, 20, 30, 40], **changes}
    image = {"id": 5, "file_name": "a.jpg", "width": 640, "height": 480}
    return {"images": [image, {"id": 6, "file_name": "b.jpg"}], "annotations": [entry], "categories": CATEGORIES}


def test_pictures_and_results(tmp_path):
    path = write(tmp_path / "coco.json", minimal(track_id=3))
    rows, labels = read_coco(path)
    assert labels == LabelMap(("walk", "wave"), (1, 80))
    assert rows.boxes_xyxy.tolist() == [[10, 20, 40, 60]] and rows.label.tolist() == [80]
    assert rows.person.tolist() == [3] and rows.score is None
    assert [rows.videos[v] for v in rows.empty_video] == ["b.jpg"]
    assert rows.frame_sizes == {"a.jpg": (640, 480)}
    results = write(tmp_path / "r.json", [{"image_id": 6, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.25}])
    found, _ = read_coco(path, results=results)
    assert found.videos == ("b.jpg",) and found.score.tolist() == [0.25]


def test_frames_of_videos(tmp_path):
    content = minimal()
    content["videos"] = [{"id": 9, "name": "clip"}]
    content["images"] = [{"id": 5, "video_id": 9, "frame_id": 50}]
    path = write(tmp_path / "coco.json", content)
    rows, _ = read_coco(path, rate_fps=25)
    assert rows.videos == ("clip",) and rows.time_seconds.tolist() == [2.0]
    with pytest.raises(AnnotationError, match="rate_fps"):
        read_coco(path)


def test_round_trip(tmp_path):
    rows = AnnotationRows("pixel", {"v": (640, 480)})
    rows.add("v", 1.5, (1, 2, 3.5, 4), label=80, person=2, score=0.5)
    rows.add("v", 1.5, (1, 2, 3.5, 4), label=1, score=0.25)
    rows.add("w", 0.1, (5, 6, 7, 8), label=1, person=0, score=1.0)
    rows.add_empty("w", 2.0)
    original, labels = rows.annotations(), LabelMap(("walk", "wave"), (1, 80))
    write_coco(tmp_path / "out.json", original, labels)
    again, again_labels = read_coco(tmp_path / "out.json")
    assert again_labels == labels and again.videos == original.videos
    for name in ("video", "time_seconds", "boxes_xyxy", "label", "person", "score", "empty_time_seconds"):
        assert getattr(again, name).tolist() == getattr(original, name).tolist()
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["annotations"][0]["bbox"] == [1, 2, 2.5, 2] and content["annotations"][0]["area"] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 7}, "annotation number 0: the image 7"),
        ({"category_id": 2}, "the category 2 is not"),
        ({"bbox": [1, 2, 3]}, "must be four numbers"),
        ({"bbox": [1, 2, -3, 4]}, "negative size"),
        ({"bbox": [1, float("nan"), 3, 4]}, "must be four numbers"),
        ({"track_id": "x"}, "track_id is 'x'"),
    ],
)
def test_errors(tmp_path, changes, message):
    with pytest.raises(AnnotationError, match=message):
        read_coco(write(tmp_path / "coco.json", minimal(**changes)))


def test_a_time_before_the_film_is_refused(tmp_path):
    content = minimal()
    content["images"] = [{"id": image["id"], "video": "v.mp4", "time_seconds": -5} for image in content["images"]]
    with pytest.raises(AnnotationError, match=r"image number 0: time_seconds is -5\. Count from"):
        read_coco(write(tmp_path / "coco.json", content))


def test_a_results_list_alone_is_explained(tmp_path):
    with pytest.raises(AnnotationError, match="list as results"):
        read_coco(write(tmp_path / "r.json", []))
