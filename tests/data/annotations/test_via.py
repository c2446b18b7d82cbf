"""VIA 3: a hand-written project and export, round trips, bad regions."""

import json

import pytest

from muybridge.data.annotations.table import NO_LABEL, AnnotationRows
from muybridge.data.annotations.via import read_via, write_via
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError

LABELS = LabelMap(("talk to (e.g., self, a group)", "sit"), (79, 11))


def project(**region):
    region = {"vid": "1", "flg": 0, "z": [2.5], "xy": [2, 10, 20, 30, 40], "av": {"1": "A,B", "2": "4"}, **region}
    return {
        "attribute": {
            "1": {"aname": "actions", "type": 2, "options": {"A": LABELS.names[0], "B": "sit"}},
            "2": {"aname": "person", "type": 1, "options": {}},
        },
        "file": {"7": {"fid": "7", "fname": "clip.mp4"}},
        "view": {"1": {"fid_list": ["7"]}},
        "metadata": {"1_a": region, "1_span": {"vid": "1", "z": [0, 3], "xy": [], "av": {}}},
    }


def test_project(tmp_path):
    path = tmp_path / "via.json"
    path.write_text(json.dumps(project()))
    rows = read_via(path, LABELS)
    assert rows.videos == ("clip.mp4",) and rows.time_seconds.tolist() == [2.5, 2.5]
    assert rows.boxes_xyxy.tolist() == [[10, 20, 40, 60]] * 2
    assert rows.label.tolist() == [79, 11] and rows.person.tolist() == [4, 4]


def test_export(tmp_path):
    path = tmp_path / "via.csv"
    path.write_text(
        "# Exported using VGG Image Annotator\n# CSV_HEADER = metadata_id,file_list,flags,temporal,spatial,metadata\n"
        '"1_x","[""clip.mp4""]",0,"[1.25]","[2,1,2,3,4]","{""actions"":""11,79""}"\n'
        '"1_y","[""clip.mp4""]",0,"[2]","[2,1,2,3,4]","{}"\n'
        '"1_z","[""clip.mp4""]",0,"[0,5]","[]","{""actions"":""11""}"\n'
    )
    rows = read_via(path, LABELS)
    assert rows.time_seconds.tolist() == [1.25, 1.25, 2.0]
    assert rows.label.tolist() == [11, 79, NO_LABEL] and rows.person is None


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_round_trip(tmp_path, suffix):
    rows = AnnotationRows("pixel")
    rows.add("a.mp4", 1.0, (1, 2, 4, 6), label=79, person=0)
    rows.add("a.mp4", 1.0, (1, 2, 4, 6), label=11, person=0)
    rows.add("b.mp4", 0.04, (5, 6, 7, 8))
    original = rows.annotations()
    write_via(tmp_path / f"out{suffix}", original, LABELS)
    again = read_via(tmp_path / f"out{suffix}", LABELS)
    assert again.videos == original.videos
    for name in ("video", "time_seconds", "boxes_xyxy", "label", "person"):
        assert getattr(again, name).tolist() == getattr(original, name).tolist()


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ({"xy": [3, 1, 2, 3]}, "region 1_a: shape 3 is no rectangle"),
        ({"xy": [2, 1, 2, -3, 4]}, "negative"),
        ({"av": {"1": "jump"}}, "action 'jump' is not in the label map"),
        ({"av": {"2": "Ann"}}, "person is 'Ann'"),
        ({"vid": "3"}, "leads to no single file"),
    ],
)
def test_errors(tmp_path, region, message):
    path = tmp_path / "via.json"
    path.write_text(json.dumps(project(**region)))
    with pytest.raises(AnnotationError, match=message):
        read_via(path, LABELS)
