"""Tubes as JSON, and the refusal of pickles."""

import json
import pickle

import pytest

from muybridge.data.annotations.multisports import read_multisports
from muybridge.data.annotations.tubes import write_tubes
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError, OptionError

CONTENT = {
    "labels": ["serve", "spike"],
    "gttubes": {"v/a": {"1": [[[1, 10, 20, 30, 40], [2, 11, 20, 31, 40]], [[26, 0, 0, 5, 5]]]}},
    "resolution": {"v/a": [720, 1280]},
    "train_videos": [["v/a"]],
    "test_videos": [["v/b"]],
}


def write(path, **changes):
    path.write_text(json.dumps({**CONTENT, **changes}))
    return path


def test_read_and_round_trip(tmp_path):
    tubes = read_multisports(write(tmp_path / "gt.json"))
    rows = tubes.annotations
    assert rows.time_seconds.tolist() == [0.0, 0.04, 1.0] and rows.person.tolist() == [0, 0, 1]
    assert rows.boxes_xyxy[1].tolist() == [11, 20, 31, 40] and rows.label.tolist() == [1, 1, 1]
    assert rows.frame_sizes == {"v/a": (1280, 720)} and tubes.splits == ((("v/a",), ("v/b",)),)
    write_tubes(tmp_path / "out.json", tubes, rate_fps=25)
    assert json.loads((tmp_path / "out.json").read_text()) == CONTENT
    with pytest.raises(OptionError):
        write_tubes(tmp_path / "out.json", tubes, rate_fps=0)


def test_csv_with_eight_columns(tmp_path):
    path = tmp_path / "multisports_val.csv"
    path.write_text(
        "gym/v_a.mp4,1,0.1,0.2,0.5,0.6,3,0\ngym/v_a.mp4,2,0.1,0.2,0.5,0.6,3,0\ngym/v_a.mp4,1,0,0,1,1,5,0\n"
    )
    tubes = read_multisports(path)
    rows = tubes.annotations
    assert rows.videos == ("gym/v_a",) and rows.unit == "normalised"
    assert rows.time_seconds.tolist() == [0.0, 0.04, 0.0] and rows.label.tolist() == [3, 3, 5]
    assert rows.person.tolist() == [0, 0, 1]  # tube 0 of action 3 is not tube 0 of action 5
    assert rows.score is None and tubes.labels.ids == (3, 5)
    sports = LabelMap(("split", "turn"), (3, 5))
    assert read_multisports(path, labels=sports).labels is sports


def test_csv_with_a_score_in_the_ninth_column(tmp_path):
    path = tmp_path / "predicted.csv"
    path.write_text("v,1,0.1,0.2,0.5,0.6,0,0,0.75\nv,1,0.1,0.2,0.5,0.6,0,1,0.5\n")
    rows = read_multisports(path).annotations
    assert rows.score.tolist() == [0.75, 0.5] and rows.person.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v,1,0,0,1,1,0\n", "line 1: 7 columns"),
        ("v,1,0,0,1,1,0,0\nv,1,0,0,1,1,0,0,0.5\n", "line 2: 9 columns"),
        ("v,0,0,0,1,1,0,0\n", "line 1: frames count from 1"),
        ("v,1,0.5,0,0.1,1,0,0\n", "line 1: frames count from 1, and boxes"),
        ("v,1.5,0,0,1,1,0,0\n", "line 1: frame is '1.5'"),
        ("v,1,0,nan,1,1,0,0\n", "line 1: top is 'nan'"),
        ("v,1,0,0,1,1,jump,0\n", "line 1: action is 'jump', not a number"),
        ("v,1,0,0,1,1,9,0\n", "line 1: the class id 9 is not in the label map"),
    ],
)
def test_csv_errors(tmp_path, text, message):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=message):
        read_multisports(path, labels=LabelMap(("split", "turn"), (0, 1)))


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle was executed')",))


@pytest.mark.parametrize("name", ["multisports_GT.pkl", "multisports_GT.json", "multisports_GT.csv"])
def test_pickles_are_refused_unread(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(AnnotationError, match=r"is a pickle"):
        read_multisports(path)


@pytest.mark.parametrize(
    ("tubes", "message"),
    [
        ({"2": []}, "class '2': no such class"),
        ({"0": [[[1, 2, 3]]]}, "shape"),
        ({"0": [[[2, 0, 0, 1, 1], [1, 0, 0, 1, 1]]]}, "increase"),
        ({"0": [[[1, 5, 0, 1, 1]]]}, "reversed"),
        ({"0": [[["x", 5, 0, 1, 1]]]}, "not a table of numbers"),
    ],
)
def test_errors(tmp_path, tubes, message):
    with pytest.raises(AnnotationError, match=message):
        read_multisports(write(tmp_path / "gt.json", gttubes={"v": tubes}))
